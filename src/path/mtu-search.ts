// The largest packet that a path carries, found with padded pings that may not be fragmented (in the manner of RFC 8899): the device's
// own MTU first, for it passes nearly everywhere, then among sizes that links have. A size is given up after several pings of it were lost, never
// one. Sans-IO; what a probe adds around a packet (32 bytes and UDP, IP, a relay's header) is the same that data gets.
//
// Sizes are multiples of 16, the padding of a message, or the device's MTU; so up to 15 bytes of a path may go unused. Beyond FRAME_BYTES_MAX
// nothing can be probed: a device that is larger is believed as far as that.

import { after, type Instant, NEVER } from '../base/instant.ts';

/** What a control frame may have at most (docs/dataplane.md). */
export const PROBE_BYTES_MAX = 1_500;
/** Every IPv6 link carries as much (RFC 8200 §5); what is told while larger is in doubt. */
export const BASE_MTU = 1_280;
/**
 * Below the device's MTU, with 60 to 92 bytes around them: what is left of links of 1,500 (Ethernet), 1,492 (PPPoE), 1,480 (a tunnel in
 * IPv4), 1,460, 1,440, 1,428 (LTE), 1,400, 1,380, 1,350 and 1,280 bytes; and what must do where even that fails.
 */
export const SIZES = [
  576, 768, 1_024, 1_184, 1_200, 1_232, 1_264, 1_280, 1_296, 1_312, 1_328, 1_344, 1_360, 1_376, 1_392, 1_408, 1_424,
  1_440, 1_456, 1_472, 1_488,
] as const;
/** Pings of one size before it is given up, small ones beside them having been answered. */
export const TRIES_MAX = 4;
export const SMALL_ANSWERS_MIN = 2;
/** Without those nothing is learned, and it is tried again. */
const TRY_AGAIN_MS = 1_000;
/** A path that has just become the active one may not stay it. */
export const BEGIN_AFTER_MS = 500;
/** An answer is waited for this long, or two round trips. */
export const ANSWER_MS = 250;
/** While there is data a size that was found is tried again so often: paths change without a word. */
export const VERIFY_MS = 60_000;
/** A path that is narrower than the device is tried for more so often (RFC 8899 §5.1.1, PMTU_RAISE_TIMER). */
export const RAISE_MS = 600_000;

type Phase =
  | { readonly kind: 'idle' }
  /** `floor`: passes, or null; `ceiling`: does not, or null. */
  | {
      readonly kind: 'testing';
      readonly size: number;
      readonly floor: number | null;
      readonly ceiling: number | null;
      tries: number;
      /** Small pings answered since the first try. */
      smallAnswers: number;
      nextAt: Instant;
    }
  | { readonly kind: 'settled'; readonly verifyAt: Instant };

type Testing = Extract<Phase, { kind: 'testing' }>;

const IDLE: Phase = { kind: 'idle' };

interface Bounds {
  readonly floor: number | null;
  readonly ceiling: number | null;
}

const NOTHING_KNOWN: Bounds = { floor: null, ceiling: null };

export interface MtuOutputs {
  /** A padded ping by the active path, DF set, and a small one. `tooBig`: the interface that it would leave by is narrower. */
  probe(bytes: number, now: Instant): 'sent' | 'tooBig' | 'failed';
  /** The largest inner packet from now on; 0: as the device. */
  limit(mtu: number): void;
}

export class MtuSearch {
  readonly #outputs: MtuOutputs;
  readonly #deviceMtu: () => number;
  #phase: Phase = IDLE;
  /** What passes, as far as it was found; null: not known. */
  #found: number | null = null;
  #limit = 0;
  /** When a path that is narrower than the device is tried for more. */
  #raiseAt: Instant = NEVER;
  /** Larger ones were lost without a word. */
  #blackHole = false;

  constructor(outputs: MtuOutputs, deviceMtu: () => number) {
    this.#outputs = outputs;
    this.#deviceMtu = deviceMtu;
  }

  /** The largest packet that is known to pass; null while it is not known. */
  get mtu(): number | null {
    return this.#found;
  }

  /** Packets as large as the device's are lost on this path, and nothing says so. */
  get isBlackHole(): boolean {
    return this.#blackHole;
  }

  get deadline(): Instant {
    const phase = this.#phase;
    if (phase.kind === 'testing') return phase.nextAt;
    return phase.kind === 'settled' ? phase.verifyAt : NEVER;
  }

  get running(): boolean {
    return this.#phase.kind !== 'idle';
  }

  /** Another path: nothing is known of it. What was told stays until it is, if it is a limit: less is safe on any path. */
  forget(): void {
    this.#phase = IDLE;
    this.#found = null;
    this.#blackHole = false;
    this.#raiseAt = NEVER;
  }

  /** Without data nothing is asked. What was found stays. */
  pause(): void {
    this.#phase = IDLE;
  }

