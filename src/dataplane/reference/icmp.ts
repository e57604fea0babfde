// The ICMP errors that the plane writes back to the local host when a packet has nowhere to go (RFC 792, RFC 4443;
// when not to send one: RFC 1122 §3.2.2, RFC 4443 §2.4). The error comes from the address that was not reached: it is
// routed through the tunnel, so the host's reverse-path filter lets it in. Rate limiting is the caller's.

import { readU16be, writeU16be, writeU32be } from '../../base/bytes.ts';
import { IPV4_HEADER, IPV6_HEADER, type IpPacket } from './ip-packet.ts';

/** `noRoute`: nobody owns the destination. `unreachable`: its owner cannot be reached. IPv4 says the same for both. */
export type UnreachableReason = 'noRoute' | 'unreachable';

/** Type and code for either family, and what stands in the second word: the MTU (RFC 1191 §4, RFC 4443 §3.2). */
interface Meaning {
  readonly v4: readonly [type: number, code: number];
  readonly v6: readonly [type: number, code: number];
  readonly mtu: number;
}

const ICMP_HEADER = 8;
const HOP_LIMIT = 64;
const PROTOCOL_ICMP = 1;
const PROTOCOL_ICMPV6 = 58;
const NO_ROUTE: Meaning = { v4: [3, 1], v6: [1, 0], mtu: 0 };
const ADDRESS_UNREACHABLE: Meaning = { v4: [3, 1], v6: [1, 3], mtu: 0 };
/** RFC 1812 §4.3.2.3 and RFC 4443 §2.4: as much of the packet as fits without exceeding these. */
const ICMP_BYTES_MAX = 576;
const ICMPV6_BYTES_MAX = 1280;

/** The error about `packet`, or null when none may be sent. */
export function unreachable(bytes: Uint8Array, packet: IpPacket, reason: UnreachableReason): Uint8Array | null {
  return answer(bytes, packet, reason === 'noRoute' ? NO_ROUTE : ADDRESS_UNREACHABLE);
}

/** The error about a packet that does not fit `mtu`, or null when none may be sent. IPv4: the packet has DF set. */
export function packetTooBig(bytes: Uint8Array, packet: IpPacket, mtu: number): Uint8Array | null {
  return answer(bytes, packet, { v4: [3, 4], v6: [2, 0], mtu });
}

function answer(bytes: Uint8Array, packet: IpPacket, meaning: Meaning): Uint8Array | null {
  if (packet.family === 4) return deservesIcmp(bytes, packet.length) ? icmp(bytes, packet.length, meaning) : null;
  return deservesIcmpv6(bytes, packet.length) ? icmpv6(bytes, packet.length, meaning) : null;
}

function deservesIcmp(bytes: Uint8Array, length: number): boolean {
  const source = bytes[12] as number;
  const unspecified = source === 0 && bytes[13] === 0 && bytes[14] === 0 && bytes[15] === 0;
  if (unspecified || source >= 224 || (bytes[16] as number) >= 224) return false;
  const laterFragment = (readU16be(bytes, 6) & 0x1fff) !== 0;
  if (laterFragment) return false;
  if (bytes[9] !== PROTOCOL_ICMP) return true;
  // About an ICMP error no error is sent; echo and the other queries (RFC 1122 §3.2.2) may have one.
  const typeAt = ((bytes[0] as number) & 15) * 4;
  const type = bytes[typeAt] as number;
  return typeAt < length && (type === 0 || type === 8 || (type >= 13 && type <= 18));
}

function deservesIcmpv6(bytes: Uint8Array, length: number): boolean {
  let unspecified = true;
  for (let i = 8; i < 24; i++) if (bytes[i] !== 0) unspecified = false;
  if (unspecified || bytes[8] === 0xff || bytes[24] === 0xff) return false;
  if (bytes[6] !== PROTOCOL_ICMPV6) return true;
  return length > IPV6_HEADER && (bytes[IPV6_HEADER] as number) >= 128;
}

function icmp(bytes: Uint8Array, length: number, meaning: Meaning): Uint8Array {
  const quoted = bytes.subarray(0, Math.min(length, ICMP_BYTES_MAX - IPV4_HEADER - ICMP_HEADER));
  const error = new Uint8Array(IPV4_HEADER + ICMP_HEADER + quoted.length);
  error[0] = 0x45;
  writeU16be(error, 2, error.length);
  error[8] = HOP_LIMIT;
  error[9] = PROTOCOL_ICMP;
  error.set(bytes.subarray(16, 20), 12);
  error.set(bytes.subarray(12, 16), 16);
  writeU16be(error, 10, finish(sum(error, 0, IPV4_HEADER, 0)));
  error.set(meaning.v4, IPV4_HEADER);
  writeU32be(error, IPV4_HEADER + 4, meaning.mtu);
  error.set(quoted, IPV4_HEADER + ICMP_HEADER);
  writeU16be(error, IPV4_HEADER + 2, finish(sum(error, IPV4_HEADER, error.length, 0)));
  return error;
}

function icmpv6(bytes: Uint8Array, length: number, meaning: Meaning): Uint8Array {
  const quoted = bytes.subarray(0, Math.min(length, ICMPV6_BYTES_MAX - IPV6_HEADER - ICMP_HEADER));
  const error = new Uint8Array(IPV6_HEADER + ICMP_HEADER + quoted.length);
  error[0] = 0x60;
  writeU16be(error, 4, ICMP_HEADER + quoted.length);
  error[6] = PROTOCOL_ICMPV6;
  error[7] = HOP_LIMIT;
  error.set(bytes.subarray(24, 40), 8);
  error.set(bytes.subarray(8, 24), 24);
  error.set(meaning.v6, IPV6_HEADER);
  writeU32be(error, IPV6_HEADER + 4, meaning.mtu);
  error.set(quoted, IPV6_HEADER + ICMP_HEADER);
  // RFC 8200 §8.1: the pseudo-header is both addresses, the upper-layer length and the next header.
  const pseudo = sum(error, 8, 40, ICMP_HEADER + quoted.length + PROTOCOL_ICMPV6);
  writeU16be(error, IPV6_HEADER + 2, finish(sum(error, IPV6_HEADER, error.length, pseudo)));
  return error;
}

/** RFC 1071, not yet folded. */
function sum(bytes: Uint8Array, from: number, to: number, start: number): number {
  let total = start;
  for (let i = from; i + 1 < to; i += 2) total += readU16be(bytes, i);
  if ((to - from) % 2 === 1) total += (bytes[to - 1] as number) << 8;
  return total;
}

function finish(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return ~folded & 0xffff;
}
