// Relays, seen from a node (docs/paths.md): which one is home, what happens when it falls silent, drains or comes back, and how two nodes
// that have no direct way reach each other, and leave the relay when they have one. The relays are the product's own.

import { describe, expect, test } from 'vitest';
import type { Endpoint } from '../../../src/base/ip.ts';
import { isRelayed, relayedEndpoint } from '../../../src/base/relayed.ts';
import { encodeRelayRefused, encodeRelaySlot } from '../../../src/mesh/frames.ts';
import { RELEASE_AFTER_MS, RETRY_FIRST_MS } from '../../../src/mesh/relays.ts';
import type { MeshNode } from './mesh-world.ts';
import { MeshWorld } from './mesh-world.ts';
import { firewalled, onlyRelays, RelayedWorld, type RelayNode } from './relay-node.ts';

interface Lab {
  readonly world: MeshWorld;
  readonly relayed: RelayedWorld;
  readonly alice: MeshNode;
  readonly bob: MeshNode;
  readonly relays: RelayNode[];
}

/** Alice and Bob with so many relays, homes chosen and told. `distance`: of each relay from each node, in ms beside the 10 of all ways. */
function lab(relays: number, distance: (node: string, relay: number) => number = () => 0, addresses = 1): Lab {
  const world = new MeshWorld(7);
  const alice = world.addNode('alice');
  const bob = world.addNode('bob');
  const relayed = new RelayedWorld(world, relays, addresses);
  world.network.detourMs = ({ source, destination }) => {
    const relay = relayed.relays.findIndex(
      ({ endpoints }) => endpoints.includes(source) || endpoints.includes(destination),
    );
    const node = world.nodes.find(({ endpoints }) => endpoints.includes(source) || endpoints.includes(destination));
    return relay < 0 || node === undefined ? 0 : distance(node.name, relay + 1);
  };
  relayed.tellAll();
  world.run(4_000);
  return { world, relayed, alice, bob, relays: relayed.relays };
}

const homeOf = (node: MeshNode): number | undefined => {
  const home = node.homes.at(-1)?.home ?? null;
  return home === null ? undefined : home.relay - 100;
};
const pathOf = (node: MeshNode, other: MeshNode): string | undefined =>
  node.mesh.status(other.id, node.world.now)?.path?.kind;

/** Packets both ways every 20 ms. */
function talk({ world, alice, bob }: Lab, durationMs: number, from = 1_000): number {
  let sequence = from;
  for (let t = 0; t < durationMs; t += 20) {
    alice.send(bob, sequence);
    bob.send(alice, sequence);
    sequence++;
    world.run(20);
  }
  return sequence;
}

/** The longest time in which nothing came, in ms. */
function longestGap(node: MeshNode, since: number): number {
  const times = [since, ...node.arrivals.filter(({ at }) => at >= since).map(({ at }) => at), node.world.now];
  return Math.max(...times.slice(1).map((at, i) => at - (times[i] as number)));
}

