// What an update does to a live peer: docs/mesh.md, the table, row by row, and the moments that are awkward for it.

import { describe, expect, test } from 'vitest';
import { fromBase64, toHex } from '../../../src/base/bytes.ts';
import { NEVER } from '../../../src/base/instant.ts';
import type { Endpoint, IpAddress, IpPrefix } from '../../../src/base/ip.ts';
import { IDLE_PATHS_MAX } from '../../../src/mesh/paths.ts';
import type { NetmapNode } from '../../../src/protocol/netmap.ts';
import type { NodeName } from '../../../src/protocol/values.ts';
import { connectedMeshPair, type MeshNode, MeshWorld, meshPair, NETWORK } from './mesh-world.ts';
import { nodeRecord } from './node-record.ts';

describe('a peer that is added', () => {
  test('is idle: no timer, no packet, for a day', () => {
    const { world, alice, bob } = meshPair();
    const wakes = [alice.wakes, bob.wakes];
    world.run(24 * 3_600_000);
    expect(world.log).toEqual([]);
    expect([alice.punches, bob.punches]).toEqual([[], []]);
    expect([alice.wakes, bob.wakes]).toEqual(wakes);
    expect(alice.mesh.nextDeadline()).toBe(NEVER);
    expect(alice.mesh.status(bob.id, world.now)).toMatchObject({ state: 'idle', endpoint: null, reason: null });
  });

  test('while others have sessions does not disturb them', () => {
    const { world, alice, bob } = connectedMeshPair();
    alice.delta({ op: 'put', node: nodeRecord(9) });
    alice.send(bob, 2);
    world.run(50);
    expect(world.wireButProbes()).toEqual(['alice:data']);
    expect(bob.sequencesFrom(alice)).toEqual([2]);
  });
});

describe('a peer that is removed', () => {
  test('is gone at once: nothing more is sent to it or taken from it', () => {
    const { world, alice, bob } = connectedMeshPair();
    alice.delta({ op: 'remove', id: bob.id });
    expect(alice.mesh.status(bob.id, world.now)).toBeNull();
    expect(alice.mesh.nextDeadline()).toBe(NEVER);
    alice.send(bob, 2);
    bob.send(alice, 2);
    world.run(30_000);
    expect(world.count('alice', 'data')).toBe(0);
    expect(world.count('alice', 'response')).toBe(0);
    expect(alice.arrivals).toEqual([]);
  });

  test('in the middle of its handshake leaves nothing behind, at whatever moment', () => {
    for (let at = 0; at <= 40; at += 5) {
      const { world, alice, bob } = meshPair(2);
      alice.send(bob, 1);
      bob.send(alice, 1);
      world.run(at);
      alice.delta({ op: 'remove', id: bob.id });
      const from = world.log.length;
      world.run(200_000);
      expect(world.wire(from).filter((entry) => entry.startsWith('alice'))).toEqual([]);
      expect(alice.mesh.nextDeadline()).toBe(NEVER);
    }
  });

  test('with pings that wait for it is forgotten with them, and can come back', () => {
    const { world, alice, bob } = meshPair();
    world.network.blocked = () => true;
    alice.act((mesh, now) => mesh.ping(bob.id, now));
    expect(alice.mesh.pingsInFlight).toBe(1);
    alice.delta({ op: 'remove', id: bob.id });
    expect(alice.mesh.pingsInFlight).toBe(0);
    world.network.blocked = () => false;
    alice.delta({ op: 'put', node: bob.record() });
    world.run(10_000);
    expect(alice.pongs).toEqual([]);
    alice.send(bob, 1);
    world.run(100);
    expect(bob.sequencesFrom(alice)).toEqual([1]);
  });
});

describe('a peer with another key', () => {
  test('is another peer: the old session is gone at once, the next packet makes one with the new key', () => {
    const { world, alice, bob } = connectedMeshPair();
    const old = alice.mesh.status(bob.id, world.now);
    expect(old?.state).toBe('established');
    bob.privateKey = bob.drawKey();
    alice.delta({ op: 'put', node: bob.record() });
    expect(alice.mesh.status(bob.id, world.now)).toMatchObject({ state: 'idle', lastHandshake: null, rxBytes: 0 });
    // What still comes under the old key comes from nobody.
    bob.send(alice, 2);
    world.run(50);
    expect(alice.arrivals).toEqual([]);
    bob.act((mesh, now) => mesh.setIdentity(bob.privateKey, now));
    alice.send(bob, 3);
    world.run(200);
    expect(bob.sequencesFrom(alice)).toEqual([3]);
    bob.send(alice, 4);
    world.run(50);
    expect(alice.sequencesFrom(bob)).toEqual([4]);
  });

  test('may take the key that another node gives up in the same delta', () => {
    const world = new MeshWorld();
    const alice = world.addNode('alice');
    const bob = world.addNode('bob');
    const carol = world.addNode('carol');
    world.tellAll();
    [bob.privateKey, carol.privateKey] = [carol.privateKey, bob.privateKey];
    alice.delta({ op: 'put', node: bob.record() }, { op: 'put', node: carol.record() });
    for (const node of [bob, carol]) {
      node.act((mesh, now) => mesh.setIdentity(node.privateKey, now));
      alice.send(node, 1);
    }
    world.run(200);
    expect(bob.sequencesFrom(alice)).toEqual([1]);
    expect(carol.sequencesFrom(alice)).toEqual([1]);
  });
});

