// How attempts, sessions and peers end: giving up, idling, being stopped, a new key (paper §6.4; checklist 5, 11, 12).

import { describe, expect, test } from 'vitest';
import { NEVER } from '../../../src/base/instant.ts';
import { connectedPair, pair, stateOf } from '../../lib/pair.ts';

describe('an attempt without an answer', () => {
  test('is given up 90 s after the last packet that wanted it; the queue is flushed with an ICMP error', () => {
    const p = pair();
    p.world.network.blocked = () => true;
    const start = p.world.now;
    p.alice.send(p.bob, 1);
    p.alice.send(p.bob, 2);
    p.world.run(110_000);
    const last = p.times('alice', 'initiation').at(-1) ?? 0;
    expect(last - start).toBeGreaterThanOrEqual(84_000);
    expect(last - start).toBeLessThan(90_000);
    expect(p.alice.peerOf(p.bob).staged).toBe(0);
    expect(p.alice.plane.drops().outStagedFlushed).toBe(2);
    expect(p.alice.received.length).toBeGreaterThanOrEqual(1);
    expect(p.alice.received[0]?.packet[9]).toBe(1);
    expect(stateOf(p.alice, p.bob)).toBe('idle');
    expect(p.alice.engine.nextDeadline()).toBe(NEVER);
  });

  test('goes on while more data is queued, and stays silent after giving up until there is new data', () => {
    const p = pair();
    p.world.network.blocked = () => true;
    p.alice.send(p.bob, 1);
    p.world.run(60_000);
    p.alice.send(p.bob, 2);
    p.world.run(60_000);
    expect(stateOf(p.alice, p.bob)).toBe('connecting');
    p.world.run(60_000);
    expect(stateOf(p.alice, p.bob)).toBe('idle');
    p.log.length = 0;
    p.world.run(3600_000);
    expect(p.log).toEqual([]);
    p.world.network.blocked = () => false;
    p.alice.send(p.bob, 3);
    p.world.run(100);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([3]);
  });

  test('leaves a peer that accepts the next packet from outside as a new one does', () => {
    const p = pair();
    p.world.network.blocked = () => true;
    p.alice.send(p.bob, 1);
    p.world.run(120_000);
    p.world.network.blocked = () => false;
    p.bob.send(p.alice, 4);
    p.world.run(100);
    expect(p.alice.sequencesFrom(p.bob)).toEqual([4]);
  });

  test('of a renewal gives up too, and the dead session is reset to a fresh one', () => {
    const p = connectedPair();
    p.world.network.blocked = () => true;
    p.alice.send(p.bob, 2);
    p.world.run(15_000 + 90_000 + 10_000);
    expect(p.alice.peerOf(p.bob).session).toBeNull();
    expect(stateOf(p.alice, p.bob)).toBe('idle');
    p.world.network.blocked = () => false;
    p.alice.send(p.bob, 3);
    p.world.run(100);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([3]);
  });
});

describe('a session without real data', () => {
  test('closes after the idle time; keepalives do not count', () => {
    const p = connectedPair({ idleTimeoutMs: 60_000 });
    p.world.run(61_000);
    expect(p.alice.peerOf(p.bob).session).toBeNull();
    expect(p.bob.peerOf(p.alice).session).toBeNull();
    expect(p.alice.engine.nextDeadline()).toBe(NEVER);
    expect(stateOf(p.alice, p.bob)).toBe('idle');
  });

  test('stays while data flows, in either direction', () => {
    const p = connectedPair({ idleTimeoutMs: 60_000 });
    for (let i = 0; i < 10; i++) {
      p.alice.send(p.bob, 10 + i);
      p.world.run(50_000);
    }
    for (const [host, other] of [
      [p.alice, p.bob],
      [p.bob, p.alice],
    ] as const) {
      expect(stateOf(host, other)).toBe('established');
      expect(host.engine.counters.reached.sessionsClosedIdle).toBe(0);
    }
  });

  test('begins again with the next packet from either side', () => {
    for (const inbound of [false, true]) {
      const p = connectedPair({ idleTimeoutMs: 60_000 });
      p.world.run(100_000);
      const [from, to] = inbound ? [p.bob, p.alice] : [p.alice, p.bob];
      from.send(to, 9);
      p.world.run(100);
      expect(to.sequencesFrom(from)).toEqual([9]);
    }
  });
});

