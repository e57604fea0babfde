// A controller core under virtual time: a store that can fail or wait, and clients that keep a netmap as the protocol says.
// Nothing here shares code with the core's own state.

import { createHash } from 'node:crypto';
import { after, type Instant, NEVER, type WallTime } from '../../../src/base/instant.ts';
import type { IpAddress, IpPrefix } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import type {
  Actor,
  AdminAnswer,
  AdminCommand,
  AdminResult,
  ConnectionId,
  Ticket,
} from '../../../src/controller/state/commands.ts';
import { ControllerCore } from '../../../src/controller/state/core.ts';
import type { AuditRecord, Change, NodeRecord, Settings, StoredState } from '../../../src/controller/state/model.ts';
import type { CoreLimits } from '../../../src/controller/state/options.ts';
import type { Clock } from '../../../src/controller/state/outputs.ts';
import {
  type ControllerMessage,
  controllerMessageSchema,
  type NodeMessage,
  nodeMessageSchema,
  type RegisterMessage,
} from '../../../src/protocol/control.ts';
import type { NetmapNode, Position } from '../../../src/protocol/netmap.ts';
import type { NodeId, PublicKeyText } from '../../../src/protocol/values.ts';

export const START = 1_000_000;
export const WALL_START = 1_800_000_000_000;
export const ADMIN: Actor = { name: 'socket', source: 'local' };
export const EPOCH = 'epoch-0123456789';

export function settings(edit: Partial<Settings> = {}): Settings {
  return {
    networkName: 'warren',
    prefix4: '100.64.0.0/16' as IpPrefix,
    prefix6: 'fd00:77::/64' as IpPrefix,
    requireApproval: false,
    epoch: EPOCH,
    nextNodeId: 1,
    nextHost: 2,
    nextAuditId: 1,
    ...edit,
  };
}

/** A public key in its text form, one for each number. */
export function key(number: number): PublicKeyText {
  const bytes = Buffer.alloc(32, 7);
  bytes.writeUInt32BE(number, 0);
  return bytes.toString('base64') as PublicKeyText;
}

/** What is on disk. Applies changes as a store would, and is otherwise plain. */
export class MemoryStore {
  settings: Settings;
  readonly nodes = new Map<number, NodeRecord>();
  readonly authKeys = new Map<string, StoredState['authKeys'][number]>();
  readonly tokens = new Map<string, StoredState['tokens'][number]>();
  readonly audit: AuditRecord[] = [];
  readonly log: StoredState['log'][number][] = [];

  constructor(initial: Settings) {
    this.settings = initial;
  }

  commit(changes: readonly Change[]): void {
    for (const change of structuredClone(changes)) this.#one(change);
  }

  load(): StoredState {
    return structuredClone({
      settings: this.settings,
      nodes: [...this.nodes.values()],
      authKeys: [...this.authKeys.values()],
      tokens: [...this.tokens.values()],
      log: this.log,
    });
  }

  /** As unique indexes do, after every single change. */
  #refuseDoubles(node: NodeRecord): void {
    for (const other of this.nodes.values()) {
      if (other.id === node.id) continue;
      for (const column of CLAIMS) {
        if (other[column] === node[column]) throw new Error(`two nodes with the ${column} ${node[column]}`);
      }
    }
  }

  #one(change: Change): void {
    switch (change.kind) {
      case 'putNode':
        this.#refuseDoubles(change.node);
        this.nodes.set(change.node.id, change.node);
        break;
      case 'deleteNode':
        this.nodes.delete(change.id);
        break;
      case 'putAuthKey':
        this.authKeys.set(change.key.id, change.key);
        break;
      case 'putToken':
        this.tokens.set(change.token.id, change.token);
        break;
      case 'settings':
        this.settings = change.settings;
        break;
      case 'audit':
        this.audit.push(change.record);
        break;
      case 'op':
        this.log.push(change.entry);
        break;
    }
  }
}

export interface LabOptions {
  readonly settings?: Partial<Settings>;
  readonly limits?: Partial<CoreLimits>;
  readonly store?: MemoryStore;
  readonly now?: number;
  readonly wall?: number;
  /** Clients believe what they are sent without checking it against the schemas: for crowds. */
  readonly trusting?: boolean;
}

export class Lab {
  readonly store: MemoryStore;
  core: ControllerCore;
  now: Instant;
  wall: WallTime;
  /** Fails the next batches. */
  storeFails = false;
  /** Holds batches back until `commit`. */
  storeWaits = false;
  #held: readonly Change[] | null = null;
  readonly trusting: boolean;
  readonly #clients = new Map<ConnectionId, Client>();
  readonly #answers = new Map<Ticket, AdminAnswer>();
  readonly #limits: Partial<CoreLimits>;
  #lastConnection = 0;

