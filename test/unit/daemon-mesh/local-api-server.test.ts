// The local API over its socket: who may connect, what is answered, what a client may not do. The backend is a stand-in.

import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { LocalApiServer, type LocalBackend, type PeerFilter } from '../../../src/daemon/mesh/local-api-server.ts';
import { ProblemError } from '../../../src/daemon/mesh/problem-error.ts';
import { groupId, listenOnPath } from '../../../src/daemon/mesh/unix-listener.ts';
import { type PingLine, REQUEST_BYTES_MAX, type Status, type UpLine } from '../../../src/protocol/local-api.ts';
import type { NetcheckReport, WhyReport } from '../../../src/protocol/path-report.ts';
import { rememberingLog, temporaryDirectory, until } from '../daemon-fixtures.ts';

const STATUS: Status = {
  version: '1',
  state: 'unconfigured',
  problem: null,
  warnings: [],
  self: {
    id: null,
    name: null,
    addresses: [],
    publicKey: null,
    tags: [],
    interface: null,
    listenPort: null,
    candidates: [],
  },
  network: null,
  controller: { state: 'offline', url: null, since: null, lastError: null, seq: null },
  peers: [],
  relays: [],
};

class Backend implements LocalBackend {
  current: Status = STATUS;
  asked: unknown[] = [];
  failure: Error | null = null;
  signal: AbortSignal | null = null;
  say: (line: UpLine | PingLine) => void = () => undefined;
  finish: () => void = () => undefined;
  readonly listeners = new Set<() => void>();

  status(filter: PeerFilter): Status {
    this.asked.push(filter);
    if (filter.kind === 'one' && filter.name === 'nobody') throw unknown();
    if (this.failure !== null) throw this.failure;
    return this.current;
  }
  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
  up(body: unknown, tell: (line: UpLine) => void, signal: AbortSignal): Promise<void> {
    return this.#long(body, tell as Backend['say'], signal);
  }
  ping(body: unknown, tell: (line: PingLine) => void, signal: AbortSignal): Promise<void> {
    return this.#long(body, tell as Backend['say'], signal);
  }
  #long(body: unknown, tell: Backend['say'], signal: AbortSignal): Promise<void> {
    this.asked.push(body);
    this.signal = signal;
    this.say = tell;
    if (this.failure !== null) return Promise.reject(this.failure);
    return new Promise((resolve) => {
      this.finish = resolve;
    });
  }
  down(): Promise<void> {
    return Promise.resolve();
  }
  logout(): Promise<{ told: boolean }> {
    return Promise.resolve({ told: true });
  }
  rotateKey(): Promise<{ publicKey: string }> {
    return Promise.resolve({ publicKey: 'new' });
  }
  why(peer: string): WhyReport {
    if (peer !== 'desk') throw new ProblemError({ code: 'unknownPeer', message: 'who?', why: null, help: null });
    const half = { id: 2, name: 'desk', addresses: [], online: true, state: 'idle', lastHandshake: null } as const;
    return { peer: half, path: null, candidates: [], causes: [], summary: 'idle: nobody speaks to it', advice: [] };
  }

  netcheck(): Promise<NetcheckReport> {
    return Promise.resolve({
      udp: 'works',
      mapping: 'none',
      filtering: 'none',
      reflexive: { ipv4: null, ipv6: null },
      interfaces: [],
      stun: [],
      relays: [],
      portMapping: [],
      advice: [],
    });
  }

  flush(peer: string): { name: string; closed: boolean } {
    if (peer === 'nobody') throw unknown();
    return { name: peer, closed: true };
  }
}

function unknown(): ProblemError {
  return new ProblemError({ code: 'unknownPeer', message: 'no such peer', why: null, help: null });
}

interface Answer {
  readonly code: number;
  readonly text: string;
}

let backend: Backend;
let api: LocalApiServer;
let path: string;
let logged: string[];

beforeEach(async () => {
  backend = new Backend();
  const { log, lines } = rememberingLog();
  logged = lines;
  path = join(temporaryDirectory(), 'run', 'w.sock');
  api = await LocalApiServer.open(path, backend, log, 'no-such-group');
});
afterEach(() => api.closeNow());

