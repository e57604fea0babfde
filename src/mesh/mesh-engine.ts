// The one facade of a mesh node: the WireGuard engine, its peers kept as the netmap says (roster.ts), and how two nodes meet
// (meeting.ts, docs/mesh.md). Sans-IO like the engine: the host calls `handleWake` when the plane wakes it, hands over what
// the controller said, and passes on what comes out of `MeshOutputs`.

import { toBase64 } from '../base/bytes.ts';
import type { Instant, WallTime } from '../base/instant.ts';
import type { Endpoint } from '../base/ip.ts';
import type { RandomSource } from '../base/prng.ts';
import type { CryptoProvider } from '../crypto/provider.ts';
import { type DataPlane, RecordField } from '../dataplane/dataplane.ts';
import { nodeProbeBudget } from '../path/schedule.ts';
import type { TokenBucket } from '../path/token-bucket.ts';
import type { Delta, Punch, Snapshot } from '../protocol/control.ts';
import type { PeerState } from '../protocol/local-api.ts';
import type { NetmapNode, Network } from '../protocol/netmap.ts';
import type { Reach } from '../protocol/reach.ts';
import type { Candidate, NodeId, PublicKeyText } from '../protocol/values.ts';
import { Deadlines } from '../wireguard/deadlines.ts';
import { Engine } from '../wireguard/engine.ts';
import { type MeshParts, meshExtension } from './extension.ts';
import { PING_BYTES_MIN } from './frames.ts';
import { Meeting } from './meeting.ts';
import type { MeshContext, MeshOutputs } from './mesh-context.ts';
import { MeshCounters } from './mesh-counters.ts';
import type { MeshPeer } from './mesh-peer.ts';
import { type DeltaResult, Netmap, type NetmapChange, type SavedNetmap } from './netmap.ts';
import { Paths } from './paths.ts';
import { type PingResult, Pings } from './pings.ts';
import { Roster } from './roster.ts';
import { UsableEndpoints } from './usable-endpoints.ts';
import { whyNot } from './why-not.ts';

export type { MeshOutputs, Pong } from './mesh-context.ts';
export type { PingResult } from './pings.ts';

export interface MeshEngineOptions {
  readonly plane: DataPlane;
  readonly crypto: CryptoProvider;
  readonly random: RandomSource;
  readonly wallClock: () => WallTime;
  readonly outputs: MeshOutputs;
  /** Default IDLE_TIMEOUT_MS; Infinity = never. */
  readonly idleTimeoutMs?: number;
  /** What the plane holds; default PEERS_MAX. */
  readonly peersMax?: number;
  /** As the engine's. */
  readonly onLink?: (change: number, mtu: number) => void;
  readonly onBindFailed?: (errno: string) => void;
}

/** A session without real data for this long is closed. */
export const IDLE_TIMEOUT_MS = 300_000;
/** As many as both planes hold unless told otherwise. */
export const PEERS_MAX = 65_536;

export interface MeshPeerStatus {
  readonly id: NodeId;
  readonly node: NetmapNode;
  readonly state: PeerState;
  /** Where it was heard from last, and where its packets go; null while it was never heard. */
  readonly endpoint: Endpoint | null;
  /** What the netmap and punches tell of it; of those that are sound, all would be tried. */
  readonly candidates: readonly Candidate[];
  readonly lastHandshake: WallTime | null;
  readonly rxBytes: number;
  readonly txBytes: number;
  /** Why there is no session although one is wanted, for a person; null when nothing is wrong. */
  readonly reason: string | null;
}

export class MeshEngine {
  /** For the control socket (`wg show`). Peers are added and removed by the netmap alone. */
  readonly engine: Engine;
  readonly netmap = new Netmap();
  readonly counters = new MeshCounters();
  readonly #context: MeshContext;
  readonly #meeting: Meeting;
  readonly #paths: Paths;
  readonly #pings: Pings;
  readonly #roster: Roster;
  readonly #parts: MeshParts;
  readonly #crypto: CryptoProvider;
  #publicKey: PublicKeyText | null = null;

