// The native plane keeps the rules of docs/dataplane.md: the very pipeline of the live plane, in memory.

import { createMemoryNativePlane } from '../../src/dataplane/native/memory-plane.ts';
import { dataPlaneSuite } from './dataplane-suite.ts';

dataPlaneSuite('native', {
  setup: (options) => createMemoryNativePlane(options),
  teardown: (plane) => plane.close(),
});
