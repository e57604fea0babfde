// What IK and IKpsk2 share (Noise Protocol Framework, revision 34, §7.5): the responder's static key is known beforehand, and
// each DH goes straight into the chaining key. The messages themselves are in ik.ts and ikpsk2.ts.

import type { CryptoProvider, PublicKey } from '../crypto/provider.ts';
import { SymmetricState } from './symmetric-state.ts';

/** Initialize(): the protocol's name, the prologue, and the pre-message `<- s`. */
export function initializeIk(
  c: CryptoProvider,
  protocolName: Uint8Array,
  prologue: Uint8Array,
  responderStatic: PublicKey,
): SymmetricState {
  const noise = SymmetricState.initialize(c, protocolName);
  noise.mixHash(prologue);
  noise.mixHash(responderStatic);
  return noise;
}

/** Mixes a DH result that may have failed, and wipes it. False when it was all zeros. */
export function mixDh(c: CryptoProvider, noise: SymmetricState, secret: Uint8Array | null): boolean {
  if (secret === null) return false;
  noise.mixKey(secret);
  c.wipe(secret);
  return true;
}
