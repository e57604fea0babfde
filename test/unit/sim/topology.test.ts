// The ground under the nodes: who reaches whom, by which way and when, and what is lost where.

import { describe, expect, test } from 'vitest';
import type { Instant } from '../../../src/base/instant.ts';
import { type Endpoint, endpointParts, formatEndpoint, type IpAddress } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import { type Place, placeOf, type SiteKind } from '../../../src/sim/nat/kinds.ts';
import type { Datagram, Machine } from '../../../src/sim/nat/sites.ts';
import { type SiteOptions, Topology } from '../../../src/sim/nat/topology.ts';
import { Clock } from './clock.ts';

const PORT = 51_820;
const BYTES = new Uint8Array(100);
const SERVER: Place = { ipv4: [], ipv6: [], tcpPorts: 'any' };

class Ground {
  readonly clock = new Clock();
  readonly topology = new Topology(this.clock, new Prng(3));
  readonly received = new Map<Machine, (Datagram & { at: Instant })[]>();
  #machines = 0;

  site(place: SiteKind | Place, options: Partial<SiteOptions> = {}) {
    return this.topology.addSite({
      name: 'site',
      place: typeof place === 'string' ? placeOf(place) : place,
      ...options,
    });
  }

  machine(site: ReturnType<Ground['site']>): Machine {
    const machine = this.topology.addMachine(`machine${++this.#machines}`, site);
    const received: (Datagram & { at: Instant })[] = [];
    this.received.set(machine, received);
    machine.open(PORT, (datagram) => received.push({ ...datagram, at: this.clock.now }));
    return machine;
  }

  /** What the machine has received since the last time. */
  take(machine: Machine): (Datagram & { at: Instant })[] {
    return this.received.get(machine)?.splice(0) ?? [];
  }

  /** Sends, and gives where it came out and with which source. */
  try(from: Machine, to: Endpoint, by: Machine): Endpoint | null {
    from.send(PORT, to, BYTES);
    this.clock.run(1_000);
    return this.take(by)[0]?.source ?? null;
  }
}

const at = (machine: Machine, family: 4 | 6 = 4): Endpoint =>
  formatEndpoint(machine.addresses[family] as IpAddress, PORT);
const addressOf = (endpoint: Endpoint | null): string => endpointParts(endpoint as Endpoint).address;

describe('addresses', () => {
  test('on a LAN machines reach one another directly, seen by the addresses that they have', () => {
    const ground = new Ground();
    const site = ground.site('portRestricted');
    const [a, b] = [ground.machine(site), ground.machine(site)];
    expect(ground.try(a, at(b), b)).toBe(at(a));
  });

  test('the same private address exists at two sites, and is another machine at each', () => {
    const ground = new Ground();
    const sites = Array.from({ length: 8 }, () => ground.site('fullCone'));
    const machines = sites.map((site) => ground.machine(site));
    const twins = machines.filter((machine) => machine.addresses[4] === machines[0]?.addresses[4]);
    expect(twins.length).toBeGreaterThan(1);
    const [here, there] = [machines[0] as Machine, twins[1] as Machine];
    const neighbour = ground.machine(here.site);
    // What is meant for the twin far away comes out on this LAN.
    expect(ground.try(neighbour, at(there), here)).toBe(at(neighbour));
    expect(ground.take(there)).toEqual([]);
  });

  test('a private address elsewhere leads nowhere, though the NAT has made a mapping for it', () => {
    const ground = new Ground();
    const a = ground.machine(ground.site('symmetricSequential'));
    const b = ground.machine(ground.site('portRestricted'));
    a.send(PORT, '10.99.0.1:51820' as Endpoint, BYTES);
    ground.clock.run(1_000);
    expect(ground.take(b)).toEqual([]);
    expect(ground.topology.losses.unroutable).toBe(1);
    expect(a.site.boxes[4][0]?.size).toBe(1);
  });

  test('without an address of the family nothing leaves', () => {
    const ground = new Ground();
    const a = ground.machine(ground.site('ipv6Only'));
    const b = ground.machine(ground.site(SERVER));
    a.send(PORT, at(b), BYTES);
    expect(ground.topology.losses.noFamily).toBe(1);
    expect(ground.try(a, at(b, 6), b)).toBe(at(a, 6));
  });

  test('public machines have the addresses by which they are seen', () => {
    const ground = new Ground();
    const a = ground.machine(ground.site('public'));
    const b = ground.machine(ground.site('public'));
    expect(ground.try(a, at(b), b)).toBe(at(a));
  });
});

