// The one facade of a mesh node: the WireGuard engine, its peers kept as the netmap says (roster.ts), and how two nodes meet
// (meeting.ts, docs/mesh.md). Sans-IO like the engine: the host calls `handleWake` when the plane wakes it, hands over what
// the controller said, and passes on what comes out of `MeshOutputs`.

import { toBase64 } from '../base/bytes.ts';
import type { Instant, WallTime } from '../base/instant.ts';
import type { Endpoint } from '../base/ip.ts';
import type { RandomSource } from '../base/prng.ts';
import type { CryptoProvider } from '../crypto/provider.ts';
import { type DataPlane, LinkChange } from '../dataplane/dataplane.ts';
import { nodeProbeBudget } from '../path/schedule.ts';
import type { TokenBucket } from '../path/token-bucket.ts';
import type { Delta, Punch, Snapshot } from '../protocol/control.ts';
import type { NetmapNode, Network } from '../protocol/netmap.ts';
import type { Home, Reach } from '../protocol/reach.ts';
import type { Candidate, NodeId, PublicKeyText } from '../protocol/values.ts';
import { Deadlines } from '../wireguard/deadlines.ts';
import { Engine } from '../wireguard/engine.ts';
import type { StampMemory } from '../wireguard/tai64n.ts';
import { meshExtension } from './extension.ts';
import { PING_BYTES_MIN } from './frames.ts';
import type { Meeting } from './meeting.ts';
import type { MeshContext, MeshOutputs } from './mesh-context.ts';
import { MeshCounters } from './mesh-counters.ts';
import type { MeshPeer } from './mesh-peer.ts';
import { type DeltaResult, Netmap, type NetmapChange, type SavedNetmap } from './netmap.ts';
import { type MeshParts, makeParts } from './parts.ts';
import { type OwnTroubles, type PathReport, pathReport } from './path-report.ts';
import type { Paths } from './paths.ts';
import type { PingResult, Pings } from './pings.ts';
import type { Relays } from './relays.ts';
import type { Roster } from './roster.ts';
import { type MeshPeerStatus, type MeshRelayStatus, peerStatus, relayStatus } from './status.ts';
import { UsableEndpoints } from './usable-endpoints.ts';
import { whyNot } from './why-not.ts';

export type { MeshOutputs, Pong } from './mesh-context.ts';
export type { CandidateReport, OwnTroubles, PathReport } from './path-report.ts';
export type { PingResult } from './pings.ts';
export type { MeshPeerStatus, MeshRelayStatus } from './status.ts';

export interface MeshEngineOptions {
  readonly plane: DataPlane;
  readonly crypto: CryptoProvider;
  readonly random: RandomSource;
  readonly wallClock: () => WallTime;
  readonly outputs: MeshOutputs;
  /** Default IDLE_TIMEOUT_MS; Infinity = never. */
  readonly idleTimeoutMs?: number;
  /** As the engine's. */
  readonly stamps?: StampMemory;
  /** Of the tunnel when it is made; default MTU_DEFAULT. Changes are the plane's to tell. */
  readonly mtu?: number;
  /** What the plane holds; default PEERS_MAX. */
  readonly peersMax?: number;
  /** As the engine's. */
  readonly onLink?: (change: number, mtu: number) => void;
  readonly onBindFailed?: (errno: string) => void;
}

/** A session without real data for this long is closed. */
export const IDLE_TIMEOUT_MS = 300_000;
/** 1,500 less 80 for IPv6, UDP and WireGuard: what both planes begin with. */
export const MTU_DEFAULT = 1_420;
/** As many as both planes hold unless told otherwise. */
export const PEERS_MAX = 65_536;

const NO_TROUBLES: OwnTroubles = { lockedOut: false, clockOff: false };

export class MeshEngine {
  /** For the control socket (`wg show`). Peers are added and removed by the netmap alone. */
  readonly engine: Engine;
  readonly netmap = new Netmap();
  readonly counters = new MeshCounters();
  readonly #context: MeshContext;
  readonly #meeting: Meeting;
  readonly #paths: Paths;
  readonly #pings: Pings;
  readonly #relays: Relays;
  readonly #roster: Roster;
  readonly #parts: MeshParts;
  readonly #wallClock: () => WallTime;
  readonly #crypto: CryptoProvider;
  #publicKey: PublicKeyText | null = null;

