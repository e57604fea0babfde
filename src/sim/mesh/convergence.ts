// Whether the mesh is whole: every machine that is in has the controller's netmap, as the core's own state gives it; everyone
// is shown as what they are; nothing waits, and no deadline is set.

import { NEVER } from '../../base/instant.ts';
import { netmapNodeOf } from '../../controller/state/state-view.ts';
import type { NetmapNode } from '../../protocol/netmap.ts';
import { sameReach } from '../../protocol/reach.ts';
import type { NodeId } from '../../protocol/values.ts';
import type { MeshWorld } from './mesh-world.ts';
import type { NodeHost } from './node-host.ts';
import type { People } from './people.ts';

/** What is still amiss, in words; none when all is well. */
export function unsettled(world: MeshWorld, people: People): string[] {
  const { core } = world.controller;
  if (core === null) return ['the controller is not running'];
  const amiss: string[] = [];
  const listed = new Map<NodeId, NetmapNode>();
  for (const node of core.state.nodes()) if (core.state.isListed(node.id)) listed.set(node.id, netmapNodeOf(node));
  const present = new Set<NodeId>();
  for (const host of world.hosts) {
    if (host.isConnected && host.mesh?.netmap.self !== null) present.add(host.mesh?.netmap.self?.id as NodeId);
  }
  for (const host of people.wanted) {
    const record = people.recordOf(host);
    const status = host.client?.status();
    if (!host.isConnected) amiss.push(`${host.name} is not connected: ${status?.message ?? 'it is off'}`);
    else if (record === undefined || !listed.has(record.id)) amiss.push(`${host.name} is not in the netmap`);
  }
  for (const host of world.hosts) {
    if (!host.isConnected) continue;
    const difference = differenceOf(host, listed, core.state.seq, core.state.settings.epoch);
    if (difference !== null) amiss.push(`${host.name}: ${difference}`);
  }
  for (const { id, name, online } of listed.values()) {
    if (online !== present.has(id)) amiss.push(`${name} is shown as ${online ? 'online' : 'offline'}, which it is not`);
  }
  for (const { id, name, ephemeral } of core.state.nodes()) {
    if (ephemeral && !present.has(id) && !core.state.isListed(id)) continue;
    if (ephemeral && !present.has(id)) amiss.push(`${name} is ephemeral, away, and still there`);
  }
  if (!core.isIdle) amiss.push('something waits for the store');
  if (core.nextDeadline() !== NEVER) amiss.push('the controller has a deadline');
  return amiss;
}

function differenceOf(
  host: NodeHost,
  listed: ReadonlyMap<NodeId, NetmapNode>,
  seq: number,
  epoch: string,
): string | null {
  const netmap = host.mesh?.netmap;
  const { position, self } = netmap ?? {};
  if (netmap === undefined || position === undefined || position === null || self === undefined || self === null) {
    return 'it has no netmap';
  }
  if (position.epoch !== epoch) return 'its netmap is of another epoch';
  if (position.seq !== seq) return `its netmap ends at ${position.seq}, the controller's at ${seq}`;
  if (netmap.size + 1 !== listed.size) return `it knows ${netmap.size} others, of ${listed.size} nodes`;
  for (const [id, node] of listed) {
    const known = id === self.id ? self : netmap.node(id);
    if (known === undefined) return `it does not know ${node.name}`;
    if (!sameNode(known, node)) return `it has ${JSON.stringify(known)} for ${JSON.stringify(node)}`;
  }
  return null;
}

function sameNode(a: NetmapNode, b: NetmapNode): boolean {
  return (
    a.id === b.id &&
    a.name === b.name &&
    a.publicKey === b.publicKey &&
    a.address4 === b.address4 &&
    a.address6 === b.address6 &&
    a.online === b.online &&
    a.tags.join() === b.tags.join() &&
    sameReach(a.reach, b.reach) &&
    a.candidates.length === b.candidates.length &&
    a.candidates.every(
      ({ kind, endpoint }, i) => b.candidates[i]?.kind === kind && b.candidates[i].endpoint === endpoint,
    )
  );
}
