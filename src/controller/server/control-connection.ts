// One node's connection: a WebSocket, the secure channel in it, and what is owed to it. Frames are sealed only while the socket
// has room, so a slow node holds one message and some 256 KB, and nobody else up. Knows nothing of what messages mean.

import type { RawData, WebSocket } from 'ws';
import type { Instant } from '../../base/instant.ts';
import type { IpAddress } from '../../base/ip.ts';
import type { PublicKey } from '../../crypto/provider.ts';
import type { LaidOutMessage, SecureChannel } from '../../noise/secure-channel.ts';
import type { NodeMessage } from '../../protocol/control.ts';
import type { ConnectionId } from '../state/commands.ts';
import type { CloseReason, ServerCounters } from './counters.ts';
import type { ServerLimits } from './limits.ts';
import { MessageBudget } from './message-budget.ts';
import { decodeNodeMessage } from './message-codec.ts';

/** Codes of RFC 6455 §7.4 and of ours (4000 …): a hint to the node, without proof. */
const CLOSE_NORMAL = 1000;
const CLOSE_GOING_AWAY = 1001;
const CLOSE_POLICY = 1008;
export const CLOSE_HANDSHAKE_REFUSED = 4001;

export interface ConnectionEvents {
  /** The first message under the keys of the handshake is here, and will be told next. */
  proven(connection: ControlConnection, publicKey: PublicKey): void;
  message(connection: ControlConnection, message: NodeMessage): void;
  malformed(connection: ControlConnection): void;
  /** All that was sent is in the kernel, or nearly. */
  drained(connection: ControlConnection): void;
  closed(connection: ControlConnection, reason: CloseReason): void;
}

export interface ConnectionOptions {
  readonly id: ConnectionId;
  readonly socket: WebSocket;
  readonly channel: SecureChannel;
  readonly remoteAddress: IpAddress | null;
  readonly limits: ServerLimits;
  readonly counters: ServerCounters;
  readonly events: ConnectionEvents;
  /** The network knows it: see `registered`. */
  readonly onRegistered: () => void;
  readonly now: () => Instant;
}

