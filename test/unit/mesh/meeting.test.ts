// How two nodes meet (docs/mesh.md): in one round trip when both are known, within round trips to the controller when they are
// not, and never after a retry of five seconds.

import { describe, expect, test } from 'vitest';
import type { Endpoint } from '../../../src/base/ip.ts';
import { REKEY_TIMEOUT_MS } from '../../../src/wireguard/constants.ts';
import { connectedMeshPair, MeshWorld, meshPair } from './mesh-world.ts';

const nowhere = (n: number): Endpoint => `192.0.2.${200 + n}:51820` as Endpoint;

describe('a first packet to an idle peer', () => {
  test('is there after one round trip of the handshake and its own way, 10 ms links', () => {
    const { world, alice, bob } = meshPair();
    const start = world.now;
    alice.send(bob, 1);
    expect(world.runUntil(() => bob.sequencesFrom(alice).length === 1, 1000)).toBe(true);
    expect(world.now - start).toBe(30);
  });

  test('goes to every candidate at once, and the session is at the one that answers', () => {
    const { world, alice, bob } = meshPair(3);
    const works = bob.endpoints[2] as Endpoint;
    world.network.blocked = ({ destination, source }) =>
      (bob.endpoints.includes(destination) && destination !== works) ||
      (alice.endpoints.includes(destination) && source !== works);
    alice.send(bob, 1);
    expect(new Set(world.log.filter((e) => e.kind === 'initiation').map((e) => e.to))).toEqual(new Set(bob.endpoints));
    world.run(100);
    expect(bob.sequencesFrom(alice)).toEqual([1]);
    expect(alice.mesh.status(bob.id, world.now)?.endpoint).toBe(works);
  });

  test('asks for one punch, and one more a second later when nothing has answered', () => {
    const { world, alice, bob } = meshPair();
    world.network.blocked = () => true;
    const start = world.now;
    alice.send(bob, 1);
    // Bob answers the punch, which proves nothing about the path; each punch earns one hurried initiation, not a storm.
    world.run(3_000);
    const own = alice.punches.filter(({ request }) => !request.reply).map(({ at }) => at - start);
    expect(own).toEqual([0, 1000]);
    expect(world.times('alice', 'initiation').map((at) => at - start)).toEqual([0, 100, 1000, 1100]);
  });

  test('takes up stock intervals afterwards, with a punch for each', () => {
    const { world, alice, bob } = meshPair();
    world.controllerAway = true;
    world.network.blocked = () => true;
    const start = world.now;
    alice.send(bob, 1);
    world.run(20_000);
    const times = world.times('alice', 'initiation').map((at) => at - start);
    expect(times.slice(0, 2)).toEqual([0, 1000]);
    for (let i = 2; i < times.length; i++) {
      const gap = (times[i] as number) - (times[i - 1] as number);
      expect(gap).toBeGreaterThanOrEqual(REKEY_TIMEOUT_MS);
      expect(gap).toBeLessThan(REKEY_TIMEOUT_MS + 400);
    }
    expect(alice.punches.length).toBe(times.length);
  });

  test('arrives when the family of a candidate has no way at all', () => {
    const { world, alice, bob } = meshPair();
    const six = { kind: 'host', endpoint: '[2001:db8::7]:51820' as Endpoint } as const;
    alice.delta({ op: 'candidates', id: bob.id, candidates: [six, ...bob.candidates()] });
    alice.send(bob, 1);
    world.run(100);
    expect(bob.sequencesFrom(alice)).toEqual([1]);
  });
});