  constructor(options: LabOptions = {}) {
    this.store = options.store ?? new MemoryStore(settings(options.settings));
    this.now = (options.now ?? START) as Instant;
    this.wall = (options.wall ?? WALL_START) as WallTime;
    this.trusting = options.trusting ?? false;
    this.#limits = options.limits ?? {};
    this.core = this.#newCore();
  }

  get clock(): Clock {
    return { now: this.now, wall: this.wall };
  }

  /** Those that are connected. */
  get clients(): Client[] {
    return [...this.#clients.values()].filter((client) => !client.closed);
  }

  /** The process ends and another one begins `awayMs` later, with what the store holds. */
  restart(awayMs = 0): void {
    for (const client of this.#clients.values()) client.closed = true;
    this.#clients.clear();
    this.#held = null;
    this.now = after(this.now, awayMs);
    this.wall = (this.wall + awayMs) as WallTime;
    this.core = this.#newCore();
  }

  connect(publicKey: PublicKeyText, remoteAddress: string | null = '192.0.2.1'): Client {
    const id = ++this.#lastConnection as ConnectionId;
    const client = new Client(this, id, publicKey);
    this.#clients.set(id, client);
    this.core.connected(id, { publicKey, remoteAddress: remoteAddress as IpAddress | null }, this.clock);
    this.run();
    return client;
  }

  /** Joined with an auth key that was made for it. */
  join(number: number, edit: Partial<RegisterMessage> = {}, remoteAddress: string | null = '192.0.2.1'): Client {
    const client = this.connect(key(number), remoteAddress);
    client.register({ authKey: this.authKey().secret, hostname: `host${number}`, ...edit });
    return client;
  }

  authKey(input: Partial<Extract<AdminCommand, { action: 'keys.create' }>['input']> = {}): {
    secret: string;
    id: string;
  } {
    const result = this.ask({ action: 'keys.create', input: { ...KEY_INPUT, ...input } });
    if (result.kind !== 'authKeyCreated') throw new Error(result.kind);
    return { secret: result.secret, id: result.key.id };
  }

  /** An administrator's command that is granted. */
  ask(command: AdminCommand): AdminResult {
    const answer = this.administer(command);
    if (!answer.ok) throw new Error(`${answer.refusal.code}: ${answer.refusal.message}`);
    return answer.result;
  }

  administer(command: AdminCommand): AdminAnswer {
    const ticket = this.core.administer(command, ADMIN, this.clock);
    this.run();
    const answer = this.answer(ticket);
    if (answer === undefined) throw new Error('no answer');
    return answer;
  }

  answer(ticket: Ticket): AdminAnswer | undefined {
    return this.#answers.get(ticket);
  }

  /** Store, deliver and drain until nothing moves. */
  run(): void {
    for (let round = 0; round < 10_000; round++) {
      const stored = this.#storeBatch();
      const delivered = this.#deliver();
      if (!stored && !delivered) return;
    }
    throw new Error('it never comes to rest');
  }

  /** Ends the batch that is held back. */
  commit(works = true): void {
    const held = this.#held;
    if (held === null) throw new Error('no batch is held back');
    this.#held = null;
    this.#end(held, works);
    this.run();
  }

  get holdsBatch(): boolean {
    return this.#held !== null;
  }

  /** Time passes, and every deadline in it is met. */
  advance(ms: number): void {
    const end = after(this.now, ms);
    for (let steps = 0; steps < 1_000_000; steps++) {
      const next = this.core.nextDeadline();
      if (next === NEVER || next > end) {
        this.#moveTo(end);
        return;
      }
      this.#moveTo(Math.max(next, this.now) as Instant);
      this.core.handleDeadline(this.clock);
      this.run();
      if (this.core.nextDeadline() <= this.now) throw new Error('a deadline that was met stays');
    }
    throw new Error('deadlines do not end');
  }

  #moveTo(instant: Instant): void {
    this.wall = (this.wall + (instant - this.now)) as WallTime;
    this.now = instant;
  }

  #newCore(): ControllerCore {
    const random = new Prng(this.now);
    return new ControllerCore(
      this.store.load(),
      {
        random: (out) => random.fill(out),
        sha256: (data) => new Uint8Array(createHash('sha256').update(data).digest()),
        software: 'warren test',
        limits: this.#limits,
      },
      this.clock,
    );
  }

