// What a path MTU does to packets (docs/dataplane.md "Path MTU"; RFC 1191, RFC 4459 §3.2): which are too large to go, and the
// MSS option of TCP SYNs (RFC 9293 §3.7.1). Leaves out IPv6 extension headers: a SYN behind one keeps its MSS.

import { readU16be, writeU16be } from '../../base/bytes.ts';
import { PATH_MTU_MIN_V4, PATH_MTU_MIN_V6 } from '../dataplane.ts';
import { IPV6_HEADER, type IpPacket } from './ip-packet.ts';

const PROTOCOL_TCP = 6;
const TCP_HEADER = 20;
const TCP_CHECKSUM_AT = 16;
const SYN = 0x02;
const OPTION_END = 0;
const OPTION_NOTHING = 1;
const OPTION_MSS = 2;
const OPTION_MSS_BYTES = 4;
const IPV4_DONT_FRAGMENT = 0x4000;
const IPV4_FRAGMENT = 0x3fff;

/** In bytes of IP packet; `pathMtu` is not 0. */
export function packetBytesMax(packet: IpPacket, pathMtu: number): number {
  return Math.max(pathMtu, packet.family === 4 ? PATH_MTU_MIN_V4 : PATH_MTU_MIN_V6);
}

/** Whether the packet may not go, since it is larger and must not be fragmented. `pathMtu` 0 = no limit. */
export function isTooBig(bytes: Uint8Array, packet: IpPacket, pathMtu: number): boolean {
  if (pathMtu === 0 || packet.length <= packetBytesMax(packet, pathMtu)) return false;
  return packet.family === 6 || (readU16be(bytes, 6) & IPV4_DONT_FRAGMENT) !== 0;
}

/** Lowers the MSS of a TCP SYN in place so that its segments fit the path; the checksum is as right as it was. */
export function clampMss(bytes: Uint8Array, packet: IpPacket, pathMtu: number): void {
  if (pathMtu === 0) return;
  const tcpAt = synAt(bytes, packet);
  if (tcpAt === null) return;
  const headerBytes = packet.family === 4 ? 40 : 60;
  const most = packetBytesMax(packet, pathMtu) - headerBytes;
  const at = mssAt(bytes, tcpAt, packet.length);
  if (at === null || readU16be(bytes, at) <= most) return;
  const words = (at - tcpAt) % 2 === 0 ? [at] : [at - 1, at + 1];
  const before = words.map((word) => readU16be(bytes, word));
  writeU16be(bytes, at, most);
  words.forEach((word, i) => {
    const checksum = readU16be(bytes, tcpAt + TCP_CHECKSUM_AT);
    writeU16be(bytes, tcpAt + TCP_CHECKSUM_AT, replaced(checksum, before[i] as number, readU16be(bytes, word)));
  });
}

/** Where the TCP header of a SYN begins, or null. */
function synAt(bytes: Uint8Array, packet: IpPacket): number | null {
  const at = packet.family === 4 ? ((bytes[0] as number) & 15) * 4 : IPV6_HEADER;
  if (bytes[packet.family === 4 ? 9 : 6] !== PROTOCOL_TCP || packet.length < at + TCP_HEADER) return null;
  if (packet.family === 4 && (readU16be(bytes, 6) & IPV4_FRAGMENT) !== 0) return null;
  return ((bytes[at + 13] as number) & SYN) === 0 ? null : at;
}

/** Where the value of the MSS option is, or null. */
function mssAt(bytes: Uint8Array, tcpAt: number, end: number): number | null {
  const optionsEnd = tcpAt + ((bytes[tcpAt + 12] as number) >> 4) * 4;
  if (optionsEnd > end) return null;
  for (let at = tcpAt + TCP_HEADER; at < optionsEnd; ) {
    const kind = bytes[at];
    if (kind === OPTION_END) return null;
    if (kind === OPTION_NOTHING) {
      at++;
      continue;
    }
    const length = at + 1 < optionsEnd ? (bytes[at + 1] as number) : 0;
    if (length < 2 || at + length > optionsEnd) return null;
    if (kind === OPTION_MSS) return length === OPTION_MSS_BYTES ? at + 2 : null;
    at += length;
  }
  return null;
}

/** RFC 1624: the checksum after a 16-bit word changed. */
function replaced(checksum: number, before: number, after: number): number {
  let sum = (~checksum & 0xffff) + (~before & 0xffff) + after;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
