// A stream server on a loopback port with something that stands for the relay's UDP port behind it, and waiting for conditions.

import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { WebSocket } from 'ws';
import type { IpAddress } from '../../../src/base/ip.ts';
import { datagramsIn, RELAY_PATH, StreamBatch } from '../../../src/protocol/relay-stream.ts';
import { STREAM_LIMITS, type StreamLimits } from '../../../src/relay/stream/stream-limits.ts';
import { StreamServer } from '../../../src/relay/stream/stream-server.ts';

const WAIT_MS = 10_000;

export async function until(what: string, condition: () => boolean, limitMs = WAIT_MS): Promise<void> {
  const end = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** WireGuard's header of a type, and so many bytes in all. */
export function datagram(type: number, length = 64, fill = 0): Uint8Array {
  const bytes = new Uint8Array(length).fill(fill);
  bytes.set([type, 0, 0, 0]);
  return bytes;
}

export function message(...datagrams: readonly Uint8Array[]): Uint8Array {
  const batch = new StreamBatch();
  for (const one of datagrams) if (!batch.add(one)) throw new Error('it does not fit');
  const whole = batch.take();
  if (whole === null) throw new Error('a message of nothing');
  return whole;
}

export interface FakeRelay {
  readonly socket: UdpSocket;
  readonly port: number;
  readonly heard: { readonly bytes: Buffer; readonly from: RemoteInfo }[];
  /** What it answers; null = nothing. */
  answer: (bytes: Buffer) => Uint8Array | null;
  /** To whoever spoke last. */
  say(bytes: Uint8Array): void;
}

export async function fakeRelay(): Promise<FakeRelay> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  onTestFinished(() => {
    socket.close();
  });
  const relay: FakeRelay = {
    socket,
    port: socket.address().port,
    heard: [],
    answer: (bytes) => (bytes[0] === 1 ? datagram(2, 92) : null),
    say: (bytes) => {
      const last = relay.heard.at(-1);
      if (last === undefined) throw new Error('nobody has spoken');
      socket.send(bytes, last.from.port, last.from.address);
    },
  };
  socket.on('message', (bytes, from) => {
    relay.heard.push({ bytes, from });
    const answer = relay.answer(bytes);
    if (answer !== null) socket.send(answer, from.port, from.address);
  });
  return relay;
}

export interface StreamLab {
  readonly relay: FakeRelay;
  readonly server: StreamServer;
  readonly url: string;
  /** Where visitors seem to come from. */
  from: IpAddress | null;
  /** Visitors that the listener was told to be of the network. */
  proven: number;
  connect(): Promise<Client>;
  /** Cuts every TCP connection and takes no more. */
  close(): Promise<void>;
}

export interface Client {
  readonly webSocket: WebSocket;
  readonly received: Uint8Array[];
  closed: number | null;
  send(...datagrams: readonly Uint8Array[]): void;
}

export async function streamLab(limits: Partial<StreamLimits> = {}, relayPort?: number): Promise<StreamLab> {
  const relay = await fakeRelay();
  const server = new StreamServer(relayPort ?? relay.port, { ...STREAM_LIMITS, ...limits });
  const http = createServer((_request, response) => response.writeHead(404).end());
  const lab: StreamLab = {
    relay,
    server,
    url: '',
    from: '192.0.2.1' as IpAddress,
    proven: 0,
    connect: () => connect(lab.url),
    close: async () => {
      server.close();
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };
  http.on('upgrade', (request, socket, head) =>
    server.upgrade(request, socket, head, {
      address: lab.from,
      proven: () => {
        lab.proven++;
      },
    }),
  );
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  Object.assign(lab, { url: `http://127.0.0.1:${(http.address() as AddressInfo).port}` });
  onTestFinished(() => {
    server.close();
    http.closeAllConnections();
    http.close();
  });
  return lab;
}

/** Open, or refused: then `closed` is the HTTP status. */
export async function connect(url: string): Promise<Client> {
  const webSocket = new WebSocket(`${url.replace(/^http/, 'ws')}${RELAY_PATH}`, { perMessageDeflate: false });
  onTestFinished(() => webSocket.terminate());
  const client: Client = {
    webSocket,
    received: [],
    closed: null,
    send: (...datagrams) => webSocket.send(message(...datagrams)),
  };
  webSocket.on('message', (data) => client.received.push(...(datagramsIn(data as Buffer) ?? [])));
  webSocket.on('close', (code) => {
    client.closed ??= code;
  });
  webSocket.on('error', () => undefined);
  webSocket.on('unexpected-response', (request, response) => {
    client.closed = response.statusCode ?? 0;
    request.destroy();
  });
  await until('an answer', () => webSocket.readyState === webSocket.OPEN || client.closed !== null);
  return client;
}
