// The seeded generator against xoshiro128** and splitmix32 spelled out in 64-bit arithmetic, and the odds it gives.
// Simulations replay only as long as these numbers stay the same.

import { describe, expect, it } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';

/** splitmix32 and xoshiro128** as their authors give them, in 64-bit arithmetic: an independent spelling. */
function* referenceWords(seed: number): Generator<number> {
  const mask = 0xffff_ffffn;
  let z = BigInt(seed >>> 0);
  const splitmix = (): bigint => {
    z = (z + 0x9e3779b9n) & mask;
    let t = z ^ (z >> 16n);
    t = (t * 0x21f0aaadn) & mask;
    t ^= t >> 15n;
    t = (t * 0x735a2d97n) & mask;
    return t ^ (t >> 15n);
  };
  const rotate = (x: bigint, k: bigint): bigint => ((x << k) | (x >> (32n - k))) & mask;
  let [a, b, c, d] = [splitmix(), splitmix(), splitmix(), splitmix()];
  for (;;) {
    yield Number((rotate((b * 5n) & mask, 7n) * 9n) & mask);
    const t = (b << 9n) & mask;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = rotate(d, 11n);
  }
}

describe('the seeded generator', () => {
  it('is xoshiro128** seeded by splitmix32', () => {
    for (const seed of [0, 1, 0xffff_ffff, 20_240_607]) {
      const prng = new Prng(seed);
      const words = referenceWords(seed);
      for (let i = 0; i < 1000; i++) expect(prng.nextU32()).toBe(words.next().value);
    }
  });

  it('gives the same for the same seed and another for another', () => {
    const draw = (seed: number): number[] => {
      const prng = new Prng(seed);
      return Array.from({ length: 20 }, () => prng.nextU32());
    };
    expect(draw(42)).toEqual(draw(42));
    expect(draw(42)).toEqual(draw(42 + 2 ** 32));
    expect(draw(42)).not.toEqual(draw(43));
  });

  it('reaches both ends of a range and every item, and nothing else', () => {
    const prng = new Prng(1);
    const numbers = new Set(Array.from({ length: 2000 }, () => prng.nextInt(-2, 3)));
    expect([...numbers].sort((a, b) => a - b)).toEqual([-2, -1, 0, 1, 2, 3]);
    const items = new Set(Array.from({ length: 500 }, () => prng.pick(['a', 'b', 'c'])));
    expect([...items].sort()).toEqual(['a', 'b', 'c']);
    expect(prng.nextInt(7, 7)).toBe(7);
  });

  it('is about as likely as it was told', () => {
    const prng = new Prng(2);
    let hits = 0;
    for (let i = 0; i < 10_000; i++) if (prng.chance(0.3)) hits++;
    // Ten standard deviations.
    expect(Math.abs(hits - 3000)).toBeLessThan(460);
    expect(Array.from({ length: 100 }, () => prng.chance(0)).includes(true)).toBe(false);
    expect(Array.from({ length: 100 }, () => prng.chance(1)).includes(false)).toBe(false);
  });

  it('spreads bytes evenly', () => {
    const prng = new Prng(3);
    const bytes = new Uint8Array(256 * 400);
    prng.fill(bytes);
    const counts = new Array<number>(256).fill(0);
    for (const byte of bytes) counts[byte] = (counts[byte] ?? 0) + 1;
    // Chi-squared with 255 degrees of freedom: 400 is beyond one in 10^7.
    const chi = counts.reduce((sum, count) => sum + (count - 400) ** 2 / 400, 0);
    expect(chi).toBeLessThan(400);
  });

  it('forks generators that go their own way', () => {
    const one = new Prng(9);
    const other = new Prng(9);
    const fork = one.fork();
    other.nextU32();
    for (let i = 0; i < 10; i++) fork.nextU32();
    expect(one.nextU32()).toBe(other.nextU32());
  });
});
