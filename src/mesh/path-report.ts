// Why a peer is reached the way it is: the facts of one peer gathered for src/path/why.ts, and its verdict with what each remote has been
// through. Made when somebody asks; of a peer that nobody has spoken with it says what would be tried.

import { elapsedMs, type Instant, type WallTime } from '../base/instant.ts';
import { type Endpoint, endpointParts, type Family, familyOf, type IpAddress } from '../base/ip.ts';
import { relayedParts } from '../base/relayed.ts';
import { Remote, type RemoteKind, type RemoteState } from '../path/remote.ts';
import { judge, type WhyFacts } from '../path/why.ts';
import type { PathCause } from '../protocol/causes.ts';
import type { Candidate, NodeId } from '../protocol/values.ts';
import type { MeshPeer } from './mesh-peer.ts';
import type { MeshParts } from './parts.ts';

export interface PathReport {
  /** The path in use; null without a session. */
  readonly active: {
    readonly kind: 'direct' | 'relay';
    readonly endpoint: Endpoint;
    /** Of a relayed path. */
    readonly relay: NodeId | null;
    readonly rttMs: number | null;
    /** Largest inner packet that it carries; null while it is not known. */
    readonly mtu: number | null;
    readonly since: WallTime;
  } | null;
  readonly candidates: readonly CandidateReport[];
  /** What keeps the pair from a direct path, the weightiest first; empty when it has one. */
  readonly causes: readonly PathCause[];
  readonly summary: string;
  readonly advice: readonly string[];
}

export interface CandidateReport {
  /** Where the peer sees us come from on it; null while that is not known, and for a relayed one. */
  readonly local: Endpoint | null;
  readonly remote: Endpoint;
  readonly relay: NodeId | null;
  readonly kind: RemoteKind;
  readonly state: RemoteState | 'active';
  readonly cause: PathCause;
  readonly rttMs: number | null;
  /** Oldest first. */
  readonly history: readonly {
    readonly at: WallTime;
    readonly state: RemoteState;
    readonly cause: PathCause;
    readonly rttMs: number | null;
  }[];
}

/** What the host knows beside the mesh engine. */
export interface OwnTroubles {
  /** Our key has expired, or we are no member for another reason. */
  readonly lockedOut: boolean;
  /** Our clock differs from the controller's. */
  readonly clockOff: boolean;
}

export interface ReportContext {
  readonly nameOf: (id: NodeId) => string | null;
  readonly wallClock: () => WallTime;
  readonly troubles: OwnTroubles;
}

export function pathReport(parts: MeshParts, mesh: MeshPeer, context: ReportContext, now: Instant): PathReport {
  const { relays } = parts;
  const remotes = remotesOf(parts, mesh, now);
  const active = mesh.paths?.live === true ? mesh.paths.active : null;
  const relayOf = ({ endpoint }: Remote): NodeId | null => {
    const relayed = relayedParts(endpoint);
    return relayed === null ? null : relays.idOf(relayed.relay);
  };
  const verdict = judge(factsOf(parts, mesh, { remotes, active, relayOf }, context, now), now);
  const wallNow = context.wallClock();
  const wall = (at: Instant): WallTime => (wallNow - elapsedMs(at, now)) as WallTime;
  return {
    active:
      active === null
        ? null
        : {
            kind: active.isRelayed ? 'relay' : 'direct',
            endpoint: active.endpoint,
            relay: relayOf(active),
            rttMs: active.rttMs,
            mtu: mesh.paths?.mtu ?? null,
            since: wall(mesh.paths?.activeSince ?? now),
          },
    candidates: remotes.map((remote) => ({
      local: remote.local,
      remote: remote.endpoint,
      relay: relayOf(remote),
      kind: remote.kind,
      state: remote === active ? 'active' : remote.state,
      cause: verdict.causes.get(remote) ?? remote.cause,
      rttMs: remote.rttMs,
      history: remote.history.map((change) => ({ ...change, at: wall(change.at) })),
    })),
    causes: verdict.pair,
    summary: verdict.summary,
    advice: verdict.advice,
  };
}

/** Those that are known, or would be tried. */
function remotesOf({ paths }: MeshParts, mesh: MeshPeer, now: Instant): Remote[] {
  if (mesh.paths !== null) return mesh.paths.set.all();
  return paths.originsOf(mesh, now).map((origin) => new Remote(origin, now));
}

interface Seen {
  readonly remotes: readonly Remote[];
  readonly active: Remote | null;
  readonly relayOf: (remote: Remote) => NodeId | null;
}

function factsOf(
  { context, relays }: MeshParts,
  mesh: MeshPeer,
  { remotes, active, relayOf }: Seen,
  { nameOf, troubles }: ReportContext,
  now: Instant,
): WhyFacts {
  const { localCandidates, localReach } = context;
  const { node, peer } = mesh;
  const home = relays.home;
  const outside = localCandidates.filter(({ kind }) => kind !== 'host').map(addressOf);
  const observed = mesh.pings?.observed ?? null;
  if (observed !== null) outside.push(endpointParts(observed).address);
  return {
    self: {
      mapping: localReach?.mapping ?? 'unknown',
      udp: localReach?.udp ?? 'unknown',
      families: familiesOf(localCandidates),
      outside,
      homeRelay: home === null ? null : nameOf(home.relay),
      relayRefused: relays.none === 'relayRefused',
      ...troubles,
    },
    peer: {
      name: node.name,
      mapping: node.reach?.mapping ?? 'unknown',
      udp: node.reach?.udp ?? 'unknown',
      families: familiesOf(node.candidates),
      online: node.online,
      session: peer?.state(now).kind ?? 'idle',
      hasRelay: node.reach?.home != null,
    },
    remotes,
    active,
    isBlackHole: (remote) => mesh.paths?.isBlackHole(remote) ?? false,
    relayName: (remote) => {
      const id = relayOf(remote);
      return id === null ? null : nameOf(id);
    },
  };
}

const addressOf = ({ endpoint }: Candidate): IpAddress => endpointParts(endpoint).address;

/** Nobody who tells no address has said that there is none. */
function familiesOf(candidates: readonly Candidate[]): Family[] {
  if (candidates.length === 0) return [4, 6];
  return [...new Set(candidates.map((candidate) => familyOf(addressOf(candidate))))];
}
