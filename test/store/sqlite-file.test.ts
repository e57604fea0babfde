// SQLite's file: who may read it, one controller at a time, and what a person is told when it cannot be used. Every refusal
// says what happened, why, and what to do next.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openStore } from '../../src/controller/store/open.ts';
import { openSqliteStore, type SqliteOptions } from '../../src/controller/store/sqlite-store.ts';
import type { Store } from '../../src/controller/store/store.ts';
import { StoreError } from '../../src/controller/store/store-error.ts';
import { compileForNode } from './lib/compile.ts';
import { node, numbers, op, PRIVATE_KEY, putNode, putOp, settings } from './lib/records.ts';
import { scratch } from './lib/scratch.ts';

async function opened(directory: string, options: SqliteOptions = {}): Promise<Store> {
  const store = await openSqliteStore(directory, options);
  onTestFinished(() => store.close());
  return store;
}

async function started(directory: string, options: SqliteOptions = {}): Promise<Store> {
  const store = await opened(directory, options);
  await store.initialize(settings(), PRIVATE_KEY);
  return store;
}

/** A closed database with some nodes. */
async function made(directory: string): Promise<string> {
  const store = await openSqliteStore(directory);
  await store.initialize(settings(), PRIVATE_KEY);
  await store.commit(numbers(1, 500).flatMap((n) => [putNode(node(n)), putOp(op(n))]));
  await store.close();
  return join(directory, 'warren.db');
}

async function refusal(work: () => Promise<unknown>): Promise<StoreError> {
  const error = await work().then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof StoreError)) throw new Error(`not refused for a person: ${String(error)}`, { cause: error });
  expect(error.what.length).toBeGreaterThan(10);
  expect(error.why.length).toBeGreaterThan(5);
  expect(error.help.length).toBeGreaterThan(10);
  return error;
}

const mode = (path: string) => statSync(path).mode & 0o777;

describe('who may read it', () => {
  test('the directory is made for its owner alone, and every file in it, whatever the umask', async () => {
    const directory = join(scratch('mode'), 'a', 'b');
    const umask = process.umask(0);
    try {
      const store = await started(directory);
      await store.commit([putNode(node(1))]);
      expect(mode(directory)).toBe(0o700);
      const names = readdirSync(directory).sort();
      expect(names).toEqual(['warren.db', 'warren.db-wal']);
      for (const name of names) expect(mode(join(directory, name)), name).toBe(0o600);
    } finally {
      process.umask(umask);
    }
  });

  test('a file that others could read is closed to them; a directory that was there is left as it is', async () => {
    const directory = scratch('tighten');
    const path = await made(directory);
    writeFileSync(`${path}-wal`, '');
    for (const file of [path, `${path}-wal`]) chmodSync(file, 0o644);
    chmodSync(directory, 0o755);
    await opened(directory);
    expect(mode(path)).toBe(0o600);
    expect(mode(`${path}-wal`)).toBe(0o600);
    expect(mode(directory)).toBe(0o755);
  });

  test('the private key stands in a table of its own', async () => {
    const directory = scratch('key');
    await (await started(directory)).close();
    const connection = new Database(join(directory, 'warren.db'), { readonly: true });
    onTestFinished(() => {
      connection.close();
    });
    expect(connection.prepare('select * from identity').all()).toEqual([
      { id: 1, private_key: Buffer.from(PRIVATE_KEY) },
    ]);
    expect(connection.pragma('application_id', { simple: true })).toBe(0x5752524e);
  });
});