describe('through boxes', () => {
  test('out by a NAT, and back in to who sent', () => {
    const ground = new Ground();
    const [site, server] = [ground.site('portRestricted'), ground.machine(ground.site('public'))];
    const a = ground.machine(site);
    const seen = ground.try(a, at(server), server);
    expect(addressOf(seen)).toBe(site.boxes[4][0]?.external);
    expect(ground.try(server, seen as Endpoint, a)).toBe(at(server));
  });

  test('two NATs, one behind the other', () => {
    const ground = new Ground();
    const server = ground.machine(ground.site('public'));
    const site = ground.site('carrierCone');
    const a = ground.machine(site);
    const [home, carrier] = site.boxes[4];
    const seen = ground.try(a, at(server), server);
    expect(addressOf(seen)).toBe(carrier?.external);
    expect(home?.external).toMatch(/^100\.64\./);
    expect(ground.try(server, seen as Endpoint, a)).toBe(at(server));
  });

  test('sites share the NAT of their carrier', () => {
    const ground = new Ground();
    const server = ground.machine(ground.site('public'));
    const behaviour = placeOf('carrierSymmetric').ipv4?.[1];
    if (behaviour === undefined) throw new Error('a carrier has a NAT');
    const carrier = ground.topology.addCarrier('carrier', behaviour);
    const [a, b] = [1, 2].map(() => ground.machine(ground.site('carrierSymmetric', { carrier }))) as [Machine, Machine];
    const seen = [a, b].map((machine) => ground.try(machine, at(server), server));
    expect(seen.map(addressOf)).toEqual([carrier.box.external, carrier.box.external]);
    expect(ground.try(server, seen[0] as Endpoint, a)).toBe(at(server));
    expect(ground.try(server, seen[1] as Endpoint, b)).toBe(at(server));
    // Their routers are neighbours inside: what one sends to the other's router needs no carrier.
    const router = formatEndpoint(b.site.boxes[4][0]?.external as IpAddress, PORT);
    b.send(PORT, formatEndpoint(a.site.boxes[4][0]?.external as IpAddress, PORT), BYTES);
    expect(addressOf(ground.try(a, router, b))).toBe(a.site.boxes[4][0]?.external);
  });

  test('a firewall of IPv6 shows addresses as they are and lets in replies alone', () => {
    const ground = new Ground();
    const server = ground.machine(ground.site(SERVER));
    const a = ground.machine(ground.site('ipv6Firewall'));
    expect(ground.try(server, at(a, 6), a)).toBeNull();
    expect(ground.try(a, at(server, 6), server)).toBe(at(a, 6));
    expect(ground.try(server, at(a, 6), a)).toBe(at(server, 6));
  });

  test('where UDP is blocked nothing comes out', () => {
    const ground = new Ground();
    const server = ground.machine(ground.site('public'));
    const a = ground.machine(ground.site('udpBlocked'));
    expect(ground.try(a, at(server), server)).toBeNull();
  });
});

describe('hairpinning (RFC 4787 §6)', () => {
  const meet = (kind: SiteKind): Endpoint | null => {
    const ground = new Ground();
    const server = ground.machine(ground.site('public'));
    const site = ground.site(kind);
    const [a, b] = [ground.machine(site), ground.machine(site)];
    const outsideA = ground.try(a, at(server), server) as Endpoint;
    const outsideB = ground.try(b, at(server), server) as Endpoint;
    b.send(PORT, outsideA, BYTES);
    ground.clock.run(1_000);
    const seen = ground.try(a, outsideB, b);
    expect([null, outsideA]).toContain(seen);
    return seen;
  };

  test('comes in again with an external source', () => expect(meet('lanHairpin')).not.toBeNull());
  test('or not at all', () => expect(meet('lanNoHairpin')).toBeNull());

  test('filters as for what comes from outside', () => {
    const ground = new Ground();
    const server = ground.machine(ground.site('public'));
    const site = ground.site('lanHairpin');
    const [a, b] = [ground.machine(site), ground.machine(site)];
    const outsideB = ground.try(b, at(server), server) as Endpoint;
    expect(ground.try(a, outsideB, b)).toBeNull();
  });
});

