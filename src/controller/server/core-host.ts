// Drives the pure core: gives it what connections and administrators say, stores its batches, carries out its outputs, and
// wakes it at its deadlines. Batches are one transaction of all that came in one turn of the event loop. What it does for
// ten thousand connections it does in slices, so that the others have their turn.

import { toBase64 } from '../../base/bytes.ts';
import type { Instant, WallTime } from '../../base/instant.ts';
import type { PublicKey } from '../../crypto/provider.ts';
import type { NodeMessage } from '../../protocol/control.ts';
import type { PublicKeyText } from '../../protocol/values.ts';
import type { Log } from '../../service/log.ts';
import { startFailureOf } from '../../service/start-error.ts';
import type { Actor, AdminAnswer, AdminCommand, ConnectionId, Ticket } from '../state/commands.ts';
import type { ControllerCore } from '../state/core.ts';
import type { Clock, Output } from '../state/outputs.ts';
import type { Store } from '../store/store.ts';
import type { ConnectionEvents, ControlConnection } from './control-connection.ts';
import { encodeMessage, type SharedEncodings } from './message-codec.ts';

/** What is used of the core, so that tests may give another. */
export type Core = Pick<
  ControllerCore,
  | 'connected'
  | 'received'
  | 'receivedMalformed'
  | 'disconnected'
  | 'writable'
  | 'administer'
  | 'takeBatch'
  | 'batchCommitted'
  | 'batchFailed'
  | 'goAway'
  | 'takeOutputs'
  | 'nextDeadline'
  | 'handleDeadline'
>;

export interface CoreHostOptions {
  readonly core: Core;
  readonly store: Pick<Store, 'commit'>;
  readonly encodings: SharedEncodings;
  readonly outputsPerTurn: number;
  readonly now: () => Instant;
  readonly wallNow: () => WallTime;
  readonly log: Log;
  /** After the core was told. */
  readonly onStoreError: (error: unknown) => void;
}

/** setTimeout takes no more. */
const SLEEP_MAX_MS = 2_147_483_647;

export class CoreHost implements ConnectionEvents {
  readonly #options: CoreHostOptions;
  readonly #core: Core;
  readonly #connections = new Map<ConnectionId, ControlConnection>();
  readonly #answers = new Map<Ticket, (answer: AdminAnswer) => void>();
  /** Connections with room again, to be told to the core. */
  readonly #drained = new Set<ConnectionId>();
  #outputs: Output[] = [];
  #outputsAt = 0;
  #turn: NodeJS.Immediate | null = null;
  #sleep: NodeJS.Timeout | null = null;
  #sleepUntil: Instant | null = null;
  #commit: Promise<void> | null = null;
  #storeFails = false;
  #stopped = false;

  constructor(options: CoreHostOptions) {
    this.#options = options;
    this.#core = options.core;
    this.#schedule();
  }

  /** Of nodes that have proved their key. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  /** False while the store does not take what is given to it. */
  get healthy(): boolean {
    return !this.#storeFails;
  }

  /** Resolves once the change is durable, or refused. */
  administer(command: AdminCommand, actor: Actor): Promise<AdminAnswer> {
    const ticket = this.#core.administer(command, actor, this.#clock());
    this.#schedule();
    return new Promise((resolve) => {
      this.#answers.set(ticket, resolve);
    });
  }

  /** The core was given something by another way than through here. */
  wake(): void {
    this.#schedule();
  }

