// The addresses of this machine: which networks it is in, and under which address others most likely reach it. A guess, told
// to the person at the first start; --url says better.

import { networkInterfaces } from 'node:os';
import { familyOf, type IpAddress, type IpPrefix, parseAddress } from '../base/ip.ts';
import { overlaps } from '../protocol/mesh-range.ts';
import { type LocalNetwork, localPrefix } from './network-range.ts';

interface OwnAddress {
  readonly interface: string;
  readonly address: IpAddress;
  readonly prefix: IpPrefix;
  readonly internal: boolean;
}

/** Bridges and the like of containers and virtual machines: others seldom reach those. */
const VIRTUAL = /^(docker|br-|veth|virbr|vmnet|vboxnet|cni|flannel|cali|lxc|lxd|podman|tun|tap|wg|warren)/;
const PRIVATE = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7'] as IpPrefix[];
const LINK_LOCAL = ['169.254.0.0/16', 'fe80::/10'] as IpPrefix[];

function ownAddresses(): OwnAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([name, entries]) =>
    (entries ?? []).flatMap((entry) => {
      const address = parseAddress(entry.address);
      const prefix = localPrefix(entry.cidr);
      return address === null || prefix === null
        ? []
        : [{ interface: name, address, prefix, internal: entry.internal }];
    }),
  );
}

export function localNetworks(): LocalNetwork[] {
  return ownAddresses().filter(({ internal }) => !internal);
}

/** The most likely first: real interfaces, public before private, IPv4 before IPv6. `outside`: the mesh's own addresses. */
export function likelyAddress(outside: readonly IpPrefix[]): IpAddress | null {
  const within = (address: IpAddress, prefixes: readonly IpPrefix[]): boolean =>
    prefixes.some((prefix) => overlaps(prefix, `${address}/${familyOf(address) === 4 ? 32 : 128}` as IpPrefix));
  const ranked = ownAddresses()
    .filter(({ address, internal }) => !internal && !within(address, [...LINK_LOCAL, ...outside]))
    .map((own) => {
      const virtual = VIRTUAL.test(own.interface) ? 4 : 0;
      const unreachable = within(own.address, PRIVATE) ? 1 : 0;
      return { address: own.address, rank: virtual + 2 * (familyOf(own.address) === 6 ? 1 : 0) + unreachable };
    })
    .sort((a, b) => a.rank - b.rank);
  return ranked[0]?.address ?? null;
}
