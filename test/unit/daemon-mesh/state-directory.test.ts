// The daemon's directory: whose it is, what a crash leaves, and that the last write asked for is what stays.

import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { NodeFile } from '../../../src/daemon/mesh/node-file.ts';
import { StateDirectory } from '../../../src/daemon/mesh/state-directory.ts';
import { makeDirectories } from '../../../src/service/directories.ts';
import { temporaryDirectory } from '../daemon-fixtures.ts';

const FILE: NodeFile = {
  format: 1,
  privateKey: `${'A'.repeat(42)}E=`,
  nextPrivateKey: null,
  controller: { url: 'http://192.0.2.1:7370', key: 'k' },
  authKey: null,
  joined: true,
  hostname: null,
  wanted: 'up',
};

async function open(path: string): Promise<StateDirectory> {
  const state = await StateDirectory.open(path);
  onTestFinished(() => state.close());
  return state;
}

describe('the state directory', () => {
  it('is made for its user alone, with those above it', async () => {
    const path = join(temporaryDirectory(), 'a', 'b');
    const state = await open(path);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    await state.writeNode(FILE);
    expect(statSync(join(path, 'node.json')).mode & 0o777).toBe(0o600);
    expect(state.readNode()).toEqual(FILE);
  });

  it('is one daemon’s at a time, however long its path is', async () => {
    const path = join(temporaryDirectory(), 'x'.repeat(120));
    const state = await StateDirectory.open(path);
    await expect(StateDirectory.open(path)).rejects.toMatchObject({ why: 'another daemon uses it' });
    await state.close();
    await open(path);
  });

  it('is given to one of many that begin at the same time', async () => {
    const path = temporaryDirectory();
    writeStaleLock(path);
    const tried = await Promise.allSettled(Array.from({ length: 8 }, () => StateDirectory.open(path)));
    const won = tried.filter((one) => one.status === 'fulfilled');
    for (const one of won) onTestFinished(() => one.value.close());
    expect(won).toHaveLength(1);
  });

  it('is taken over from a daemon that crashed, without what it left half done', async () => {
    const path = temporaryDirectory();
    writeStaleLock(path);
    writeFileSync(join(path, '.node.json.77.3'), 'half');
    await open(path);
    expect(readdirSync(path)).toEqual(['daemon.lock']);
  });

  it('is refused when others may write to it', async () => {
    const path = temporaryDirectory();
    chmodSync(path, 0o777);
    await expect(StateDirectory.open(path)).rejects.toMatchObject({ help: expect.stringContaining('chmod 700') });
  });

  it.each([
    [
      'a file',
      () => {
        const path = join(temporaryDirectory(), 'file');
        writeFileSync(path, '');
        return path;
      },
    ],
    ['below what takes no directories', () => '/proc/nowhere/at/all'],
  ])('is told when it is %s', async (_what, where) => {
    await expect(StateDirectory.open(where())).rejects.toMatchObject({
      what: expect.stringContaining('cannot use the state directory'),
      help: expect.any(String),
    });
  });

  it('keeps what was asked for last, whole, and nothing beside it', async () => {
    const path = temporaryDirectory();
    const state = await open(path);
    await Promise.all(Array.from({ length: 20 }, (_, i) => state.writeSettings({ format: 1, listenPort: i + 1 })));
    expect(state.readSettings()).toEqual({ format: 1, listenPort: 20 });
    expect(readdirSync(path).sort()).toEqual(['daemon.lock', 'settings.json']);
  });

  it('tells a node file that cannot be read, and does without settings that cannot', async () => {
    const path = temporaryDirectory();
    const state = await open(path);
    writeFileSync(join(path, 'node.json'), JSON.stringify({ ...FILE, privateKey: 'short' }));
    writeFileSync(join(path, 'settings.json'), '{');
    writeFileSync(join(path, 'recent.json'), '[]');
    expect(() => state.readNode()).toThrow(
      expect.objectContaining({
        problem: expect.objectContaining({ code: 'stateUnusable', why: expect.stringContaining('privateKey') }),
      }),
    );
    expect([state.readSettings(), state.readRecent(), state.readNetmap()]).toEqual([null, null, null]);
  });

  it('tells a write that fails, with what to do', async () => {
    const path = temporaryDirectory();
    const state = await open(path);
    // A directory is in the way of the rename: root may write anywhere else.
    mkdirSync(join(path, 'node.json'));
    await expect(state.writeNode(FILE)).rejects.toMatchObject({ problem: { code: 'stateUnusable' } });
    expect(readdirSync(path).sort()).toEqual(['daemon.lock', 'node.json']);
  });

  it('destroys keys and netmap, and keeps the port', async () => {
    const path = temporaryDirectory();
    const state = await open(path);
    await state.writeNode(FILE);
    await state.writeNetmap(new Uint8Array(100));
    await state.writeRecent({ format: 1, ids: [] });
    await state.writeSettings({ format: 1, listenPort: 7 });
    await state.destroy();
    expect(readdirSync(path).sort()).toEqual(['daemon.lock', 'settings.json']);
    await state.destroy();
  });

  it('is let go at the end', async () => {
    const path = temporaryDirectory();
    const state = await StateDirectory.open(path);
    await state.close();
    expect(existsSync(join(path, 'daemon.lock'))).toBe(false);
  });
});

describe('making directories', () => {
  it('leaves those that are there as they are, and takes turns with others', () => {
    const path = temporaryDirectory();
    chmodSync(path, 0o711);
    makeDirectories(join(path, 'a/b/c'), 0o750);
    makeDirectories(join(path, 'a/b/c'), 0o700);
    expect(statSync(path).mode & 0o777).toBe(0o711);
    expect(statSync(join(path, 'a/b/c')).mode & 0o777).toBe(0o750);
  });
});

/** A socket on which nobody listens any more, as a crash leaves it. */
function writeStaleLock(path: string): void {
  // Any file that is no listening socket will do: connecting to it is refused.
  writeFileSync(join(path, 'daemon.lock'), '');
  expect(readFileSync(join(path, 'daemon.lock'), 'utf8')).toBe('');
}
