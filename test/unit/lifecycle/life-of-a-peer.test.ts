// A peer's life in plain words, sentence by sentence: it waits, it is spoken to, it decides, it recovers, it stops. The
// details of each rule are in the other files of this folder.

import { describe, expect, test } from 'vitest';
import { NEVER } from '../../../src/base/instant.ts';
import type { Host } from '../../../src/sim/host.ts';
import { connectedPair, Fixture, type Pair, pair, stateOf } from '../../lib/pair.ts';

/** A hub and `count` spokes, which know only the hub; nobody has spoken yet. */
function star(count: number): { fixture: Fixture; hub: Host; spokes: Host[] } {
  const fixture = new Fixture();
  const hub = fixture.world.addHost('hub');
  const spokes = Array.from({ length: count }, (_, i) => fixture.world.addHost(`spoke${i}`));
  for (const spoke of spokes) {
    hub.addPeer(spoke);
    spoke.addPeer(hub);
  }
  return { fixture, hub, spokes };
}

describe('a peer that is added', () => {
  test('is started and waits, blocked until there is something to do: a hundred of them wake nobody for a day', () => {
    const { fixture, hub } = star(100);
    const wakes = hub.wakes;
    fixture.world.run(24 * 3600_000);
    expect(fixture.log).toEqual([]);
    expect(hub.wakes).toBe(wakes);
    expect(hub.engine.nextDeadline()).toBe(NEVER);
    for (const peer of hub.engine.peers()) {
      expect([peer.memory, peer.attempt, peer.session, peer.timers]).toEqual([null, null, null, null]);
    }
  });

  test('comes to rest again: after traffic has ended nothing is timed but the wiping of its keys', () => {
    const p = connectedPair();
    p.world.run(60_000);
    const wakes = p.alice.wakes;
    const from = p.log.length;
    p.world.run(400_000);
    expect(p.alice.wakes).toBe(wakes);
    expect(p.wire(from)).toEqual([]);
    p.world.run(200_000);
    expect(p.alice.engine.nextDeadline()).toBe(NEVER);
  });
});

describe('a packet', () => {
  test('from the tunnel goes to the peer that owns its destination, one from the network to the peer that sent it', () => {
    const { fixture, hub, spokes } = star(5);
    for (const [i, spoke] of spokes.entries()) hub.send(spoke, i);
    fixture.world.run(100);
    for (const [i, spoke] of spokes.entries()) {
      expect(spoke.sequencesFrom(hub)).toEqual([i]);
      spoke.send(hub, 100 + i);
    }
    fixture.world.run(100);
    for (const [i, spoke] of spokes.entries()) expect(hub.sequencesFrom(spoke)).toEqual([100 + i]);
  });

  test('makes the peer decide whether a handshake is needed: without a session yes, with one no', () => {
    const { fixture, hub, spokes } = star(2);
    const [near, far] = spokes;
    if (near === undefined || far === undefined) throw new Error('two spokes');
    hub.send(near, 1);
    fixture.world.run(100);
    expect(stateOf(hub, near)).toBe('established');
    expect(stateOf(hub, far)).toBe('idle');
    expect(hub.peerOf(far).memory).toBeNull();
    const from = fixture.log.length;
    hub.send(near, 2);
    near.send(hub, 2);
    fixture.world.run(100);
    expect(fixture.wire(from)).toEqual(['hub:data', 'spoke0:data']);
    hub.send(far, 3);
    expect(fixture.wire(from).at(-1)).toBe('hub:initiation');
    expect(stateOf(hub, near)).toBe('established');
  });

  test('from the network makes an idle peer answer, and is no reason for a handshake of its own', () => {
    const p = pair();
    p.alice.send(p.bob, 1);
    p.world.run(60_000);
    expect(p.count('bob', 'response')).toBe(1);
    expect(p.count('bob', 'initiation')).toBe(0);
  });
});

describe('a handshake', () => {
  test('is begun for queued data or a persistent keepalive, and by nothing else that can be configured', () => {
    const p = pair();
    p.alice.configure((engine, now) => {
      const peer = p.alice.peerOf(p.bob);
      engine.setEndpoint(peer, p.bob.endpoint, now);
      engine.setPresharedKey(peer, new Uint8Array(32).fill(1));
      engine.setPresharedKey(peer, null);
      engine.setListenPort(4_000, now);
      engine.setFwmark(3, now);
      engine.setPersistentKeepalive(peer, 0, now);
      engine.configured(peer, now);
      engine.setPrivateKey(p.alice.privateKey, now);
      engine.linkDown(now);
      engine.linkUp(now);
    });
    p.world.run(600_000);
    expect(p.log).toEqual([]);
    p.alice.configure((engine, now) => {
      const peer = p.alice.peerOf(p.bob);
      engine.setPersistentKeepalive(peer, 60, now);
      engine.configured(peer, now);
    });
    expect(p.wire()).toEqual(['alice:initiation']);
  });
});

