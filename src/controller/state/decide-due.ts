// What falls due by itself: presence, expiry, ephemeral nodes that stay away, the last use of a token. Each looks again at
// whether it still holds: the world may have moved on while the command waited.

import type { NodeId } from '../../protocol/values.ts';
import type { Actor, Decision } from './commands.ts';
import { Drafting } from './drafting.ts';
import type { NodeRecord } from './model.ts';
import { isExpired, type StateView } from './state-view.ts';
import type { Surroundings } from './surroundings.ts';

const CONTROLLER: Actor = { name: 'controller', source: 'local' };

export function decidePresence(view: StateView, nodes: readonly NodeId[], around: Surroundings): Decision {
  return forEach(view, nodes, around, (drafting, node) => {
    const online = view.isListed(node.id) && around.isConnected(node.id);
    if (node.online !== online) drafting.putNode({ ...node, online, lastSeenAt: around.wall });
  });
}

export function decideExpiry(view: StateView, nodes: readonly NodeId[], around: Surroundings): Decision {
  return forEach(view, nodes, around, (drafting, node) => {
    if (!isExpired(node, around.wall) || !view.isListed(node.id)) return;
    drafting.putNode({ ...node, lastSeenAt: node.online ? around.wall : node.lastSeenAt });
    drafting.audit(CONTROLLER, 'nodes.expire', String(node.id), { name: node.name });
  });
}

export function decideSweep(view: StateView, nodes: readonly NodeId[], around: Surroundings): Decision {
  return forEach(view, nodes, around, (drafting, node) => {
    if (!node.ephemeral || around.isConnected(node.id)) return;
    drafting.deleteNode(node);
    drafting.audit(CONTROLLER, 'nodes.remove', String(node.id), { name: node.name, ephemeral: true });
  });
}

export function decideTokenUsed(view: StateView, id: string, around: Surroundings): Decision {
  const token = view.token(id);
  const drafting = new Drafting(view, around.wall);
  if (token !== undefined) drafting.putToken({ ...token, lastUsedAt: around.wall });
  return { changes: drafting.changes(), outcome: { kind: 'done' } };
}

/** Of those that are still there; each at most once. */
function forEach(
  view: StateView,
  nodes: readonly NodeId[],
  around: Surroundings,
  act: (drafting: Drafting, node: NodeRecord) => void,
): Decision {
  const drafting = new Drafting(view, around.wall);
  for (const id of new Set(nodes)) {
    const node = view.node(id);
    if (node !== undefined) act(drafting, node);
  }
  return { changes: drafting.changes(), outcome: { kind: 'done' } };
}
