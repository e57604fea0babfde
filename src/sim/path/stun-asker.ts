// A simulated node's questions to STUN servers from the tunnel's socket, as its daemon asks them: at the start, when its network
// changed, and now and then, because mappings end and boxes restart. Gives candidates, and what the NAT in front maps by.

import { elapsedMs, type Instant, NEVER } from '../../base/instant.ts';
import { type Endpoint, endpointParts, type Family, familyOf } from '../../base/ip.ts';
import type { RandomSource } from '../../base/prng.ts';
import { judgeMapping, type NatMapping, type Observation } from '../../path/stun/behaviour.ts';
import { StunClient, type StunResult } from '../../path/stun/client.ts';

export const ASK_EVERY_MS = 20_000;

export interface StunAskerOptions {
  readonly random: RandomSource;
  readonly servers: () => readonly Endpoint[];
  readonly send: (to: Endpoint, datagram: Uint8Array) => boolean;
  /** What `reflexive`, `mapping` and `udp` say may be different. */
  readonly changed: () => void;
}

export class StunAsker {
  readonly #options: StunAskerOptions;
  readonly #client: StunClient;
  /** Of the last round that was answered, by server. */
  readonly #seen = new Map<Endpoint, Endpoint>();
  #askAt: Instant = NEVER;
  #answers = 0;
  #failures = 0;

  constructor(options: StunAskerOptions) {
    this.#options = options;
    this.#client = new StunClient({
      random: options.random,
      outputs: { send: options.send, result: (result) => this.#result(result) },
    });
  }

  /** Asks all; `afresh`: what was seen before was of another network. */
  ask(afresh: boolean, now: Instant): void {
    if (afresh) this.#seen.clear();
    this.#client.cancelAll();
    this.#answers = 0;
    this.#failures = 0;
    for (const server of this.#options.servers()) this.#client.ask(server, now);
    this.#askAt = (now + ASK_EVERY_MS) as Instant;
  }

  handleDatagram(datagram: Uint8Array, source: Endpoint, now: Instant): void {
    this.#client.handleDatagram(datagram, source, now);
  }

  nextDeadline(): Instant {
    return Math.min(this.#askAt, this.#client.nextDeadline()) as Instant;
  }

  handleDeadline(now: Instant): void {
    this.#client.handleDeadline(now);
    if (elapsedMs(this.#askAt, now) >= 0) this.ask(false, now);
  }

  get reflexive(): Endpoint[] {
    return [...new Set(this.#seen.values())];
  }

  get udp(): 'works' | 'blocked' | 'unknown' {
    if (this.#seen.size > 0) return 'works';
    return this.#failures > 0 && this.#answers === 0 ? 'blocked' : 'unknown';
  }

  mapping(family: Family, local: readonly Endpoint[]): NatMapping {
    const observations = [...this.#seen]
      .filter(([server]) => familyOf(endpointParts(server).address) === family)
      .map(([server, reflexive]): Observation => ({ server, reflexive }));
    return judgeMapping(observations, local, family).mapping;
  }

  #result(result: StunResult): void {
    const before = this.#seen.get(result.server);
    if (result.kind === 'reflexive') {
      this.#answers++;
      if (before === result.reflexive) return;
      this.#seen.set(result.server, result.reflexive);
    } else {
      this.#failures++;
      if (!this.#seen.delete(result.server) && this.#failures > 1) return;
    }
    this.#options.changed();
  }
}
