// One client of the control socket: bytes in, replies out, one request at a time, never more of a reply in memory than one
// chunk and what the kernel takes. Received bytes are zeroed once they are parsed: they may hold keys.

import type { Socket } from 'node:net';
import type { Instant } from '../base/instant.ts';
import type { UapiDevice } from '../wireguard/uapi/device.ts';
import { formatErrno } from '../wireguard/uapi/errno.ts';
import { RequestParser, type UapiReply } from '../wireguard/uapi/request-parser.ts';
import type { SetEnvironment } from '../wireguard/uapi/set-request.ts';
import { formatStatus } from '../wireguard/uapi/status-format.ts';
import type { Log } from './log.ts';

export interface UapiClientOptions<P> {
  readonly device: UapiDevice<P>;
  readonly now: () => Instant;
  readonly environment: SetEnvironment;
  readonly log: Log;
  /** A client that neither sends nor takes a byte for this long is put out. */
  readonly idleLimitMs: number;
}

export class UapiClient<P> {
  readonly #options: UapiClientOptions<P>;
  readonly #socket: Socket;
  readonly #parser: RequestParser<P>;
  #received: { readonly bytes: Buffer; taken: number } | null = null;
  #reply: Iterator<string> | null = null;
  #ended = false;
  /** When the client last sent a byte or took one. */
  lastActive: Instant;

  /** `socket` was accepted with allowHalfOpen. */
  constructor(socket: Socket, options: UapiClientOptions<P>) {
    this.#socket = socket;
    this.#options = options;
    this.#parser = new RequestParser(options.device, options.environment);
    this.lastActive = options.now();
    socket.setTimeout(options.idleLimitMs);
    socket.on('timeout', () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('data', (bytes) => this.#receive(bytes));
    socket.on('end', () => {
      this.#ended = true;
      this.#advance();
    });
    socket.on('drain', () => this.#advance());
    socket.on('close', () => this.#forget());
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #receive(bytes: Buffer): void {
    this.#socket.pause();
    this.#received = { bytes, taken: 0 };
    this.#advance();
  }

  /** Goes on with the reply, then with what was received, until the client has to send or to take something. */
  #advance(): void {
    this.lastActive = this.#options.now();
    for (;;) {
      if (this.#socket.destroyed || !this.#writeReply()) return;
      const reply = this.#nextReply();
      if (reply === null) break;
      this.#reply = this.#answer(reply);
    }
    if (this.#ended) this.#socket.end();
    else this.#socket.resume();
  }

  /** True when the whole reply was handed over; false when the client must read first. */
  #writeReply(): boolean {
    while (this.#reply !== null) {
      if (this.#socket.writableNeedDrain) return false;
      const { value, done } = this.#reply.next();
      if (done === true) this.#reply = null;
      else this.#socket.write(value, 'latin1');
    }
    return !this.#socket.writableNeedDrain;
  }

  /** Parses until a request is complete; null when all that was received is used up. */
  #nextReply(): UapiReply | null {
    const now = this.#options.now();
    const received = this.#received;
    if (received !== null) {
      const before = received.taken;
      received.taken = this.#parser.feed(received.bytes, before, now);
      received.bytes.fill(0, before, received.taken);
      if (received.taken === received.bytes.length) this.#received = null;
    } else if (this.#ended) this.#parser.end(now);
    return this.#parser.takeReply();
  }

  #answer(reply: UapiReply): Iterator<string> {
    const { operation, refusal } = reply;
    if (refusal === null && operation === 'get') return formatStatus(this.#options.device);
    if (refusal !== null) {
      const { errno, key, reason, line, peer } = refusal;
      this.#options.log.error('refused a request on the control socket', {
        key: key === '' ? null : key,
        why: reason,
        line,
        peer,
        errno,
      });
    }
    return [formatErrno(operation, refusal?.errno ?? null)].values();
  }

  #forget(): void {
    this.#received?.bytes.fill(0);
    this.#received = null;
    this.#reply = null;
  }
}
