// Seeded scripts on both planes in step: bytes out, descriptors, records, drops and totals must be the same. A failure
// names its seed; WARREN_SCRIPT_SEED=<seed> runs that one alone.

import { describe, expect, it } from 'vitest';
import { nodeProvider } from '../../src/crypto/node.ts';
import { createMemoryNativePlane } from '../../src/dataplane/native/memory-plane.ts';
import { createReferencePlane } from '../../src/dataplane/reference/plane.ts';
import { newCoverage, runScript, scriptSeeds } from './script.ts';

const STEPS_EACH = 3000;

describe('the native plane does what the reference plane does', () => {
  it.each(scriptSeeds(24))('seed %i', (seed) => {
    // Even seeds have a small slab, so that it is often full.
    const slabSlots = seed % 2 === 0 ? 32 : 1024;
    const planes = [createReferencePlane({ crypto: nodeProvider, slabSlots }), createMemoryNativePlane({ slabSlots })];
    const coverage = newCoverage();
    try {
      runScript(planes, seed, STEPS_EACH, coverage);
    } finally {
      for (const plane of planes) plane.close();
    }
    const drops = [...coverage.drops.values()].reduce((sum, count) => sum + count, 0);
    expect(drops).toBeGreaterThan(0);
  });
});
