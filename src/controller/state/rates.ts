// Rates: so many at once, then one per interval. Kept as the one instant at which all would be earned back (GCRA), so an
// entry in the past says nothing and may be forgotten. The table of a class of senders is bounded: the one that was heard
// longest ago makes room.

import type { Instant } from '../../base/instant.ts';

export interface Rate {
  readonly burst: number;
  readonly intervalMs: number;
}

/** How long until another is allowed; 0: now. `full`: when all is earned back. */
export function rateWaitMs(rate: Rate, full: Instant, now: Instant): number {
  return Math.max(0, full - now - (rate.burst - 1) * rate.intervalMs);
}

/** `full` after one more. */
export function rateSpent(rate: Rate, full: Instant, now: Instant): Instant {
  return (Math.max(full, now) + rate.intervalMs) as Instant;
}

export class RateTable<K> {
  readonly #rate: Rate;
  readonly #max: number;
  /** In order of the last use. */
  readonly #full = new Map<K, Instant>();

  constructor(rate: Rate, max: number) {
    this.#rate = rate;
    this.#max = max;
  }

  get size(): number {
    return this.#full.size;
  }

  waitMs(key: K, now: Instant): number {
    const full = this.#full.get(key);
    return full === undefined ? 0 : rateWaitMs(this.#rate, full, now);
  }

  /** Whether something was spent that is not earned back yet. */
  isWarm(key: K, now: Instant): boolean {
    return (this.#full.get(key) ?? now) > now;
  }

  spend(key: K, now: Instant): void {
    const full = rateSpent(this.#rate, this.#full.get(key) ?? now, now);
    this.#full.delete(key);
    this.#forget(now);
    this.#full.set(key, full);
  }

  /** False, and nothing spent, when it is too early. */
  take(key: K, now: Instant): boolean {
    if (this.waitMs(key, now) > 0) return false;
    this.spend(key, now);
    return true;
  }

  /** Two of the oldest at a time, if they say nothing any more: the table shrinks faster than it grows. */
  #forget(now: Instant): void {
    let looked = 0;
    for (const [key, full] of this.#full) {
      if (full > now && this.#full.size < this.#max) return;
      this.#full.delete(key);
      if (++looked === 2) return;
    }
  }
}
