// The admin socket's file: for its owner alone, a stale one replaced, a live one refused, other files left alone, gone at the end.

import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { AdminSocketError, openAdminSocket } from '../../../src/controller/admin/admin-socket.ts';
import type { AdminHandler } from '../../../src/controller/admin/handler.ts';
import { ask, temporaryDirectory } from './admin-fixture.ts';

const answering: AdminHandler = (_request, response, door) => {
  response.end(JSON.stringify({ door }));
};

async function open(path: string) {
  const socket = await openAdminSocket(path, answering);
  onTestFinished(() => socket.close());
  return socket;
}

describe('the admin socket', () => {
  it('is for its owner alone, and says that a request came through it', async () => {
    const directory = temporaryDirectory();
    const { path } = await open(join(directory, 'admin.sock'));
    const file = lstatSync(path);
    expect([file.isSocket(), file.mode & 0o777]).toEqual([true, 0o600]);
    expect((await ask(path, { path: '/' })).json).toEqual({ door: 'socket' });
    expect(readdirSync(directory)).toEqual(['admin.sock']);
  });

  it('replaces one that nobody answers on', async () => {
    const path = join(temporaryDirectory(), 'admin.sock');
    // A process that dies leaves its socket behind.
    const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script]);
    expect(lstatSync(path).isSocket()).toBe(true);
    await open(path);
    expect((await ask(path, { path: '/' })).status).toBe(200);
  });

  it('refuses to take the place of one that lives', async () => {
    const path = join(temporaryDirectory(), 'admin.sock');
    await open(path);
    const refused = openAdminSocket(path, answering);
    await expect(refused).rejects.toBeInstanceOf(AdminSocketError);
    await expect(refused).rejects.toMatchObject({ why: 'another controller answers on it' });
    expect((await ask(path, { path: '/' })).status).toBe(200);
  });

  it('leaves a file alone that is no socket', async () => {
    const path = join(temporaryDirectory(), 'admin.sock');
    writeFileSync(path, 'mine');
    await expect(openAdminSocket(path, answering)).rejects.toThrow('a file that is not a socket');
    expect(readFileSync(path, 'utf8')).toBe('mine');
  });

  it('says what is wrong with its directory or its path', async () => {
    const missing = join(temporaryDirectory(), 'none', 'admin.sock');
    await expect(openAdminSocket(missing, answering)).rejects.toMatchObject({
      help: expect.stringContaining('exists'),
    });
    const long = join(temporaryDirectory(), 'x'.repeat(100), 'admin.sock');
    await expect(openAdminSocket(long, answering)).rejects.toMatchObject({ why: expect.stringContaining('100 bytes') });
  });

  it('goes with the controller, and not when another has taken its place', async () => {
    const path = join(temporaryDirectory(), 'admin.sock');
    const first = await open(path);
    await first.close();
    await first.close();
    expect(existsSync(path)).toBe(false);
    const second = await open(path);
    writeFileSync(`${path}.new`, '');
    const { renameSync } = await import('node:fs');
    renameSync(`${path}.new`, path);
    await second.close();
    expect(existsSync(path)).toBe(true);
  });
});
