// Nodes: listed, shown, changed, approved, expired, removed. A node is named by its number, its name, one of its addresses or
// its public key. What is in the body of a change is changed, nothing else.

import { z } from 'zod';
import type { WallTime } from '../../base/instant.ts';
import { type NodeChange, nodeChangeSchema, nodePageSchema, nodeViewSchema } from '../../protocol/admin-api.ts';
import type { NodeEdit } from '../state/commands.ts';
import type { NodeRecord } from '../state/model.ts';
import { apiFailure } from './api-failure.ts';
import { carryOut } from './carry-out.ts';
import { findNode } from './find-node.ts';
import { type Call, route } from './route.ts';
import { nodeView } from './views.ts';

const NODE_PATH = '/nodes/:idOrName';

export const NODE_ROUTES = [
  route({
    method: 'GET',
    path: '/nodes',
    operation: 'listNodes',
    summary: 'Nodes, in the order of their numbers',
    access: 'nodes:read',
    query: nodePageSchema,
    response: z.array(nodeViewSchema),
    handle: ({ deps, query }) => {
      const nodes = [...deps.state().nodes()].filter(({ id }) => id > query.after).sort((a, b) => a.id - b.id);
      return nodes.slice(0, query.limit).map((node) => nodeView(node, deps.wallNow()));
    },
  }),
  route({
    method: 'GET',
    path: NODE_PATH,
    operation: 'getNode',
    summary: 'One node',
    access: 'nodes:read',
    response: nodeViewSchema,
    handle: (call) => nodeView(nodeOf(call), call.deps.wallNow()),
  }),
  route({
    method: 'PATCH',
    path: NODE_PATH,
    operation: 'changeNode',
    summary: 'Change what is in the body: name, tags, disabled, expiry, addresses',
    access: 'nodes:write',
    request: nodeChangeSchema,
    response: nodeViewSchema,
    handle: async (call) => {
      const node = nodeOf(call);
      const { name, ...others } = call.body;
      if (name === undefined && Object.keys(others).length === 0) {
        throw apiFailure('invalid', 'there is nothing to change in the body');
      }
      const onlyName = name !== undefined && Object.keys(others).length === 0;
      const command = onlyName
        ? ({ action: 'nodes.rename', node: node.id, name } as const)
        : ({ action: 'nodes.change', node: node.id, edit: editOf(call.body, node) } as const);
      const changed = await carryOut(call, command, 'node');
      return nodeView(changed.node, call.deps.wallNow());
    },
  }),
  route({
    method: 'DELETE',
    path: NODE_PATH,
    operation: 'removeNode',
    summary: 'Remove a node: its sessions end at once and it is locked out; the answer is the node as it was',
    access: 'nodes:write',
    response: nodeViewSchema,
    handle: (call) => changeBy(call, 'nodes.remove'),
  }),
  route({
    method: 'POST',
    path: `${NODE_PATH}/approve`,
    operation: 'approveNode',
    summary: 'Let in a node that waits for approval',
    access: 'nodes:write',
    response: nodeViewSchema,
    handle: (call) => changeBy(call, 'nodes.approve'),
  }),
  route({
    method: 'POST',
    path: `${NODE_PATH}/expire`,
    operation: 'expireNode',
    summary: 'Lock a node out until it joins again; it keeps its name and addresses',
    access: 'nodes:write',
    response: nodeViewSchema,
    handle: (call) => changeBy(call, 'nodes.expire'),
  }),
];

function nodeOf({ deps, params }: Call<unknown, unknown>): NodeRecord {
  return findNode(deps.state(), params['idOrName'] ?? '');
}

async function changeBy(call: Call<unknown, unknown>, action: 'nodes.approve' | 'nodes.expire' | 'nodes.remove') {
  const { node } = await carryOut(call, { action, node: nodeOf(call).id }, 'node');
  return nodeView(node, call.deps.wallNow());
}

/** An address that is not in the body stays. */
function editOf(change: NodeChange, node: NodeRecord): NodeEdit {
  const { name, tags, disabled, expiresAt, addresses } = change;
  return {
    ...(name === undefined ? {} : { name }),
    ...(tags === undefined ? {} : { tags: [...new Set(tags)] }),
    ...(disabled === undefined ? {} : { disabled }),
    ...(expiresAt === undefined ? {} : { expiresAt: expiresAt === null ? null : (Date.parse(expiresAt) as WallTime) }),
    ...(addresses === undefined
      ? {}
      : {
          addresses: {
            address4: addresses.address4 ?? node.address4,
            address6: addresses.address6 ?? node.address6,
          },
        }),
  };
}
