// The few fields of an IP packet that cryptokey routing needs: version, length, where the addresses are (RFC 791,
// RFC 8200). Extension headers, options and checksums are left alone, as in every WireGuard.

import { readU16be } from '../../base/bytes.ts';
import type { Family } from '../../base/ip.ts';

export const IPV4_HEADER = 20;
export const IPV6_HEADER = 40;

export interface IpPacket {
  readonly family: Family;
  /** What the header says, header included: at most what there is. */
  readonly length: number;
  readonly addressLength: 4 | 16;
  readonly sourceAt: number;
  readonly destinationAt: number;
}

/** Null unless `bytes` begins with a whole IPv4 or IPv6 packet; what follows it is padding. Borrowed. */
export function parseIpPacket(bytes: Uint8Array): IpPacket | null {
  const first = bytes[0];
  if (first === undefined) return null;
  if (first >> 4 === 4) {
    const headerLength = (first & 15) * 4;
    if (bytes.length < IPV4_HEADER || headerLength < IPV4_HEADER) return null;
    const length = readU16be(bytes, 2);
    if (length < headerLength || length > bytes.length) return null;
    return { family: 4, length, addressLength: 4, sourceAt: 12, destinationAt: 16 };
  }
  if (first >> 4 === 6) {
    if (bytes.length < IPV6_HEADER) return null;
    const length = readU16be(bytes, 4) + IPV6_HEADER;
    if (length > bytes.length) return null;
    return { family: 6, length, addressLength: 16, sourceAt: 8, destinationAt: 24 };
  }
  return null;
}
