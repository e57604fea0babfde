// Clients that mean harm or are broken: each costs the server a bounded amount and one counter, ends alone, and an honest node
// beside it notices nothing.

import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { deflateRawSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { SERVER_LIMITS } from '../../../src/controller/server/limits.ts';
import { NODE_MESSAGE_BYTES_MAX } from '../../../src/protocol/control.ts';
import { type Lab, newKey, REGISTER, startLab, TestNode, until } from './lab.ts';

/** The server still serves: a whole handshake and a message. */
async function expectServed(lab: Lab): Promise<void> {
  const before = lab.core.of('received').length;
  const honest = await new TestNode(lab.port, lab.staticKey.publicKey).handshake();
  honest.say(REGISTER);
  await until('an honest node is served', () => lab.core.of('received').length === before + 1);
  honest.socket.close();
  await honest.ended();
}

interface Raw {
  readonly socket: Socket;
  received: string;
  closed: boolean;
}

function raw(port: number, text: string | Uint8Array = ''): Raw {
  const socket = connect({ host: '127.0.0.1', port });
  const client: Raw = { socket, received: '', closed: false };
  socket.on('data', (data) => {
    client.received += data.toString('latin1');
  });
  socket.on('error', () => undefined);
  socket.on('close', () => {
    client.closed = true;
  });
  if (text.length > 0) socket.write(text);
  onTestFinished(() => {
    socket.destroy();
  });
  return client;
}

const UPGRADE = [
  'GET /v1/control HTTP/1.1',
  'Host: x',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
].join('\r\n');

describe('before the WebSocket', () => {
  test.each([
    ['bytes that are no HTTP', '\x16\x03\x01\x02\x00\x01\x00'],
    ['a header that never ends in its limit', `GET / HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(20_000)}`],
    ['an upgrade of another path', UPGRADE.replace('/v1/control', '/v1/else').concat('\r\n\r\n')],
    ['an upgrade to another protocol', UPGRADE.replace('websocket', 'h2c').concat('\r\n\r\n')],
    ['an upgrade of another version', UPGRADE.replace('Version: 13', 'Version: 3').concat('\r\n\r\n')],
    ['an upgrade without a key', UPGRADE.replace(/\r\nSec-WebSocket-Key.*/, '').concat('\r\n\r\n')],
    ['an upgrade by POST', UPGRADE.replace('GET', 'POST').concat('\r\n\r\n')],
  ])('%s is answered with an error and closed', async (_what, text) => {
    const lab = await startLab();
    const client = raw(lab.port, text);
    await until('it is closed', () => client.closed);
    expect(client.received).toMatch(/^(HTTP\/1\.1 4\d\d |$)/);
    expect(lab.counters.badRequests + lab.counters.badUpgrades).toBeGreaterThan(0);
    expect(lab.server.unprovenCount).toBe(0);
    await expectServed(lab);
  });

  test('garbage of a seeded generator never does more than that', async () => {
    const lab = await startLab();
    const prng = new Prng(77);
    for (let i = 0; i < 40; i++) {
      const garbage = new Uint8Array(prng.nextInt(1, 3000));
      prng.fill(garbage);
      const text = prng.chance(0.5) ? Buffer.from(garbage) : Buffer.concat([Buffer.from(`${UPGRADE}\r\n`), garbage]);
      const client = raw(lab.port, text);
      client.socket.end();
      await until('it is closed', () => client.closed);
    }
    expect(lab.server.connectionCount).toBe(0);
    await expectServed(lab);
  });

  test('connections that say nothing have a limit for each source that is not this machine, and one for all', async () => {
    const { Admission } = await import('../../../src/controller/server/admission.ts');
    const admission = new Admission(10, 3);
    const from = (address: string) => Array.from({ length: 5 }, () => admission.admit(address).ok);
    expect(from('203.0.113.1')).toEqual([true, true, true, false, false]);
    expect(from('2001:db8:0:1::1').concat(from('2001:db8:0:1::2'))).toEqual([
      ...[true, true, true, false, false],
      ...[false, false, false, false, false],
    ]);
    // Mapped is the same as plain, and a proxy here stands for many.
    expect(admission.admit('::ffff:203.0.113.1').ok).toBe(false);
    expect(from('::ffff:127.0.0.1')).toEqual([true, true, true, true, false]);
    expect(admission.admit('198.51.100.7')).toEqual({ ok: false, reason: 'unproven' });
  });

  test('a place is given back once', async () => {
    const { Admission } = await import('../../../src/controller/server/admission.ts');
    const admission = new Admission(2, 2);
    const first = admission.admit('203.0.113.1');
    if (!first.ok) throw new Error('not admitted');
    first.place.release();
    first.place.release();
    expect(admission.unproven).toBe(0);
    expect([1, 2, 3].map(() => admission.admit('203.0.113.1').ok)).toEqual([true, true, false]);
  });

  test('more than may be at once are refused at the door, and have room again when others left', async () => {
    const lab = await startLab({ limits: { unprovenMax: 3 } });
    const silent = [raw(lab.port), raw(lab.port), raw(lab.port)];
    await until('all three are in', () => lab.counters.connectionsOpened === 3);
    const refused = raw(lab.port);
    await until('the fourth is refused', () => refused.closed);
    expect(lab.counters.refusedUnproven).toBe(1);
    silent[0]?.socket.destroy();
    await until('there is room', () => lab.server.unprovenCount === 2);
    await expectServed(lab);
  });

  test('a node that is registered needs no such place', async () => {
    const lab = await startLab({ limits: { unprovenMax: 2 } });
    lab.core.onReceived = (conn) => lab.core.send(conn, { type: 'pending', message: '', help: '' });
    for (let i = 0; i < 5; i++) {
      const node = await new TestNode(lab.port, lab.staticKey.publicKey).handshake();
      node.say(REGISTER);
      await until('it is told', () => lab.core.of('received').length === i + 1);
    }
    expect(lab.server.connectionCount).toBe(5);
    await until('all have given their place back', () => lab.server.unprovenCount === 0);
  });

  test('a key that nobody knows, which anybody can make, keeps its place until it is gone', async () => {
    const lab = await startLab({ limits: { unprovenMax: 2 } });
    const strangers = [newKey(), newKey()].map((key) => new TestNode(lab.port, lab.staticKey.publicKey, key));
    for (const stranger of strangers) (await stranger.handshake()).say(REGISTER);
    await until('both are told', () => lab.core.of('received').length === 2);
    expect(lab.server.unprovenCount).toBe(2);
    const third = raw(lab.port);
    await until('a third is refused', () => third.closed);
    expect(lab.counters.refusedUnproven).toBe(1);
    strangers[0]?.socket.terminate();
    await until('its place is free', () => lab.server.unprovenCount === 1);
    await expectServed(lab);
  });
});

describe('before a key is proved', () => {
  test('half a handshake is ended by its deadline', async () => {
    const lab = await startLab({ limits: { handshakeTimeoutMs: 150 } });
    const silent = new TestNode(lab.port, lab.staticKey.publicKey);
    await silent.opened();
    const half = await new TestNode(lab.port, lab.staticKey.publicKey).handshake();
    await Promise.all([silent.ended(), half.ended()]);
    expect(lab.counters.closed.handshakeTimeout).toBe(2);
    expect(lab.core.told).toEqual([]);
    await expectServed(lab);
  });

  test("another controller's key is refused with a code that says so", async () => {
    const lab = await startLab();
    const node = new TestNode(lab.port, newKey().publicKey);
    await node.opened();
    node.flush();
    await node.ended();
    expect(node.closeCode).toBe(4001);
    expect(lab.counters.channelFailures.handshakeForged).toBe(1);
    expect(lab.core.told).toEqual([]);
    await expectServed(lab);
  });

  test('a recorded conversation, played again, is nobody to the core', async () => {
    const lab = await startLab();
    const node = new TestNode(lab.port, lab.staticKey.publicKey);
    await node.opened();
    const recorded: Uint8Array[] = [node.channel.nextFrame() as Uint8Array];
    node.socket.send(recorded[0] as Uint8Array);
    await until('the handshake is done', () => node.channel.state === 'open');
    const { layOut } = await import('../../../src/noise/secure-channel.ts');
    node.channel.send(layOut(Buffer.from(JSON.stringify(REGISTER)), false));
    recorded.push(node.channel.nextFrame() as Uint8Array);
    node.socket.send(recorded[1] as Uint8Array);
    await until('it is told', () => lab.core.told.length === 2);

    const replay = new TestNode(lab.port, lab.staticKey.publicKey);
    await replay.opened();
    for (const frame of recorded) replay.socket.send(frame);
    await replay.ended();
    expect(lab.core.told).toHaveLength(2);
    expect(lab.counters.channelFailures.frameForged).toBe(1);
    expect(node.closeCode).toBeNull();
  });

  test.each([
    ['a text frame', 'hello'],
    ['an empty frame', new Uint8Array(0)],
    ['a short frame', new Uint8Array(95)],
    ['96 zeros', new Uint8Array(96)],
    ['the longest frame', new Uint8Array(65_535).fill(7)],
    ['a frame that is too long', new Uint8Array(65_536).fill(7)],
  ])('%s ends the connection', async (_what, frame) => {
    const lab = await startLab();
    const node = new TestNode(lab.port, lab.staticKey.publicKey);
    await node.opened();
    node.socket.send(frame);
    await node.ended();
    expect(lab.core.told).toEqual([]);
    expect(lab.server.unprovenCount).toBe(0);
    await expectServed(lab);
  });
});

describe('with a proved key', () => {
  test.each([
    ['no JSON', 'hello', false],
    ['JSON that is no message', '{"type":"nothing"}', false],
    ['deep JSON', '['.repeat(30_000), false],
    ['no deflate', 'hello', true],
  ])('%s is told as malformed, once', async (_what, text, deflated) => {
    const lab = await startLab();
    const node = await new TestNode(lab.port, lab.staticKey.publicKey).handshake();
    node.say(text, deflated);
    await until('it is told', () => lab.core.of('malformed').length === 1);
    expect(lab.counters.messagesMalformed).toBe(1);
    expect(lab.core.of('received')).toEqual([]);
    await node.ended();
    await expectServed(lab);
  });

  test('a small message that inflates to a large one is not inflated', async () => {
    const lab = await startLab();
    const node = await new TestNode(lab.port, lab.staticKey.publicKey).handshake();
    // A good message, but for the blanks behind it.
    const bomb = deflateRawSync(Buffer.from(JSON.stringify(REGISTER).padEnd(50_000_000)), { level: 9 });
    expect(bomb.length).toBeLessThan(NODE_MESSAGE_BYTES_MAX);
    node.sayBytes(bomb, true);
    await until('it is told', () => lab.core.told.length === 2);
    expect(lab.core.of('malformed')).toHaveLength(1);
  });

  test('a message over the limit ends the connection before it is all there', async () => {
    const lab = await startLab();
    const node = await new TestNode(lab.port, lab.staticKey.publicKey).handshake();
    node.sayBytes(new Uint8Array(4 * NODE_MESSAGE_BYTES_MAX));
    await node.ended();
    expect(lab.counters.channelFailures.messageTooLong).toBe(1);
    expect(lab.core.of('received')).toEqual([]);
  });

  test('one that says too much is read no faster than it may, and loses nothing', async () => {
    const limits = { messagesBurst: 20, messagesPerSecond: 100 };
    const lab = await startLab({ limits });
    const node = await new TestNode(lab.port, lab.staticKey.publicKey).handshake();
    const begun = performance.now();
    for (let i = 0; i < 60; i++) node.say({ ...REGISTER, hostname: `machine${i}` });
    await until('all are told', () => lab.core.of('received').length === 60);
    expect(lab.counters.pauses).toBeGreaterThan(0);
    const names = lab.core
      .of('received')
      .map(({ message }) => (message as typeof REGISTER & { hostname: string }).hostname);
    expect(names).toEqual(Array.from({ length: 60 }, (_, i) => `machine${i}`));
    // Whatever one TCP segment brings is taken at once, so the rate shows in what comes after it.
    node.say(REGISTER);
    await until('the next is told', () => lab.core.of('received').length === 61);
    expect(performance.now() - begun).toBeGreaterThan(((61 - 20) / 100) * 1000 * 0.9);
  });

  test('pings are counted as messages are: one that sends nothing else is read no faster', async () => {
    const lab = await startLab({ limits: { messagesBurst: 20, messagesPerSecond: 1000 } });
    const node = await new TestNode(lab.port, lab.staticKey.publicKey).handshake();
    node.say(REGISTER);
    await until('it is told', () => lab.core.of('received').length === 1);
    for (let i = 0; i < 40; i++) node.socket.ping();
    await until('it is not read for a while', () => lab.counters.pauses > 0);
    node.say(REGISTER);
    await until('what came behind is read all the same', () => lab.core.of('received').length === 2);
    expect(node.closeCode).toBeNull();
  });

  test('one that does not read holds up nobody, and what waits for it is bounded', async () => {
    const mark = 65_536;
    const lab = await startLab({ limits: { sendMarkBytes: mark, queueBytesMax: 20_000_000 } });
    const slow = await new TestNode(lab.port, lab.staticKey.publicKey).handshake();
    const quick = await new TestNode(lab.port, lab.staticKey.publicKey).handshake();
    // What the core does: one netmap message on its way to each, the next when it was written out.
    const shared = { message: { type: 'snapshot', filler: randomBytes(600_000).toString('base64') } as never };
    const owed = new Map<number, number>();
    lab.core.onReceived = (conn) => {
      owed.set(conn, 40);
      lab.core.outputs.push({ kind: 'sendShared', conn, shared });
    };
    lab.core.onWritable = (conn) => {
      const left = (owed.get(conn) ?? 0) - 1;
      owed.set(conn, left);
      if (left > 0) lab.core.outputs.push({ kind: 'sendShared', conn, shared });
    };
    slow.say(REGISTER);
    slow.socket.pause();
    await until('the slow one is told', () => lab.core.of('received').length === 1);
    quick.say(REGISTER);
    await until('the quick one has all', () => quick.messages.length === 40, 20_000);
    const slowConn = lab.core.of('connected')[0]?.conn as number;
    // It got as far as the kernel's buffers go, and no further.
    expect(owed.get(slowConn)).toBeGreaterThan(10);
    slow.socket.resume();
    await until('then it has all as well', () => slow.messages.length === 40, 20_000);
  });

  test('one for which too much waits is cut', async () => {
    const lab = await startLab({ limits: { queueMessagesMax: 4, sendMarkBytes: 1 } });
    lab.core.onReceived = (conn) => {
      for (let i = 0; i < 50; i++) {
        lab.core.send(conn, { type: 'pending', message: 'm'.repeat(900), help: `${i}` });
      }
    };
    const node = await new TestNode(lab.port, lab.staticKey.publicKey).handshake();
    node.socket.pause();
    node.say(REGISTER);
    // The kernel takes some before the socket is full.
    await until('it is told', () => lab.core.of('received').length >= 1);
    for (let i = 0; i < 400 && lab.counters.closed.tooSlow === 0; i++) {
      const conn = lab.core.of('connected')[0]?.conn;
      if (conn === undefined) break;
      for (let n = 0; n < 50; n++) lab.core.send(conn, { type: 'pending', message: 'm'.repeat(900), help: '' });
      lab.host.wake();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until('it is cut', () => lab.counters.closed.tooSlow === 1);
    expect(lab.core.of('disconnected')).toHaveLength(1);
  });

  test('one that is silent is pinged, and dead after three pings; one that answers lives', async () => {
    const lab = await startLab({ limits: { pingIntervalMs: 60 } });
    const dead = await new TestNode(lab.port, lab.staticKey.publicKey, newKey(), false).handshake();
    const alive = await new TestNode(lab.port, lab.staticKey.publicKey).handshake();
    // Whoever speaks lives, whether it answers pings or not.
    const speaking = await new TestNode(lab.port, lab.staticKey.publicKey, newKey(), false).handshake();
    const talk = setInterval(() => speaking.say(REGISTER), 20);
    onTestFinished(() => clearInterval(talk));
    dead.say(REGISTER);
    alive.say(REGISTER);
    await dead.ended();
    expect(dead.pings).toBe(SERVER_LIMITS.pingsMissedMax);
    expect(lab.counters.closed.silent).toBe(1);
    const lasting = [alive, speaking];
    await until('the others were pinged more often', () =>
      lasting.every(({ pings }) => pings > SERVER_LIMITS.pingsMissedMax + 2),
    );
    expect(lasting.map(({ closeCode }) => closeCode)).toEqual([null, null]);
  });
});

describe('slowloris', () => {
  test('headers a byte at a time, and connections without a byte, are ended', async () => {
    const lab = await startLab({ limits: { headersTimeoutMs: 300, requestTimeoutMs: 600, httpCheckMs: 50 } });
    const dripping = raw(lab.port, 'GET / HT');
    const nothing = raw(lab.port);
    const drip = setInterval(() => dripping.socket.write('x'), 50);
    onTestFinished(() => clearInterval(drip));
    await until('both are ended', () => dripping.closed && nothing.closed);
    expect(lab.server.unprovenCount).toBe(0);
    await expectServed(lab);
  });
});
