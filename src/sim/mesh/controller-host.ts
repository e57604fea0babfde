// The controller's process in the simulation: the real core, a store in memory, and connections. It does what the server's
// shell does (one turn for all that came in at once, one transaction at a time, outputs carried out in order) and can be
// killed at any moment, between a commit and its telling too, started again from what is durable, or from a backup.

import { toBase64 } from '../../base/bytes.ts';
import type { WallTime } from '../../base/instant.ts';
import type { Prng } from '../../base/prng.ts';
import type { Actor, AdminAnswer, AdminCommand, ConnectionId, Ticket } from '../../controller/state/commands.ts';
import { ControllerCore } from '../../controller/state/core.ts';
import type { Settings, StoredState } from '../../controller/state/model.ts';
import type { CoreLimits } from '../../controller/state/options.ts';
import type { Clock, Output, SharedMessage } from '../../controller/state/outputs.ts';
import type { NodeMessage } from '../../protocol/control.ts';
import type { Scheduler } from '../network.ts';
import type { ControllerEnd, ControlStream } from './control-stream.ts';
import { MemoryStore } from './memory-store.ts';
import { addCounters, type Reached } from './reached.ts';
import { WALL_EPOCH_MS } from './wall.ts';

/** A store keeps more than the core: its history says who is in the netmap. */
export const STORED_OPS_MAX = 8_192;

const ACTOR: Actor = { name: 'socket', source: 'local' };

export interface ControllerHostOptions {
  readonly settings: Settings;
  readonly limits: Partial<CoreLimits> & Pick<CoreLimits, 'loggedOpsMax'>;
  readonly sha256: (data: Uint8Array) => Uint8Array;
  /** Everything that the core gives out, before it goes anywhere. */
  readonly onOutput: (output: Output) => void;
  readonly reached: Reached;
}

export class ControllerHost implements ControllerEnd {
  readonly store: MemoryStore;
  /** Null while the process is not running. */
  core: ControllerCore | null = null;
  wallOffsetMs = 0;
  readonly counts = { starts: 0, outputs: 0, outputsMax: 0 };
  readonly #options: ControllerHostOptions;
  readonly #scheduler: Scheduler;
  readonly #prng: Prng;
  readonly #streams = new Map<ConnectionId, ControlStream>();
  readonly #answers = new Map<Ticket, (answer: AdminAnswer) => void>();
  readonly #encodings = new WeakMap<SharedMessage, string>();
  #incarnation = 0;
  #turnPending = false;
  #committing = false;
  #wakeAt = Number.POSITIVE_INFINITY;

  constructor(options: ControllerHostOptions, scheduler: Scheduler, prng: Prng) {
    this.#options = options;
    this.#scheduler = scheduler;
    this.#prng = prng;
    this.store = new MemoryStore(options.settings, STORED_OPS_MAX, scheduler, prng.fork());
  }

  get running(): boolean {
    return this.core !== null;
  }

  streams(): IterableIterator<ControlStream> {
    return this.#streams.values();
  }

  // — the process —

  start(): void {
    if (this.core !== null) return;
    this.counts.starts++;
    const random = this.#prng.fork();
    this.core = new ControllerCore(
      this.store.load(),
      {
        random: (out) => random.fill(out),
        sha256: this.#options.sha256,
        software: 'simulated',
        limits: this.#options.limits,
      },
      this.#clock(),
    );
    this.#turnSoon();
  }

  /** `kill -9`; with `silently` the whole machine goes, and nobody is told. */
  kill(silently: boolean): void {
    if (this.core === null) return;
    this.#gone();
    for (const stream of this.#streams.values()) {
      if (silently) stream.fallsSilent(true);
      else stream.controllerDies();
    }
    this.#streams.clear();
  }