describe('a dead session', () => {
  test('is noticed by the timers, retried for 90 s, flushed, and reset to a fresh state', () => {
    const p = connectedPair();
    p.bob.configure((engine, now) => engine.linkDown(now));
    const start = p.world.now;
    let sequence = 10;
    for (; p.world.now < start + 170_000; sequence++) {
      p.alice.send(p.bob, sequence);
      p.world.run(1_000);
    }
    expect(p.alice.peerOf(p.bob).attempt).not.toBeNull();
    p.world.run(110_000);
    const peer = p.alice.peerOf(p.bob);
    expect(p.alice.engine.counters.reached.attemptsGivenUp).toBe(1);
    expect([peer.attempt, peer.session, peer.staged]).toEqual([null, null, 0]);
    expect(p.alice.engine.nextDeadline()).toBe(NEVER);
    expect(stateOf(p.alice, p.bob)).toBe('idle');
  });

  for (const direction of ['outbound', 'inbound'] as const) {
    test(`that was reset waits for the next packet, and an ${direction} one begins anew`, () => {
      const p = connectedPair();
      p.world.network.blocked = () => true;
      p.alice.send(p.bob, 10);
      p.world.run(600_000);
      expect(p.alice.peerOf(p.bob).session).toBeNull();
      p.world.network.blocked = () => false;
      const [from, to] = direction === 'outbound' ? [p.alice, p.bob] : [p.bob, p.alice];
      from.send(to, 11);
      p.world.run(40);
      expect(to.sequencesFrom(from)).toEqual([11]);
      expect(stateOf(p.alice, p.bob)).toBe('established');
    });
  }

  test('delivers what was queued for it within the 90 s, in order, when the peer comes back', () => {
    const p = pair();
    p.world.network.blocked = () => true;
    for (let i = 0; i < 8; i++) {
      p.alice.send(p.bob, i);
      p.world.run(10_000);
    }
    p.world.network.blocked = () => false;
    p.world.run(6_000);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });
});

describe('an attempt', () => {
  test('that nobody answers ends 90 s after the last packet that was queued, not after the first', () => {
    for (const queuedUntil of [0, 30_000, 85_000]) {
      const p = pair();
      p.world.network.blocked = () => true;
      const start = p.world.now;
      p.alice.send(p.bob, 1);
      p.world.run(queuedUntil);
      if (queuedUntil > 0) p.alice.send(p.bob, 2);
      p.world.run(200_000);
      const last = (p.times('alice', 'initiation').at(-1) ?? 0) - start - queuedUntil;
      expect(last).toBeGreaterThan(84_000);
      expect(last).toBeLessThan(90_000);
      expect(p.alice.engine.counters.reached.attemptsGivenUp).toBe(1);
    }
  });

  test('makes the initiations of 90 s and no more: 17 or 18', () => {
    const p = pair();
    p.world.network.blocked = () => true;
    p.alice.send(p.bob, 1);
    p.world.run(3600_000);
    expect(p.count('alice', 'initiation')).toBeGreaterThanOrEqual(17);
    expect(p.count('alice', 'initiation')).toBeLessThanOrEqual(18);
  });
});

describe('a peer that is stopped', () => {
  const moments: [string, (p: Pair) => void][] = [
    [
      'with packets queued and a retry due',
      (p) => {
        p.world.network.blocked = () => true;
        p.alice.send(p.bob, 1);
        p.world.run(7_000);
      },
    ],
    [
      'while it waits out the 5 s after its response',
      (p) => {
        p.world.network.blocked = ({ bytes, source }) => source === p.bob.endpoint && bytes[0] === 4;
        p.bob.send(p.alice, 1);
        p.world.run(30);
        p.alice.send(p.bob, 1);
      },
    ],
    [
      'with a keepalive owed and an answer awaited',
      (p) => {
        p.alice.send(p.bob, 1);
        p.world.run(100);
        p.bob.send(p.alice, 1);
        p.world.run(11);
        p.alice.send(p.bob, 2);
        p.world.run(1);
      },
    ],
  ];
  for (const [moment, arrange] of moments) {
    test(`stops at once and completely ${moment}, and the others do not notice`, () => {
      const p = pair();
      const carol = p.world.addHost('carol');
      p.alice.addPeer(carol);
      carol.addPeer(p.alice);
      p.alice.send(carol, 1);
      p.world.run(100);
      arrange(p);
      const peer = p.alice.peerOf(p.bob);
      const from = p.log.length;
      const staged = peer.staged;
      const flushed = p.alice.plane.drops().outStagedFlushed;
      p.alice.configure((engine, now) => engine.removePeer(peer, now));
      expect(p.alice.plane.drops().outStagedFlushed).toBe(flushed + staged);
      expect([peer.attempt, peer.session, peer.presharedKey]).toEqual([null, null, null]);
      expect(peer.timers?.earliest() ?? NEVER).toBe(NEVER);
      expect(peer.timers?.heapIndex ?? -1).toBe(-1);
      p.world.network.blocked = () => false;
      p.alice.send(carol, 2);
      p.world.run(100_000);
      expect(carol.sequencesFrom(p.alice)).toEqual([1, 2]);
      const toBob = p.log.slice(from).filter(({ from: who, kind }) => who === 'alice' && kind !== 'data');
      expect(toBob.filter(({ kind }) => kind === 'initiation' || kind === 'response')).toEqual([]);
    });
  }

  test('and the whole device at its end: no key, peer or timer is left', () => {
    const p = connectedPair({ presharedKey: new Uint8Array(32).fill(3) });
    const peer = p.alice.peerOf(p.bob);
    const presharedKey = peer.presharedKey;
    p.alice.send(p.bob, 2);
    p.alice.configure((engine, now) => engine.close(now));
    expect(p.alice.engine.peerCount).toBe(0);
    expect(p.alice.engine.privateKeyHex()).toBeNull();
    expect(presharedKey?.every((byte) => byte === 0)).toBe(true);
    expect(p.alice.engine.nextDeadline()).toBe(NEVER);
    expect(p.alice.engine.running).toBe(false);
    const from = p.log.length;
    p.bob.send(p.alice, 3);
    p.alice.send(p.bob, 3);
    p.world.run(60_000);
    expect(p.wire(from).filter((entry) => entry.startsWith('alice'))).toEqual([]);
  });
});