describe('one controller at a time', () => {
  test('a second one in this process is refused', async () => {
    const directory = scratch('twice');
    await started(directory);
    expect(await refusal(() => openSqliteStore(directory, { lockWaitMs: 100 }))).toMatchObject({
      code: 'locked',
      what: `${directory}/warren.db is in use`,
      why: `process ${process.pid} has it open`,
      help: expect.stringContaining('one controller at a time'),
    });
  });

  test('a second one in another process is refused, and told who has it', async () => {
    const directory = scratch('other');
    await made(directory);
    const holder = spawn(process.execPath, [
      '--input-type=module',
      '--eval',
      `import Database from ${JSON.stringify(import.meta.resolve('better-sqlite3'))};
       const db = new Database(${JSON.stringify(join(directory, 'warren.db'))});
       db.pragma('locking_mode = exclusive'); db.exec('begin exclusive; commit'); console.log('has it');
       setInterval(() => {}, 1000);`,
    ]);
    onTestFinished(() => {
      holder.kill('SIGKILL');
    });
    await once(holder.stdout, 'data');
    expect(await refusal(() => openSqliteStore(directory, { lockWaitMs: 0 }))).toMatchObject({
      code: 'locked',
      why: `process ${holder.pid} has it open`,
    });
    // However it ends, the kernel frees the lock; who waits gets it.
    const waiting = openSqliteStore(directory, { lockWaitMs: 20_000 });
    holder.kill('SIGKILL');
    await (await waiting).close();
  });

  test('of several that start at once on an empty directory, exactly one runs', async () => {
    for (const round of numbers(1, 5)) {
      const directory = scratch(`race-${round}`);
      const results = await Promise.allSettled(
        numbers(1, 4).map(() => openSqliteStore(directory, { lockWaitMs: 300 })),
      );
      const stores = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
      expect(stores).toHaveLength(1);
      await Promise.all(stores.map((store) => store.close()));
    }
  });

  test('a closed database is free at once', async () => {
    const directory = scratch('free');
    for (const _ of numbers(1, 5)) await (await openSqliteStore(directory, { lockWaitMs: 0 })).close();
    expect(readdirSync(directory)).toEqual(['warren.db']);
  });
});

