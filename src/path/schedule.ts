// When a remote is probed, and how much of it (docs/paths.md, rule 4): fast at first, then twice as long each time up to a
// minute, while there is real data, within a budget for the peer and one for the node. Numbers and arithmetic alone.

import { after, elapsedMs, type Instant } from '../base/instant.ts';
import { TokenBucket } from './token-bucket.ts';

/** From the start of a round to its first probes. */
export const FIRST_PROBES_MS = [0, 100, 300, 700, 1_500, 3_000] as const;
export const PROBE_INTERVAL_MAX_MS = 60_000;
/** A peer without real data for as long is not probed. */
export const PROBED_AFTER_DATA_MS = 30_000;

/** Probes of one peer and of all together: a second's worth at once. */
export const PEER_PROBES_PER_SECOND = 20;
export const NODE_PROBES_PER_SECOND = 200;

/** A remote that has answered before is asked again so soon when an answer is missing: three of its round trips, at least this. */
export const ANSWER_MISSING_MS = 1_000;

/** Between probe number `sent` of a round (1, 2, …) and the next. */
export function probeIntervalMs(sent: number): number {
  const next = FIRST_PROBES_MS[sent];
  if (next !== undefined) return next - (FIRST_PROBES_MS[sent - 1] ?? 0);
  const last = FIRST_PROBES_MS.length - 1;
  const lastInterval = (FIRST_PROBES_MS[last] as number) - (FIRST_PROBES_MS[last - 1] as number);
  // Doubled once for each after the last of the list.
  return Math.min(PROBE_INTERVAL_MAX_MS, lastInterval * 2 ** Math.min(sent - last, 16));
}

/** How long an answer may be missing before that says something. */
export function answerMissingMs(rttMs: number | null): number {
  return Math.max(ANSWER_MISSING_MS, 3 * (rttMs ?? 0));
}

export function isWorthProbing(lastData: Instant, now: Instant): boolean {
  return elapsedMs(lastData, now) < PROBED_AFTER_DATA_MS;
}

/** What one peer may spend, out of what the node may. */
export class ProbeBudget {
  readonly #node: TokenBucket;
  readonly #peer: TokenBucket;

  constructor(node: TokenBucket, now: Instant) {
    this.#node = node;
    this.#peer = new TokenBucket(PEER_PROBES_PER_SECOND, PEER_PROBES_PER_SECOND, now);
  }

  take(now: Instant): boolean {
    return this.#peer.has(now) && this.#node.take(now) && this.#peer.take(now);
  }

  /** For the active path, where the peer's packets go anyway: it is counted, and never refused. */
  spend(now: Instant): void {
    this.#node.force(now);
    this.#peer.force(now);
  }

  readyAt(now: Instant): Instant {
    const peerAt = this.#peer.readyAt(now);
    const nodeAt = this.#node.readyAt(now);
    return peerAt > nodeAt ? peerAt : nodeAt;
  }
}

export function nodeProbeBudget(now: Instant): TokenBucket {
  return new TokenBucket(NODE_PROBES_PER_SECOND, NODE_PROBES_PER_SECOND, now);
}

/** The instant of the next probe after one at `now` that was number `sent` of its round. */
export function nextProbeAt(sent: number, now: Instant): Instant {
  return after(now, probeIntervalMs(sent));
}