describe('the home relay', () => {
  test('is the nearest of those that answer, and is told once, with our slot there', () => {
    const { alice, bob, relays } = lab(
      4,
      (node, relay) => (node === 'alice' ? [80, 5, 40, 60] : [30, 90, 2, 50])[relay - 1] ?? 0,
    );
    expect([homeOf(alice), homeOf(bob)]).toEqual([2, 3]);
    expect(alice.homes.length).toBe(1);
    expect(alice.homes[0]?.home?.slot).toMatch(/^[0-9a-f]{16}$/);
    expect(relays[1]?.engine.status().slots).toBe(1);
    expect(alice.mesh.home).toEqual(alice.homes[0]?.home);
  });

  test('is chosen within round trips of the relay being known', () => {
    const { alice } = lab(1);
    // Handshake, ping, slot: three round trips of 20 ms, after a first packet's way.
    expect((alice.homes[0]?.at ?? 0) - 1_000_000).toBeLessThanOrEqual(100);
  });

  test('is the only relay whose session is kept, at a packet or two in 24 s', () => {
    const { world, alice, relays } = lab(3);
    world.run(400_000);
    world.log.length = 0;
    world.run(240_000);
    const sent = world.log.filter(({ from }) => from === 'alice');
    const home = relays[(homeOf(alice) ?? 0) - 1];
    expect(new Set(sent.map(({ to }) => to))).toEqual(new Set(home?.endpoints));
    expect(sent.length).toBeLessThanOrEqual(2 * 10 + 4);
    expect(alice.homes.length).toBe(1);
  });

  test('stays although another is a little nearer, and moves when our network changes and another is clearly nearer', () => {
    let distances = [10, 12];
    const { world, alice } = lab(2, (node, relay) => (node === 'alice' ? (distances[relay - 1] ?? 0) : 0));
    expect(homeOf(alice)).toBe(1);
    distances = [14, 12];
    alice.act((mesh, now) => mesh.networkChanged(now));
    world.run(5_000);
    expect(homeOf(alice)).toBe(1);
    distances = [50, 12];
    alice.act((mesh, now) => mesh.networkChanged(now));
    world.run(5_000);
    expect(homeOf(alice)).toBe(2);
  });

  test('that is silent is left for another within a second of traffic, and both go on', () => {
    const it = lab(2, (_node, relay) => (relay - 1) * 20);
    const { world, alice, bob, relays } = it;
    onlyRelays(world, relays);
    talk(it, 3_000);
    expect([homeOf(alice), homeOf(bob), pathOf(alice, bob)]).toEqual([1, 1, 'relay']);
    relays[0]?.stop();
    const start = world.now;
    talk(it, 4_000, 5_000);
    expect([homeOf(alice), homeOf(bob)]).toEqual([2, 2]);
    expect((alice.homes.at(-1)?.at ?? 0) - start).toBeLessThanOrEqual(1_000);
    expect(longestGap(bob, start)).toBeLessThanOrEqual(1_500);
    expect(longestGap(alice, start)).toBeLessThanOrEqual(1_500);
  });

  test('that is silent is noticed without traffic, too', () => {
    const { world, alice, relays } = lab(2, (_node, relay) => relay * 10);
    world.run(60_000);
    relays[0]?.stop();
    const start = world.now;
    expect(world.runUntil(() => homeOf(alice) === 2, 60_000)).toBe(true);
    expect(world.now - start).toBeLessThanOrEqual(26_000);
  });

  test('that was restarted is the home again, with the same slot, and nobody is told anything else', () => {
    const it = lab(1);
    const { world, relayed, alice, bob, relays } = it;
    onlyRelays(world, relays);
    talk(it, 2_000);
    const before = alice.homes.at(-1)?.home;
    relays[0]?.restart(relayed.records());
    const start = world.now;
    talk(it, 3_000, 5_000);
    expect(alice.homes.map(({ home }) => home)).toEqual([before]);
    expect(longestGap(bob, start)).toBeLessThanOrEqual(1_500);
    expect(bob.sequencesFrom(alice).at(-1)).toBeGreaterThan(5_100);
  });

  test('that drains is left for another first, and only then is it off', () => {
    const it = lab(2, (_node, relay) => (relay - 1) * 20);
    const { world, alice, bob, relays } = it;
    onlyRelays(world, relays);
    talk(it, 2_000);
    relays[0]?.drain(3);
    const start = world.now;
    talk(it, 2_500, 5_000);
    expect([homeOf(alice), homeOf(bob)]).toEqual([2, 2]);
    expect(alice.homes.map(({ home }) => home === null)).not.toContain(true);
    expect(relays[0]?.engine.stillUsed()).toBeLessThanOrEqual(2);
    relays[0]?.stop();
    talk(it, 2_500, 8_000);
    // Nothing was lost for longer than it takes to notice a path that is silent.
    expect(longestGap(bob, start)).toBeLessThanOrEqual(700);
  });

  test('that refuses us is left alone for a while, and is asked again', () => {
    const world = new MeshWorld(3);
    const alice = world.addNode('alice');
    const relayed = new RelayedWorld(world, 1);
    const [relay] = relayed.relays as [RelayNode];
    // The relay does not know her: its netmap is behind.
    relay.tell([relay.record()]);
    alice.snapshot(relayed.records());
    world.run(10_000);
    expect(alice.homes).toEqual([]);
    relay.tell(relayed.records());
    expect(world.runUntil(() => alice.homes.length > 0, 70_000)).toBe(true);
  });

  test('is looked for again, ever less often, when no relay answers, and found when one does', () => {
    const world = new MeshWorld(3);
    const alice = world.addNode('alice');
    const relayed = new RelayedWorld(world, 1);
    relayed.relays[0]?.stop();
    alice.snapshot(relayed.records());
    world.run(600_000);
    const tries = world.times('alice', 'initiation').length;
    expect(tries).toBeLessThan(60);
    world.log.length = 0;
    world.run(600_000);
    expect(world.times('alice', 'initiation').length).toBeLessThan(20);
    relayed.relays[0]?.restart(relayed.records());
    alice.act((mesh, now) => mesh.networkChanged(now));
    world.run(RETRY_FIRST_MS);
    expect(homeOf(alice)).toBe(1);
  });

  test('goes when the netmap takes it out, and another is there', () => {
    const { world, alice } = lab(2, (_node, relay) => relay * 10);
    alice.delta({ op: 'remove', id: 101 as never });
    world.run(2_000);
    expect(homeOf(alice)).toBe(2);
    alice.delta({ op: 'remove', id: 102 as never });
    world.run(1_000);
    expect(alice.homes.at(-1)?.home).toBeNull();
  });
});