function send(method: string, url: string, body?: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asking = request({ socketPath: path, method, path: url, agent: false }, resolve);
    asking.on('error', reject);
    onTestFinished(() => {
      asking.destroy();
    });
    asking.end(body);
  });
}

async function ask(method: string, url: string, body?: string): Promise<Answer> {
  const response = await send(method, url, body);
  let text = '';
  for await (const piece of response.setEncoding('utf8') as AsyncIterable<string>) text += piece;
  return { code: response.statusCode ?? 0, text };
}

const json = async (method: string, url: string, body?: object): Promise<unknown> =>
  JSON.parse((await ask(method, url, body === undefined ? undefined : JSON.stringify(body))).text);

describe('the socket', () => {
  it('is its user’s alone where there is no group for it', () => {
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(path).isSocket()).toBe(true);
  });

  it('is the group’s too where there is one', async () => {
    const own = groupName(process.getgid?.() ?? 0);
    const other = join(temporaryDirectory(), 'g.sock');
    const opened = await LocalApiServer.open(other, backend, rememberingLog().log, own);
    onTestFinished(() => opened.closeNow());
    expect(statSync(other).mode & 0o777).toBe(0o660);
    expect(statSync(other).gid).toBe(process.getgid?.());
  });

  it('is removed at the end, and not when somebody else’s is in its place', async () => {
    api.closeNow();
    expect(existsSync(path)).toBe(false);
    const server = createServer();
    const listener = await listenOnPath(server, { path, group: null });
    onTestFinished(() => {
      server.close();
    });
    // The name is another file's now.
    renameSync(path, `${path}.gone`);
    writeFileSync(path, 'mine');
    listener.remove();
    expect(existsSync(path)).toBe(true);
    rmSync(`${path}.gone`, { force: true });
  });

  it('takes the place of one that nobody serves, and not of one that somebody does', async () => {
    await expect(LocalApiServer.open(path, backend, rememberingLog().log)).rejects.toMatchObject({
      why: 'another daemon answers on it',
    });
    const stale = join(temporaryDirectory(), 's.sock');
    // A process that ends without a word leaves its socket.
    const script = `require('node:net').createServer().listen(${JSON.stringify(stale)}, () => process.kill(process.pid, 9))`;
    expect(spawnSync(process.execPath, ['-e', script]).signal).toBe('SIGKILL');
    expect(existsSync(stale)).toBe(true);
    const opened = await LocalApiServer.open(stale, backend, rememberingLog().log);
    opened.closeNow();
  });

  it.each([
    ['a file', (at: string) => writeFileSync(at, 'precious'), 'a file that is not a socket'],
    ['a link', (at: string) => symlinkSync('/dev/null', at), 'a file that is not a socket'],
  ])('leaves %s alone that has its name', async (_what, make, why) => {
    const at = join(temporaryDirectory(), 'x.sock');
    make(at);
    await expect(LocalApiServer.open(at, backend, rememberingLog().log)).rejects.toMatchObject({
      why: expect.stringContaining(why),
    });
    expect(existsSync(at)).toBe(true);
  });

  it('is refused in a directory where others could put theirs', async () => {
    const directory = temporaryDirectory();
    chmodSync(directory, 0o777);
    await expect(LocalApiServer.open(join(directory, 'x'), backend, rememberingLog().log)).rejects.toMatchObject({
      help: expect.stringContaining('chmod go-w'),
    });
  });

  it('says when its path is too long', async () => {
    const long = join(temporaryDirectory(), 'x'.repeat(110));
    await expect(LocalApiServer.open(long, backend, rememberingLog().log)).rejects.toMatchObject({
      why: expect.stringContaining('at most 107 bytes'),
    });
  });

  it('knows groups by /etc/group', () => {
    expect(groupId('root')).toBe(0);
    expect(groupId('no-such-group')).toBeNull();
    expect(groupId('root', '/nowhere')).toBeNull();
  });
});

