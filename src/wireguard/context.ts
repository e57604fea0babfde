// What the parts of the engine share: the things passed in from outside and the device's own state. No behaviour but
// the two helpers that every part needs: setting a peer's deadlines and drawing jitter.

import type { Instant, WallTime } from '../base/instant.ts';
import type { RandomSource } from '../base/prng.ts';
import type { CryptoProvider, DhKey } from '../crypto/provider.ts';
import type { DataPlane } from '../dataplane/dataplane.ts';
import type { EngineCounters } from './counters.ts';
import type { Deadlines } from './deadlines.ts';
import type { EngineExtension } from './extension.ts';
import { type Peer, PeerTimers } from './peer.ts';

/** Our own key; replaced whole when it changes. */
export interface Identity {
  readonly key: DhKey;
  readonly publicKeyHex: string;
}

export interface EngineContext {
  readonly plane: DataPlane;
  readonly crypto: CryptoProvider;
  readonly random: RandomSource;
  readonly wallClock: () => WallTime;
  readonly deadlines: Deadlines<PeerTimers>;
  readonly counters: EngineCounters;
  /** Session without real data for this long is closed; Infinity = never. */
  readonly idleTimeoutMs: number;
  /** The mesh's part; null: a stock WireGuard. */
  readonly extension: EngineExtension | null;
  identity: Identity | null;
  /** Whether the link is up and the sockets are open: nothing begins while it is not. */
  running: boolean;
}

export function timersOf(peer: Peer): PeerTimers {
  peer.timers ??= new PeerTimers(peer);
  return peer.timers;
}

/** Puts the peer where its earliest deadline belongs. To be called after any change of its timers. */
export function reschedule(context: EngineContext, peer: Peer): void {
  if (peer.timers !== null) context.deadlines.schedule(peer.timers, peer.timers.earliest());
}

/** Uniform in 0 … maxMs. */
export function jitterMs(context: EngineContext, maxMs: number): number {
  const bytes = new Uint8Array(2);
  context.random(bytes);
  return ((((bytes[0] as number) << 8) | (bytes[1] as number)) / 0xffff) * maxMs;
}

export function startOf(...instants: readonly Instant[]): Instant {
  return Math.max(...instants) as Instant;
}
