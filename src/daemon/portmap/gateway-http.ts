// One HTTP request to a gateway, with limits on everything: time, headers, body. No redirects, no proxies, no connection kept. What
// comes back is text for parsers that expect the worst; every failure is a result.

import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { formatEndpoint, type IpAddress } from '../../base/ip.ts';
import type { GatewayHttpAnswer, GatewayHttpRequest } from '../../path/portmap/mapping-client.ts';
import { errorCode } from '../../service/start-error.ts';

/** From the connection to the last byte. Small routers take a second or two for a mapping. */
export const HTTP_LIMIT_MS = 5_000;
const HEADER_BYTES_MAX = 8_192;

/** Calls `done` once, later. Gives what ends it without a call. */
export function askGateway(
  gateway: IpAddress,
  local: IpAddress,
  wanted: GatewayHttpRequest,
  done: (answer: GatewayHttpAnswer) => void,
  limitMs = HTTP_LIMIT_MS,
): () => void {
  let over = false;
  let outgoing: ClientRequest | null = null;
  const finish = (answer: GatewayHttpAnswer): void => {
    if (over) return;
    stop();
    done(answer);
  };
  const stop = (): void => {
    over = true;
    clearTimeout(limit);
    outgoing?.destroy();
  };
  const limit = setTimeout(() => finish({ ok: false, why: 'it took too long' }), limitMs);
  limit.unref();
  const body = Buffer.from(wanted.body, 'utf8');
  outgoing = request({
    host: gateway,
    port: wanted.port,
    localAddress: local,
    method: wanted.method,
    path: wanted.path,
    agent: false,
    maxHeaderSize: HEADER_BYTES_MAX,
    headers: {
      Host: formatEndpoint(gateway, wanted.port),
      Connection: 'close',
      'User-Agent': 'warren UPnP/1.1',
      ...wanted.headers,
      'Content-Length': body.length,
    },
  });
  outgoing.on('error', (error) => finish({ ok: false, why: failure(error) }));
  outgoing.on('upgrade', (_response, socket) => {
    socket.destroy();
    finish({ ok: false, why: 'it answers with another protocol' });
  });
  outgoing.on('response', (response) => read(response, wanted.bodyBytesMax, finish));
  outgoing.end(body);
  return stop;
}

function read(response: IncomingMessage, bytesMax: number, finish: (answer: GatewayHttpAnswer) => void): void {
  const chunks: Buffer[] = [];
  let length = 0;
  response.on('data', (chunk: Buffer) => {
    length += chunk.length;
    if (length > bytesMax) finish({ ok: false, why: `it is longer than ${bytesMax} bytes` });
    else chunks.push(chunk);
  });
  response.on('end', () => {
    finish({ ok: true, status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') });
  });
  response.on('error', (error) => finish({ ok: false, why: failure(error) }));
  // A connection that breaks off in the middle of a body is no end.
  response.on('close', () => finish({ ok: false, why: 'the connection broke off' }));
}

function failure(error: unknown): string {
  switch (errorCode(error)) {
    case 'ECONNREFUSED':
      return 'nothing listens there';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return 'it cannot be reached';
    case 'ECONNRESET':
      return 'the connection broke off';
    default:
      return `the request failed (${errorCode(error) ?? 'no code'})`;
  }
}
