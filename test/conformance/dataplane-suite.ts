// The conformance suite: every rule of docs/dataplane.md as a named behaviour of an in-memory plane. The same suite runs
// over the reference plane and the native one; scripts.test.ts compares the two step by step.

import { afterEach, describe } from 'vitest';
import type { MemoryDataPlane } from '../../src/dataplane/dataplane.ts';
import { controlRules } from './control-rules.ts';
import { inboundRules } from './inbound-rules.ts';
import { keypairRules } from './keypair-rules.ts';
import { Lab, type PlaneHarness, type PlaneOptions } from './lab.ts';
import { outboundRules } from './outbound-rules.ts';
import { pathMtuRules } from './path-mtu-rules.ts';
import { relayRules } from './relay-rules.ts';
import { relayedRules } from './relayed-rules.ts';
import { roamingRules } from './roaming-rules.ts';
import { stagingRules } from './staging-rules.ts';

/** `setup` makes a fresh plane for each behaviour, `teardown` ends it. */
export function dataPlaneSuite(name: string, harness: PlaneHarness): void {
  describe(`the ${name} data plane`, () => {
    const planes: MemoryDataPlane[] = [];
    const open = (options: PlaneOptions = {}): Lab => {
      const plane = harness.setup(options);
      planes.push(plane);
      return new Lab(plane);
    };
    afterEach(() => {
      for (const plane of planes.splice(0)) harness.teardown(plane);
    });
    outboundRules(open);
    stagingRules(open);
    inboundRules(open);
    roamingRules(open);
    keypairRules(open);
    controlRules(open);
    relayedRules(open);
    relayRules(open);
    pathMtuRules(open);
  });
}
