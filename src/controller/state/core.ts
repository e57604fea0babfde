// The controller's pure core: connections, commands and deadlines in, changes to store and messages to send out. A command
// is decided in order, made durable with all others that wait (takeBatch … batchCommitted), and only then answered and
// told. Holds no socket, clock or store. Afterwards, every call may have left outputs, a batch and another deadline:
//
//   core.received(…); store(core.takeBatch(clock)) → core.batchCommitted(clock); carryOut(core.takeOutputs()); sleepUntil(core.nextDeadline())

import { assert, unreachable } from '../../base/assert.ts';
import { earliest, type Instant } from '../../base/instant.ts';
import { addressBytes, familyOf, formatPrefix, type IpAddress } from '../../base/ip.ts';
import type { NodeMessage } from '../../protocol/control.ts';
import type { NodeId, PublicKeyText } from '../../protocol/values.ts';
import { apply } from './apply.ts';
import { type Batch, Batches, type Decided } from './batches.ts';
import type { Actor, AdminCommand, Command, ConnectionId, Decision, Outcome, Speaker, Ticket } from './commands.ts';
import { type Counters, newCounters } from './counters.ts';
import { decide } from './decide.ts';
import { AUTH_KEY_ERRORS, needsAuthKey, refused } from './decide-register.ts';
import { Dues } from './dues.ts';
import { DurableState, type MeshState } from './mesh-state.ts';
import type { Change, StoredState, TokenRecord } from './model.ts';
import { OpLog } from './op-log.ts';
import { type CoreLimits, type CoreOptions, DEFAULT_LIMITS } from './options.ts';
import { Outbox } from './outbox.ts';
import type { Clock, Output } from './outputs.ts';
import { RateTable } from './rates.ts';
import { refuseAtOnce } from './refusals.ts';
import { RemovedKeys } from './removed-keys.ts';
import { equalHashes, hashSecret } from './secrets.ts';
import { Sessions } from './sessions.ts';
import { isExpired, type StateLists } from './state-view.ts';
import type { Surroundings } from './surroundings.ts';

export type TokenCheck =
  | { readonly ok: true; readonly token: TokenRecord }
  | { readonly ok: false; readonly reason: 'unknown' | 'expired' | 'revoked' };

export class ControllerCore {
  readonly counters: Counters = newCounters();
  readonly #options: CoreOptions;
  readonly #limits: CoreLimits;
  readonly #state: DurableState;
  readonly #log: OpLog;
  readonly #batches: Batches;
  readonly #outbox: Outbox;
  readonly #dues: Dues;
  readonly #sessions: Sessions;
  readonly #authFailures: RateTable<string>;
  readonly #tokenUses: RateTable<string>;
  readonly #removedKeys: RemovedKeys;
  /** Of the last call: deadlines of the wall clock are told by it. */
  #clock: Clock;
  #lastFailure: string | null = null;
  #lastTicket = 0;
  #adminWaiting = 0;