  constructor(options: MeshEngineOptions) {
    const { plane, crypto, random, wallClock, outputs } = options;
    this.#crypto = crypto;
    this.engine = new Engine({
      plane,
      crypto,
      random,
      wallClock,
      idleTimeoutMs: options.idleTimeoutMs ?? IDLE_TIMEOUT_MS,
      ...(options.onLink === undefined ? {} : { onLink: options.onLink }),
      ...(options.onBindFailed === undefined ? {} : { onBindFailed: options.onBindFailed }),
      extension: meshExtension(() => this.#parts),
    });
    this.#context = {
      engine: this.engine,
      plane,
      random,
      outputs,
      counters: this.counters,
      deadlines: new Deadlines<MeshPeer>(),
      usable: new UsableEndpoints(),
      probeBudget: lazyBudget(),
      localCandidates: [],
      localReach: null,
    };
    this.#paths = new Paths(this.#context, {
      relayed: () => [],
      begin: (mesh, peer, now) => this.#meeting.beginWide(mesh, peer, now),
      moved: () => {},
    });
    this.#meeting = new Meeting(this.#context, this.#paths);
    this.#pings = new Pings(this.#context, this.#paths);
    const parts = { meeting: this.#meeting, paths: this.#paths, pings: this.#pings };
    this.#roster = new Roster(this.#context, parts, options.peersMax ?? PEERS_MAX);
    this.#parts = { ...parts, context: this.#context, roster: this.#roster };
  }

  // — device —

  /** 32 bytes, borrowed; null = none. Safe at any moment. */
  setIdentity(privateKey: Uint8Array | null, now: Instant): void {
    this.#publicKey = privateKey === null ? null : publicKeyOf(this.#crypto, privateKey);
    this.engine.setPrivateKey(privateKey, now);
    this.#roster.identityChanged(now);
    this.engine.deadlineChanged();
  }

  publicKey(): PublicKeyText | null {
    return this.#publicKey;
  }

  /** An errno name, or null when it worked. */
  setListenPort(port: number, now: Instant): string | null {
    return this.engine.setListenPort(port, now);
  }

  /** The one in use once the link is up; 0 = any. */
  listenPort(): number {
    return this.engine.listenPort();
  }

  setFwmark(fwmark: number, now: Instant): void {
    this.engine.setFwmark(fwmark, now);
  }

  /** Opens the sockets; a failure goes to `onBindFailed`. */
  linkUp(now: Instant): void {
    this.engine.linkUp(now);
  }

  linkDown(now: Instant): void {
    this.engine.linkDown(now);
  }

  get running(): boolean {
    return this.engine.running;
  }

  /** What others may reach us at: sent with every punch. */
  setLocalCandidates(candidates: readonly Candidate[], now: Instant): void {
    const before = this.#context.localCandidates;
    this.#context.localCandidates = candidates;
    this.#context.usable.setOwn(candidates);
    const same =
      before.length === candidates.length && before.every(({ endpoint }, i) => endpoint === candidates[i]?.endpoint);
    if (same) return;
    this.#meeting.localCandidatesChanged(now);
  }

  /** What is told with them. */
  setLocalReach(reach: Reach | null): void {
    this.#context.localReach = reach;
  }

  // — the netmap —

  /** Who we are, from `welcome`; before the first snapshot. */
  setSelf(self: NetmapNode, network: Network, now: Instant): readonly NetmapChange[] {
    return this.#applied(this.netmap.setSelf(self, network), now);
  }

  applySnapshot(snapshot: Snapshot, now: Instant): readonly NetmapChange[] {
    return this.#applied(this.netmap.applySnapshot(snapshot), now);
  }

  /** `resync`: nothing was applied; tell the control client (`resync`). */
  applyDelta(delta: Delta, now: Instant): DeltaResult {
    const result = this.netmap.applyDelta(delta);
    if (result.kind === 'applied') this.#applied(result.changes, now);
    return result;
  }

  /** The netmap that was on disk. */
  restore(saved: SavedNetmap, now: Instant): readonly NetmapChange[] {
    return this.#applied(this.netmap.restore(saved), now);
  }

  /** Leaves the network: every peer is gone at once. */
  clear(now: Instant): readonly NetmapChange[] {
    return this.#applied(this.netmap.clear(), now);
  }

  #applied(changes: readonly NetmapChange[], now: Instant): readonly NetmapChange[] {
    this.#roster.apply(changes, now);
    this.engine.deadlineChanged();
    return changes;
  }

  // — what comes in —

  handlePunch(punch: Punch, now: Instant): void {
    const mesh = this.#roster.get(punch.from);
    if (mesh === undefined) this.#roster.park(punch, now);
    else this.#meeting.handlePunch(mesh, punch, now);
    this.engine.deadlineChanged();
  }

  /** From the tunnel's own socket, whose mapping it asks about. False when it could not be sent. */
  sendStun(to: Endpoint, datagram: Uint8Array): boolean {
    return this.engine.running && this.#context.plane.sendTo(to, datagram);
  }

  /** Handles one batch of what the plane has, then what is due. True when there is more: call again soon. */
  handleWake(now: Instant): boolean {
    return this.engine.handleWake(now);
  }

  /** NEVER while all is idle. The plane is told by itself; this is for simulations. */
  nextDeadline(): Instant {
    return this.engine.nextDeadline();
  }

  /**
   * An address or the default route changed, or the machine woke up. Every live session is shown where we are now and asked
   * for a sign of life; one that stays silent is made anew over all candidates, and so is every attempt at once.
   */
  networkChanged(now: Instant): void {
    for (const mesh of this.#roster.all()) {
      const { peer } = mesh;
      if (peer === null || peer.memory === null) continue;
      this.#context.plane.clearSource(peer.slot);
      if (peer.attempt !== null) this.#meeting.beginWide(mesh, peer, now);
      else if (peer.session !== null && this.#context.plane.canSend(peer.slot, now)) {
        this.#paths.networkChanged(mesh, now);
      }
    }
    this.engine.deadlineChanged();
  }

  // — what a person asks —

  /** Ends the peer's session; the next packet begins another. False for an unknown id. */
  flushPeer(id: NodeId, now: Instant): boolean {
    const mesh = this.#roster.get(id);
    if (mesh === undefined) return false;
    this.#pings.dropWaiting(mesh);
    if (mesh.peer !== null) this.engine.flush(mesh.peer, now);
    this.#context.outputs.changed();
    return true;
  }

  /** `bytes`: of the frame, padded (PING_BYTES_MIN … FRAME_BYTES_MAX). */
  ping(id: NodeId, now: Instant, bytes: number = PING_BYTES_MIN): PingResult {
    const mesh = this.#roster.get(id);
    if (mesh === undefined) return { ok: false, reason: 'there is no such peer' };
    if (!this.engine.running) return { ok: false, reason: 'the tunnel is down' };
    if (mesh.peer === null) return { ok: false, reason: whyNot(mesh, 0, now) ?? 'it cannot be a peer' };
    const result = this.#pings.ping(mesh, mesh.peer, bytes, now);
    this.engine.deadlineChanged();
    return result;
  }

  /** Pings that wait for a session or an answer; bounded (PINGS_IN_FLIGHT_MAX). */
  get pingsInFlight(): number {
    return this.#pings.inFlight;
  }

  status(id: NodeId, now: Instant): MeshPeerStatus | null {
    const mesh = this.#roster.get(id);
    return mesh === undefined ? null : this.#statusOf(mesh, now);
  }

  *statuses(now: Instant): IterableIterator<MeshPeerStatus> {
    for (const mesh of this.#roster.all()) yield this.#statusOf(mesh, now);
  }

  #statusOf(mesh: MeshPeer, now: Instant): MeshPeerStatus {
    const { node, peer } = mesh;
    const told = mesh.meeting?.punched.length ?? 0;
    const candidates = told > 0 ? this.#meeting.candidatesOf(mesh) : node.candidates;
    // Only somebody who waits wants to know how many of them are of any use.
    const tried = peer === null || peer.attempt === null ? 0 : this.#meeting.candidatesOf(mesh).length;
    return {
      id: node.id,
      node,
      state: peer?.state(now).kind ?? 'idle',
      endpoint: mesh.proven ? (peer?.endpoint ?? null) : null,
      candidates,
      lastHandshake: peer?.lastHandshake ?? null,
      rxBytes: peer?.recorded(RecordField.rxBytes) ?? 0,
      txBytes: peer?.recorded(RecordField.txBytes) ?? 0,
      reason: whyNot(mesh, tried, now),
    };
  }

  /** Stops everything and zeroes all keys. The plane is closed by whoever made it. */
  close(now: Instant): void {
    this.#roster.apply(this.netmap.clear(), now);
    this.engine.close(now);
    this.#publicKey = null;
  }
}

function lazyBudget(): (now: Instant) => TokenBucket {
  let budget: TokenBucket | null = null;
  return (now) => {
    budget ??= nodeProbeBudget(now);
    return budget;
  };
}

function publicKeyOf(crypto: CryptoProvider, privateKey: Uint8Array): PublicKeyText | null {
  if (privateKey.every((byte) => byte === 0)) return null;
  const key = crypto.importPrivateKey(privateKey);
  const text = toBase64(key.publicKey) as PublicKeyText;
  key.wipe();
  return text;
}
