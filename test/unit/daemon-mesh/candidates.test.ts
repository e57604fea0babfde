// Which of a machine's addresses others are told.

import { describe, expect, it } from 'vitest';
import type { IpPrefix } from '../../../src/base/ip.ts';
import { hostCandidates, isInside } from '../../../src/daemon/mesh/candidates.ts';
import type { HostAddress } from '../../../src/daemon/mesh/host-network.ts';
import { ObservedAddresses } from '../../../src/daemon/mesh/observed-addresses.ts';
import { CANDIDATES_MAX } from '../../../src/protocol/values.ts';
import { address } from './fakes.ts';

const RULES = { ifname: 'warren0', port: 4000, prefixes: ['100.64.0.0/10', 'fd00:77::/64'] as IpPrefix[] };
const endpoints = (...addresses: HostAddress[]): string[] =>
  hostCandidates(addresses, RULES).map(({ endpoint }) => endpoint);

const loopback = address('lo', '127.0.0.1/8', { loopback: true, scope: 'host', ifindex: 1 });

describe('candidates', () => {
  it('are the addresses of both families with the port of the tunnel', () => {
    expect(endpoints(address('eth0', '192.0.2.7/24'), address('eth0', '2001:db8::7/64'))).toEqual([
      '192.0.2.7:4000',
      '[2001:db8::7]:4000',
    ]);
  });

  it('are not of our tunnel, nor inside the mesh by another interface', () => {
    expect(endpoints(address('warren0', '100.64.0.1/32'), address('eth0', '192.0.2.7/24'))).toEqual(['192.0.2.7:4000']);
    expect(endpoints(address('warren1', '100.64.0.9/32'), address('eth0', '192.0.2.7/24'))).toEqual(['192.0.2.7:4000']);
  });

  it.each([
    ['of a link that is down', { up: false }],
    ['not usable yet', { tentative: true }],
    ['going out of use', { deprecated: true }],
    ['of one cable', { scope: 'link' }],
  ] as const)('are none that are %s', (_what, change) => {
    expect(endpoints(address('eth0', '192.0.2.7/24', change), address('eth1', '198.51.100.1/24'))).toEqual([
      '198.51.100.1:4000',
    ]);
  });

  it('are no link-local ones, whatever the kernel calls their scope', () => {
    expect(endpoints(address('eth0', '169.254.3.4/16'), address('eth0', 'fe80::1/64'))).toEqual([]);
  });

  it('are the loopback only when there is nothing else', () => {
    expect(endpoints(loopback)).toEqual(['127.0.0.1:4000']);
    expect(endpoints(loopback, address('eth0', '192.0.2.7/24'))).toEqual(['192.0.2.7:4000']);
  });

  it('begin with what lasts, and are each named once', () => {
    expect(
      endpoints(
        address('eth0', '2001:db8::aaaa/64', { temporary: true }),
        address('eth0', '2001:db8::7/64'),
        address('br0', '2001:db8::7/64'),
      ),
    ).toEqual(['[2001:db8::7]:4000', '[2001:db8::aaaa]:4000']);
  });

  it('are so many at most, and many of one family leave room for the other', () => {
    const many = Array.from({ length: 40 }, (_, i) => address('eth0', `2001:db8::${(i + 1).toString(16)}/64`));
    const chosen = endpoints(...many, address('eth0', '192.0.2.7/24'));
    expect(chosen).toHaveLength(CANDIDATES_MAX);
    expect(chosen).toContain('192.0.2.7:4000');
  });
});

describe('a prefix', () => {
  it.each([
    ['100.64.0.1', '100.64.0.0/10', true],
    ['100.128.0.1', '100.64.0.0/10', false],
    ['0.0.0.0', '0.0.0.0/0', true],
    ['192.0.2.1', '192.0.2.1/32', true],
    ['192.0.2.2', '192.0.2.1/32', false],
    ['fd00:77::1', 'fd00:77::/64', true],
    ['192.0.2.1', '::/0', false],
  ])('%s in %s: %s', (one, prefix, expected) => {
    expect(isInside(one as Parameters<typeof isInside>[0], prefix as IpPrefix)).toBe(expected);
  });
});

describe('addresses that peers have seen', () => {
  const saw = (seen: ObservedAddresses, id: number, endpoint: string): boolean =>
    seen.saw({ id: id as never, endpoint: endpoint as never });
  const told = (seen: ObservedAddresses): string[] => seen.addTo([]).map(({ endpoint }) => endpoint);

  it('are added when they are none of ours, the newest four, in an order of their own', () => {
    const seen = new ObservedAddresses();
    for (const last of [5, 4, 3, 2, 1]) expect(saw(seen, last, `198.51.100.${last}:1`)).toBe(true);
    expect(saw(seen, 4, '198.51.100.4:1')).toBe(false);
    const host = { kind: 'host', endpoint: '198.51.100.2:1' as never } as const;
    expect(seen.addTo([host])).toEqual([
      host,
      { kind: 'observed', endpoint: '198.51.100.1:1' },
      { kind: 'observed', endpoint: '198.51.100.3:1' },
      { kind: 'observed', endpoint: '198.51.100.4:1' },
    ]);
  });

  it('that one peer makes up, each time another, leave those that the others saw', () => {
    const seen = new ObservedAddresses();
    for (const honest of [1, 2, 3]) saw(seen, honest, '198.51.100.7:4000');
    for (let i = 1; i <= 50; i++) saw(seen, 9, `203.0.113.${i}:53`);
    expect(told(seen)).toEqual(['198.51.100.7:4000', '203.0.113.50:53']);
  });

  it('that many say come before what a few make up', () => {
    const seen = new ObservedAddresses();
    for (const honest of [1, 2, 3]) saw(seen, honest, '198.51.100.7:4000');
    for (let i = 10; i < 16; i++) saw(seen, i, `203.0.113.${i}:53`);
    expect(told(seen)).toContain('198.51.100.7:4000');
    expect(told(seen)).toHaveLength(4);
  });

  it('are forgotten with the network that they were true of, and never name a zone', () => {
    const seen = new ObservedAddresses();
    expect(saw(seen, 1, '[fe80::1%3]:1')).toBe(false);
    saw(seen, 1, '198.51.100.1:1');
    seen.clear();
    expect(seen.addTo([])).toEqual([]);
  });
});
