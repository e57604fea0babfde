// The controller's one port: HTTP or HTTPS, with the control channel behind an upgrade of /v1/control and whatever else is
// mounted (administration). Counts connections and bounds them before anything is proved; TLS is optional, since the
// channel has keys of its own. Paths may have a prefix that a reverse proxy left on.

import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { ascii } from '../../base/bytes.ts';
import type { Instant } from '../../base/instant.ts';
import type { IpAddress } from '../../base/ip.ts';
import type { RandomSource } from '../../base/prng.ts';
import type { CryptoProvider, DhKey } from '../../crypto/provider.ts';
import { FRAME_BYTES_MAX, SecureChannel } from '../../noise/secure-channel.ts';
import { CONTROL_PATH, CONTROL_PROLOGUE, NODE_MESSAGE_BYTES_MAX } from '../../protocol/control.ts';
import type { Certificate } from '../../service/listen.ts';
import { clientAddress } from '../../service/remote-address.ts';
import type { UpgradeDoor } from '../../service/upgrade-door.ts';
import type { ConnectionId } from '../state/commands.ts';
import { Admission, type Place } from './admission.ts';
import { type ConnectionEvents, ControlConnection } from './control-connection.ts';
import type { CloseReason, ServerCounters } from './counters.ts';
import type { ServerLimits } from './limits.ts';

export interface ControlServerOptions {
  readonly crypto: CryptoProvider;
  readonly random: RandomSource;
  /** The controller's key. Borrowed. */
  readonly staticKey: DhKey;
  readonly certificate: Certificate | null;
  readonly limits: ServerLimits;
  readonly counters: ServerCounters;
  readonly events: ConnectionEvents;
  /** Everything that is not the control channel. */
  readonly onRequest: RequestListener;
  /** What else stands behind an upgrade. */
  readonly doors?: () => readonly UpgradeDoor[];
  readonly now: () => Instant;
}

/** Beats are spread over this many slices of the ping interval. */
const BEAT_SLICES = 30;
const PROLOGUE = ascii(CONTROL_PROLOGUE);

export class ControlServer {
  readonly #options: ControlServerOptions;
  readonly #http: Server | TlsServer;
  readonly #webSockets: WebSocketServer;
  readonly #admission: Admission;
  /** By the remote end of the TCP connection: under TLS, requests come on another object than the connection. */
  readonly #places = new Map<string, Place>();
  readonly #connections = new Set<ControlConnection>();
  readonly #slices: Set<ControlConnection>[] = Array.from({ length: BEAT_SLICES }, () => new Set());
  #slice = 0;
  #beats: NodeJS.Timeout | null = null;
  #nextId = 1;
  #closing = false;

