// A disk that does not take what the controller writes: full, refusing, or losing what it has taken. Nobody is told of a change that
// is not stored; what may pass is waited for, and what makes the store doubtful ends the process.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { NodeView } from '../../src/protocol/admin-api.ts';
import { administer, ControllerProcess, temporaryDirectory } from './lib/controller-process.ts';
import { type Joining, joining, Member } from './lib/member.ts';

const ANY_PORT = ['--listen', '127.0.0.1:0'];
const NAMESPACE = process.geteuid?.() === 0 ? ['unshare', '-m'] : ['unshare', '-Urm'];
const CAN_MOUNT = spawnSync('unshare', [...NAMESPACE.slice(1), 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0;
const JOINS_MAX = 5_000;
/** More than a commit writes, less than a few of them do. */
const ROOM_BYTES = 65_536;

const refusals = (member: Member): string[] => member.messages.flatMap((m) => (m.type === 'error' ? [m.code] : []));

/** Machines join until one is refused; gives the names of those who were let in, and the one who was not. */
async function joinUntilRefused(link: Joining): Promise<{ readonly names: string[]; readonly refused: Member }> {
  const names: string[] = [];
  for (let n = 0; n < JOINS_MAX; n++) {
    const member = new Member(`machine-${n}`);
    member.connect(link);
    await member.until(() => member.welcome !== null || refusals(member).length > 0);
    if (member.welcome === null) return { names, refused: member };
    names.push(member.welcome.self.name);
    member.close();
  }
  throw new Error('nobody was refused');
}

async function namesAt(directory: string): Promise<string[]> {
  const { body } = await administer(directory, 'GET', '/nodes?limit=1000');
  return (body as NodeView[]).map(({ name }) => name).sort();
}

/** What has to be so while changes are refused, for whatever cause. */
async function expectOneComplaint(process: ControllerProcess, url: string, why: RegExp): Promise<void> {
  const lines = process.error.trimEnd().split('\n');
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^error the database takes no changes; .* why=".+" do=".+"$/);
  expect(lines[0]).toMatch(why);
  expect((await fetch(`${url}/healthz`)).status).toBe(503);
  expect(process.child.exitCode).toBeNull();
}

describe('a disk that takes nothing for a while: changes are refused, and taken again when it does', () => {
  test.skipIf(!CAN_MOUNT)(`it is full${CAN_MOUNT ? '' : ' (mounts need root or user namespaces)'}`, async () => {
    const outside = join(temporaryDirectory(), 'disk');
    mkdirSync(outside);
    const script = 'mount -t tmpfs -o size=4m,mode=0700 tmpfs "$1" && shift && exec "$@"';
    const around = [...NAMESPACE, 'sh', '-c', script, 'sh', outside];
    const { process, ready } = await ControllerProcess.ready(['--data', outside, ...ANY_PORT], {}, around);
    // The mount is the process's own.
    const directory = `/proc/${process.child.pid}/root${outside}`;
    const link = joining(ready.joinLink);
    const alice = await new Member('alice').join(link);
    const ballast = join(directory, 'ballast');
    expect(() => writeFileSync(ballast, Buffer.alloc(8_000_000))).toThrow('ENOSPC');
    rmSync(ballast);
    writeFileSync(ballast, Buffer.alloc(2_500_000));

    const { names, refused } = await joinUntilRefused(link);
    expect(names.length).toBeGreaterThan(10);
    expect(refusals(refused)).toEqual(['internal']);
    await expectOneComplaint(process, ready.url, /why=".*could not be written: the disk is full" do="free some space/);
    expect(await namesAt(directory)).toEqual(['alice', ...names].sort());
    expect(alice.closed).toBeNull();

    rmSync(ballast);
    await refused.join(link);
    expect((await fetch(`${ready.url}/healthz`)).status).toBe(200);
    await alice.until(() => alice.nodes.size === names.length + 2);
    expect(await process.stop()).toMatchObject({ code: 0 });
  });

  test('it refuses to write', async () => {
    const directory = join(temporaryDirectory(), 'data');
    const { process, ready } = await ControllerProcess.ready(['--data', directory, ...ANY_PORT]);
    const link = joining(ready.joinLink);
    await new Member('alice').join(link);
    const limit = (bytes: number | 'unlimited'): void => {
      execFileSync('prlimit', ['--pid', String(process.child.pid), `--fsize=${bytes}:unlimited`]);
    };
    limit(statSync(join(directory, 'warren.db-wal')).size + ROOM_BYTES);
    const { names, refused } = await joinUntilRefused(link);
    expect(refusals(refused)).toEqual(['internal']);
    await expectOneComplaint(process, ready.url, /why=".*the disk reports an error .* do=".*ulimit -f/);

    limit('unlimited');
    await refused.join(link);
    const known = await namesAt(directory);
    expect(known).toEqual(['alice', refused.welcome?.self.name, ...names].sort());
    // What was refused in between left nothing behind.
    await process.kill();
    await ControllerProcess.ready(['--data', directory, ...ANY_PORT]);
    expect(await namesAt(directory)).toEqual(known);
  });
});

describe('a disk that may have lost what it had taken', () => {
  test('ends the controller, with what to do; what was told before is there at the next start', async () => {
    const library = join(temporaryDirectory(), 'sync.so');
    const broken = `${library}.broken`;
    const source = `
      #include <errno.h>
      #include <unistd.h>
      int fdatasync(int fd) { if (access("${broken}", F_OK) == 0) { errno = EIO; return -1; } return fsync(fd); }`;
    execFileSync('cc', ['-shared', '-fPIC', '-x', 'c', '-o', library, '-'], { input: source });
    const directory = join(temporaryDirectory(), 'data');
    const { process, ready } = await ControllerProcess.ready(['--data', directory, ...ANY_PORT], {
      LD_PRELOAD: library,
    });
    const link = joining(ready.joinLink);
    const alice = await new Member('alice').join(link);
    writeFileSync(broken, '');
    const bob = new Member('bob');
    bob.connect(link);
    const exit = await process.exited;
    expect(exit.code).toBe(1);
    expect(exit.error).toMatch(
      /\nwarren controller: \S+warren.db: a change may not have reached the disk\n {2}why: the disk reports an error \(.*EIO.*\)\n {2}do: .*dmesg.*restart the controller\n$/,
    );
    expect([bob.welcome, alice.nodes.size]).toEqual([null, 1]);
    await alice.until(() => refusals(alice).includes('goingAway'));
    await ControllerProcess.ready(['--data', directory, '--listen', ready.listening]);
    await alice.join({ ...link, authKey: null });
    expect([...alice.nodes.values()].map(({ name }) => name)).toContain('alice');
  });
});