describe('what cannot be opened', () => {
  test.each(['', ' ', 'mysql://u:secret@host/db', 'file:///tmp/x'])('a place that is none: "%s"', async (location) => {
    const error = await refusal(() => openStore(location));
    expect(error).toMatchObject({ code: 'location', help: expect.stringContaining('postgres://') });
    expect(error.message).not.toContain('secret');
  });

  test('a file that is no database', async () => {
    const directory = scratch('garbage');
    writeFileSync(join(directory, 'warren.db'), 'not a database, by far '.repeat(500));
    expect(await refusal(() => openSqliteStore(directory))).toMatchObject({
      code: 'corrupt',
      what: `${directory}/warren.db is damaged, or no database`,
      help: expect.stringContaining('warren controller restore'),
    });
  });

  test('a database that has lost its end', async () => {
    const directory = scratch('cut');
    const path = await made(directory);
    truncateSync(path, 40_960);
    const store = openSqliteStore(directory).then(async (half) => {
      onTestFinished(() => half.close());
      return await half.load();
    });
    expect(await refusal(() => store)).toMatchObject({ code: 'corrupt', help: expect.stringContaining('restore') });
  });

  test('a value that is no longer what we wrote', async () => {
    const directory = scratch('value');
    const connection = new Database(await made(directory));
    connection.exec("update node set candidates = '[{' where id = 7");
    connection.close();
    const store = await opened(directory);
    expect(await refusal(() => store.load())).toMatchObject({ code: 'corrupt', why: expect.stringContaining('node') });
  });

  test("another program's database", async () => {
    const directory = scratch('foreign');
    const connection = new Database(join(directory, 'warren.db'));
    connection.exec('create table song (title text)');
    connection.close();
    expect(await refusal(() => openSqliteStore(directory))).toMatchObject({
      code: 'foreign',
      what: `${directory}/warren.db is not a database of Warren`,
    });
  });

  test('the database of a newer version, which stays as it is', async () => {
    const directory = scratch('newer');
    const path = await made(directory);
    const connection = new Database(path);
    connection.exec("insert into migration values ('0999-future', '2099-01-01')");
    connection.close();
    const before = readFileSync(path);
    expect(await refusal(() => openSqliteStore(directory))).toMatchObject({
      code: 'newer',
      what: `${path} was written by a newer version of Warren`,
      why: expect.stringContaining('0999-future'),
      help: expect.stringContaining('start the newer version again'),
    });
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  test('a directory that is a file', async () => {
    const directory = join(scratch('file'), 'data');
    writeFileSync(directory, '');
    expect(await refusal(() => openStore(directory))).toMatchObject({
      code: 'notWritable',
      help: expect.stringContaining('--data'),
    });
    expect(await refusal(() => openStore(join(directory, 'below')))).toMatchObject({ code: 'notWritable' });
  });

  test('a database that is a directory', async () => {
    const directory = scratch('directory');
    mkdirSync(join(directory, 'warren.db'));
    expect(await refusal(() => openSqliteStore(directory))).toMatchObject({ code: 'notWritable' });
  });
});

/** Whether this process can be an ordinary user for a while; inside a user namespace of our own there is none. */
function canBecome(uid: number): boolean {
  if (process.geteuid?.() !== 0) return false;
  try {
    process.seteuid?.(uid);
    process.seteuid?.(0);
    return true;
  } catch {
    return false;
  }
}

const NOBODY = 65_534;

describe.skipIf(process.geteuid?.() === 0 && !canBecome(NOBODY))('without the right to write', () => {
  async function asNobody<T>(work: () => Promise<T>): Promise<T> {
    if (process.geteuid?.() !== 0) return await work();
    process.seteuid?.(NOBODY);
    try {
      return await work();
    } finally {
      process.seteuid?.(0);
    }
  }

  /** Owned by whom we become, so that only its mode matters. */
  function ours(name: string): string {
    const directory = mkdtempSync(join(tmpdir(), `warren-store-${name}-`));
    onTestFinished(() => {
      chmodSync(directory, 0o700);
      rmSync(directory, { recursive: true, force: true });
    });
    if (process.geteuid?.() === 0) chownSync(directory, NOBODY, NOBODY);
    return directory;
  }

  const advice = { code: 'notWritable', help: expect.stringMatching(/own the directory.*--data/) };

  test('to the directory', async () => {
    const directory = ours('read-only');
    chmodSync(directory, 0o500);
    expect(await refusal(() => asNobody(() => openSqliteStore(directory)))).toMatchObject(advice);
    expect(await refusal(() => asNobody(() => openSqliteStore(join(directory, 'below'))))).toMatchObject(advice);
    expect(existsSync(join(directory, 'warren.db'))).toBe(false);
  });

  test.runIf(process.geteuid?.() === 0)('to a file of somebody else', async () => {
    const directory = ours('not-mine');
    await made(directory);
    expect(await refusal(() => asNobody(() => openSqliteStore(directory)))).toMatchObject(advice);
  });

  test('to a directory in which the log cannot be made', async () => {
    const directory = ours('no-log');
    await asNobody(() => made(directory));
    chmodSync(directory, 0o500);
    expect(await refusal(() => asNobody(() => openSqliteStore(directory)))).toMatchObject(advice);
  });
});

describe('durability', () => {
  test('a commit resolves only when the log has been synced', async () => {
    let release = () => {};
    let calls = 0;
    const sync = () => {
      calls++;
      return calls === 1 ? Promise.resolve() : new Promise<void>((resolve) => (release = resolve));
    };
    const store = await started(scratch('sync'), { sync });
    expect(calls).toBe(1);
    let isDone = false;
    const commit = store.commit([putNode(node(1))]).then(() => {
      isDone = true;
    });
    await expect.poll(() => calls).toBe(2);
    await new Promise((resolve) => setImmediate(resolve));
    expect(isDone).toBe(false);
    release();
    await commit;
    release = () => {};
  });

  test('the log that is synced is the one that SQLite writes, and holds the commit by then', async () => {
    const directory = scratch('which');
    const marker = 'a-name-that-is-nowhere-else';
    const seen: boolean[] = [];
    const store = await started(directory, {
      sync: (descriptor) => {
        const path = `/proc/self/fd/${descriptor}`;
        expect(statSync(path).ino).toBe(statSync(join(directory, 'warren.db-wal')).ino);
        seen.push(readFileSync(path).includes(marker));
        return Promise.resolve();
      },
    });
    await store.commit([putNode(node(1, { hostname: marker }))]);
    expect(seen).toEqual([false, true]);
  });

  test('when the disk fails to sync, the commit is refused and so is every later one', async () => {
    let isBroken = false;
    const sync = () => (isBroken ? Promise.reject(new Error('EIO: i/o error, fdatasync')) : Promise.resolve());
    const store = await started(scratch('broken'), { sync });
    isBroken = true;
    expect(await refusal(() => store.commit([putNode(node(1))]))).toMatchObject({
      code: 'broken',
      why: expect.stringContaining('EIO'),
      help: expect.stringContaining('restart the controller'),
    });
    isBroken = false;
    expect(await refusal(() => store.commit([putNode(node(2))]))).toMatchObject({ code: 'broken' });
  });

  test('a torn last transaction in the log is dropped, everything before it is there', async () => {
    const directory = scratch('torn');
    const copy = scratch('torn-copy');
    const store = await started(directory);
    await store.commit([putNode(node(1))]);
    const whole = statSync(join(directory, 'warren.db-wal')).size;
    await store.commit([putNode(node(2)), putNode(node(3)), putOp(op(1))]);
    const end = statSync(join(directory, 'warren.db-wal')).size;
    const log = readFileSync(join(directory, 'warren.db-wal'));
    // As a power cut leaves it: any part of the last transaction.
    for (const size of [whole, whole + 1, whole + 4120, end - 4096, end - 1]) {
      writeFileSync(join(copy, 'warren.db'), readFileSync(join(directory, 'warren.db')));
      writeFileSync(join(copy, 'warren.db-wal'), log.subarray(0, size));
      appendFileSync(join(copy, 'warren.db-wal'), Buffer.alloc(end - size, 0xa5));
      const reopened = await openSqliteStore(copy);
      expect(await reopened.load()).toMatchObject({ nodes: [node(1)], log: [] });
      await reopened.close();
    }
  });
});

describe('a full disk', () => {
  /** In a mount namespace of its own, so that the file system ends with the process. */
  const NAMESPACE = process.geteuid?.() === 0 ? ['unshare', '-m'] : ['unshare', '-Urm'];
  const canMount = spawnSync('unshare', [...NAMESPACE.slice(1), 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0;

  test.skipIf(!canMount)(
    'refuses the commit, keeps what was stored, and takes commits again when there is room',
    () => {
      const directory = scratch('full');
      const program = compileForNode('test/store/lib/disk-filler.ts', join(directory, 'program'));
      const disk = join(directory, 'disk');
      mkdirSync(disk);
      const script = 'mount -t tmpfs -o size=4m,mode=0700 tmpfs "$1" && exec "$2" "$3" "$1"';
      const command = [...NAMESPACE, 'sh', '-c', script, 'sh', disk, process.execPath, program];
      const { stdout, stderr } = spawnSync(command[0] as string, command.slice(1), {
        encoding: 'utf8',
        timeout: 60_000,
      });
      expect(stderr).toBe('');
      const told = JSON.parse(stdout);
      expect(told.last).toBeGreaterThan(10);
      const full = { code: 'full', why: 'the disk is full', help: expect.stringContaining('free some space') };
      expect(told).toEqual({
        last: told.last,
        error: full,
        backup: full,
        whileFull: told.last,
        afterwards: told.last + 1,
      });
    },
  );
});
