// The way to a relay where UDP is blocked: a UDP socket on the loopback that stands for the relay to the data plane, and a WebSocket to the
// relay behind it (src/protocol/relay-stream.ts). Connects when the plane has something to send, again with backoff when it breaks,
// and not at all while nothing is sent. What cannot be carried is dropped: it is UDP. Who may send at all is proved inside.

import { getRandomValues } from 'node:crypto';
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { performance } from 'node:perf_hooks';
import { type RawData, WebSocket } from 'ws';
import { type Endpoint, formatEndpoint, type IpAddress } from '../base/ip.ts';
import { retryDelayMs } from '../mesh/control-backoff.ts';
import { datagramsIn, RELAY_PATH, STREAM_MESSAGE_BYTES_MAX, StreamBatch } from '../protocol/relay-stream.ts';

const LOOPBACK = '127.0.0.1' as IpAddress;
/** TCP, TLS and the upgrade. */
const CONNECT_TIMEOUT_MS = 10_000;
/** A connection that lasted as long was a good one: the next retry is a first one again. */
const STABLE_AFTER_MS = 5_000;
/** What waits in the WebSocket for the network to take it; beyond it datagrams are dropped. */
export const WAITING_BYTES_MAX = 262_144;
/** Of datagrams that wait for the WebSocket to open: a handshake and the first of what follows it. */
export const OPENING_BYTES_MAX = 65_536;
const BATCH_BYTES = 32_768;
const BUFFER_BYTES = 4_194_304;

export type RelayBridgeState = 'idle' | 'connecting' | 'open' | 'waiting';

export interface RelayBridgeStatus {
  readonly state: RelayBridgeState;
  /** Why the last connection ended or did not come about; null while none has. */
  readonly lastFailure: string | null;
  readonly datagramsIn: number;
  readonly datagramsOut: number;
  readonly dropped: number;
}

export interface RelayBridgeOptions {
  /** What the relay tells (reach.url): `https://host:port[/base]`. */
  readonly url: string;
  /** The data plane's UDP port; what other sockets of this machine send here is dropped. */
  readonly planePort: number;
  /** The state is another. Must not call back. */
  readonly onChange?: (state: RelayBridgeState) => void;
}

export class RelayBridge {
  /** For `DataPlane.setRelay`, in place of the relay's own. */
  readonly endpoint: Endpoint;
  readonly #udp: UdpSocket;
  readonly #url: string;
  readonly #onChange: (state: RelayBridgeState) => void;
  #planePort: number;
  #state: RelayBridgeState = 'idle';
  #webSocket: WebSocket | null = null;
  #openedAt = Number.POSITIVE_INFINITY;
  #attempt = 0;
  #retry: NodeJS.Timeout | null = null;
  readonly #batch = new StreamBatch();
  #flush: NodeJS.Immediate | null = null;
  #lastFailure: string | null = null;
  #datagramsIn = 0;
  #datagramsOut = 0;
  #dropped = 0;
  #closed = false;

  /** The socket is there when it resolves; nothing is connected. Rejects with a system error. */
  static open(options: RelayBridgeOptions): Promise<RelayBridge> {
    const udp = createSocket('udp4');
    return new Promise((resolve, reject) => {
      udp.once('error', reject);
      udp.bind({ address: LOOPBACK, port: 0, exclusive: true }, () => {
        udp.off('error', reject);
        resolve(new RelayBridge(udp, options));
      });
    });
  }

