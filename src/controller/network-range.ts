// The addresses of a network: what is fit to be one, the default, and whether it collides with a network that this machine
// has already. Chosen once, at the first start: afterwards nodes have addresses in it.

import { familyOf, formatPrefix, type IpPrefix, parseAddressBytes, parsePrefix } from '../base/ip.ts';
import type { RandomSource } from '../base/prng.ts';
import { overlaps, unfitRange } from '../protocol/mesh-range.ts';
import { StartError } from '../service/start-error.ts';
import { HOST_MIN } from './state/addresses.ts';
import type { Settings } from './state/model.ts';

export const PREFIX4_DEFAULT = '100.80.0.0/12' as IpPrefix;
const NETWORK_NAME = 'warren';
const EPOCH_BYTES = 12;

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
  const why = unfitRange(prefix);
  if (why !== null) throw unusable(prefix, why);
}

function unusable(text: string, why: string): StartError {
  return new StartError({
    what: `${text} cannot be the network`,
    why,
    help: `give a private range for each family, as in: --network 10.90.0.0/16,fd12:3456:789a::/48`,
  });
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