describe('requests', () => {
  it('are answered', async () => {
    expect(await json('GET', '/v1/status')).toEqual(STATUS);
    expect(await json('POST', '/v1/down', {})).toEqual(STATUS);
    expect(await json('POST', '/v1/logout', {})).toEqual({ told: true });
    expect(await json('POST', '/v1/rotate-key', {})).toEqual({ publicKey: 'new' });
    expect(await json('POST', '/v1/peers/flush', { peer: 'desk' })).toEqual({ name: 'desk', closed: true });
    expect(await json('GET', '/v1/why?peer=desk')).toMatchObject({ peer: { name: 'desk' }, causes: [] });
    expect(await json('POST', '/v1/netcheck', {})).toMatchObject({ udp: 'works' });
  });

  it('may be about one peer, or about none', async () => {
    await ask('GET', '/v1/status?peers=none');
    await ask('GET', '/v1/status?peer=a%20b');
    expect(backend.asked).toEqual([{ kind: 'none' }, { kind: 'one', name: 'a b' }]);
  });

  it.each([
    ['an unknown route', 'GET', '/v1/nothing', undefined, 400],
    ['an unknown method', 'DELETE', '/v1/status', undefined, 400],
    ['what is not JSON', 'POST', '/v1/ping', '{"peer":', 400],
    ['what does not fit the schema', 'POST', '/v1/ping', '{"peer":7}', 400],
    ['a number out of its range', 'POST', '/v1/ping', '{"peer":"x","intervalMs":1}', 400],
    ['more than a request may have', 'POST', '/v1/up', `{"joinLink":"${'x'.repeat(REQUEST_BYTES_MAX)}"}`, 400],
    ['an unknown peer', 'POST', '/v1/peers/flush', '{"peer":"nobody"}', 404],
    ['why of an unknown peer', 'GET', '/v1/why?peer=nobody', undefined, 404],
    ['an unknown peer to watch', 'GET', '/v1/status?watch=1&peer=nobody', undefined, 404],
  ])('%s is refused with a problem', async (_what, method, url, body, code) => {
    const answer = await ask(method, url, body);
    expect(answer.code).toBe(code);
    expect(JSON.parse(answer.text)).toMatchObject({ error: { code: expect.any(String), message: expect.any(String) } });
    // What clients send is not worth a line.
    expect(logged).toEqual([]);
  });

  it('that fail inside are told without their stack, which is in the log', async () => {
    backend.failure = new Error('broken');
    const answer = await ask('GET', '/v1/status');
    expect(answer.code).toBe(500);
    expect(JSON.parse(answer.text)).toMatchObject({ error: { code: 'internal', why: 'broken' } });
    expect(answer.text).not.toContain('local-api-server');
    expect(logged.join('')).toContain('Error: broken');
  });

  it('that are no HTTP end the connection, and nobody else’s', async () => {
    const client = connect({ path });
    let over = false;
    client.on('error', () => undefined);
    client.on('close', () => {
      over = true;
    });
    client.write('\u0000\u0001 garbage\r\n\r\n');
    client.resume();
    await until(() => over);
    expect((await ask('GET', '/v1/status')).code).toBe(200);
  });

  it('that never come to an end give their places back soon', async () => {
    const short = join(temporaryDirectory(), 'short');
    const opened = await LocalApiServer.open(short, backend, rememberingLog().log, 'no-such-group', 100);
    onTestFinished(() => opened.closeNow());
    const began = performance.now();
    const ended = await Promise.all(
      [
        '',
        'GET /v1/status HTTP/1.1\r\nHost: x\r\nA: ',
        'POST /v1/up HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{',
        // One answered, and then another that is not all there.
        'GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/status HTTP/1.1\r\nHost: x\r\nA: ',
      ].map(
        (text) =>
          new Promise<boolean>((resolve) => {
            const client = connect(short, () => client.write(text));
            onTestFinished(() => {
              client.destroy();
            });
            client.on('error', () => undefined).on('close', () => resolve(true));
            client.resume();
          }),
      ),
    );
    expect(ended).toEqual([true, true, true, true]);
    expect(performance.now() - began).toBeLessThan(10_000);
  }, 20_000);

  it('that take long to answer are not cut off', async () => {
    const short = join(temporaryDirectory(), 'short');
    const opened = await LocalApiServer.open(short, backend, rememberingLog().log, 'no-such-group', 50);
    onTestFinished(() => opened.closeNow());
    const watching = connect(short, () => watching.write('GET /v1/status?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n'));
    onTestFinished(() => {
      watching.destroy();
    });
    let closed = false;
    let seen = '';
    watching.setEncoding('utf8').on('data', (text: string) => {
      seen += text;
    });
    watching.on('close', () => {
      closed = true;
    });
    await until(() => seen.includes('{'));
    // Longer than a request may take to arrive.
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(closed).toBe(false);
  });

  it('of many clients at once are all answered', async () => {
    const answers = await Promise.all(Array.from({ length: 100 }, () => ask('GET', '/v1/status')));
    expect(new Set(answers.map(({ code }) => code))).toEqual(new Set([200]));
  });
});

