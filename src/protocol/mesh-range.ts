// What may be the address range of a network. The controller refuses to begin with any other, and a node to configure one: whoever
// runs the controller may not send a machine's traffic, or what it calls its own addresses, wherever he likes.

import { addressBytes, familyOf, type IpAddress, type IpPrefix, maskBits, prefixParts } from '../base/ip.ts';

/** A larger range would take in what belongs to others. */
export const RANGE_LENGTH_MIN = { 4: 8, 6: 32 } as const;
/** For the network itself, services of the mesh, broadcast, and one node. */
export const HOST_BITS_MIN = 2;

/** Ranges that mean something else, or that no machine may have. */
const UNFIT: readonly (readonly [IpPrefix, string])[] = (
  [
    ['0.0.0.0/8', 'reserved'],
    ['127.0.0.0/8', 'loopback'],
    ['169.254.0.0/16', 'link-local'],
    ['224.0.0.0/3', 'multicast or reserved'],
    ['::/8', 'reserved'],
    ['fe80::/10', 'link-local'],
    ['ff00::/8', 'multicast'],
  ] as const
).map(([prefix, why]) => [prefix as IpPrefix, why] as const);

/** Why `prefix` cannot be a network's range, in words that follow a semicolon; null when it can. */
export function unfitRange(prefix: IpPrefix): string | null {
  const family = familyOf(prefix);
  const { length } = prefixParts(prefix);
  if (length > (family === 4 ? 32 : 128) - HOST_BITS_MIN) {
    return 'it is too small: there must be room for a machine beside the addresses that are kept';
  }
  if (length < RANGE_LENGTH_MIN[family]) {
    return `it is too large: at most a /${RANGE_LENGTH_MIN[family]}, or it takes in what others have`;
  }
  const unfit = UNFIT.find(([range]) => overlaps(range, prefix));
  return unfit === undefined ? null : `${unfit[0]} is ${unfit[1]}`;
}

/** Whether one of the two holds the other. */
export function overlaps(a: IpPrefix, b: IpPrefix): boolean {
  if (familyOf(a) !== familyOf(b)) return false;
  const [first, second] = [prefixParts(a), prefixParts(b)];
  const length = Math.min(first.length, second.length);
  maskBits(first.bytes, length);
  maskBits(second.bytes, length);
  return first.bytes.every((byte, i) => byte === second.bytes[i]);
}

/** Whether a node of the range may have `address`. */
export function isInRange(prefix: IpPrefix, address: IpAddress): boolean {
  const { bytes, length } = prefixParts(prefix);
  const masked = addressBytes(address).slice();
  if (masked.length !== bytes.length) return false;
  maskBits(masked, length);
  return masked.every((byte, i) => byte === bytes[i]);
}
