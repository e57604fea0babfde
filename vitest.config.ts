// Five projects. `unit` is everything that needs no network of its own and may run in parallel. `store` are the databases:
// it starts a PostgreSQL server, which refuses to be root, and so runs outside of user namespaces. `controller` runs the
// controller's process, built, on loopback, and kills it often. `interop` makes network
// namespaces, drives other WireGuards and waits for real timers: long limits, two files at a time, so that the rekeying
// that takes two minutes passes beside the others. `timing` are those of them that measure, one by one and after all else.

import { defineConfig } from 'vitest/config';

/** Files of test/interop whose verdict is a rate, a latency or a count of wake-ups. */
const TIMING = ['load', 'scale', 'stall'].map((name) => `test/interop/${name}.test.ts`);

const UNIT = ['unit', 'vectors', 'property', 'conformance', 'sim'];

const NAMESPACES = { pool: 'forks', testTimeout: 300_000, hookTimeout: 120_000, teardownTimeout: 60_000 } as const;

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
          name: 'store',
          include: ['test/store/**/*.test.ts'],
          pool: 'forks',
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'controller',
          include: ['test/controller/**/*.test.ts'],
          pool: 'forks',
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'interop',
          include: ['test/interop/**/*.test.ts', 'test/integration/**/*.test.ts'],
          exclude: TIMING,
          ...NAMESPACES,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'timing',
          include: TIMING,
          ...NAMESPACES,
          fileParallelism: false,
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
