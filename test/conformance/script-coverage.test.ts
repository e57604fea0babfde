// The seeded scripts, over the reference plane alone: they must meet every rule that a memory plane can meet, and the same
// seed must give the same run.

import { describe, expect, it } from 'vitest';
import { nodeProvider } from '../../src/crypto/node.ts';
import { DescriptorKind, DROP_REASONS, type DropReason } from '../../src/dataplane/dataplane.ts';
import { createReferencePlane } from '../../src/dataplane/reference/plane.ts';
import { type Coverage, newCoverage, runScript } from './script.ts';
import { STEPS } from './script-path-steps.ts';

const STEPS_EACH = 2000;

/** What only a kernel, a filter or a race can cause. */
const OUT_OF_REACH: readonly DropReason[] = [
  'outCounterExhausted',
  'outSocketFull',
  'outFiltered',
  'inFiltered',
  'tunWriteFailed',
];

function run(seed: number, coverage: Coverage): void {
  const planes = [0, 1].map(() => createReferencePlane({ crypto: nodeProvider, slabSlots: 64 }));
  try {
    runScript(planes, seed, STEPS_EACH, coverage);
  } finally {
    for (const plane of planes) plane.close();
  }
}

describe('seeded scripts', () => {
  it('meet every kind of step, every event and every reason to drop', () => {
    const coverage = newCoverage();
    for (let seed = 1; seed <= 10; seed++) run(seed, coverage);
    expect(STEPS.map(([, name]) => name).filter((name) => !coverage.steps.has(name))).toEqual([]);
    const never = DROP_REASONS.filter((reason) => (coverage.drops.get(reason) ?? 0) === 0);
    expect(never.sort()).toEqual([...OUT_OF_REACH].sort());
    const kinds = Object.values(DescriptorKind).filter((kind) => !coverage.kinds.has(kind));
    expect(kinds).toEqual([DescriptorKind.sendFailed]);
  });

  it('are the same for the same seed', () => {
    const coverages = [newCoverage(), newCoverage(), newCoverage()];
    for (const [i, seed] of [5, 5, 6].entries()) run(seed, coverages[i] as Coverage);
    expect(coverages[1]).toEqual(coverages[0]);
    expect(coverages[2]).not.toEqual(coverages[0]);
  });
});