describe('two nodes without a direct way', () => {
  test('have a session after one round trip over the relay that is the home of both', () => {
    const { world, alice, bob, relays } = lab(1);
    onlyRelays(world, relays);
    const start = world.now;
    alice.send(bob, 1);
    expect(world.runUntil(() => bob.sequencesFrom(alice).length > 0, 2_000)).toBe(true);
    // Initiation, response and packet take two hops of 10 ms each.
    expect(world.now - start).toBe(60);
    expect(pathOf(alice, bob)).toBe('relay');
    const status = alice.mesh.status(bob.id, world.now)?.path;
    expect(status).toMatchObject({ kind: 'relay', relay: 101 });
    expect(isRelayed(status?.endpoint as Endpoint)).toBe(true);
  });

  test('with homes at different relays reach each other over the other’s, which costs its handshake and slot once', () => {
    const { world, alice, bob, relays } = lab(2, (node, relay) => ((node === 'alice') === (relay === 1) ? 0 : 30));
    expect([homeOf(alice), homeOf(bob)]).toEqual([1, 2]);
    onlyRelays(world, relays);
    world.run(600_000);
    const start = world.now;
    alice.send(bob, 1);
    expect(world.runUntil(() => bob.sequencesFrom(alice).length > 0, 3_000)).toBe(true);
    // To Bob's relay and back is 80 ms: handshake, slot, then the 100 ms between initiations at most, and 1.5 round trips to Bob.
    expect(world.now - start).toBeLessThanOrEqual(80 * 2 + 80 + 100 + 150);
    bob.send(alice, 2);
    world.run(100);
    expect(alice.sequencesFrom(bob)).toEqual([2]);
    expect(relays[0]?.forwarded).toBe(0);
  });

  // Her own packets go over Bob's and are answered by it: only he can notice, and nothing that he waits for is missing.
  test.each([0, 290, 530, 800])(
    'go on within 1.5 s when the home of one of them dies, at whatever moment (%i)',
    (ms) => {
      // Ways of so many ms that something always waits for an answer when he looks.
      const it = lab(2, (node, relay) => ((node === 'alice') === (relay === 1) ? 3 : 37));
      const { world, alice, bob, relays } = it;
      onlyRelays(world, relays);
      const next = talk(it, 4_000 + ms);
      expect([pathOf(alice, bob), pathOf(bob, alice)]).toEqual(['relay', 'relay']);
      relays[0]?.stop();
      const start = world.now;
      talk(it, 5_000, next);
      expect(longestGap(bob, start)).toBeLessThanOrEqual(100);
      expect(longestGap(alice, start)).toBeLessThanOrEqual(1_500);
    },
  );

  test('leave the place at the other’s home a minute after they have stopped', () => {
    const { world, alice, bob, relays } = lab(2, (node, relay) => ((node === 'alice') === (relay === 1) ? 0 : 30));
    onlyRelays(world, relays);
    alice.send(bob, 1);
    world.run(10_000);
    expect(relays[1]?.engine.status().slots).toBe(2);
    world.run(330_000 + RELEASE_AFTER_MS);
    expect(alice.stateOf(bob)).toBe('idle');
    world.log.length = 0;
    world.run(200_000);
    const toSecond = world.log.filter(({ from, to }) => from === 'alice' && relays[1]?.endpoints.includes(to));
    expect(toSecond).toEqual([]);
  });

  test('keep their session when one end learns of the other’s new home', () => {
    const it = lab(2, (_node, relay) => (relay - 1) * 20);
    const { world, alice, bob, relays } = it;
    onlyRelays(world, relays);
    talk(it, 2_000);
    const handshake = alice.mesh.status(bob.id, world.now)?.lastHandshake;
    bob.delta({ op: 'remove', id: 101 as never });
    const start = world.now;
    talk(it, 3_000, 5_000);
    expect(homeOf(bob)).toBe(2);
    expect(alice.mesh.status(bob.id, world.now)?.lastHandshake).toBe(handshake);
    expect(longestGap(alice, start)).toBeLessThanOrEqual(800);
  });
});

