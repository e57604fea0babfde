// The listener of a relay that stands alone: HTTP or HTTPS with the door for streams behind an upgrade, and nothing else. TLS is optional:
// what goes through is ciphertext of others, and whoever may use it proves a key.

import { createServer, type IncomingMessage, type Server } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Certificate, ListenAddress } from '../../service/listen.ts';
import { clientAddress } from '../../service/remote-address.ts';
import type { UpgradeDoor } from '../../service/upgrade-door.ts';

const CONNECTIONS_MAX = 8_192;
const HEADER_BYTES_MAX = 16_384;
const HEADERS_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 5_000;
const CHECK_MS = 1_000;

export interface StreamListener {
  readonly listening: ListenAddress;
  /** Another certificate for connections from now on. */
  setCertificate(certificate: Certificate): void;
  close(): Promise<void>;
}

/** Rejects with what listen(2) said. */
export async function openStreamListener(
  address: ListenAddress,
  certificate: Certificate | null,
  door: UpgradeDoor,
): Promise<StreamListener> {
  const http = {
    maxHeaderSize: HEADER_BYTES_MAX,
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: HEADERS_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: CHECK_MS,
    noDelay: true,
  };
  const nothing = (_request: IncomingMessage, response: { writeHead(status: number): { end(): void } }): void => {
    response.writeHead(404).end();
  };
  const server: Server | TlsServer =
    certificate === null
      ? createServer(http, nothing)
      : createTlsServer(
          { ...http, ...certificate, minVersion: 'TLSv1.2', handshakeTimeout: HEADERS_TIMEOUT_MS },
          nothing,
        );
  server.maxConnections = CONNECTIONS_MAX;
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const path = (request.url ?? '').split('?')[0] as string;
    if (!path.endsWith(door.path)) {
      socket.on('error', () => undefined);
      socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n', () => socket.destroy());
      return;
    }
    const forwarded = request.headers['x-forwarded-for'];
    const last = Array.isArray(forwarded) ? forwarded.at(-1) : forwarded;
    door.upgrade(request, socket, head, {
      address: clientAddress(request.socket.remoteAddress, last),
      proven: () => undefined,
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: address.host, port: address.port }, () => {
      server.off('error', reject);
      // Out of descriptors, most of all: those that are there go on.
      server.on('error', () => undefined);
      resolve();
    });
  });
  return {
    listening: { host: address.host, port: (server.address() as AddressInfo).port },
    setCertificate: (next) => (server as TlsServer).setSecureContext(next),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
