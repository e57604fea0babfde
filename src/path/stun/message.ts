// STUN messages (RFC 8489) of the one method Binding, with what RFC 5780 adds to find out how a NAT behaves. Reading never throws:
// what cannot be read gives the reason, to be counted. Leaves out passwords (MESSAGE-INTEGRITY is passed over) and every other method.
//
//   0        2        4                8                        20
//   | type   | length | 0x2112A442     | transaction id         | attributes …
//
//   an attribute: type, 2 bytes; length of the value, 2 bytes; the value, padded to a multiple of four
//   an address:   0, family (1, 2), port, address; in XOR-MAPPED-ADDRESS port and address ⊕ bytes 4 … 19 of the header

import { readU16be, readU32be, writeU16be, writeU32be } from '../../base/bytes.ts';
import { addressBytes, type Endpoint, endpointParts, familyOf, formatAddress, formatEndpoint } from '../../base/ip.ts';
import type { RandomSource } from '../../base/prng.ts';
import { fingerprint } from './fingerprint.ts';
import {
  ATTRIBUTE_HEADER_BYTES,
  Attribute,
  COMPREHENSION_OPTIONAL,
  MAGIC_COOKIE,
  MessageType,
  PASSED_OVER,
  STUN_BYTES_MAX,
  STUN_HEADER_BYTES,
  TRANSACTION_ID_BYTES,
} from './numbers.ts';

/** Attributes that are named in a refusal; more are not. */
export const UNKNOWN_ATTRIBUTES_MAX = 8;

/** Asks for an answer from the server's other address, its other port, or both (RFC 5780 §7.2). */
export interface ChangeRequest {
  readonly address: boolean;
  readonly port: boolean;
}

interface Common {
  /** 12 bytes; a view into the datagram when it was decoded. */
  readonly transactionId: Uint8Array;
  /** Attributes that one who does not know them must not pass over; the first UNKNOWN_ATTRIBUTES_MAX. */
  readonly unknownRequired: readonly number[];
  /** Whether it has a FINGERPRINT (a wrong one is a fault). */
  readonly fingerprint: boolean;
}

export interface BindingRequest extends Common {
  readonly kind: 'request';
  readonly change: ChangeRequest | null;
  /** RESPONSE-PORT (RFC 5780 §7.5): where the answer is to go instead of where the request came from. */
  readonly responsePort: number | null;
}

export interface BindingIndication extends Common {
  readonly kind: 'indication';
}

/** Addresses that are not there, and optional ones that cannot be read, are null. */
export interface BindingSuccess extends Common {
  readonly kind: 'success';
  /** XOR-MAPPED-ADDRESS. */
  readonly xorMapped: Endpoint | null;
  /** MAPPED-ADDRESS: for one who does not know the other; NATs have been seen to rewrite it. */
  readonly mapped: Endpoint | null;
  /** RESPONSE-ORIGIN. */
  readonly origin: Endpoint | null;
  /** OTHER-ADDRESS. */
  readonly other: Endpoint | null;
}

export interface BindingError extends Common {
  readonly kind: 'error';
  /** 300 … 699. */
  readonly code: number;
  readonly unknownAttributes: readonly number[];
}

export type StunMessage = BindingRequest | BindingIndication | BindingSuccess | BindingError;

export const STUN_FAULTS = [
  'notStun', // shorter than a header, or without the magic cookie (RFC 3489's classic STUN too)
  'tooLong',
  'badLength', // the header says another length
  'notBinding', // another method
  'badAttribute', // cut off, or not of the form that its type has
  'badFingerprint', // wrong, or not the last attribute
] as const;
export type StunFault = (typeof STUN_FAULTS)[number];

const NONE: readonly number[] = [];
const BINDING: readonly number[] = Object.values(MessageType);

/** `datagram`: whole, borrowed; the message holds a view into it. Never throws. */
export function decodeStun(datagram: Uint8Array): StunMessage | StunFault {
  if (!looksLikeStun(datagram)) return 'notStun';
  if (datagram.length > STUN_BYTES_MAX) return 'tooLong';
  const length = readU16be(datagram, 2);
  if (length % 4 !== 0 || STUN_HEADER_BYTES + length !== datagram.length) return 'badLength';
  if (!BINDING.includes(readU16be(datagram, 0))) return 'notBinding';
  const fields = new Fields();
  for (let at = STUN_HEADER_BYTES; at < datagram.length; ) {
    const value = at + ATTRIBUTE_HEADER_BYTES;
    const size = readU16be(datagram, at + 2);
    const next = value + padded(size);
    if (next > datagram.length) return 'badAttribute';
    const fault = fields.read(datagram, readU16be(datagram, at), value, size);
    if (fault !== null) return fault;
    if (fields.fingerprint && next !== datagram.length) return 'badFingerprint';
    at = next;
  }
  return fields.message(datagram);
}

