// One connection to the controller as a node has it: WebSocket, Noise inside, JSON in that. Opens at once, tells its owner
// what comes, and ends once with a reason that a person can act on. When to connect, and what to say, is decided in
// src/mesh/control-client.ts; a new connection is a new link.

import { getRandomValues } from 'node:crypto';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { inflateRawSync } from 'node:zlib';
import { type RawData, WebSocket } from 'ws';
import { ascii } from '../base/bytes.ts';
import type { IpAddress } from '../base/ip.ts';
import { nodeProvider } from '../crypto/node.ts';
import type { DhKey, PublicKey } from '../crypto/provider.ts';
import type { CloseReason } from '../mesh/control-client.ts';
import { FRAME_BYTES_MAX, layOut, type ReceivedMessage, SecureChannel } from '../noise/secure-channel.ts';
import {
  CONTROL_PATH,
  CONTROL_PROLOGUE,
  CONTROLLER_MESSAGE_BYTES_MAX,
  type ControllerMessage,
  controllerMessageSchema,
  NODE_MESSAGE_BYTES_MAX,
  type NodeMessage,
} from '../protocol/control.ts';
import { canonicalAddress } from '../service/remote-address.ts';
import { type LinkFailure, type LinkFailureCause, linkFailure, transportFailure } from './control-link-failure.ts';

const PROLOGUE = ascii(CONTROL_PROLOGUE);
/** From the first packet to the channel. A little less than control-client.ts waits, which knows less about why. */
const OPEN_TIMEOUT_MS = 9_000;
/** What was sent is written out, or given up. */
const CLOSE_TIMEOUT_MS = 1_000;
/** What waits while the controller does not read; with more the link is given up. */
const QUEUE_BYTES_MAX = 16 * NODE_MESSAGE_BYTES_MAX;
const QUEUE_MESSAGES_MAX = 1_024;
/** Ours: the controller could not open our handshake. A hint, without proof. */
const CLOSE_HANDSHAKE_REFUSED = 4001;

export interface LinkTarget {
  /** Canonical: `http://host:port[/base]`. */
  readonly url: string;
  /** The key that the join link pins. */
  readonly controllerKey: PublicKey;
  /** The node's key. Borrowed while the link lives. */
  readonly localStatic: DhKey;
  readonly openTimeoutMs?: number;
}

export interface LinkEvents {
  /** The controller has proved its key. What is sent within the call goes out with no further wait. */
  opened(): void;
  message(message: ControllerMessage): void;
  /** A ping, a pong, or a piece of a long message. */
  heard(): void;
  /** Once, and nothing after it; not after `close`. */
  closed(reason: CloseReason & LinkFailure): void;
}

export class ControlLink {
  readonly #events: LinkEvents;
  readonly #url: string;
  readonly #socket: WebSocket;
  readonly #channel: SecureChannel;
  #timer: NodeJS.Timeout;
  #remoteAddress: IpAddress | null = null;
  #opened = false;
  #over = false;
  readonly #onWritten = (): void => this.#pump();

