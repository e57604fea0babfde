// The numbers of STUN: types of messages and attributes, with the sections that give them (RFC 8489 §5, §14, §18.3; RFC 5780 §7).
// Leaves out every method but Binding, and what belongs to TURN and ICE.

export const STUN_HEADER_BYTES = 20;
export const ATTRIBUTE_HEADER_BYTES = 4;
export const TRANSACTION_ID_BYTES = 12;
export const MAGIC_COOKIE = 0x2112a442;
/** Longer ones are not looked into; RFC 5780's clients pad requests to 1,524 bytes. */
export const STUN_BYTES_MAX = 2_048;

export const MessageType = { request: 0x0001, indication: 0x0011, success: 0x0101, error: 0x0111 } as const;

/** Below 0x8000 an agent must know it or refuse the message, above it may pass over it (RFC 8489 §14). */
export const Attribute = {
  mappedAddress: 0x0001,
  changeRequest: 0x0003,
  errorCode: 0x0009,
  unknownAttributes: 0x000a,
  xorMappedAddress: 0x0020,
  padding: 0x0026,
  responsePort: 0x0027,
  software: 0x8022,
  fingerprint: 0x8028,
  responseOrigin: 0x802b,
  otherAddress: 0x802c,
} as const;

export const COMPREHENSION_OPTIONAL = 0x8000;

/** Understood, and passed over: nothing here has a password (RFC 8489 §14), and RFC 3489's servers send the first four still. */
export const PASSED_OVER: ReadonlySet<number> = new Set([
  0x0002, // RESPONSE-ADDRESS, RFC 3489
  0x0004, // SOURCE-ADDRESS, RFC 3489
  0x0005, // CHANGED-ADDRESS, RFC 3489
  0x000b, // REFLECTED-FROM, RFC 3489
  0x0006, // USERNAME
  0x0008, // MESSAGE-INTEGRITY
  0x0014, // REALM
  0x0015, // NONCE
  0x001c, // MESSAGE-INTEGRITY-SHA256
  0x001d, // PASSWORD-ALGORITHM
  0x001e, // USERHASH
  Attribute.padding,
]);

export const ErrorCode = { badRequest: 400, unknownAttribute: 420 } as const;
