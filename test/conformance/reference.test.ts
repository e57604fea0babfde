// The reference plane keeps the rules of docs/dataplane.md.

import { nodeProvider } from '../../src/crypto/node.ts';
import { createReferencePlane } from '../../src/dataplane/reference/plane.ts';
import { dataPlaneSuite } from './dataplane-suite.ts';

dataPlaneSuite('reference', {
  setup: (options) => createReferencePlane({ crypto: nodeProvider, ...options }),
  teardown: (plane) => plane.close(),
});
