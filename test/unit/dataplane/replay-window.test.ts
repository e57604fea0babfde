// The replay window against a memory of every counter ever accepted (paper §5.4.6): exactly 8,128 back, at every
// alignment, and over jumps.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { REPLAY_WINDOW, ReplayWindow } from '../../../src/wireguard/replay-window.ts';

/** Every counter that was ever accepted, kept for ever. */
class Oracle {
  readonly seen = new Set<bigint>();
  greatest = -1n;

  accept(counter: bigint): boolean {
    if (this.greatest - counter > BigInt(REPLAY_WINDOW) || this.seen.has(counter)) return false;
    this.seen.add(counter);
    if (counter > this.greatest) this.greatest = counter;
    return true;
  }
}

describe('the replay window', () => {
  it('takes the first counter, whatever it is, once', () => {
    for (const first of [0n, 1n, 8191n, 8192n, 2n ** 64n - 2n ** 13n - 2n]) {
      const window = new ReplayWindow();
      expect([window.accept(first), window.accept(first)]).toEqual([true, false]);
      expect(window.greatest).toBe(first);
    }
  });

  it('takes every counter of the window in reverse, then none again', () => {
    const window = new ReplayWindow();
    for (let counter = 8128; counter >= 0; counter--) expect(window.accept(BigInt(counter))).toBe(true);
    for (let counter = 8128; counter >= 0; counter--) expect(window.accept(BigInt(counter))).toBe(false);
  });

  it('reaches back 8,128 counters at every alignment', () => {
    for (let shift = 0n; shift < 70n; shift++) {
      const window = new ReplayWindow();
      window.accept(10_000n + shift);
      expect(window.accept(10_000n + shift - 8128n)).toBe(true);
      expect(window.accept(10_000n + shift - 8129n)).toBe(false);
    }
  });

  it('agrees with a memory of everything', () => {
    const near = fc.integer({ min: -9000, max: 300 });
    const far = fc.constantFrom(8191, 8192, 8193, 16_384, 40_000, 2 ** 40, -8128, -8129, -8160, -8192, -8193);
    const jump = fc.oneof({ weight: 5, arbitrary: near }, { weight: 1, arbitrary: far });
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 62n }), fc.array(jump, { maxLength: 300 }), (start, jumps) => {
        const window = new ReplayWindow();
        const oracle = new Oracle();
        let base = start;
        for (const by of jumps) {
          const counter = base + BigInt(by) < 0n ? 0n : base + BigInt(by);
          expect(window.accept(counter)).toBe(oracle.accept(counter));
          if (by > 0) base = counter;
        }
        expect(window.greatest).toBe(oracle.greatest);
      }),
      { numRuns: 300 },
    );
  });
});
