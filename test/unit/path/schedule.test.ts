// Rule 4 of docs/paths.md: when remotes are probed, and the budgets.

import { describe, expect, test } from 'vitest';
import { NEVER } from '../../../src/base/instant.ts';
import {
  NODE_PROBES_PER_SECOND,
  nodeProbeBudget,
  PEER_PROBES_PER_SECOND,
  probeIntervalMs,
} from '../../../src/path/schedule.ts';
import { TokenBucket } from '../../../src/path/token-bucket.ts';
import { at, origin, Rig, relay, relayAt, START, seeded } from './rig.ts';

describe('rule 4: a remote that does not answer', () => {
  test('is probed fast at first, then twice as long apart each time, up to a minute', () => {
    const rig = new Rig();
    rig.ways.set(at(1), 20);
    rig.connect(origin(at(1)), origin(at(2)));
    rig.traffic(300_000, 1_000);
    const times = rig.pingsTo(at(2));
    expect(times.slice(0, 12)).toEqual([
      0, 100, 300, 700, 1_500, 3_000, 6_000, 12_000, 24_000, 48_000, 96_000, 156_000,
    ]);
    expect([1, 2, 3, 4, 5, 6, 7, 20, 99].map(probeIntervalMs)).toEqual([
      100, 200, 400, 800, 1_500, 3_000, 6_000, 60_000, 60_000,
    ]);
    expect(rig.state(at(2))).toBe('failed');
    expect(rig.paths.set.get(at(2))?.cause).toBe('filtered');
  });

  test('is not probed once there was no real data for 30 s, and no timer is left; the next packet goes on', () => {
    const rig = new Rig();
    rig.ways.set(at(1), 20);
    rig.connect(origin(at(1)), origin(at(2)));
    rig.run(29_000);
    expect(rig.pingsTo(at(2)).at(-1)).toBe(24_000);
    rig.run(100_000);
    expect(rig.pingsTo(at(2)).at(-1)).toBe(24_000);
    expect(rig.paths.deadline).toBe(NEVER);
    rig.send();
    rig.run(1);
    expect(rig.pingsTo(at(2)).at(-1)).toBe(129_000);
  });

  test('is probed afresh for news, and news in quick succession is one', () => {
    const rig = new Rig();
    rig.ways.set(at(1), 20);
    rig.connect(origin(at(1)), origin(at(2)));
    rig.traffic(8_000, 500);
    for (let i = 0; i < 20; i++) {
      rig.paths.news([at(2)], rig.now);
      rig.run(10);
    }
    expect(rig.pingsTo(at(2), 8_000)).toEqual([8_000, 8_100]);
  });

  test('that comes in the course of a session is probed at once', () => {
    const rig = new Rig();
    rig.ways.set(at(1), 20);
    rig.connect(origin(at(1)));
    rig.traffic(5_000, 500);
    rig.paths.tell([origin(at(1)), origin(at(9))], rig.now);
    expect(rig.pingsTo(at(9))).toEqual([5_000]);
  });
});

describe('budgets', () => {
  test('of a peer: at most 20 at once and 20 a second, the active path and the relay first', () => {
    const rig = new Rig();
    const many = Array.from({ length: 30 }, (_, i) => origin(at(100 + i)));
    rig.connect(origin(at(1)), ...many, relay(1));
    expect(rig.pings.length).toBe(PEER_PROBES_PER_SECOND);
    expect(rig.pings.slice(0, 2).map(({ endpoint }) => endpoint)).toEqual([at(1), relayAt(1)]);
    for (let second = 1; second <= 20; second++) {
      rig.lastData = rig.now;
      rig.run(1_000);
      expect(rig.pings.length).toBeLessThanOrEqual(PEER_PROBES_PER_SECOND * (second + 1));
    }
    expect(new Set(rig.pings.map(({ endpoint }) => endpoint)).size).toBe(32);
    expect(rig.refused.probe).toBeGreaterThan(0);
  });

  test('of the node: 200 a second for all peers together, and nobody starves', () => {
    const node = nodeProbeBudget(START);
    const rigs = Array.from({ length: 60 }, () => new Rig(node));
    for (const rig of rigs) rig.connect(origin(at(1)), ...Array.from({ length: 10 }, (_, i) => origin(at(50 + i))));
    for (let second = 1; second <= 30; second++) {
      for (let step = 0; step < 20; step++) {
        for (const rig of rigs) {
          rig.lastData = rig.now;
          rig.run(50);
        }
      }
      const all = rigs.reduce((sum, { pings }) => sum + pings.length, 0);
      expect(all).toBeLessThanOrEqual(NODE_PROBES_PER_SECOND * (second + 1));
    }
    for (const rig of rigs) expect(new Set(rig.pings.map(({ endpoint }) => endpoint)).size).toBe(11);
  });

  test('a bucket gives what it earns, never more, and says when', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const prng = seeded(seed);
      const perSecond = prng.pick([1, 20, 200]);
      const bucket = new TokenBucket(perSecond, perSecond, START);
      let now = START;
      let taken = 0;
      for (let i = 0; i < 500; i++) {
        if (bucket.take(now)) taken++;
        else {
          const ready = bucket.readyAt(now);
          expect(ready).toBeGreaterThan(now);
          if (prng.chance(0.5)) {
            now = ready;
            expect(bucket.has(now)).toBe(true);
          }
        }
        now = (now + prng.nextInt(0, 20)) as typeof now;
        expect(taken).toBeLessThanOrEqual(perSecond + ((now - START) * perSecond) / 1000 + 1e-6);
      }
    }
  });
});
