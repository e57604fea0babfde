// The controller's STUN server on loopback: real sockets on both sides, our own client and raw datagrams, what is bound and what is
// not, and what a person is told then.

import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { afterEach, describe, expect, test } from 'vitest';
import type { Instant } from '../../../../src/base/instant.ts';
import { type Endpoint, endpointParts, formatEndpoint, type IpAddress } from '../../../../src/base/ip.ts';
import { stunProblem } from '../../../../src/controller/stun/bind.ts';
import { readStunOptions } from '../../../../src/controller/stun/options.ts';
import { StunServer, type StunSettings } from '../../../../src/controller/stun/stun-server.ts';
import { type NatBehaviour, NatDiscovery } from '../../../../src/path/stun/behaviour.ts';
import { StunClient, type StunResult } from '../../../../src/path/stun/client.ts';
import { decodeStun, encodeRequest } from '../../../../src/path/stun/message.ts';

const ID = new Uint8Array(12).map((_, i) => i + 1);
const now = (): Instant => performance.now() as Instant;
const random = (out: Uint8Array): void => {
  crypto.getRandomValues(out);
};

/** An address of this process alone, on which the port beside a free one is free too. */
const OWN = `127.99.${(process.pid >> 8) & 255}.${process.pid & 255 || 1}` as IpAddress;

const toClose: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of toClose.splice(0)) await close();
});

const closing = (socket: Socket): Promise<void> => new Promise((resolve) => socket.close(() => resolve()));

async function serve(host = '127.0.0.1', more: Partial<StunSettings> = {}): Promise<StunServer> {
  const server = await StunServer.open({ listen: { host, port: 0 }, alternate: null, ...more }, now);
  toClose.push(() => server.close());
  return server;
}

async function bound(host = '127.0.0.1', port = 0): Promise<{ socket: Socket; endpoint: Endpoint }> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(port, host, resolve);
  });
  toClose.push(() => closing(socket));
  return { socket, endpoint: formatEndpoint(host as IpAddress, socket.address().port) };
}

/** One request, and what comes back first. */
async function ask(
  datagram: Uint8Array,
  port: number,
  host = '127.0.0.1',
): Promise<{ answer: Uint8Array; from: RemoteInfo; endpoint: Endpoint }> {
  const { socket, endpoint } = await bound(host);
  return await new Promise((resolve) => {
    socket.once('message', (answer, from) => resolve({ answer: new Uint8Array(answer), from, endpoint }));
    socket.send(datagram, port, host);
  });
}

/** The client's machine on a real socket, until `isDone`. */
async function drive(
  host: string,
  begin: (client: StunClient, endpoint: Endpoint) => { handleResult(result: StunResult): void },
  isDone: () => boolean,
): Promise<void> {
  const { socket, endpoint } = await bound(host);
  let machine: { handleResult(result: StunResult): void } | null = null;
  const client = new StunClient({
    random,
    outputs: {
      send: (to, datagram) => {
        const { address, port } = endpointParts(to);
        socket.send(datagram.slice(), port, address);
        return true;
      },
      result: (result) => machine?.handleResult(result),
    },
  });
  socket.on('message', (datagram, { address, port }) => {
    client.handleDatagram(datagram, formatEndpoint(address as IpAddress, port), now());
  });
  machine = begin(client, endpoint);
  while (!isDone()) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    if (client.nextDeadline() <= now()) client.handleDeadline(now());
  }
}

describe('it answers', () => {
  test.each(['127.0.0.1', '::1'])('on %s, at two ports, with where the request came from', async (host) => {
    const server = await serve(host);
    expect(server.problem).toBeNull();
    expect(new Set(server.ports).size).toBe(2);
    for (const port of server.ports) {
      const { answer, from, endpoint } = await ask(encodeRequest(ID), port, host);
      expect(decodeStun(answer)).toMatchObject({ kind: 'success', transactionId: ID, xorMapped: endpoint });
      expect([from.address, from.port]).toEqual([host, port]);
    }
    expect(server.counters()).toMatchObject({ answered: 2, sent: 2, networkLimited: 0 });
  });

  test('on every address of both families at once, each with its own', async () => {
    const server = await serve('::');
    for (const host of ['127.0.0.1', '127.0.0.9', '::1']) {
      for (const port of server.ports) {
        const { answer, endpoint } = await ask(encodeRequest(ID), port, host);
        expect(decodeStun(answer)).toMatchObject({ kind: 'success', xorMapped: endpoint });
      }
    }
  });

  test('the port that is given, and the next', async () => {
    const { endpoint } = await bound(OWN);
    const port = endpointParts(endpoint).port;
    await toClose.pop()?.();
    const server = await StunServer.open({ listen: { host: OWN, port }, alternate: null }, now);
    toClose.push(() => server.close());
    expect(server.ports).toEqual([port, port + 1]);
  });

  test('our own client, within its timer', async () => {
    const server = await serve();
    const results: StunResult[] = [];
    await drive(
      '127.0.0.1',
      (client, endpoint) => {
        for (const port of server.ports) client.ask(formatEndpoint('127.0.0.1' as IpAddress, port), now());
        return {
          handleResult: (result) => {
            expect(result).toMatchObject({ kind: 'reflexive', reflexive: endpoint, other: null });
            results.push(result);
          },
        };
      },
      () => results.length === 2,
    );
  });

  test('RFC 5780 with a second address: no NAT is seen, and no firewall', async () => {
    const server = await serve('127.0.0.1', { alternate: '127.0.0.2' as IpAddress });
    expect(server.problem).toBeNull();
    expect(server.socketCount).toBe(4);
    const found: NatBehaviour[] = [];
    await drive(
      '127.0.0.1',
      (client, endpoint) => {
        const discovery = new NatDiscovery(formatEndpoint('127.0.0.1' as IpAddress, server.ports[0] ?? 0), {
          ask: (to, at, options) => client.ask(to, at, options),
          local: [endpoint],
          isUsable: () => true,
          done: (behaviour) => found.push(behaviour),
        });
        discovery.start(now());
        return { handleResult: (result) => discovery.handleResult(result, now()) };
      },
      () => found.length > 0,
    );
    expect(found).toMatchObject([{ mapping: 'none', filtering: 'endpointIndependent', problem: null }]);
  });
});

