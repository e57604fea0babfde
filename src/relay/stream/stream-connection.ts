// One stream: a WebSocket on the one side, a UDP socket of its own on the loopback on the other, connected to the relay's port. To the
// relay it is a source like any other, which has to prove itself; here nothing is looked into but the type of what comes back.

import type { Socket as UdpSocket } from 'node:dgram';
import { performance } from 'node:perf_hooks';
import type { RawData, WebSocket } from 'ws';
import { RELAY_MESSAGE_TYPE } from '../../base/relayed.ts';
import { datagramsIn, StreamBatch } from '../../protocol/relay-stream.ts';
import { errorCode } from '../../service/start-error.ts';
import type { StreamCounter, StreamCounters, StreamLimits } from './stream-limits.ts';

/** Codes of RFC 6455 §7.4, for people who look at it. */
const CLOSE_GOING_AWAY = 1001;
const CLOSE_POLICY = 1008;
/** From our close to the other end's. */
const CLOSE_TIMEOUT_MS = 1_000;
/** Of a message and of a handshake response: what the relay says to members only. A cookie reply it says to anybody. */
const PROVING_TYPES: readonly number[] = [2, 4, RELAY_MESSAGE_TYPE];

export interface StreamOptions {
  /** Open and paused. */
  readonly webSocket: WebSocket;
  /** Connected to the relay's port; the stream's from here on. */
  readonly udp: UdpSocket;
  readonly limits: StreamLimits;
  readonly counters: StreamCounters;
  readonly proven: () => void;
  /** Once. */
  readonly closed: () => void;
}

export class StreamConnection {
  readonly #options: StreamOptions;
  readonly #webSocket: WebSocket;
  readonly #udp: UdpSocket;
  readonly #batch = new StreamBatch();
  #flush: NodeJS.Immediate | null = null;
  /** First of being a stranger, then of idling. */
  #timer: NodeJS.Timeout;
  #pause: NodeJS.Timeout | null = null;
  #proven = false;
  #over = false;
  #strangerLeft: number;
  #heardAt = performance.now();
  #budget: number;
  #budgetAt = performance.now();
  /** Nobody listens there any more; whatever else the kernel says of one datagram is a lost datagram. */
  readonly #onSent = (error: Error | null): void => {
    if (error !== null && errorCode(error) === 'ECONNREFUSED') this.#end('closedOther', CLOSE_GOING_AWAY);
  };

  constructor(options: StreamOptions) {
    const { webSocket, udp, limits } = options;
    this.#options = options;
    this.#webSocket = webSocket;
    this.#udp = udp;
    this.#strangerLeft = limits.unprovenDatagramsMax;
    this.#budget = limits.bytesBurst;
    this.#timer = setTimeout(() => this.#end('closedUnproven', CLOSE_POLICY), limits.provenWithinMs);
    webSocket.on('message', (data, isBinary) => this.#handleMessage(data, isBinary));
    webSocket.on('close', () => this.#end('closedByPeer'));
    // What is wrong with a frame; `close` follows.
    webSocket.on('error', () => this.#end('closedMalformed'));
    udp.on('error', () => this.#end('closedOther', CLOSE_GOING_AWAY));
    udp.on('message', (datagram) => this.#handleDatagram(datagram));
    webSocket.resume();
  }

  /** The relay stops. */
  stop(): void {
    this.#end('closedOther', CLOSE_GOING_AWAY);
  }

  // — from the node —

  #handleMessage(data: RawData, isBinary: boolean): void {
    if (this.#over) return;
    const { counters } = this.#options;
    const datagrams = isBinary ? datagramsIn(data as Buffer) : null;
    if (datagrams === null) {
      this.#end('closedMalformed', CLOSE_POLICY);
      return;
    }
    this.#heardAt = performance.now();
    if (!this.#proven) {
      this.#strangerLeft -= datagrams.length;
      if (this.#strangerLeft < 0) {
        this.#end('closedUnproven', CLOSE_POLICY);
        return;
      }
    }
    const busy = this.#udp.getSendQueueSize() > this.#options.limits.waitingBytesMax;
    counters.datagramsIn += datagrams.length;
    if (busy) counters.droppedBusy += datagrams.length;
    else for (const datagram of datagrams) this.#udp.send(datagram, this.#onSent);
    this.#spend((data as Buffer).length);
  }

  /** Who sends more than it may is not read for a while. */
  #spend(bytes: number): void {
    const { limits, counters } = this.#options;
    const now = performance.now();
    const earned = ((now - this.#budgetAt) * limits.bytesPerSecond) / 1000;
    this.#budget = Math.min(limits.bytesBurst, this.#budget + earned) - bytes;
    this.#budgetAt = now;
    if (this.#budget >= 0 || this.#pause !== null) return;
    counters.pauses++;
    this.#webSocket.pause();
    this.#pause = setTimeout(
      () => {
        this.#pause = null;
        this.#webSocket.resume();
      },
      Math.ceil((-this.#budget * 1000) / limits.bytesPerSecond),
    );
  }

  // — from the relay —

  #handleDatagram(datagram: Buffer): void {
    if (this.#over) return;
    if (!this.#proven && PROVING_TYPES.includes(datagram[0] as number)) this.#prove();
    if (!this.#batch.add(datagram)) {
      this.#send();
      this.#batch.add(datagram);
    }
    if (this.#batch.bytes >= this.#options.limits.batchBytes) this.#send();
    else this.#flush ??= setImmediate(() => this.#send());
  }

  #prove(): void {
    const { counters, proven, limits } = this.#options;
    this.#proven = true;
    counters.proven++;
    proven();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#idleDue(), limits.idleMs);
  }

  #send(): void {
    if (this.#flush !== null) clearImmediate(this.#flush);
    this.#flush = null;
    const { counters, limits } = this.#options;
    const count = this.#batch.count;
    const message = this.#batch.take();
    if (message === null || this.#over) return;
    if (this.#webSocket.bufferedAmount > limits.waitingBytesMax) {
      counters.droppedFull += count;
      return;
    }
    counters.datagramsOut += count;
    this.#webSocket.send(message);
  }

  // — the end —

  #idleDue(): void {
    const { idleMs } = this.#options.limits;
    const left = this.#heardAt + idleMs - performance.now();
    if (left <= 0) this.#end('closedIdle', CLOSE_GOING_AWAY);
    else this.#timer = setTimeout(() => this.#idleDue(), Math.ceil(left));
  }

  /** `code`: the other end is told. */
  #end(why: StreamCounter, code: number | null = null): void {
    if (this.#over) return;
    this.#over = true;
    this.#options.counters[why]++;
    clearTimeout(this.#timer);
    if (this.#pause !== null) clearTimeout(this.#pause);
    if (this.#flush !== null) clearImmediate(this.#flush);
    this.#udp.close();
    this.#webSocket.resume();
    if (code === null) this.#webSocket.terminate();
    else {
      this.#webSocket.close(code);
      setTimeout(() => this.#webSocket.terminate(), CLOSE_TIMEOUT_MS).unref();
    }
    this.#options.closed();
  }
}
