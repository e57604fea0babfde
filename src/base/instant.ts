// Time as the protocol core sees it: an Instant is milliseconds (fractions allowed) on a monotonic clock that
// keeps counting while the machine sleeps (CLOCK_BOOTTIME). Its zero means nothing. Wall-clock time appears only in
// TAI64N stamps and in what people read; it is a separate type so that the two cannot be mixed.

import type { Brand } from './brand.ts';

/** Milliseconds on a monotonic clock that counts suspend. `NEVER` sorts after every instant. */
export type Instant = Brand<number, 'Instant'>;

/** Milliseconds since the Unix epoch, UTC. */
export type WallTime = Brand<number, 'WallTime'>;

/** No deadline. */
export const NEVER = Number.POSITIVE_INFINITY as Instant;

/** The instant before all others; a record field that was never stamped reads as this. */
export const UNSET = 0 as Instant;

export function after(start: Instant, durationMs: number): Instant {
  return (start + durationMs) as Instant;
}

export function elapsedMs(since: Instant, now: Instant): number {
  return now - since;
}

export function earliest(a: Instant, b: Instant): Instant {
  return a < b ? a : b;
}

export function latest(a: Instant, b: Instant): Instant {
  return a > b ? a : b;
}
