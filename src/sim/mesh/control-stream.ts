// A connection between a node and the controller: two ordered, reliable streams of messages with latency, as TCP gives them.
// It ends by a close, by a break that both ends see, or in silence, when neither is told and everything is lost: then each
// end finds out by its own pings. Messages go as JSON through the schemas, so what passes here passes on the wire.

import type { IpAddress } from '../../base/ip.ts';
import type { Prng } from '../../base/prng.ts';
import type { ConnectionId } from '../../controller/state/commands.ts';
import type { CloseReason } from '../../mesh/control-client.ts';
import {
  type ControllerMessage,
  controllerMessageSchema,
  type NodeMessage,
  nodeMessageSchema,
} from '../../protocol/control.ts';
import type { PublicKeyText } from '../../protocol/values.ts';
import type { Scheduler } from '../network.ts';

/** Pings without a sign of life after which the controller's end is dead. */
const PINGS_MISSED_MAX = 3;
/** What the controller's end waits for to be written out after a close. */
const CLOSE_TIMEOUT_MS = 2_000;

/** What connections to the controller are like; times in ms. */
export interface ControlConditions {
  latencyMs: number;
  jitterMs: number;
  /** Until a message has left the controller's machine: a slow client's takes seconds. */
  writeMs: number;
}

export interface NodeEnd {
  opened(stream: ControlStream): void;
  message(stream: ControlStream, message: ControllerMessage): void;
  heard(stream: ControlStream): void;
  closed(stream: ControlStream, reason: CloseReason): void;
}

export interface ControllerEnd {
  accepted(stream: ControlStream): void;
  message(stream: ControlStream, message: NodeMessage): void;
  drained(stream: ControlStream): void;
  closed(stream: ControlStream): void;
}

export interface StreamOptions {
  readonly id: ConnectionId;
  readonly publicKey: PublicKeyText;
  readonly remoteAddress: IpAddress;
  /** As they are at the moment. */
  readonly conditions: () => ControlConditions;
  readonly pingIntervalMs: number;
  readonly node: NodeEnd;
  readonly controller: ControllerEnd;
  readonly scheduler: Scheduler;
  readonly prng: Prng;
  /** Every message, either way. */
  readonly tap: (text: string) => void;
  /** Messages are taken for what they say they are: whoever simulates much else need not pay for the schemas again. */
  readonly trusts?: boolean;
}