describe('our own new key', () => {
  test('renews live sessions at once when the others know it', () => {
    const { world, alice, bob } = connectedMeshPair();
    alice.privateKey = alice.drawKey();
    bob.delta({ op: 'put', node: alice.record() });
    alice.act((mesh, now) => mesh.setIdentity(alice.privateKey, now));
    expect(alice.mesh.publicKey()).toBe(alice.record().publicKey);
    world.run(100);
    alice.send(bob, 2);
    bob.send(alice, 2);
    world.run(100);
    expect(bob.sequencesFrom(alice)).toEqual([2]);
    expect(alice.sequencesFrom(bob)).toEqual([2]);
  });

  test('reaches peers that hear of it late without a retry of five seconds', () => {
    const { world, alice, bob } = connectedMeshPair();
    alice.privateKey = alice.drawKey();
    alice.act((mesh, now) => mesh.setIdentity(alice.privateKey, now));
    alice.send(bob, 2);
    const start = world.now;
    world.schedule(300, () => bob.delta({ op: 'put', node: alice.record() }));
    expect(world.runUntil(() => bob.sequencesFrom(alice).includes(2), 10_000)).toBe(true);
    expect(world.now - start).toBeLessThanOrEqual(1_100);
  });
});

describe('other candidates', () => {
  test('leave a session alone', () => {
    const { world, alice, bob } = connectedMeshPair();
    alice.delta({ op: 'candidates', id: bob.id, candidates: nodeRecord(9).candidates });
    expect(world.log).toEqual([]);
    alice.send(bob, 2);
    world.run(50);
    expect(bob.sequencesFrom(alice)).toEqual([2]);
    expect(alice.mesh.status(bob.id, world.now)?.endpoint).toBe(bob.endpoints[0]);
  });

  test('are offered at once to an attempt that is running', () => {
    const { world, alice, bob } = meshPair();
    const wrong = nodeRecord(9).candidates;
    alice.delta({ op: 'candidates', id: bob.id, candidates: wrong });
    world.controllerAway = true;
    alice.send(bob, 1);
    world.run(400);
    expect(bob.arrivals).toEqual([]);
    alice.delta({ op: 'candidates', id: bob.id, candidates: [...wrong, ...bob.candidates()] });
    world.run(30);
    expect(bob.sequencesFrom(alice)).toEqual([1]);
  });

  test('of an idle peer that was heard before are tried beside where it was heard', () => {
    const { world, alice, bob } = connectedMeshPair(2);
    alice.act((mesh, now) => mesh.flushPeer(bob.id, now));
    alice.delta({ op: 'candidates', id: bob.id, candidates: nodeRecord(9).candidates.slice(0, 1) });
    const from = world.log.length;
    alice.send(bob, 2);
    const targets = world.log.slice(from).map(({ to }) => to);
    // Also where nobody says any more that it is, but where it has answered.
    expect(new Set(targets)).toEqual(new Set([...bob.endpoints, nodeRecord(9).candidates[0]?.endpoint]));
    world.run(200);
    expect(bob.sequencesFrom(alice)).toEqual([2]);
  });
});

describe('other addresses', () => {
  test('are routed at once, over the session that is there', () => {
    const { world, alice, bob } = connectedMeshPair();
    const address4 = '100.64.7.7' as IpAddress;
    const before = bob.address4;
    alice.delta({ op: 'put', node: bob.record({ address4 }) });
    alice.send(bob, 2, address4);
    alice.send(bob, 3, before);
    alice.send(bob, 4, bob.address6);
    world.run(50);
    expect(bob.sequencesFrom(alice)).toEqual([2, 4]);
    expect(world.wireButProbes()).toEqual(['alice:data', 'alice:data']);
    // What Bob still sends from the old address is not his any more.
    bob.send(alice, 5);
    world.run(50);
    expect(alice.arrivals).toEqual([]);
  });

  test('may go from one node to another in one delta', () => {
    const world = new MeshWorld();
    const alice = world.addNode('alice');
    const bob = world.addNode('bob');
    const carol = world.addNode('carol');
    world.tellAll();
    alice.delta(
      { op: 'put', node: bob.record({ address4: carol.address4 }) },
      { op: 'put', node: carol.record({ address4: bob.address4 }) },
    );
    alice.send(carol, 1, bob.address4);
    alice.send(bob, 2, carol.address4);
    world.run(100);
    expect(carol.sequencesFrom(alice)).toEqual([1]);
    expect(bob.sequencesFrom(alice)).toEqual([2]);
  });
});

