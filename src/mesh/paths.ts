// The paths of the mesh's peers: joins the machine of one peer (src/path) to its engine peer, its record in the netmap and the
// plane. Made when a peer's first attempt or session needs it; of peers that are idle again some are kept, for whoever asks why.

import type { Instant } from '../base/instant.ts';
import { type Endpoint, formatAddress, formatEndpoint } from '../base/ip.ts';
import { isRelayed } from '../base/relayed.ts';
import { Notify, RecordField } from '../dataplane/dataplane.ts';
import type { PathOutputs } from '../path/outputs.ts';
import { type Answer, PeerPaths } from '../path/peer-paths.ts';
import type { RemoteOrigin } from '../path/remote.ts';
import { ProbeBudget } from '../path/schedule.ts';
import type { MessageSource } from '../wireguard/message-source.ts';
import type { Peer } from '../wireguard/peer.ts';
import { encodePing, PING_BYTES_MIN } from './frames.ts';
import { drawTxid, type MeshContext, reschedule } from './mesh-context.ts';
import type { MeshPeer } from './mesh-peer.ts';

/** Peers without a session whose paths are remembered; of more the one that has been idle for longest is forgotten. */
export const IDLE_PATHS_MAX = 256;

export interface PathsOptions {
  /** Where the peer may be reached by relay now. */
  readonly relayed: (mesh: MeshPeer, wanted: boolean, now: Instant) => readonly Endpoint[];
  /** The session is lost at the other end: a new one is wanted, wherever the peer is. */
  readonly begin: (mesh: MeshPeer, peer: Peer, now: Instant) => void;
  /** The peer's packets go there from now on. */
  readonly moved: (mesh: MeshPeer, endpoint: Endpoint, now: Instant) => void;
  /** Its active path has answered, is being asked because it is silent, and did not answer. */
  readonly answered: (mesh: MeshPeer, now: Instant) => void;
  readonly doubted: (mesh: MeshPeer, endpoint: Endpoint, now: Instant) => void;
  /** An initiation goes there. */
  readonly initiated: (endpoint: Endpoint, now: Instant) => void;
  readonly lost: (mesh: MeshPeer, now: Instant) => void;
}

export class Paths {
  readonly #context: MeshContext;
  readonly #options: PathsOptions;
  /** In the order in which they became idle. */
  readonly #idle = new Set<MeshPeer>();

  constructor(context: MeshContext, options: PathsOptions) {
    this.#context = context;
    this.#options = options;
  }

  get idleKept(): number {
    return this.#idle.size;
  }

  // — where the peer may be —

  originsOf(mesh: MeshPeer, now: Instant): RemoteOrigin[] {
    const { usable } = this.#context;
    if (mesh.override !== null) return [{ endpoint: mesh.override, kind: 'host', sameLink: false }];
    const wanted = mesh.peer !== null && (mesh.peer.attempt !== null || mesh.peer.session !== null);
    const origins: RemoteOrigin[] = [];
    for (const { kind, endpoint } of usable.choose(mesh.meeting?.punched ?? [], mesh.node.candidates)) {
      origins.push({ endpoint, kind, sameLink: usable.isSameLink(endpoint) });
    }
    for (const endpoint of this.#options.relayed(mesh, wanted, now)) {
      origins.push({ endpoint, kind: 'relay', sameLink: false });
    }
    return origins;
  }

  /** Where an initiation goes beside the peer's endpoint: all that is told, and where it was found without being told. */
  targetsOf(mesh: MeshPeer, peer: Peer, now: Instant): Endpoint[] {
    const targets = new Set<Endpoint>();
    for (const { endpoint } of this.originsOf(mesh, now)) targets.add(endpoint);
    for (const remote of mesh.paths?.set.all() ?? []) {
      if (remote.rttMs !== null && !remote.told && mesh.override === null) targets.add(remote.endpoint);
    }
    if (peer.endpoint !== null) targets.delete(peer.endpoint);
    return [...targets];
  }

