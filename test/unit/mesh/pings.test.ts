// Pings inside the tunnel: the time they take, the sessions they begin, what they tell about addresses, and their limits.

import { describe, expect, test } from 'vitest';
import { fromBase64, toHex } from '../../../src/base/bytes.ts';
import { NEVER } from '../../../src/base/instant.ts';
import { addressBytes, type Endpoint, type IpAddress } from '../../../src/base/ip.ts';
import { encodePong, FRAME_BYTES_MAX } from '../../../src/mesh/frames.ts';
import { PINGS_IN_FLIGHT_MAX, PINGS_WAITING_MAX, PONGS_BURST } from '../../../src/mesh/pings.ts';
import type { NodeId } from '../../../src/protocol/values.ts';
import { connectedMeshPair, type MeshNode, meshPair } from './mesh-world.ts';

function ping(node: MeshNode, other: { readonly id: NodeId }, bytes?: number): number {
  const result = node.act((mesh, now) => mesh.ping(other.id, now, bytes));
  if (!result.ok) throw new Error(result.reason);
  return result.txid;
}

describe('a ping', () => {
  test('over a session takes a round trip, and says where the peer is and where it sees us', () => {
    const { world, alice, bob } = connectedMeshPair();
    const txid = ping(alice, bob);
    world.run(100);
    expect(alice.pongs).toEqual([
      { id: bob.id, txid, rttMs: 20, endpoint: bob.endpoints[0], observed: alice.endpoints[0] },
    ]);
    expect(world.wire()).toEqual(['alice:ping', 'bob:pong']);
  });

  test('to an idle peer begins a session; the time of the handshake is not in its time', () => {
    const { world, alice, bob } = meshPair();
    ping(alice, bob);
    expect(alice.stateOf(bob)).toBe('connecting');
    world.run(39);
    expect(alice.pongs).toEqual([]);
    world.run(1);
    expect(alice.pongs.map(({ rttMs }) => rttMs)).toEqual([20]);
  });

  test('of any size is answered with a small pong', () => {
    const { world, alice, bob } = connectedMeshPair();
    for (const bytes of [8, 100, FRAME_BYTES_MAX]) ping(alice, bob, bytes);
    world.run(100);
    expect(alice.pongs.length).toBe(3);
    for (const bytes of [7, FRAME_BYTES_MAX + 1, 8.5, Number.NaN]) {
      expect(alice.act((mesh, now) => mesh.ping(bob.id, now, bytes)).ok).toBe(false);
    }
  });

  test('says that there is no such peer, or no tunnel', () => {
    const { alice, bob } = meshPair();
    expect(alice.act((mesh, now) => mesh.ping(99 as NodeId, now))).toEqual({
      ok: false,
      reason: 'there is no such peer',
    });
    alice.act((mesh, now) => mesh.linkDown(now));
    expect(alice.act((mesh, now) => mesh.ping(bob.id, now))).toEqual({ ok: false, reason: 'the tunnel is down' });
  });

  test('tells a new address of ours once', () => {
    const { world, alice, bob } = connectedMeshPair();
    for (let n = 0; n < 3; n++) {
      ping(alice, bob);
      world.run(100);
    }
    // It was told when the session began.
    expect(alice.seen.length).toBe(0);
    alice.move(['192.0.2.77:51820' as Endpoint]);
    ping(alice, bob);
    world.run(100);
    expect(alice.seen.map(({ endpoint }) => endpoint)).toEqual(['192.0.2.77:51820']);
  });

  test('that is not answered finds the peer anew: it was restarted and knows of no session', () => {
    const { world, alice, bob } = connectedMeshPair();
    bob.restart();
    bob.snapshot([alice.record()]);
    ping(alice, bob);
    world.run(1_100);
    ping(alice, bob);
    world.run(100);
    expect(alice.pongs.length).toBe(1);
    expect(alice.mesh.counters.counts.probesFailed).toBe(1);
  });

  test('and its answer leave no timer behind', () => {
    const { world, alice, bob } = connectedMeshPair();
    ping(alice, bob);
    world.run(700_000);
    expect(alice.mesh.nextDeadline()).toBe(NEVER);
    expect(bob.mesh.nextDeadline()).toBe(NEVER);
  });
});

describe('a peer that lies about where it sees us', () => {
  test.each(['127.0.0.1', '224.0.0.1', '255.255.255.255', '0.0.0.0', '100.64.0.9', 'fd77::9', 'ff02::1', 'fe80::1'])(
    'cannot make %s an address of ours',
    (address) => {
      const { world, alice, bob } = connectedMeshPair();
      const txid = ping(alice, bob);
      const pong = encodePong(txid, addressBytes(address as IpAddress), 4000);
      const key = toHex(fromBase64(alice.record().publicKey, 32) as Uint8Array);
      const peer = bob.mesh.engine.peer(key);
      if (peer === undefined) throw new Error('they know each other');
      bob.act((_mesh, now) => bob.plane.sendFrame(peer.slot, pong, now));
      world.run(100);
      expect(alice.mesh.counters.counts.pongsMatched).toBe(1);
      expect(alice.seen).toEqual([]);
    },
  );
});

