// The simulated world: virtual time, one network, any number of hosts. Everything that happens is an event; a run is a
// function of its seed. Tests jump from event to event, so that minutes of protocol time cost milliseconds.

import type { Instant } from '../base/instant.ts';
import { formatEndpoint, type IpAddress } from '../base/ip.ts';
import { Prng } from '../base/prng.ts';
import type { CryptoProvider } from '../crypto/provider.ts';
import type { MemoryDataPlane } from '../dataplane/dataplane.ts';
import { EventQueue } from './event-queue.ts';
import { Host } from './host.ts';
import { Network, type Scheduler } from './network.ts';

export interface WorldOptions {
  readonly seed: number;
  readonly crypto: CryptoProvider;
  readonly makePlane: () => MemoryDataPlane;
  readonly idleTimeoutMs?: number;
}

/** An arbitrary start, so that no rule works by accident because time begins at zero. */
const START = 1_000_000 as Instant;

export class World implements Scheduler {
  readonly prng: Prng;
  readonly network: Network;
  readonly hosts: Host[] = [];
  readonly #options: WorldOptions;
  readonly #events = new EventQueue();
  #now: Instant = START;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.prng = new Prng(options.seed);
    this.network = new Network(this, this.prng.fork());
  }

  get now(): Instant {
    return this.#now;
  }

  schedule(delayMs: number, run: () => void): void {
    this.#events.add((this.#now + delayMs) as Instant, run);
  }

  /** Host number n is at 192.0.2.n:51820 and has 10.0.0.n and fd00::n inside. */
  addHost(name: string): Host {
    const number = this.hosts.length + 1;
    const host = new Host(
      {
        name,
        endpoint: formatEndpoint(`192.0.2.${number}` as IpAddress, 51_820),
        addresses: [`10.0.0.${number}` as IpAddress, `fd00::${number.toString(16)}` as IpAddress],
        crypto: this.#options.crypto,
        makePlane: this.#options.makePlane,
        ...(this.#options.idleTimeoutMs === undefined ? {} : { idleTimeoutMs: this.#options.idleTimeoutMs }),
      },
      this,
      this.network,
      this.prng.fork(),
    );
    this.hosts.push(host);
    return host;
  }

  /** Runs every event up to `durationMs` from now, and leaves the clock there. */
  run(durationMs: number): void {
    const end = (this.#now + durationMs) as Instant;
    for (let at = this.#events.nextAt(); at !== null && at <= end; at = this.#events.nextAt()) {
      this.#now = at;
      this.#events.take()?.run();
    }
    this.#now = end;
  }

  /** Runs until `condition` holds or `limitMs` have passed; whether it came to hold. */
  runUntil(condition: () => boolean, limitMs: number): boolean {
    const end = (this.#now + limitMs) as Instant;
    while (!condition()) {
      const at = this.#events.nextAt();
      if (at === null || at > end) {
        this.#now = end;
        return condition();
      }
      this.#now = at;
      this.#events.take()?.run();
    }
    return true;
  }
}
