// What is sent when there is nothing to say, what is counted, and which clock counts (paper §6.5; checklist 18–21, 25),
// beside timers.test.ts.

import { describe, expect, test } from 'vitest';
import { NEVER } from '../../../src/base/instant.ts';
import { RecordField } from '../../../src/dataplane/dataplane.ts';
import { connectedPair, type Pair, pair, stateOf } from '../../lib/pair.ts';

/** A session on which the last keepalives have been said. */
function quietPair(options: Parameters<typeof connectedPair>[0] = {}): Pair {
  const p = connectedPair(options);
  p.world.run(30_000);
  p.log.length = 0;
  return p;
}

describe('a passive keepalive', () => {
  test('is timed from the first data that came, not from what was sent last', () => {
    const p = quietPair();
    p.bob.send(p.alice, 2);
    p.world.run(9_000);
    const at = p.world.now;
    p.alice.send(p.bob, 2);
    p.world.run(3_000);
    p.alice.send(p.bob, 3);
    p.world.run(30_000);
    expect(p.times('bob', 'keepalive')[0]).toBe(at + 10 + 10_000);
  });

  test('follows one lone packet exactly once', () => {
    const p = quietPair();
    p.alice.send(p.bob, 2);
    p.world.run(100_000);
    expect(p.count('bob', 'keepalive')).toBe(1);
  });

  test('comes every 10 s for as long as data comes and nothing is said', () => {
    const p = quietPair();
    const start = p.world.now;
    for (let i = 0; i < 50; i++) {
      p.alice.send(p.bob, i);
      p.world.run(1_000);
    }
    p.world.run(40_000);
    expect(p.times('bob', 'keepalive').map((at) => at - start - 10)).toEqual([
      10_000, 20_000, 30_000, 40_000, 50_000, 60_000,
    ]);
  });

  test('of the second round is not sent when something else was meanwhile', () => {
    const p = quietPair();
    for (let i = 0; i < 5; i++) {
      p.alice.send(p.bob, i);
      p.world.run(1_000);
    }
    p.world.run(10_000);
    expect(p.count('bob', 'keepalive')).toBe(1);
    p.bob.send(p.alice, 9);
    p.world.run(60_000);
    expect(p.count('bob', 'keepalive')).toBe(1);
  });

  test('is not owed for a keepalive that came during the second round', () => {
    const p = quietPair();
    p.alice.send(p.bob, 1);
    p.world.run(1_000);
    p.alice.send(p.bob, 2);
    p.world.run(12_000);
    p.alice.plane.sendKeepalive(p.alice.peerOf(p.bob).slot, p.world.now);
    p.alice.run();
    p.world.run(60_000);
    expect(p.count('bob', 'keepalive')).toBe(2);
  });
});

describe('the timer of silence', () => {
  test('has jitter of up to 333 ms of its own, so that many peers of one that died do not call at once', () => {
    const delays = Array.from({ length: 24 }, (_, i) => {
      const p = quietPair({ seed: 100 + i });
      p.world.network.blocked = ({ source }) => source === p.bob.endpoint;
      const start = p.world.now;
      p.alice.send(p.bob, 2);
      p.world.run(16_000);
      return (p.times('alice', 'initiation')[0] ?? 0) - start - 15_000;
    });
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...delays)).toBeLessThanOrEqual(333);
    expect(Math.max(...delays) - Math.min(...delays)).toBeGreaterThan(150);
  });

  test('is not prolonged by what is sent later, nor shortened by what came long before', () => {
    const p = quietPair();
    p.bob.send(p.alice, 1);
    p.world.run(14_000);
    p.world.network.blocked = ({ source }) => source === p.bob.endpoint;
    const start = p.world.now;
    p.alice.send(p.bob, 2);
    p.world.run(14_500);
    expect(p.count('alice', 'initiation')).toBe(0);
    p.alice.send(p.bob, 3);
    p.world.run(1_000);
    expect((p.times('alice', 'initiation')[0] ?? 0) - start).toBeLessThanOrEqual(15_334);
  });

  test('starts anew with the first data after an answer', () => {
    const p = quietPair();
    p.alice.send(p.bob, 2);
    p.world.run(1_000);
    p.bob.send(p.alice, 2);
    p.world.run(12_000);
    p.world.network.blocked = ({ source }) => source === p.bob.endpoint;
    const start = p.world.now;
    p.alice.send(p.bob, 3);
    p.world.run(14_900);
    expect(p.count('alice', 'initiation')).toBe(0);
    p.world.run(500);
    expect((p.times('alice', 'initiation')[0] ?? 0) - start).toBeGreaterThanOrEqual(15_000);
  });
});

