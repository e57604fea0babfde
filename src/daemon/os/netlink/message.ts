// Messages and attributes of netlink(7), in and out. Reading never throws: what is cut short or lies about its length ends the
// reading there, and what came before it counts. Leaves out what the bodies mean (rtnetlink.ts) and sockets (client.ts).
//
// nlmsghdr; every number is in the byte order of the host, messages begin at multiples of 4:
//
//    0        4      6       8          12        16
//    ┌────────┬──────┬───────┬──────────┬─────────┬──────┄
//    │ length │ type │ flags │ sequence │ port id │ body      length counts from 0
//    └────────┴──────┴───────┴──────────┴─────────┴──────┄
//
// rtattr, one after the other from a multiple of 4 on:
//
//    0        2      4
//    ┌────────┬──────┬───────┄
//    │ length │ type │ value      length counts from 0; the two high bits of the type are flags
//    └────────┴──────┴───────┄

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

export const NLM_F_REQUEST = 0x01;
export const NLM_F_ACK = 0x04;
/** Of an answer: what was listed changed meanwhile, so the list may have holes. */
export const NLM_F_DUMP_INTR = 0x10;
/** Of a request: all there are. */
export const NLM_F_DUMP = 0x300;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
/** Of an error: the request is not repeated in it. */
const NLM_F_CAPPED = 0x100;
/** Of an error: attributes follow. */
const NLM_F_ACK_TLVS = 0x200;

const HEADER_BYTES = 16;
const ATTRIBUTE_HEADER_BYTES = 4;
const ATTRIBUTE_TYPE_MASK = 0x3fff;
const NLMSGERR_ATTR_MSG = 1;
/** Words of the kernel longer than this are cut. */
const REASON_CHARACTERS_MAX = 256;

/** The host's byte order, which netlink speaks. */
const LITTLE = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** Borrowed from the datagram. */
  readonly body: Uint8Array;
}

/** By type; of a type that occurs twice the last. Values are borrowed from the datagram. */
export type Attributes = ReadonlyMap<number, Uint8Array>;

const aligned = (bytes: number): number => (bytes + 3) & ~3;

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** 0 when it is not all there. */
export function readU16(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0;
  const second = bytes[at + 1] ?? 0;
  return LITTLE ? first | (second << 8) : (first << 8) | second;
}

/** What is not there counts as 0. */
export function readU32(bytes: Uint8Array, at: number): number {
  const first = readU16(bytes, at);
  const second = readU16(bytes, at + 2);
  return (LITTLE ? first | (second << 16) : (first << 16) | second) >>> 0;
}

/** The whole messages of a datagram. */
export function readMessages(datagram: Uint8Array): NetlinkMessage[] {
  const messages: NetlinkMessage[] = [];
  for (let at = 0; at + HEADER_BYTES <= datagram.length; ) {
    const length = readU32(datagram, at);
    if (length < HEADER_BYTES || length > datagram.length - at) break;
    messages.push({
      type: readU16(datagram, at + 4),
      flags: readU16(datagram, at + 6),
      sequence: readU32(datagram, at + 8),
      body: datagram.subarray(at + HEADER_BYTES, at + length),
    });
    at += aligned(length);
  }
  return messages;
}

/** The whole attributes of `bytes` from `from` on. */
export function readAttributes(bytes: Uint8Array, from = 0): Attributes {
  const attributes = new Map<number, Uint8Array>();
  for (let at = from; at + ATTRIBUTE_HEADER_BYTES <= bytes.length; ) {
    const length = readU16(bytes, at);
    if (length < ATTRIBUTE_HEADER_BYTES || length > bytes.length - at) break;
    const type = readU16(bytes, at + 2) & ATTRIBUTE_TYPE_MASK;
    attributes.set(type, bytes.subarray(at + ATTRIBUTE_HEADER_BYTES, at + length));
    at += aligned(length);
  }
  return attributes;
}

