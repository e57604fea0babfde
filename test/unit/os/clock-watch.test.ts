// Sleep and clock steps, told apart by three clocks; and the kernel's word for them, from the addon.

import { describe, expect, it } from 'vitest';
import type { Instant, WallTime } from '../../../src/base/instant.ts';
import { type ClockJump, ClockWatch, JUMP_MS_MIN } from '../../../src/daemon/os/clock-watch.ts';
import { loadAddon, type NativeClockWatch } from '../../../src/dataplane/native/addon.ts';

/** Three clocks that a test moves, and a kernel that speaks when it is told to. */
class Machine {
  boottime = 10_000;
  monotonic = 4000;
  wall = 1_764_000_000_000;
  acknowledged = 0;
  closed = false;
  tell: () => void = () => {};
  readonly jumps: ClockJump[] = [];
  readonly watch: ClockWatch;

  constructor() {
    const addon = {
      boottime: () => this.boottime,
      watchClock: (onChange: () => void): NativeClockWatch => {
        this.tell = onChange;
        return {
          acknowledge: () => {
            this.acknowledged++;
            return true;
          },
          close: () => {
            this.closed = true;
          },
        };
      },
    };
    const opened = ClockWatch.open(addon, (jump) => this.jumps.push(jump), {
      boottime: () => this.boottime as Instant,
      monotonic: () => this.monotonic,
      wall: () => this.wall as WallTime,
    });
    if (!(opened instanceof ClockWatch)) throw new Error(opened.step);
    this.watch = opened;
  }

  run(ms: number): void {
    this.monotonic += ms;
    this.boottime += ms;
    this.wall += ms;
  }
  sleep(ms: number): void {
    this.boottime += ms;
    this.wall += ms;
  }
}

describe('the clocks', () => {
  it('tell how long the machine slept', () => {
    const machine = new Machine();
    machine.run(5000);
    machine.sleep(3_600_000);
    machine.tell();
    expect(machine.jumps).toEqual([{ sleptMs: 3_600_000, steppedMs: 0 }]);
  });

  it.each([60_000, -60_000])('tell that the wall clock was stepped by %i ms', (by) => {
    const machine = new Machine();
    machine.run(5000);
    machine.wall += by;
    machine.tell();
    expect(machine.jumps).toEqual([{ sleptMs: 0, steppedMs: by }]);
  });

  it('tell a sleep after which the clock was found to be off', () => {
    const machine = new Machine();
    machine.sleep(10_000);
    machine.wall -= 2000;
    machine.tell();
    expect(machine.jumps).toEqual([{ sleptMs: 10_000, steppedMs: -2000 }]);
  });

  it('tell nothing of time that passes, nor of steps too small to matter', () => {
    const machine = new Machine();
    for (const ms of [0, 1, 1e9]) {
      machine.run(ms);
      machine.tell();
    }
    machine.wall += JUMP_MS_MIN - 1;
    machine.tell();
    expect(machine.jumps).toEqual([]);
  });

  it('tell each jump once, and are ready for the next', () => {
    const machine = new Machine();
    for (let i = 1; i <= 3; i++) {
      machine.sleep(1000);
      machine.tell();
      machine.tell();
      expect(machine.jumps).toHaveLength(i);
    }
    expect(machine.acknowledged).toBe(6);
  });

  it('are looked at by whoever is awake, too', () => {
    const machine = new Machine();
    machine.sleep(1000);
    machine.watch.look();
    expect(machine.jumps).toHaveLength(1);
    machine.watch.close();
    machine.watch.close();
    expect(machine.closed).toBe(true);
  });
});

describe("the addon's watch", () => {
  it('is quiet while nobody sets the clock, and agrees with boottime', () => {
    const loaded = loadAddon();
    if (!loaded.ok) throw new Error(loaded.message);
    const before = loaded.addon.boottime();
    const jumps: ClockJump[] = [];
    const watch = ClockWatch.open(loaded.addon, (jump) => jumps.push(jump));
    if (!(watch instanceof ClockWatch)) throw new Error(watch.step);
    watch.look();
    watch.close();
    watch.look();
    expect(jumps).toEqual([]);
    expect(loaded.addon.boottime()).toBeGreaterThanOrEqual(before);
  });
});
