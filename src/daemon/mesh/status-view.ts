// What the daemon says of itself (src/protocol/local-api.ts), put together from the node that runs, or from what is on disk when
// none does. Reading alone.

import type { MeshPeerStatus } from '../../mesh/mesh-engine.ts';
import type { DaemonState, PeerStatus, Problem, Status } from '../../protocol/local-api.ts';
import type { Candidate } from '../../protocol/values.ts';
import type { PeerFilter } from './local-api-server.ts';
import type { MeshNode } from './mesh-node.ts';
import { pathStatus, relaysOf } from './path-view.ts';
import { findPeer } from './peer-lookup.ts';
import { ProblemError } from './problem-error.ts';
import { notConfigured } from './problems.ts';

export interface StatusParts {
  readonly version: string;
  readonly state: DaemonState;
  readonly problem: Problem | null;
  /** Null while the node is down. */
  readonly node: MeshNode | null;
  /** Null when there is no key. */
  readonly publicKey: string | null;
  readonly controllerUrl: string | null;
}

/** Throws a ProblemError when the filter names nobody. */
export function statusOf(parts: StatusParts, filter: PeerFilter): Status {
  const { version, state, problem, node, controllerUrl } = parts;
  const warnings = node?.warnings ?? [];
  const netmap = node?.mesh.netmap ?? null;
  const self = netmap?.self ?? null;
  const network = netmap?.network ?? null;
  return {
    version,
    state,
    problem,
    warnings,
    self: {
      id: self?.id ?? null,
      name: self?.name ?? null,
      addresses: self === null ? [] : [self.address4, self.address6],
      publicKey: parts.publicKey,
      tags: self?.tags ?? [],
      interface: node?.ifname ?? null,
      listenPort: node?.mesh.listenPort() ?? null,
      candidates: candidatesOf(node?.candidates ?? []),
    },
    network: network === null ? null : { name: network.name, prefix4: network.prefix4, prefix6: network.prefix6 },
    controller: controllerOf(node, controllerUrl),
    peers: peersOf(node, filter),
    relays: node === null ? [] : relaysOf(node),
  };
}

function controllerOf(node: MeshNode | null, url: string | null): Status['controller'] {
  if (node === null) return { state: 'offline', url, since: null, lastError: null, seq: null };
  const { state, since, lastError, position } = node.control.status();
  return {
    state,
    url,
    since: new Date(since).toISOString(),
    lastError: lastError?.message ?? null,
    seq: node.mesh.netmap.position?.seq ?? position?.seq ?? null,
  };
}

function peersOf(node: MeshNode | null, filter: PeerFilter): PeerStatus[] {
  if (filter.kind === 'none') return [];
  if (node === null) {
    if (filter.kind === 'one') throw new ProblemError(notConfigured());
    return [];
  }
  const now = node.now();
  if (filter.kind === 'one') {
    const found = findPeer(node.mesh.netmap, filter.name);
    const status = found.self ? null : node.mesh.status(found.node.id, now);
    return status === null ? [] : [peerOf(node, status)];
  }
  const peers: PeerStatus[] = [];
  for (const status of node.mesh.statuses(now)) peers.push(peerOf(node, status));
  return peers.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function peerOf(meshNode: MeshNode, status: MeshPeerStatus): PeerStatus {
  const { node, state, path, lastHandshake } = status;
  return {
    id: node.id,
    name: node.name,
    addresses: [node.address4, node.address6],
    publicKey: node.publicKey,
    tags: node.tags,
    online: node.online,
    state,
    path: state === 'established' && path !== null ? pathStatus(meshNode, path) : null,
    candidates: candidatesOf(status.candidates),
    lastHandshake: lastHandshake === null ? null : new Date(lastHandshake).toISOString(),
    rxBytes: status.rxBytes,
    txBytes: status.txBytes,
    reason: status.reason,
  };
}

function candidatesOf(candidates: readonly Candidate[]): { readonly kind: string; readonly endpoint: string }[] {
  return candidates.map(({ kind, endpoint }) => ({ kind, endpoint }));
}
