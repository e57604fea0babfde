// Seeded pseudo-random numbers for simulation and property tests (xoshiro128**, Blackman and Vigna 2018, seeded by
// splitmix32). Never for keys: the real source of entropy is passed in as a RandomSource.

/** Fills `out` with random bytes. The daemon passes the kernel's generator, simulations a seeded one. */
export type RandomSource = (out: Uint8Array) => void;

export class Prng {
  readonly #state = new Uint32Array(4);

  /** `seed`: any number; its low 32 bits are used. */
  constructor(seed: number) {
    let z = seed >>> 0;
    for (let i = 0; i < 4; i++) {
      z = (z + 0x9e3779b9) >>> 0;
      let t = z ^ (z >>> 16);
      t = Math.imul(t, 0x21f0aaad);
      t ^= t >>> 15;
      t = Math.imul(t, 0x735a2d97);
      this.#state[i] = t ^ (t >>> 15);
    }
  }

  /** Uniform in 0 … 2^32 − 1. */
  nextU32(): number {
    const s = this.#state;
    const s1 = s[1] as number;
    const product = Math.imul(s1, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const t = s1 << 9;
    s[2] = (s[2] as number) ^ (s[0] as number);
    s[3] = (s[3] as number) ^ s1;
    s[1] = s1 ^ (s[2] as number);
    s[0] = (s[0] as number) ^ (s[3] as number);
    s[2] = (s[2] as number) ^ t;
    const s3 = s[3] as number;
    s[3] = (s3 << 11) | (s3 >>> 21);
    return result;
  }

  /** Uniform in [0, 1). */
  nextFloat(): number {
    return this.nextU32() / 0x1_0000_0000;
  }

  /** Uniform integer in low … high, both included. */
  nextInt(low: number, high: number): number {
    return low + Math.floor(this.nextFloat() * (high - low + 1));
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.nextFloat() < probability;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.nextInt(0, items.length - 1)] as T;
  }

  fill(out: Uint8Array): void {
    for (let i = 0; i < out.length; i++) out[i] = this.nextU32() & 255;
  }

  /** A generator of its own, seeded from this one, so that one consumer's draws do not shift another's. */
  fork(): Prng {
    return new Prng(this.nextU32());
  }
}