describe('limits', () => {
  test('pings that wait for a session are few, and are lost when none comes of it', () => {
    const { world, alice, bob } = meshPair();
    world.network.blocked = () => true;
    for (let n = 0; n < PINGS_WAITING_MAX; n++) ping(alice, bob);
    expect(alice.act((mesh, now) => mesh.ping(bob.id, now)).ok).toBe(false);
    world.run(120_000);
    expect(alice.stateOf(bob)).toBe('idle');
    expect(alice.reasonFor(bob)).toBe('it did not answer; the next packet tries again');
    world.network.blocked = () => false;
    alice.send(bob, 1);
    world.run(100);
    expect(alice.pongs).toEqual([]);
    expect(alice.reasonFor(bob)).toBeNull();
  });

  test('a flood of pings is answered as far as the limit goes, and counted', () => {
    const { world, alice, bob } = connectedMeshPair();
    for (let n = 0; n < 500; n++) ping(alice, bob);
    world.run(10);
    const { pingsAnswered, pingsLimited } = bob.mesh.counters.counts;
    expect(pingsAnswered).toBe(PONGS_BURST);
    expect(pingsLimited).toBe(500 - PONGS_BURST);
    world.run(1_000);
    ping(alice, bob);
    world.run(100);
    expect(bob.mesh.counters.counts.pingsAnswered).toBe(PONGS_BURST + 1);
  });

  test('pings that nobody answers are not remembered for ever', () => {
    const { world, alice, bob } = connectedMeshPair();
    world.network.blocked = ({ source }) => bob.endpoints.includes(source);
    const first = ping(alice, bob);
    for (let n = 0; n < 2 * PINGS_IN_FLIGHT_MAX; n++) ping(alice, bob);
    expect(alice.mesh.pingsInFlight).toBe(PINGS_IN_FLIGHT_MAX);
    world.run(1);
    world.network.blocked = () => false;
    world.run(10_000);
    expect(alice.pongs.some(({ txid }) => txid === first)).toBe(false);
  });

  test('a pong of another peer than the one that was asked is worth nothing', () => {
    const { world, alice, bob } = connectedMeshPair();
    const carol = world.addNode('carol');
    world.tellAll();
    carol.send(alice, 1);
    world.run(100);
    world.network.blocked = ({ source }) => bob.endpoints.includes(source);
    alice.seen.length = 0;
    const unexpected = alice.mesh.counters.counts.pongsUnexpected;
    const txid = ping(alice, bob);
    const slot = [...carol.mesh.engine.peers()].find((peer) => peer.session !== null)?.slot;
    if (slot === undefined) throw new Error('Carol has a session');
    carol.plane.sendFrame(slot, encodePong(txid, Uint8Array.of(1, 2, 3, 4), 5), world.now);
    carol.run();
    world.run(50);
    expect(alice.pongs).toEqual([]);
    expect(alice.seen).toEqual([]);
    expect(alice.mesh.counters.counts.pongsUnexpected).toBe(unexpected + 1);
  });

  test('a frame that is not known is counted and does nothing, a pong that nobody asked for neither', () => {
    const { world, alice, bob } = connectedMeshPair();
    const peer = [...bob.mesh.engine.peers()][0];
    if (peer === undefined) throw new Error('Bob has a peer');
    for (const frame of [
      [1, 9, 0, 8, 0, 0, 0, 0],
      [1, 1, 0, 200, 0, 0, 0, 0],
      [1, 2, 0, 28, ...new Array(24).fill(0)],
    ]) {
      bob.plane.sendFrame(peer.slot, Uint8Array.from(frame), world.now);
    }
    bob.run();
    world.run(50);
    expect(alice.mesh.counters.counts).toMatchObject({ framesUnknown: 1, framesMalformed: 1, pongsUnexpected: 1 });
    expect(alice.stateOf(bob)).toBe('established');
  });
});

describe('a session', () => {
  test('that carries pings alone is closed after five minutes, as one without real data', () => {
    const { world, alice, bob } = connectedMeshPair();
    for (let n = 0; n < 26; n++) {
      ping(alice, bob);
      world.run(10_000);
    }
    expect(alice.stateOf(bob)).toBe('established');
    world.run(6_000);
    expect(alice.mesh.engine.counters.reached.sessionsClosedIdle).toBe(1);
    expect(alice.stateOf(bob)).toBe('idle');
  });
});