describe('two nodes that are both new', () => {
  test('exchange first packets within 200 ms of both having their netmaps, whichever begins', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const world = new MeshWorld(seed);
      const alice = world.addNode('alice', 2);
      const bob = world.addNode('bob', 2);
      world.tellAll();
      const start = world.now;
      alice.send(bob, 1);
      bob.send(alice, 1);
      expect(world.runUntil(() => bob.arrivals.length > 0 && alice.arrivals.length > 0, 1000)).toBe(true);
      expect(world.now - start).toBeLessThan(200);
    }
  });

  test('have one session each after a crossing, and no packet is lost across the next renewal', () => {
    const { world, alice, bob } = meshPair();
    alice.send(bob, 0);
    bob.send(alice, 0);
    for (let sequence = 1; sequence <= 1300; sequence++) {
      world.run(100);
      alice.send(bob, sequence);
      bob.send(alice, sequence);
    }
    world.run(100);
    const all = Array.from({ length: 1301 }, (_, i) => i);
    expect(bob.sequencesFrom(alice)).toEqual(all);
    expect(alice.sequencesFrom(bob)).toEqual(all);
  });

  test('meet when the netmap of one end is late: the reply to the punch saves the five seconds', () => {
    const world = new MeshWorld();
    const alice = world.addNode('alice');
    const bob = world.addNode('bob');
    const start = world.now;
    alice.snapshot([alice.record(), bob.record()]);
    bob.snapshot([bob.record()]);
    alice.send(bob, 1);
    // The initiation is there after 10 ms, the punch after 20, and only then does Bob hear of Alice.
    world.schedule(25, () => bob.delta({ op: 'put', node: alice.record() }));
    expect(world.runUntil(() => bob.arrivals.length === 1, 5000)).toBe(true);
    expect(bob.mesh.engine.counters.dropped.unknownPeer).toBe(1);
    expect(bob.mesh.counters.counts.punchesParked).toBe(1);
    // At 25 Bob knows; his punch is at Alice at 45; she waits out 100 ms after her first; a round trip and a half more.
    expect(world.now - start).toBeLessThanOrEqual(25 + 100 + 30);
  });

  test('meet at the repetition after a second when the late end never heard of the punch', () => {
    const world = new MeshWorld();
    const alice = world.addNode('alice');
    const bob = world.addNode('bob');
    const start = world.now;
    world.losesPunch = () => true;
    alice.snapshot([alice.record(), bob.record()]);
    bob.snapshot([bob.record()]);
    alice.send(bob, 1);
    world.schedule(100, () => bob.delta({ op: 'put', node: alice.record() }));
    expect(world.runUntil(() => bob.arrivals.length === 1, 5000)).toBe(true);
    expect(world.now - start).toBe(1030);
  });

  test('meet when no address of one was known: packets wait, and leave as soon as the first address comes', () => {
    const world = new MeshWorld();
    const alice = world.addNode('alice');
    const bob = world.addNode('bob');
    world.losesPunch = () => true;
    alice.snapshot([bob.record({ candidates: [] })]);
    bob.snapshot([alice.record()]);
    alice.send(bob, 1);
    alice.send(bob, 2);
    world.run(300);
    expect(world.log).toEqual([]);
    expect(alice.stateOf(bob)).toBe('connecting');
    expect(alice.reasonFor(bob)).toBe('no address of bob is known yet');
    alice.delta({ op: 'candidates', id: bob.id, candidates: bob.candidates() });
    expect(world.wire()).toEqual(['alice:initiation']);
    world.run(30);
    expect(bob.sequencesFrom(alice)).toEqual([1, 2]);
  });

  test('meet when the punch brings the addresses that the netmap does not have', () => {
    const world = new MeshWorld();
    const alice = world.addNode('alice');
    const bob = world.addNode('bob');
    const start = world.now;
    alice.snapshot([bob.record({ candidates: [] })]);
    bob.snapshot([alice.record({ candidates: [] })]);
    alice.send(bob, 1);
    expect(world.runUntil(() => bob.arrivals.length === 1, 5000)).toBe(true);
    // Punch there and back, spacing, a round trip and a half.
    expect(world.now - start).toBeLessThanOrEqual(130);
  });
});