/** The first look, as the data plane does it too: two zero bits and the magic cookie. */
export function looksLikeStun(datagram: Uint8Array): boolean {
  return (
    datagram.length >= STUN_HEADER_BYTES &&
    ((datagram[0] as number) & 0xc0) === 0 &&
    readU32be(datagram, 4) === MAGIC_COOKIE
  );
}

/** What a message holds as far as it was read. Of an attribute that comes twice the first counts (RFC 8489 §14). */
class Fields {
  fingerprint = false;
  #unknown: number[] | null = null;
  #change: ChangeRequest | null = null;
  #responsePort: number | null = null;
  #xorMapped: Endpoint | null = null;
  #mapped: Endpoint | null = null;
  #origin: Endpoint | null = null;
  #other: Endpoint | null = null;
  #code: number | null = null;
  #unknownAttributes: readonly number[] | null = null;

  /** The value is at `at`, has `size` bytes and ends within the message. */
  read(message: Uint8Array, type: number, at: number, size: number): StunFault | null {
    switch (type) {
      case Attribute.xorMappedAddress:
        this.#xorMapped ??= readAddress(message, at, size, true);
        return this.#xorMapped === null ? 'badAttribute' : null;
      case Attribute.mappedAddress:
        this.#mapped ??= readAddress(message, at, size, false);
        return this.#mapped === null ? 'badAttribute' : null;
      case Attribute.responseOrigin:
        this.#origin ??= readAddress(message, at, size, false);
        return null;
      case Attribute.otherAddress:
        this.#other ??= readAddress(message, at, size, false);
        return null;
      case Attribute.changeRequest:
        if (size !== 4) return 'badAttribute';
        this.#change ??= readChange(readU32be(message, at));
        return null;
      case Attribute.responsePort:
        // Two bytes, or with the padding counted in, as they are seen too.
        if ((size !== 2 && size !== 4) || readU16be(message, at) === 0) return 'badAttribute';
        this.#responsePort ??= readU16be(message, at);
        return null;
      case Attribute.errorCode:
        this.#code ??= readErrorCode(message, at, size);
        return this.#code === null ? 'badAttribute' : null;
      case Attribute.unknownAttributes:
        if (size % 2 !== 0) return 'badAttribute';
        this.#unknownAttributes ??= readTypes(message, at, size);
        return null;
      case Attribute.fingerprint:
        if (size !== 4) return 'badAttribute';
        this.fingerprint = true;
        return readU32be(message, at) === fingerprint(message, at - ATTRIBUTE_HEADER_BYTES) ? null : 'badFingerprint';
      default:
        if (type < COMPREHENSION_OPTIONAL && !PASSED_OVER.has(type)) this.#noteUnknown(type);
        return null;
    }
  }

  #noteUnknown(type: number): void {
    this.#unknown ??= [];
    if (this.#unknown.length < UNKNOWN_ATTRIBUTES_MAX && !this.#unknown.includes(type)) this.#unknown.push(type);
  }

