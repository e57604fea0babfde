// Virtual time for tests of the simulator's parts.

import type { Instant } from '../../../src/base/instant.ts';
import { EventQueue } from '../../../src/sim/event-queue.ts';
import type { Scheduler } from '../../../src/sim/nat/topology.ts';

export class Clock implements Scheduler {
  now = 1_000 as Instant;
  readonly #events = new EventQueue();

  schedule(delayMs: number, run: () => void): void {
    this.#events.add((this.now + delayMs) as Instant, run);
  }

  run(ms: number): void {
    const end = (this.now + ms) as Instant;
    for (let at = this.#events.nextAt(); at !== null && at <= end; at = this.#events.nextAt()) {
      this.now = at;
      this.#events.take()?.run();
    }
    this.now = end;
  }
}
