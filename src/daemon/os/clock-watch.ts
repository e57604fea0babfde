// Notices that the machine slept and that its clock was stepped, when it happens and without looking now and then: the kernel
// cancels a timer for both (native/os/clock.h), so an idle daemon is not woken for it. Which of the two it was, and by how
// much, three clocks tell: BOOTTIME counts sleep, MONOTONIC does not, the wall clock jumps. NTP slews all three alike.

import type { Instant, WallTime } from '../../base/instant.ts';
import type { NativeAddon, NativeClockWatch, NativeFailure } from '../../dataplane/native/addon.ts';

/** Less is the time between reading one clock and the next, or does no harm. */
export const JUMP_MS_MIN = 50;

export interface ClockJump {
  /** How long the machine slept; 0 = it did not. */
  readonly sleptMs: number;
  /** By how much the wall clock was stepped, beside sleeping; negative = back. */
  readonly steppedMs: number;
}

export interface Clocks {
  /** CLOCK_BOOTTIME. */
  readonly boottime: () => Instant;
  /** CLOCK_MONOTONIC, in milliseconds. */
  readonly monotonic: () => number;
  readonly wall: () => WallTime;
}

interface Reading {
  readonly boottime: number;
  readonly monotonic: number;
  readonly wall: number;
}

export class ClockWatch {
  readonly #clocks: Clocks;
  readonly #onJump: (jump: ClockJump) => void;
  #native: NativeClockWatch | null = null;
  #last: Reading;

  private constructor(clocks: Clocks, onJump: (jump: ClockJump) => void) {
    this.#clocks = clocks;
    this.#onJump = onJump;
    this.#last = readAll(clocks);
  }

  static open(
    addon: Pick<NativeAddon, 'watchClock' | 'boottime'>,
    onJump: (jump: ClockJump) => void,
    clocks: Clocks = systemClocks(addon),
  ): ClockWatch | NativeFailure {
    const watch = new ClockWatch(clocks, onJump);
    const native = addon.watchClock(() => watch.look());
    if ('code' in native) return native;
    watch.#native = native;
    return watch;
  }

  /** Compares the clocks now. Called by the kernel's word; whoever is awake anyway may call it too. */
  look(): void {
    const { sleptMs, steppedMs } = jumpBetween(this.#last, this.#read());
    if (sleptMs !== 0 || steppedMs !== 0) this.#onJump({ sleptMs, steppedMs });
  }

  close(): void {
    this.#native?.close();
    this.#native = null;
  }

  #read(): Reading {
    // First, so that a change after the reading is told again.
    this.#native?.acknowledge();
    this.#last = readAll(this.#clocks);
    return this.#last;
  }
}

function jumpBetween(before: Reading, now: Reading): ClockJump {
  const boottime = now.boottime - before.boottime;
  const slept = boottime - (now.monotonic - before.monotonic);
  const stepped = now.wall - before.wall - boottime;
  return {
    sleptMs: slept >= JUMP_MS_MIN ? slept : 0,
    steppedMs: Math.abs(stepped) >= JUMP_MS_MIN ? stepped : 0,
  };
}

function readAll(clocks: Clocks): Reading {
  return { boottime: clocks.boottime(), monotonic: clocks.monotonic(), wall: clocks.wall() };
}

function systemClocks(addon: Pick<NativeAddon, 'boottime'>): Clocks {
  return {
    boottime: () => addon.boottime() as Instant,
    // libuv's clock is CLOCK_MONOTONIC.
    monotonic: () => performance.now(),
    wall: () => Date.now() as WallTime,
  };
}
