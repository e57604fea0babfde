// The netmap of one node: what the controller has said of the others, as a reducer over snapshots and deltas. Each
// application tells what changed of each peer, and nothing of a delta that does not fit is applied: then a resync is
// wanted. Our own record is kept apart, so nobody is their own peer. Leaves out what an update does to live sessions: mesh-engine.ts.

import type { IpAddress } from '../base/ip.ts';
import type { Delta, Snapshot } from '../protocol/control.ts';
import type { NetmapNode, NetmapOp, Network, Position } from '../protocol/netmap.ts';
import { sameReach } from '../protocol/reach.ts';
import type { NodeId } from '../protocol/values.ts';

/** What of a known peer is different; addresses are those inside the tunnel. */
export type NodeAspect = 'candidates' | 'addresses' | 'renamed' | 'tags' | 'presence';

export type NetmapChange =
  | { readonly kind: 'added'; readonly node: NetmapNode }
  | { readonly kind: 'removed'; readonly before: NetmapNode }
  /** Another key: the peer that was is gone, this one is new. */
  | { readonly kind: 'rekeyed'; readonly before: NetmapNode; readonly node: NetmapNode }
  | {
      readonly kind: 'changed';
      readonly before: NetmapNode;
      readonly node: NetmapNode;
      readonly aspects: readonly NodeAspect[];
    }
  /** Our own record; null when the controller has taken us out. */
  | { readonly kind: 'self'; readonly node: NetmapNode | null }
  | { readonly kind: 'network'; readonly network: Network };

export type DeltaResult =
  | { readonly kind: 'applied'; readonly changes: readonly NetmapChange[] }
  | { readonly kind: 'resync'; readonly reason: 'noSnapshot' | 'gap' | 'unknownId' };

export type Lookup =
  | { readonly kind: 'found'; readonly node: NetmapNode }
  | { readonly kind: 'self'; readonly node: NetmapNode }
  | { readonly kind: 'ambiguous'; readonly nodes: readonly NetmapNode[] }
  | { readonly kind: 'unknown' };

/** All of a netmap, for the disk. `nodes` without our own. */
export interface SavedNetmap {
  readonly position: Position;
  readonly network: Network;
  readonly self: NetmapNode;
  readonly nodes: readonly NetmapNode[];
}

/** Nodes that an ambiguous name is answered with at most. */
export const AMBIGUOUS_MAX = 8;

export class Netmap {
  readonly #nodes = new Map<NodeId, NetmapNode>();
  #position: Position | null = null;
  #network: Network | null = null;
  #self: NetmapNode | null = null;

  get position(): Position | null {
    return this.#position;
  }

  get network(): Network | null {
    return this.#network;
  }

  get self(): NetmapNode | null {
    return this.#self;
  }

  get size(): number {
    return this.#nodes.size;
  }

  /** The others. */
  nodes(): IterableIterator<NetmapNode> {
    return this.#nodes.values();
  }

  node(id: NodeId): NetmapNode | undefined {
    return this.#nodes.get(id);
  }

  /** Who we are, from `welcome`. If we stood among the peers until now, that peer goes. */
  setSelf(node: NetmapNode, network: Network): readonly NetmapChange[] {
    const changes: NetmapChange[] = [];
    const among = this.#nodes.get(node.id);
    if (among !== undefined) {
      this.#nodes.delete(node.id);
      changes.push({ kind: 'removed', before: among });
    }
    this.#changeSelf(node, changes);
    this.#changeNetwork(network, changes);
    return changes;
  }

