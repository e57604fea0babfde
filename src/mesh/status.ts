// What a person is told of peers and relays: read off the parts when somebody asks. No rules and no state; why a path is not used is
// path-report.ts.

import type { Instant, WallTime } from '../base/instant.ts';
import type { Endpoint } from '../base/ip.ts';
import { isRelayed, relayedParts } from '../base/relayed.ts';
import { RecordField } from '../dataplane/dataplane.ts';
import type { PeerState } from '../protocol/local-api.ts';
import type { NetmapNode } from '../protocol/netmap.ts';
import type { Candidate, NodeId } from '../protocol/values.ts';
import type { MeshPeer } from './mesh-peer.ts';
import type { MeshParts } from './parts.ts';
import { whyNot } from './why-not.ts';

export interface MeshPathStatus {
  readonly kind: 'direct' | 'relay';
  /** Of the peer; for a relayed path the relayed endpoint, whose relay is `relay`. */
  readonly endpoint: Endpoint;
  readonly relay: NodeId | null;
  /** Null before the first answer. */
  readonly rttMs: number | null;
}

export interface MeshPeerStatus {
  readonly id: NodeId;
  readonly node: NetmapNode;
  readonly state: PeerState;
  /** Where it was heard from last, and where its packets go; null while it was never heard. */
  readonly endpoint: Endpoint | null;
  /** What the netmap and punches tell of it; of those that are sound, all would be tried. */
  readonly candidates: readonly Candidate[];
  readonly lastHandshake: WallTime | null;
  /** The path in use; null without a session. */
  readonly path: MeshPathStatus | null;
  readonly rxBytes: number;
  readonly txBytes: number;
  /** Why there is no session although one is wanted, for a person; null when nothing is wrong. */
  readonly reason: string | null;
}

export interface MeshRelayStatus {
  readonly id: NodeId;
  readonly node: NetmapNode;
  /** Where the others reach us. */
  readonly home: boolean;
  readonly state: PeerState;
  /** We have a place there. */
  readonly ready: boolean;
  /** Where it answers; null while it does not. */
  readonly endpoint: Endpoint | null;
  /** Not at its candidates, but over the host's bridge. */
  readonly overridden: boolean;
  readonly rttMs: number | null;
  readonly rxBytes: number;
  readonly txBytes: number;
}

export function peerStatus(parts: MeshParts, mesh: MeshPeer, now: Instant): MeshPeerStatus {
  const { meeting, paths } = parts;
  const { node, peer } = mesh;
  const told = mesh.meeting?.punched.length ?? 0;
  const candidates = told > 0 ? meeting.candidatesOf(mesh) : node.candidates;
  // Only somebody who waits wants to know how many of them are of any use.
  const tried = peer === null || peer.attempt === null ? 0 : paths.originsOf(mesh, now).length;
  return {
    id: node.id,
    node,
    state: peer?.state(now).kind ?? 'idle',
    endpoint: mesh.proven ? (peer?.endpoint ?? null) : null,
    candidates,
    lastHandshake: peer?.lastHandshake ?? null,
    path: pathStatus(parts, mesh),
    rxBytes: peer?.recorded(RecordField.rxBytes) ?? 0,
    txBytes: peer?.recorded(RecordField.txBytes) ?? 0,
    reason: whyNot(mesh, tried, now),
  };
}

export function pathStatus({ relays }: MeshParts, mesh: MeshPeer): MeshPathStatus | null {
  const active = mesh.paths?.live === true ? mesh.paths.active : null;
  if (active === null) return null;
  const relayed = relayedParts(active.endpoint);
  return {
    kind: isRelayed(active.endpoint) ? 'relay' : 'direct',
    endpoint: active.endpoint,
    relay: relayed === null ? null : relays.idOf(relayed.relay),
    rttMs: active.rttMs,
  };
}

export function relayStatus({ relays }: MeshParts, mesh: MeshPeer, now: Instant): MeshRelayStatus {
  const { node, peer, paths } = mesh;
  return {
    id: node.id,
    node,
    home: relays.home?.relay === node.id,
    state: peer?.state(now).kind ?? 'idle',
    ready: relays.isReady(node.id),
    endpoint: paths?.live === true ? (paths.active?.endpoint ?? null) : null,
    overridden: mesh.override !== null,
    rttMs: paths?.active?.rttMs ?? null,
    rxBytes: peer?.recorded(RecordField.rxBytes) ?? 0,
    txBytes: peer?.recorded(RecordField.txBytes) ?? 0,
  };
}
