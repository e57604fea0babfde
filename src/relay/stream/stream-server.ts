// Where datagrams for the relay come in over WebSocket: a door behind an upgrade, on the controller's port or on a listener of the
// relay's own. Bounds how many there are, and gives each a socket towards the relay (stream-connection.ts).

import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { RELAY_PATH, STREAM_MESSAGE_BYTES_MAX } from '../../protocol/relay-stream.ts';
import type { UpgradeDoor, Visitor } from '../../service/upgrade-door.ts';
import { connectToRelay } from './loopback-socket.ts';
import { StreamConnection } from './stream-connection.ts';
import { newStreamCounters, STREAM_LIMITS, type StreamCounters, type StreamLimits } from './stream-limits.ts';
import { type StreamPlace, StreamPlaces } from './stream-places.ts';

const CLOSE_GOING_AWAY = 1001;

export class StreamServer implements UpgradeDoor {
  readonly path = RELAY_PATH;
  readonly counters: StreamCounters = newStreamCounters();
  readonly #relayPort: number;
  readonly #limits: StreamLimits;
  readonly #places: StreamPlaces;
  readonly #streams = new Set<StreamConnection>();
  readonly #webSockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    skipUTF8Validation: true,
    maxPayload: STREAM_MESSAGE_BYTES_MAX,
  });
  #closed = false;

  /** `relayPort`: of UDP, on this machine. */
  constructor(relayPort: number, limits: StreamLimits = STREAM_LIMITS) {
    this.#relayPort = relayPort;
    this.#limits = limits;
    this.#places = new StreamPlaces(limits);
  }

  get streams(): number {
    return this.#streams.size;
  }

  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, visitor: Visitor): void {
    // Until WebSocket takes it over, an error of the socket is nobody's.
    const ignore = (): void => undefined;
    socket.on('error', ignore);
    const placed = this.#closed ? ({ ok: false, reason: 'total' } as const) : this.#places.take(visitor.address);
    if (!placed.ok) {
      this.counters[placed.reason === 'source' ? 'refusedSource' : 'refusedTotal']++;
      refuse(socket);
      return;
    }
    const { place } = placed;
    let upgraded = false;
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      upgraded = true;
      socket.off('error', ignore);
      webSocket.pause();
      this.#open(webSocket, place, visitor).catch(() => {
        place.release();
        webSocket.terminate();
      });
    });
    // It answers a bad request itself, without a word to us; a good one is there within the call.
    if (upgraded) return;
    this.counters.badUpgrades++;
    place.release();
  }

  async #open(webSocket: WebSocket, place: StreamPlace, visitor: Visitor): Promise<void> {
    // A stream takes over these two once it is there.
    const ignore = (): void => undefined;
    webSocket.on('error', ignore);
    const udp = await connectToRelay(this.#relayPort);
    if (this.#closed || webSocket.readyState !== webSocket.OPEN) {
      udp.close();
      place.release();
      webSocket.close(CLOSE_GOING_AWAY);
      return;
    }
    this.counters.opened++;
    const stream = new StreamConnection({
      webSocket,
      udp,
      limits: this.#limits,
      counters: this.counters,
      proven: () => {
        place.proven();
        visitor.proven();
      },
      closed: () => {
        place.release();
        this.#streams.delete(stream);
      },
    });
    this.#streams.add(stream);
  }

  /** Every stream ends; no other begins. */
  close(): void {
    this.#closed = true;
    for (const stream of [...this.#streams]) stream.stop();
  }
}

function refuse(socket: Duplex): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const head = 'HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';
  socket.end(head, () => socket.destroy());
}
