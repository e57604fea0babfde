// The memory that a call shares with the addon instead of arguments: endpoints and prefixes as the kernel has them, limits
// of a session, counters. Layout: struct Scratch in native/binding/plane_object.h. Endpoints are read off their canonical
// text without making objects on the way, since a hundred thousand of them are set at start.

import { endianness } from 'node:os';
import { type Endpoint, formatAddress, formatEndpoint, type IpPrefix } from '../../base/ip.ts';

export const SOCKET_ADDRESS_BYTES = 28;
const SECOND_AT = SOCKET_ADDRESS_BYTES;
const ADDRESS_AT = 56;
const LIMITS_AT = 72;
const COUNTERS_AT = 120;

/** Linux, every architecture. */
const AF_INET = 2;
const AF_INET6 = 10;
const LITTLE = endianness() === 'LE';

const COLON = 58;
const DOT = 46;
const PERCENT = 37;
const BRACKET = 93;
const SLASH = 47;

/** `value` of one decimal digit's character code. */
const digit = (code: number): number => code - 48;

function hexDigit(code: number): number {
  return code < 58 ? code - 48 : code - 87;
}

/** Writes the dotted quad that begins at `from`; returns where it ends. */
function writeQuad(bytes: Uint8Array, at: number, text: string, from: number): number {
  let value = 0;
  let i = from;
  let byte = at;
  for (; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === DOT) {
      bytes[byte++] = value;
      value = 0;
    } else if (code === COLON || code === SLASH) {
      break;
    } else {
      value = value * 10 + digit(code);
    }
  }
  bytes[byte] = value;
  return i;
}

/** Writes the 16 bytes of the canonical IPv6 address that begins at `from`; returns where it ends. */
function writeGroups(bytes: Uint8Array, at: number, text: string, from: number): number {
  const end = at + 16;
  bytes.fill(0, at, end);
  let byte = at;
  let gapAt = -1;
  let value = 0;
  let digits = 0;
  let i = from;
  for (; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === BRACKET || code === PERCENT || code === SLASH) break;
    if (code !== COLON) {
      value = (value << 4) | hexDigit(code);
      digits++;
      continue;
    }
    if (digits > 0) {
      bytes[byte++] = value >> 8;
      bytes[byte++] = value & 255;
      value = 0;
      digits = 0;
    }
    if (text.charCodeAt(i + 1) === COLON) gapAt = byte;
  }
  if (digits > 0) {
    bytes[byte++] = value >> 8;
    bytes[byte++] = value & 255;
  }
  if (gapAt >= 0 && byte < end) {
    bytes.copyWithin(end - (byte - gapAt), gapAt, byte);
    bytes.fill(0, gapAt, end - (byte - gapAt));
  }
  return i;
}

function readDecimal(text: string, from: number): number {
  let value = 0;
  for (let i = from; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 48 || code > 57) break;
    value = value * 10 + digit(code);
  }
  return value;
}

/** sockaddr_in or sockaddr_in6 at `at`; `endpoint` is canonical, null writes "none". */
export function writeSocketAddress(view: DataView, bytes: Uint8Array, at: number, endpoint: Endpoint | null): void {
  bytes.fill(0, at, at + SOCKET_ADDRESS_BYTES);
  if (endpoint === null) return;
  if (endpoint.charCodeAt(0) !== 91) {
    view.setUint16(at, AF_INET, LITTLE);
    const colon = writeQuad(bytes, at + 4, endpoint, 0);
    view.setUint16(at + 2, readDecimal(endpoint, colon + 1));
    return;
  }
  view.setUint16(at, AF_INET6, LITTLE);
  let i = writeGroups(bytes, at + 8, endpoint, 1);
  if (endpoint.charCodeAt(i) === PERCENT) {
    view.setUint32(at + 24, readDecimal(endpoint, i + 1), LITTLE);
    i = endpoint.indexOf(']', i);
  }
  view.setUint16(at + 2, readDecimal(endpoint, i + 2));
}

/** Null for "none". */
export function readSocketAddress(view: DataView, bytes: Uint8Array, at: number): Endpoint | null {
  const port = view.getUint16(at + 2);
  switch (view.getUint16(at, LITTLE)) {
    case AF_INET:
      return formatEndpoint(formatAddress(bytes.subarray(at + 4, at + 8)), port);
    case AF_INET6:
      return formatEndpoint(formatAddress(bytes.subarray(at + 8, at + 24)), port, view.getUint32(at + 24, LITTLE));
    default:
      return null;
  }
}

/** The limits of a session: instants and counters as the plane compares them. */
export interface SessionLimits {
  readonly rejectAt: number;
  readonly rekeyOnSendAt: number;
  readonly rekeyOnReceiveAt: number;
  readonly rekeyAfterMessages: bigint;
  readonly rejectAfterMessages: bigint;
  readonly firstSendCounter: bigint;
}

export class Scratch {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly counters: Float64Array;

  /** `memory`: what the addon lends. */
  constructor(memory: ArrayBuffer) {
    this.#bytes = new Uint8Array(memory);
    this.#view = new DataView(memory);
    this.counters = new Float64Array(memory, COUNTERS_AT);
  }

  writeFirst(endpoint: Endpoint | null): void {
    writeSocketAddress(this.#view, this.#bytes, 0, endpoint);
  }

  writeSecond(endpoint: Endpoint | null): void {
    writeSocketAddress(this.#view, this.#bytes, SECOND_AT, endpoint);
  }

  readFirst(): Endpoint | null {
    return readSocketAddress(this.#view, this.#bytes, 0);
  }

  /** The address goes to its place; returns the prefix length. `prefix` is canonical. */
  writePrefix(prefix: IpPrefix, ipv6: boolean): number {
    const slash = ipv6
      ? writeGroups(this.#bytes, ADDRESS_AT, prefix, 0)
      : writeQuad(this.#bytes, ADDRESS_AT, prefix, 0);
    return readDecimal(prefix, slash + 1);
  }

  writeLimits(limits: SessionLimits): void {
    const view = this.#view;
    view.setFloat64(LIMITS_AT, limits.rejectAt, LITTLE);
    view.setFloat64(LIMITS_AT + 8, limits.rekeyOnSendAt, LITTLE);
    view.setFloat64(LIMITS_AT + 16, limits.rekeyOnReceiveAt, LITTLE);
    view.setBigUint64(LIMITS_AT + 24, limits.rekeyAfterMessages, LITTLE);
    view.setBigUint64(LIMITS_AT + 32, limits.rejectAfterMessages, LITTLE);
    view.setBigUint64(LIMITS_AT + 40, limits.firstSendCounter, LITTLE);
  }
}
