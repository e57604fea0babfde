// How long a node waits before it connects to the controller again. Full jitter: the point is not that one node waits, but that ten
// thousand that lost the same controller at the same moment do not come back at the same moment.

import type { RandomSource } from '../base/prng.ts';

/** The first retry is anywhere in this: soon for one, a second wide for ten thousand. */
export const FIRST_RETRY_MS = 1_000;
export const RETRY_MIN_MS = 100;
export const RETRY_MAX_MS = 60_000;

/** Before retry number `attempt` (1, 2, …): uniform below a ceiling that doubles. */
export function retryDelayMs(attempt: number, random: RandomSource): number {
  if (attempt <= 1) return uniform(random) * FIRST_RETRY_MS;
  const ceiling = Math.min(RETRY_MAX_MS, FIRST_RETRY_MS * 2 ** Math.min(attempt - 1, 16));
  return RETRY_MIN_MS + uniform(random) * (ceiling - RETRY_MIN_MS);
}

/** In [0, 1). */
export function uniform(random: RandomSource): number {
  const bytes = new Uint8Array(4);
  random(bytes);
  return new DataView(bytes.buffer).getUint32(0) / 2 ** 32;
}
