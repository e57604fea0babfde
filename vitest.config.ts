// Two projects. `unit` is everything that needs no network of its own and may run in parallel; `interop` makes network
// namespaces of their own, drives other WireGuards and waits for real timers, so it has long limits and two files at a
// time: the rekeying that takes two minutes passes beside the others.

import { defineConfig } from 'vitest/config';

const UNIT = ['unit', 'vectors', 'property', 'conformance', 'sim'];

export default defineConfig({
  test: {
    passWithNoTests: false,
    allowOnly: false,
    restoreMocks: true,
    projects: [
      {
        test: {
          name: 'unit',
          include: [...UNIT.map((folder) => `test/${folder}/**/*.test.ts`), 'scripts/test/**/*.test.mjs'],
          // Processes, not threads: the addon is loaded as a user's program loads it, and a crash names its file.
          pool: 'forks',
          testTimeout: 30_000,
          hookTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'interop',
          include: ['test/interop/**/*.test.ts'],
          pool: 'forks',
          maxWorkers: 2,
          testTimeout: 300_000,
          hookTimeout: 120_000,
          teardownTimeout: 60_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
