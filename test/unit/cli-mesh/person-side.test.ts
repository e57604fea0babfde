// The commands of the person's side against a daemon that answers what a test tells it to: what is asked, what is printed where,
// and with which exit code. docs/cli.md.

import { spawnSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { CliIo } from '../../../src/cli/command.ts';
import { statusText } from '../../../src/cli/commands/status.ts';
import { main } from '../../../src/cli/main.ts';
import type { PeerStatus, Problem, Status } from '../../../src/protocol/local-api.ts';
import { temporaryDirectory } from '../daemon-fixtures.ts';

interface Result {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

interface Asked {
  readonly route: string;
  readonly body: unknown;
}

const PEER: PeerStatus = {
  id: 2,
  name: 'desk',
  addresses: ['100.64.0.2', 'fd00::2'],
  publicKey: 'k2',
  tags: [],
  online: true,
  state: 'established',
  path: { kind: 'direct', endpoint: '192.0.2.2:4000' },
  candidates: [],
  lastHandshake: new Date(1_000_000_000_000 - 65_000).toISOString(),
  rxBytes: 2048,
  txBytes: 100,
  reason: null,
};

const UP: Status = {
  version: '1',
  state: 'up',
  problem: null,
  warnings: [],
  self: {
    id: 1,
    name: 'laptop',
    addresses: ['100.64.0.1', 'fd00::1'],
    publicKey: 'k1',
    tags: [],
    interface: 'warren0',
    listenPort: 4000,
    candidates: [],
  },
  network: { name: 'home', prefix4: '100.64.0.0/10', prefix6: 'fd00::/64' },
  controller: { state: 'connected', url: 'http://192.0.2.1:7370', since: null, lastError: null, seq: 3 },
  peers: [PEER],
  relays: [],
};

const LINK = `warren://192.0.2.1:7370?key=${'k'.repeat(43)}&auth=abcdefghijklmnop`;

const PROBLEM: Problem = { code: 'authKeyUsed', message: 'the key was used', why: 'it is for once', help: 'ask again' };

let path: string;
let asked: Asked[];
let answer: (res: ServerResponse, asked: Asked) => void;

beforeEach(async () => {
  asked = [];
  answer = (res) => res.end(JSON.stringify(UP));
  path = join(temporaryDirectory(), 'd.sock');
  const server = createServer((req, res) => {
    let text = '';
    req.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
    });
    req.on('end', () => {
      const one = { route: `${req.method} ${req.url}`, body: text === '' ? null : JSON.parse(text) };
      asked.push(one);
      answer(res, one);
    });
  });
  await new Promise<void>((resolve) => server.listen(path, () => resolve()));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
});

async function warren(...argv: string[]): Promise<Result> {
  let out = '';
  let error = '';
  const io: CliIo = {
    env: { WARREN_SOCKET: path },
    argv,
    out: (text) => {
      out += text;
    },
    error: (text) => {
      error += text;
    },
    interactive: false,
  };
  return { code: await main(argv, 'warren', io), out, error };
}

function lines(...objects: object[]): (res: ServerResponse) => void {
  return (res) => res.end(objects.map((one) => `${JSON.stringify(one)}\n`).join(''));
}

function refuses(problem: Problem): (res: ServerResponse) => void {
  return (res) => {
    res.statusCode = 409;
    res.end(JSON.stringify({ error: problem }));
  };
}