describe('stopping a peer', () => {
  const moments: [string, (p: ReturnType<typeof pair>) => void][] = [
    ['while idle', () => {}],
    ['while its initiation is under way', (p) => p.alice.send(p.bob, 1)],
    [
      'while its response is under way',
      (p) => {
        p.alice.send(p.bob, 1);
        p.world.run(15);
      },
    ],
    [
      'between response and confirmation',
      (p) => {
        p.bob.send(p.alice, 1);
        p.world.run(15);
      },
    ],
    [
      'with a session',
      (p) => {
        p.alice.send(p.bob, 1);
        p.world.run(100);
      },
    ],
    [
      'with a renewal in flight',
      (p) => {
        p.alice.send(p.bob, 1);
        p.world.run(121_000);
        p.alice.send(p.bob, 2);
      },
    ],
  ];
  for (const [moment, arrange] of moments) {
    test(`is immediate and complete ${moment}`, () => {
      const p = pair();
      arrange(p);
      const peer = p.alice.peerOf(p.bob);
      p.alice.configure((engine, now) => engine.removePeer(peer, now));
      expect(p.alice.engine.nextDeadline()).toBe(NEVER);
      expect(peer.attempt).toBeNull();
      expect(peer.session).toBeNull();
      const from = p.log.length;
      p.alice.send(p.bob, 8);
      p.world.run(200_000);
      expect(p.wire(from).filter((entry) => entry.startsWith('alice'))).toEqual([]);
      expect(p.alice.engine.peerCount).toBe(0);
      // The process goes on: the peer can be added again and works.
      p.alice.addPeer(p.bob);
      p.alice.send(p.bob, 9);
      p.world.run(10_000);
      expect(p.bob.sequencesFrom(p.alice).at(-1)).toBe(9);
    });
  }

  test('when the link goes down closes sessions and sockets; up again, the next packet begins anew', () => {
    const p = connectedPair();
    p.alice.configure((engine, now) => engine.linkDown(now));
    expect(p.alice.peerOf(p.bob).session).toBeNull();
    expect(p.alice.engine.nextDeadline()).toBe(NEVER);
    p.alice.configure((engine, now) => engine.linkUp(now));
    p.alice.send(p.bob, 5);
    p.world.run(100);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([5]);
  });
});

describe('our private key', () => {
  test('can be replaced while an initiation is in flight: the attempt starts over with the new key at once', () => {
    const p = pair();
    p.alice.send(p.bob, 1);
    p.alice.changeKey();
    p.bob.addPeer(p.alice);
    p.world.run(100);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([1]);
    expect(p.count('alice', 'initiation')).toBe(2);
  });

  test('can be replaced between initiation and response of either side without harm', () => {
    for (const delay of [0, 5, 10, 15, 20, 25, 30]) {
      const p = pair({ seed: delay + 1 });
      p.alice.send(p.bob, 1);
      p.world.run(delay);
      p.bob.changeKey();
      p.alice.configure((engine, now) => {
        engine.removeAllPeers(now);
      });
      p.alice.addPeer(p.bob);
      p.alice.send(p.bob, 2);
      p.world.run(12_000);
      expect(p.bob.sequencesFrom(p.alice)).toContain(2);
    }
  });

  test('replaced with a live session: nothing is sent with the old keys any more, a handshake begins at once', () => {
    const p = connectedPair();
    p.alice.changeKey();
    expect(p.wire()).toEqual(['alice:initiation']);
    p.alice.send(p.bob, 3);
    expect(p.count('alice', 'data')).toBe(0);
    p.bob.addPeer(p.alice);
    p.world.run(6_000);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([3]);
  });

  test('removed: everything falls silent; set again: it works again', () => {
    const p = connectedPair();
    p.alice.configure((engine, now) => engine.setPrivateKey(null, now));
    p.alice.send(p.bob, 2);
    p.world.run(30_000);
    expect(p.count('alice', 'data')).toBe(0);
    expect(p.count('alice', 'initiation')).toBe(0);
    p.alice.configure((engine, now) => engine.setPrivateKey(p.alice.privateKey, now));
    p.world.run(100);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([2]);
  });

  test('that makes a peer ourselves removes that peer', () => {
    const p = connectedPair();
    p.alice.configure((engine, now) => engine.setPrivateKey(p.bob.privateKey, now));
    expect(p.alice.engine.peer(p.bob.publicKeyHex)).toBeUndefined();
    expect(p.alice.engine.addPeer(p.bob.publicKeyHex, p.world.now)).toBeUndefined();
  });
});

describe('a preshared key', () => {
  test('that changes leaves the live session alone and counts from the next handshake on', () => {
    const p = connectedPair();
    const presharedKey = new Uint8Array(32).fill(5);
    p.alice.engine.setPresharedKey(p.alice.peerOf(p.bob), presharedKey);
    p.alice.send(p.bob, 2);
    p.world.run(100);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([2]);
    p.world.run(121_000);
    p.alice.send(p.bob, 3);
    p.world.run(1_000);
    expect(p.alice.engine.counters.dropped.badResponse).toBeGreaterThan(0);
    p.bob.engine.setPresharedKey(p.bob.peerOf(p.alice), presharedKey);
    p.world.run(12_000);
    expect(p.alice.peerOf(p.bob).attempt).toBeNull();
  });
});
