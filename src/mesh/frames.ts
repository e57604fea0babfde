// Control frames inside the tunnel: transport data whose first nibble is zero, so that a stock WireGuard drops it. All
// integers are big-endian; what follows `length` is padding. A frame of an unknown kind or version is ignored.
//
//        0        1        2        4                8
//   ping | 0 vvvv |  0x01  | length |  transaction   | padding …
//
//        0        1        2        4                8        9        10       12                28
//   pong | 0 vvvv |  0x02  | length |  transaction   | family |  0     |  port  | address          |
//
// Between a node and a relay (docs/paths.md); `length` begins at 8, 16, 9 and 10:
//
//   relayAllocate | 0 vvvv |  0x03  | length |  transaction   |
//   relaySlot     | 0 vvvv |  0x04  | length |  transaction   | slot, 8 bytes    |
//   relayRefused  | 0 vvvv |  0x05  | length |  transaction   | reason |
//   relayDraining | 0 vvvv |  0x06  | length |  transaction   | seconds         |
//
// `vvvv` is the version, 1. `family`: 4, 6 or 0 (not told); an IPv4 address stands in the first four bytes, zeros behind it.
// `reason`: 1 not a member, 2 full, 3 draining; whatever else is one of a newer relay.

import { readU16be, readU32be, writeU16be, writeU32be } from '../base/bytes.ts';
import { type Endpoint, formatAddress, formatEndpoint } from '../base/ip.ts';
import { RELAY_SLOT_BYTES } from '../base/relayed.ts';

export const FRAME_VERSION = 1;
/** What the data plane sends and takes at most. */
export const FRAME_BYTES_MAX = 1_500;
export const PING_BYTES_MIN = 8;
export const PONG_BYTES = 28;

const HEADER_BYTES = 8;
const KIND_PING = 1;
const KIND_PONG = 2;
const KIND_RELAY_ALLOCATE = 3;
const KIND_RELAY_SLOT = 4;
const KIND_RELAY_REFUSED = 5;
const KIND_RELAY_DRAINING = 6;

/** What a frame of each kind has at least. */
const BYTES_MIN: Readonly<Record<number, number>> = {
  [KIND_PING]: PING_BYTES_MIN,
  [KIND_PONG]: PONG_BYTES,
  [KIND_RELAY_ALLOCATE]: HEADER_BYTES,
  [KIND_RELAY_SLOT]: HEADER_BYTES + RELAY_SLOT_BYTES,
  [KIND_RELAY_REFUSED]: HEADER_BYTES + 1,
  [KIND_RELAY_DRAINING]: HEADER_BYTES + 2,
};

/** In the order of their numbers, from 1 on. */
const REFUSALS = ['notMember', 'full', 'draining'] as const;
/** `unknown`: of a newer relay. */
export type RelayRefusal = (typeof REFUSALS)[number] | 'unknown';
const SECONDS_MAX = 0xffff;

export type Frame =
  | { readonly kind: 'ping'; readonly txid: number }
  /** `observed`: where the ping came from, as the other end saw it. */
  | { readonly kind: 'pong'; readonly txid: number; readonly observed: Endpoint | null }
  | { readonly kind: 'relayAllocate'; readonly txid: number }
  /** `slot`: 8 bytes, not all zero; a copy. */
  | { readonly kind: 'relaySlot'; readonly txid: number; readonly slot: Uint8Array }
  | { readonly kind: 'relayRefused'; readonly txid: number; readonly reason: RelayRefusal }
  | { readonly kind: 'relayDraining'; readonly txid: number; readonly seconds: number }
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

/** Asks a relay for a slot; asked again, the answer is the same. */
export function encodeRelayAllocate(txid: number): Uint8Array {
  return header(KIND_RELAY_ALLOCATE, txid, HEADER_BYTES);
}

/** `slot`: RELAY_SLOT_BYTES, borrowed. */
export function encodeRelaySlot(txid: number, slot: Uint8Array): Uint8Array {
  const frame = header(KIND_RELAY_SLOT, txid, HEADER_BYTES + RELAY_SLOT_BYTES);
  frame.set(slot, HEADER_BYTES);
  return frame;
}

export function encodeRelayRefused(txid: number, reason: Exclude<RelayRefusal, 'unknown'>): Uint8Array {
  const frame = header(KIND_RELAY_REFUSED, txid, HEADER_BYTES + 1);
  frame[HEADER_BYTES] = REFUSALS.indexOf(reason) + 1;
  return frame;
}

/** `seconds`: until the relay is gone; more than fit are told as those that do. */
export function encodeRelayDraining(txid: number, seconds: number): Uint8Array {
  const frame = header(KIND_RELAY_DRAINING, txid, HEADER_BYTES + 2);
  writeU16be(frame, HEADER_BYTES, Math.min(SECONDS_MAX, Math.max(0, Math.ceil(seconds))));
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
  const kind = bytes[1] as number;
  const least = BYTES_MIN[kind];
  if (least === undefined) return { kind: 'unknown' };
  const length = readU16be(bytes, 2);
  if (length < least || length > bytes.length) return { kind: 'malformed' };
  return decodeBody(kind, readU32be(bytes, 4), bytes);
}

function decodeBody(kind: number, txid: number, bytes: Uint8Array): Frame {
  switch (kind) {
    case KIND_PING:
      return { kind: 'ping', txid };
    case KIND_PONG:
      return { kind: 'pong', txid, observed: observedIn(bytes) };
    case KIND_RELAY_ALLOCATE:
      return { kind: 'relayAllocate', txid };
    case KIND_RELAY_SLOT: {
      const slot = new Uint8Array(bytes.subarray(HEADER_BYTES, HEADER_BYTES + RELAY_SLOT_BYTES));
      return slot.every((byte) => byte === 0) ? { kind: 'malformed' } : { kind: 'relaySlot', txid, slot };
    }
    case KIND_RELAY_REFUSED:
      return { kind: 'relayRefused', txid, reason: REFUSALS[(bytes[HEADER_BYTES] as number) - 1] ?? 'unknown' };
    default:
      return { kind: 'relayDraining', txid, seconds: readU16be(bytes, HEADER_BYTES) };
  }
}

function observedIn(pong: Uint8Array): Endpoint | null {
  const family = pong[8];
  const port = readU16be(pong, 10);
  if (port === 0 || (family !== 4 && family !== 6)) return null;
  return formatEndpoint(formatAddress(pong.subarray(12, family === 4 ? 16 : 28)), port);
}