describe('what is no request', () => {
  test('is counted by reason and not answered', async () => {
    const server = await serve();
    const { socket } = await bound();
    const [port] = server.ports as [number];
    let answers = 0;
    socket.on('message', () => answers++);
    socket.send(new Uint8Array(100), port, '127.0.0.1');
    socket.send(new Uint8Array(0), port, '127.0.0.1');
    socket.send(encodeRequest(ID).subarray(0, 19), port, '127.0.0.1');
    const allocate = encodeRequest(ID);
    allocate[1] = 3;
    socket.send(allocate, port, '127.0.0.1');
    // Behind them in the same queue: when it is answered, they have been seen.
    socket.send(encodeRequest(ID), port, '127.0.0.1');
    await expect.poll(() => answers).toBe(1);
    expect(server.counters()).toMatchObject({ notStun: 3, notBinding: 1, answered: 1 });
  });
});

describe('what cannot be had', () => {
  test('a port that is taken is told with what to do, and the other is answered at', async () => {
    const { endpoint } = await bound(OWN);
    const { port } = endpointParts(endpoint);
    const server = await StunServer.open({ listen: { host: OWN, port }, alternate: null }, now);
    toClose.push(() => server.close());
    expect(server.ports).toEqual([port + 1]);
    expect(server.problem).toEqual({
      what: `STUN is not answered on ${OWN}:${port}`,
      why: `UDP port ${port} is in use`,
      help: expect.stringContaining(`ss -lunp 'sport = :${port}'`),
    });
    expect(server.problem?.help).toContain('--stun off');
  });

  test('both ports taken: nothing is answered, and nobody is told otherwise', async () => {
    const { endpoint } = await bound(OWN);
    const { port } = endpointParts(endpoint);
    await bound(OWN, port + 1);
    const server = await StunServer.open({ listen: { host: OWN, port }, alternate: null }, now);
    toClose.push(() => server.close());
    expect(server.ports).toEqual([]);
    expect(server.socketCount).toBe(0);
    expect(server.problem?.what).toBe(`STUN is not answered on ${OWN}:${port}, ${OWN}:${port + 1}`);
  });

  test('a second address that is not this machine’s leaves a plain server', async () => {
    const server = await serve('127.0.0.1', { alternate: '192.0.2.1' as IpAddress });
    expect(server.socketCount).toBe(2);
    expect(server.problem?.why).toBe('no interface of this machine has that address');
    const change = { address: true, port: true };
    const { answer } = await ask(encodeRequest(ID, { change }), server.ports[0] ?? 0);
    expect(decodeStun(answer)).toMatchObject({ kind: 'error', code: 420, unknownAttributes: [3] });
  });

  test.each([
    ['EACCES', 'CAP_NET_BIND_SERVICE'],
    ['EADDRNOTAVAIL', 'no interface of this machine'],
    ['EWHATEVER', 'bind EWHATEVER'],
  ])('%s is explained', (code, why) => {
    const problem = stunProblem([{ host: '::', port: 3_478, code, message: `bind ${code}` }]);
    expect(problem?.what).toBe('STUN is not answered on [::]:3478');
    expect(problem?.why).toContain(why);
    expect(problem?.help).toContain('--stun ADDR:PORT');
  });

  test('nothing failed, nothing to tell', () => {
    expect(stunProblem([])).toBeNull();
  });
});

describe('--stun and --stun-alternate', () => {
  test.each([
    [undefined, undefined, '::', 3_478, null],
    [':0', undefined, '::', 0, null],
    ['0.0.0.0:3478', undefined, '0.0.0.0', 3_478, null],
    ['192.0.2.1:5000', '192.0.2.2', '192.0.2.1', 5_000, '192.0.2.2'],
    ['[2001:DB8::1]:5000', '2001:db8::2', '2001:db8::1', 5_000, '2001:db8::2'],
  ])('%s, %s', (listen, alternate, host, port, other) => {
    expect(readStunOptions(listen, alternate)).toEqual({
      settings: { listen: { host, port }, alternate: other },
      problem: null,
    });
  });

  test('off is off', () => {
    expect(readStunOptions('off', undefined)).toEqual({ settings: null, problem: null });
  });

  test.each([
    ['3478', undefined, '--stun wants ADDR:PORT'],
    ['on', undefined, '--stun wants ADDR:PORT'],
    ['off', '192.0.2.2', 'exclude each other'],
    [undefined, '192.0.2.2', 'needs --stun ADDR:PORT with one address'],
    [':3478', '192.0.2.2', 'needs --stun ADDR:PORT with one address'],
    ['0.0.0.0:3478', '192.0.2.2', 'needs --stun ADDR:PORT with one address'],
    ['192.0.2.1:3478', '192.0.2.1', 'another address'],
    ['192.0.2.1:3478', '2001:db8::2', 'of the same family'],
    ['192.0.2.1:3478', 'two', '--stun-alternate wants an address'],
  ])('not %s, %s', (listen, alternate, problem) => {
    expect(readStunOptions(listen, alternate)).toEqual({ settings: null, problem: expect.stringContaining(problem) });
  });
});