describe('up', () => {
  it('prints progress on standard error and the addresses on standard output', async () => {
    answer = lines({ type: 'progress', step: 'connecting', message: 'connecting …' }, { type: 'done', status: UP });
    expect(await warren('up', '--join', LINK, '--hostname', 'h', '--timeout', '5')).toEqual({
      code: 0,
      out: '100.64.0.1\nfd00::1\n',
      error: 'connecting …\nconnected to home as laptop\n',
    });
    expect(asked).toEqual([{ route: 'POST /v1/up', body: { joinLink: LINK, hostname: 'h', timeoutMs: 5000 } }]);
  });

  it('reads the link from a file: its first line with something in it', async () => {
    answer = lines({ type: 'done', status: UP });
    const file = join(temporaryDirectory(), 'link');
    writeFileSync(file, `\n  ${LINK}  \nrest\n`);
    expect((await warren('up', '--join-file', file)).code).toBe(0);
    expect(asked[0]?.body).toMatchObject({ joinLink: LINK, hostname: null });
  });

  it('a text that is no link is wrong usage, is not repeated, and is not sent', async () => {
    const cutOff = LINK.slice(0, -10);
    const file = join(temporaryDirectory(), 'link');
    writeFileSync(file, `${cutOff}\n`);
    for (const argv of [
      ['--join', 'foo'],
      ['--join', ''],
      ['--join', 'warren://'],
      ['--join', cutOff],
      ['--join-file', file],
      ['--json', '--join', 'foo'],
    ]) {
      const { code, out, error } = await warren('up', ...argv);
      expect({ argv, code, out }).toEqual({ argv, code: 2, out: '' });
      expect(error).toContain('this is not a join link: ');
      expect(error).toContain('warren keys create');
      expect(error).not.toContain('abcdef');
    }
    expect(asked).toEqual([]);
  });

  it('without a link asks for the network that the machine belongs to', async () => {
    answer = lines({ type: 'done', status: UP });
    expect(JSON.parse((await warren('up', '--json')).out)).toEqual(UP);
    expect(asked[0]?.body).toEqual({ joinLink: null, hostname: null, timeoutMs: 60_000 });
  });

  it('tells what is in the way: what, why, what to do; as JSON too', async () => {
    answer = lines({ type: 'progress', step: 's', message: 'm' }, { type: 'error', problem: PROBLEM });
    expect(await warren('up')).toEqual({
      code: 1,
      out: '',
      error: 'm\nwarren up: the key was used\n  why: it is for once\n  do:  ask again\n',
    });
    const { code, out, error } = await warren('up', '--json');
    expect({ code, out, error: JSON.parse(error) }).toEqual({ code: 1, out: '', error: { error: PROBLEM } });
  });

  it('tells warnings although it is connected', async () => {
    answer = lines({ type: 'done', status: { ...UP, warnings: [PROBLEM] } });
    const { code, error } = await warren('up');
    expect({ code, error }).toMatchObject({ code: 0, error: expect.stringContaining('warning: the key was used') });
  });

  it('tells a daemon that goes away in the middle', async () => {
    answer = (res) => {
      res.write('{"type":"progress","step":"s","message":"m"}\n');
      setImmediate(() => res.destroy());
    };
    const { code, error } = await warren('up');
    expect({ code, error }).toMatchObject({ code: 1, error: expect.stringContaining('went away') });
  });

  it.each([
    [['up', 'warren://x'], 'comes after --join'],
    [['up', '--join', 'a', '--join-file', 'b'], 'either'],
    [['up', '--timeout', 'soon'], 'whole number'],
  ])('%j is wrong usage', async (argv, hint) => {
    expect(await warren(...argv)).toMatchObject({ code: 2, out: '', error: expect.stringContaining(hint) });
    expect(asked).toEqual([]);
  });

  it('does not let the controller move the cursor', async () => {
    answer = lines({ type: 'error', problem: { ...PROBLEM, message: 'a\u001b[2Jb\nc' } });
    expect((await warren('up')).error).toContain('warren up: a [2Jb c\n');
  });
});

describe('ip', () => {
  it('prints our addresses, or a peer’s, one a line', async () => {
    expect(await warren('ip')).toMatchObject({ code: 0, out: '100.64.0.1\nfd00::1\n' });
    expect(await warren('ip', 'desk')).toMatchObject({ code: 0, out: '100.64.0.2\nfd00::2\n' });
    expect(JSON.parse((await warren('ip', 'a b', '--json')).out)).toEqual(PEER.addresses);
    expect(asked.map(({ route }) => route)).toEqual([
      'GET /v1/status?peers=none',
      'GET /v1/status?peer=desk',
      'GET /v1/status?peer=a%20b',
    ]);
  });

  it('fails without addresses, and says what to do', async () => {
    answer = (res) => res.end(JSON.stringify({ ...UP, state: 'down', self: { ...UP.self, addresses: [] } }));
    expect(await warren('ip')).toMatchObject({ code: 1, out: '', error: expect.stringContaining('warren up') });
  });
});