  /** As on SIGTERM, but that what waits for the store is not waited for. */
  stop(): void {
    const { core } = this;
    if (core === null) return;
    core.goAway(this.#clock());
    for (const output of core.takeOutputs()) this.#carryOut(output);
    this.kill(false);
  }

  /** Adds up what the process has met; at its end, or at that of the run. */
  count(): void {
    if (this.core !== null) addCounters(this.#options.reached, 'controller', this.core.counters);
  }

  #gone(): void {
    this.count();
    this.core = null;
    this.#incarnation++;
    this.#turnPending = false;
    this.#committing = false;
    this.#wakeAt = Number.POSITIVE_INFINITY;
    this.#answers.clear();
    this.store.crash();
  }

  /** The controller has to be down. */
  restore(backup: StoredState): void {
    const epoch = new Uint8Array(12);
    this.#prng.fill(epoch);
    this.store.restore(backup, toBase64(epoch).replaceAll('+', '-').replaceAll('/', '_'));
  }

  // — people —

  /** False when nobody is there to be asked. `then` may never be called: the process may be killed first. */
  administer(command: AdminCommand, then: (answer: AdminAnswer) => void = () => undefined): boolean {
    if (this.core === null) return false;
    this.#answers.set(this.core.administer(command, ACTOR, this.#clock()), then);
    this.#turnSoon();
    return true;
  }

  // — connections —

  accepted(stream: ControlStream): void {
    if (this.core === null) {
      stream.controllerDies();
      return;
    }
    this.#streams.set(stream.id, stream);
    const { publicKey, remoteAddress } = stream;
    this.core.connected(stream.id, { publicKey, remoteAddress }, this.#clock());
    this.#turnSoon();
  }

  message(stream: ControlStream, message: NodeMessage): void {
    if (!this.#streams.has(stream.id)) return;
    this.core?.received(stream.id, message, this.#clock());
    this.#turnSoon();
  }

  drained(stream: ControlStream): void {
    if (!this.#streams.has(stream.id)) return;
    this.core?.writable(stream.id, this.#clock());
    this.#turnSoon();
  }

  closed(stream: ControlStream): void {
    if (!this.#streams.delete(stream.id)) return;
    this.core?.disconnected(stream.id, this.#clock());
    this.#turnSoon();
  }

  // — turns —

  #clock(): Clock {
    const { now } = this.#scheduler;
    return { now, wall: this.wall() };
  }

  wall(): WallTime {
    return (WALL_EPOCH_MS + this.#scheduler.now + this.wallOffsetMs) as WallTime;
  }

  /** To be called after a step of the clock: a person's machine notices that within a minute. */
  #turnSoon(): void {
    if (this.#turnPending || this.core === null) return;
    this.#turnPending = true;
    const incarnation = this.#incarnation;
    this.#scheduler.schedule(0, () => {
      if (incarnation !== this.#incarnation) return;
      this.#turnPending = false;
      this.#turn();
    });
  }

  #turn(): void {
    const { core } = this;
    if (core === null) return;
    const clock = this.#clock();
    if (core.nextDeadline() <= clock.now) core.handleDeadline(clock);
    this.#takeBatch(core, clock);
    const outputs = core.takeOutputs();
    // Who was shut out asks now and then whether that is still so, also in a network that is at rest.
    this.counts.outputs += outputs.filter((output) => !isRefusal(output)).length;
    this.counts.outputsMax = Math.max(this.counts.outputsMax, outputs.length);
    for (const output of outputs) this.#carryOut(output);
    this.#sleep(core);
  }

  #takeBatch(core: ControllerCore, clock: Clock): void {
    if (this.#committing) return;
    const batch = core.takeBatch(clock);
    if (batch === null) return;
    this.#committing = true;
    this.store.commit(batch, (stored) => {
      this.#committing = false;
      if (stored) core.batchCommitted(this.#clock());
      else core.batchFailed('it was to fail', this.#clock());
      this.#turnSoon();
    });
  }

  #carryOut(output: Output): void {
    this.#options.onOutput(output);
    switch (output.kind) {
      case 'send':
        this.#streams.get(output.conn)?.controllerSends(JSON.stringify(output.message), false);
        break;
      case 'sendShared':
        this.#streams.get(output.conn)?.controllerSends(this.#encode(output.shared), true);
        break;
      case 'close': {
        const stream = this.#streams.get(output.conn);
        this.#streams.delete(output.conn);
        stream?.controllerFinishes();
        break;
      }
      case 'answered':
        this.#answers.get(output.ticket)?.(output.answer);
        this.#answers.delete(output.ticket);
        break;
    }
  }

  #encode(shared: SharedMessage): string {
    const known = this.#encodings.get(shared);
    if (known !== undefined) return known;
    const text = JSON.stringify(shared.message);
    this.#encodings.set(shared, text);
    return text;
  }

  #sleep(core: ControllerCore): void {
    const at = core.nextDeadline();
    if (at === this.#wakeAt) return;
    this.#wakeAt = at;
    if (at === Number.POSITIVE_INFINITY) return;
    const incarnation = this.#incarnation;
    this.#scheduler.schedule(Math.max(0, at - this.#scheduler.now), () => {
      if (incarnation !== this.#incarnation || this.#wakeAt !== at) return;
      this.#wakeAt = Number.POSITIVE_INFINITY;
      this.#turn();
    });
  }
}

function isRefusal(output: Output): boolean {
  return output.kind === 'close' || (output.kind === 'send' && output.message.type === 'error');
}
