// Whether we are under load (paper §5.3), the one condition for answering handshakes with cookies: the backlog of control
// datagrams is an eighth of what the queue holds, or was within the last second. A length, not a count of messages over time,
// so that a thousand honest peers after a restart do not look like an attack for longer than they take to serve.

import type { Instant } from '../base/instant.ts';
import { UNDER_LOAD_AFTER_MS, UNDER_LOAD_FRACTION } from './constants.ts';

export class LoadMonitor {
  readonly #threshold: number;
  #until: Instant | null = null;

  /** `capacity`: how many control datagrams can wait (DataPlane.slabSlots). */
  constructor(capacity: number) {
    this.#threshold = Math.max(1, capacity * UNDER_LOAD_FRACTION);
  }

  /** `backlog`: how many wait now (DataPlane.backlog). */
  underLoad(backlog: number, now: Instant): boolean {
    if (backlog >= this.#threshold) {
      this.#until = (now + UNDER_LOAD_AFTER_MS) as Instant;
      return true;
    }
    return this.#until !== null && now < this.#until;
  }
}