describe('a new name, tags and presence', () => {
  test('are shown, and that is all: presence never ends a session', () => {
    const { world, alice, bob } = connectedMeshPair();
    const changes = alice.changes;
    const node = bob.record({ name: 'robert' as NodeName, tags: ['db'] });
    alice.delta({ op: 'put', node }, { op: 'presence', id: bob.id, online: false });
    expect(alice.changes).toBeGreaterThan(changes);
    expect(world.log).toEqual([]);
    const status = alice.mesh.status(bob.id, world.now);
    expect(status).toMatchObject({ state: 'established', reason: null });
    expect(status?.node).toEqual({ ...node, online: false });
    for (let sequence = 2; sequence < 60; sequence++) {
      alice.send(bob, sequence);
      world.run(5_000);
    }
    expect(bob.sequencesFrom(alice).length).toBe(58);
  });
});

describe('a snapshot after a resync', () => {
  test('leaves sessions alone that stand in it as they did', () => {
    const { world, alice, bob } = connectedMeshPair();
    alice.snapshot([alice.record(), bob.record(), nodeRecord(9)]);
    alice.send(bob, 2);
    world.run(50);
    expect(world.wireButProbes()).toEqual(['alice:data']);
    expect(bob.sequencesFrom(alice)).toEqual([2]);
  });

  test('ends those that are not in it', () => {
    const { world, alice } = connectedMeshPair();
    alice.snapshot([alice.record()]);
    expect([...alice.mesh.statuses(world.now)]).toEqual([]);
    expect(alice.mesh.nextDeadline()).toBe(NEVER);
  });
});

describe('a record that cannot be a peer', () => {
  test('says why, and becomes one when it can', () => {
    const { world, alice, bob } = meshPair();
    const twin = nodeRecord(9, { publicKey: bob.record().publicKey });
    alice.delta({ op: 'put', node: twin });
    expect(alice.mesh.status(twin.id, world.now)?.reason).toBe('the controller gives node-9 the key of another node');
    expect(alice.act((mesh, now) => mesh.ping(twin.id, now)).ok).toBe(false);
    alice.send(bob, 1);
    world.run(50);
    expect(bob.sequencesFrom(alice)).toEqual([1]);
    alice.delta({ op: 'remove', id: bob.id });
    expect(alice.mesh.status(twin.id, world.now)?.reason).toBeNull();

    const ours = nodeRecord(10, { publicKey: alice.record().publicKey });
    alice.delta({ op: 'put', node: ours });
    expect(alice.mesh.status(ours.id, world.now)?.reason).toContain('the key of this machine');
    alice.act((mesh, now) => mesh.setIdentity(alice.drawKey(), now));
    expect(alice.mesh.status(ours.id, world.now)?.reason).toBeNull();
  });

  test('is one too many for the plane, and takes the place of another that goes', () => {
    const world = new MeshWorld(1, { peersMax: 3 });
    const alice = world.addNode('alice');
    alice.snapshot([2, 3, 4, 5].map((n) => nodeRecord(n)));
    expect(alice.mesh.status(nodeRecord(5).id, world.now)?.reason).toBe('this machine cannot hold as many peers');
    alice.delta({ op: 'remove', id: nodeRecord(2).id });
    expect(alice.mesh.status(nodeRecord(5).id, world.now)?.reason).toBeNull();
  });
});

describe('leaving the network', () => {
  test('ends every session and forgets everyone', () => {
    const { world, alice } = connectedMeshPair();
    alice.act((mesh, now) => mesh.clear(now));
    expect([...alice.mesh.statuses(world.now)]).toEqual([]);
    expect(alice.mesh.netmap.position).toBeNull();
    expect(alice.mesh.nextDeadline()).toBe(NEVER);
  });
});