  constructor(stored: StoredState, options: CoreOptions, clock: Clock) {
    const limits: CoreLimits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#options = options;
    this.#limits = limits;
    this.#clock = clock;
    this.#state = new DurableState(stored);
    this.#log = new OpLog(stored.log, limits.loggedOpsMax);
    this.#batches = new Batches(limits.batchCommandsMax);
    this.#outbox = new Outbox(limits, this.counters);
    this.#dues = new Dues(this.#state, limits, clock);
    this.#sessions = new Sessions({
      state: this.#state,
      log: this.#log,
      batches: this.#batches,
      dues: this.#dues,
      outbox: this.#outbox,
      limits,
      counters: this.counters,
      options,
    });
    const { authFailuresBurst, authFailureIntervalMs, tokenUsedIntervalMs, ratesMax } = limits;
    this.#authFailures = new RateTable({ burst: authFailuresBurst, intervalMs: authFailureIntervalMs }, ratesMax);
    this.#tokenUses = new RateTable({ burst: 1, intervalMs: tokenUsedIntervalMs }, ratesMax);
    this.#removedKeys = new RemovedKeys(limits.removedKeysMax);
  }

  /** What is durable. REST lists are made from it. */
  get state(): StateLists {
    return this.#state;
  }

  /** All connections, whatever they have reached. */
  get connectionCount(): number {
    return this.#sessions.connections.size;
  }

  /** Nodes with a connection that was welcomed. */
  get connectedCount(): number {
    return this.#sessions.connections.joinedCount;
  }

  /** Nothing waits for the store, and nothing is on its way to it. */
  get isIdle(): boolean {
    return this.#batches.isIdle;
  }

  /** Why the store failed last; null when it has worked since. */
  get lastFailure(): string | null {
    return this.#lastFailure;
  }

  /** The Noise handshake is done: the key is proven. `remoteAddress` with IPv4-mapped addresses folded into IPv4. */
  connected(
    conn: ConnectionId,
    peer: { readonly publicKey: PublicKeyText; readonly remoteAddress: IpAddress | null },
    clock: Clock,
  ): void {
    this.#clock = clock;
    this.#sessions.open(conn, peer.publicKey, peer.remoteAddress, clock.now);
  }

  /** `message` has passed its schema. Unknown connections are ignored, as everywhere: they were closed by us. */
  received(conn: ConnectionId, message: NodeMessage, clock: Clock): void {
    this.#clock = clock;
    const connection = this.#sessions.connections.get(conn);
    if (connection === undefined) this.counters.messagesIgnored++;
    else this.#sessions.received(connection, message, clock.now);
  }

  /** A message that did not pass its schema: the error is sent and the connection closed. */
  receivedMalformed(conn: ConnectionId, clock: Clock): void {
    this.#clock = clock;
    const connection = this.#sessions.connections.get(conn);
    if (connection !== undefined) this.#sessions.refuse(connection, 'malformed', clock.now);
  }

  disconnected(conn: ConnectionId, clock: Clock): void {
    this.#clock = clock;
    const connection = this.#sessions.connections.get(conn);
    if (connection !== undefined) this.#sessions.gone(connection, clock.now);
  }

  /** All that was given to the transport of `conn` has been written out. To be called once after any number of sends. */
  writable(conn: ConnectionId, clock: Clock): void {
    this.#clock = clock;
    const connection = this.#sessions.connections.get(conn);
    if (connection !== undefined) this.#sessions.drained(connection);
    this.#sessions.fanOut.run(clock.now);
  }

  /** Answered by an `answered` output, once durable. */
  administer(command: AdminCommand, actor: Actor, clock: Clock): Ticket {
    this.#clock = clock;
    const ticket = ++this.#lastTicket as Ticket;
    if (this.#adminWaiting >= this.#limits.adminWaitingMax) {
      this.#outbox.answer(ticket, refuseAtOnce('busy'));
    } else {
      this.#adminWaiting++;
      this.#batches.add({ kind: 'admin', ticket, actor, command });
    }
    return ticket;
  }

  /** Checks the secret of a REST token, in constant time; its last use is stored now and then. */
  checkToken(secret: string, clock: Clock): TokenCheck {
    this.#clock = clock;
    const hash = hashSecret(secret, this.#options.sha256);
    const token = this.#state.tokenByHash(hash);
    if (token === undefined || !equalHashes(token.secretHash, hash)) return { ok: false, reason: 'unknown' };
    if (token.revokedAt !== null) return { ok: false, reason: 'revoked' };
    if (isExpired(token, clock.wall)) return { ok: false, reason: 'expired' };
    if (this.#tokenUses.take(token.id, clock.now)) this.#batches.add({ kind: 'tokenUsed', id: token.id });
    return { ok: true, token };
  }

  /** Decides what waits; null when nothing has to be stored now or a batch is in flight. May leave outputs. */
  takeBatch(clock: Clock): readonly Change[] | null {
    this.#clock = clock;
    const around = this.#surroundings(clock);
    const decideOne = (draft: MeshState, command: Command): Decision => this.#decideOne(draft, command, around);
    let batch = this.#batches.next(this.#state, decideOne);
    while (batch !== null && batch.changes.length === 0) {
      for (const decided of batch.decided) this.#follow(decided, clock);
      batch = this.#batches.next(this.#state, decideOne);
    }
    this.#sessions.fanOut.run(clock.now);
    return batch?.changes ?? null;
  }

  batchCommitted(clock: Clock): void {
    this.#clock = clock;
    const batch = this.#batches.land();
    this.#lastFailure = null;
    this.counters.batchesCommitted++;
    this.counters.changesCommitted += batch.changes.length;
    const touched = this.#apply(batch);
    for (const decided of batch.decided) this.#follow(decided, clock);
    for (const id of touched) this.#sessions.reconcile(id, clock);
    this.#sessions.fanOut.run(clock.now);
  }

  /** Nothing of the batch was stored. `message` is for the operator; nodes and people get words of our own. */
  batchFailed(message: string, clock: Clock): void {
    this.#clock = clock;
    this.#lastFailure = message;
    const batch = this.#batches.land();
    this.counters.batchesFailed++;
    for (const { command } of batch.decided) this.#undo(command, clock);
    this.#sessions.fanOut.run(clock.now);
  }

  /** Tells every connection that the controller stops, and closes it. Nobody is announced as offline by that. */
  goAway(clock: Clock): void {
    this.#clock = clock;
    for (const conn of [...this.#sessions.connections.all()]) this.#sessions.refuse(conn, 'goingAway', clock.now);
  }

  /** In order; each is given once. */
  takeOutputs(): Output[] {
    return this.#outbox.take();
  }

  nextDeadline(): Instant {
    const sessions = earliest(this.#sessions.deadline(), this.#sessions.fanOut.deadline());
    return earliest(sessions, this.#dues.deadline(this.#clock));
  }

  handleDeadline(clock: Clock): void {
    this.#clock = clock;
    for (const command of this.#dues.takeDue(clock)) this.#batches.add(command);
    this.#sessions.handleDeadline(clock.now);
    this.#sessions.fanOut.run(clock.now);
  }

  #surroundings(clock: Clock): Surroundings {
    const { connections } = this.#sessions;
    return {
      wall: clock.wall,
      random: this.#options.random,
      sha256: this.#options.sha256,
      limits: this.#limits,
      isConnected: (node) => connections.of(node) !== undefined || this.#batches.isArriving(node),
      wasRemoved: (key) => this.#removedKeys.has(key),
    };
  }

  #decideOne(draft: MeshState, command: Command, around: Surroundings): Decision {
    if (command.kind !== 'register') return decide(draft, command, around);
    const { speaker, message } = command;
    // Whoever gave up in the meantime joins nothing and uses no key up.
    if (this.#sessions.connections.get(speaker.connection) === undefined) {
      return { changes: [], outcome: { kind: 'done' } };
    }
    const source = sourceOf(speaker.remoteAddress);
    const tries = message.authKey !== null && needsAuthKey(draft, speaker, around);
    if (tries && this.#authFailures.waitMs(source, this.#clock.now) > 0) return refused('rateLimited');
    const decision = decide(draft, command, around);
    const { outcome } = decision;
    if (outcome.kind === 'refused' && AUTH_KEY_ERRORS.includes(outcome.code)) {
      this.#authFailures.spend(source, this.#clock.now);
    }
    return decision;
  }

  /** Makes the batch the state; gives the nodes whose records it touched. */
  #apply(batch: Batch): Set<NodeId> {
    const touched = new Set<NodeId>();
    for (const change of batch.changes) {
      if (change.kind === 'putNode') touched.add(change.node.id);
      if (change.kind === 'deleteNode') {
        touched.add(change.id);
        const node = this.#state.node(change.id);
        if (node !== undefined) this.#removedKeys.add(node.publicKey);
      }
      if (change.kind === 'op') {
        this.#log.append(change.entry);
        this.counters.ops++;
        this.#sessions.fanOut.want();
      }
    }
    apply(this.#state, batch.changes);
    for (const id of touched) {
      const node = this.#state.node(id);
      if (node === undefined) this.#dues.noteGone(id);
      else this.#dues.noteExpiry(node, this.#state.isListed(id));
    }
    return touched;
  }

  /** What is told of a command that is durable, or that changed nothing. */
  #follow({ command, outcome }: Decided, clock: Clock): void {
    this.#settle(command);
    if (command.kind === 'admin') {
      assert(outcome.kind === 'answer', 'an administrator is answered');
      this.#outbox.answer(command.ticket, outcome.answer);
    } else if ('speaker' in command) {
      this.#followSpeaker(command.speaker, outcome, clock);
    }
    if (command.kind === 'goodbye' && command.reason === 'logout') this.#removedKeys.delete(command.speaker.publicKey);
  }

  #followSpeaker(speaker: Speaker, outcome: Outcome, clock: Clock): void {
    switch (outcome.kind) {
      case 'registered':
        this.#removedKeys.delete(speaker.publicKey);
        this.#sessions.registered(speaker, outcome.node, outcome.how, clock);
        break;
      case 'refused': {
        const limited = outcome.code === 'rateLimited';
        const waitMs = limited ? this.#authFailures.waitMs(sourceOf(speaker.remoteAddress), clock.now) : null;
        this.#sessions.refused(speaker, outcome.code, clock.now, waitMs);
        break;
      }
      case 'keyRotated':
        this.#sessions.keyRotated(speaker, outcome.publicKey, clock.now);
        break;
      case 'answer':
      case 'done':
        break;
      default:
        unreachable(outcome);
    }
  }

  /** Nothing of it was stored: who asked is told so, what falls due by itself is tried again. */
  #undo(command: Command, clock: Clock): void {
    this.#settle(command);
    if (command.kind === 'admin') this.#outbox.answer(command.ticket, refuseAtOnce('internal'));
    else if ('speaker' in command) this.#sessions.refused(command.speaker, 'internal', clock.now, null);
    else if (command.kind !== 'tokenUsed') this.#dues.retry(command, clock);
  }

  /** It does not wait any more. */
  #settle(command: Command): void {
    if (command.kind === 'admin') this.#adminWaiting--;
    else if ('speaker' in command) this.#sessions.settled(command.speaker);
  }
}

/** Who shares a rate: an IPv4 address, the /64 of an IPv6 one, or all whose address is not known. */
function sourceOf(address: IpAddress | null): string {
  if (address === null || familyOf(address) === 4) return address ?? 'unknown';
  return formatPrefix(addressBytes(address), 64);
}
