// The server around the core: who connects is told with a proven key, messages go both ways in order, shared messages are encoded
// once, commits come before answers, and an end is an end on both sides.

import { randomBytes } from 'node:crypto';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { toBase64 } from '../../../src/base/bytes.ts';
import type { Instant } from '../../../src/base/instant.ts';
import type { ConnectionId } from '../../../src/controller/state/commands.ts';
import type { Change } from '../../../src/controller/state/model.ts';
import type { ControllerMessage } from '../../../src/protocol/control.ts';
import { newKey, REGISTER, startLab, TestNode, until } from './lab.ts';

const PENDING: ControllerMessage = { type: 'pending', message: 'wait', help: 'ask' };

function json(message: { bytes: Uint8Array; deflated: boolean } | undefined): unknown {
  if (message === undefined) return undefined;
  return JSON.parse(Buffer.from(message.deflated ? inflateRawSync(message.bytes) : message.bytes).toString());
}

/** About `bytes` of JSON that deflate does not make much smaller. */
function largeMessage(bytes: number): ControllerMessage & { type: 'pending' } {
  return { type: 'pending', message: randomBytes(Math.ceil((bytes * 3) / 4)).toString('base64'), help: '' };
}

describe('a node', () => {
  test('is told to the core once it has proved its key, with the address that it comes from', async () => {
    const { core, port, staticKey, counters } = await startLab();
    const key = newKey();
    const node = await new TestNode(port, staticKey.publicKey, key).handshake();
    expect(core.told).toEqual([]);
    node.say(REGISTER);
    await until('it is told', () => core.told.length === 2);
    expect(core.told[0]).toMatchObject({
      kind: 'connected',
      publicKey: toBase64(key.publicKey),
      remoteAddress: '127.0.0.1',
    });
    expect(core.told[1]).toMatchObject({ kind: 'received', message: REGISTER });
    expect(counters.handshakesDone).toBe(1);
  });

  test('may deflate what it says', async () => {
    const { core, port, staticKey } = await startLab();
    const node = await new TestNode(port, staticKey.publicKey).handshake();
    node.sayBytes(deflateRawSync(Buffer.from(JSON.stringify(REGISTER))), true);
    await until('it is told', () => core.of('received').length === 1);
    expect(core.of('received')[0]?.message).toEqual(REGISTER);
  });

  test('is sent what the core says, small and large, in order', async () => {
    const { core, port, staticKey } = await startLab();
    const large = largeMessage(300_000);
    core.onReceived = (conn) => {
      core.send(conn, PENDING);
      core.send(conn, large);
      core.send(conn, PENDING);
    };
    const node = await new TestNode(port, staticKey.publicKey).handshake();
    node.say(REGISTER);
    await until('all is there', () => node.messages.length === 3);
    expect(node.messages.map(json)).toEqual([PENDING, large, PENDING]);
    expect(node.messages.map(({ deflated }) => deflated)).toEqual([false, true, false]);
  });

  test('behind a proxy on this machine comes from where the proxy says', async () => {
    const { core, port, staticKey } = await startLab();
    const { WebSocket } = await import('ws');
    const node = new TestNode(port, staticKey.publicKey);
    node.socket.terminate();
    const socket = new WebSocket(`ws://127.0.0.1:${port}/behind/a/proxy/v1/control`, {
      headers: { 'x-forwarded-for': '198.51.100.1, 203.0.113.9' },
    });
    Object.assign(node, { socket });
    socket.on('message', (data) => node.channel.handleFrame(data as Buffer));
    await node.handshake();
    node.say(REGISTER);
    await until('it is told', () => core.of('connected').length === 1);
    expect(core.of('connected')[0]?.remoteAddress).toBe('203.0.113.9');
    socket.terminate();
  });

  test('that leaves is told as gone, once', async () => {
    const { core, port, staticKey, counters } = await startLab();
    const node = await new TestNode(port, staticKey.publicKey).handshake();
    node.say(REGISTER);
    await until('it is told', () => core.of('received').length === 1);
    node.socket.close();
    await until('it is gone', () => core.of('disconnected').length === 1);
    await node.ended();
    expect(core.of('disconnected')).toHaveLength(1);
    expect(counters.closed.peer).toBe(1);
  });

  test('that the core closes gets what was sent before, however much', async () => {
    const { core, port, staticKey } = await startLab();
    const large = largeMessage(2_000_000);
    core.onReceived = (conn) => {
      core.send(conn, large);
      core.send(conn, PENDING);
      core.outputs.push({ kind: 'close', conn });
    };
    const node = await new TestNode(port, staticKey.publicKey).handshake();
    node.say(REGISTER);
    await node.ended();
    expect(node.messages.map(json)).toEqual([large, PENDING]);
    expect(node.closeCode).toBe(1000);
    // Whom the core has closed, it is not told about again.
    expect(core.of('disconnected')).toEqual([]);
  });

  test('is told writable once for any number of sends, when all is out', async () => {
    const { core, port, staticKey } = await startLab();
    core.onReceived = (conn) => {
      for (let i = 0; i < 5; i++) core.send(conn, PENDING);
    };
    const node = await new TestNode(port, staticKey.publicKey).handshake();
    node.say(REGISTER);
    await until('all is there', () => node.messages.length === 5 && core.of('writable').length > 0);
    expect(core.of('writable').length).toBeLessThanOrEqual(5);
  });
});

