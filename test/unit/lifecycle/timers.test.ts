// Keepalives, dead-peer detection, renewal and expiry (paper §6.2–6.5; checklist 14, 15, 18–20).

import { describe, expect, test } from 'vitest';
import { connectedPair, pair, stateOf } from '../../lib/pair.ts';

describe('passive keepalives', () => {
  test('answer data 10 s after it came, when nothing else was sent', () => {
    const p = connectedPair();
    p.world.run(30_000);
    p.log.length = 0;
    const sentAt = p.world.now;
    p.alice.send(p.bob, 2);
    p.world.run(30_000);
    expect(p.times('bob', 'keepalive')).toEqual([sentAt + 10 + 10_000]);
    expect(p.count('alice', 'keepalive')).toBe(0);
  });

  test('are not owed for data that was answered with data', () => {
    const p = connectedPair();
    p.world.run(30_000);
    p.log.length = 0;
    p.alice.send(p.bob, 2);
    p.world.run(1_000);
    p.bob.send(p.alice, 2);
    p.world.run(30_000);
    expect(p.count('bob', 'keepalive')).toBe(0);
    expect(p.count('alice', 'keepalive')).toBe(1);
  });

  test('do not answer keepalives', () => {
    const p = connectedPair();
    p.world.run(30_000);
    p.log.length = 0;
    p.alice.plane.sendKeepalive(p.alice.peerOf(p.bob).slot, p.world.now);
    p.alice.run();
    p.world.run(60_000);
    expect(p.wire()).toEqual(['alice:keepalive']);
  });

  test('come once more 10 s later when data went on arriving meanwhile', () => {
    const p = connectedPair();
    p.world.run(30_000);
    p.log.length = 0;
    const start = p.world.now;
    for (let i = 0; i < 9; i++) {
      p.alice.send(p.bob, 10 + i);
      p.world.run(1_000);
    }
    p.world.run(30_000);
    const at = p.times('bob', 'keepalive');
    expect(at[0]).toBe(start + 10 + 10_000);
    expect(at[1]).toBe(start + 10 + 20_000);
    expect(at).toHaveLength(2);
  });
});

describe('silence', () => {
  test('after data for 15 s (+ jitter), counted from the first unanswered packet, begins a handshake', () => {
    const p = connectedPair();
    p.world.run(30_000);
    p.log.length = 0;
    p.world.network.blocked = ({ source }) => source === p.bob.endpoint;
    const start = p.world.now;
    for (let i = 0; i < 14; i++) {
      p.alice.send(p.bob, 10 + i);
      p.world.run(1_000);
    }
    p.world.run(4_000);
    const at = p.times('alice', 'initiation')[0] ?? 0;
    expect(at - start).toBeGreaterThanOrEqual(15_000);
    expect(at - start).toBeLessThanOrEqual(15_334);
  });

  test('is not suspected after keepalives alone', () => {
    const p = connectedPair();
    p.world.run(30_000);
    p.log.length = 0;
    p.world.network.blocked = () => true;
    p.alice.plane.sendKeepalive(p.alice.peerOf(p.bob).slot, p.world.now);
    p.alice.run();
    p.world.run(80_000);
    expect(p.count('alice', 'initiation')).toBe(0);
  });

  test('ends with any authenticated packet', () => {
    const p = connectedPair();
    p.world.run(30_000);
    p.log.length = 0;
    p.alice.send(p.bob, 2);
    p.world.run(60_000);
    expect(p.count('alice', 'initiation')).toBe(0);
    expect(p.count('bob', 'keepalive')).toBe(1);
  });

  test('of a rebooted peer is mended: traffic flows again within the protocol’s 15 s and a handshake', () => {
    const p = connectedPair();
    p.bob.reboot();
    p.bob.addPeer(p.alice, { endpoint: false });
    p.bob.received.length = 0;
    let sequence = 0;
    const recovered = p.world.runUntil(() => {
      if (p.bob.received.length > 0) return true;
      p.alice.send(p.bob, sequence++);
      p.world.run(200);
      return false;
    }, 20_000);
    expect(recovered).toBe(true);
  });
});

