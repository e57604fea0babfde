// What the parts of the mesh engine share: the engine below, what goes out, and our own candidates. No behaviour but the
// two helpers that each of them needs.

import { earliest, type Instant, NEVER } from '../base/instant.ts';
import type { Endpoint } from '../base/ip.ts';
import type { RandomSource } from '../base/prng.ts';
import type { DataPlane } from '../dataplane/dataplane.ts';
import type { TokenBucket } from '../path/token-bucket.ts';
import type { PunchRequest } from '../protocol/control.ts';
import type { Home, Reach } from '../protocol/reach.ts';
import type { Candidate, NodeId } from '../protocol/values.ts';
import type { Deadlines } from '../wireguard/deadlines.ts';
import type { Engine } from '../wireguard/engine.ts';
import type { MeshCounters } from './mesh-counters.ts';
import type { MeshPeer } from './mesh-peer.ts';
import type { UsableEndpoints } from './usable-endpoints.ts';

export interface Pong {
  readonly id: NodeId;
  readonly txid: number;
  /** From the frame that left (a session that had to be made first is not in it) to the answer. */
  readonly rttMs: number;
  /** What was asked: where the ping went, though another path may be the active one by now. */
  readonly endpoint: Endpoint;
  /** Where the peer saw us come from; null when it did not say. */
  readonly observed: Endpoint | null;
}

/** What the mesh gives rise to. Called within the calls of MeshEngine; must not call back into it, but for reading. */
export interface MeshOutputs {
  /** For the controller to pass on; lost when it is away. */
  punch(request: PunchRequest): void;
  pong(pong: Pong): void;
  /** Something in the statuses is different. May come often: remember it, and read them later. */
  changed(): void;
  /** Our home relay is another, or none: for the controller to tell the others (`reach.home`). */
  home?(home: Home | null): void;
  /** A STUN datagram from anybody, borrowed: answers to what the host asked by `sendStun`. */
  stun?(datagram: Uint8Array, source: Endpoint, receivedAt: Instant): void;
  /** Where a peer sees us, when that is news: a candidate of kind `observed`. */
  observed(seen: { readonly id: NodeId; readonly endpoint: Endpoint }): void;
}

export interface MeshContext {
  /** The node's part of the budget of probes; begins with the first. */
  readonly probeBudget: (now: Instant) => TokenBucket;
  readonly engine: Engine;
  readonly plane: DataPlane;
  readonly random: RandomSource;
  readonly outputs: MeshOutputs;
  readonly counters: MeshCounters;
  readonly deadlines: Deadlines<MeshPeer>;
  readonly usable: UsableEndpoints;
  /** The plane's clock, for what is told without a time. */
  readonly now: () => Instant;
  /** The tunnel's MTU. */
  deviceMtu: number;
  /** Ours. */
  localCandidates: readonly Candidate[];
  /** What is told with them, our home aside. */
  localReach: Reach | null;
  /** Our own, which is told too. */
  home: Home | null;
}

/** What a punch says of how we may be reached. */
export function reachOf({ localReach, home }: MeshContext): Reach | null {
  if (home === null) return localReach;
  return { mapping: 'unknown', udp: 'unknown', url: null, ...localReach, home };
}

/** To be called after any change of the peer's deadlines. */
export function reschedule(context: MeshContext, mesh: MeshPeer): void {
  const { meeting, paths } = mesh;
  context.deadlines.schedule(mesh, earliest(meeting?.repeatAt ?? NEVER, paths?.deadline ?? NEVER));
}

/** Uniform in 0 … 2^32 − 1. */
export function drawTxid(context: MeshContext): number {
  const bytes = new Uint8Array(4);
  context.random(bytes);
  return new DataView(bytes.buffer).getUint32(0);
}
