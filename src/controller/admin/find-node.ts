// The node that somebody means: by its number, its name, one of its addresses or its public key. A name may consist of
// digits, and then be another node's number: that is told, not guessed. What nothing matches is answered with names that
// are near.

import { parseAddress } from '../../base/ip.ts';
import { nearNames } from '../../base/near-names.ts';
import type { NodeId, NodeName, PublicKeyText } from '../../protocol/values.ts';
import type { NodeRecord } from '../state/model.ts';
import type { StateLists } from '../state/state-view.ts';
import { type ApiFailure, apiFailure } from './api-failure.ts';

const NEAR_MAX = 3;
const NODE_NUMBER = /^[1-9]\d{0,14}$/;

/** Throws ApiFailure: notFound, ambiguous. */
export function findNode(state: StateLists, idOrName: string): NodeRecord {
  const wanted = idOrName.toLowerCase();
  const byId = NODE_NUMBER.test(wanted) ? state.node(Number(wanted) as NodeId) : undefined;
  const byName = state.nodeByName(wanted as NodeName);
  if (byId !== undefined && byName !== undefined && byId !== byName) throw ambiguous(idOrName, [byId, byName]);
  const address = parseAddress(wanted);
  const byAddress = address === null ? undefined : state.nodeByAddress(address);
  const node = byId ?? byName ?? byAddress ?? state.nodeByKey(idOrName as PublicKeyText);
  if (node === undefined) throw noSuchNode(state, idOrName);
  return node;
}

function ambiguous(idOrName: string, nodes: readonly NodeRecord[]): ApiFailure {
  const list = nodes.map(({ id, name, address4 }) => `${name} (number ${id}, ${address4})`).join(' and ');
  return apiFailure('ambiguous', `${JSON.stringify(idOrName)} means more than one node`, {
    why: `there are ${list}`,
    help: 'name it by one of its addresses',
  });
}

function noSuchNode(state: StateLists, idOrName: string): ApiFailure {
  const names = Array.from(state.nodes(), ({ name }) => name as string);
  const near = nearNames(idOrName.toLowerCase(), names, NEAR_MAX);
  return apiFailure('notFound', `there is no node ${JSON.stringify(idOrName.slice(0, 64))}`, {
    why: near.length === 0 ? 'no node has that name, number, address or key' : `near it there is ${near.join(', ')}`,
    help: 'warren nodes list shows all of them',
  });
}
