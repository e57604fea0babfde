// Which uses of an address range on this host stand in the way of a mesh that wants it.

import { describe, expect, it } from 'vitest';
import type { IpAddress, IpPrefix } from '../../../src/base/ip.ts';
import type { HostAddress, HostRoute } from '../../../src/daemon/mesh/host-network.ts';
import { COLLISIONS_MAX, describeCollision, findCollisions } from '../../../src/daemon/os/collisions.ts';

const MESH = ['100.64.0.0/10', 'fd77::/48'] as IpPrefix[];

function address(ifname: string, text: string): HostAddress {
  const [bare, length] = text.split('/');
  return {
    ifname,
    ifindex: 2,
    address: bare as IpAddress,
    prefixLength: Number(length),
    up: true,
    loopback: false,
    scope: 'global',
    tentative: false,
    deprecated: false,
    temporary: false,
  };
}

const route = (prefix: string, ifname: string | null): HostRoute => ({
  prefix: prefix as IpPrefix,
  ifname,
  ifindex: ifname === null ? null : 2,
  gateway: null,
});

const found = (addresses: readonly HostAddress[], routes: readonly HostRoute[]): string[] =>
  findCollisions(MESH, { addresses, routes }, 'warren0').map(describeCollision);

describe('a collision', () => {
  it.each([
    ['an address inside', [address('eth0', '100.64.3.4/32')], [], 'eth0 has the address 100.64.3.4/32'],
    ['a subnet that reaches in', [address('eth0', '100.0.0.1/8')], [], 'eth0 has the address 100.0.0.1/8'],
    ['an IPv6 address inside', [address('eth0', 'fd77::5/64')], [], 'eth0 has the address fd77::5/64'],
    ['a route inside', [], [route('100.100.0.0/16', 'tun1')], '100.100.0.0/16 is routed through tun1'],
    ['the same route', [], [route('100.64.0.0/10', 'tun1')], '100.64.0.0/10 is routed through tun1'],
    ['a wider route', [], [route('100.0.0.0/8', 'tun1')], '100.0.0.0/8 is routed through tun1'],
    ['part of it that goes nowhere', [], [route('100.64.9.0/24', null)], 'there is a route for 100.64.9.0/24'],
  ])('is %s', (_what, addresses, routes, words) => {
    expect(found(addresses, routes)).toEqual([words]);
  });

  it.each([
    ['a default route', [], [route('0.0.0.0/0', 'eth0'), route('::/0', 'eth0')]],
    ['the halves of a default route', [], [route('0.0.0.0/1', 'tun1'), route('128.0.0.0/1', 'tun1')]],
    ['all that is routed in IPv6', [], [route('2000::/3', 'tun1')]],
    ['a wider range that goes nowhere', [], [route('100.0.0.0/8', null)]],
    ['a neighbour', [address('eth0', '100.128.0.1/24')], [route('100.32.0.0/11', 'eth0'), route('fd78::/48', 'eth0')]],
    ['our own interface', [address('warren0', '100.64.0.1/32')], [route('100.64.0.0/10', 'warren0')]],
    ['the other family', [address('eth0', 'fe80::1/64')], [route('fe80::/64', 'eth0')]],
  ])('is not %s', (_what, addresses, routes) => {
    expect(found(addresses, routes)).toEqual([]);
  });

  it('is told once for an address and the route that came with it', () => {
    expect(found([address('eth0', '100.64.3.4/24')], [route('100.64.3.0/24', 'eth0')])).toEqual([
      'eth0 has the address 100.64.3.4/24',
    ]);
  });

  it('is told for the interface of somebody else when we have none yet', () => {
    const host = { addresses: [address('warren0', '100.64.0.1/32')], routes: [] };
    expect(findCollisions(MESH, host, null)).toHaveLength(1);
  });

  it('is not told more often than it helps', () => {
    const many = Array.from({ length: 1000 }, (_, i) => address(`eth${i}`, `100.64.${i >> 8}.${i & 255}/32`));
    expect(found(many, [])).toHaveLength(COLLISIONS_MAX);
  });
});
