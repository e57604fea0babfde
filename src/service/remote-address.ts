// Where a connection comes from. IPv4 in IPv6 is folded into IPv4. A proxy on this machine is believed about whom it speaks
// for (the last address of X-Forwarded-For, which it added itself); nobody else is.

import { addressBytes, familyOf, formatPrefix, type IpAddress, parseAddress } from '../base/ip.ts';

const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;
const SOURCE_BITS_6 = 64;

/** As a socket gives it; a zone is dropped. */
export function canonicalAddress(text: string | undefined): IpAddress | null {
  if (text === undefined) return null;
  const bare = text.split('%')[0] as string;
  return parseAddress(MAPPED.exec(bare)?.[1] ?? bare);
}

export function isLoopback(address: IpAddress): boolean {
  return address === '::1' || address.startsWith('127.');
}

/** Who is to be limited together: an IPv4 address, or the /64 that one machine may have all of. */
export function sourceOf(address: IpAddress): string {
  return familyOf(address) === 4 ? address : formatPrefix(addressBytes(address), SOURCE_BITS_6);
}

/** `forwardedFor`: the header as it came. */
export function clientAddress(socketAddress: string | undefined, forwardedFor: string | undefined): IpAddress | null {
  const direct = canonicalAddress(socketAddress);
  if (direct === null || forwardedFor === undefined || !isLoopback(direct)) return direct;
  return canonicalAddress(forwardedFor.split(',').at(-1)?.trim()) ?? direct;
}