describe('ping', () => {
  const reply = { type: 'reply', sequence: 1, ms: 1.25, path: { kind: 'direct', endpoint: '192.0.2.2:4000' } };
  const done = { type: 'done', peer: 'desk', sent: 1, received: 1, minMs: 1.25, avgMs: 1.25, maxMs: 1.25 };

  it('tells each answer with its path, and a summary', async () => {
    answer = lines(reply, done);
    expect(await warren('ping', 'desk', '-c', '1', '-i', '0.5', '-w', '2')).toEqual({
      code: 0,
      error: '',
      out: 'answer from desk: 1 after 1.25 ms, direct 192.0.2.2:4000\ndesk: 1 sent, 1 answered; min 1.25, avg 1.25, max 1.25 ms\n',
    });
    expect(asked[0]?.body).toEqual({ peer: 'desk', untilDirect: false, count: 1, intervalMs: 500, timeoutMs: 2000 });
  });

  it('fails when none was answered', async () => {
    answer = lines(
      { type: 'lost', sequence: 1, reason: 'no answer' },
      { ...done, received: 0, minMs: null, avgMs: null, maxMs: null },
    );
    expect(await warren('ping', 'desk')).toMatchObject({ code: 1, out: expect.stringContaining('0 answered') });
  });

  it('prints a JSON object a line', async () => {
    answer = lines(reply, done);
    expect(
      (await warren('ping', 'desk', '--json')).out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual([reply, done]);
  });

  it.each([[['ping']], [['ping', 'a', 'b']], [['ping', 'a', '-i', '0']], [['ping', 'a', '-c', '-1']]])(
    '%j is wrong usage',
    async (argv) => {
      expect((await warren(...argv)).code).toBe(2);
    },
  );
});

describe('the other commands', () => {
  it.each([
    [['down'], 'POST /v1/down', {}],
    [['logout'], 'POST /v1/logout', {}],
    [['rotate-key'], 'POST /v1/rotate-key', {}],
    [['peers', 'flush', 'desk'], 'POST /v1/peers/flush', { peer: 'desk' }],
  ])('%j asks %s', async (argv, route, body) => {
    expect((await warren(...argv)).code).toBe(0);
    expect(asked).toEqual([{ route, body }]);
  });

  it.each([['down'], ['logout'], ['ip'], ['status'], ['rotate-key'], ['peers', 'flush', 'x'], ['ping', 'x']])(
    '%s tells a refusal, with exit code 1',
    async (...argv) => {
      answer = refuses(PROBLEM);
      const text = `warren ${argv[0] === 'peers' ? 'peers flush' : argv[0]}: the key was used\n`;
      expect(await warren(...argv)).toMatchObject({ code: 1, out: '', error: expect.stringContaining(text) });
      expect(JSON.parse((await warren(...argv, '--json')).error)).toEqual({ error: PROBLEM });
    },
  );

  it.each(['down', 'logout', 'rotate-key'])('%s takes no argument', async (name) => {
    expect((await warren(name, 'x')).code).toBe(2);
  });

  it('logout says when the controller could not be told', async () => {
    answer = (res) => res.end('{"told":false}');
    expect((await warren('logout')).error).toContain('warren nodes remove');
    answer = (res) => res.end('{"told":true}');
    expect((await warren('logout')).error).not.toContain('warren nodes remove');
  });
});

describe('no daemon', () => {
  it('up waits for one that was started a moment ago', async () => {
    const late = join(temporaryDirectory(), 'late.sock');
    const server = createServer((_req, res) => lines({ type: 'done', status: UP })(res));
    onTestFinished(() => {
      server.close();
    });
    let error = '';
    let out = '';
    let ended: (code: number) => void = () => {};
    const end = new Promise<number>((resolve) => {
      ended = resolve;
    });
    const waits = new Promise<void>((resolve) => {
      const io: CliIo = {
        env: { WARREN_SOCKET: late },
        argv: [],
        out: (text) => {
          out += text;
        },
        error: (text) => {
          error += text;
          resolve();
        },
        interactive: false,
      };
      main(['up'], 'warren', io).then(ended, () => ended(-1));
    });
    await waits;
    expect(error).toBe('waiting for the daemon to start\n');
    await new Promise<void>((resolve) => server.listen(late, () => resolve()));
    expect(await end).toBe(0);
    expect(out).toBe('100.64.0.1\nfd00::1\n');
  });

  it('up with --timeout 0 does not wait for one', async () => {
    const { code, error } = await warren('up', '--timeout', '0', '--socket', '/nowhere/w.sock');
    expect(code).toBe(1);
    expect(error).toMatch(/^warren up: the daemon is not running/);
  });

  it('is told with how to start it, whether the socket is missing or left over', async () => {
    const missing = await warren('status', '--socket', '/nowhere/w.sock');
    expect(missing).toMatchObject({ code: 1, out: '' });
    expect(missing.error).toMatch(/the daemon is not running\n {2}why: there is no socket .*\n {2}do: .*warren daemon/);
    const stale = join(temporaryDirectory(), 's.sock');
    const script = `require('node:net').createServer().listen(${JSON.stringify(stale)}, () => process.kill(process.pid, 9))`;
    expect(spawnSync(process.execPath, ['-e', script]).signal).toBe('SIGKILL');
    expect((await warren('status', '--socket', stale)).error).toContain('nobody answers');
  });

  it('is told when the socket is a file, or somebody else’s', async () => {
    const file = join(temporaryDirectory(), 'f');
    writeFileSync(file, '');
    chmodSync(file, 0o600);
    expect((await warren('status', '--socket', file)).code).toBe(1);
    answer = (res) => res.end('<html>');
    expect((await warren('status')).error).toContain('not a Warren daemon');
    answer = (res) => {
      res.statusCode = 404;
      res.end('{}');
    };
    expect((await warren('status')).error).toContain('not a Warren daemon');
  });

  it('is told to programs with a code of its own', async () => {
    const { error } = await warren('status', '--json', '--socket', '/nowhere/w.sock');
    expect(JSON.parse(error)).toMatchObject({ error: { code: 'daemonNotRunning' } });
  });

  it('is named by --socket before WARREN_SOCKET', async () => {
    expect((await warren('status')).code).toBe(0);
    expect((await warren('status', '--socket', '/nowhere')).code).toBe(1);
  });
});

describe('status', () => {
  it('prints what the daemon says, as JSON', async () => {
    expect(JSON.parse((await warren('status', '--json')).out)).toEqual(UP);
    await warren('status', 'desk');
    expect(asked.at(-1)?.route).toBe('GET /v1/status?peer=desk');
  });

  it('watches: a status for each line', async () => {
    answer = lines(UP, { ...UP, peers: [] });
    const { code, out } = await warren('status', '--watch', '--json');
    expect({ code, lines: out.trim().split('\n').length }).toEqual({ code: 0, lines: 2 });
    expect(asked[0]?.route).toBe('GET /v1/status?watch=1&');
  });

  it('reads well', () => {
    expect(statusText(UP, 1_000_000_000_000)).toBe(
      `laptop: connected
  addresses: 100.64.0.1, fd00::1 on warren0, port 4000
  network: home, 100.64.0.0/10, fd00::/64
  controller: connected, http://192.0.2.1:7370

PEER  ADDRESS     STATE        PATH                   HANDSHAKE    RECEIVED  SENT
desk  100.64.0.2  established  direct 192.0.2.2:4000  1 min 5 s ago  2.00 KiB  100 B
`.replace('HANDSHAKE    ', 'HANDSHAKE      '),
    );
  });

  it('says what is next, what is wrong, and why a peer is not reached', () => {
    const none = { ...UP, state: 'unconfigured', peers: [], network: null } as const;
    expect(statusText({ ...none, self: { ...UP.self, addresses: [], name: null } }, 0)).toMatch(
      /^this machine: belongs to no network\n[\s\S]*do: warren up --join LINK/,
    );
    expect(statusText({ ...UP, state: 'down', peers: [] }, 0)).toContain('do: warren up\n');
    const text = statusText(
      {
        ...UP,
        state: 'failed',
        problem: PROBLEM,
        warnings: [{ ...PROBLEM, message: 'the clock is off' }],
        controller: { ...UP.controller, state: 'offline', lastError: 'refused' },
        peers: [{ ...PEER, state: 'connecting', online: false, path: null, lastHandshake: null, reason: 'no answer' }],
      },
      0,
    );
    expect(text).toContain('problem: the key was used\n  why: it is for once\n  do:  ask again\n');
    expect(text).toContain('warning: the clock is off\n');
    expect(text).toContain('    last error: refused\n');
    expect(text).toMatch(/desk +100\.64\.0\.2 +connecting, offline +- +never .*\n {2}no answer\n/);
  });
});
