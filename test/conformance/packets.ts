// IP packets for tests: headers right where a plane looks, the rest recognisable by its filling.

import { concat, readU16be, writeU16be } from '../../src/base/bytes.ts';
import { addressBytes, type IpAddress, parseAddress } from '../../src/base/ip.ts';

export interface PacketOptions {
  readonly source?: string;
  readonly destination?: string;
  /** Whole packet, header included. */
  readonly length?: number;
  /** First byte of the content; the others count up from it. */
  readonly mark?: number;
  readonly protocol?: number;
}

function bytesOf(text: string): Uint8Array {
  return addressBytes(parseAddress(text) as IpAddress);
}

function content(bytes: Uint8Array, from: number, mark: number): void {
  for (let i = from; i < bytes.length; i++) bytes[i] = (mark + i - from) & 255;
}

/** From our host to the remote peer unless said otherwise. UDP. */
export function ipv4(options: PacketOptions = {}): Uint8Array {
  const packet = new Uint8Array(options.length ?? 60);
  content(packet, 20, options.mark ?? 0);
  packet[0] = 0x45;
  writeU16be(packet, 2, packet.length);
  packet[8] = 64;
  packet[9] = options.protocol ?? 17;
  packet.set(bytesOf(options.source ?? '10.0.0.1'), 12);
  packet.set(bytesOf(options.destination ?? '10.0.0.2'), 16);
  return packet;
}

export function ipv6(options: PacketOptions = {}): Uint8Array {
  const packet = new Uint8Array(options.length ?? 80);
  content(packet, 40, options.mark ?? 0);
  packet[0] = 0x60;
  writeU16be(packet, 4, packet.length - 40);
  packet[6] = options.protocol ?? 17;
  packet[7] = 64;
  packet.set(bytesOf(options.source ?? 'fd00::1'), 8);
  packet.set(bytesOf(options.destination ?? 'fd00::2'), 24);
  return packet;
}

/** The way back: from the remote peer to our host. */
export function reversed4(options: PacketOptions = {}): Uint8Array {
  return ipv4({ source: '10.0.0.2', destination: '10.0.0.1', ...options });
}

export function reversed6(options: PacketOptions = {}): Uint8Array {
  return ipv6({ source: 'fd00::2', destination: 'fd00::1', ...options });
}

export function padded(packet: Uint8Array, length: number): Uint8Array {
  return concat(packet, new Uint8Array(length - packet.length));
}

/** RFC 1071 over `bytes`, odd lengths included; 0 when the sum that is in them is right. */
export function internetChecksum(...parts: readonly Uint8Array[]): number {
  const bytes = concat(...parts);
  let total = 0;
  for (let i = 0; i + 1 < bytes.length; i += 2) total += readU16be(bytes, i);
  if (bytes.length % 2 === 1) total += (bytes[bytes.length - 1] as number) << 8;
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return ~total & 0xffff;
}
