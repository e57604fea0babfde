// The interop tests by themselves: `npx vitest run --config test/interop/vitest.config.ts`. Two files run at a time, so
// that the two-minute rekey test passes beside the others.

import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ['*.test.ts'],
    testTimeout: 20_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
  },
});
