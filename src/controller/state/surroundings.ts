// What decisions need to know beside the state: time, chance, limits, and who is connected. Passed in, so that a decision
// is a function of its arguments.

import type { WallTime } from '../../base/instant.ts';
import type { RandomSource } from '../../base/prng.ts';
import type { NodeId, PublicKeyText } from '../../protocol/values.ts';
import type { CoreLimits } from './options.ts';
import type { Sha256 } from './secrets.ts';

export interface Surroundings {
  readonly wall: WallTime;
  readonly random: RandomSource;
  readonly sha256: Sha256;
  readonly limits: CoreLimits;
  /** Whether the node has a connection, or one of this batch will have brought it. */
  isConnected(node: NodeId): boolean;
  /** Whether a node with this key was removed not long ago. */
  wasRemoved(key: PublicKeyText): boolean;
}
