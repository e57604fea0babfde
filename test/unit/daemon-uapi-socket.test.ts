// The control socket over real UNIX sockets: its file, its clients (large, slow, silent, many) and its end. Checklist 43, 44.

import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { UapiSocket, type UapiSocketOptions } from '../../src/daemon/uapi-socket.ts';
import { StartError } from '../../src/service/start-error.ts';
import { ask, Client, now, rememberingLog, temporaryDirectory, until } from './daemon-fixtures.ts';
import { FakeDevice, type FakePeer, key } from './uapi-fake-device.ts';

interface Setup {
  readonly device: FakeDevice;
  readonly directory: string;
  readonly path: string;
  readonly lines: string[];
  readonly deletions: () => number;
  readonly open: (extra?: Partial<UapiSocketOptions<FakePeer>>) => Promise<UapiSocket<FakePeer>>;
}

function setup(directory = temporaryDirectory()): Setup {
  const device = new FakeDevice();
  const { log, lines } = rememberingLog();
  let deletions = 0;
  const open = async (extra: Partial<UapiSocketOptions<FakePeer>> = {}): Promise<UapiSocket<FakePeer>> => {
    const socket = await UapiSocket.open<FakePeer>({
      ifname: 'wgtest',
      directory,
      device,
      now,
      environment: { resolveZone: () => null, hasRoom: () => true },
      log,
      onDeleted: () => {
        deletions++;
      },
      ...extra,
    });
    onTestFinished(() => socket.closeNow());
    return socket;
  };
  return { device, directory, path: join(directory, 'wgtest.sock'), lines, deletions: () => deletions, open };
}

/** A socket file whose owner died: it exists and nobody listens. */
async function staleSocket(path: string): Promise<void> {
  const server = await foreignServer(`${path}.other`);
  renameSync(`${path}.other`, path);
  await new Promise((resolve) => server.close(resolve));
}

async function foreignServer(path: string): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen({ path }, resolve));
  onTestFinished(() => {
    server.close();
  });
  return server;
}

describe('its file', () => {
  it('is for its owner alone, in a directory for its owner alone', async () => {
    const directory = join(temporaryDirectory(), 'wireguard');
    const { path, open } = setup(directory);
    await open();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
  });

  it('replaces a stale one', async () => {
    const { path, open } = setup();
    await staleSocket(path);
    const before = statSync(path).ino;
    await open();
    expect(statSync(path).ino).not.toBe(before);
    expect(await ask(path, 'get=1\n\n')).toBe('errno=0\n\n');
  });

  it('leaves a live one alone and says who to stop', async () => {
    const first = setup();
    await first.open();
    const second = setup(first.directory);
    await expect(second.open()).rejects.toThrow(StartError);
    await expect(second.open()).rejects.toMatchObject({ why: expect.stringContaining('another process answers') });
    expect(await ask(first.path, 'get=1\n\n')).toBe('errno=0\n\n');
    expect(first.deletions()).toBe(0);
  });

  it('leaves a file alone that is no socket', async () => {
    const { path, open } = setup();
    writeFileSync(path, 'precious');
    await expect(open()).rejects.toMatchObject({ why: expect.stringContaining('not a socket') });
    expect(statSync(path).size).toBe(8);
  });

  it('is not made where everyone may write', async () => {
    const { directory, open } = setup();
    const wide = join(directory, 'wide');
    mkdirSync(wide);
    chmodSync(wide, 0o777);
    await expect(open({ directory: wide })).rejects.toMatchObject({ help: expect.stringContaining('chmod') });
  });

  it('goes at the end, with everything beside it', async () => {
    const { directory, path, open } = setup();
    const socket = await open();
    const client = new Client(path).read();
    await until(() => socket.clientCount === 1);
    socket.closeNow();
    socket.closeNow();
    await until(() => client.closed);
    expect(existsSync(path)).toBe(false);
    expect(readdirSync(directory)).toEqual([]);
  });

  it('ends the interface when it is deleted, once', async () => {
    const { directory, path, deletions, open } = setup();
    await open();
    writeFileSync(join(directory, 'another.sock'), '');
    rmSync(path);
    await until(() => deletions() > 0);
    rmSync(join(directory, 'another.sock'));
    expect(await eventsSettled(directory)).toBe(true);
    expect(deletions()).toBe(1);
  });

  it('does not remove the socket that came in its place', async () => {
    const { path, deletions, open } = setup();
    const socket = await open();
    await foreignServer(`${path}.other`);
    renameSync(`${path}.other`, path);
    await until(() => deletions() === 1);
    socket.closeNow();
    expect(existsSync(path)).toBe(true);
  });
});

/** Waits until the watch of a directory has told about a change made now, and so of all that were made before. */
async function eventsSettled(directory: string): Promise<boolean> {
  let told = false;
  const watcher = watch(directory, () => {
    told = true;
  });
  writeFileSync(join(directory, 'settled'), '');
  await until(() => told);
  watcher.close();
  return told;
}

