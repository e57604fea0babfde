// Inner packets for the simulation: the smallest valid IPv4 and IPv6 packets that carry who sent them, to whom, and a
// sequence number, so that an invariant can tell where each came from.
//
//   IPv4 header 20 B (or IPv6 40 B), protocol 253 (RFC 3692, experiments) ‖ sequence u32 BE ‖ PLAINTEXT_MARK …

import { readU32be, writeU16be, writeU32be } from '../base/bytes.ts';
import { addressBytes, familyOf, formatAddress, type IpAddress } from '../base/ip.ts';

const PROTOCOL = 253;

/** Fills every inner packet; if it ever shows on the wire, plaintext has left. */
export const PLAINTEXT_MARK = 0xc0ffee42;

function fill(packet: Uint8Array, at: number, sequence: number): void {
  writeU32be(packet, at, sequence);
  for (let mark = at + 4; mark + 4 <= packet.length; mark += 4) writeU32be(packet, mark, PLAINTEXT_MARK);
}

export function makePacket(source: IpAddress, destination: IpAddress, sequence: number, payloadBytes = 16): Uint8Array {
  const payload = Math.max(4, payloadBytes);
  return familyOf(source) === 4
    ? makeIpv4(source, destination, sequence, payload)
    : makeIpv6(source, destination, sequence, payload);
}

function makeIpv4(source: IpAddress, destination: IpAddress, sequence: number, payload: number): Uint8Array {
  const packet = new Uint8Array(20 + payload);
  packet[0] = 0x45;
  writeU16be(packet, 2, packet.length);
  packet[8] = 64;
  packet[9] = PROTOCOL;
  packet.set(addressBytes(source), 12);
  packet.set(addressBytes(destination), 16);
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += ((packet[i] as number) << 8) | (packet[i + 1] as number);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  writeU16be(packet, 10, ~sum & 0xffff);
  fill(packet, 20, sequence);
  return packet;
}

function makeIpv6(source: IpAddress, destination: IpAddress, sequence: number, payload: number): Uint8Array {
  const packet = new Uint8Array(40 + payload);
  packet[0] = 0x60;
  writeU16be(packet, 4, payload);
  packet[6] = PROTOCOL;
  packet[7] = 64;
  packet.set(addressBytes(source), 8);
  packet.set(addressBytes(destination), 24);
  fill(packet, 40, sequence);
  return packet;
}

export interface PacketInfo {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly protocol: number;
  readonly sequence: number;
}

/** Null when the packet is not one of ours (an ICMP message, say). */
export function readPacket(packet: Uint8Array): PacketInfo | null {
  const six = (packet[0] as number) >> 4 === 6;
  if (packet.length < (six ? 44 : 24)) return null;
  const protocol = packet[six ? 6 : 9] as number;
  if (protocol !== PROTOCOL) return null;
  return {
    source: formatAddress(six ? packet.subarray(8, 24) : packet.subarray(12, 16)),
    destination: formatAddress(six ? packet.subarray(24, 40) : packet.subarray(16, 20)),
    protocol,
    sequence: readU32be(packet, six ? 40 : 20),
  };
}