/** Of this process: what others do on the machine is not measured. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

describe('a large network', () => {
  const records = Array.from({ length: 10_000 }, (_, i) => nodeRecord(i + 2));

  test('of ten thousand idle peers is there in half a second and then costs nothing', () => {
    const world = new MeshWorld();
    const alice = world.addNode('alice');
    const self = alice.record();
    const times: number[] = [];
    for (let run = 0; run < 3; run++) {
      alice.act((mesh, now) => mesh.clear(now));
      alice.mesh.setSelf(self, NETWORK, world.now);
      const start = cpuMs();
      alice.mesh.applySnapshot(
        { type: 'snapshot', epoch: 'AAAAAAAAAAAAAAAA' as never, seq: 0, network: NETWORK, nodes: records },
        world.now,
      );
      times.push(cpuMs() - start);
    }
    expect(Math.min(...times)).toBeLessThan(500);
    alice.run();
    const wakes = alice.wakes;
    world.run(24 * 3_600_000);
    expect([alice.wakes, alice.mesh.nextDeadline(), world.log]).toEqual([wakes, NEVER, []]);
    expect(alice.mesh.pathsHeld).toBe(0);
  });

  test('of which many were spoken with holds the paths of the last few of them', () => {
    const world = new MeshWorld();
    const alice = world.addNode('alice');
    alice.snapshot(records.slice(0, 1_000));
    const spoken = IDLE_PATHS_MAX + 100;
    for (let i = 0; i < spoken; i++) {
      const { id } = records[i] as NetmapNode;
      alice.act((mesh, now) => mesh.ping(id, now));
    }
    expect(alice.mesh.pathsHeld).toBe(spoken);
    // Nobody answers, and they are given up.
    world.run(200_000);
    expect(alice.mesh.pathsHeld).toBe(IDLE_PATHS_MAX);
    expect(alice.mesh.nextDeadline()).toBe(NEVER);
  });

  test('takes a delta at the cost of its size', () => {
    const world = new MeshWorld();
    const alice = world.addNode('alice');
    alice.snapshot(records);
    const start = cpuMs();
    const deltas = 2_000;
    for (let i = 0; i < deltas; i++) alice.delta({ op: 'presence', id: nodeRecord(2 + i).id, online: false });
    const each = (cpuMs() - start) / deltas;
    // A pass over all peers would take more than this many times over.
    expect(each).toBeLessThan(0.5);
  });

  test('with an address that means another machine for everybody is not made of', () => {
    const { world, alice, bob } = meshPair();
    const inside = { kind: 'host', endpoint: `${bob.address4}:51820` as Endpoint } as const;
    alice.delta({ op: 'candidates', id: bob.id, candidates: [inside, ...bob.candidates()] });
    alice.send(bob, 1);
    world.run(100);
    expect(world.log.some(({ to }) => to === inside.endpoint)).toBe(false);
    expect(bob.sequencesFrom(alice)).toEqual([1]);
  });
});

function allowedIps(at: MeshNode, of: MeshNode): string[] {
  const key = toHex(fromBase64(of.record().publicKey, 32) as Uint8Array);
  const peer = at.mesh.engine.peer(key);
  return peer === undefined ? [] : [...at.mesh.engine.allowedIpsOf(peer)];
}

describe('addresses that a controller may not give', () => {
  test('no peer gets packets for, or may send from, an address outside of the network', () => {
    const { alice, bob } = connectedMeshPair();
    for (const edit of [{ address4: '192.168.1.1' }, { address6: '2001:db8::1' }, { address4: '127.0.0.1' }]) {
      const node = { ...bob.record(), ...(edit as { readonly address4: IpAddress }) };
      alice.delta({ op: 'put', node });
      expect(allowedIps(alice, bob)).toEqual([]);
    }
    expect(alice.mesh.counters.counts.addressesRefused).toBe(3);
    alice.delta({ op: 'put', node: bob.record() });
    expect(allowedIps(alice, bob)).toEqual([`${bob.record().address4}/32`, `${bob.record().address6}/128`]);
  });

  test.each([
    ['everything', '0.0.0.0/0', 'fd77::/64'],
    ['half of it', '128.0.0.0/1', 'fd77::/64'],
    ['the loopback', '127.0.0.0/8', 'fd77::/64'],
    ['most of IPv6', '100.64.0.0/10', '2000::/3'],
  ])('%s is no network, and nobody in it has an address', (_what, prefix4, prefix6) => {
    const { alice, bob } = connectedMeshPair();
    const network = { ...NETWORK, prefix4: prefix4 as IpPrefix, prefix6: prefix6 as IpPrefix };
    alice.delta({ op: 'network', network });
    expect(allowedIps(alice, bob)).toEqual([]);
    alice.delta({ op: 'network', network: NETWORK });
    expect(allowedIps(alice, bob)).toHaveLength(2);
  });
});
