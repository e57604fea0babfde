// Steps the clocks of one daemon (stepped-clock.c), and freezes it as a suspend does. Nothing else on the machine notices.

import { closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from './engines.ts';
import type { Lab } from './lab.ts';
import { must } from './shell.ts';
import { until } from './wait.ts';

const SOURCE = join(REPOSITORY, 'test/interop/lib/stepped-clock.c');

/** Milliseconds that are added to each clock. */
export interface Step {
  readonly realtimeMs: number;
  readonly boottimeMs?: number;
  readonly monotonicMs?: number;
}

/** The library that a stepped daemon is started with. */
export async function buildSteppedClock(lab: Lab): Promise<string> {
  const library = lab.path('stepped-clock.so');
  const flags = ['-Wall', '-Wextra', '-Werror', '-O1', '-shared', '-fPIC'];
  await must(['cc', ...flags, '-o', library, SOURCE, '-ldl', '-lpthread'], { timeoutMs: 60_000 });
  return library;
}

export class SteppedClock {
  /** For whoever is to be stepped. */
  readonly environment: Readonly<Record<string, string>>;
  readonly #commands: number;

  static async make(lab: Lab, library: string, name: string): Promise<SteppedClock> {
    const path = lab.path(`${name}.clock`);
    await must(['mkfifo', '-m', '600', path]);
    return new SteppedClock(library, path);
  }

  private constructor(library: string, path: string) {
    // For reading too, so that opening and writing wait for nobody.
    this.#commands = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    this.environment = { LD_PRELOAD: library, WARREN_TEST_CLOCK: path };
  }

  step({ realtimeMs, boottimeMs = 0, monotonicMs = 0 }: Step): void {
    writeSync(this.#commands, `${realtimeMs} ${boottimeMs} ${monotonicMs}\n`);
  }

  /** Time goes by, in which nobody slept. */
  pass(ms: number): void {
    this.step({ realtimeMs: ms, boottimeMs: ms, monotonicMs: ms });
  }

  close(): void {
    closeSync(this.#commands);
  }
}

/** The environment of a daemon whose wall clock is off from the start, and is not stepped. */
export function aheadBy(library: string, ms: number): Readonly<Record<string, string>> {
  return { LD_PRELOAD: library, WARREN_TEST_CLOCK_AHEAD: `${ms} 0 0` };
}

/** No thread of it runs when it resolves. */
export async function freeze(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  await until('it is frozen', 5_000, () => /^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')));
}

export function thaw(pid: number): void {
  process.kill(pid, 'SIGCONT');
}
