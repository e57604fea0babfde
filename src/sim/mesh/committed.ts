// What has become durable, and whether what the controller says agrees with it: nothing is told before it is committed, ids,
// addresses, names and keys belong to one node at a time, and an auth key for one machine lets in one. Sees every
// transaction at the moment at which it is durable, and every output before it goes anywhere.

import type { AdminAnswer } from '../../controller/state/commands.ts';
import type { Change, LoggedOp, NodeRecord, StoredState } from '../../controller/state/model.ts';
import type { Output, SharedMessage } from '../../controller/state/outputs.ts';
import { netmapNodeOf } from '../../controller/state/state-view.ts';
import type { ControllerMessage, Delta, Snapshot } from '../../protocol/control.ts';
import type { NetmapNode, NetmapOp } from '../../protocol/netmap.ts';
import type { NodeId } from '../../protocol/values.ts';

export class Committed {
  readonly #violated: (what: string) => void;
  /** `#ops[i]` has the number i + 1: the whole history of this epoch and what it grew out of. */
  #ops: LoggedOp[] = [];
  /** What the operations so far say. */
  #listed = new Map<NodeId, NetmapNode>();
  readonly #records = new Map<NodeId, NodeRecord>();
  readonly #ids = new Set<NodeId>();
  readonly #authKeys = new Set<string>();
  readonly #singleUse = new Set<string>();
  /** How many nodes each auth key has let in. */
  readonly #admitted = new Map<string, number>();
  /** Each version of each node that was ever durable, as others see it and as administrators do. */
  readonly #versions = new Set<string>();
  readonly #publicKeys = new Set<string>();
  readonly #seen = new WeakSet<SharedMessage>();
  readonly counts = { transactions: 0, snapshots: 0, deltas: 0 };

  constructor(violated: (what: string) => void) {
    this.#violated = violated;
  }

  // — what becomes durable —

  durable(changes: readonly Change[]): void {
    this.counts.transactions++;
    const touched = new Set<NodeId>();
    for (const change of changes) {
      if (change.kind === 'putNode') this.#put(change.node, touched);
      else if (change.kind === 'deleteNode') this.#records.delete(change.id);
      else if (change.kind === 'putAuthKey') {
        const { id, reusable, uses } = change.key;
        this.#authKeys.add(id);
        if (!reusable) this.#singleUse.add(id);
        if (!reusable && uses > 1) this.#violated(`auth key ${id} for one machine was used ${uses} times`);
      } else if (change.kind === 'op') this.#append(change.entry);
    }
    if (touched.size > 0) this.#checkUnique();
    for (const id of touched) this.#checkListed(id);
  }

  #put(node: NodeRecord, touched: Set<NodeId>): void {
    const before = this.#records.get(node.id);
    if (before === undefined) {
      if (this.#ids.has(node.id)) this.#violated(`node id ${node.id} was given twice`);
      this.#ids.add(node.id);
    }
    if (node.joinedWith !== null && (before === undefined || before.joinedWith !== node.joinedWith)) {
      const admitted = (this.#admitted.get(node.joinedWith) ?? 0) + 1;
      this.#admitted.set(node.joinedWith, admitted);
      if (admitted > 1 && this.#singleUse.has(node.joinedWith)) {
        this.#violated(`auth key ${node.joinedWith} for one machine let in ${admitted}`);
      }
    }
    this.#records.set(node.id, node);
    this.#remember(node);
    touched.add(node.id);
  }

  #remember(node: NodeRecord): void {
    this.#versions.add(JSON.stringify(netmapNodeOf(node)));
    this.#versions.add(JSON.stringify(node));
    this.#publicKeys.add(node.publicKey);
  }

  #append(entry: LoggedOp): void {
    if (entry.seq !== this.#ops.length + 1) this.#violated(`operation ${entry.seq} came after ${this.#ops.length}`);
    this.#ops.push(entry);
    applyOp(this.#listed, entry.op);
  }

  #checkUnique(): void {
    const holders = new Map<string, NodeId>();
    for (const { id, name, publicKey, address4, address6 } of this.#records.values()) {
      for (const what of [`the name ${name}`, `the key ${publicKey}`, address4, address6]) {
        const other = holders.get(what);
        if (other !== undefined) this.#violated(`nodes ${other} and ${id} both have ${what}`);
        holders.set(what, id);
      }
    }
  }

