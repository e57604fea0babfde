// The one facade of a mesh node: the WireGuard engine, its peers kept as the netmap says, and how two nodes meet
// (docs/mesh.md). Sans-IO like the engine: the host calls `handleWake` when the plane wakes it, hands over what the controller
// said, and passes on what comes out of `MeshOutputs`.

import type { Instant, WallTime } from '../base/instant.ts';
import type { Endpoint } from '../base/ip.ts';
import type { RandomSource } from '../base/prng.ts';
import type { CryptoProvider } from '../crypto/provider.ts';
import type { DataPlane } from '../dataplane/dataplane.ts';
import type { Delta, Punch, PunchRequest, Snapshot } from '../protocol/control.ts';
import type { PeerState } from '../protocol/local-api.ts';
import type { NetmapNode, Network } from '../protocol/netmap.ts';
import type { Candidate, NodeId, PublicKeyText } from '../protocol/values.ts';
import type { Engine } from '../wireguard/engine.ts';
import type { DeltaResult, Netmap, NetmapChange, SavedNetmap } from './netmap.ts';

export interface Pong {
  readonly id: NodeId;
  readonly txid: number;
  /** From the frame that left (a session that had to be made first is not in it) to the answer. */
  readonly rttMs: number;
  /** Where the answer came from. */
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
  /** Where a peer sees us: a candidate of kind `observed`. */
  observed(seen: { readonly id: NodeId; readonly endpoint: Endpoint }): void;
}

export interface MeshEngineOptions {
  readonly plane: DataPlane;
  readonly crypto: CryptoProvider;
  readonly random: RandomSource;
  readonly wallClock: () => WallTime;
  readonly outputs: MeshOutputs;
  /** Default IDLE_TIMEOUT_MS; Infinity = never. */
  readonly idleTimeoutMs?: number;
  /** As the engine's. */
  readonly onLink?: (change: number, mtu: number) => void;
  readonly onBindFailed?: (errno: string) => void;
}

/** A session without real data for this long is closed. */
export const IDLE_TIMEOUT_MS = 300_000;

export interface MeshPeerStatus {
  readonly id: NodeId;
  readonly node: NetmapNode;
  readonly state: PeerState;
  /** Where its packets go and were answered from; null while nothing has answered. */
  readonly endpoint: Endpoint | null;
  /** All that would be tried: the netmap's and what punches told. */
  readonly candidates: readonly Candidate[];
  readonly lastHandshake: WallTime | null;
  readonly rxBytes: number;
  readonly txBytes: number;
  /** Why there is no session although one is wanted, for a person; null when nothing is wrong. */
  readonly reason: string | null;
}

export type PingResult =
  /** It leaves at once, or as soon as there is a session. An answer comes as `pong`, or never. */
  { readonly ok: true; readonly txid: number } | { readonly ok: false; readonly reason: string };

/** Bytes of the whole frame; sizes outside are refused. */
export const PING_BYTES_MIN = 8;
export const PING_BYTES_MAX = 1_500;

export declare class MeshEngine {
  constructor(options: MeshEngineOptions);
  /** For the control socket (`wg show`). Do not add or remove peers there. */
  readonly engine: Engine;
  readonly netmap: Netmap;

  /** 32 bytes, borrowed; null = none. Safe at any moment. */
  setIdentity(privateKey: Uint8Array | null, now: Instant): void;
  publicKey(): PublicKeyText | null;
  /** An errno name, or null when it worked. */
  setListenPort(port: number, now: Instant): string | null;
  listenPort(): number;
  setFwmark(fwmark: number, now: Instant): void;
  /** Opens the sockets; a failure goes to `onBindFailed`. */
  linkUp(now: Instant): void;
  linkDown(now: Instant): void;
  readonly running: boolean;

  /** What others may reach us at: sent with every punch. */
  setLocalCandidates(candidates: readonly Candidate[], now: Instant): void;

  /** Who we are, from `welcome`; before the first snapshot. */
  setSelf(self: NetmapNode, network: Network, now: Instant): readonly NetmapChange[];
  applySnapshot(snapshot: Snapshot, now: Instant): readonly NetmapChange[];
  /** `resync`: nothing was applied; tell the control client (`resync`). */
  applyDelta(delta: Delta, now: Instant): DeltaResult;
  /** The netmap that was on disk. */
  restore(saved: SavedNetmap, now: Instant): readonly NetmapChange[];
  /** Leaves the network: every peer is gone at once. */
  clear(now: Instant): void;

  handlePunch(punch: Punch, now: Instant): void;
  /** Handles one batch of what the plane has, then what is due. True when there is more: call again soon. */
  handleWake(now: Instant): boolean;
  /** NEVER while all is idle. The plane is told by itself; this is for simulations. */
  nextDeadline(): Instant;
  /** An address or the default route changed, or the machine woke up. */
  networkChanged(now: Instant): void;

  /** Ends the peer's session; the next packet begins another. False for an unknown id. */
  flushPeer(id: NodeId, now: Instant): boolean;
  /** `bytes`: of the frame, padded. */
  ping(id: NodeId, now: Instant, bytes?: number): PingResult;

  status(id: NodeId, now: Instant): MeshPeerStatus | null;
  statuses(now: Instant): IterableIterator<MeshPeerStatus>;

  /** Stops everything and zeroes all keys. The plane is closed by whoever made it. */
  close(now: Instant): void;
}
