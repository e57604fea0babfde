// One request over UDP and its repetitions, until it is answered or given up. The schedule of RFC 6886 §3.1 (250 ms, doubled each
// time), cut short: what asks is one hop from who answers, and a gateway that is silent for eight seconds will be silent.
// PCP's first wait of 3 s (RFC 6887 §8.1.1) is for servers far away.

import { after, type Instant, NEVER } from '../../base/instant.ts';

/** After each sending, the wait for an answer. */
export const ANSWER_WAITS_MS = [250, 500, 1_000, 2_000, 4_000] as const;

export class Exchange {
  readonly #send: () => void;
  #sent = 0;
  #nextAt: Instant = NEVER;

  /** Sends at once. */
  constructor(send: () => void, now: Instant) {
    this.#send = send;
    this.#sendAgain(now);
  }

  get deadline(): Instant {
    return this.#nextAt;
  }

  /** 'waiting', having sent again if it was time, or 'over': nobody answers. */
  handleDeadline(now: Instant): 'waiting' | 'over' {
    if (now < this.#nextAt) return 'waiting';
    if (this.#sent >= ANSWER_WAITS_MS.length) return 'over';
    this.#sendAgain(now);
    return 'waiting';
  }

  #sendAgain(now: Instant): void {
    this.#nextAt = after(now, ANSWER_WAITS_MS[this.#sent] as number);
    this.#sent++;
    this.#send();
  }
}
