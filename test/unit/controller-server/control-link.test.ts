// The daemon's link against the real server: open at once, everything in order, and one reason at the end that a person can act on.
// The other ends that it may meet by mistake are played here: silence, another server, a broken one.

import { randomBytes } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import { deflateRawSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { ascii } from '../../../src/base/bytes.ts';
import { nodeProvider } from '../../../src/crypto/node.ts';
import type { DhKey, PublicKey } from '../../../src/crypto/provider.ts';
import { ControlLink, type LinkEvents, type LinkTarget } from '../../../src/link/control-link.ts';
import { transportFailure } from '../../../src/link/control-link-failure.ts';
import { layOut, SecureChannel } from '../../../src/noise/secure-channel.ts';
import { CONTROL_PROLOGUE, type ControllerMessage } from '../../../src/protocol/control.ts';
import { newKey, REGISTER, random, startLab, until } from './lab.ts';

type Closed = Parameters<LinkEvents['closed']>[0];

class Recorder implements LinkEvents {
  readonly messages: ControllerMessage[] = [];
  readonly log: string[] = [];
  reason: Closed | null = null;
  onOpened: () => void = () => undefined;

  opened(): void {
    this.log.push('opened');
    this.onOpened();
  }
  message(message: ControllerMessage): void {
    this.log.push(message.type);
    this.messages.push(message);
  }
  heard(): void {
    this.log.push('heard');
  }
  closed(reason: Closed): void {
    this.log.push('closed');
    this.reason = reason;
  }
}

function open(target: Partial<LinkTarget> & { port: number; controllerKey: PublicKey }) {
  const events = new Recorder();
  const url = `http://127.0.0.1:${target.port}`;
  const link = new ControlLink({ localStatic: newKey(), url, ...target }, events);
  onTestFinished(() => link.close());
  return { link, events };
}

async function ended(events: Recorder): Promise<Closed> {
  await until('the link ends', () => events.reason !== null);
  return events.reason as Closed;
}

function listen(onSocket: (socket: Socket) => void): Promise<{ server: Server; port: number }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onSocket(socket);
  });
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve({ server, port: (server.address() as { port: number }).port }));
  });
}

/** A controller by hand: whatever it wants to say, sealed as it should be. */
async function controllerByHand(key: DhKey, say: (send: (bytes: Uint8Array, deflated?: boolean) => void) => void) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false });
  onTestFinished(() => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  server.on('connection', (socket) => {
    const channel = SecureChannel.responder({
      crypto: nodeProvider,
      random,
      prologue: ascii(CONTROL_PROLOGUE),
      localStatic: key,
      limits: { receiveBytesMax: 100_000, queueBytesMax: 200_000_000, queueMessagesMax: 100 },
    });
    const flush = (): void => {
      for (let frame = channel.nextFrame(); frame !== null; frame = channel.nextFrame()) socket.send(frame);
    };
    socket.on('message', (frame) => {
      const handshake = channel.state === 'handshaking';
      channel.handleFrame(frame as Buffer);
      flush();
      if (!handshake) {
        say((bytes, deflated = false) => {
          channel.send(layOut(bytes, deflated));
          flush();
        });
      }
    });
    socket.on('error', () => undefined);
  });
  await until('it listens', () => server.address() !== null);
  return { server, port: (server.address() as { port: number }).port };
}

describe('a link', () => {
  test('opens, and what is said in that moment is the first that the controller hears', async () => {
    const lab = await startLab();
    const { link, events } = open({ port: lab.port, controllerKey: lab.staticKey.publicKey });
    // Before there is anything: it waits for the handshake and goes out in order.
    link.send({ ...REGISTER, hostname: 'early' } as typeof REGISTER);
    events.onOpened = () => link.send(REGISTER);
    await until('both are told', () => lab.core.of('received').length === 2);
    const names = lab.core.of('received').map(({ message }) => (message as { hostname: string }).hostname);
    expect(names).toEqual(['early', 'machine']);
    expect(events.log[0]).toBe('opened');
  });

  test('hears pings of the controller, and the pong of its own', async () => {
    const lab = await startLab({ limits: { pingIntervalMs: 90 } });
    const { link, events } = open({ port: lab.port, controllerKey: lab.staticKey.publicKey });
    events.onOpened = () => link.send(REGISTER);
    await until('it hears', () => events.log.filter((what) => what === 'heard').length >= 2);
    const before = events.log.length;
    link.probe();
    await until('it hears more', () => events.log.length > before);
    expect(events.reason).toBeNull();
  });

  test('says goodbye before it closes, and nothing to its owner', async () => {
    const lab = await startLab();
    const { link, events } = open({ port: lab.port, controllerKey: lab.staticKey.publicKey });
    events.onOpened = () => link.send(REGISTER);
    await until('it is told', () => lab.core.of('received').length === 1);
    link.send({ type: 'goodbye', reason: 'down' });
    link.close();
    await until('the end is told', () => lab.core.of('disconnected').length === 1);
    expect(lab.core.of('received').map(({ message }) => message?.type)).toEqual(['register', 'goodbye']);
    expect(events.reason).toBeNull();
    expect(link.send(REGISTER)).toBe(false);
  });

  test('closed before it is open leaves nothing behind', async () => {
    const lab = await startLab();
    const { link, events } = open({ port: lab.port, controllerKey: lab.staticKey.publicKey });
    link.close();
    await until('the server is rid of it', () => lab.server.connectionCount === 0 && lab.server.unprovenCount === 0);
    expect(events.log).toEqual([]);
  });

  test('that ends tells it once', async () => {
    const lab = await startLab();
    const { link, events } = open({ port: lab.port, controllerKey: lab.staticKey.publicKey });
    events.onOpened = () => link.send(REGISTER);
    await until('it is told', () => lab.core.of('received').length === 1);
    lab.core.outputs.push({ kind: 'close', conn: lab.core.of('connected')[0]?.conn as never });
    lab.host.wake();
    expect(await ended(events)).toMatchObject({ code: 'closed', cause: 'ended' });
    expect(events.log.filter((what) => what === 'closed')).toHaveLength(1);
  });
});