  /** Candidates, punches, relays or our own addresses are others. */
  told(mesh: MeshPeer, now: Instant): void {
    if (mesh.paths === null) return;
    mesh.paths.tell(this.originsOf(mesh, now), now);
    reschedule(this.#context, mesh);
  }

  /** The peer is looking for us from these. */
  news(mesh: MeshPeer, endpoints: readonly Endpoint[], now: Instant): void {
    mesh.paths?.news(endpoints, now);
    reschedule(this.#context, mesh);
  }

  /** This relayed endpoint leads nowhere any more. */
  forget(mesh: MeshPeer, endpoint: Endpoint, now: Instant): void {
    mesh.paths?.forget(endpoint, now);
    reschedule(this.#context, mesh);
  }

  // — attempts and sessions —

  /** An initiation of an attempt has gone out; `targets`: beside the endpoint. */
  initiated(mesh: MeshPeer, peer: Peer, targets: readonly Endpoint[], now: Instant): void {
    const all = peer.endpoint === null ? targets : [...targets, peer.endpoint];
    mesh.paths?.initiated(all, now);
    for (const endpoint of all) if (isRelayed(endpoint)) this.#options.initiated(endpoint, now);
  }

  /** An attempt has begun. */
  attempted(mesh: MeshPeer, peer: Peer, now: Instant): void {
    this.#idle.delete(mesh);
    const known = mesh.paths !== null;
    this.#of(mesh, peer, now);
    // An idle peer is told nothing.
    if (known) this.told(mesh, now);
  }

  handshakeFrom(mesh: MeshPeer, peer: Peer, source: Endpoint, now: Instant): void {
    const paths = this.#of(mesh, peer, now);
    const before = paths.active;
    paths.handshakeFrom(this.#originAt(source), now);
    // The engine may hold a guess of ours although the path is the same one.
    if (paths.active !== null && (before === paths.active || peer.endpoint === null)) {
      this.#use(mesh, peer, paths.active.endpoint, now);
    }
    reschedule(this.#context, mesh);
  }

  sessionWorks(mesh: MeshPeer, peer: Peer, now: Instant): void {
    this.#idle.delete(mesh);
    this.#of(mesh, peer, now).sessionWorks(now);
    reschedule(this.#context, mesh);
  }

  /** Its attempt or session is another, or none. */
  peerChanged(mesh: MeshPeer, peer: Peer): void {
    const { paths } = mesh;
    if (paths === null) return;
    if (peer.session === null) paths.sessionOver();
    if (peer.session !== null || peer.attempt !== null) this.#idle.delete(mesh);
    else this.#keepIdle(mesh);
    reschedule(this.#context, mesh);
  }

  #keepIdle(mesh: MeshPeer): void {
    this.#idle.delete(mesh);
    this.#idle.add(mesh);
    if (this.#idle.size <= IDLE_PATHS_MAX) return;
    const oldest = this.#idle.values().next();
    if (oldest.done) return;
    this.#idle.delete(oldest.value);
    oldest.value.paths = null;
  }

  removed(mesh: MeshPeer): void {
    this.#idle.delete(mesh);
    mesh.paths = null;
  }

  // — packets —

  packetFrom(mesh: MeshPeer, source: Endpoint, now: Instant): void {
    mesh.paths?.heardFrom(this.#originAt(source), now);
    reschedule(this.#context, mesh);
  }

  pingedFrom(mesh: MeshPeer, source: Endpoint, now: Instant): void {
    mesh.paths?.pingedFrom(this.#originAt(source), now);
    reschedule(this.#context, mesh);
  }

  /** Null: none of our probes. */
  pong(mesh: MeshPeer, txid: number, observed: Endpoint | null, receivedAt: Instant): Answer | null {
    const answer = mesh.paths?.pong(txid, receivedAt, observed) ?? null;
    if (answer === null) return null;
    if (answer.remote !== null && answer.remote === mesh.paths?.active) this.#options.answered(mesh, receivedAt);
    reschedule(this.#context, mesh);
    return answer;
  }

  /** A person's ping to `endpoint` was answered. */
  answered(mesh: MeshPeer, endpoint: Endpoint, rttMs: number, receivedAt: Instant): void {
    mesh.paths?.answered(endpoint, rttMs, receivedAt);
    reschedule(this.#context, mesh);
  }

  answerAwaited(mesh: MeshPeer, now: Instant): void {
    mesh.paths?.dataWaits(now);
    reschedule(this.#context, mesh);
  }

  /** A ping of a person has just left by the active path. */
  asked(mesh: MeshPeer, now: Instant): void {
    mesh.paths?.asked(now);
    reschedule(this.#context, mesh);
  }

  /** There is reason to ask the active path, though no data waits. */
  check(mesh: MeshPeer, now: Instant): void {
    mesh.paths?.check(now);
    reschedule(this.#context, mesh);
  }

  /** Our own network is another. */
  networkChanged(mesh: MeshPeer, now: Instant): void {
    mesh.paths?.tell(this.originsOf(mesh, now), now);
    mesh.paths?.moved(now);
    reschedule(this.#context, mesh);
  }

  /** What was sent was larger than the interface takes, or the tunnel's MTU is another. */
  tooBig(mesh: MeshPeer, now: Instant): void {
    mesh.paths?.tooBig(now);
    reschedule(this.#context, mesh);
  }

  expire(mesh: MeshPeer, now: Instant): void {
    if (mesh.paths !== null && mesh.paths.deadline <= now) mesh.paths.handleDeadline(now);
  }

  // — the machine and its surroundings —

  #of(mesh: MeshPeer, peer: Peer, now: Instant): PeerPaths {
    if (mesh.paths !== null) return mesh.paths;
    const budget = new ProbeBudget(this.#context.probeBudget(now), now);
    const paths = new PeerPaths(this.#outputs(mesh, peer), budget, { settles: mesh.isRelay });
    mesh.paths = paths;
    paths.tell(this.originsOf(mesh, now), now);
    return paths;
  }

  #outputs(mesh: MeshPeer, peer: Peer): PathOutputs {
    const { plane, counters } = this.#context;
    return {
      ping: (endpoint, txid, now) => {
        const frame = encodePing(txid, PING_BYTES_MIN);
        const sent = plane.sendFrameTo(peer.slot, frame, endpoint, { dontFragment: false }, now);
        if (sent !== 'sent') return false;
        counters.count('probesSent');
        return true;
      },
      probeMtu: (endpoint, txid, bytes, now) => {
        const sent = plane.sendFrameTo(peer.slot, encodePing(txid, bytes), endpoint, { dontFragment: true }, now);
        if (sent === 'tooBig') return sent;
        if (sent !== 'sent') return 'failed';
        counters.count('mtuProbesSent');
        return sent;
      },
      limitMtu: (mtu) => {
        plane.setPathMtu(peer.slot, mtu);
        this.#context.outputs.changed();
      },
      deviceMtu: () => this.#context.deviceMtu,
      use: (endpoint, now) => this.#use(mesh, peer, endpoint, now),
      handshake: (now) => {
        counters.count('probesFailed');
        this.#options.begin(mesh, peer, now);
      },
      rearm: (now) => {
        if (peer.attempt === null) plane.rearm(peer.slot, Notify.answerAwaited, now);
      },
      drawTxid: () => drawTxid(this.#context),
      traffic: () => ({
        awaitedSince: peer.recordedInstant(RecordField.answerAwaitedSince),
        lastReceive: peer.recordedInstant(RecordField.lastAuthenticatedReceive),
        lastData: Math.max(
          peer.recorded(RecordField.lastDataReceive),
          peer.recorded(RecordField.lastDataSend),
          peer.recorded(RecordField.lastStaged),
        ) as Instant,
      }),
      doubted: (endpoint, now) => this.#options.doubted(mesh, endpoint, now),
      lost: (now) => this.#options.lost(mesh, now),
      refused: (what) => counters.count(what === 'probe' ? 'probesRefused' : 'remotesRefused'),
    };
  }

  #use(mesh: MeshPeer, peer: Peer, endpoint: Endpoint, now: Instant): void {
    if (peer.endpoint === endpoint && mesh.proven) return;
    mesh.proven = true;
    if (peer.endpoint !== endpoint) this.#context.engine.setEndpoint(peer, endpoint, now);
    this.#options.moved(mesh, endpoint, now);
    this.#context.outputs.changed();
  }

  #originAt(endpoint: Endpoint): RemoteOrigin {
    if (isRelayed(endpoint)) return { endpoint, kind: 'relay', sameLink: false };
    return { endpoint, kind: 'seen', sameLink: this.#context.usable.isSameLink(endpoint) };
  }
}

export function endpointOf({ address, port }: MessageSource): Endpoint {
  return formatEndpoint(formatAddress(address), port);
}
