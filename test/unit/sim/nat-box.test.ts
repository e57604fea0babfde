// The simulated NAT and firewall, by the terms of RFC 4787: mapping (§4.1), allocation of ports (§4.2), refresh (§4.3),
// filtering (§5), and what people do to boxes.

import { describe, expect, test } from 'vitest';
import type { Instant } from '../../../src/base/instant.ts';
import { type Endpoint, endpointParts, type IpAddress } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import type { Dependence, NatBehaviour, PortAllocation } from '../../../src/sim/nat/kinds.ts';
import { MAPPINGS_MAX, NatBox, PERMITS_MAX } from '../../../src/sim/nat/nat-box.ts';

const BEHAVIOUR: NatBehaviour = {
  translates: true,
  mapping: 'independent',
  filtering: 'addressAndPort',
  portAllocation: 'preserve',
  hairpin: false,
  mappingTimeoutMs: 120_000,
  udp: true,
  mapsPorts: false,
};

const EXTERNAL = '203.0.113.1' as IpAddress;
const HOST = '192.168.0.2:51820' as Endpoint;
const OTHER_HOST = '192.168.0.3:51820' as Endpoint;
const A = '198.51.100.1:1000' as Endpoint;
const A2 = '198.51.100.1:2000' as Endpoint;
const B = '198.51.100.2:1000' as Endpoint;
const NOW = 1_000_000 as Instant;
const at = (ms: number): Instant => (NOW + ms) as Instant;
const portOf = (endpoint: Endpoint | null): number => endpointParts(endpoint as Endpoint).port;

function nat(edit: Partial<NatBehaviour> = {}, options: { inboundRefreshes?: boolean; mappingsMax?: number } = {}) {
  return new NatBox({ behaviour: { ...BEHAVIOUR, ...edit }, external: EXTERNAL, prng: new Prng(7), ...options });
}

function firewall(edit: Partial<NatBehaviour> = {}): NatBox {
  const behaviour = { ...BEHAVIOUR, translates: false, ...edit };
  return new NatBox({ behaviour, external: null, prng: new Prng(7) });
}

describe('address and port mapping (§4.1)', () => {
  const sources = (mapping: Dependence, portAllocation: PortAllocation): (Endpoint | null)[] => {
    const box = nat({ mapping, portAllocation });
    return [A, A2, B, A].map((destination) => box.outbound(HOST, destination, NOW));
  };

  test.each(['random', 'sequential', 'preserve'] as const)('independent of the destination (%s)', (allocation) => {
    expect(new Set(sources('independent', allocation)).size).toBe(1);
  });

  test.each(['random', 'sequential'] as const)('dependent on the address (%s)', (allocation) => {
    const [a, a2, b, again] = sources('address', allocation);
    expect(a2).toBe(a);
    expect(b).not.toBe(a);
    expect(again).toBe(a);
  });

  test.each(['random', 'sequential'] as const)('dependent on address and port (%s)', (allocation) => {
    const [a, a2, b, again] = sources('addressAndPort', allocation);
    expect(new Set([a, a2, b]).size).toBe(3);
    expect(again).toBe(a);
  });

  test('a port that is kept is the same for all destinations, whatever else the mapping depends on', () => {
    expect(new Set(sources('addressAndPort', 'preserve'))).toEqual(new Set([`${EXTERNAL}:51820`]));
  });

  test('two hosts never share an external endpoint', () => {
    for (const portAllocation of ['random', 'sequential', 'preserve'] as const) {
      const box = nat({ portAllocation });
      expect(box.outbound(HOST, A, NOW)).not.toBe(box.outbound(OTHER_HOST, A, NOW));
    }
  });
});

describe('port assignment (§4.2)', () => {
  test('preserved while it is free; else another, which then depends on what the mapping depends on', () => {
    const box = nat({ mapping: 'addressAndPort' });
    expect(portOf(box.outbound(HOST, A, NOW))).toBe(51_820);
    const a = box.outbound(OTHER_HOST, A, NOW);
    expect(portOf(a)).not.toBe(51_820);
    expect(box.outbound(OTHER_HOST, B, NOW)).not.toBe(a);
  });

  test('a preserved port that its holder no longer needs is given to the next', () => {
    const box = nat();
    box.outbound(HOST, A, NOW);
    expect(portOf(box.outbound(OTHER_HOST, A, at(120_000)))).toBe(51_820);
  });

  test('sequential: the one after the last', () => {
    const box = nat({ mapping: 'addressAndPort', portAllocation: 'sequential' });
    const first = portOf(box.outbound(HOST, A, NOW));
    expect(portOf(box.outbound(HOST, A2, NOW))).toBe(first + 1);
    expect(portOf(box.outbound(OTHER_HOST, A, NOW))).toBe(first + 2);
  });

  test('random: not the one after the last', () => {
    const box = nat({ mapping: 'addressAndPort', portAllocation: 'random' });
    const ports = [A, A2, B].map((destination) => portOf(box.outbound(HOST, destination, NOW)));
    expect(Math.abs((ports[1] as number) - (ports[0] as number))).toBeGreaterThan(1);
    expect(Math.abs((ports[2] as number) - (ports[1] as number))).toBeGreaterThan(1);
  });

  test('every port is above the well-known ones, and none is given twice', () => {
    const box = nat({ mapping: 'addressAndPort', portAllocation: 'random' });
    const ports = new Set<number>();
    for (let i = 1; i <= 1_000; i++) ports.add(portOf(box.outbound(HOST, `198.51.100.9:${i}` as Endpoint, NOW)));
    expect(ports.size).toBe(1_000);
    expect(Math.min(...ports)).toBeGreaterThanOrEqual(1_024);
  });
});