export class ControlConnection {
  readonly id: ConnectionId;
  readonly remoteAddress: IpAddress | null;
  readonly #options: ConnectionOptions;
  readonly #socket: WebSocket;
  readonly #channel: SecureChannel;
  readonly #budget: MessageBudget;
  /** The one timer: of the handshake, then of a pause, then of closing. */
  #timer: NodeJS.Timeout | null = null;
  #proven = false;
  #finishing: CloseReason | null = null;
  #over = false;
  /** Whether there was a sign of life since the last ping, and how many pings went without one. */
  #heard = true;
  #missed = 0;
  /** Something was sent since `drained` was told. */
  #owesDrained = false;
  readonly #onWritten = (): void => this.#pump();

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.id = options.id;
    this.remoteAddress = options.remoteAddress;
    this.#socket = options.socket;
    this.#channel = options.channel;
    this.#budget = new MessageBudget(options.limits, options.now());
    this.#socket.on('message', (data, isBinary) => this.#handleFrame(data, isBinary));
    this.#socket.on('ping', (data) => this.#hear(data.length));
    this.#socket.on('pong', (data) => this.#hear(data.length));
    this.#socket.on('close', () => this.#end('peer'));
    // What is wrong with a frame or a socket; `close` follows.
    this.#socket.on('error', () => this.#end('malformed'));
    this.#arm(options.limits.handshakeTimeoutMs, () => this.cut('handshakeTimeout'));
  }

  get proven(): boolean {
    return this.#proven;
  }

  /** The core has let it in, or has it wait for approval: it is no stranger any more. Anybody can prove a key of his own. */
  registered(): void {
    this.#options.onRegistered();
  }

  /** Queues a message; a connection for which it is too much is cut. */
  send(message: LaidOutMessage): void {
    if (this.#over || this.#finishing !== null) return;
    if (!this.#channel.send(message)) {
      this.cut('tooSlow');
      return;
    }
    this.#owesDrained = true;
    this.#pump();
  }

  /** A beat of the server's one clock for pings. */
  beat(): void {
    if (this.#over || !this.#proven) return;
    this.#missed = this.#heard ? 0 : this.#missed + 1;
    this.#heard = false;
    if (this.#missed >= this.#options.limits.pingsMissedMax) this.cut('silent');
    else this.#socket.ping();
  }

  /** Closes once all that was sent is written out, or after a while. */
  finish(reason: CloseReason): void {
    if (this.#over || this.#finishing !== null) return;
    this.#finishing = reason;
    this.#arm(this.#options.limits.closeTimeoutMs, () => this.cut(reason));
    this.#pump();
  }

  /** Ends it now. */
  cut(reason: CloseReason): void {
    this.#socket.terminate();
    this.#end(reason);
  }

  // — in —

  /** A ping or a pong, which costs as much to take as a message does. */
  #hear(bytes: number): void {
    this.#heard = true;
    if (!this.#over && this.#finishing === null) this.#spend(bytes);
  }

  #handleFrame(data: RawData, isBinary: boolean): void {
    if (this.#over || this.#finishing !== null) return;
    const { counters, events } = this.#options;
    this.#heard = true;
    const frame = Array.isArray(data) ? Buffer.concat(data) : data instanceof ArrayBuffer ? Buffer.from(data) : data;
    counters.framesReceived++;
    counters.bytesReceived += frame.length;
    if (!isBinary) {
      this.#refuse(CLOSE_POLICY, 'malformed');
      return;
    }
    const handshaking = this.#channel.state === 'handshaking';
    const message = this.#channel.handleFrame(frame);
    if (this.#channel.failure !== null) {
      counters.channelFailures[this.#channel.failure]++;
      this.#refuse(handshaking ? CLOSE_HANDSHAKE_REFUSED : CLOSE_POLICY, 'channel');
      return;
    }
    if (handshaking) this.#pump();
    this.#spend(frame.length);
    if (this.#channel.confirmed && !this.#proven) {
      this.#proven = true;
      this.#disarm();
      counters.handshakesDone++;
      events.proven(this, this.#channel.remoteStatic as PublicKey);
    }
    if (message === null || this.#over) return;
    counters.messagesReceived++;
    const decoded = decodeNodeMessage(message);
    if (decoded !== null) {
      events.message(this, decoded);
      return;
    }
    counters.messagesMalformed++;
    events.malformed(this);
  }

  /** A node that says more than it may is not read for a while. */
  #spend(bytes: number): void {
    const wait = this.#budget.spend(bytes, this.#options.now());
    if (wait === 0 || !this.#proven) return;
    this.#options.counters.pauses++;
    this.#socket.pause();
    this.#arm(wait, () => this.#socket.resume());
  }

  // — out —

  #pump(): void {
    const { limits, counters, events } = this.#options;
    if (this.#over) return;
    while (this.#socket.bufferedAmount < limits.sendMarkBytes) {
      const frame = this.#channel.nextFrame();
      if (frame === null) {
        if (this.#finishing !== null) this.#close(CLOSE_NORMAL);
        else if (this.#channel.failure !== null) this.cut('channel');
        else if (this.#owesDrained) {
          this.#owesDrained = false;
          events.drained(this);
        }
        return;
      }
      counters.framesSent++;
      counters.bytesSent += frame.length;
      this.#socket.send(frame, this.#onWritten);
    }
  }

  // — end —

  /** Tells why, as far as one may, without waiting for what is queued. */
  #refuse(code: number, reason: CloseReason): void {
    this.#finishing = reason;
    this.#arm(this.#options.limits.closeTimeoutMs, () => this.cut(reason));
    this.#close(code);
  }

  #close(code: number): void {
    this.#socket.close(this.#finishing === 'stopping' ? CLOSE_GOING_AWAY : code);
  }

  #end(reason: CloseReason): void {
    if (this.#over) return;
    this.#over = true;
    this.#disarm();
    this.#channel.close();
    const told = this.#finishing ?? reason;
    this.#options.counters.closed[told]++;
    this.#options.events.closed(this, told);
  }

  #arm(ms: number, then: () => void): void {
    this.#disarm();
    this.#timer = setTimeout(then, ms);
  }

  #disarm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