  /** Of a message that is one of BINDING. */
  message(datagram: Uint8Array): StunMessage | StunFault {
    const transactionId = datagram.subarray(STUN_HEADER_BYTES - TRANSACTION_ID_BYTES, STUN_HEADER_BYTES);
    const common = { transactionId, unknownRequired: this.#unknown ?? NONE, fingerprint: this.fingerprint };
    switch (readU16be(datagram, 0)) {
      case MessageType.request:
        return { kind: 'request', ...common, change: this.#change, responsePort: this.#responsePort };
      case MessageType.indication:
        return { kind: 'indication', ...common };
      case MessageType.success: {
        const addresses = {
          xorMapped: this.#xorMapped,
          mapped: this.#mapped,
          origin: this.#origin,
          other: this.#other,
        };
        return { kind: 'success', ...common, ...addresses };
      }
      default:
        if (this.#code === null) return 'badAttribute';
        return { kind: 'error', ...common, code: this.#code, unknownAttributes: this.#unknownAttributes ?? NONE };
    }
  }
}

function readAddress(message: Uint8Array, at: number, size: number, xored: boolean): Endpoint | null {
  const family = message[at + 1];
  if (!(size === 8 && family === 1) && !(size === 20 && family === 2)) return null;
  const address = message.slice(at + 4, at + size);
  let port = readU16be(message, at + 2);
  if (xored) {
    port ^= MAGIC_COOKIE >>> 16;
    // The cookie and the transaction id, which follow one another in the header.
    for (let i = 0; i < address.length; i++) address[i] = (address[i] as number) ^ (message[4 + i] as number);
  }
  return port === 0 ? null : formatEndpoint(formatAddress(address), port);
}

const CHANGE_ADDRESS = 4;
const CHANGE_PORT = 2;

function readChange(flags: number): ChangeRequest {
  return { address: (flags & CHANGE_ADDRESS) !== 0, port: (flags & CHANGE_PORT) !== 0 };
}

/** The phrase behind the number is not read: it is for people who do not see it here. */
function readErrorCode(message: Uint8Array, at: number, size: number): number | null {
  if (size < 4) return null;
  const hundreds = (message[at + 2] as number) & 7;
  const rest = message[at + 3] as number;
  return hundreds < 3 || hundreds > 6 || rest > 99 ? null : 100 * hundreds + rest;
}

function readTypes(message: Uint8Array, at: number, size: number): readonly number[] {
  const count = Math.min(size / 2, UNKNOWN_ATTRIBUTES_MAX);
  return Array.from({ length: count }, (_, i) => readU16be(message, at + 2 * i));
}

// — writing —

export interface RequestFields {
  readonly change?: ChangeRequest | null;
  readonly responsePort?: number | null;
  /** Filled up to this many bytes with SOFTWARE, so that no answer needs to be larger; a multiple of 4, at most 512. */
  readonly bytes?: number;
  readonly fingerprint?: boolean;
}

export interface SuccessFields {
  readonly xorMapped: Endpoint;
  readonly mapped?: Endpoint | null;
  readonly origin?: Endpoint | null;
  readonly other?: Endpoint | null;
  readonly fingerprint?: boolean;
}

export interface ErrorFields {
  /** 300 … 699. */
  readonly code: number;
  /** At most UNKNOWN_ATTRIBUTES_MAX. */
  readonly unknownAttributes?: readonly number[];
  readonly fingerprint?: boolean;
}

const FINGERPRINT_BYTES = ATTRIBUTE_HEADER_BYTES + 4;
const CHANGE_REQUEST_BYTES = ATTRIBUTE_HEADER_BYTES + 4;
const RESPONSE_PORT_BYTES = ATTRIBUTE_HEADER_BYTES + 4;
/** In front of the spaces that fill a request. */
const SOFTWARE = 'warren';
const SPACE = 32;

/** `transactionId`: 12 bytes, borrowed, here and below. */
export function encodeRequest(transactionId: Uint8Array, fields: RequestFields = {}): Uint8Array {
  const { change = null, responsePort = null, fingerprint: marked = false } = fields;
  let least = STUN_HEADER_BYTES + (marked ? FINGERPRINT_BYTES : 0);
  if (change !== null) least += CHANGE_REQUEST_BYTES;
  if (responsePort !== null) least += RESPONSE_PORT_BYTES;
  const fill = (fields.bytes ?? 0) - least - ATTRIBUTE_HEADER_BYTES;
  const bytes = fill < 0 ? least : least + ATTRIBUTE_HEADER_BYTES + padded(fill);
  const writer = new Writer(MessageType.request, transactionId, bytes);
  if (change !== null) {
    const flags = (change.address ? CHANGE_ADDRESS : 0) | (change.port ? CHANGE_PORT : 0);
    writeU32be(writer.bytes, writer.attribute(Attribute.changeRequest, 4), flags);
  }
  if (responsePort !== null) writeU16be(writer.bytes, writer.attribute(Attribute.responsePort, 2), responsePort);
  if (fill >= 0) {
    const at = writer.attribute(Attribute.software, fill);
    writer.bytes.fill(SPACE, at, at + fill);
    for (let i = 0; i < Math.min(fill, SOFTWARE.length); i++) writer.bytes[at + i] = SOFTWARE.charCodeAt(i);
  }
  return writer.finish(marked);
}

/** Answered by nobody: having left is its purpose, the firewalls on the way now expect something from there. */
export function bindingIndication(random: RandomSource): Uint8Array {
  const transactionId = new Uint8Array(TRANSACTION_ID_BYTES);
  random(transactionId);
  return new Writer(MessageType.indication, transactionId, STUN_HEADER_BYTES).finish(false);
}

export function encodeSuccess(transactionId: Uint8Array, fields: SuccessFields): Uint8Array {
  const { xorMapped, mapped = null, origin = null, other = null, fingerprint: marked = false } = fields;
  let bytes = STUN_HEADER_BYTES + (marked ? FINGERPRINT_BYTES : 0) + addressAttributeBytes(xorMapped);
  for (const endpoint of [mapped, origin, other]) if (endpoint !== null) bytes += addressAttributeBytes(endpoint);
  const writer = new Writer(MessageType.success, transactionId, bytes);
  writer.address(Attribute.xorMappedAddress, xorMapped);
  if (mapped !== null) writer.address(Attribute.mappedAddress, mapped);
  if (origin !== null) writer.address(Attribute.responseOrigin, origin);
  if (other !== null) writer.address(Attribute.otherAddress, other);
  return writer.finish(marked);
}

/** Without a phrase, which would only make it larger. */
export function encodeError(transactionId: Uint8Array, fields: ErrorFields): Uint8Array {
  const { code, unknownAttributes = NONE, fingerprint: marked = false } = fields;
  const typesBytes = 2 * unknownAttributes.length;
  let bytes = STUN_HEADER_BYTES + ATTRIBUTE_HEADER_BYTES + 4 + (marked ? FINGERPRINT_BYTES : 0);
  if (typesBytes > 0) bytes += ATTRIBUTE_HEADER_BYTES + padded(typesBytes);
  const writer = new Writer(MessageType.error, transactionId, bytes);
  const at = writer.attribute(Attribute.errorCode, 4);
  writeU16be(writer.bytes, at + 2, (Math.floor(code / 100) << 8) | (code % 100));
  if (typesBytes > 0) {
    const types = writer.attribute(Attribute.unknownAttributes, typesBytes);
    for (const [i, type] of unknownAttributes.entries()) writeU16be(writer.bytes, types + 2 * i, type);
  }
  return writer.finish(marked);
}

/** What an address takes in a message: 12 or 24. */
export function addressAttributeBytes(endpoint: Endpoint): number {
  return ATTRIBUTE_HEADER_BYTES + (endpoint.startsWith('[') ? 20 : 8);
}

function padded(size: number): number {
  return (size + 3) & ~3;
}

class Writer {
  readonly bytes: Uint8Array;
  #at = STUN_HEADER_BYTES;

  constructor(type: number, transactionId: Uint8Array, bytes: number) {
    this.bytes = new Uint8Array(bytes);
    writeU16be(this.bytes, 0, type);
    writeU16be(this.bytes, 2, bytes - STUN_HEADER_BYTES);
    writeU32be(this.bytes, 4, MAGIC_COOKIE);
    this.bytes.set(transactionId, STUN_HEADER_BYTES - TRANSACTION_ID_BYTES);
  }

  /** Writes the head of an attribute and says where its value goes. */
  attribute(type: number, size: number): number {
    const value = this.#at + ATTRIBUTE_HEADER_BYTES;
    writeU16be(this.bytes, this.#at, type);
    writeU16be(this.bytes, this.#at + 2, size);
    this.#at = value + padded(size);
    return value;
  }

  address(type: number, endpoint: Endpoint): void {
    const { bytes } = this;
    const { address, port } = endpointParts(endpoint);
    const raw = addressBytes(address);
    const at = this.attribute(type, 4 + raw.length);
    const xored = type === Attribute.xorMappedAddress;
    bytes[at + 1] = familyOf(address) === 4 ? 1 : 2;
    writeU16be(bytes, at + 2, xored ? port ^ (MAGIC_COOKIE >>> 16) : port);
    for (let i = 0; i < raw.length; i++) {
      bytes[at + 4 + i] = (raw[i] as number) ^ (xored ? (bytes[4 + i] as number) : 0);
    }
  }

  finish(marked: boolean): Uint8Array {
    if (marked) {
      const from = this.#at;
      writeU32be(this.bytes, this.attribute(Attribute.fingerprint, 4), fingerprint(this.bytes, from));
    }
    return this.bytes;
  }
}
