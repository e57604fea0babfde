// Where others may reach this machine: the addresses of its interfaces with the tunnel's port, the likeliest first. Leaves out
// our own tunnel, addresses inside the mesh (packets would go in circles), those that only mean something on one cable, and,
// unless there is nothing else, the loopback.

import { addressBytes, familyOf, formatEndpoint, type IpAddress, type IpPrefix, prefixParts } from '../../base/ip.ts';
import { CANDIDATES_MAX, type Candidate } from '../../protocol/values.ts';
import type { HostAddress, HostRoute } from './host-network.ts';

export interface CandidateRules {
  /** The tunnel's own interface. */
  readonly ifname: string;
  readonly port: number;
  /** Of the mesh. */
  readonly prefixes: readonly IpPrefix[];
}

export function hostCandidates(addresses: readonly HostAddress[], rules: CandidateRules): Candidate[] {
  const usable = addresses.filter(({ ifname, address }) => ifname !== rules.ifname && !inMesh(address, rules));
  const shared = usable.filter(isShared);
  const chosen = shared.length > 0 ? shared : usable.filter(({ loopback, up }) => loopback && up);
  // Lasting addresses before temporary ones, which privacy extensions replace within a day; the kernel's order otherwise.
  const ordered = [...chosen].sort((a, b) => Number(a.temporary) - Number(b.temporary));
  // The same address on two interfaces (a bridge and its port, a failover pair) is one candidate.
  return interleaved([...new Set(ordered.map(({ address }) => address))])
    .slice(0, CANDIDATES_MAX)
    .map((address) => ({ kind: 'host', endpoint: formatEndpoint(address, rules.port) }));
}

function inMesh(address: IpAddress, { prefixes }: CandidateRules): boolean {
  return prefixes.some((prefix) => isInside(address, prefix));
}

/** Means something on one cable only. */
const LINK_LOCAL = ['169.254.0.0/16', 'fe80::/10'] as IpPrefix[];

/** Usable now, and by others. */
function isShared({ up, loopback, tentative, deprecated, scope, address }: HostAddress): boolean {
  if (!up || loopback || tentative || deprecated || scope === 'link' || scope === 'host') return false;
  return !LINK_LOCAL.some((prefix) => isInside(address, prefix));
}

/** Families by turns, so that many addresses of one do not push out the other. */
function interleaved(addresses: readonly IpAddress[]): IpAddress[] {
  const ipv4 = addresses.filter((address) => familyOf(address) === 4);
  const ipv6 = addresses.filter((address) => familyOf(address) === 6);
  const mixed: IpAddress[] = [];
  for (let i = 0; i < Math.max(ipv4.length, ipv6.length); i++) {
    for (const address of [ipv4[i], ipv6[i]]) if (address !== undefined) mixed.push(address);
  }
  return mixed;
}

export function isInside(address: IpAddress, prefix: IpPrefix): boolean {
  const { bytes, length } = prefixParts(prefix);
  const own = addressBytes(address);
  if (own.length !== bytes.length) return false;
  for (let bit = 0; bit < length; bit += 8) {
    const keep = length - bit >= 8 ? 255 : (0xff00 >> (length - bit)) & 255;
    if ((((own[bit >> 3] as number) ^ (bytes[bit >> 3] as number)) & keep) !== 0) return false;
  }
  return true;
}

export function sameCandidates(a: readonly Candidate[], b: readonly Candidate[]): boolean {
  return (
    a.length === b.length && a.every(({ kind, endpoint }, i) => kind === b[i]?.kind && endpoint === b[i]?.endpoint)
  );
}

/** What of the machine's network matters for reaching others: shared addresses and default routes, not ours. To be compared. */
export function reachability(ifname: string, addresses: readonly HostAddress[], routes: readonly HostRoute[]): string {
  const usable = addresses.filter((address) => address.ifname !== ifname && isShared(address));
  const defaults = routes.filter(({ prefix }) => prefix.endsWith('/0'));
  return JSON.stringify([
    usable.map(({ ifindex, address }) => [ifindex, address]),
    defaults.map(({ prefix, ifindex, gateway }) => [prefix, ifindex, gateway]),
  ]);
}
