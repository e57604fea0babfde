// The simulated network: datagrams between endpoints with latency, jitter (which reorders), loss, duplication and corruption,
// all drawn from one seeded generator. Endpoints are attached and detached as hosts move; what is under way to a detached
// endpoint is lost. Leaves out NATs.

import type { Instant } from '../base/instant.ts';
import type { Endpoint } from '../base/ip.ts';
import type { Prng } from '../base/prng.ts';

/** What happens to datagrams. Times in ms, the rest are probabilities per datagram. */
export interface Conditions {
  latencyMs: number;
  jitterMs: number;
  loss: number;
  duplication: number;
  corruption: number;
}

export const PERFECT: Readonly<Conditions> = { latencyMs: 10, jitterMs: 0, loss: 0, duplication: 0, corruption: 0 };

export interface Datagram {
  readonly bytes: Uint8Array;
  readonly source: Endpoint;
  readonly destination: Endpoint;
}

export type Receiver = (datagram: Datagram) => void;

export interface Scheduler {
  readonly now: Instant;
  schedule(delayMs: number, run: () => void): void;
}

export class Network {
  conditions: Conditions = { ...PERFECT };
  /** Sees every datagram that is sent, before anything happens to it. */
  readonly taps: ((datagram: Datagram) => void)[] = [];
  /** A datagram for which this is true is lost: partitions, and tests that drop one message. */
  blocked: (datagram: Datagram) => boolean = () => false;
  /** Beside the latency of all ways: of this one, in ms. */
  detourMs: (datagram: Datagram) => number = () => 0;
  readonly counts = { sent: 0, delivered: 0, lost: 0, duplicated: 0, corrupted: 0 };
  readonly #receivers = new Map<Endpoint, Receiver>();
  readonly #scheduler: Scheduler;
  readonly #prng: Prng;

  constructor(scheduler: Scheduler, prng: Prng) {
    this.#scheduler = scheduler;
    this.#prng = prng;
  }

  attach(endpoint: Endpoint, receiver: Receiver): void {
    this.#receivers.set(endpoint, receiver);
  }

  detach(endpoint: Endpoint): void {
    this.#receivers.delete(endpoint);
  }

  send(datagram: Datagram): void {
    this.counts.sent++;
    for (const tap of this.taps) tap(datagram);
    const { loss, duplication } = this.conditions;
    if (this.blocked(datagram) || this.#prng.chance(loss)) {
      this.counts.lost++;
      return;
    }
    this.#deliverLater(datagram);
    if (this.#prng.chance(duplication)) {
      this.counts.duplicated++;
      this.#deliverLater(datagram);
    }
  }

  #deliverLater(datagram: Datagram): void {
    const { latencyMs, jitterMs, corruption } = this.conditions;
    const arriving = this.#prng.chance(corruption) ? this.#corrupted(datagram) : datagram;
    const delayMs = latencyMs + this.#prng.nextFloat() * jitterMs + this.detourMs(arriving);
    this.#scheduler.schedule(delayMs, () => {
      const receiver = this.#receivers.get(arriving.destination);
      if (receiver === undefined) {
        this.counts.lost++;
        return;
      }
      this.counts.delivered++;
      receiver(arriving);
    });
  }

  /** One flipped bit, or a shorter datagram. */
  #corrupted(datagram: Datagram): Datagram {
    this.counts.corrupted++;
    const bytes = datagram.bytes.slice();
    if (bytes.length === 0 || this.#prng.chance(0.2)) {
      return { ...datagram, bytes: bytes.subarray(0, this.#prng.nextInt(0, bytes.length)) };
    }
    const at = this.#prng.nextInt(0, bytes.length - 1);
    bytes[at] = (bytes[at] as number) ^ (1 << this.#prng.nextInt(0, 7));
    return { ...datagram, bytes };
  }
}
