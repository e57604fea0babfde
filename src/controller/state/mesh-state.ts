// The state in memory: records and their indexes by key, name, address and hash. Only apply.ts writes to it. `draft` gives a
// state that begins as this one and can be thrown away. The history of operations is kept beside it (op-log.ts).

import { assert } from '../../base/assert.ts';
import type { IpAddress } from '../../base/ip.ts';
import type { NodeId, NodeName, PublicKeyText } from '../../protocol/values.ts';
import type { AuthKeyRecord, LoggedOp, NodeRecord, Settings, StoredState, TokenRecord } from './model.ts';
import type { StateLists, StateView } from './state-view.ts';
import { Overlay, type Table } from './tables.ts';

interface Tables {
  readonly nodes: Table<NodeId, NodeRecord>;
  readonly byKey: Table<PublicKeyText, NodeId>;
  readonly byName: Table<NodeName, NodeId>;
  readonly byAddress: Table<IpAddress, NodeId>;
  readonly listed: Table<NodeId, true>;
  readonly authKeys: Table<string, AuthKeyRecord>;
  readonly authKeysByHash: Table<string, string>;
  readonly tokens: Table<string, TokenRecord>;
  readonly tokensByHash: Table<string, string>;
}

export class MeshState implements StateView {
  readonly #tables: Tables;
  #settings: Settings;
  #seq: number;

  constructor(tables: Tables, settings: Settings, seq: number) {
    this.#tables = tables;
    this.#settings = settings;
    this.#seq = seq;
  }

  get settings(): Settings {
    return this.#settings;
  }

  get seq(): number {
    return this.#seq;
  }

  get nodeCount(): number {
    return this.#tables.nodes.size;
  }

  get authKeyCount(): number {
    return this.#tables.authKeys.size;
  }

  get tokenCount(): number {
    return this.#tables.tokens.size;
  }

  node(id: NodeId): NodeRecord | undefined {
    return this.#tables.nodes.get(id);
  }

  nodeByKey(key: PublicKeyText): NodeRecord | undefined {
    return this.#nodeOf(this.#tables.byKey.get(key));
  }

  nodeByName(name: NodeName): NodeRecord | undefined {
    return this.#nodeOf(this.#tables.byName.get(name));
  }

  nodeByAddress(address: IpAddress): NodeRecord | undefined {
    return this.#nodeOf(this.#tables.byAddress.get(address));
  }

  isListed(id: NodeId): boolean {
    return this.#tables.listed.get(id) === true;
  }

  authKey(id: string): AuthKeyRecord | undefined {
    return this.#tables.authKeys.get(id);
  }

  authKeyByHash(hash: string): AuthKeyRecord | undefined {
    const id = this.#tables.authKeysByHash.get(hash);
    return id === undefined ? undefined : this.authKey(id);
  }

  token(id: string): TokenRecord | undefined {
    return this.#tables.tokens.get(id);
  }

  tokenByHash(hash: string): TokenRecord | undefined {
    const id = this.#tables.tokensByHash.get(hash);
    return id === undefined ? undefined : this.token(id);
  }