describe('renewal', () => {
  test('is begun by the initiator alone, at 120 s, on sending; no packet is lost', () => {
    const p = connectedPair();
    const firstSession = p.world.now;
    let sequence = 2;
    for (let ms = 0; ms < 400_000; ms += 100) {
      p.alice.send(p.bob, sequence);
      p.bob.send(p.alice, sequence++);
      p.world.run(100);
    }
    p.world.run(1_000);
    const all = Array.from({ length: sequence - 2 }, (_, i) => i + 2);
    expect(p.bob.sequencesFrom(p.alice)).toEqual(all);
    expect(p.alice.sequencesFrom(p.bob)).toEqual(all);
    expect(p.count('bob', 'initiation')).toBe(0);
    const renewals = p.times('alice', 'initiation');
    expect(renewals).toHaveLength(3);
    expect((renewals[0] ?? 0) - firstSession).toBeGreaterThan(119_000);
    expect((renewals[0] ?? 0) - firstSession).toBeLessThan(121_000);
  });

  test('loses nothing under reordering and jitter of 200 ms', () => {
    const p = connectedPair({ seed: 5 });
    p.world.network.conditions.jitterMs = 200;
    let sequence = 2;
    for (let ms = 0; ms < 260_000; ms += 20) {
      p.alice.send(p.bob, sequence);
      p.bob.send(p.alice, sequence++);
      p.world.run(20);
    }
    p.world.run(1_000);
    const all = Array.from({ length: sequence - 2 }, (_, i) => i + 2);
    const sorted = (numbers: number[]) => numbers.toSorted((a, b) => a - b);
    expect(sorted(p.bob.sequencesFrom(p.alice))).toEqual(all);
    expect(sorted(p.alice.sequencesFrom(p.bob))).toEqual(all);
  });

  test('on receipt is begun by the initiator at 165 s, once, when it only listens', () => {
    for (const [who, begins] of [
      ['alice', 1],
      ['bob', 0],
    ] as const) {
      const p = connectedPair();
      const [listener, sender] = who === 'alice' ? [p.alice, p.bob] : [p.bob, p.alice];
      p.world.run(166_000);
      expect(p.log.some((entry) => entry.kind === 'initiation')).toBe(false);
      // The sender's renewal by its own sending is withheld, so that only the receipt can begin one.
      p.world.network.blocked = ({ bytes, source }) => source === sender.endpoint && bytes[0] === 1;
      sender.send(listener, 2);
      sender.send(listener, 3);
      p.world.run(30);
      expect(p.count(who, 'initiation')).toBe(begins);
    }
  });

  test('does not happen for a session that nobody uses', () => {
    const p = connectedPair();
    p.world.run(600_000);
    expect(p.count('alice', 'initiation')).toBe(0);
    expect(p.count('bob', 'initiation')).toBe(0);
  });
});

describe('expiry', () => {
  test('keys send nothing from 180 s on, checked packet by packet', () => {
    const p = connectedPair();
    p.world.network.blocked = ({ bytes }) => bytes[0] === 1;
    let sequence = 2;
    const derived = p.alice.peerOf(p.bob).session?.derivedAt ?? 0;
    while (p.world.now < derived + 200_000) {
      p.alice.send(p.bob, sequence++);
      p.world.run(1_000);
    }
    const last = p.log.filter((entry) => entry.kind === 'data').at(-1);
    expect(last?.at).toBeLessThan(derived + 180_000);
    expect(stateOf(p.alice, p.bob)).toBe('connecting');
  });

  test('keys are wiped at 540 s although nothing happens, and the peer is as new', () => {
    const p = connectedPair();
    p.world.run(541_000);
    expect(p.alice.peerOf(p.bob).session).toBeNull();
    expect(p.bob.peerOf(p.alice).session).toBeNull();
    expect(stateOf(p.alice, p.bob)).toBe('idle');
    p.bob.send(p.alice, 9);
    p.world.run(100);
    expect(p.alice.sequencesFrom(p.bob)).toEqual([9]);
  });
});

describe('persistent keepalives', () => {
  test('are sent at once when switched on, make a session, and follow every interval', () => {
    const p = pair({ aliceKeepaliveSeconds: 25 });
    p.world.run(100_500);
    expect(p.wire().slice(0, 3)).toEqual(['alice:initiation', 'bob:response', 'alice:keepalive']);
    const at = p.times('alice', 'keepalive');
    expect(at).toHaveLength(5);
    for (let i = 1; i < at.length; i++) expect((at[i] ?? 0) - (at[i - 1] ?? 0)).toBe(25_000);
  });

  test('are pushed back by any authenticated packet in either direction', () => {
    const p = connectedPair({ aliceKeepaliveSeconds: 25 });
    p.world.run(20_000);
    p.log.length = 0;
    const start = p.world.now;
    for (let i = 0; i < 9; i++) {
      p.bob.send(p.alice, 10 + i);
      p.world.run(9_000);
      p.alice.send(p.bob, 10 + i);
      p.world.run(1_000);
    }
    expect(p.times('alice', 'keepalive').filter((at) => at > start)).toEqual([]);
  });

  test('keep trying for ever when the peer does not answer', () => {
    const p = pair({ aliceKeepaliveSeconds: 25 });
    p.world.network.blocked = () => true;
    p.world.run(600_000);
    const last = p.times('alice', 'initiation').at(-1) ?? 0;
    expect(p.world.now - last).toBeLessThan(30_000);
  });

  test('stop when switched off', () => {
    const p = connectedPair({ aliceKeepaliveSeconds: 25 });
    p.alice.configure((engine, now) => {
      const peer = p.alice.peerOf(p.bob);
      engine.setPersistentKeepalive(peer, 0, now);
      engine.configured(peer, now);
    });
    p.world.run(20_000);
    p.log.length = 0;
    p.world.run(600_000);
    expect(p.log).toEqual([]);
  });

  test('do not start for a peer without an endpoint, and start at once when it gets one', () => {
    const p = pair({ bobKnowsAlice: false });
    p.bob.configure((engine, now) => {
      const peer = p.bob.peerOf(p.alice);
      engine.setPersistentKeepalive(peer, 10, now);
      engine.configured(peer, now);
    });
    p.world.run(60_000);
    expect(p.log).toEqual([]);
    p.bob.configure((engine, now) => {
      const peer = p.bob.peerOf(p.alice);
      engine.setEndpoint(peer, p.alice.endpoint, now);
      engine.configured(peer, now);
    });
    p.world.run(100);
    expect(stateOf(p.bob, p.alice)).toBe('established');
  });
});