describe('two nodes with a direct way', () => {
  test('behind firewalls begin over the relay and are direct within a second, without a punch', () => {
    const it = lab(1);
    const { world, alice, bob } = it;
    firewalled(world, alice, bob);
    world.losesPunch = () => true;
    const start = world.now;
    alice.send(bob, 1);
    expect(world.runUntil(() => bob.sequencesFrom(alice).length > 0, 1_000)).toBe(true);
    expect(world.now - start).toBe(60);
    talk(it, 1_000);
    expect([pathOf(alice, bob), pathOf(bob, alice)]).toEqual(['direct', 'direct']);
  });

  test('a ping that went by the relay is said to have been answered by it, though the direct path was faster', () => {
    const it = lab(1, () => 30);
    const { world, alice, bob } = it;
    firewalled(world, alice, bob);
    world.losesPunch = () => true;
    const ping = () => alice.act((mesh, now) => mesh.ping(bob.id, now));
    ping();
    expect(world.runUntil(() => alice.pongs.length > 0, 1_000)).toBe(true);
    expect(pathOf(alice, bob)).toBe('direct');
    ping();
    world.run(100);
    expect(alice.pongs.map(({ rttMs, endpoint }) => [rttMs, isRelayed(endpoint)])).toEqual([
      [160, true],
      [20, false],
    ]);
  });

  test('that breaks go on over the relay within 700 ms, and back when it is whole', () => {
    const it = lab(1);
    const { world, alice, bob, relays } = it;
    talk(it, 5_000);
    expect([pathOf(alice, bob), pathOf(bob, alice)]).toEqual(['direct', 'direct']);
    onlyRelays(world, relays);
    const start = world.now;
    const next = talk(it, 3_000, 5_000);
    expect([pathOf(alice, bob), pathOf(bob, alice)]).toEqual(['relay', 'relay']);
    expect(Math.max(longestGap(alice, start), longestGap(bob, start))).toBeLessThanOrEqual(700);
    world.network.blocked = () => false;
    talk(it, 4_000, next);
    expect([pathOf(alice, bob), pathOf(bob, alice)]).toEqual(['direct', 'direct']);
    expect(alice.mesh.engine.counters.reached.initiationsSent).toBeLessThanOrEqual(3);
  });

  test('that breaks because the NAT in front of one has forgotten it go on over the relay within 700 ms, too', () => {
    const it = lab(1);
    const { world, alice, bob } = it;
    firewalled(world, alice, bob);
    talk(it, 5_000);
    expect([pathOf(alice, bob), pathOf(bob, alice)]).toEqual(['direct', 'direct']);
    // The relay, too, only learns of it by a packet of the session with it, however lately it has answered.
    const asked = (): boolean => {
      const last = world.log.findLast(({ from, kind }) => from === 'alice' && kind === 'ping');
      return last !== undefined && last.at > world.now - 60 && it.relays[0]?.endpoints.includes(last.to) === true;
    };
    for (let sequence = 2_000; !asked(); ) sequence = talk(it, 20, sequence);
    world.run(60);
    alice.move(['198.51.100.77:1234' as Endpoint]);
    const start = world.now;
    talk(it, 3_000, 5_000);
    expect(Math.max(longestGap(alice, start), longestGap(bob, start))).toBeLessThanOrEqual(700);
  });

  test('that works in one direction only: the session is made and kept by relay', () => {
    const it = lab(1);
    const { world, alice, bob } = it;
    world.network.blocked = ({ source, destination }) =>
      bob.endpoints.includes(source) && alice.endpoints.includes(destination);
    const start = world.now;
    alice.send(bob, 1);
    expect(world.runUntil(() => bob.sequencesFrom(alice).length > 0, 2_000)).toBe(true);
    expect(world.now - start).toBeLessThanOrEqual(100);
    talk(it, 8_000);
    expect(pathOf(alice, bob)).toBe('relay');
    expect(alice.sequencesFrom(bob).length).toBeGreaterThan(300);
  });
});

