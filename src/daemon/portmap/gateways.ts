// Who may be asked for mappings: the machine's default gateways, one of each family. Only the preferred one, because replies leave
// through it whichever way a packet came in. Leaves out our own tunnel, gateways without an address (point-to-point links, other
// VPNs), and IPv4 gateways of machines whose own address is a public one: there is no NAT, and a data centre's network is no
// place for searches.

import { familyOf, type IpAddress, type IpPrefix } from '../../base/ip.ts';
import { isPublicAddress } from '../../path/portmap/outer-address.ts';
import { isInside } from '../mesh/candidates.ts';
import type { HostAddress, HostRoute } from '../mesh/host-network.ts';

export interface Gateway {
  readonly address: IpAddress;
  /** Ours, on the same link; of IPv6 one that others can use. */
  readonly local: IpAddress;
  readonly ifname: string;
  readonly ifindex: number;
}

export interface GatewayChoice {
  /** At most one of each family, IPv4 first. */
  readonly gateways: readonly Gateway[];
  /** Half a sentence for when there is no gateway of IPv4: why. */
  readonly withoutIpv4: string | null;
}

/** `routes` as HostNetwork gives them: of several default routes the preferred one first. `own`: the tunnel's interface. */
export function chooseGateways(
  addresses: readonly HostAddress[],
  routes: readonly HostRoute[],
  own: string,
): GatewayChoice {
  const usable = addresses.filter(({ up, loopback, tentative, deprecated, ifname }) => {
    return up && !loopback && !tentative && !deprecated && ifname !== own;
  });
  const ipv4 = firstGateway(routes, '0.0.0.0/0', usable, localIpv4);
  const ipv6 = firstGateway(routes, '::/0', usable, localIpv6);
  if (ipv4 !== null && isPublicAddress(ipv4.local)) {
    const why = `there is no NAT: this machine's own address ${ipv4.local} is a public one`;
    return { gateways: ipv6 === null ? [] : [ipv6], withoutIpv4: why };
  }
  const gateways = [ipv4, ipv6].filter((gateway) => gateway !== null);
  return { gateways, withoutIpv4: ipv4 === null ? 'there is no default gateway' : null };
}

function firstGateway(
  routes: readonly HostRoute[],
  prefix: string,
  addresses: readonly HostAddress[],
  localOf: (gateway: IpAddress, onLink: readonly HostAddress[]) => IpAddress | null,
): Gateway | null {
  for (const route of routes) {
    const { gateway, ifindex, ifname } = route;
    if (route.prefix !== prefix || gateway === null || ifindex === null || ifname === null) continue;
    const onLink = addresses.filter((one) => one.ifindex === ifindex && familyOf(one.address) === familyOf(gateway));
    const local = localOf(gateway, onLink);
    if (local !== null) return { address: gateway, local, ifname, ifindex };
  }
  return null;
}

/** Of the gateway's own network, if there is one; else whatever the interface has (host prefixes, as clouds give them). */
function localIpv4(gateway: IpAddress, onLink: readonly HostAddress[]): IpAddress | null {
  const same = onLink.find(({ address, prefixLength }) => {
    return isInside(gateway, `${address}/${prefixLength}` as IpPrefix);
  });
  return (same ?? onLink.find(({ scope }) => scope === 'global'))?.address ?? null;
}

/** What is opened is the way to this address: the first of those that are told to others, lasting ones before temporary ones. */
function localIpv6(_gateway: IpAddress, onLink: readonly HostAddress[]): IpAddress | null {
  const shared = onLink.filter(({ address }) => isPublicAddress(address));
  return (shared.find(({ temporary }) => !temporary) ?? shared[0])?.address ?? null;
}
