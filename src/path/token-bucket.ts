// A token bucket: so many a second, and as many at once as have been saved up. What is asked of it in time order is answered
// without a timer: tokens are counted when they are wanted.

import { after, elapsedMs, type Instant } from '../base/instant.ts';

/** Sums of fractions are off by less than this. */
const ROUNDING = 1e-9;

export class TokenBucket {
  readonly #perSecond: number;
  readonly #burst: number;
  #tokens: number;
  #at: Instant;

  /** Full at `now`. `burst`: what it holds at most. */
  constructor(perSecond: number, burst: number, now: Instant) {
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#tokens = burst;
    this.#at = now;
  }

  /** Takes one if there is one. */
  take(now: Instant): boolean {
    this.#earn(now);
    if (!this.#hasOne()) return false;
    this.#tokens--;
    return true;
  }

  /** Whether one could be taken. */
  has(now: Instant): boolean {
    this.#earn(now);
    return this.#hasOne();
  }

  /** Takes one, there or not: a debt of at most the burst, which has to be earned before the next is given. */
  force(now: Instant): void {
    this.#earn(now);
    this.#tokens = Math.max(-this.#burst, this.#tokens - 1);
  }

  /** When there is one, if none is taken until then. */
  readyAt(now: Instant): Instant {
    this.#earn(now);
    if (this.#hasOne()) return now;
    return after(now, ((1 - this.#tokens) * 1000) / this.#perSecond);
  }

  #hasOne(): boolean {
    return this.#tokens >= 1 - ROUNDING;
  }

  #earn(now: Instant): void {
    const elapsed = elapsedMs(this.#at, now);
    if (elapsed <= 0) return;
    this.#tokens = Math.min(this.#burst, this.#tokens + (elapsed * this.#perSecond) / 1000);
    this.#at = now;
  }
}
