// What the daemon says of paths (src/protocol/path-report.ts), in the words of its local API: relays by name and by where they
// are, times as text. Reading alone; what there is to say comes from the mesh engine.

import type { WallTime } from '../../base/instant.ts';
import type { Endpoint } from '../../base/ip.ts';
import { isRelayed } from '../../base/relayed.ts';
import type { MeshPathStatus } from '../../mesh/status.ts';
import type { PathStatus } from '../../protocol/local-api.ts';
import type { RelayStatus, WhyReport } from '../../protocol/path-report.ts';
import type { NodeId } from '../../protocol/values.ts';
import type { MeshNode } from './mesh-node.ts';
import { findPeer } from './peer-lookup.ts';
import { ProblemError } from './problem-error.ts';
import { CLOCK_OFF_MS, ourselves, unknownPeer } from './problems.ts';

/** The path in use: a relayed one is told by where the relay is, and its name. */
export function pathStatus(node: MeshNode, path: MeshPathStatus): PathStatus {
  const { kind, endpoint, relay, rttMs } = path;
  if (kind === 'direct') return { kind, endpoint, rttMs };
  return { kind, endpoint: relayEndpoint(node, relay) ?? endpoint, relay: nameOf(node, relay), rttMs };
}

/** Where an answer came from. */
export function answerPath(node: MeshNode, peer: NodeId, endpoint: Endpoint): PathStatus {
  if (!isRelayed(endpoint)) return { kind: 'direct', endpoint };
  const path = node.mesh.status(peer, node.now())?.path ?? null;
  const relay = path?.kind === 'relay' ? path.relay : (node.mesh.home?.relay ?? null);
  return { kind: 'relay', endpoint: relayEndpoint(node, relay) ?? endpoint, relay: nameOf(node, relay) };
}

export function relaysOf(node: MeshNode): RelayStatus[] {
  const relays: RelayStatus[] = [];
  for (const status of node.mesh.relayStatuses(node.now())) {
    const { id, home, state, endpoint, overridden, rttMs, rxBytes, txBytes } = status;
    const via = endpoint === null ? null : overridden ? 'websocket' : 'udp';
    relays.push({ id, name: status.node.name, home, state, endpoint, via, rttMs, rxBytes, txBytes });
  }
  return relays.sort((a, b) => Number(b.home) - Number(a.home) || (a.name < b.name ? -1 : 1));
}

/** Throws a ProblemError when `name` is nobody, or this machine. */
export function whyReport(node: MeshNode, name: string): WhyReport {
  const found = findPeer(node.mesh.netmap, name);
  if (found.self) throw new ProblemError(ourselves(found.node.name));
  const now = node.now();
  const { id } = found.node;
  const skew = node.control.status().clockSkewMs;
  const troubles = { lockedOut: node.lockedOut, clockOff: skew !== null && Math.abs(skew) > CLOCK_OFF_MS };
  const report = node.mesh.pathReport(id, now, troubles);
  const status = node.mesh.status(id, now);
  if (report === null || status === null) throw new ProblemError(unknownPeer(name, []));
  const { active, candidates, causes, summary, advice } = report;
  return {
    peer: {
      id,
      name: found.node.name,
      addresses: [found.node.address4, found.node.address6],
      online: found.node.online,
      state: status.state,
      lastHandshake: status.lastHandshake === null ? null : timeText(status.lastHandshake),
    },
    path:
      active === null
        ? null
        : {
            ...active,
            endpoint: relayEndpoint(node, active.relay) ?? active.endpoint,
            relay: nameOf(node, active.relay),
            since: timeText(active.since),
          },
    candidates: candidates.map(({ relay, remote, history, ...rest }) => ({
      ...rest,
      remote: relay === null ? remote : `relay ${nameOf(node, relay) ?? relay}`,
      history: history.map((change) => ({ ...change, at: timeText(change.at) })),
    })),
    causes,
    summary,
    advice,
  };
}

function nameOf(node: MeshNode, id: NodeId | null): string | null {
  return id === null ? null : (node.mesh.netmap.node(id)?.name ?? null);
}

/** Where the relay answers. */
function relayEndpoint(node: MeshNode, id: NodeId | null): Endpoint | null {
  if (id === null) return null;
  for (const relay of node.mesh.relayStatuses(node.now())) if (relay.id === id) return relay.endpoint;
  return null;
}

function timeText(time: WallTime): string {
  return new Date(time).toISOString();
}
