// When the ground moves: addresses and routes that change, machines that wake, peers that are gone. Sessions survive what they
// can, and what they cannot is made anew within two seconds, without a restart.

import { describe, expect, test } from 'vitest';
import type { Endpoint } from '../../../src/base/ip.ts';
import { connectedMeshPair, MeshWorld, meshPair } from './mesh-world.ts';

const elsewhere = ['203.0.113.50:51820' as Endpoint];

describe('our address changes', () => {
  test('and the other end follows once the new one has answered and the old has not, without a handshake, although we have nothing to say', () => {
    const { world, alice, bob } = connectedMeshPair();
    alice.move(elsewhere);
    alice.act((mesh, now) => mesh.networkChanged(now));
    world.run(220);
    expect(bob.mesh.status(alice.id, world.now)?.endpoint).toBe(elsewhere[0]);
    bob.send(alice, 2);
    world.run(15);
    expect(alice.sequencesFrom(bob)).toEqual([2]);
    world.run(5_000);
    expect(world.count('alice', 'initiation')).toBe(0);
  });

  test('together with the other end’s: both find each other over the controller within two seconds', () => {
    const { world, alice, bob } = connectedMeshPair();
    const start = world.now;
    alice.move(elsewhere);
    bob.move(['203.0.113.60:51820' as Endpoint]);
    for (const node of [alice, bob]) {
      node.act((mesh, now) => {
        mesh.setLocalCandidates(node.candidates(), now);
        mesh.networkChanged(now);
      });
    }
    // What leaves over the old session meanwhile is lost, as packets on a broken path are.
    for (let sequence = 2; bob.arrivals.length === 0 && sequence < 25; sequence++) {
      alice.send(bob, sequence);
      world.run(100);
    }
    expect(bob.arrivals.length).toBeGreaterThan(0);
    expect(world.now - start).toBeLessThanOrEqual(2_000);
    expect(alice.mesh.status(bob.id, world.now)?.endpoint).toBe('203.0.113.60:51820');
  });

  test('while an attempt runs: a fresh initiation leaves at once', () => {
    const { world, alice, bob } = meshPair();
    world.network.blocked = ({ source }) => source === '192.0.2.1:51820';
    alice.send(bob, 1);
    world.run(300);
    alice.move(elsewhere);
    alice.act((mesh, now) => mesh.networkChanged(now));
    world.run(30);
    expect(bob.sequencesFrom(alice)).toEqual([1]);
  });
});

describe('a peer that stays silent after a change', () => {
  test('is looked for at all its candidates after a second', () => {
    const { world, alice, bob } = connectedMeshPair(2);
    const start = world.now;
    const used = bob.endpoints[0];
    world.network.blocked = ({ destination, source }) => destination === used || source === used;
    alice.act((mesh, now) => mesh.networkChanged(now));
    expect(world.runUntil(() => alice.mesh.status(bob.id, world.now)?.endpoint === bob.endpoints[1], 2_000)).toBe(true);
    expect(world.now - start).toBeLessThanOrEqual(1_020);
    alice.send(bob, 5);
    world.run(50);
    expect(bob.sequencesFrom(alice)).toEqual([5]);
  });
});

describe('a machine that slept', () => {
  test('for a minute shows all its peers that it is there, and nobody handshakes', () => {
    const { world, alice, bob } = connectedMeshPair();
    world.run(60_000);
    world.log.length = 0;
    alice.act((mesh, now) => mesh.networkChanged(now));
    world.run(2_000);
    expect(world.wire()).toEqual(['alice:ping', 'bob:pong']);
    expect(alice.stateOf(bob)).toBe('established');
  });

  test('for an hour says nothing, for no session is left; the next packet makes one in a round trip', () => {
    const { world, alice, bob } = connectedMeshPair();
    world.run(3_600_000);
    world.log.length = 0;
    alice.act((mesh, now) => mesh.networkChanged(now));
    world.run(5_000);
    expect(world.log).toEqual([]);
    alice.send(bob, 2);
    world.run(30);
    expect(bob.sequencesFrom(alice)).toEqual([2]);
  });
});

describe('a change of the network', () => {
  test('means nothing to peers that are idle', () => {
    const world = new MeshWorld();
    const alice = world.addNode('alice');
    for (let n = 0; n < 5; n++) world.addNode(`other${n}`);
    world.tellAll();
    alice.act((mesh, now) => mesh.networkChanged(now));
    world.run(10_000);
    expect(world.log).toEqual([]);
  });
});

describe('the controller', () => {
  test('is not needed by sessions, renewals and new sessions with peers that are known', () => {
    const { world, alice, bob } = connectedMeshPair();
    const carol = world.addNode('carol');
    world.tellAll();
    world.controllerAway = true;
    for (let sequence = 2; sequence < 400; sequence++) {
      alice.send(bob, sequence);
      world.run(1_000);
    }
    expect(bob.sequencesFrom(alice).length).toBe(398);
    carol.send(alice, 1);
    world.run(100);
    expect(alice.sequencesFrom(carol)).toEqual([1]);
  });

  test('is not needed to start: the netmap that was saved is enough', () => {
    const { world, alice, bob } = connectedMeshPair();
    const saved = alice.mesh.netmap.save();
    if (saved === null) throw new Error('there is a netmap');
    world.controllerAway = true;
    alice.restart();
    alice.act((mesh, now) => mesh.restore(saved, now));
    alice.send(bob, 7);
    world.run(100);
    expect(bob.sequencesFrom(alice)).toEqual([7]);
  });
});

describe('a flushed peer', () => {
  test('has no session, and makes one with the next packet in a round trip, not after a pause', () => {
    const { world, alice, bob } = connectedMeshPair();
    expect(alice.act((mesh, now) => mesh.flushPeer(bob.id, now))).toBe(true);
    expect(alice.stateOf(bob)).toBe('idle');
    alice.send(bob, 2);
    world.run(30);
    expect(bob.sequencesFrom(alice)).toEqual([2]);
    expect(alice.act((mesh, now) => mesh.flushPeer(99 as never, now))).toBe(false);
  });

  test('that flushed us as well begins again without the wait of a stock WireGuard', () => {
    const { world, alice, bob } = connectedMeshPair();
    for (let round = 2; round < 10; round++) {
      const [from, to] = round % 2 === 0 ? [bob, alice] : [alice, bob];
      for (const [node, other] of [
        [alice, bob],
        [bob, alice],
      ] as const) {
        node.act((mesh, now) => mesh.flushPeer(other.id, now));
      }
      from.send(to, round);
      world.run(150);
      expect(to.sequencesFrom(from)).toContain(round);
    }
  });
});

describe('why there is no session', () => {
  test('is told to a person', () => {
    const { world, alice, bob } = meshPair(2);
    world.network.blocked = () => true;
    world.controllerAway = true;
    expect(alice.reasonFor(bob)).toBeNull();
    alice.send(bob, 1);
    expect(alice.reasonFor(bob)).toBeNull();
    world.run(7_500);
    expect(alice.reasonFor(bob)).toBe('no answer from any of its 2 addresses for 7 s');
    alice.delta({ op: 'presence', id: bob.id, online: false });
    expect(alice.reasonFor(bob)).toBe(
      'no answer from any of its 2 addresses for 7 s; bob is not connected to the controller',
    );
    world.run(100_000);
    expect(alice.reasonFor(bob)).toBe(
      'it did not answer; the next packet tries again; bob is not connected to the controller',
    );
  });
});
