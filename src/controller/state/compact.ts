// Makes few operations of many that say the same in the end. What is left may be applied one by one: no two nodes hold a
// name, key or address at the same time in between, if they did not in the original. So later news of a node moves forward
// to where the node was put only when they claim nothing, and a removal moves forward always, since it only frees.

import type { NetmapNode, NetmapOp } from '../../protocol/netmap.ts';
import type { NodeId } from '../../protocol/values.ts';

/** Places in the result of what stands for one node; −1 where there is none. */
interface Places {
  /** Of everything since the last removal or before it: all goes when the node is removed. */
  readonly all: number[];
  put: number;
  candidates: number;
  presence: number;
}

export function compactOps(ops: readonly NetmapOp[]): NetmapOp[] {
  if (ops.length <= 1) return ops.slice();
  const result: (NetmapOp | null)[] = [];
  const places = new Map<NodeId, Places>();
  let network = -1;
  for (const op of ops) {
    if (op.op === 'network') {
      if (network >= 0) result[network] = null;
      network = result.push(op) - 1;
      continue;
    }
    const id = op.op === 'put' ? op.node.id : op.id;
    let place = places.get(id);
    if (place === undefined) {
      place = { all: [], put: -1, candidates: -1, presence: -1 };
      places.set(id, place);
    }
    fold(result, place, op);
  }
  return result.filter((op) => op !== null);
}

type NodeOp = Exclude<NetmapOp, { op: 'network' }>;

function fold(result: (NetmapOp | null)[], place: Places, op: NodeOp): void {
  switch (op.op) {
    case 'put':
      foldPut(result, place, op.node);
      break;
    case 'remove':
      foldRemove(result, place, op);
      break;
    case 'candidates':
      foldPart(result, place, op, 'candidates');
      break;
    case 'presence':
      foldPart(result, place, op, 'presence');
      break;
  }
}

function foldPut(result: (NetmapOp | null)[], place: Places, node: NetmapNode): void {
  const earlier = place.put < 0 ? null : (result[place.put] as NetmapOp);
  if (earlier?.op === 'put' && claimsTheSame(earlier.node, node)) {
    result[place.put] = { op: 'put', node };
    return;
  }
  // What was said of parts before is said by this too; parts claim nothing, so they may go.
  if (place.candidates >= 0) result[place.candidates] = null;
  if (place.presence >= 0) result[place.presence] = null;
  place.candidates = -1;
  place.presence = -1;
  place.put = result.push({ op: 'put', node }) - 1;
  place.all.push(place.put);
}

function foldRemove(result: (NetmapOp | null)[], place: Places, op: NetmapOp): void {
  const first = place.all[0] ?? result.push(null) - 1;
  for (const at of place.all) result[at] = null;
  result[first] = op;
  // A later put stands behind the removal, at a place of its own: the session must end in between.
  place.all.length = 0;
  place.all.push(first);
  place.put = -1;
  place.candidates = -1;
  place.presence = -1;
}

function foldPart(
  result: (NetmapOp | null)[],
  place: Places,
  op: Extract<NetmapOp, { op: 'candidates' | 'presence' }>,
  part: 'candidates' | 'presence',
): void {
  const put = place.put < 0 ? null : (result[place.put] as NetmapOp);
  if (put?.op === 'put') {
    const node = op.op === 'candidates' ? { candidates: op.candidates, reach: op.reach } : { online: op.online };
    result[place.put] = { op: 'put', node: { ...put.node, ...node } };
  } else if (place[part] >= 0) {
    result[place[part]] = op;
  } else {
    place[part] = result.push(op) - 1;
    place.all.push(place[part]);
  }
}

function claimsTheSame(a: NetmapNode, b: NetmapNode): boolean {
  return a.name === b.name && a.publicKey === b.publicKey && a.address4 === b.address4 && a.address6 === b.address6;
}