describe('a punch', () => {
  test('opens our firewall towards every candidate and is answered with ours', () => {
    const { world, alice, bob } = meshPair(2);
    const told = [...alice.candidates(), { kind: 'observed' as const, endpoint: nowhere(1) }];
    bob.act((mesh, now) =>
      mesh.handlePunch({ type: 'punch', from: alice.id, txid: 7, reply: false, candidates: told }, now),
    );
    expect(world.log.map(({ from, kind, to }) => [from, kind, to])).toEqual(
      told.map(({ endpoint }) => ['bob', 'indication', endpoint]),
    );
    expect(bob.punches.map(({ request }) => request)).toEqual([
      { type: 'punch', to: alice.id, txid: 7, reply: true, candidates: bob.candidates(), reach: null },
    ]);
    world.run(5_000);
    expect(bob.stateOf(alice)).toBe('idle');
  });

  test('that is a reply is answered by nobody, and one that we did not ask for begins nothing', () => {
    const { world, alice, bob } = meshPair();
    alice.act((mesh, now) =>
      mesh.handlePunch({ type: 'punch', from: bob.id, txid: 9, reply: true, candidates: [] }, now),
    );
    world.run(5_000);
    expect(alice.punches).toEqual([]);
    expect(world.wire()).toEqual([]);
  });

  test('of the same peer again at once is ignored, so that nobody makes us a multiplier', () => {
    const { world, alice, bob } = meshPair();
    for (let txid = 0; txid < 10; txid++) {
      const candidates = Array.from({ length: 16 }, (_, n) => ({ kind: 'host' as const, endpoint: nowhere(n) }));
      bob.act((mesh, now) => mesh.handlePunch({ type: 'punch', from: alice.id, txid, reply: false, candidates }, now));
    }
    expect(world.count('bob', 'indication')).toBe(16);
    expect(bob.punches.length).toBe(1);
    expect(bob.mesh.counters.counts.punchesLimited).toBe(9);
  });

  test('never makes us send into the mesh, to many, to ourselves or to our own machine', () => {
    const { world, alice, bob } = meshPair();
    const endpoints = [
      '100.64.0.9:51820', // inside the mesh
      '[fd77::9]:51820',
      '224.0.0.1:51820', // multicast
      '255.255.255.255:51820',
      '0.0.0.0:51820',
      '127.0.0.1:51820',
      '[::1]:51820',
      '[::]:51820',
      '[ff02::1]:51820',
      '[fe80::1]:51820',
      ...bob.endpoints,
    ] as Endpoint[];
    const candidates = endpoints.map((endpoint) => ({ kind: 'host' as const, endpoint }));
    bob.act((mesh, now) => mesh.handlePunch({ type: 'punch', from: alice.id, txid: 1, reply: false, candidates }, now));
    expect(world.log).toEqual([]);
  });

  test('of an unknown node is kept for a moment, and not for long', () => {
    const world = new MeshWorld();
    const alice = world.addNode('alice');
    const bob = world.addNode('bob');
    bob.snapshot([]);
    const punch = { type: 'punch', from: alice.id, txid: 3, reply: false, candidates: alice.candidates() } as const;
    bob.act((mesh, now) => mesh.handlePunch({ ...punch, candidates: [...punch.candidates] }, now));
    world.run(6_000);
    bob.delta({ op: 'put', node: alice.record() });
    expect(bob.punches).toEqual([]);
    expect(world.log).toEqual([]);
  });
});

describe('hurried initiations', () => {
  test('are never closer together than 100 ms, whatever comes', () => {
    const { world, alice, bob } = meshPair();
    world.network.blocked = () => true;
    alice.send(bob, 1);
    for (let i = 0; i < 100; i++) {
      world.run(7);
      const endpoint = nowhere(i % 50);
      alice.delta({ op: 'candidates', id: bob.id, candidates: [{ kind: 'host', endpoint }] });
      alice.act((mesh, now) => mesh.networkChanged(now));
    }
    const times = world.times('alice', 'initiation');
    expect(times.length).toBeGreaterThan(3);
    for (let i = 1; i < times.length; i++)
      expect((times[i] as number) - (times[i - 1] as number)).toBeGreaterThanOrEqual(100);
  });

  test('do not disturb a handshake that works: on links of 80 ms the session is there after one and a half round trips', () => {
    const { world, alice, bob } = meshPair(2);
    world.network.conditions.latencyMs = 80;
    world.controllerLegMs = 80;
    const start = world.now;
    alice.send(bob, 1);
    expect(world.runUntil(() => bob.arrivals.length === 1, 5000)).toBe(true);
    expect(world.now - start).toBe(240);
    expect(world.times('alice', 'initiation').length).toBe(1);
  });
});

describe('a reply to a punch', () => {
  test('hurries nobody who has both handshakes of a crossing and waits for the first packet', () => {
    const { world, alice, bob } = meshPair();
    world.network.conditions.latencyMs = 150;
    world.controllerLegMs = 100;
    alice.send(bob, 1);
    bob.send(alice, 1);
    world.run(900);
    expect([bob.sequencesFrom(alice), alice.sequencesFrom(bob)]).toEqual([[1], [1]]);
    expect([world.count('alice', 'initiation'), world.count('bob', 'initiation')]).toEqual([1, 1]);
  });

  test("hurries nobody who has just answered the other end's initiation", () => {
    const { world, alice, bob } = meshPair();
    world.network.conditions.latencyMs = 140;
    world.controllerLegMs = 100;
    world.network.blocked = ({ source, bytes }) => alice.endpoints.includes(source) && bytes[0] === 1;
    alice.send(bob, 1);
    world.schedule(240, () => bob.send(alice, 1));
    world.run(900);
    expect([bob.sequencesFrom(alice), alice.sequencesFrom(bob)]).toEqual([[1], [1]]);
    expect(world.times('alice', 'initiation').length).toBe(1);
  });
});