describe('links', () => {
  test('take the time of both ends, and hardly any on a LAN', () => {
    const ground = new Ground();
    const near = ground.site('portRestricted', { link: { latencyMs: 20 } });
    const far = ground.machine(ground.site('public', { link: { latencyMs: 45 } }));
    const [a, b] = [ground.machine(near), ground.machine(near)];
    const began = ground.clock.now;
    a.send(PORT, at(far), BYTES);
    a.send(PORT, at(b), BYTES);
    ground.clock.run(1_000);
    expect(ground.take(far).map((datagram) => datagram.at - began)).toEqual([65]);
    expect((ground.take(b)[0]?.at as number) - began).toBeLessThan(2);
  });

  test('lose as many as they are said to', () => {
    const ground = new Ground();
    const a = ground.machine(ground.site('public', { link: { loss: 0.3 } }));
    const b = ground.machine(ground.site('public'));
    for (let i = 0; i < 2_000; i++) a.send(PORT, at(b), BYTES);
    ground.clock.run(1_000);
    expect(ground.take(b).length).toBeGreaterThan(1_300);
    expect(ground.take(b).length).toBeLessThan(1_500);
  });

  test('lose what is larger than their MTU when it must not be cut, headers counted', () => {
    const ground = new Ground();
    const a = ground.machine(ground.site(SERVER));
    const b = ground.machine(ground.site(SERVER, { link: { mtu: 1_280 } }));
    for (const family of [4, 6] as const) {
      const most = 1_280 - (family === 4 ? 28 : 48);
      a.send(PORT, at(b, family), new Uint8Array(most), true);
      a.send(PORT, at(b, family), new Uint8Array(most + 1), true);
      a.send(PORT, at(b, family), new Uint8Array(most + 2), false);
      ground.clock.run(1_000);
      expect(ground.take(b).map(({ bytes }) => bytes.length)).toEqual([most, most + 2]);
    }
    expect(ground.topology.losses.tooBig).toBe(2);
  });

  test('with jitter, change the order', () => {
    const ground = new Ground();
    const a = ground.machine(ground.site('public', { link: { jitterMs: 30 } }));
    const b = ground.machine(ground.site('public'));
    for (let i = 0; i < 20; i++) a.send(PORT, at(b), new Uint8Array([i]));
    ground.clock.run(1_000);
    const order = ground.take(b).map(({ bytes }) => bytes[0] as number);
    expect(order).not.toEqual([...order].sort((x, y) => x - y));
    expect(order).toHaveLength(20);
  });
});

describe('what happens on the way', () => {
  test('one way may be dead and the other alive, and a LAN while the internet is not', () => {
    const ground = new Ground();
    const a = ground.machine(ground.site('public'));
    const b = ground.machine(ground.site('public'));
    ground.topology.blocked = ({ from, to, via }) => from === a && to === b && via === 'internet';
    expect(ground.try(a, at(b), b)).toBeNull();
    expect(ground.try(b, at(a), a)).toBe(at(b));
    const c = ground.machine(ground.site('portRestricted'));
    const d = ground.machine(c.site);
    expect(ground.try(c, at(d), d)).toBe(at(c));
  });

  test('a router that was given another address is found there, and no longer where it was', () => {
    const ground = new Ground();
    const server = ground.machine(ground.site('public'));
    const a = ground.machine(ground.site('fullCone'));
    const box = a.site.boxes[4][0];
    const before = ground.try(a, at(server), server) as Endpoint;
    if (box !== undefined) ground.topology.rebootBox(box, true);
    const after = ground.try(a, at(server), server) as Endpoint;
    expect(addressOf(after)).not.toBe(addressOf(before));
    expect(ground.try(server, before, a)).toBeNull();
    expect(ground.try(server, after, a)).toBe(at(server));
  });

  test('a machine moves to another site, with its sockets', () => {
    const ground = new Ground();
    const server = ground.machine(ground.site('public'));
    const a = ground.machine(ground.site('portRestricted'));
    const before = at(a);
    const left = a.site;
    ground.topology.move(a, ground.site('public'));
    expect(ground.try(server, at(a), a)).toBe(at(server));
    expect(left.machines).toEqual([]);
    expect(ground.try(ground.machine(left), before, a)).toBeNull();
  });

  test('a socket that is closed receives nothing', () => {
    const ground = new Ground();
    const a = ground.machine(ground.site('public'));
    const b = ground.machine(ground.site('public'));
    b.close(PORT);
    expect(ground.try(a, at(b), b)).toBeNull();
    expect(ground.topology.losses.closed).toBe(1);
  });

  test('a machine without a NAT may send with any source; behind one it is that of the NAT', () => {
    const ground = new Ground();
    const victim = ground.machine(ground.site('public'));
    const liar = ground.machine(ground.site('public'));
    const source = '198.18.0.1:1' as Endpoint;
    liar.forge({ bytes: BYTES, source, destination: at(victim), dontFragment: false });
    ground.clock.run(1_000);
    expect(ground.take(victim)[0]?.source).toBe(source);
    const behind = ground.machine(ground.site('portRestricted'));
    behind.forge({ bytes: BYTES, source, destination: at(victim), dontFragment: false });
    ground.clock.run(1_000);
    expect(addressOf(ground.take(victim)[0]?.source ?? null)).toBe(behind.site.boxes[4][0]?.external);
  });
});
