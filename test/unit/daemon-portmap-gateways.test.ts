// Which gateways are asked for mappings, from the addresses and routes that the kernel tells.

import { describe, expect, test } from 'vitest';
import type { IpAddress, IpPrefix } from '../../src/base/ip.ts';
import type { HostAddress, HostRoute } from '../../src/daemon/mesh/host-network.ts';
import { chooseGateways } from '../../src/daemon/portmap/gateways.ts';

const address = (ifindex: number, text: string, more: Partial<HostAddress> = {}): HostAddress => ({
  ifname: `eth${ifindex}`,
  ifindex,
  address: text.split('/')[0] as IpAddress,
  prefixLength: Number(text.split('/')[1]),
  up: true,
  loopback: false,
  scope: 'global',
  tentative: false,
  deprecated: false,
  temporary: false,
  ...more,
});

const via = (
  ifindex: number,
  gateway: string | null,
  prefix = gateway?.includes(':') ? '::/0' : '0.0.0.0/0',
): HostRoute => ({
  prefix: prefix as IpPrefix,
  ifname: `eth${ifindex}`,
  ifindex,
  gateway: gateway as IpAddress | null,
});

const chosen = (addresses: readonly HostAddress[], routes: readonly HostRoute[]): string[] =>
  chooseGateways(addresses, routes, 'eth9').gateways.map((one) => `${one.address} from ${one.local} on ${one.ifname}`);

describe('a gateway', () => {
  test('is that of the default route, asked from our address in its network', () => {
    const addresses = [address(1, '10.0.0.5/8'), address(1, '192.168.1.2/24'), address(2, '192.168.2.2/24')];
    expect(chosen(addresses, [via(1, '192.168.1.1')])).toEqual(['192.168.1.1 from 192.168.1.2 on eth1']);
  });

  test('is the preferred one of several', () => {
    const addresses = [address(1, '192.168.1.2/24'), address(2, '192.168.2.2/24')];
    expect(chosen(addresses, [via(2, '192.168.2.1'), via(1, '192.168.1.1')])).toEqual([
      '192.168.2.1 from 192.168.2.2 on eth2',
    ]);
  });

  test('may be outside of our network, as clouds have it', () => {
    expect(chosen([address(1, '10.1.2.3/32')], [via(1, '169.254.1.1')])).toEqual(['169.254.1.1 from 10.1.2.3 on eth1']);
  });

  test.each([
    ['on an interface that is down', [address(1, '192.168.1.2/24', { up: false })], via(1, '192.168.1.1')],
    ['through our own tunnel', [address(9, '192.168.1.2/24')], via(9, '192.168.1.1')],
    ['without an address of its own', [address(1, '192.168.1.2/24')], via(1, null, '0.0.0.0/0')],
    ['of a part of the internet', [address(1, '192.168.1.2/24')], via(1, '192.168.1.1', '0.0.0.0/1')],
    ['on an interface where we have no address', [address(2, '192.168.1.2/24')], via(1, '192.168.1.1')],
  ])('is none %s', (_what, addresses, route) => {
    expect(chosen(addresses, [route])).toEqual([]);
    expect(chooseGateways(addresses, [route], 'eth9').withoutIpv4).toBe('there is no default gateway');
  });

  test('is not asked when our own address is a public one', () => {
    const choice = chooseGateways([address(1, '203.0.113.5/24')], [via(1, '203.0.113.1')], 'eth9');
    expect(choice.gateways).toEqual([]);
    expect(choice.withoutIpv4).toBe("there is no NAT: this machine's own address 203.0.113.5 is a public one");
  });

  test('of IPv6 is asked from an address that others can use and that lasts', () => {
    const addresses = [
      address(1, 'fe80::5/64', { scope: 'link' }),
      address(1, 'fd00::5/64'),
      address(1, '2001:db8::3/64', { deprecated: true }),
      address(1, '2001:db8::4/64', { temporary: true }),
      address(1, '2001:db8::5/64'),
    ];
    expect(chosen(addresses, [via(1, 'fe80::1')])).toEqual(['fe80::1 from 2001:db8::5 on eth1']);
    expect(chosen(addresses.slice(0, 2), [via(1, 'fe80::1')])).toEqual([]);
  });

  test('there may be one of each family', () => {
    const addresses = [address(1, '192.168.1.2/24'), address(1, '2001:db8::5/64')];
    expect(chosen(addresses, [via(1, 'fe80::1'), via(1, '192.168.1.1')])).toEqual([
      '192.168.1.1 from 192.168.1.2 on eth1',
      'fe80::1 from 2001:db8::5 on eth1',
    ]);
  });
});
