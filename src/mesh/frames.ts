// Control frames inside the tunnel: transport data whose first nibble is zero, so that a stock WireGuard drops it. All
// integers are big-endian; what follows `length` is padding. A frame of an unknown kind or version is ignored.
//
//        0        1        2        4                8
//   ping | 0 vvvv |  0x01  | length |  transaction   | padding …
//
//        0        1        2        4                8        9        10       12                28
//   pong | 0 vvvv |  0x02  | length |  transaction   | family |  0     |  port  | address          |
//
// `vvvv` is the version, 1. `family`: 4, 6 or 0 (not told); an IPv4 address stands in the first four bytes, zeros behind it.

import { readU16be, readU32be, writeU16be, writeU32be } from '../base/bytes.ts';
import { type Endpoint, formatAddress, formatEndpoint } from '../base/ip.ts';

export const FRAME_VERSION = 1;
/** What the data plane sends and takes at most. */
export const FRAME_BYTES_MAX = 1_500;
export const PING_BYTES_MIN = 8;
export const PONG_BYTES = 28;

const HEADER_BYTES = 8;
const KIND_PING = 1;
const KIND_PONG = 2;

export type Frame =
  | { readonly kind: 'ping'; readonly txid: number }
  /** `observed`: where the ping came from, as the other end saw it. */
  | { readonly kind: 'pong'; readonly txid: number; readonly observed: Endpoint | null }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'malformed' };

/** `bytes`: of the whole frame, PING_BYTES_MIN … FRAME_BYTES_MAX. */
export function encodePing(txid: number, bytes: number): Uint8Array {
  return header(KIND_PING, txid, bytes);
}

/** `address`: 4 or 16 bytes, borrowed. */
export function encodePong(txid: number, address: Uint8Array, port: number): Uint8Array {
  const frame = header(KIND_PONG, txid, PONG_BYTES);
  frame[8] = address.length === 4 ? 4 : 6;
  writeU16be(frame, 10, port);
  frame.set(address, 12);
  return frame;
}

function header(kind: number, txid: number, length: number): Uint8Array {
  const frame = new Uint8Array(length);
  frame[0] = FRAME_VERSION;
  frame[1] = kind;
  writeU16be(frame, 2, length);
  writeU32be(frame, 4, txid);
  return frame;
}

/** `bytes`: the plaintext with the padding of the transport. Never throws. */
export function decodeFrame(bytes: Uint8Array): Frame {
  if (bytes.length < HEADER_BYTES || (bytes[0] as number) >> 4 !== 0) return { kind: 'malformed' };
  if (bytes[0] !== FRAME_VERSION) return { kind: 'unknown' };
  const kind = bytes[1];
  if (kind !== KIND_PING && kind !== KIND_PONG) return { kind: 'unknown' };
  const length = readU16be(bytes, 2);
  if (length < (kind === KIND_PING ? PING_BYTES_MIN : PONG_BYTES) || length > bytes.length)
    return { kind: 'malformed' };
  const txid = readU32be(bytes, 4);
  return kind === KIND_PING ? { kind: 'ping', txid } : { kind: 'pong', txid, observed: observedIn(bytes) };
}

function observedIn(pong: Uint8Array): Endpoint | null {
  const family = pong[8];
  const port = readU16be(pong, 10);
  if (port === 0 || (family !== 4 && family !== 6)) return null;
  return formatEndpoint(formatAddress(pong.subarray(12, family === 4 ? 16 : 28)), port);
}