  /** The path answers small pings, and there is data. Does nothing while a search runs or its result is fresh. */
  begin(now: Instant): void {
    if (this.#phase.kind !== 'idle') return;
    this.#test(this.#found ?? this.#largest(), NOTHING_KNOWN, after(now, BEGIN_AFTER_MS));
  }

  /** Something large could not leave, or the device's MTU is another. */
  again(now: Instant): void {
    this.#found = null;
    this.#test(this.#largest(), NOTHING_KNOWN, now);
  }

  /** A small ping by the active path was answered. */
  smallAnswered(): void {
    if (this.#phase.kind === 'testing' && this.#phase.tries > 0) this.#phase.smallAnswers++;
  }

  answered(bytes: number, now: Instant): void {
    const phase = this.#phase;
    if (phase.kind !== 'testing' || bytes < phase.size) return;
    this.#narrow(Math.min(bytes, this.#largest()), phase.ceiling, now);
  }

  /** To be called at `deadline`, while small pings are answered on the path. */
  handleDeadline(rttMs: number | null, now: Instant): void {
    const phase = this.#phase;
    if (this.deadline > now) return;
    if (phase.kind === 'settled') {
      const raise = this.#raiseAt <= now && this.#found !== null;
      if (raise) this.#raiseAt = after(now, RAISE_MS);
      // More is tried with what passes as the floor; else what passes is tried.
      if (raise) this.#test(this.#largest(), { floor: this.#found, ceiling: null }, now);
      else this.#test(this.#found ?? this.#largest(), NOTHING_KNOWN, now);
      this.handleDeadline(rttMs, now);
      return;
    }
    if (phase.kind !== 'testing') return;
    if (phase.tries >= TRIES_MAX) {
      this.#tried(phase, rttMs, now);
      return;
    }
    phase.tries++;
    phase.nextAt = after(now, Math.max(ANSWER_MS, 2 * (rttMs ?? 0)));
    if (this.#outputs.probe(phase.size, now) === 'tooBig') {
      this.#failed(phase, false, now);
      this.handleDeadline(rttMs, now);
    }
  }

  #tried(phase: Testing, rttMs: number | null, now: Instant): void {
    if (phase.smallAnswers < SMALL_ANSWERS_MIN) {
      phase.tries = 0;
      phase.smallAnswers = 0;
      phase.nextAt = after(now, TRY_AGAIN_MS);
      return;
    }
    this.#failed(phase, true, now);
    this.handleDeadline(rttMs, now);
  }

  #largest(): number {
    return Math.min(this.#deviceMtu(), PROBE_BYTES_MAX);
  }

  #test(size: number, { floor, ceiling }: Bounds, at: Instant): void {
    this.#phase = { kind: 'testing', size, floor, ceiling, tries: 0, smallAnswers: 0, nextAt: at };
  }

  #failed(phase: Testing, silently: boolean, now: Instant): void {
    if (silently) this.#blackHole = true;
    if (this.#found !== null && this.#found >= phase.size) this.#found = null;
    // While it is in doubt what passes, what passes everywhere.
    if (phase.floor === null) this.#tell(Math.min(BASE_MTU, largestBelow(phase.size) ?? BASE_MTU));
    this.#narrow(phase.floor, phase.size, now);
  }

  /** The next size between what passes and what does not; none: it is found. */
  #narrow(floor: number | null, ceiling: number | null, now: Instant): void {
    if (floor !== null) this.#found = Math.max(floor, this.#found ?? 0);
    const largest = this.#largest();
    if (floor !== null && (ceiling === null || floor >= largest)) {
      this.#settle(floor, now);
      return;
    }
    const limit = ceiling ?? Number.POSITIVE_INFINITY;
    const between = SIZES.filter((size) => size < limit && size <= largest && size > (floor ?? 0));
    if (between.length === 0) {
      this.#settle(floor ?? SIZES[0], now);
      return;
    }
    // What passes nearly everywhere before the halves.
    const base = floor === null && between.includes(BASE_MTU) ? BASE_MTU : between[between.length >> 1];
    this.#test(base ?? SIZES[0], { floor, ceiling }, now);
  }

  #settle(size: number, now: Instant): void {
    const largest = this.#largest();
    if (size >= largest) this.#blackHole = false;
    this.#found = size;
    this.#tell(size >= largest ? 0 : size);
    if (size >= largest) this.#raiseAt = NEVER;
    else if (this.#raiseAt === NEVER) this.#raiseAt = after(now, RAISE_MS);
    this.#phase = { kind: 'settled', verifyAt: after(now, VERIFY_MS) };
  }

  #tell(limit: number): void {
    if (limit === this.#limit) return;
    this.#limit = limit;
    this.#outputs.limit(limit);
  }
}

function largestBelow(size: number): number | null {
  return SIZES.findLast((one) => one < size) ?? null;
}
