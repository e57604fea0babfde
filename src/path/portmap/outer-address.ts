// Whether an outer address that a gateway names leads to it from everywhere. One that is private, or shared among the customers of a
// provider, means that there is another NAT behind the gateway: the mapping is real and of no use to strangers.

import { addressBytes, type IpAddress, type IpPrefix, prefixParts } from '../../base/ip.ts';

/** IANA's special-purpose registries, without the documentation prefixes: nothing real is there, and tests are. */
const NOT_PUBLIC = (
  [
    '0.0.0.0/8',
    '10.0.0.0/8',
    '100.64.0.0/10',
    '127.0.0.0/8',
    '169.254.0.0/16',
    '172.16.0.0/12',
    '192.0.0.0/24',
    '192.168.0.0/16',
    '198.18.0.0/15',
    '224.0.0.0/3',
  ] as IpPrefix[]
).map(prefixParts);

/** Global unicast of IPv6 is what has been given out so far: 2000::/3. */
export function isPublicAddress(address: IpAddress): boolean {
  const bytes = addressBytes(address);
  if (bytes.length === 16) return (bytes[0] as number) >> 5 === 1;
  return !NOT_PUBLIC.some((prefix) => isWithin(bytes, prefix));
}

/** No address at all: what gateways give that have none yet. */
export function isUnspecified(address: IpAddress): boolean {
  return addressBytes(address).every((byte) => byte === 0);
}

function isWithin(bytes: Uint8Array, prefix: { readonly bytes: Uint8Array; readonly length: number }): boolean {
  for (let bit = 0; bit < prefix.length; bit += 8) {
    const mask = (0xff00 >> Math.min(8, prefix.length - bit)) & 255;
    if ((((bytes[bit / 8] as number) ^ (prefix.bytes[bit / 8] as number)) & mask) !== 0) return false;
  }
  return true;
}
