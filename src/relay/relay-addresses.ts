// Where nodes may reach the relay: what the person says, or the addresses of this machine's interfaces with the relay's port. What the
// controller sees the relay come from, it adds itself. Leaves out what means something on one cable only, and the mesh's own.

import { networkInterfaces } from 'node:os';
import {
  type Endpoint,
  familyOf,
  formatEndpoint,
  type IpAddress,
  type IpPrefix,
  parseAddress,
  parseEndpoint,
} from '../base/ip.ts';
import { overlaps } from '../protocol/mesh-range.ts';
import type { Candidate } from '../protocol/values.ts';

/** Of interfaces; the network's other members probe each. */
export const HOST_CANDIDATES_MAX = 8;
/** Bridges and the like of containers and virtual machines: others seldom reach those. */
const VIRTUAL = /^(docker|br-|veth|virbr|vmnet|vboxnet|cni|flannel|cali|lxc|lxd|podman|tun|tap|wg|warren)/;
const LINK_LOCAL = ['169.254.0.0/16', 'fe80::/10'] as IpPrefix[];

/** What a person writes: an address, or an endpoint when the port outside is another than ours. */
export interface PublicAddress {
  readonly address: IpAddress;
  /** Null: the relay's own. */
  readonly port: number | null;
}

/** `ADDR`, `ADDR4:PORT` or `[ADDR6]:PORT`. Null when it is none. */
export function parsePublicAddress(text: string): PublicAddress | null {
  const address = parseAddress(text);
  if (address !== null) return { address, port: null };
  const endpoint = parseEndpoint(text);
  if (endpoint === null) return null;
  const at = endpoint.lastIndexOf(':');
  const host = parseAddress(endpoint.slice(0, at).replace(/^\[|\]$/g, ''));
  return host === null ? null : { address: host, port: Number(endpoint.slice(at + 1)) };
}

export function publicCandidates(addresses: readonly PublicAddress[], port: number): Candidate[] {
  const endpoints = addresses.map((one) => formatEndpoint(one.address, one.port ?? port));
  return [...new Set(endpoints)].map((endpoint: Endpoint) => ({ kind: 'mapped', endpoint }));
}

/** The likeliest first. `outside`: the network's own prefixes. Loopback alone when there is nothing else. */
export function hostCandidates(port: number, outside: readonly IpPrefix[]): Candidate[] {
  const own = ownAddresses().filter(({ address }) => !isInside(address, [...LINK_LOCAL, ...outside]));
  const shared = own.filter(({ internal }) => !internal);
  const chosen = (shared.length > 0 ? shared : own).toSorted((a, b) => rank(a) - rank(b));
  const addresses = [...new Set(chosen.map(({ address }) => address))];
  return addresses
    .slice(0, HOST_CANDIDATES_MAX)
    .map((address) => ({ kind: 'host', endpoint: formatEndpoint(address, port) }));
}

interface OwnAddress {
  readonly interface: string;
  readonly address: IpAddress;
  readonly internal: boolean;
}

function ownAddresses(): OwnAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([name, entries]) =>
    (entries ?? []).flatMap((entry) => {
      const address = parseAddress(entry.address);
      return address === null ? [] : [{ interface: name, address, internal: entry.internal }];
    }),
  );
}

function rank(own: OwnAddress): number {
  return (VIRTUAL.test(own.interface) ? 2 : 0) + (familyOf(own.address) === 6 ? 1 : 0);
}

function isInside(address: IpAddress, prefixes: readonly IpPrefix[]): boolean {
  const alone = `${address}/${familyOf(address) === 4 ? 32 : 128}` as IpPrefix;
  return prefixes.some((prefix) => overlaps(prefix, alone));
}