  /** Tells every connection, stores what waits, and ends. Resolves when the store has no more to do. */
  async stop(): Promise<void> {
    this.#core.goAway(this.#clock());
    while (this.#commit !== null || this.#work()) await (this.#commit ?? undefined);
    this.#stopped = true;
    if (this.#turn !== null) clearImmediate(this.#turn);
    if (this.#sleep !== null) clearTimeout(this.#sleep);
  }

  // — what connections tell —

  proven(connection: ControlConnection, publicKey: PublicKey): void {
    this.#connections.set(connection.id, connection);
    const peer = { publicKey: toBase64(publicKey) as PublicKeyText, remoteAddress: connection.remoteAddress };
    this.#core.connected(connection.id, peer, this.#clock());
    this.#schedule();
  }

  message(connection: ControlConnection, message: NodeMessage): void {
    this.#core.received(connection.id, message, this.#clock());
    this.#schedule();
  }

  malformed(connection: ControlConnection): void {
    this.#core.receivedMalformed(connection.id, this.#clock());
    this.#schedule();
  }

  drained(connection: ControlConnection): void {
    this.#drained.add(connection.id);
    this.#schedule();
  }

  closed(connection: ControlConnection): void {
    if (!this.#connections.delete(connection.id)) return;
    this.#drained.delete(connection.id);
    this.#core.disconnected(connection.id, this.#clock());
    this.#schedule();
  }

  // — turns —

  #clock(): Clock {
    return { now: this.#options.now(), wall: this.#options.wallNow() };
  }

  /** All that happens in one turn of the event loop is worked on together. */
  #schedule(): void {
    if (this.#turn !== null || this.#stopped) return;
    this.#turn = setImmediate(() => {
      this.#turn = null;
      if (this.#work()) this.#schedule();
      else this.#arm();
    });
  }

  /** True when there is more to do at once. */
  #work(): boolean {
    const clock = this.#clock();
    if (this.#core.nextDeadline() <= clock.now) this.#core.handleDeadline(clock);
    for (const conn of this.#drained) this.#core.writable(conn, clock);
    this.#drained.clear();
    this.#takeBatch(clock);
    this.#collectOutputs();
    const end = Math.min(this.#outputs.length, this.#outputsAt + this.#options.outputsPerTurn);
    while (this.#outputsAt < end) this.#carryOut(this.#outputs[this.#outputsAt++] as Output);
    this.#collectOutputs();
    return this.#outputs.length > 0 || this.#drained.size > 0;
  }

  #collectOutputs(): void {
    if (this.#outputsAt === this.#outputs.length) {
      this.#outputs = this.#core.takeOutputs();
      this.#outputsAt = 0;
    }
  }

  #takeBatch(clock: Clock): void {
    if (this.#commit !== null) return;
    const batch = this.#core.takeBatch(clock);
    if (batch === null) return;
    this.#commit = this.#options.store
      .commit(batch)
      .then(
        () => this.#committed(),
        (error: unknown) => this.#failed(error),
      )
      .finally(() => {
        this.#commit = null;
        this.#schedule();
      });
  }

  #committed(): void {
    if (this.#storeFails) this.#options.log.info('the database takes changes again');
    this.#storeFails = false;
    this.#core.batchCommitted(this.#clock());
  }

  #failed(error: unknown): void {
    const why = error instanceof Error ? error.message : String(error);
    // Once, not for every attempt.
    if (!this.#storeFails) {
      const help = startFailureOf(error)?.help ?? null;
      this.#options.log.error('the database takes no changes; machines go on with what they have', { why, do: help });
    }
    this.#storeFails = true;
    this.#core.batchFailed(why, this.#clock());
    this.#options.onStoreError(error);
  }

  #carryOut(output: Output): void {
    switch (output.kind) {
      case 'send': {
        const connection = this.#connections.get(output.conn);
        const { type } = output.message;
        if (type === 'welcome' || type === 'pending') connection?.registered();
        connection?.send(encodeMessage(output.message));
        return;
      }
      case 'sendShared':
        this.#connections.get(output.conn)?.send(this.#options.encodings.encode(output.shared));
        return;
      case 'close': {
        const connection = this.#connections.get(output.conn);
        // The core has forgotten it: what follows is between the sockets.
        this.#connections.delete(output.conn);
        this.#drained.delete(output.conn);
        connection?.finish('core');
        return;
      }
      case 'answered':
        this.#answers.get(output.ticket)?.(output.answer);
        this.#answers.delete(output.ticket);
        return;
    }
  }

  #arm(): void {
    const deadline = this.#core.nextDeadline();
    if (this.#stopped || this.#sleepUntil === deadline) return;
    if (this.#sleep !== null) clearTimeout(this.#sleep);
    this.#sleep = null;
    this.#sleepUntil = deadline;
    if (deadline === Number.POSITIVE_INFINITY) return;
    const ms = Math.min(SLEEP_MAX_MS, Math.max(1, Math.ceil(deadline - this.#options.now())));
    this.#sleep = setTimeout(() => {
      this.#sleep = null;
      this.#sleepUntil = null;
      this.#schedule();
    }, ms);
  }
}