  #storeBatch(): boolean {
    const batch = this.core.takeBatch(this.clock);
    if (batch === null) return false;
    if (this.storeWaits) this.#held = batch;
    else this.#end(batch, !this.storeFails);
    return true;
  }

  #end(batch: readonly Change[], works: boolean): void {
    if (works) {
      this.store.commit(batch);
      this.core.batchCommitted(this.clock);
    } else {
      this.core.batchFailed('disk full', this.clock);
    }
  }

  #deliver(): boolean {
    const outputs = this.core.takeOutputs();
    const drained = new Set<Client>();
    for (const output of outputs) {
      if (output.kind === 'answered') {
        this.#answers.set(output.ticket, output.answer);
        continue;
      }
      const client = this.#clients.get(output.conn);
      if (client === undefined) continue;
      if (output.kind === 'close') {
        client.closed = true;
        this.#clients.delete(output.conn);
      } else {
        client.take(output.kind === 'send' ? output.message : output.shared.message);
        drained.add(client);
      }
    }
    for (const client of drained) if (!client.slow) client.drain();
    return outputs.length > 0;
  }
}

const KEY_INPUT = {
  description: '',
  reusable: false,
  ephemeral: false,
  preApproved: false,
  tags: [] as string[],
  expiresInSeconds: 86_400,
};

/** The other end of one connection. Checks every message against the schema and keeps a netmap. */
export class Client {
  readonly lab: Lab;
  readonly id: ConnectionId;
  readonly publicKey: PublicKeyText;
  readonly inbox: ControllerMessage[] = [];
  readonly netmap = new Map<number, NetmapNode>();
  position: Position | null = null;
  closed = false;
  /** Reports no room until `drain`. */
  slow = false;

  constructor(lab: Lab, id: ConnectionId, publicKey: PublicKeyText) {
    this.lab = lab;
    this.id = id;
    this.publicKey = publicKey;
  }

  /** Carries on with the netmap of an earlier connection. */
  remember(earlier: Client): this {
    for (const [id, node] of earlier.netmap) this.netmap.set(id, node);
    this.position = earlier.position;
    return this;
  }

  register(edit: Partial<RegisterMessage> = {}): this {
    return this.send({
      type: 'register',
      version: 1,
      software: 'warren test',
      os: 'linux',
      hostname: 'host',
      authKey: null,
      resume: this.position,
      candidates: [],
      listenPort: 0,
      ...edit,
    });
  }

  send(message: NodeMessage): this {
    this.lab.core.received(this.id, nodeMessageSchema.parse(message), this.lab.clock);
    this.lab.run();
    return this;
  }

  disconnect(): void {
    this.closed = true;
    this.lab.core.disconnected(this.id, this.lab.clock);
    this.lab.run();
  }

  drain(): void {
    if (!this.closed) this.lab.core.writable(this.id, this.lab.clock);
  }

  of<T extends ControllerMessage['type']>(type: T): Extract<ControllerMessage, { type: T }>[] {
    return this.inbox.filter((message) => message.type === type) as Extract<ControllerMessage, { type: T }>[];
  }

  last<T extends ControllerMessage['type']>(type: T): Extract<ControllerMessage, { type: T }> {
    const message = this.of(type).at(-1);
    if (message === undefined) throw new Error(`no ${type}, but ${JSON.stringify(this.inbox)}`);
    return message;
  }

  get errors(): string[] {
    return this.of('error').map((message) => message.code);
  }

  get nodeId(): NodeId {
    return this.last('welcome').self.id;
  }

  take(message: ControllerMessage): void {
    const plain = this.lab.trusting ? message : controllerMessageSchema.parse(JSON.parse(JSON.stringify(message)));
    this.inbox.push(plain);
    if (plain.type === 'snapshot') {
      this.netmap.clear();
      for (const node of plain.nodes) this.netmap.set(node.id, node);
      this.position = { epoch: plain.epoch, seq: plain.seq };
    }
    if (plain.type === 'delta') this.#follow(plain);
  }

  #follow(delta: Extract<ControllerMessage, { type: 'delta' }>): void {
    if (this.position?.seq !== delta.from) throw new Error(`at ${this.position?.seq}, delta from ${delta.from}`);
    for (const op of delta.ops) {
      if (op.op === 'put') this.#put(op.node);
      if (op.op === 'remove') this.netmap.delete(op.id);
      if (op.op !== 'candidates' && op.op !== 'presence') continue;
      const node = this.netmap.get(op.id);
      if (node === undefined) throw new Error(`${op.op} of a node that is not there`);
      this.netmap.set(
        op.id,
        op.op === 'candidates' ? { ...node, candidates: op.candidates } : { ...node, online: op.online },
      );
    }
    this.position = { epoch: this.position.epoch, seq: delta.seq };
  }

  /** As a node's tables do, one after the other: whatever is taken must be free at that moment. */
  #put(node: NetmapNode): void {
    for (const other of this.netmap.values()) {
      const isSame = other.id === node.id;
      if (!isSame && CLAIMS.some((claim) => other[claim] === node[claim])) {
        throw new Error(`${node.id} takes what ${other.id} has: ${JSON.stringify([node, other])}`);
      }
    }
    this.netmap.set(node.id, node);
  }
}

const CLAIMS = ['name', 'publicKey', 'address4', 'address6'] as const;