describe('mapping refresh (§4.3)', () => {
  test('a mapping without traffic is forgotten, and its port is closed', () => {
    const box = nat({ filtering: 'independent', portAllocation: 'random' });
    const external = box.outbound(HOST, A, NOW) as Endpoint;
    expect(box.inbound(B, external, at(119_999))).toBe(HOST);
    expect(box.inbound(B, external, at(120_000))).toBeNull();
    expect(box.outbound(HOST, A, at(120_000))).not.toBe(external);
  });

  test('outbound traffic refreshes it', () => {
    const box = nat();
    const external = box.outbound(HOST, A, NOW) as Endpoint;
    expect(box.outbound(HOST, A, at(100_000))).toBe(external);
    expect(box.inbound(A, external, at(200_000))).toBe(HOST);
  });

  test('inbound traffic refreshes it only where it is said to', () => {
    for (const inboundRefreshes of [false, true]) {
      const box = nat({}, { inboundRefreshes });
      const external = box.outbound(HOST, A, NOW) as Endpoint;
      expect(box.inbound(A, external, at(100_000))).toBe(HOST);
      expect(box.inbound(A, external, at(200_000))).toBe(inboundRefreshes ? HOST : null);
    }
  });

  test('traffic to one destination keeps the mapping, not the filter of another', () => {
    const box = nat();
    const external = box.outbound(HOST, A, NOW) as Endpoint;
    box.outbound(HOST, B, at(100_000));
    expect(box.inbound(A, external, at(130_000))).toBeNull();
    expect(box.inbound(B, external, at(130_000))).toBe(HOST);
  });
});

describe('filtering (§5)', () => {
  const lets = (filtering: Dependence): boolean[] => {
    const box = nat({ filtering });
    const external = box.outbound(HOST, A, NOW) as Endpoint;
    return [A, A2, B].map((source) => box.inbound(source, external, NOW) === HOST);
  };

  test('independent: everybody', () => expect(lets('independent')).toEqual([true, true, true]));
  test('by address: any port of whom was sent to', () => expect(lets('address')).toEqual([true, true, false]));
  test('by address and port: who was sent to', () => expect(lets('addressAndPort')).toEqual([true, false, false]));

  test('what another mapping was used for opens nothing', () => {
    const box = nat({ mapping: 'addressAndPort', portAllocation: 'random' });
    const toA = box.outbound(HOST, A, NOW) as Endpoint;
    const toB = box.outbound(HOST, B, NOW) as Endpoint;
    expect(box.inbound(A, toA, NOW)).toBe(HOST);
    expect(box.inbound(B, toA, NOW)).toBeNull();
    expect(box.inbound(A, toB, NOW)).toBeNull();
  });

  test('nothing comes in before something went out, and what is dropped is counted', () => {
    const box = nat();
    expect(box.inbound(A, `${EXTERNAL}:51820` as Endpoint, NOW)).toBeNull();
    box.outbound(HOST, A, NOW);
    expect(box.inbound(B, `${EXTERNAL}:51820` as Endpoint, NOW)).toBeNull();
    expect(box.counts).toMatchObject({ unmapped: 1, filtered: 1 });
  });
});

describe('a firewall (RFC 6092)', () => {
  const OUTSIDE = '[2001:db8:9::1]:51820' as Endpoint;
  const INSIDE = '[2001:db8:1::2]:51820' as Endpoint;

  test('passes addresses and ports unchanged, and lets in replies alone', () => {
    const box = firewall();
    expect(box.inbound(OUTSIDE, INSIDE, NOW)).toBeNull();
    expect(box.outbound(INSIDE, OUTSIDE, NOW)).toBe(INSIDE);
    expect(box.inbound(OUTSIDE, INSIDE, NOW)).toBe(INSIDE);
    expect(box.inbound('[2001:db8:9::1]:51821' as Endpoint, INSIDE, NOW)).toBeNull();
    expect(box.inbound(OUTSIDE, INSIDE, at(120_000))).toBeNull();
  });

  test('keeps its hosts apart', () => {
    const box = firewall();
    const other = '[2001:db8:1::3]:51820' as Endpoint;
    box.outbound(INSIDE, OUTSIDE, NOW);
    expect(box.inbound(OUTSIDE, other, NOW)).toBeNull();
  });

  test('forgets what it let out at a reboot', () => {
    const box = firewall();
    box.outbound(INSIDE, OUTSIDE, NOW);
    box.reboot();
    expect(box.inbound(OUTSIDE, INSIDE, NOW)).toBeNull();
  });
});

