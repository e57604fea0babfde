// What answers that are larger than their question are paid from, so that a server lends nobody its size: a token bucket for
// each network that asks (IPv4 /24, IPv6 /56: a victim behind a forged source is a network, not an address), and one for all.
// Answers that are no larger cost nothing here. No timer: sweeping happens while being asked.

import { elapsedMs, type Instant } from '../../base/instant.ts';

/** For each network. */
export const NETWORK_ANSWERS_PER_SECOND = 20;
export const NETWORK_ANSWERS_BURST = 60;
/** For all together: at most 24 bytes more than the question each without RFC 5780, so 48 kB/s of gain for a forger. */
export const TOTAL_ANSWERS_PER_SECOND = 2_000;
export const TOTAL_ANSWERS_BURST = 4_000;
/**
 * Networks remembered. A bucket is forgotten when it is full again, after 3 s and the next sweep, and each that is made has
 * taken a token of all: 4,000 + 4 × 2,000 at most are there at once, so nobody is turned away for want of a bucket.
 */
export const NETWORKS_MAX = 16_384;

const SWEEP_INTERVAL_MS = 1_000;

export type BudgetVerdict = 'paid' | 'networkSpent' | 'totalSpent';

interface Bucket {
  tokens: number;
  at: Instant;
}

export class AnswerBudget {
  readonly #networks = new Map<number | string, Bucket>();
  readonly #total: Bucket = { tokens: TOTAL_ANSWERS_BURST, at: 0 as Instant };
  #sweptAt: Instant | null = null;

  /** Networks remembered now. */
  get size(): number {
    return this.#networks.size;
  }

  /** Takes a token for an answer to `address` (4 or 16 bytes, network order). */
  take(address: Uint8Array, now: Instant): BudgetVerdict {
    this.#sweep(now);
    refill(this.#total, TOTAL_ANSWERS_PER_SECOND, TOTAL_ANSWERS_BURST, now);
    if (this.#total.tokens < 1) return 'totalSpent';
    const key = networkOf(address);
    let bucket = this.#networks.get(key);
    if (bucket === undefined) {
      if (this.#networks.size >= NETWORKS_MAX) return 'totalSpent';
      bucket = { tokens: NETWORK_ANSWERS_BURST, at: now };
      this.#networks.set(key, bucket);
    } else {
      refill(bucket, NETWORK_ANSWERS_PER_SECOND, NETWORK_ANSWERS_BURST, now);
    }
    if (bucket.tokens < 1) return 'networkSpent';
    bucket.tokens -= 1;
    this.#total.tokens -= 1;
    return 'paid';
  }

  #sweep(now: Instant): void {
    this.#sweptAt ??= now;
    if (elapsedMs(this.#sweptAt, now) < SWEEP_INTERVAL_MS) return;
    this.#sweptAt = now;
    for (const [key, bucket] of this.#networks) {
      refill(bucket, NETWORK_ANSWERS_PER_SECOND, NETWORK_ANSWERS_BURST, now);
      if (bucket.tokens >= NETWORK_ANSWERS_BURST) this.#networks.delete(key);
    }
  }
}

function refill(bucket: Bucket, perSecond: number, burst: number, now: Instant): void {
  bucket.tokens = Math.min(burst, bucket.tokens + (elapsedMs(bucket.at, now) * perSecond) / 1_000);
  bucket.at = now;
}

/** The /24 of IPv4 as a number, the /56 of IPv6 as four UTF-16 units: small keys that cannot be mistaken for each other. */
function networkOf(address: Uint8Array): number | string {
  const at = (index: number): number => address[index] as number;
  if (address.length === 4) return (at(0) << 16) | (at(1) << 8) | at(2);
  return String.fromCharCode((at(0) << 8) | at(1), (at(2) << 8) | at(3), (at(4) << 8) | at(5), at(6));
}
