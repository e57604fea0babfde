// Token buckets by key (an address, a token's id) in a table of limited size: when it is full, the bucket that was used
// longest ago goes. That one is the fullest, so forgetting it gives the least away.

import type { Instant } from '../../base/instant.ts';

export interface RateLimit {
  /** At once. */
  readonly burst: number;
  readonly perSecond: number;
  readonly keysMax: number;
}

interface Bucket {
  level: number;
  at: Instant;
}

export class RateTable {
  readonly #limit: RateLimit;
  readonly #buckets = new Map<string, Bucket>();

  constructor(limit: RateLimit) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#buckets.size;
  }

  /** Null when one may be taken now; else milliseconds until then. Takes nothing. */
  waitMs(key: string, now: Instant): number | null {
    const level = this.#levelOf(this.#buckets.get(key), now);
    return level >= 1 ? null : Math.ceil(((1 - level) / this.#limit.perSecond) * 1000);
  }

  /** Takes one: null, or milliseconds until there is one again. */
  take(key: string, now: Instant): number | null {
    const wait = this.waitMs(key, now);
    const level = this.#levelOf(this.#buckets.get(key), now) - (wait === null ? 1 : 0);
    this.#buckets.delete(key);
    if (this.#buckets.size >= this.#limit.keysMax) this.#forgetOldest();
    this.#buckets.set(key, { level, at: now });
    return wait;
  }

  #levelOf(bucket: Bucket | undefined, now: Instant): number {
    if (bucket === undefined) return this.#limit.burst;
    const gained = (Math.max(0, now - bucket.at) / 1000) * this.#limit.perSecond;
    return Math.min(this.#limit.burst, bucket.level + gained);
  }

  #forgetOldest(): void {
    for (const key of this.#buckets.keys()) {
      this.#buckets.delete(key);
      return;
    }
  }
}
