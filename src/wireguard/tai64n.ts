// TAI64N time stamps (https://cr.yp.to/libtai/tai64.html) as the paper §5.1 uses them: an initiation carries one, and a
// responder takes only a greater one than it has seen from that peer. Coarse on purpose: the low 24 bits of the
// nanoseconds are cleared, so that a stamp says little about our clock.
//
//   0                               8               12
//   | 2^62 + 10 + seconds, u64 BE   | nanoseconds, u32 BE |
//
// Leaves out leap seconds: like every WireGuard, this is Unix time with TAI's offset of 1970.

import type { Brand } from '../base/brand.ts';
import { writeU32be } from '../base/bytes.ts';
import type { WallTime } from '../base/instant.ts';

export const TAI64N_BYTES = 12;

/** A coarse stamp as one number that sorts: seconds × 60 + ⌊nanoseconds / 2^24⌋ (0 … 59). */
export type StampTicks = Brand<number, 'StampTicks'>;

/** Sorts before every stamp: what a peer that was never sent one has. */
export const NO_STAMP = -1 as StampTicks;

const TICK_NANOSECONDS = 2 ** 24;
const TICKS_PER_SECOND = 60;
/** 2^62 + 10: the high word, and what is added to the low word. */
const EPOCH_HIGH = 0x4000_0000;
const EPOCH_LOW = 10;

function ticksOf(wall: WallTime): StampTicks {
  const milliseconds = Math.max(0, wall);
  const seconds = Math.floor(milliseconds / 1000);
  const nanoseconds = Math.floor((milliseconds - seconds * 1000) * 1e6);
  return (seconds * TICKS_PER_SECOND +
    Math.min(TICKS_PER_SECOND - 1, Math.floor(nanoseconds / TICK_NANOSECONDS))) as StampTicks;
}

/** The 12 bytes that go into an initiation. */
export function encodeStamp(ticks: StampTicks): Uint8Array {
  const seconds = Math.floor(ticks / TICKS_PER_SECOND);
  const low = (seconds % 2 ** 32) + EPOCH_LOW;
  const bytes = new Uint8Array(TAI64N_BYTES);
  writeU32be(bytes, 0, EPOCH_HIGH + Math.floor(seconds / 2 ** 32) + Math.floor(low / 2 ** 32));
  writeU32be(bytes, 4, low % 2 ** 32);
  writeU32be(bytes, 8, (ticks % TICKS_PER_SECOND) * TICK_NANOSECONDS);
  return bytes;
}

/** Whether the received stamp `candidate` is later than `greatest`, the greatest accepted so far (null: none). */
export function isLaterStamp(candidate: Uint8Array, greatest: Uint8Array | null): boolean {
  if (greatest === null) return true;
  for (let i = 0; i < TAI64N_BYTES; i++) {
    const difference = (candidate[i] as number) - (greatest[i] as number);
    if (difference !== 0) return difference > 0;
  }
  return false;
}

/**
 * What outlives the process, so that stamps rise over a restart too, whatever became of the clock: a bound that no stamp which was sent
 * is later than. It is a lease, renewed at half of its time by the initiations themselves: a write every LEASE_MS / 2 at most, and none
 * while nothing begins. The first initiation after a long silence goes out while the bound is being written; only a crash in that moment,
 * with a clock that is set back after it, costs what all of them would cost without a bound. A clock that was far in the future once has left a bound that is far ahead, and so will all stamps be from then on; that does
 * no harm, for they say nothing but which of two is the later one.
 */
export interface StampMemory {
  /** Of what ran before; null = nothing is known of it. */
  readonly until: WallTime | null;
  /** Stamps up to this one may be sent from now on. Called from within a call of the engine's; must not throw. */
  keep(until: WallTime): void;
}

/** How far beyond the clock the bound is moved … */
export const LEASE_MS = 600_000;
/** … and beyond the stamps while they are ahead of the clock: they rise by one tick for each initiation to a peer. */
export const LEASE_AHEAD_MS = 1_000;

/**
 * The device's source of stamps. Toward one peer they rise strictly even when the wall clock steps back or stands
 * still: the peer keeps `previous`. Toward all peers they never fall, and what a removed peer was sent is left below, so
 * that one that is added again, and has no `previous`, is sent a greater one than before too.
 */
export class TimestampSource {
  readonly #memory: StampMemory | null;
  #highest = NO_STAMP;
  /** What the memory has heard. */
  #bound = NO_STAMP;

  constructor(memory: StampMemory | null = null) {
    this.#memory = memory;
    const until = memory?.until ?? null;
    if (until === null) return;
    this.#bound = ticksOf(until);
    this.#highest = (this.#bound + 1) as StampTicks;
  }

  /** The stamp for an initiation now, after `previous` to the same peer (NO_STAMP: none). The caller keeps it. */
  next(wall: WallTime, previous: StampTicks): StampTicks {
    const ticks = Math.max(ticksOf(wall), this.#highest, previous + 1) as StampTicks;
    this.#highest = ticks;
    const soon = ticksOf((wall + LEASE_MS / 2) as WallTime);
    if (this.#memory !== null && Math.max(ticks, soon) > this.#bound) this.#extend(this.#memory, wall, ticks);
    return ticks;
  }

  #extend(memory: StampMemory, wall: WallTime, ticks: StampTicks): void {
    // Whole seconds, rounded up: not before the stamp.
    const stampMs = Math.ceil(ticks / TICKS_PER_SECOND) * 1000;
    const until = Math.max(Math.floor(wall) + LEASE_MS, stampMs + LEASE_AHEAD_MS) as WallTime;
    this.#bound = ticksOf(until);
    memory.keep(until);
  }

  /** A peer is removed whose last stamp was `sent` (NO_STAMP: none): no stamp from now on is as small. */
  retire(sent: StampTicks): void {
    if (sent !== NO_STAMP) this.#highest = Math.max(this.#highest, sent + 1) as StampTicks;
  }
}