  /** Replaces all; peers that stay as they were make no change. Of a node that is in it twice the last counts. */
  applySnapshot(snapshot: Snapshot): readonly NetmapChange[] {
    const changes: NetmapChange[] = [];
    const next = new Map<NodeId, NetmapNode>();
    let self: NetmapNode | null = null;
    for (const node of snapshot.nodes) {
      if (node.id === this.#self?.id) self = node;
      else next.set(node.id, node);
    }
    for (const [id, before] of this.#nodes) {
      if (next.has(id)) continue;
      this.#nodes.delete(id);
      changes.push({ kind: 'removed', before });
    }
    for (const [id, node] of next) {
      pushDifference(changes, this.#nodes.get(id), node);
      this.#nodes.set(id, node);
    }
    // A controller may leave out the one it speaks to: then what `welcome` said of us stands.
    if (self !== null) this.#changeSelf(self, changes);
    this.#changeNetwork(snapshot.network, changes);
    this.#position = { epoch: snapshot.epoch, seq: snapshot.seq };
    return changes;
  }

  /** All of the delta or nothing. Changes are of the whole: a node that is put and removed in it has none. */
  applyDelta(delta: Delta): DeltaResult {
    if (this.#position === null) return { kind: 'resync', reason: 'noSnapshot' };
    if (delta.from !== this.#position.seq || delta.seq < delta.from) return { kind: 'resync', reason: 'gap' };
    if (!this.#knowsAll(delta.ops)) return { kind: 'resync', reason: 'unknownId' };
    const touched = new Map<NodeId, NetmapNode | undefined>();
    const changes: NetmapChange[] = [];
    for (const op of delta.ops) this.#applyOp(op, touched, changes);
    for (const [id, before] of touched) pushDifference(changes, before, this.#nodes.get(id));
    this.#position = { epoch: this.#position.epoch, seq: delta.seq };
    return { kind: 'applied', changes };
  }

  /**
   * Whether every operation finds the node that it is about, those before it applied. A removal needs none: a node that came
   * and went since is told as gone.
   */
  #knowsAll(ops: readonly NetmapOp[]): boolean {
    const known = new Map<NodeId, boolean>();
    for (const op of ops) {
      if (op.op === 'network') continue;
      if (op.op === 'put') {
        known.set(op.node.id, true);
        continue;
      }
      if (op.op === 'remove') known.set(op.id, false);
      else if (!(known.get(op.id) ?? (this.#nodes.has(op.id) || this.#self?.id === op.id))) return false;
    }
    return true;
  }

  #applyOp(op: NetmapOp, touched: Map<NodeId, NetmapNode | undefined>, changes: NetmapChange[]): void {
    if (op.op === 'network') {
      this.#changeNetwork(op.network, changes);
      return;
    }
    const id = op.op === 'put' ? op.node.id : op.id;
    const self = this.#self;
    if (self?.id === id) {
      if (op.op === 'remove') changes.push({ kind: 'self', node: null });
      else this.#changeSelf(after(self, op), changes);
      return;
    }
    const before = this.#nodes.get(id);
    if (!touched.has(id)) touched.set(id, before);
    if (op.op === 'remove') this.#nodes.delete(id);
    else if (op.op === 'put') this.#nodes.set(id, op.node);
    else if (before !== undefined) this.#nodes.set(id, after(before, op));
  }

  #changeSelf(node: NetmapNode, changes: NetmapChange[]): void {
    const before = this.#self;
    this.#self = node;
    if (before === null || before.publicKey !== node.publicKey || aspectsOf(before, node).length > 0) {
      changes.push({ kind: 'self', node });
    }
  }

  #changeNetwork(network: Network, changes: NetmapChange[]): void {
    const before = this.#network;
    this.#network = network;
    if (before?.name !== network.name || before.prefix4 !== network.prefix4 || before.prefix6 !== network.prefix6) {
      changes.push({ kind: 'network', network });
    }
  }

  /** Forgets everything. */
  clear(): readonly NetmapChange[] {
    const changes: NetmapChange[] = [];
    for (const before of this.#nodes.values()) changes.push({ kind: 'removed', before });
    this.#nodes.clear();
    this.#position = null;
    this.#network = null;
    this.#self = null;
    return changes;
  }

  /** By name, address, id or public key, in full; or by the beginning of names, if only one name begins so. */
  find(query: string): Lookup {
    const text = query.trim();
    const name = text.toLowerCase().replace(/\.$/, '');
    const self = this.#self;
    if (self !== null && isCalled(self, text, name)) return { kind: 'self', node: self };
    const beginning: NetmapNode[] = [];
    for (const node of this.#nodes.values()) {
      if (isCalled(node, text, name)) return { kind: 'found', node };
      if (name !== '' && beginning.length < AMBIGUOUS_MAX && node.name.startsWith(name)) beginning.push(node);
    }
    const [first] = beginning;
    if (first === undefined) return { kind: 'unknown' };
    return beginning.length === 1 ? { kind: 'found', node: first } : { kind: 'ambiguous', nodes: beginning };
  }

  /** Null before the first snapshot, or without knowing who we are. */
  save(): SavedNetmap | null {
    if (this.#position === null || this.#network === null || this.#self === null) return null;
    return { position: this.#position, network: this.#network, self: this.#self, nodes: [...this.#nodes.values()] };
  }

  restore(saved: SavedNetmap): readonly NetmapChange[] {
    const changes = [...this.setSelf(saved.self, saved.network)];
    const { position, network, nodes } = saved;
    changes.push(...this.applySnapshot({ type: 'snapshot', ...position, network, nodes: [...nodes] }));
    return changes;
  }
}

function after(node: NetmapNode, op: Exclude<NetmapOp, { op: 'network' } | { op: 'remove' }>): NetmapNode {
  if (op.op === 'put') return op.node;
  return op.op === 'candidates'
    ? { ...node, candidates: op.candidates, reach: op.reach }
    : { ...node, online: op.online };
}

function isCalled(node: NetmapNode, text: string, name: string): boolean {
  return (
    node.name === name ||
    node.address4 === (text as IpAddress) ||
    node.address6 === (name as IpAddress) ||
    node.publicKey === text ||
    String(node.id) === text
  );
}

function pushDifference(changes: NetmapChange[], before: NetmapNode | undefined, node: NetmapNode | undefined): void {
  if (before === undefined || node === undefined) {
    if (node !== undefined) changes.push({ kind: 'added', node });
    if (before !== undefined) changes.push({ kind: 'removed', before });
    return;
  }
  if (before.publicKey !== node.publicKey) {
    changes.push({ kind: 'rekeyed', before, node });
    return;
  }
  const aspects = aspectsOf(before, node);
  if (aspects.length > 0) changes.push({ kind: 'changed', before, node, aspects });
}

function aspectsOf(before: NetmapNode, node: NetmapNode): NodeAspect[] {
  const aspects: NodeAspect[] = [];
  if (!sameCandidates(before, node) || !sameReach(before.reach, node.reach)) aspects.push('candidates');
  if (before.address4 !== node.address4 || before.address6 !== node.address6) aspects.push('addresses');
  if (before.name !== node.name) aspects.push('renamed');
  if (before.tags.join() !== node.tags.join()) aspects.push('tags');
  if (before.online !== node.online) aspects.push('presence');
  return aspects;
}

function sameCandidates(before: NetmapNode, node: NetmapNode): boolean {
  if (before.candidates.length !== node.candidates.length) return false;
  return before.candidates.every(({ kind, endpoint }, i) => {
    const other = node.candidates[i];
    return other?.kind === kind && other.endpoint === endpoint;
  });
}
