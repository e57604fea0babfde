// Rule 3 of docs/paths.md: which path is better, and that nobody goes to and fro.

import { describe, expect, test } from 'vitest';
import type { Endpoint } from '../../../src/base/ip.ts';
import { choose, takesOver } from '../../../src/path/choose.ts';
import { Remote } from '../../../src/path/remote.ts';
import { at, relayAt, START, seeded } from './rig.ts';

function remote(endpoint: Endpoint, rttMs: number | null, over: { sameLink?: boolean; relay?: boolean } = {}): Remote {
  const kind = over.relay === true ? 'relay' : 'host';
  const made = new Remote({ endpoint, kind, sameLink: over.sameLink ?? false }, START);
  if (rttMs !== null) made.answered(rttMs, START);
  return made;
}

describe('rule 3: a better path', () => {
  test('that is direct takes over from the relay at once, however long its round trip', () => {
    expect(takesOver(remote(at(1), 300), remote(relayAt(1), 5, { relay: true }))).toBe(true);
    expect(takesOver(remote(relayAt(1), 5, { relay: true }), remote(at(1), 300))).toBe(false);
  });

  test.each([
    // challenger, active, takes over
    [15, 20, true], // 25 % and 5 ms
    [16.1, 20, false], // less than 20 %
    [1, 3, false], // 67 %, and no more than 2 ms
    [1, 3.1, true],
    [89, 100, true], // 11 %, and more than 10 ms
    [90, 100, false],
    [20, 20, false],
    [25, 20, false],
  ])('of %f ms against %f ms: %s', (mine, theirs, expected) => {
    expect(takesOver(remote(at(1), mine), remote(at(2), theirs))).toBe(expected);
    const relays = [remote(relayAt(1), mine, { relay: true }), remote(relayAt(2), theirs, { relay: true })] as const;
    expect(takesOver(...relays)).toBe(expected);
  });

  test('of the same link wins within that, and does not give way within that', () => {
    const link = (rtt: number): Remote => remote(at(1), rtt, { sameLink: true });
    expect(takesOver(link(21), remote(at(2), 20))).toBe(true);
    expect(takesOver(remote(at(2), 20), link(21))).toBe(false);
    expect(takesOver(link(40), remote(at(2), 20))).toBe(false);
    expect(takesOver(remote(at(2), 20), link(40))).toBe(true);
    expect(takesOver(link(20), link(20))).toBe(false);
  });
});

describe('the choice', () => {
  test('is none while nothing works, and never one that does not', () => {
    const lost = remote(at(1), 5);
    lost.enter('lost', 'silent', START);
    expect(choose([remote(at(2), null), lost], null)).toBeNull();
    const slow = remote(at(3), 500);
    expect(choose([remote(at(2), null), lost, slow], lost)).toBe(slow);
  });

  test('stays where it is when asked again, whatever there is, and nothing takes over from it', () => {
    for (let seed = 1; seed <= 3_000; seed++) {
      const prng = seeded(seed);
      const scale = prng.pick([5, 30, 200]);
      const remotes = Array.from({ length: prng.nextInt(1, 12) }, (_, i) => {
        const isRelay = prng.chance(0.3);
        return remote(isRelay ? relayAt(i + 1) : at(i + 1), prng.nextFloat() * scale, {
          relay: isRelay,
          sameLink: !isRelay && prng.chance(0.3),
        });
      });
      const best = choose(remotes, prng.chance(0.5) ? prng.pick(remotes) : null);
      if (best === null) throw new Error('all of them work');
      expect(choose(remotes, best), `seed ${seed}`).toBe(best);
      for (const other of remotes) expect(other !== best && takesOver(other, best), `seed ${seed}`).toBe(false);
      if (remotes.some(({ isRelayed }) => !isRelayed)) expect(best.isRelayed).toBe(false);
      // No pair takes over from each other.
      const [a, b] = [prng.pick(remotes), prng.pick(remotes)];
      expect(a !== b && takesOver(a, b) && takesOver(b, a)).toBe(false);
    }
  });
});