describe('a persistent keepalive', () => {
  test('is pushed back by what is received alone', () => {
    const p = quietPair({ aliceKeepaliveSeconds: 25 });
    // Bob's keepalives ask for no answer, so that Alice says nothing else either.
    for (let i = 0; i < 8; i++) {
      p.bob.plane.sendKeepalive(p.bob.peerOf(p.alice).slot, p.world.now);
      p.bob.run();
      p.world.run(10_000);
    }
    expect(p.wire().filter((entry) => entry.startsWith('alice'))).toEqual([]);
  });

  test('is pushed back by what is sent alone', () => {
    const p = quietPair({ aliceKeepaliveSeconds: 5 });
    p.world.network.blocked = ({ source }) => source === p.bob.endpoint;
    for (let i = 0; i < 30; i++) {
      p.alice.send(p.bob, i);
      p.world.run(400);
    }
    expect(p.count('alice', 'data')).toBe(30);
    expect(p.count('alice', 'keepalive')).toBe(0);
  });

  test('takes a new interval at once, longer or shorter', () => {
    const p = quietPair({ aliceKeepaliveSeconds: 25 });
    const change = (seconds: number) =>
      p.alice.configure((engine, now) => {
        const peer = p.alice.peerOf(p.bob);
        engine.setPersistentKeepalive(peer, seconds, now);
        engine.configured(peer, now);
      });
    const gapsOver = (ms: number) => {
      const from = p.world.now;
      p.world.run(ms);
      const at = p.times('alice', 'keepalive').filter((time) => time >= from);
      return at.slice(1).map((time, i) => time - (at[i] ?? 0));
    };
    change(5);
    expect(gapsOver(31_000)).toEqual([5_000, 5_000, 5_000, 5_000, 5_000, 5_000]);
    change(15);
    expect(gapsOver(31_000)).toEqual([15_000, 15_000]);
  });

  test('begins when a peer without an endpoint is heard for the first time', () => {
    const p = pair({ bobKnowsAlice: false });
    p.bob.configure((engine, now) => {
      const peer = p.bob.peerOf(p.alice);
      engine.setPersistentKeepalive(peer, 10, now);
      engine.configured(peer, now);
    });
    p.world.run(60_000);
    expect(p.log).toEqual([]);
    expect(p.bob.engine.nextDeadline()).toBe(NEVER);
    p.alice.send(p.bob, 1);
    p.world.run(60_000);
    expect(p.count('bob', 'keepalive')).toBeGreaterThanOrEqual(5);
  });

  test('goes on after the link was down, at once when it is up', () => {
    const p = quietPair({ aliceKeepaliveSeconds: 25 });
    p.alice.configure((engine, now) => engine.linkDown(now));
    p.world.run(100_000);
    expect(p.wire().filter((entry) => entry.startsWith('alice'))).toEqual([]);
    p.alice.configure((engine, now) => engine.linkUp(now));
    p.world.run(50);
    expect(p.wire().slice(-3)).toEqual(['alice:initiation', 'bob:response', 'alice:keepalive']);
  });
});