describe('a link that comes to nothing says', () => {
  const nobody = newKey().publicKey;

  test('that nobody answers, when all is silent: before and after TCP is there', async () => {
    const { port } = await listen(() => undefined);
    const { events } = open({ port, controllerKey: nobody, openTimeoutMs: 100 });
    expect(await ended(events)).toMatchObject({ code: 'unreachable', cause: 'timeout' });
  });

  test('that the other end hung up', async () => {
    const { port } = await listen((socket) => socket.destroy());
    const { events } = open({ port, controllerKey: nobody });
    expect((await ended(events)).code).toBe('unreachable');
  });

  test('that it is no HTTP', async () => {
    const { port } = await listen((socket) => socket.write('SSH-2.0-OpenSSH_9.2\r\n'));
    const { events } = open({ port, controllerKey: nobody });
    expect(await ended(events)).toMatchObject({ code: 'rejected', cause: 'notHttp' });
  });

  test.each([200, 301, 401, 404, 502])('that HTTP %i is no controller', async (status) => {
    const { port } = await listen((socket) => {
      socket.once('data', () => socket.end(`HTTP/1.1 ${status} x\r\nContent-Length: 0\r\n\r\n`));
    });
    const { events } = open({ port, controllerKey: nobody });
    const reason = await ended(events);
    expect(reason).toMatchObject({ code: 'rejected', cause: 'httpStatus' });
    expect(reason.message).toContain(String(status));
  });

  test('that the key is another, also when the other end pretends', async () => {
    const lab = await startLab();
    expect(await ended(open({ port: lab.port, controllerKey: nobody }).events)).toMatchObject({ cause: 'keyRefused' });
    // It answers with a handshake of its own making.
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
    onTestFinished(() => {
      server.close();
    });
    server.on('connection', (socket) => socket.on('message', () => socket.send(randomBytes(48))));
    await until('it listens', () => server.address() !== null);
    const { port } = server.address() as { port: number };
    expect(await ended(open({ port, controllerKey: nobody }).events)).toMatchObject({
      code: 'keyMismatch',
      cause: 'keyMismatch',
    });
  });

  test.each([
    ['ENOTFOUND', 'nameNotFound', 'unreachable'],
    ['EAI_AGAIN', 'nameServer', 'unreachable'],
    ['ECONNREFUSED', 'refused', 'unreachable'],
    ['EHOSTUNREACH', 'noRoute', 'unreachable'],
    ['ENETUNREACH', 'noRoute', 'unreachable'],
    ['ETIMEDOUT', 'timeout', 'unreachable'],
    ['EPROTO', 'tls', 'rejected'],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'tls', 'rejected'],
    ['HPE_INVALID_CONSTANT', 'notHttp', 'rejected'],
    ['ECONNRESET', 'network', 'unreachable'],
  ])('what %s means: %s', (code, cause, group) => {
    const failure = transportFailure(Object.assign(new Error('x'), { code }), 'http://c:7370');
    expect(failure).toMatchObject({ cause, code: group });
    expect(failure.message).toContain('http://c:7370');
  });

  test('the most telling of several attempts', () => {
    const attempts = ['ENETUNREACH', 'ECONNREFUSED'].map((code) => Object.assign(new Error(code), { code }));
    expect(transportFailure(new AggregateError(attempts), 'http://c:1').cause).toBe('refused');
  });
});

describe('a controller that breaks the protocol', () => {
  const meet = async (say: (send: (bytes: Uint8Array, deflated?: boolean) => void) => void) => {
    const key = newKey();
    const { port } = await controllerByHand(key, say);
    const { link, events } = open({ port, controllerKey: key.publicKey });
    events.onOpened = () => link.send(REGISTER);
    return events;
  };

  test.each([
    ['no JSON', Buffer.from('hello'), false],
    ['a message that does not fit', Buffer.from('{"type":"welcome"}'), false],
    ['no deflate', Buffer.from('hello'), true],
    [
      'more than may be when inflated',
      deflateRawSync(Buffer.from('{"type":"pending","message":"m","help":"h"}'.padEnd(70_000_000))),
      true,
    ],
  ])('%s ends the link', async (_what, bytes, deflated) => {
    const events = await meet((send) => send(bytes, deflated));
    expect(await ended(events)).toMatchObject({ code: 'malformed', cause: 'protocol' });
    expect(events.messages).toEqual([]);
  });

  test('a message of a type that this version does not know is passed over', async () => {
    const events = await meet((send) => {
      send(Buffer.from('{"type":"fromTheFuture","anything":1}'));
      send(Buffer.from('{"type":"pending","message":"m","help":"h","more":true}'));
    });
    await until('the next is there', () => events.messages.length === 1);
    expect(events.messages).toEqual([{ type: 'pending', message: 'm', help: 'h' }]);
    expect(events.reason).toBeNull();
  });

  test('bytes that are not of the channel end the link', async () => {
    const key = newKey();
    const { server, port } = await controllerByHand(key, () => {
      for (const client of server.clients) client.send(randomBytes(100));
    });
    const { link, events } = open({ port, controllerKey: key.publicKey });
    events.onOpened = () => link.send(REGISTER);
    expect(await ended(events)).toMatchObject({ code: 'malformed', cause: 'protocol' });
  });
});
