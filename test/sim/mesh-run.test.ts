// A simulated mesh is a function of its seed, holds, and meets what it is there for. `npm run sim:mesh` runs hundreds.

import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { nobleProvider } from '../../src/crypto/noble.ts';
import { nodeProvider } from '../../src/crypto/node.ts';
import type { CryptoProvider } from '../../src/crypto/provider.ts';
import { createReferencePlane } from '../../src/dataplane/reference/plane.ts';
import { type MeshRunResult, simulateMesh } from '../../src/sim/mesh/mesh-run.ts';
import { addAll, type Reached } from '../../src/sim/mesh/reached.ts';

function run(seed: number, minutes: number, crypto: CryptoProvider = nodeProvider): MeshRunResult {
  return simulateMesh({
    seed,
    minutes,
    nodes: null,
    crypto,
    sha256: (data) => new Uint8Array(createHash('sha256').update(data).digest()),
    makePlane: () => createReferencePlane({ crypto, slabSlots: 256 }),
  });
}

describe('a simulated mesh', () => {
  test('is the same byte for byte with the same seed, whoever does the cryptography, and another with another', () => {
    const first = run(4, 1);
    expect(run(4, 1)).toEqual(first);
    expect(run(4, 1, nobleProvider)).toEqual(first);
    expect(run(3, 1).digest).not.toBe(first.digest);
  });

  test('holds, and meets what it is there for', { timeout: 120_000 }, () => {
    const reached: Reached = {};
    for (let seed = 1; seed <= 40; seed++) {
      const { violations, reached: met } = run(seed, 4);
      expect(violations, `npm run sim:mesh -- --seed ${seed} --minutes 4 --story`).toEqual([]);
      addAll(reached, met);
    }
    const missed = WANTED.filter((what) => (reached[what] ?? 0) === 0);
    expect(missed).toEqual([]);
  });
});

/** Without these a green run says little. */
const WANTED = [
  'controller.registrationsJoined',
  'controller.registrationsRenewed',
  'controller.registrationsReturned',
  'controller.registrationsPending',
  'controller.errors.unregistered',
  'controller.errors.authKeyInvalid',
  'controller.errors.authKeyExpired',
  'controller.errors.authKeyUsed',
  'controller.errors.authKeyRevoked',
  'controller.errors.nodeExpired',
  'controller.errors.nodeDisabled',
  'controller.errors.nodeRemoved',
  'controller.errors.addressesExhausted',
  'controller.errors.replaced',
  'controller.errors.goingAway',
  'controller.errors.internal',
  'controller.batchesFailed',
  'controller.resumes',
  'controller.snapshotsSent',
  'controller.deltasSent',
  'controller.punchesPassed',
  'controller.punchesDropped',
  'mesh.initiationsElsewhere',
  'mesh.punchesAnswered',
  'mesh.indicationsSent',
  'mesh.pongsMatched',
  'mesh.probesFailed',
  'store.lost',
  'store.untold',
  'client.keysSwitched',
];