  constructor(options: ControlServerOptions) {
    this.#options = options;
    const { limits, certificate } = options;
    this.#admission = new Admission(limits.unprovenMax, limits.unprovenPerSourceMax);
    const http = {
      maxHeaderSize: limits.headerBytesMax,
      headersTimeout: limits.headersTimeoutMs,
      requestTimeout: limits.requestTimeoutMs,
      keepAliveTimeout: limits.keepAliveMs,
      connectionsCheckingInterval: limits.httpCheckMs,
      noDelay: true,
    };
    this.#http =
      certificate === null
        ? createServer(http, options.onRequest)
        : createTlsServer(
            { ...http, ...certificate, minVersion: 'TLSv1.2', handshakeTimeout: limits.headersTimeoutMs },
            options.onRequest,
          );
    this.#http.maxConnections = limits.connectionsMax;
    this.#webSockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      skipUTF8Validation: true,
      maxPayload: FRAME_BYTES_MAX,
    });
    this.#http.on('connection', (socket: Socket) => this.#accept(socket));
    this.#http.on('drop', () => {
      options.counters.refusedTotal++;
    });
    this.#http.on('clientError', (_error: Error, socket: Duplex) => this.#refuse(socket, 400));
    this.#http.on('tlsClientError', () => {
      options.counters.badRequests++;
    });
    this.#http.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) =>
      this.#upgrade(request, socket, head),
    );
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  get unprovenCount(): number {
    return this.#admission.unproven;
  }

  /** Resolves with the port; rejects with what listen(2) said. */
  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#http.once('error', reject);
      this.#http.listen({ host, port, backlog: 4096 }, () => {
        this.#http.off('error', reject);
        // Out of descriptors, most of all: those that are there go on.
        this.#http.on('error', () => undefined);
        this.#beats = setInterval(() => this.#beat(), Math.max(1, this.#options.limits.pingIntervalMs / BEAT_SLICES));
        resolve((this.#http.address() as AddressInfo).port);
      });
    });
  }

  /** Another certificate for connections from now on. Throws what the TLS library says of a bad one. */
  setCertificate(certificate: Certificate): void {
    (this.#http as TlsServer).setSecureContext(certificate);
  }

  /** Takes no more connections, lets those that are there end (`reason`), and resolves when all are gone. */
  async close(reason: CloseReason): Promise<void> {
    this.#closing = true;
    const gone = new Promise<void>((resolve) => {
      this.#http.close(() => resolve());
    });
    this.#http.closeIdleConnections();
    for (const connection of this.#connections) connection.finish(reason);
    const cut = setTimeout(() => {
      for (const connection of this.#connections) connection.cut(reason);
      this.#http.closeAllConnections();
    }, this.#options.limits.closeTimeoutMs);
    await gone;
    clearTimeout(cut);
    if (this.#beats !== null) clearInterval(this.#beats);
  }

  // — connections —

  #accept(socket: Socket): void {
    const { counters } = this.#options;
    const admitted = this.#admission.admit(socket.remoteAddress);
    if (!admitted.ok) {
      if (admitted.reason === 'source') counters.refusedSource++;
      else counters.refusedUnproven++;
      socket.destroy();
      return;
    }
    counters.connectionsOpened++;
    const key = placeKey(socket);
    this.#places.set(key, admitted.place);
    socket.once('close', () => {
      admitted.place.release();
      if (this.#places.get(key) === admitted.place) this.#places.delete(key);
    });
  }

  #refuse(socket: Duplex, status: 400 | 404 | 503): void {
    this.#options.counters.badRequests++;
    if (!socket.writable) {
      socket.destroy();
      return;
    }
    const text = { 400: 'Bad Request', 404: 'Not Found', 503: 'Service Unavailable' }[status];
    socket.end(`HTTP/1.1 ${status} ${text}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // Until WebSocket takes it over, an error of the socket is nobody's.
    const ignore = (): void => undefined;
    socket.on('error', ignore);
    const path = (request.url ?? '').split('?')[0] as string;
    const door = this.#closing ? undefined : this.#options.doors?.().find((one) => path.endsWith(one.path));
    if (door !== undefined) {
      socket.off('error', ignore);
      const place = this.#places.get(placeKey(request.socket));
      door.upgrade(request, socket, head, { address: addressOf(request), proven: () => place?.release() });
      return;
    }
    if (this.#closing || !path.endsWith(CONTROL_PATH)) {
      this.#options.counters.badUpgrades++;
      this.#refuse(socket, this.#closing ? 503 : 404);
      return;
    }
    const before = this.#connections.size;
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      socket.off('error', ignore);
      this.#connect(webSocket, request);
    });
    // It answers a bad request itself, without a word to us; a good one is connected within the call.
    if (this.#connections.size === before) this.#options.counters.badUpgrades++;
  }

  #connect(webSocket: WebSocket, request: IncomingMessage): void {
    const { crypto, random, staticKey, limits, counters, events, now } = this.#options;
    const channel = SecureChannel.responder({
      crypto,
      random,
      prologue: PROLOGUE,
      localStatic: staticKey,
      limits: {
        receiveBytesMax: NODE_MESSAGE_BYTES_MAX,
        queueBytesMax: limits.queueBytesMax,
        queueMessagesMax: limits.queueMessagesMax,
      },
    });
    const place = this.#places.get(placeKey(request.socket));
    const slice = this.#slices[this.#nextId % BEAT_SLICES] as Set<ControlConnection>;
    const connection = new ControlConnection({
      id: this.#nextId++ as ConnectionId,
      socket: webSocket,
      channel,
      remoteAddress: addressOf(request),
      limits,
      counters,
      events: {
        ...eventsOf(events),
        closed: (closed, reason) => {
          this.#connections.delete(closed);
          slice.delete(closed);
          events.closed(closed, reason);
        },
      },
      onRegistered: () => place?.release(),
      now,
    });
    this.#connections.add(connection);
    slice.add(connection);
  }

  #beat(): void {
    this.#slice = (this.#slice + 1) % BEAT_SLICES;
    for (const connection of this.#slices[this.#slice] as Set<ControlConnection>) connection.beat();
  }
}

function addressOf({ headers, socket }: IncomingMessage): IpAddress | null {
  const forwarded = headers['x-forwarded-for'];
  return clientAddress(socket.remoteAddress, Array.isArray(forwarded) ? forwarded.at(-1) : forwarded);
}

function placeKey(socket: Socket): string {
  return `${socket.remoteAddress}|${socket.remotePort}`;
}

function eventsOf(events: ConnectionEvents): ConnectionEvents {
  return {
    proven: (connection, publicKey) => events.proven(connection, publicKey),
    message: (connection, message) => events.message(connection, message),
    malformed: (connection) => events.malformed(connection),
    drained: (connection) => events.drained(connection),
    closed: (connection, reason) => events.closed(connection, reason),
  };
}
