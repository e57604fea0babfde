// Pings of one peer whose answers are waited for, by their txid. Bounded; an answer that never comes needs no timer, and one that comes
// late still counts while its ping is remembered.

import type { Instant } from '../base/instant.ts';
import type { Endpoint } from '../base/ip.ts';

/** Of one peer; then the oldest is forgotten. */
export const PROBES_IN_FLIGHT_MAX = 128;

export interface Ping {
  readonly endpoint: Endpoint;
  readonly at: Instant;
  /** Of a padded ping; 0: a small one. */
  readonly bytes: number;
}

export class InFlight {
  readonly #pings = new Map<number, Ping>();

  get size(): number {
    return this.#pings.size;
  }

  has(txid: number): boolean {
    return this.#pings.has(txid);
  }

  add(txid: number, ping: Ping): void {
    this.#pings.set(txid, ping);
    if (this.#pings.size <= PROBES_IN_FLIGHT_MAX) return;
    const oldest = this.#pings.keys().next();
    if (!oldest.done) this.#pings.delete(oldest.value);
  }

  /** The ping, which is answered by that; null when there is none. */
  take(txid: number): Ping | null {
    const ping = this.#pings.get(txid) ?? null;
    this.#pings.delete(txid);
    return ping;
  }

  clear(): void {
    this.#pings.clear();
  }
}