test('without UDP nothing passes, in either direction', () => {
  const box = nat({ udp: false });
  expect(box.outbound(HOST, A, NOW)).toBeNull();
  expect(box.inbound(A, `${EXTERNAL}:51820` as Endpoint, NOW)).toBeNull();
  expect(box.size).toBe(0);
});

describe('a mapping that a host asked for', () => {
  test('lets everybody in until it runs out, and is where the host is seen from', () => {
    for (const mapping of ['independent', 'addressAndPort'] as const) {
      const box = nat({ mapping, portAllocation: 'random', mapsPorts: true });
      const external = box.mapPort(HOST, 300_000, NOW) as Endpoint;
      expect(box.inbound(B, external, at(250_000))).toBe(HOST);
      expect(box.outbound(HOST, A, at(250_000))).toBe(external);
      expect(box.inbound(B, external, at(300_000))).toBeNull();
    }
  });

  test('is refused by boxes that do not offer it', () => expect(nat().mapPort(HOST, 300_000, NOW)).toBeNull());
});

describe('what people do to it', () => {
  test.each(['preserve', 'sequential', 'random'] as const)('rebinding gives another port (%s)', (portAllocation) => {
    const box = nat({ portAllocation, filtering: 'independent' });
    const before = box.outbound(HOST, A, NOW) as Endpoint;
    box.rebind();
    const now = box.outbound(HOST, A, NOW);
    expect(now).not.toBe(before);
    expect(box.inbound(A, before, NOW)).toBeNull();
    expect(box.inbound(A, now as Endpoint, NOW)).toBe(HOST);
  });

  test('a reboot may bring another address; the old one leads nowhere', () => {
    const box = nat();
    const before = box.outbound(HOST, A, NOW) as Endpoint;
    box.reboot('203.0.113.2' as IpAddress);
    expect(box.outbound(HOST, A, NOW)).toBe('203.0.113.2:51820');
    expect(box.inbound(A, before, NOW)).toBeNull();
  });
});

describe('limits', () => {
  test('with no room left the mapping that was quiet for longest makes room', () => {
    const box = nat({ mapping: 'addressAndPort', portAllocation: 'random' }, { mappingsMax: 2 });
    const toA = box.outbound(HOST, A, NOW) as Endpoint;
    const toB = box.outbound(HOST, B, at(1)) as Endpoint;
    box.outbound(HOST, A, at(2));
    box.outbound(HOST, A2, at(3));
    expect(box.inbound(A, toA, at(4))).toBe(HOST);
    expect(box.inbound(B, toB, at(4))).toBeNull();
    expect(box.counts.evicted).toBe(1);
  });

  test('mappings that have run out make room before any that has not', () => {
    const box = nat({ mapping: 'addressAndPort', portAllocation: 'random' }, { mappingsMax: 2 });
    box.outbound(HOST, A, NOW);
    box.outbound(HOST, B, at(100_000));
    box.outbound(HOST, A2, at(130_000));
    expect(box.counts).toMatchObject({ expired: 1, evicted: 0 });
  });

  test('tables stay within their limits however many destinations there are', () => {
    const symmetric = nat({ mapping: 'addressAndPort', portAllocation: 'sequential' });
    const cone = nat();
    for (let i = 0; i < 2 * MAPPINGS_MAX; i++) {
      const destination = `198.51.${100 + (i >> 8)}.${i & 255}:1000` as Endpoint;
      symmetric.outbound(HOST, destination, NOW);
      cone.outbound(HOST, destination, NOW);
    }
    expect(symmetric.size).toBe(MAPPINGS_MAX);
    // The first that it was sent to are forgotten, the last are not.
    const external = `${EXTERNAL}:51820` as Endpoint;
    expect(cone.inbound('198.51.100.0:1000' as Endpoint, external, NOW)).toBeNull();
    const last = 2 * MAPPINGS_MAX - 1;
    expect(cone.inbound(`198.51.${100 + (last >> 8)}.${last & 255}:1000` as Endpoint, external, NOW)).toBe(HOST);
    const kept = last - PERMITS_MAX + 1;
    expect(cone.inbound(`198.51.${100 + (kept >> 8)}.${kept & 255}:1000` as Endpoint, external, NOW)).toBe(HOST);
  });

  test('two boxes of one seed do the same', () => {
    const script = (): (Endpoint | null)[] => {
      const box = nat({ mapping: 'addressAndPort', portAllocation: 'random' });
      return [A, A2, B].map((destination) => box.outbound(HOST, destination, NOW));
    };
    expect(script()).toEqual(script());
  });
});