  constructor(options: MeshEngineOptions) {
    const { plane, crypto, random, wallClock, outputs } = options;
    this.#crypto = crypto;
    this.#wallClock = wallClock;
    this.engine = new Engine({
      plane,
      crypto,
      random,
      wallClock,
      idleTimeoutMs: options.idleTimeoutMs ?? IDLE_TIMEOUT_MS,
      ...(options.stamps === undefined ? {} : { stamps: options.stamps }),
      onLink: (change, mtu) => {
        if (change === LinkChange.up) this.#linkIsUp(this.#context.now());
        else if (change === LinkChange.down) this.#relays.linkDown(this.#context.now());
        else if (change === LinkChange.mtu) this.#mtuChanged(mtu);
        options.onLink?.(change, mtu);
      },
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
      deviceMtu: options.mtu ?? MTU_DEFAULT,
      localCandidates: [],
      localReach: null,
      home: null,
      now: () => plane.now(),
    };
    this.#parts = makeParts(this.#context, options.peersMax ?? PEERS_MAX);
    this.#meeting = this.#parts.meeting;
    this.#paths = this.#parts.paths;
    this.#pings = this.#parts.pings;
    this.#relays = this.#parts.relays;
    this.#roster = this.#parts.roster;
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
    this.#linkIsUp(now);
  }

  #mtuChanged(mtu: number): void {
    this.#context.deviceMtu = mtu;
    for (const mesh of this.#roster.all()) if (mesh.paths !== null) this.#paths.tooBig(mesh, this.#context.now());
  }

  #linkIsUp(now: Instant): void {
    if (this.engine.running) this.#relays.linkUp(now);
    this.engine.deadlineChanged();
  }

  linkDown(now: Instant): void {
    this.#relays.linkDown(now);
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

  /** What is told with them; our home is added by itself. */
  setLocalReach(reach: Reach | null): void {
    this.#context.localReach = reach;
  }

  /** Where we are reached by relay, as the controller is to be told; changes come as `MeshOutputs.home`. */
  get home(): Home | null {
    return this.#relays.home;
  }

  /**
   * The relay is to be reached at `endpoint`, a bridge of the host's to its WebSocket (loopback is allowed); null: at its candidates again.
   * A session that still works by UDP goes on as it is until it falls silent. False when there is no such relay.
   */
  setRelayOverride(id: NodeId, endpoint: Endpoint | null, now: Instant): boolean {
    const mesh = this.#roster.get(id);
    if (mesh === undefined || !mesh.isRelay) return false;
    const before = mesh.override;
    if (before === endpoint) return true;
    mesh.override = endpoint;
    this.#paths.told(mesh, now);
    if (mesh.paths?.live === true) {
      if (before !== null) this.#paths.forget(mesh, before, now);
      this.#paths.check(mesh, now);
    } else {
      mesh.proven = false;
      if (mesh.peer !== null) this.engine.flush(mesh.peer, now);
      this.#meeting.guessEndpoint(mesh, now);
      this.#relays.reachable(mesh, now);
    }
    this.engine.deadlineChanged();
    return true;
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
    if (!punch.reply) this.#relays.lookedFor(now);
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
    this.#relays.networkChanged(now);
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

  /** Peers whose paths are held in memory: those with an attempt or a session, and IDLE_PATHS_MAX at most beside them. */
  get pathsHeld(): number {
    let held = 0;
    for (const { paths } of this.#roster.all()) if (paths !== null) held++;
    return held;
  }

  status(id: NodeId, now: Instant): MeshPeerStatus | null {
    const mesh = this.#roster.get(id);
    return mesh === undefined ? null : peerStatus(this.#parts, mesh, now);
  }

  /** The peers; relays are none. */
  *statuses(now: Instant): IterableIterator<MeshPeerStatus> {
    for (const mesh of this.#roster.all()) if (!mesh.isRelay) yield peerStatus(this.#parts, mesh, now);
  }

  /** Why the peer is reached the way it is (`warren why`); null for an unknown id, or a relay's. */
  pathReport(id: NodeId, now: Instant, troubles: OwnTroubles = NO_TROUBLES): PathReport | null {
    const mesh = this.#roster.get(id);
    if (mesh === undefined || mesh.isRelay) return null;
    const nameOf = (node: NodeId): string | null => this.netmap.node(node)?.name ?? null;
    return pathReport(this.#parts, mesh, { nameOf, wallClock: this.#wallClock, troubles }, now);
  }

  *relayStatuses(now: Instant): IterableIterator<MeshRelayStatus> {
    for (const mesh of this.#roster.all()) if (mesh.isRelay) yield relayStatus(this.#parts, mesh, now);
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