/** A string as the kernel writes it: up to the first NUL. */
export function readText(value: Uint8Array, charactersMax: number): string {
  let text = '';
  for (let i = 0; i < value.length && i < charactersMax; i++) {
    const code = value[i] as number;
    if (code === 0) break;
    // Names of interfaces are bytes to the kernel; those that are no text cannot be used, only shown.
    text += code >= 0x20 && code < 0x7f ? String.fromCharCode(code) : '?';
  }
  return text;
}

/** The outcome in an NLMSG_ERROR or NLMSG_DONE: errno (0 = acknowledged) and the kernel's own words, if it has any. */
export interface NetlinkOutcome {
  readonly errno: number;
  readonly reason: string | null;
}

/**
 * nlmsgerr:  errno, negative (4) │ header of the request (16) │ its body, unless NLM_F_CAPPED │ attributes with NLM_F_ACK_TLVS
 * done:      errno, negative (4) │ attributes with NLM_F_ACK_TLVS
 */
export function readOutcome(message: NetlinkMessage): NetlinkOutcome {
  const { body, flags } = message;
  // An end of a list without a number is an end without an error.
  const errno = Math.max(0, -(readU32(body, 0) | 0));
  if ((flags & NLM_F_ACK_TLVS) === 0) return { errno, reason: null };
  let at = 4;
  if (message.type === NLMSG_ERROR) {
    const requestBytes = (flags & NLM_F_CAPPED) === 0 ? readU32(body, 4) : HEADER_BYTES;
    at += aligned(Math.max(HEADER_BYTES, Math.min(requestBytes, body.length)));
  }
  const words = readAttributes(body, at).get(NLMSGERR_ATTR_MSG);
  const reason = words === undefined ? '' : readText(words, REASON_CHARACTERS_MAX);
  return { errno, reason: reason === '' ? null : reason };
}

/** Room for every request made here; the largest is a route's. */
const REQUEST_BYTES_MAX = 256;

/** A request under construction: the fixed body first, then attributes. */
export class NetlinkRequest {
  readonly #bytes = new Uint8Array(REQUEST_BYTES_MAX);
  readonly #view = viewOf(this.#bytes);
  #length = HEADER_BYTES;

  /** `flags` beside NLM_F_REQUEST. */
  constructor(type: number, flags: number, bodyBytes: number) {
    this.#view.setUint16(4, type, LITTLE);
    this.#view.setUint16(6, flags | NLM_F_REQUEST, LITTLE);
    this.#length += aligned(bodyBytes);
  }

  /** Into the body, at an offset from its begin. */
  byte(at: number, value: number): this {
    this.#view.setUint8(HEADER_BYTES + at, value);
    return this;
  }

  word(at: number, value: number): this {
    this.#view.setUint32(HEADER_BYTES + at, value, LITTLE);
    return this;
  }

  attribute(type: number, value: Uint8Array): this {
    const length = ATTRIBUTE_HEADER_BYTES + value.length;
    this.#view.setUint16(this.#length, length, LITTLE);
    this.#view.setUint16(this.#length + 2, type, LITTLE);
    this.#bytes.set(value, this.#length + ATTRIBUTE_HEADER_BYTES);
    this.#length += aligned(length);
    return this;
  }

  u32(type: number, value: number): this {
    const bytes = new Uint8Array(4);
    viewOf(bytes).setUint32(0, value, LITTLE);
    return this.attribute(type, bytes);
  }

  /** With its NUL. `text` is ASCII. */
  text(type: number, text: string): this {
    return this.attribute(
      type,
      Uint8Array.from([...text, '\0'], (character) => character.charCodeAt(0)),
    );
  }

  /** The datagram. Borrowed: good until the next call. */
  seal(sequence: number): Uint8Array {
    this.#view.setUint32(0, this.#length, LITTLE);
    this.#view.setUint32(8, sequence, LITTLE);
    return this.#bytes.subarray(0, this.#length);
  }
}
