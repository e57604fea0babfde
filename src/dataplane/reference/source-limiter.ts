// The token bucket that every source of control datagrams has (paper §5.3; checklist 34): one per IPv4 address, IPv6 /64 or slot
// at a relay, and a larger one for each relay as a whole. It keeps a flood from one place away from JavaScript; the finer
// limit under load is the engine's.

import type { Instant } from '../../base/instant.ts';
import { addressBytes, type Endpoint, endpointParts, familyOf, formatPrefix } from '../../base/ip.ts';
import { relayedParts } from '../../base/relayed.ts';

/** Datagrams per second and at once, from one source. */
export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

export const CALM: Rate = { perSecond: 512, burst: 512 };
/** While JavaScript is behind: what the protocol itself gives a source under load (paper §5.3). */
export const LOADED: Rate = { perSecond: 20, burst: 5 };
/** A relay speaks for many, and could name slots at will: all that it brings together has this many times one source's rate. */
export const RELAY_FACTOR = 8;
/** Sources remembered; past that the one that came first is forgotten. */
const SOURCES_MAX = 4096;

/** Thousandths of a datagram, so that whole milliseconds add up exactly. */
const COST = 1000;

interface Bucket {
  tokens: number;
  filledAt: Instant;
}

export class SourceLimiter {
  readonly #buckets = new Map<string, Bucket>();

  /** Whether one more datagram from there may pass. Takes its token; a relayed one's of its slot and then of its relay. */
  allow(source: Endpoint, now: Instant, rate: Rate = CALM): boolean {
    const relayed = relayedParts(source);
    if (relayed === null) return this.#take(sourceKey(source), now, rate);
    const whole = { perSecond: rate.perSecond * RELAY_FACTOR, burst: rate.burst * RELAY_FACTOR };
    return this.#take(source, now, rate) && this.#take(`relay ${relayed.relay}`, now, whole);
  }

  #take(key: string, now: Instant, rate: Rate): boolean {
    const full = rate.burst * COST;
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      bucket = { tokens: full, filledAt: now };
      this.#makeRoom();
      this.#buckets.set(key, bucket);
    }
    const gained = (now - bucket.filledAt) * rate.perSecond;
    bucket.tokens = Math.min(full, bucket.tokens + gained);
    bucket.filledAt = now;
    if (bucket.tokens < COST) return false;
    bucket.tokens -= COST;
    return true;
  }

  #makeRoom(): void {
    if (this.#buckets.size < SOURCES_MAX) return;
    const first = this.#buckets.keys().next();
    if (first.done !== true) this.#buckets.delete(first.value);
  }
}

function sourceKey(source: Endpoint): string {
  const { address } = endpointParts(source);
  return familyOf(address) === 4 ? address : formatPrefix(addressBytes(address), 64);
}