export class ControlStream {
  readonly id: ConnectionId;
  readonly publicKey: PublicKeyText;
  readonly remoteAddress: IpAddress;
  readonly #options: StreamOptions;
  readonly #queue: { readonly text: string; readonly isNetmap: boolean }[] = [];
  #writing = false;
  #finishing = false;
  /** Which ends have ended. */
  #nodeOver = false;
  #controllerOver = false;
  #silent = false;
  #stalled = false;
  #upAt = 0;
  #downAt = 0;
  #heard = true;
  #missed = 0;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.id = options.id;
    this.publicKey = options.publicKey;
    this.remoteAddress = options.remoteAddress;
    this.#up(() => {
      options.controller.accepted(this);
      this.#beatLater();
      this.#down(() => options.node.opened(this));
    });
  }

  get isOver(): boolean {
    return this.#nodeOver && this.#controllerOver;
  }

  /** It has fallen silent, and not both ends have found out. */
  get isSilent(): boolean {
    return this.#silent;
  }

  /** Messages that were given to the controller's end and have not left it, and those of the netmap among them. */
  get queued(): number {
    return this.#queue.length;
  }

  get netmapsQueued(): number {
    return this.#queue.reduce((sum, { isNetmap }) => sum + Number(isNetmap), 0);
  }

  // — the node's end —

  nodeSends(message: NodeMessage): void {
    if (this.#nodeOver) return;
    const text = JSON.stringify(message);
    this.#options.tap(text);
    this.#up(() => {
      this.#hear();
      const message: unknown = JSON.parse(text);
      const { trusts = false } = this.#options;
      this.#options.controller.message(this, trusts ? (message as NodeMessage) : nodeMessageSchema.parse(message));
    });
  }

  nodePings(): void {
    if (this.#nodeOver) return;
    this.#up(() => {
      this.#hear();
      this.#down(() => this.#options.node.heard(this));
    });
  }

  /** What was sent before still arrives. */
  nodeCloses(): void {
    if (this.#nodeOver) return;
    this.#up(() => this.#endController());
    this.#nodeOver = true;
  }

  // — the controller's end —

  controllerSends(text: string, isNetmap: boolean): void {
    if (this.#controllerOver || this.#finishing) return;
    this.#queue.push({ text, isNetmap });
    this.#write();
  }

  /** Closes once all that was sent is written out, or after a while. The controller has forgotten it already. */
  controllerFinishes(): void {
    if (this.#controllerOver || this.#finishing) return;
    this.#finishing = true;
    if (this.#queue.length === 0) this.#finish();
    else this.#options.scheduler.schedule(CLOSE_TIMEOUT_MS, () => this.#finish());
  }

  #finish(): void {
    if (this.#controllerOver) return;
    this.#controllerOver = true;
    this.#queue.length = 0;
    this.#down(() => this.#endNode());
  }

  #write(): void {
    if (this.#writing || this.#stalled || this.#queue.length === 0) return;
    this.#writing = true;
    const { scheduler, prng, node, tap, conditions, trusts = false } = this.#options;
    scheduler.schedule(prng.nextFloat() * conditions().writeMs, () => {
      this.#writing = false;
      const next = this.#queue.shift();
      if (this.#controllerOver || next === undefined) return;
      tap(next.text);
      this.#down(() => {
        const message: unknown = JSON.parse(next.text);
        node.message(this, trusts ? (message as ControllerMessage) : controllerMessageSchema.parse(message));
      });
      if (this.#queue.length > 0) this.#write();
      else if (this.#finishing) this.#finish();
      else this.#options.controller.drained(this);
    });
  }

  // — what happens to it —

  /** Both ends are told, each in its time; what was on its way is lost. */
  breaks(): void {
    this.#silent = true;
    this.#queue.length = 0;
    const { scheduler, prng } = this.#options;
    scheduler.schedule(prng.nextInt(0, 200), () => this.#endController());
    scheduler.schedule(prng.nextInt(0, 200), () => this.#endNode());
  }

  /** Nobody is told. `stalls`: what the controller sends does not even leave its machine any more. */
  fallsSilent(stalls: boolean): void {
    this.#silent = true;
    this.#stalled = stalls;
  }

  /** The process at the controller's end is gone; its machine says so to the other end. */
  controllerDies(): void {
    this.#controllerOver = true;
    this.#queue.length = 0;
    this.#down(() => this.#endNode());
  }

  /** The process at the node's end is gone. */
  nodeDies(): void {
    this.#nodeOver = true;
    this.#up(() => this.#endController());
  }

  #endController(): void {
    if (this.#controllerOver) return;
    this.#controllerOver = true;
    this.#queue.length = 0;
    if (!this.#finishing) this.#options.controller.closed(this);
  }

  #endNode(): void {
    if (this.#nodeOver) return;
    this.#nodeOver = true;
    this.#options.node.closed(this, { code: 'closed', message: 'the connection ended' });
  }

  // — pings of the controller —

  #beatLater(): void {
    this.#options.scheduler.schedule(this.#options.pingIntervalMs, () => this.#beat());
  }

  #beat(): void {
    if (this.#controllerOver) return;
    this.#missed = this.#heard ? 0 : this.#missed + 1;
    this.#heard = false;
    if (this.#missed >= PINGS_MISSED_MAX) {
      this.#endController();
      this.#down(() => this.#endNode());
      return;
    }
    this.#down(() => {
      this.#options.node.heard(this);
      this.#up(() => this.#hear());
    });
    this.#beatLater();
  }

  #hear(): void {
    this.#heard = true;
  }

  // — the streams —

  #up(arrives: () => void): void {
    this.#upAt = this.#later(this.#upAt, () => {
      if (!this.#controllerOver) arrives();
    });
  }

  #down(arrives: () => void): void {
    this.#downAt = this.#later(this.#downAt, () => {
      if (!this.#nodeOver) arrives();
    });
  }

  /** In order: not before what was sent before. */
  #later(before: number, arrives: () => void): number {
    const { scheduler, prng, conditions } = this.#options;
    const { latencyMs, jitterMs } = conditions();
    const at = Math.max(before, scheduler.now + latencyMs + prng.nextFloat() * jitterMs);
    scheduler.schedule(at - scheduler.now, () => {
      if (!this.#silent) arrives();
    });
    return at;
  }
}
