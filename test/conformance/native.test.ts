// The native pipeline, in memory, keeps the rules of docs/dataplane.md. Fails with the loader's advice when the addon is
// not built (npm run build:native).

import { createMemoryNativePlane } from '../../src/dataplane/native/memory-plane.ts';
import { dataPlaneSuite } from './dataplane-suite.ts';

dataPlaneSuite('native', {
  setup: (options) => createMemoryNativePlane(options),
  teardown: (plane) => plane.close(),
});
