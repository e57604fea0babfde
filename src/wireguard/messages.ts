// The messages of the paper §5.4 as bytes: sizes, the type word, where each field stands. All integers are little-endian.
// The type is read as one 32-bit word, so that non-zero reserved bytes mean "not WireGuard", as in the reference
// implementation. Nothing here throws on what the network sends and nothing is decrypted; views are borrowed.

import { readU32le, writeU32le } from '../base/bytes.ts';

/** The first little-endian word of a datagram. */
export const MessageType = { initiation: 1, response: 2, cookieReply: 3, data: 4 } as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

/**
 * Handshake initiation, §5.4.2.
 *
 *   0      4        8            40                88                    116      132      148
 *   | type | sender | ephemeral  | static + tag 48 | timestamp + tag 28  | mac1   | mac2   |
 */
export const INITIATION_BYTES = 148;
export const INITIATION_SENDER = 4;
export const INITIATION_NOISE = 8;

/**
 * Handshake response, §5.4.3.
 *
 *   0      4        8          12           44             60       76       92
 *   | type | sender | receiver | ephemeral  | nothing + 16 | mac1   | mac2   |
 */
export const RESPONSE_BYTES = 92;
export const RESPONSE_SENDER = 4;
export const RESPONSE_RECEIVER = 8;
export const RESPONSE_NOISE = 12;

/**
 * Cookie reply, §5.4.7.
 *
 *   0      4          8          32                64
 *   | type | receiver | nonce 24 | cookie + tag 32 |
 */
export const COOKIE_REPLY_BYTES = 64;
export const COOKIE_REPLY_RECEIVER = 4;
export const COOKIE_REPLY_NONCE = 8;
export const COOKIE_REPLY_SEALED = 32;

/**
 * Transport data, §5.4.6. The native plane makes and opens these; here for tests and for telling messages apart.
 *
 *   0      4          8         16
 *   | type | receiver | counter | padded packet + tag …
 */
export const DATA_HEADER_BYTES = 16;
export const DATA_BYTES_MIN = 32;

/** mac1 and mac2, 16 bytes each, end both handshake messages (§5.4.4). */
export const MAC_BYTES = 16;

/** Offset of mac1 in a handshake message of `length` bytes; mac2 follows it. */
export function mac1Offset(length: number): number {
  return length - 2 * MAC_BYTES;
}

/** What a datagram is, by its type word and length; null when it is none of ours. */
export function classify(datagram: Uint8Array): MessageType | null {
  if (datagram.length < DATA_BYTES_MIN) return null;
  switch (readU32le(datagram, 0)) {
    case MessageType.initiation:
      return datagram.length === INITIATION_BYTES ? MessageType.initiation : null;
    case MessageType.response:
      return datagram.length === RESPONSE_BYTES ? MessageType.response : null;
    case MessageType.cookieReply:
      return datagram.length === COOKIE_REPLY_BYTES ? MessageType.cookieReply : null;
    case MessageType.data:
      return MessageType.data;
    default:
      return null;
  }
}

/** The sender's index of a classified initiation or response. */
export function senderIndex(message: Uint8Array): number {
  return readU32le(message, 4);
}

/** Which of our indexes a classified response, cookie reply or data message is for. */
export function receiverIndex(message: Uint8Array): number {
  return readU32le(message, readU32le(message, 0) === MessageType.response ? RESPONSE_RECEIVER : 4);
}

/** An initiation around the 108 bytes of its Noise message; the macs are zero until `CookieGenerator.addMacs`. */
export function frameInitiation(sender: number, noiseMessage: Uint8Array): Uint8Array {
  const message = new Uint8Array(INITIATION_BYTES);
  writeU32le(message, 0, MessageType.initiation);
  writeU32le(message, INITIATION_SENDER, sender);
  message.set(noiseMessage, INITIATION_NOISE);
  return message;
}

/** A response around the 48 bytes of its Noise message; the macs are zero until `CookieGenerator.addMacs`. */
export function frameResponse(sender: number, receiver: number, noiseMessage: Uint8Array): Uint8Array {
  const message = new Uint8Array(RESPONSE_BYTES);
  writeU32le(message, 0, MessageType.response);
  writeU32le(message, RESPONSE_SENDER, sender);
  writeU32le(message, RESPONSE_RECEIVER, receiver);
  message.set(noiseMessage, RESPONSE_NOISE);
  return message;
}

/** `nonce`: 24 bytes; `sealed`: 32. */
export function frameCookieReply(receiver: number, nonce: Uint8Array, sealed: Uint8Array): Uint8Array {
  const message = new Uint8Array(COOKIE_REPLY_BYTES);
  writeU32le(message, 0, MessageType.cookieReply);
  writeU32le(message, COOKIE_REPLY_RECEIVER, receiver);
  message.set(nonce, COOKIE_REPLY_NONCE);
  message.set(sealed, COOKIE_REPLY_SEALED);
  return message;
}
