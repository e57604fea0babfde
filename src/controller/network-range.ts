// The addresses of a network: what is fit to be one, the default, and whether it collides with a network that this machine
// has already. Chosen once, at the first start: afterwards nodes have addresses in it.

import {
  familyOf,
  formatPrefix,
  type IpPrefix,
  maskBits,
  parseAddressBytes,
  parsePrefix,
  prefixParts,
} from '../base/ip.ts';
import type { RandomSource } from '../base/prng.ts';
import { StartError } from './start-error.ts';
import { HOST_MIN } from './state/addresses.ts';
import type { Settings } from './state/model.ts';

export const PREFIX4_DEFAULT = '100.80.0.0/12' as IpPrefix;
const NETWORK_NAME = 'warren';
const EPOCH_BYTES = 12;

/** For the network itself, services of the mesh, broadcast, and one node. */
const HOST_BITS_MIN = 2;
/** A larger range would take in what belongs to others. */
const LENGTH_MIN = { 4: 8, 6: 32 } as const;

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

export interface NetworkRange {
  readonly prefix4: IpPrefix;
  readonly prefix6: IpPrefix;
}

/** A network of this machine. */
export interface LocalNetwork {
  readonly interface: string;
  readonly prefix: IpPrefix;
}

/** What `--network` says: one prefix or two, in any order. Throws StartError. */
export function parseNetwork(text: string): Partial<NetworkRange> {
  const range: { prefix4?: IpPrefix; prefix6?: IpPrefix } = {};
  for (const part of text.split(',')) {
    const prefix = part.includes('/') ? parsePrefix(part.trim()) : null;
    if (prefix === null) throw unusable(text, `${JSON.stringify(part)} is not a range of addresses`);
    const family = familyOf(prefix);
    const key = family === 4 ? 'prefix4' : 'prefix6';
    if (range[key] !== undefined) throw unusable(text, `it has two IPv${family} ranges`);
    checkPrefix(prefix);
    range[key] = prefix;
  }
  return range;
}

function checkPrefix(prefix: IpPrefix): void {
  const family = familyOf(prefix);
  const { length } = prefixParts(prefix);
  if (length > (family === 4 ? 32 : 128) - HOST_BITS_MIN) {
    throw unusable(prefix, 'it is too small: there must be room for a machine beside the addresses that are kept');
  }
  if (length < LENGTH_MIN[family]) {
    throw unusable(prefix, `it is too large: at most a /${LENGTH_MIN[family]}, or it takes in what others have`);
  }
  const unfit = UNFIT.find(([range]) => overlaps(range, prefix));
  if (unfit !== undefined) throw unusable(prefix, `${unfit[0]} is ${unfit[1]}`);
}

function unusable(text: string, why: string): StartError {
  return new StartError({
    what: `${text} cannot be the network`,
    why,
    help: `give a private range for each family, as in: --network 10.90.0.0/16,fd12:3456:789a::/48`,
  });
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

/** Throws StartError when a network of this machine has some of the same addresses. */
export function refuseCollision(range: NetworkRange, local: readonly LocalNetwork[]): void {
  for (const prefix of [range.prefix4, range.prefix6]) {
    const other = local.find((network) => overlaps(network.prefix, prefix));
    if (other === undefined) continue;
    throw new StartError({
      what: `${prefix} cannot be the network`,
      why: `${other.interface} of this machine is in ${other.prefix}, which has some of the same addresses`,
      help: 'choose a range that no machine of the network uses, as in: --network 10.90.0.0/16',
    });
  }
}

/** RFC 4193: fd00::/8, 40 random bits, and a /48 of which a node has one address. */
export function randomUla(random: RandomSource): IpPrefix {
  const bytes = new Uint8Array(16);
  random(bytes.subarray(1, 6));
  bytes[0] = 0xfd;
  return formatPrefix(bytes, 48);
}

/** Of a network that begins. */
export function firstSettings(range: NetworkRange, requireApproval: boolean, random: RandomSource): Settings {
  const epoch = new Uint8Array(EPOCH_BYTES);
  random(epoch);
  return {
    networkName: NETWORK_NAME,
    ...range,
    requireApproval,
    epoch: Buffer.from(epoch).toString('base64url'),
    nextNodeId: 1,
    nextHost: HOST_MIN,
    nextAuditId: 1,
  };
}

/** `address/length` as Node lists interfaces; null for what is none. */
export function localPrefix(cidr: string | null): IpPrefix | null {
  if (cidr === null || parseAddressBytes(cidr.split('/')[0] as string) === null) return null;
  return parsePrefix(cidr);
}
