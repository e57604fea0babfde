// Whether a gateway has lost its mappings: its clock of seconds since it began (PCP's epoch, NAT-PMP's SSSoE) against ours. A clock
// that went back, or ran otherwise than ours, began anew in between. RFC 6887 §8.5 and RFC 6886 §3.6; the time given must count
// suspend, or every wake-up looks like a reboot.

import { elapsedMs, type Instant } from '../../base/instant.ts';

interface Seen {
  readonly seconds: number;
  readonly at: Instant;
}

/** `seconds` as the gateway says them now, after `before`; `passed`: seconds by our clock. */
type Rule = (before: number, seconds: number, passed: number) => boolean;

/** RFC 6887 §8.5. One second back is reordering; a sixteenth and two seconds are cheap clocks and rounding. */
export const pcpStateKept: Rule = (before, seconds, passed) => {
  const counted = seconds - before;
  if (counted < -1) return false;
  return passed + 2 >= counted - counted / 16 && counted + 2 >= passed - passed / 16;
};

/** RFC 6886 §3.6: at least seven eighths of our time, two seconds for rounding. */
export const natPmpStateKept: Rule = (before, seconds, passed) => seconds >= before + (passed * 7) / 8 - 2;

export class GatewayEpoch {
  readonly #stateKept: Rule;
  #seen: Seen | null = null;

  constructor(rule: Rule) {
    this.#stateKept = rule;
  }

  /** Takes what the gateway says; true when it has lost its state since it spoke last. */
  hasReset(seconds: number, now: Instant): boolean {
    const before = this.#seen;
    this.#seen = { seconds, at: now };
    return before !== null && !this.#stateKept(before.seconds, seconds, elapsedMs(before.at, now) / 1000);
  }
}