describe('a session that works', () => {
  test('is renewed at its endpoint alone, without a punch', () => {
    const { world, alice, bob } = connectedMeshPair(3);
    const punches = alice.punches.length;
    for (let sequence = 2; sequence < 130; sequence++) {
      alice.send(bob, sequence);
      world.run(1000);
      bob.send(alice, sequence);
    }
    expect(world.count('alice', 'initiation')).toBe(1);
    expect(alice.punches.length).toBe(punches);
  });

  test('that falls silent at the address in use goes on at another that answers, within 700 ms and without a handshake', () => {
    const { world, alice, bob } = connectedMeshPair(2);
    const [first, second] = bob.endpoints as [Endpoint, Endpoint];
    const at = alice.mesh.status(bob.id, world.now)?.endpoint;
    const other = at === first ? second : first;
    world.network.blocked = ({ destination, source }) => destination === at || source === at;
    const start = world.now;
    for (let sequence = 10; sequence < 40; sequence++) {
      alice.send(bob, sequence);
      world.run(50);
    }
    expect(alice.mesh.status(bob.id, world.now)?.endpoint).toBe(other);
    expect((bob.arrivals[0]?.at ?? 0) - start).toBeLessThanOrEqual(700);
    expect(bob.sequencesFrom(alice).at(-1)).toBe(39);
    expect(world.count('alice', 'initiation')).toBe(0);
  });

  test('that falls silent everywhere is looked for at every candidate after 1.3 s', () => {
    const { world, alice, bob } = connectedMeshPair(2);
    const start = world.now;
    world.network.blocked = () => true;
    for (let sequence = 10; sequence < 50; sequence++) {
      alice.send(bob, sequence);
      world.run(50);
    }
    const initiations = world.log.filter((e) => e.from === 'alice' && e.kind === 'initiation');
    // Rule 7: the first packet after a while was followed by a ping at once.
    expect((initiations[0]?.at ?? 0) - start).toBe(1_000);
    expect(new Set(initiations.filter((e) => e.at === initiations[0]?.at).map((e) => e.to))).toEqual(
      new Set(bob.endpoints),
    );
  });

  test.each(['restarted', 'flushed'] as const)(
    'that the other end has lost because it was %s is made anew within 1.5 s of traffic',
    (how) => {
      const { world, alice, bob } = connectedMeshPair(2);
      for (let sequence = 2; sequence < 40; sequence++) {
        alice.send(bob, sequence);
        bob.send(alice, sequence);
        world.run(50);
      }
      bob.arrivals.length = 0;
      if (how === 'restarted') {
        bob.restart();
        bob.snapshot([alice.record()]);
      } else bob.act((mesh, now) => mesh.flushPeer(alice.id, now));
      const start = world.now;
      for (let sequence = 100; bob.arrivals.length === 0 && world.now - start < 5_000; sequence++) {
        alice.send(bob, sequence);
        world.run(10);
      }
      expect(world.now - start).toBeLessThanOrEqual(1_500);
    },
  );
});

describe('candidates that lead to somebody else', () => {
  test('of one address get four datagrams for a punch, however many ports are named', () => {
    const { world, alice, bob } = meshPair();
    const victim = Array.from({ length: 16 }, (_, i) => ({
      kind: 'host' as const,
      endpoint: `203.0.113.99:${1000 + i}` as Endpoint,
    }));
    bob.act((mesh, now) =>
      mesh.handlePunch({ type: 'punch', from: alice.id, txid: 1, reply: false, candidates: victim }, now),
    );
    world.run(1_000);
    expect(world.log.filter(({ to }) => to.startsWith('203.0.113.99:')).map(({ kind }) => kind)).toEqual(
      Array.from({ length: 4 }, () => 'indication'),
    );
    bob.send(alice, 1);
    world.run(50);
    const initiations = world.log.filter(({ to, kind }) => to.startsWith('203.0.113.99:') && kind === 'initiation');
    expect(initiations.length).toBeLessThanOrEqual(4);
  });
});
