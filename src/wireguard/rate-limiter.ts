// Token buckets per source of handshake messages, asked only under load and after a good mac2 (paper §5.3): 20 a second
// with bursts of 5 for each IPv4 address or IPv6 /64. The table is bounded; a source that has been quiet for as long as
// its bucket takes to fill is forgotten, which changes nothing for it. No timer: sweeping happens while being asked.

import type { Instant } from '../base/instant.ts';
import { RATE_LIMIT_BURST, RATE_LIMIT_PER_SECOND, RATE_LIMIT_SOURCES_MAX } from './constants.ts';

const COST_MS = 1000 / RATE_LIMIT_PER_SECOND;
const FULL_MS = COST_MS * RATE_LIMIT_BURST;
const SWEEP_INTERVAL_MS = 1000;

/** Tokens are held as the time that it took to earn them. */
interface Bucket {
  tokensMs: number;
  at: Instant;
}

/** IPv4 as a number, the /64 of IPv6 as four UTF-16 units: small keys that cannot be mistaken for each other. */
function keyOf(address: Uint8Array): number | string {
  const group = (at: number): number => ((address[at] as number) << 8) | (address[at + 1] as number);
  if (address.length === 4) return group(0) * 65_536 + group(2);
  return String.fromCharCode(group(0), group(2), group(4), group(6));
}

export class RateLimiter {
  readonly #sourcesMax: number;
  readonly #buckets = new Map<number | string, Bucket>();
  #sweptAt: Instant | null = null;

  constructor(sourcesMax: number = RATE_LIMIT_SOURCES_MAX) {
    this.#sourcesMax = sourcesMax;
  }

  /** Sources remembered now. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Takes a token of `address` (4 or 16 bytes, network order). False: turn the message away. */
  allow(address: Uint8Array, now: Instant): boolean {
    this.#sweep(now);
    const key = keyOf(address);
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      // A full table turns newcomers away, as the reference does: those it knows must keep their service.
      if (this.#buckets.size >= this.#sourcesMax) return false;
      this.#buckets.set(key, { tokensMs: FULL_MS - COST_MS, at: now });
      return true;
    }
    bucket.tokensMs = Math.min(FULL_MS, bucket.tokensMs + (now - bucket.at));
    bucket.at = now;
    if (bucket.tokensMs < COST_MS) return false;
    bucket.tokensMs -= COST_MS;
    return true;
  }

  #sweep(now: Instant): void {
    this.#sweptAt ??= now;
    if (now - this.#sweptAt < SWEEP_INTERVAL_MS) return;
    this.#sweptAt = now;
    for (const [key, bucket] of this.#buckets) {
      if (bucket.tokensMs + (now - bucket.at) >= FULL_MS) this.#buckets.delete(key);
    }
  }
}