  private constructor(udp: UdpSocket, options: RelayBridgeOptions) {
    this.#udp = udp;
    this.#url = `${options.url.replace(/^http/, 'ws')}${RELAY_PATH}`;
    this.#planePort = options.planePort;
    this.#onChange = options.onChange ?? (() => undefined);
    this.endpoint = formatEndpoint(LOOPBACK, udp.address().port);
    growBuffers(udp);
    udp.on('message', (datagram, from) => this.#fromPlane(datagram, from));
    // The plane's port is closed for a moment: what was sent is lost.
    udp.on('error', () => undefined);
  }

  get status(): RelayBridgeStatus {
    return {
      state: this.#state,
      lastFailure: this.#lastFailure,
      datagramsIn: this.#datagramsIn,
      datagramsOut: this.#datagramsOut,
      dropped: this.#dropped,
    };
  }

  /** The data plane has another port. */
  setPlanePort(port: number): void {
    this.#planePort = port;
  }

  /** An address or route changed: what is connected may lead nowhere, and what is waited for need not be. */
  networkChanged(): void {
    this.#attempt = 0;
    const before = this.#state;
    this.#drop();
    if (before !== 'idle') this.#connect();
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#drop();
    this.#enter('idle');
    this.#udp.close();
  }

  // — from the plane —

  #fromPlane(datagram: Buffer, from: RemoteInfo): void {
    if (this.#closed || from.port !== this.#planePort) return;
    if (this.#state === 'idle') this.#connect();
    if (this.#state === 'waiting') {
      this.#dropped++;
      return;
    }
    const full = this.#state === 'connecting' && this.#batch.bytes + datagram.length > OPENING_BYTES_MAX;
    if (full || !this.#added(datagram)) this.#dropped++;
    if (this.#state !== 'open') return;
    if (this.#batch.bytes >= BATCH_BYTES) this.#send();
    else this.#flush ??= setImmediate(() => this.#send());
  }

  #added(datagram: Buffer): boolean {
    if (this.#batch.add(datagram)) return true;
    if (this.#state !== 'open') return false;
    this.#send();
    return this.#batch.add(datagram);
  }

  #send(): void {
    if (this.#flush !== null) clearImmediate(this.#flush);
    this.#flush = null;
    const { count } = this.#batch;
    const message = this.#batch.take();
    if (message === null) return;
    const webSocket = this.#webSocket;
    if (webSocket === null || this.#state !== 'open' || webSocket.bufferedAmount > WAITING_BYTES_MAX) {
      this.#dropped += count;
      return;
    }
    this.#datagramsOut += count;
    webSocket.send(message);
  }

  // — from the relay —

  #fromRelay(data: RawData, isBinary: boolean): void {
    const datagrams = isBinary ? datagramsIn(data as Buffer) : null;
    if (datagrams === null) {
      this.#failed('the relay sent what is no datagram');
      return;
    }
    this.#datagramsIn += datagrams.length;
    for (const datagram of datagrams) this.#udp.send(datagram, this.#planePort, LOOPBACK, ignore);
  }

  // — the connection —

  #connect(): void {
    if (this.#closed) return;
    const webSocket = new WebSocket(this.#url, {
      perMessageDeflate: false,
      skipUTF8Validation: true,
      maxPayload: STREAM_MESSAGE_BYTES_MAX,
      handshakeTimeout: CONNECT_TIMEOUT_MS,
      followRedirects: false,
      // What is inside proves who answers: a certificate that nobody vouches for takes nothing away.
      rejectUnauthorized: false,
    });
    this.#webSocket = webSocket;
    this.#openedAt = Number.POSITIVE_INFINITY;
    const ours = (): boolean => this.#webSocket === webSocket;
    webSocket.on('open', () => {
      if (!ours()) return;
      this.#openedAt = performance.now();
      this.#enter('open');
      this.#send();
    });
    webSocket.on('message', (data, isBinary) => {
      if (ours()) this.#fromRelay(data, isBinary);
    });
    webSocket.on('unexpected-response', (request: ClientRequest, response: IncomingMessage) => {
      request.destroy();
      if (ours())
        this.#failed(`what answers is no relay, or a proxy passes no WebSockets (HTTP ${response.statusCode})`);
    });
    webSocket.on('error', (error) => {
      if (ours()) this.#failed(error.message);
    });
    webSocket.on('close', (code) => {
      if (ours()) this.#failed(`the relay ended the connection (${code})`);
    });
    this.#enter('connecting');
  }

  #failed(why: string): void {
    if (performance.now() - this.#openedAt >= STABLE_AFTER_MS) this.#attempt = 0;
    this.#lastFailure = why;
    this.#drop();
    this.#attempt++;
    this.#retry = setTimeout(
      () => {
        this.#retry = null;
        // The plane says whether anybody wants it still.
        this.#enter('idle');
      },
      retryDelayMs(this.#attempt, (out) => {
        getRandomValues(out);
      }),
    );
    this.#enter('waiting');
  }

  /** Nothing is connected, waited for or kept. */
  #drop(): void {
    if (this.#retry !== null) clearTimeout(this.#retry);
    if (this.#flush !== null) clearImmediate(this.#flush);
    this.#retry = null;
    this.#flush = null;
    this.#dropped += this.#batch.count;
    this.#batch.take();
    const webSocket = this.#webSocket;
    this.#webSocket = null;
    webSocket?.terminate();
  }

  #enter(state: RelayBridgeState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#onChange(state);
  }
}

const ignore = (): void => undefined;

/** As far as the system lets us; it is no failure if not. */
function growBuffers(udp: UdpSocket): void {
  try {
    udp.setRecvBufferSize(BUFFER_BYTES);
    udp.setSendBufferSize(BUFFER_BYTES);
  } catch {
    // What there is has to do.
  }
}