  /** Who is in the netmap is there as its record says. */
  #checkListed(id: NodeId): void {
    const listed = this.#listed.get(id);
    const record = this.#records.get(id);
    if (listed === undefined) return;
    if (record === undefined) this.#violated(`node ${id} is in the netmap and has no record`);
    else if (JSON.stringify(listed) !== JSON.stringify(netmapNodeOf(record))) {
      this.#violated(`node ${id} is told as ${JSON.stringify(listed)} and recorded as ${JSON.stringify(record)}`);
    }
  }

  /** A backup took the place of the store: what came after it never was. */
  restored(backup: StoredState): void {
    this.#ops.length = backup.log.at(-1)?.seq ?? 0;
    this.#listed = this.#fold(this.#ops.length);
    this.#records.clear();
    this.#versions.clear();
    this.#publicKeys.clear();
    this.#admitted.clear();
    for (const node of backup.nodes) {
      this.#records.set(node.id, node);
      this.#remember(node);
    }
    for (const key of backup.authKeys) this.#admitted.set(key.id, key.uses);
    for (const id of this.#ids) if (id >= backup.settings.nextNodeId) this.#ids.delete(id);
  }

  /** The netmap after operation `seq`. */
  at(seq: number): Map<NodeId, NetmapNode> {
    return seq === this.#ops.length ? new Map(this.#listed) : this.#fold(seq);
  }

  #fold(seq: number): Map<NodeId, NetmapNode> {
    const netmap = new Map<NodeId, NetmapNode>();
    for (let i = 0; i < seq; i++) applyOp(netmap, (this.#ops[i] as LoggedOp).op);
    return netmap;
  }

  // — what is told —

  told(output: Output): void {
    if (output.kind === 'send') this.#toldMessage(output.message);
    else if (output.kind === 'sendShared') this.#toldShared(output.shared);
    else if (output.kind === 'answered') this.#toldAnswer(output.answer);
  }

  #toldMessage(message: ControllerMessage): void {
    if (message.type === 'welcome') {
      if (!this.#versions.has(JSON.stringify(message.self))) {
        this.#violated(`a node was welcomed as what was never committed: ${JSON.stringify(message.self)}`);
      }
    } else if (message.type === 'keyRotated') {
      if (!this.#publicKeys.has(message.publicKey))
        this.#violated('a change of keys was confirmed before it was durable');
    }
  }

  #toldAnswer(answer: AdminAnswer): void {
    if (!answer.ok) return;
    const { result } = answer;
    if (result.kind === 'node' && !this.#versions.has(JSON.stringify(result.node))) {
      this.#violated(`an administrator was answered before it was durable: ${JSON.stringify(result.node)}`);
    } else if (result.kind === 'authKeyCreated' && !this.#authKeys.has(result.key.id)) {
      this.#violated(`auth key ${result.key.id} was given out before it was durable`);
    }
  }

  #toldShared(shared: SharedMessage): void {
    if (this.#seen.has(shared)) return;
    this.#seen.add(shared);
    const { message } = shared;
    if (message.seq > this.#ops.length) {
      this.#violated(`a ${message.type} told operation ${message.seq}; ${this.#ops.length} are durable`);
    } else if (message.type === 'snapshot') this.#checkSnapshot(message);
    else this.#checkDelta(message);
  }

  #checkSnapshot(snapshot: Snapshot): void {
    this.counts.snapshots++;
    const said = new Map(snapshot.nodes.map((node) => [node.id, node]));
    this.#compare(said, this.at(snapshot.seq), `the snapshot at ${snapshot.seq}`);
  }

  #checkDelta(delta: Delta): void {
    this.counts.deltas++;
    const said = this.at(delta.from);
    for (const op of delta.ops) applyOp(said, op);
    this.#compare(said, this.at(delta.seq), `the delta ${delta.from}–${delta.seq}`);
  }

  #compare(said: Map<NodeId, NetmapNode>, is: Map<NodeId, NetmapNode>, what: string): void {
    for (const id of new Set([...said.keys(), ...is.keys()])) {
      const a = JSON.stringify(said.get(id));
      const b = JSON.stringify(is.get(id));
      if (a !== b) this.#violated(`${what} says of node ${id} ${a}, but it is ${b}`);
    }
  }
}

function applyOp(netmap: Map<NodeId, NetmapNode>, op: NetmapOp): void {
  if (op.op === 'network') return;
  if (op.op === 'put') {
    netmap.set(op.node.id, op.node);
    return;
  }
  const node = netmap.get(op.id);
  if (op.op === 'remove') netmap.delete(op.id);
  else if (node !== undefined && op.op === 'candidates')
    netmap.set(op.id, { ...node, candidates: op.candidates, reach: op.reach });
  else if (node !== undefined && op.op === 'presence') netmap.set(op.id, { ...node, online: op.online });
}