  draft(): MeshState {
    const { nodes, byKey, byName, byAddress, listed, authKeys, authKeysByHash, tokens, tokensByHash } = this.#tables;
    const tables: Tables = {
      nodes: new Overlay(nodes),
      byKey: new Overlay(byKey),
      byName: new Overlay(byName),
      byAddress: new Overlay(byAddress),
      listed: new Overlay(listed),
      authKeys: new Overlay(authKeys),
      authKeysByHash: new Overlay(authKeysByHash),
      tokens: new Overlay(tokens),
      tokensByHash: new Overlay(tokensByHash),
    };
    return new MeshState(tables, this.#settings, this.#seq);
  }

  putNode(node: NodeRecord): void {
    const { nodes, byKey, byName, byAddress } = this.#tables;
    const before = nodes.get(node.id);
    if (before !== undefined) this.#unindex(before);
    const taken = byKey.get(node.publicKey) ?? byName.get(node.name) ?? byAddress.get(node.address4);
    assert((taken ?? byAddress.get(node.address6)) === undefined, 'no two nodes share a key, a name or an address');
    nodes.set(node.id, node);
    byKey.set(node.publicKey, node.id);
    byName.set(node.name, node.id);
    byAddress.set(node.address4, node.id);
    byAddress.set(node.address6, node.id);
  }

  deleteNode(id: NodeId): void {
    const before = this.#tables.nodes.get(id);
    if (before === undefined) return;
    this.#unindex(before);
    this.#tables.nodes.delete(id);
  }

  putAuthKey(key: AuthKeyRecord): void {
    this.#tables.authKeys.set(key.id, key);
    this.#tables.authKeysByHash.set(key.secretHash, key.id);
  }

  putToken(token: TokenRecord): void {
    this.#tables.tokens.set(token.id, token);
    this.#tables.tokensByHash.set(token.secretHash, token.id);
  }

  putSettings(settings: Settings): void {
    this.#settings = settings;
  }

  /** Only what the operation says about who is listed; its other contents are in the records. */
  putOp(entry: LoggedOp): void {
    assert(entry.seq === this.#seq + 1, 'operations have no gaps');
    this.#seq = entry.seq;
    if (entry.op.op === 'put') this.#tables.listed.set(entry.op.node.id, true);
    else if (entry.op.op === 'remove') this.#tables.listed.delete(entry.op.id);
  }

  #nodeOf(id: NodeId | undefined): NodeRecord | undefined {
    return id === undefined ? undefined : this.#tables.nodes.get(id);
  }

  #unindex(node: NodeRecord): void {
    const { byKey, byName, byAddress } = this.#tables;
    byKey.delete(node.publicKey);
    byName.delete(node.name);
    byAddress.delete(node.address4);
    byAddress.delete(node.address6);
  }
}

/** The state that holds what is durable, and can be listed. */
export class DurableState extends MeshState implements StateLists {
  readonly #nodes: Map<NodeId, NodeRecord>;
  readonly #authKeys: Map<string, AuthKeyRecord>;
  readonly #tokens: Map<string, TokenRecord>;

  constructor(stored: StoredState) {
    const nodes = new Map<NodeId, NodeRecord>();
    const authKeys = new Map<string, AuthKeyRecord>();
    const tokens = new Map<string, TokenRecord>();
    const listed = listedAtStart(stored);
    const tables: Tables = {
      nodes,
      byKey: new Map(),
      byName: new Map(),
      byAddress: new Map(),
      listed,
      authKeys,
      authKeysByHash: new Map(),
      tokens,
      tokensByHash: new Map(),
    };
    super(tables, stored.settings, stored.log.at(-1)?.seq ?? 0);
    this.#nodes = nodes;
    this.#authKeys = authKeys;
    this.#tokens = tokens;
    for (const node of stored.nodes.toSorted((a, b) => a.id - b.id)) this.putNode(node);
    for (const key of stored.authKeys.toSorted((a, b) => a.createdAt - b.createdAt)) this.putAuthKey(key);
    for (const token of stored.tokens.toSorted((a, b) => a.createdAt - b.createdAt)) this.putToken(token);
  }

  nodes(): IterableIterator<NodeRecord> {
    return this.#nodes.values();
  }

  authKeys(): IterableIterator<AuthKeyRecord> {
    return this.#authKeys.values();
  }

  tokens(): IterableIterator<TokenRecord> {
    return this.#tokens.values();
  }
}

/**
 * Who is in the netmap. Of nodes that expire the history has the last word: one whose time ran out while the controller was
 * away is still in the netmaps of the others, and one that was taken out stays out although the clock was set back since.
 */
function listedAtStart(stored: StoredState): Map<NodeId, true> {
  const listed = new Map<NodeId, true>();
  const undecided = new Set<NodeId>();
  for (const node of stored.nodes) {
    if (!node.approved || node.disabled) continue;
    listed.set(node.id, true);
    if (node.expiresAt !== null) undecided.add(node.id);
  }
  for (let i = stored.log.length - 1; i >= 0 && undecided.size > 0; i--) {
    const op = (stored.log[i] as LoggedOp).op;
    if (op.op === 'network') continue;
    const id = op.op === 'put' ? op.node.id : op.id;
    if (undecided.delete(id) && op.op === 'remove') listed.delete(id);
  }
  // Of whom a whole history says nothing, nobody was told: approved after its time had run out.
  if ((stored.log[0]?.seq ?? 1) === 1) for (const id of undecided) listed.delete(id);
  return listed;
}