describe('a relay that lies', () => {
  test('gives slots that nobody asked for, or refuses what was not asked: nothing changes', () => {
    const { world, alice, relays } = lab(1);
    const [relay] = relays as [RelayNode];
    const peer = [...relay.engine.engine.peers()].find(({ session }) => session !== null);
    if (peer === undefined) throw new Error('somebody has a session');
    const homes = world.nodes.map((node) => node.homes.length);
    for (const frame of [
      encodeRelaySlot(0, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)),
      encodeRelaySlot(77, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)),
      encodeRelayRefused(99, 'full'),
    ]) {
      relay.plane.sendFrame(peer.slot, frame, world.now);
    }
    relay.run();
    world.run(1_000);
    expect(world.nodes.map((node) => node.homes.length)).toEqual(homes);
    const unexpected = world.nodes.map((node) => node.mesh.counters.counts.relayFramesUnexpected);
    expect(unexpected.reduce((sum, n) => sum + n, 0)).toBe(3);
    expect(alice.mesh.home).not.toBeNull();
  });

  test('and so does a peer that is none: its frames of relays are counted', () => {
    const { world, alice, bob } = lab(0);
    alice.send(bob, 1);
    world.run(100);
    const peer = [...bob.mesh.engine.peers()][0];
    if (peer === undefined) throw new Error('Bob has a peer');
    for (const frame of [
      encodeRelaySlot(1, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 1)),
      encodeRelayRefused(0, 'notMember'),
    ]) {
      bob.plane.sendFrame(peer.slot, frame, world.now);
    }
    bob.run();
    world.run(100);
    expect(alice.mesh.counters.counts.relayFramesUnexpected).toBe(2);
  });

  test('or a peer whose candidates are relayed endpoints makes us send nothing there', () => {
    const { world, alice, bob, relays } = lab(1);
    const fake = relayedEndpoint(1, Uint8Array.of(9, 9, 9, 9, 9, 9, 9, 9));
    alice.delta({ op: 'candidates', id: bob.id, candidates: [{ kind: 'host', endpoint: fake }], reach: null });
    const before = relays[0]?.plane.drops().relayNoSlot;
    world.controllerAway = true;
    alice.send(bob, 1);
    world.run(3_000);
    expect(relays[0]?.plane.drops().relayNoSlot).toBe(before);
  });
});

describe('a relay', () => {
  test('is shown to nobody as a peer, routes nothing, and is no reason for punches', () => {
    const { world, alice, bob } = lab(2);
    expect([...alice.mesh.statuses(world.now)].map(({ id }) => id)).toEqual([bob.id]);
    expect([...alice.mesh.relayStatuses(world.now)].map(({ id, home, ready }) => [id, home, ready])).toContainEqual([
      homeOf(alice) === 1 ? 101 : 102,
      true,
      true,
    ]);
    expect(alice.punches).toEqual([]);
    alice.send(bob, 1, '100.64.1.1' as never);
    world.run(1_000);
    expect(alice.plane.drops().outNoPeer).toBe(1);
  });

  test('over the host’s bridge is reached there alone, and at its candidates again afterwards', () => {
    const { world, alice, relays } = lab(1);
    const [relay] = relays as [RelayNode];
    const bridge = '127.0.0.1:40000' as Endpoint;
    // The bridge: what goes in there comes out at the relay, and back.
    const away = '198.18.7.7:999' as Endpoint;
    world.network.attach(bridge, ({ bytes }) =>
      world.network.send({ bytes, source: away, destination: relay.endpoints[0] as Endpoint }),
    );
    world.network.attach(away, ({ bytes }) =>
      world.network.send({ bytes, source: bridge, destination: alice.endpoints[0] as Endpoint }),
    );
    world.network.blocked = ({ source, destination }) =>
      alice.endpoints.includes(source) && relay.endpoints.includes(destination);
    expect(alice.act((mesh, now) => mesh.setRelayOverride(relay.id, bridge, now))).toBe(true);
    world.run(3_000);
    const [status] = [...alice.mesh.relayStatuses(world.now)];
    expect(status).toMatchObject({ home: true, ready: true, endpoint: bridge, overridden: true });
    world.network.blocked = () => false;
    alice.act((mesh, now) => mesh.setRelayOverride(relay.id, null, now));
    world.run(3_000);
    expect([...alice.mesh.relayStatuses(world.now)][0]).toMatchObject({ endpoint: relay.endpoints[0], ready: true });
    expect(alice.act((mesh, now) => mesh.setRelayOverride(1 as never, null, now))).toBe(false);
  });

  test('at two addresses is left for its other one when the first is silent, and goes on forwarding for us', () => {
    const it = lab(1, () => 0, 2);
    const { world, bob, relays } = it;
    onlyRelays(world, relays);
    talk(it, 3_000);
    const dead = (relays[0] as RelayNode).endpoints[0];
    const before = world.network.blocked;
    world.network.blocked = (datagram) => before(datagram) || datagram.source === dead || datagram.destination === dead;
    const start = world.now;
    talk(it, 4_000, 5_000);
    expect(longestGap(bob, start)).toBeLessThanOrEqual(1_500);
  });
});