describe('a message for many', () => {
  test('is encoded once', async () => {
    const { core, port, staticKey, counters } = await startLab();
    const nodes = await Promise.all(
      Array.from({ length: 6 }, () => new TestNode(port, staticKey.publicKey).handshake()),
    );
    for (const node of nodes) node.say(REGISTER);
    await until('all are told', () => core.of('received').length === 6);
    const shared = { message: { type: 'delta' as const, from: 1, seq: 2, ops: [], ack: false } };
    for (const { conn } of core.of('connected')) core.outputs.push({ kind: 'sendShared', conn, shared });
    nodes[0]?.say(REGISTER);
    await until('all have it', () => nodes.every((node) => node.messages.length === 1));
    expect(nodes.map((node) => json(node.messages[0]))).toEqual(nodes.map(() => shared.message));
    expect(counters.encodingsMade).toBe(1);
    expect(counters.encodingsReused).toBe(5);
  });
});

describe('the turn of the core', () => {
  const batch = [{ kind: 'deleteNode', id: 1 }] as unknown as Change[];

  test('one commit at a time, and the core is told after it', async () => {
    let release: () => void = () => undefined;
    let commits = 0;
    const { core, host } = await startLab({
      commit: () => {
        commits++;
        return new Promise((resolve) => {
          release = resolve;
        });
      },
    });
    core.batches = [[...batch], [...batch]];
    host.wake();
    await until('the first commit is under way', () => commits === 1);
    await host.administer({ action: 'keys.revoke', id: 'k' }, { name: 'socket', source: 'local' });
    expect([commits, core.committed]).toEqual([1, 0]);
    release();
    await until('the second is under way', () => commits === 2);
    expect(core.committed).toBe(1);
    release();
    await until('both are told', () => core.committed === 2);
  });

  test('a store that fails is told to the core, and logged once until it works again', async () => {
    const outcomes = [new Error('disk full'), new Error('disk full'), null];
    const { core, host, lines, storeErrors } = await startLab({
      commit: () => {
        const error = outcomes.shift() ?? null;
        return error === null ? Promise.resolve() : Promise.reject(error);
      },
    });
    core.batches = [[...batch], [...batch], [...batch]];
    expect(host.healthy).toBe(true);
    host.wake();
    await until('all three are through', () => core.failed === 2 && core.committed === 1);
    expect(storeErrors).toHaveLength(2);
    expect(lines.filter((line) => line.startsWith('error'))).toEqual([
      'error the database takes no changes; machines go on with what they have why="disk full"\n',
    ]);
    expect(host.healthy).toBe(true);
  });

  test('deadlines are kept', async () => {
    const { core, host } = await startLab();
    const deadline = (performance.now() + 20) as Instant;
    core.deadline = deadline;
    host.wake();
    await until('it is handled', () => core.deadlinesHandled === 1);
    expect(performance.now()).toBeGreaterThanOrEqual(deadline);
  });

  test('thousands of outputs do not keep an answer waiting behind all of them at once', async () => {
    const { core, host } = await startLab({ limits: { outputsPerTurn: 10 } });
    const gone = 999_999 as ConnectionId;
    for (let i = 0; i < 1000; i++) core.send(gone, PENDING);
    let turns = 0;
    const count = (): void => {
      turns++;
      if (core.outputs.length > 0 || turns < 50) setImmediate(count);
    };
    setImmediate(count);
    const answer = await host.administer({ action: 'keys.revoke', id: 'k' }, { name: 'socket', source: 'local' });
    expect(answer.ok).toBe(false);
    expect(turns).toBeGreaterThan(20);
  });
});

describe('the end', () => {
  test('every node is told, and closed', async () => {
    const { core, port, staticKey, stop } = await startLab();
    const nodes = await Promise.all(
      Array.from({ length: 3 }, () => new TestNode(port, staticKey.publicKey).handshake()),
    );
    for (const node of nodes) node.say(REGISTER);
    await until('all are told', () => core.of('received').length === 3);
    await stop();
    await Promise.all(nodes.map((node) => node.ended()));
    for (const node of nodes) expect(json(node.messages[0])).toMatchObject({ type: 'error', code: 'goingAway' });
  });

  test('does not wait for a client that does not answer', async () => {
    const { port, staticKey, stop } = await startLab({ limits: { closeTimeoutMs: 100 } });
    const node = await new TestNode(port, staticKey.publicKey).handshake();
    node.socket.pause();
    const begun = performance.now();
    await stop();
    expect(performance.now() - begun).toBeLessThan(5_000);
  });
});