describe('the counters', () => {
  test('hold whole messages, handshake included: ten echoes are 1,428 bytes one way and 1,372 the other', () => {
    const p = pair();
    // 84 bytes, as `ping` sends them: padded to 96, and 32 more for header and tag.
    for (let i = 0; i < 10; i++) {
      p.alice.send(p.bob, i, { payloadBytes: 64 });
      p.world.run(30);
      p.bob.send(p.alice, i, { payloadBytes: 64 });
      p.world.run(30);
    }
    const { rxBytes, txBytes } = p.alice.engine.status(p.alice.peerOf(p.bob));
    expect({ rxBytes, txBytes }).toEqual({ rxBytes: 1_372, txBytes: 1_428 });
    const mirror = p.bob.engine.status(p.bob.peerOf(p.alice));
    expect({ rxBytes: mirror.rxBytes, txBytes: mirror.txBytes }).toEqual({ rxBytes: 1_428, txBytes: 1_372 });
  });

  test('hold keepalives as 32 bytes, and nothing for what was replayed, forged or a cookie', () => {
    const p = quietPair();
    const of = (field: number) => p.bob.peerOf(p.alice).recorded(field);
    const before = of(RecordField.rxBytes);
    p.alice.plane.sendKeepalive(p.alice.peerOf(p.bob).slot, p.world.now);
    p.alice.run();
    p.world.run(20);
    expect(of(RecordField.rxBytes)).toBe(before + 32);
    const keepalive = p.log.at(-1)?.bytes ?? new Uint8Array();
    p.bob.plane.io.udpInput(keepalive, p.alice.endpoint, p.bob.endpoint);
    const forged = keepalive.slice();
    forged[8] = (forged[8] as number) + 1;
    p.bob.plane.io.udpInput(forged, p.alice.endpoint, p.bob.endpoint);
    p.bob.run();
    expect(p.bob.plane.drops()).toMatchObject({ inReplayed: 1, inBadTag: 1 });
    expect(of(RecordField.rxBytes)).toBe(before + 32);
  });
});

describe('the wall clock', () => {
  test('moves no timer: set forward or back by days, nothing is sent, renewed or expired for it', () => {
    for (const days of [-3, 3]) {
      const p = quietPair();
      const shown = p.alice.peerOf(p.bob).lastHandshake;
      p.alice.stepClock(days * 24 * 3600_000);
      p.bob.stepClock(-days * 24 * 3600_000);
      p.world.run(60_000);
      expect(p.log).toEqual([]);
      expect(stateOf(p.alice, p.bob)).toBe('established');
      expect(p.alice.peerOf(p.bob).lastHandshake).toBe(shown);
      p.alice.send(p.bob, 2);
      p.world.run(20);
      expect(p.bob.sequencesFrom(p.alice)).toEqual([2]);
      expect(p.count('alice', 'initiation')).toBe(0);
    }
  });
});

describe('the idle time', () => {
  test('is counted from the last real data of either direction, and from nothing else', () => {
    const p = connectedPair({ idleTimeoutMs: 60_000, aliceKeepaliveSeconds: 5 });
    p.world.run(50_000);
    const lastData = p.world.now;
    p.alice.send(p.bob, 2);
    p.world.run(55_000);
    // Bob has only received, Alice's keepalives came every 5 s: his session lives and ends by the data alone.
    expect(stateOf(p.bob, p.alice)).toBe('established');
    p.world.run(lastData + 10 + 60_000 - p.world.now - 1);
    expect(p.bob.peerOf(p.alice).session).not.toBeNull();
    p.world.run(2);
    expect(p.bob.peerOf(p.alice).session).toBeNull();
    expect(p.bob.engine.counters.reached.sessionsClosedIdle).toBe(1);
  });

  test('is off unless asked for: a session that nobody uses stays until its keys are wiped', () => {
    const p = connectedPair();
    p.world.run(530_000);
    expect(p.alice.peerOf(p.bob).session).not.toBeNull();
    expect(p.alice.engine.counters.reached.sessionsClosedIdle).toBe(0);
  });

  test('ends a renewal that is under way too, so that the session is not opened again', () => {
    const p = connectedPair({ idleTimeoutMs: 30_000 });
    p.world.network.blocked = ({ bytes, source }) => source === p.bob.endpoint && bytes[0] === 2;
    for (let i = 0; i < 25; i++) {
      p.bob.send(p.alice, i);
      p.world.run(5_000);
    }
    // One of her passive keepalives has found the session too old, and nobody answers the renewal that it began.
    expect(p.count('alice', 'initiation')).toBeGreaterThan(0);
    expect(p.alice.peerOf(p.bob).attempt).not.toBeNull();
    p.world.run(30_000);
    expect(p.alice.peerOf(p.bob).session).toBeNull();
    expect(p.alice.peerOf(p.bob).attempt).toBeNull();
    expect(p.alice.engine.nextDeadline()).toBe(NEVER);
  });
});