describe('long work', () => {
  it('is told line by line, as it happens', async () => {
    const response = await send('POST', '/v1/up', '{}');
    let text = '';
    response.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
    });
    await until(() => backend.asked.length === 1);
    expect(backend.asked).toEqual([{ joinLink: null, hostname: null, timeoutMs: 60_000 }]);
    backend.say({ type: 'progress', step: 'connecting', message: 'connecting' });
    await until(() => text.includes('\n'));
    expect(JSON.parse(text)).toMatchObject({ type: 'progress' });
    backend.say({ type: 'done', status: STATUS });
    backend.finish();
    await until(() => response.complete);
    expect(text.trim().split('\n')).toHaveLength(2);
  });

  it('ends with its problem when it fails', async () => {
    backend.failure = unknown();
    const { code, text } = await ask('POST', '/v1/ping', '{"peer":"nobody"}');
    expect(code).toBe(200);
    expect(JSON.parse(text)).toEqual({ type: 'error', problem: unknown().problem });
  });

  it('hears when its client is gone', async () => {
    const response = await send('POST', '/v1/ping', '{"peer":"x","count":0}');
    await until(() => backend.signal !== null);
    expect(backend.signal?.aborted).toBe(false);
    response.destroy();
    await until(() => backend.signal?.aborted === true);
    // What is told now goes nowhere, and hurts nobody.
    backend.say({ type: 'lost', sequence: 1, reason: 'late' });
    backend.finish();
  });
});

describe('watching', () => {
  it('shows each change once, and nothing while nothing changes', async () => {
    const response = await send('GET', '/v1/status?watch=1');
    const seen: Status[] = [];
    let rest = '';
    response.setEncoding('utf8').on('data', (piece: string) => {
      const lines = `${rest}${piece}`.split('\n');
      rest = lines.pop() ?? '';
      seen.push(...lines.map((line) => JSON.parse(line) as Status));
    });
    await until(() => seen.length === 1);
    for (const listener of backend.listeners) listener();
    backend.current = { ...STATUS, state: 'starting' };
    for (const listener of backend.listeners) listener();
    await until(() => seen.length === 2);
    backend.current = { ...STATUS, state: 'up' };
    for (const listener of backend.listeners) listener();
    await until(() => seen.length === 3);
    expect(seen.map(({ state }) => state)).toEqual(['unconfigured', 'starting', 'up']);
    response.destroy();
    await until(() => backend.listeners.size === 0);
  });

  it('ends when the peer that is watched is removed', async () => {
    const response = await send('GET', '/v1/status?watch=1&peer=desk');
    response.resume();
    await until(() => backend.listeners.size === 1);
    backend.failure = unknown();
    for (const listener of backend.listeners) listener();
    await until(() => response.complete);
    await until(() => backend.listeners.size === 0);
  });
});

/** The name of a group by its number, as the system knows it. */
function groupName(gid: number): string {
  return gid === 0 ? 'root' : String(gid);
}
