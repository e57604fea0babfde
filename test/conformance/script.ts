// Runs a seeded script of random steps over planes in step: outputs are compared after every step, descriptors at every
// poll, records and counters now and then. A failure names seed and step; WARREN_SCRIPT_SEED=<seed> runs that one alone.

import { DROP_REASONS, type DropReason, type MemoryDataPlane } from '../../src/dataplane/dataplane.ts';
import { STEPS } from './script-path-steps.ts';
import { World } from './script-world.ts';

/** What a script has met, so that a script which meets nothing is noticed. */
export interface Coverage {
  readonly steps: Map<string, number>;
  readonly kinds: Set<number>;
  readonly drops: Map<DropReason, number>;
}

export function newCoverage(): Coverage {
  return { steps: new Map(), kinds: new Set(), drops: new Map() };
}

const TOTAL_ODDS = STEPS.reduce((sum, [odds]) => sum + odds, 0);
const COMPARE_STATE_EVERY = 20;

export function runScript(planes: readonly MemoryDataPlane[], seed: number, steps: number, coverage: Coverage): void {
  const world = new World(planes, seed);
  for (let step = 0; step < steps; step++) {
    const [, name, run] = stepAt(world.random.nextInt(0, TOTAL_ODDS - 1));
    coverage.steps.set(name, (coverage.steps.get(name) ?? 0) + 1);
    world.tell(`seed ${seed}, step ${step}: ${name}`);
    run(world);
    world.compareOutputs();
    if (step % COMPARE_STATE_EVERY === 0) world.compareState();
  }
  world.compareState();
  for (const kind of world.kindsSeen) coverage.kinds.add(kind);
  const drops = planes[0]?.drops();
  for (const reason of DROP_REASONS) {
    coverage.drops.set(reason, (coverage.drops.get(reason) ?? 0) + (drops?.[reason] ?? 0));
  }
}

function stepAt(dice: number): (typeof STEPS)[number] {
  let odds = 0;
  for (const step of STEPS) {
    odds += step[0];
    if (dice < odds) return step;
  }
  throw new Error('the odds do not add up');
}

/** The seeds to run: `count` of them from 1 on, WARREN_SCRIPT_SEEDS of them, or only the one in WARREN_SCRIPT_SEED. */
export function scriptSeeds(count: number): number[] {
  const only = process.env['WARREN_SCRIPT_SEED'];
  if (only !== undefined) return [Number(only)];
  const length = Number(process.env['WARREN_SCRIPT_SEEDS'] ?? count);
  return Array.from({ length }, (_, i) => i + 1);
}