  constructor(target: LinkTarget, events: LinkEvents) {
    this.#events = events;
    this.#url = target.url;
    this.#channel = SecureChannel.initiator(
      {
        crypto: nodeProvider,
        random: (out) => {
          getRandomValues(out);
        },
        prologue: PROLOGUE,
        localStatic: target.localStatic,
        limits: {
          receiveBytesMax: CONTROLLER_MESSAGE_BYTES_MAX,
          queueBytesMax: QUEUE_BYTES_MAX,
          queueMessagesMax: QUEUE_MESSAGES_MAX,
        },
      },
      target.controllerKey,
    );
    this.#timer = setTimeout(() => this.#fail('timeout'), target.openTimeoutMs ?? OPEN_TIMEOUT_MS);
    this.#socket = new WebSocket(`${target.url.replace(/^http/, 'ws')}${CONTROL_PATH}`, {
      perMessageDeflate: false,
      skipUTF8Validation: true,
      maxPayload: FRAME_BYTES_MAX,
      followRedirects: false,
      // The channel inside proves who answers: a certificate that nobody vouches for takes nothing away.
      rejectUnauthorized: false,
    });
    this.#listen(this.#socket);
  }

  /** Of the controller, or of a proxy before it; null until there is a connection. */
  get remoteAddress(): IpAddress | null {
    return this.#remoteAddress;
  }

  /** False when it was not taken: the link is over, or the controller has not read for long. */
  send(message: NodeMessage): boolean {
    const bytes = Buffer.from(JSON.stringify(message));
    if (this.#over || bytes.length > NODE_MESSAGE_BYTES_MAX) return false;
    if (!this.#channel.send(layOut(bytes, false))) {
      this.#fail('stuck');
      return false;
    }
    this.#pump();
    return true;
  }

  /** A WebSocket ping; its pong is `heard`. */
  probe(): void {
    if (!this.#over && this.#socket.readyState === WebSocket.OPEN) this.#socket.ping();
  }

  /** Writes out what was sent, and ends without a word to the owner. */
  close(): void {
    if (this.#over) return;
    this.#pump();
    this.#end();
    if (this.#socket.readyState !== WebSocket.OPEN) {
      this.#socket.terminate();
      return;
    }
    this.#socket.close();
    this.#timer = setTimeout(() => this.#socket.terminate(), CLOSE_TIMEOUT_MS);
  }

  // — the socket —

  #listen(socket: WebSocket): void {
    socket.on('upgrade', ({ socket: { remoteAddress } }) => {
      this.#remoteAddress = canonicalAddress(remoteAddress);
    });
    socket.on('open', () => this.#pump());
    socket.on('message', (data, isBinary) => this.#handleFrame(data, isBinary));
    socket.on('ping', () => this.#hear());
    socket.on('pong', () => this.#hear());
    socket.on('unexpected-response', (request: ClientRequest, response: IncomingMessage) => {
      request.destroy();
      this.#fail('httpStatus', String(response.statusCode ?? 0));
    });
    socket.on('error', (error) => this.#failWith(transportFailure(error, this.#url)));
    socket.on('close', (code) => {
      clearTimeout(this.#timer);
      if (code === CLOSE_HANDSHAKE_REFUSED && !this.#opened) this.#fail('keyRefused');
      else this.#fail(this.#opened ? 'ended' : 'endedEarly');
    });
  }

  #hear(): void {
    if (!this.#over) this.#events.heard();
  }

  #handleFrame(data: RawData, isBinary: boolean): void {
    if (this.#over) return;
    if (!isBinary) {
      this.#fail('protocol', 'a text frame');
      return;
    }
    const received = this.#channel.handleFrame(data as Buffer);
    if (this.#channel.failure !== null) {
      this.#fail(this.#opened ? 'protocol' : 'keyMismatch', this.#channel.failure);
    } else if (!this.#opened) {
      this.#opened = true;
      clearTimeout(this.#timer);
      this.#events.opened();
      this.#pump();
    } else if (received === null) {
      this.#events.heard();
    } else {
      this.#handleMessage(received);
    }
  }

  #handleMessage(received: ReceivedMessage): void {
    const message = decode(received);
    if (message === 'unknown') this.#events.heard();
    else if (message === null) this.#fail('protocol', 'a message that cannot be read');
    else this.#events.message(message);
  }

  #pump(): void {
    if (this.#over || this.#socket.readyState !== WebSocket.OPEN) return;
    while (this.#socket.bufferedAmount < FRAME_BYTES_MAX) {
      const frame = this.#channel.nextFrame();
      if (frame === null) return;
      this.#socket.send(frame, this.#onWritten);
    }
  }

  // — the end —

  #fail(cause: LinkFailureCause, detail = ''): void {
    this.#failWith(linkFailure(cause, this.#url, detail));
  }

  #failWith(failure: LinkFailure): void {
    if (this.#over) return;
    this.#end();
    this.#socket.terminate();
    this.#events.closed(failure);
  }

  #end(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#channel.close();
  }
}

/** `unknown`: a type that a newer controller has. Null: broken. */
function decode(received: ReceivedMessage): ControllerMessage | 'unknown' | null {
  try {
    const bytes = received.deflated
      ? inflateRawSync(received.bytes, { maxOutputLength: CONTROLLER_MESSAGE_BYTES_MAX })
      : received.bytes;
    const json: unknown = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'));
    const parsed = controllerMessageSchema.safeParse(json);
    if (parsed.success) return parsed.data;
    return hasUnknownType(json) ? 'unknown' : null;
  } catch {
    // Not deflate, too long when inflated, or not JSON.
    return null;
  }
}

const KNOWN_TYPES: ReadonlySet<unknown> = new Set(
  controllerMessageSchema.options.map((option) => option.shape.type.value),
);

function hasUnknownType(json: unknown): boolean {
  if (typeof json !== 'object' || json === null || !('type' in json)) return false;
  return typeof json.type === 'string' && !KNOWN_TYPES.has(json.type);
}