describe('its clients', () => {
  it('may ask several things on one connection, in one piece', async () => {
    const { path, device, open } = setup();
    await open();
    const client = new Client(path).read();
    client.send(`set=1\nlisten_port=7\n\nget=1\n\nset=1\nfwmark=oops\n\nset=1\npublic_key=${key(1)}\n\n`);
    await until(() => client.replies.length === 4);
    expect(client.received).toBe('errno=0\n\nlisten_port=7\nerrno=0\n\nerrno=-22\n\nerrno=0\n\n');
    expect(device.peers.size).toBe(1);
  });

  it('are answered when they shut their side first', async () => {
    const { path, open } = setup();
    await open();
    const client = new Client(path).read().send('get=1\n\n');
    client.socket.end();
    await until(() => client.closed);
    expect(client.received).toBe('errno=0\n\n');
  });

  it('find the refused key and the reason in the log, without the value of a key', async () => {
    const { path, lines, open } = setup();
    await open();
    await ask(path, `set=1\npublic_key=${key(1)}\nallowed_ip=10.0.0.0/33\n\n`);
    await ask(path, `set=1\nprivate_key=${'f00d'.repeat(15)}\n\n`);
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(
      /^error refused a request .* key=allowed_ip why=".*10\.0\.0\.0\/33" line=3 peer=.* errno=EINVAL\n$/,
    );
    expect(lines[1]).toContain('key=private_key');
    expect(lines[1]).not.toContain('f00d');
  });

  it('may send 100,000 prefixes in one request', async () => {
    const { path, device, open } = setup();
    device.logging = false;
    await open();
    const prefixes = Array.from(
      { length: 100_000 },
      (_, i) => `allowed_ip=10.${i >> 16}.${(i >> 8) & 255}.${i & 255}/32\n`,
    );
    const answer = await ask(path, `set=1\npublic_key=${key(1)}\n${prefixes.join('')}\n`);
    expect(answer).toBe('errno=0\n\n');
    expect(device.peers.get(key(1))?.allowedIps.size).toBe(100_000);
    const status = await ask(path, 'get=1\n\n');
    expect(status.match(/^allowed_ip=/gm)).toHaveLength(100_000);
  });

  it('do not wait for one that sends half a request and falls silent', async () => {
    const { path, open } = setup();
    const socket = await open();
    new Client(path).send('set=1\npublic_key=');
    await until(() => socket.clientCount === 1);
    expect(await ask(path, 'set=1\nlisten_port=9\n\n')).toBe('errno=0\n\n');
  });

  it('do not wait for one that does not read, and that one gets everything later', async () => {
    const { path, device, open } = setup();
    device.logging = false;
    const socket = await open();
    for (let i = 0; i < 20_000; i++) device.addPeer(key(i), now());
    const lazy = new Client(path).send('get=1\n\n'.repeat(5));
    await until(() => socket.clientCount === 1);
    expect((await ask(path, 'get=1\n\n')).match(/^public_key=/gm)).toHaveLength(20_000);
    // Of the five answers for the lazy one, the device was only asked for what fits on the way to it.
    expect(device.statusesTold).toBeLessThan(20_000 + 5_000);
    lazy.read();
    await until(() => lazy.replies.length === 5);
    expect(lazy.received.match(/^public_key=/gm)).toHaveLength(100_000);
  });

  it('are put out when they are silent for too long', async () => {
    const { path, open } = setup();
    const socket = await open({ idleLimitMs: 30 });
    const client = new Client(path).read().send('set=1\n');
    await until(() => client.closed);
    await until(() => socket.clientCount === 0);
    expect(client.received).toBe('');
  });

  it('are so many at most, and the idlest goes for the newest', async () => {
    const { path, open } = setup();
    const socket = await open({ clientsMax: 3 });
    const clients: Client[] = [];
    for (let i = 0; i < 3; i++) {
      const client = new Client(path).read().send('get=1\n\n');
      await until(() => client.replies.length === 1);
      clients.push(client);
    }
    const [first, second] = clients as [Client, Client];
    first.send('get=1\n\n');
    await until(() => first.replies.length === 2);
    const newest = new Client(path).read().send('get=1\n\n');
    await until(() => newest.replies.length === 1);
    await until(() => second.closed);
    expect(first.closed).toBe(false);
    expect(socket.clientCount).toBe(3);
  });

  it('may vanish in the middle of an answer', async () => {
    const { path, device, open } = setup();
    device.logging = false;
    const socket = await open();
    for (let i = 0; i < 5000; i++) device.addPeer(key(i), now());
    for (let i = 0; i < 10; i++) {
      const client = new Client(path).send('get=1\n\n');
      await until(() => client.socket.bytesRead > 0 || socket.clientCount > 0);
      client.socket.destroy();
    }
    await until(() => socket.clientCount === 0);
    expect(await ask(path, 'set=1\n\n')).toBe('errno=0\n\n');
  });
});

describe('a socket that is passed in', () => {
  it('is refused when it is none', async () => {
    const { open } = setup();
    await expect(open({ listenFd: 1000 })).rejects.toMatchObject({ help: expect.stringContaining('WG_UAPI_FD') });
  });
});
