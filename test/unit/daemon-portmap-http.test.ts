// One HTTP request to a gateway: what a good one answers, and everything that a bad one may do instead. Real servers on loopback.

import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Socket, type Server as TcpServer } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import type { IpAddress } from '../../src/base/ip.ts';
import { askGateway } from '../../src/daemon/portmap/gateway-http.ts';
import type { GatewayHttpAnswer, GatewayHttpRequest } from '../../src/path/portmap/mapping-client.ts';

const GATEWAY = '127.0.0.1' as IpAddress;
const LOCAL = '127.0.0.2' as IpAddress;

const servers: (Server | TcpServer)[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) {
    if ('closeAllConnections' in server) server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

function listening(server: Server | TcpServer): Promise<number> {
  servers.push(server);
  return new Promise((resolve) => {
    server.listen(0, GATEWAY, () => resolve((server.address() as AddressInfo).port));
  });
}

const serving = (listener: RequestListener): Promise<number> => listening(createServer(listener));

/** Speaks bytes instead of HTTP. */
function speaking(talk: (socket: Socket) => void): Promise<number> {
  const server = createTcpServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.once('data', () => talk(socket));
  });
  return listening(server);
}

function ask(port: number, request: Partial<GatewayHttpRequest> = {}, limitMs = 5_000): Promise<GatewayHttpAnswer> {
  const wanted: GatewayHttpRequest = {
    method: 'GET',
    port,
    path: '/desc.xml',
    headers: {},
    body: '',
    bodyBytesMax: 1_000,
    ...request,
  };
  return new Promise((resolve) => askGateway(GATEWAY, LOCAL, wanted, resolve, limitMs));
}

describe('a request', () => {
  test('arrives as it was wanted, from our own address, and gives status and body', async () => {
    const seen: unknown[] = [];
    const port = await serving((request, response) => {
      let body = '';
      request.on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () => {
        const { method, url, headers, socket } = request;
        seen.push({ method, url, body, host: headers.host, action: headers['soapaction'], from: socket.remoteAddress });
        response.writeHead(500).end('<fault>é</fault>');
      });
    });
    const headers = { SOAPAction: '"x#y"' };
    const answer = await ask(port, { method: 'POST', path: '/ctl?a=1', headers, body: '<é/>' });
    expect(answer).toEqual({ ok: true, status: 500, body: '<fault>é</fault>' });
    const host = `${GATEWAY}:${port}`;
    expect(seen).toEqual([{ method: 'POST', url: '/ctl?a=1', body: '<é/>', host, action: '"x#y"', from: LOCAL }]);
  });

  test('is not sent on by a redirection', async () => {
    let others = 0;
    const other = await serving((_request, response) => {
      others++;
      response.end('elsewhere');
    });
    const port = await serving((_request, response) => {
      response.writeHead(302, { Location: `http://${GATEWAY}:${other}/` }).end();
    });
    expect(await ask(port)).toEqual({ ok: true, status: 302, body: '' });
    expect(others).toBe(0);
  });

  test.each([
    ['with its length', { 'Content-Length': '2000' }],
    ['in chunks', {}],
  ])('is given up when the body is too long, %s', async (_how, headers) => {
    const port = await serving((_request, response) => {
      response.writeHead(200, headers);
      response.write('x'.repeat(500));
      response.write('x'.repeat(1_500));
    });
    expect(await ask(port)).toEqual({ ok: false, why: 'it is longer than 1000 bytes' });
  });

  test('is given up when headers have no end', async () => {
    const port = await speaking((socket) => socket.write(`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(20_000)}`));
    expect(await ask(port)).toMatchObject({ ok: false });
  });

  test.each([
    ['nothing at all', () => {}],
    ['headers and nothing more', (socket: Socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n')],
    [
      'a byte now and then',
      (socket: Socket) => {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n');
        const timer = setInterval(() => socket.write('x'), 20);
        socket.once('close', () => clearInterval(timer));
      },
    ],
  ])('is given up in time when the answer is %s', async (_what, talk) => {
    const port = await speaking((socket) => {
      talk(socket);
    });
    const from = performance.now();
    expect(await ask(port, {}, 300)).toEqual({ ok: false, why: 'it took too long' });
    expect(performance.now() - from).toBeLessThan(2_000);
  });

  test.each([
    ['an end in the middle', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab'],
    ['no HTTP', 'SSH-2.0-OpenSSH\r\n\r\n'],
    ['an upgrade', 'HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'],
    ['a bad length', 'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n'],
    ['an end at once', ''],
  ])('fails when the answer is %s', async (_what, text) => {
    const port = await speaking((socket) => socket.end(text));
    const answer = await ask(port);
    expect(answer).toMatchObject({ ok: false });
    expect(answer).not.toMatchObject({ why: 'it took too long' });
  });

  test('fails where nothing listens', async () => {
    const port = await listening(createTcpServer());
    await new Promise((resolve) => servers.pop()?.close(resolve));
    expect(await ask(port)).toEqual({ ok: false, why: 'nothing listens there' });
  });

  test('that is ended tells nothing', async () => {
    let arrived = (): void => {};
    const seen = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    let closed = (): void => {};
    const gone = new Promise<void>((resolve) => {
      closed = resolve;
    });
    const port = await serving((request) => {
      request.socket.once('close', closed);
      arrived();
    });
    let told = false;
    const wanted = { method: 'GET', port, path: '/', headers: {}, body: '', bodyBytesMax: 1_000 } as const;
    const end = askGateway(GATEWAY, LOCAL, wanted, () => {
      told = true;
    });
    await seen;
    end();
    await gone;
    expect(told).toBe(false);
  });
});
