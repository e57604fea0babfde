// Backups of a running SQLite store, and bringing them back: whole while others write, private, never half under their
// name; a restore checks first, replaces nothing unasked, and begins a new epoch.

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, onTestFinished, test } from 'vitest';
import { restoreBackup } from '../../src/controller/store/restore.ts';
import { openSqliteStore } from '../../src/controller/store/sqlite-store.ts';
import type { Store } from '../../src/controller/store/store.ts';
import { StoreError } from '../../src/controller/store/store-error.ts';
import { epochSchema } from '../../src/protocol/netmap.ts';
import { batch, Model } from './lib/batches.ts';
import { node, numbers, op, PRIVATE_KEY, putNode, putOp, settings } from './lib/records.ts';
import { scratch } from './lib/scratch.ts';

const none = () => {};

async function started(directory: string): Promise<Store> {
  const store = await openSqliteStore(directory);
  onTestFinished(() => store.close());
  await store.initialize(settings(), PRIVATE_KEY);
  return store;
}

async function read(directory: string) {
  const store = await openSqliteStore(directory);
  try {
    const state = await store.load();
    if (state === null) throw new Error('nothing in it');
    return { state, key: await store.privateKey(), newest: (await store.audit(null, 1)).records[0] };
  } finally {
    await store.close();
  }
}

async function refusal(work: Promise<unknown>): Promise<StoreError> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof StoreError)) throw new Error(`not refused for a person: ${String(error)}`, { cause: error });
  return error;
}

describe('a backup', () => {
  test('is one private file with everything in it, and tells how far it is', async () => {
    const directory = scratch('backup');
    const store = await started(join(directory, 'data'));
    for (const n of numbers(1, 30)) await store.commit(batch(n));
    const seen: [number, number][] = [];
    const umask = process.umask(0);
    try {
      await store.backup(join(directory, 'copy'), (done, total) => seen.push([done, total]));
    } finally {
      process.umask(umask);
    }
    expect(readdirSync(directory).sort()).toEqual(['copy', 'data']);
    expect(statSync(join(directory, 'copy')).mode & 0o777).toBe(0o600);
    expect(seen.length).toBeGreaterThan(0);
    const last = seen.at(-1) as [number, number];
    expect(last[0]).toBe(last[1]);
    expect(last[1]).toBeGreaterThan(5);
    for (const [i, [done, total]] of seen.entries()) {
      expect(done).toBeLessThanOrEqual(total);
      expect(done).toBeGreaterThanOrEqual(seen[i - 1]?.[0] ?? 0);
    }
    await restoreBackup(join(directory, 'copy'), join(directory, 'restored'));
    const restored = await read(join(directory, 'restored'));
    const model = new Model();
    model.advanceTo(30);
    expect(restored.state.nodes).toEqual([...model.nodes.values()].sort((a, b) => a.id - b.id));
    expect(restored.key).toEqual(PRIVATE_KEY);
    expect(restored.newest).toEqual(model.lastAudit);
  });

  test('taken while commits run is one state between two of them, and holds nobody up', async () => {
    const directory = scratch('concurrent');
    const store = await started(join(directory, 'data'));
    // Enough pages for many turns.
    await store.commit(numbers(1, 60_000).map((n) => putOp(op(n))));
    let n = 0;
    let isDone = false;
    let turns = 0;
    const first = store.commit(batch(++n));
    const writing = (async () => {
      await first;
      while (!isDone) await store.commit(batch(++n));
    })();
    await first;
    await store.backup(join(directory, 'copy'), () => {
      turns++;
    });
    const atEnd = n;
    isDone = true;
    await writing;
    expect(turns).toBeGreaterThan(5);
    expect(atEnd).toBeGreaterThan(1);
    await restoreBackup(join(directory, 'copy'), join(directory, 'restored'));
    const { state, newest } = await read(join(directory, 'restored'));
    const model = new Model();
    model.advanceTo(state.settings.nextHost);
    expect(model.n).toBeGreaterThanOrEqual(1);
    expect(model.n).toBeLessThanOrEqual(n);
    expect(state.nodes).toEqual([...model.nodes.values()].sort((a, b) => a.id - b.id));
    expect(newest).toEqual(model.lastAudit);
    // The original has gone on, untouched.
    expect((await store.load())?.settings.nextHost).toBe(n);
  });

  test('replaces an older one of that name only when it is whole', async () => {
    const directory = scratch('replace');
    const store = await started(join(directory, 'data'));
    const path = join(directory, 'copy');
    await store.backup(path, none);
    const before = readFileSync(path);
    await store.commit(numbers(1, 2000).map((n) => putNode(node(n))));
    const stop = () => {
      throw new Error('enough');
    };
    await expect(store.backup(path, stop)).rejects.toThrow('enough');
    expect(readFileSync(path).equals(before)).toBe(true);
    expect(readdirSync(directory).sort()).toEqual(['copy', 'data']);
    await store.backup(path, none);
    expect(readFileSync(path).length).toBeGreaterThan(before.length);
  });

  test('closing the store ends it without a trace', async () => {
    const directory = scratch('closing');
    const store = await started(join(directory, 'data'));
    await store.commit(numbers(1, 5000).map((n) => putOp(op(n))));
    let closing: Promise<void> | undefined;
    const backup = store.backup(join(directory, 'copy'), () => {
      closing ??= store.close();
    });
    expect(await refusal(backup)).toMatchObject({ code: 'closed' });
    await closing;
    expect(readdirSync(directory)).toEqual(['data']);
  });

  test('two at once do not disturb each other', async () => {
    const directory = scratch('two');
    const store = await started(join(directory, 'data'));
    await store.commit(numbers(1, 500).map((n) => putNode(node(n))));
    await Promise.all([store.backup(join(directory, 'a'), none), store.backup(join(directory, 'a'), none)]);
    expect(readdirSync(directory).sort()).toEqual(['a', 'data']);
    await restoreBackup(join(directory, 'a'), join(directory, 'restored'));
    expect((await read(join(directory, 'restored'))).state.nodes).toHaveLength(500);
  });

  test('to a directory that does not exist, or over the database itself, is refused', async () => {
    const directory = scratch('refused');
    const store = await started(join(directory, 'data'));
    expect(await refusal(store.backup(join(directory, 'nowhere', 'copy'), none))).toMatchObject({
      code: 'notWritable',
      what: expect.stringContaining('nowhere/copy'),
    });
    symlinkSync(join(directory, 'data', 'warren.db'), join(directory, 'link'));
    for (const path of ['data/warren.db', 'data/../data/warren.db', 'link', 'data/warren.db-wal']) {
      expect(await refusal(store.backup(join(directory, path), none))).toMatchObject({
        code: 'exists',
        what: expect.stringContaining('is the database itself'),
      });
    }
    await store.commit([putNode(node(1))]);
  });
});

describe('restoring', () => {
  async function withBackup(name: string): Promise<{ directory: string; backup: string }> {
    const directory = scratch(name);
    const store = await started(join(directory, 'original'));
    for (const n of numbers(1, 10)) await store.commit(batch(n));
    await store.backup(join(directory, 'backup'), none);
    await store.close();
    return { directory, backup: join(directory, 'backup') };
  }

  test('brings everything back but the epoch, which is new each time, and leaves the backup as it is', async () => {
    const { directory, backup } = await withBackup('restore');
    const before = readFileSync(backup);
    const original = await read(join(directory, 'original'));
    const epochs = new Set([original.state.settings.epoch]);
    for (const n of numbers(1, 3)) {
      const target = join(directory, `new-${n}`, 'deep');
      const restored = await restoreBackup(backup, target);
      const there = await read(target);
      expect(there.key).toEqual(original.key);
      expect(there.state).toEqual({ ...original.state, settings: restored.settings });
      const { nextNodeId } = original.state.settings;
      expect({ ...restored.settings, epoch: '', nextNodeId }).toEqual({ ...original.state.settings, epoch: '' });
      expect(restored.settings.nextNodeId).toBeGreaterThan(nextNodeId + 10_000);
      expect(epochSchema.parse(restored.settings.epoch)).toBe(restored.settings.epoch);
      expect(restored).toMatchObject({ nodes: original.state.nodes.length, replaced: null });
      epochs.add(restored.settings.epoch);
      expect(readdirSync(target)).toEqual(['warren.db']);
      expect(statSync(join(target, 'warren.db')).mode & 0o777).toBe(0o600);
      expect(statSync(target).mode & 0o777).toBe(0o700);
    }
    expect(epochs.size).toBe(4);
    expect(readFileSync(backup).equals(before)).toBe(true);
  });

  test('over a network that is there only with force, and then keeps the old one', async () => {
    const { directory, backup } = await withBackup('force');
    const target = join(directory, 'other');
    const other = await started(target);
    await other.commit([putNode(node(77))]);
    await other.close();
    const before = readFileSync(join(target, 'warren.db'));
    expect(await refusal(restoreBackup(backup, target))).toMatchObject({
      code: 'exists',
      what: `${target}/warren.db exists already`,
      help: expect.stringContaining('--force'),
    });
    expect(readFileSync(join(target, 'warren.db')).equals(before)).toBe(true);
    const { replaced } = await restoreBackup(backup, target, { force: true });
    expect(replaced).toBe(join(target, 'warren.db.replaced'));
    expect((await read(target)).state.settings.nextHost).toBe(10);
    expect(readdirSync(target).sort()).toEqual(['warren.db', 'warren.db.replaced']);
    expect(statSync(replaced as string).mode & 0o777).toBe(0o600);
    // The old one can be had back in the same way.
    await restoreBackup(replaced as string, join(directory, 'back'));
    expect((await read(join(directory, 'back'))).state.nodes).toEqual([node(77)]);
  });

  test('over a database whose controller was killed keeps the last commits in the old one', async () => {
    const { directory, backup } = await withBackup('killed');
    const running = await started(join(directory, 'running'));
    await running.commit([putNode(node(5))]);
    // As a kill leaves it: the log is not folded in.
    const target = join(directory, 'killed');
    mkdirSync(target);
    for (const name of ['warren.db', 'warren.db-wal']) {
      writeFileSync(join(target, name), readFileSync(join(directory, 'running', name)));
    }
    const { replaced } = await restoreBackup(backup, target, { force: true });
    expect((await read(target)).state.settings.nextHost).toBe(10);
    await restoreBackup(replaced as string, join(directory, 'back'));
    expect((await read(join(directory, 'back'))).state.nodes).toEqual([node(5)]);
  });

  test('over a damaged database works with force: that is what backups are for', async () => {
    const { directory, backup } = await withBackup('damaged');
    const target = join(directory, 'damaged');
    mkdirSync(target);
    writeFileSync(join(target, 'warren.db'), 'rubbish'.repeat(1000));
    writeFileSync(join(target, 'warren.db-wal'), 'more rubbish'.repeat(1000));
    await restoreBackup(backup, target, { force: true });
    expect((await read(target)).state.settings.nextHost).toBe(10);
    expect(readFileSync(join(target, 'warren.db.replaced'), 'utf8')).toContain('rubbish');
  });

  test('under a running controller is refused, forced or not', async () => {
    const { directory, backup } = await withBackup('running');
    const store = await started(join(directory, 'live'));
    await store.commit([putNode(node(5))]);
    expect(await refusal(restoreBackup(backup, join(directory, 'live'), { force: true }))).toMatchObject({
      code: 'locked',
      help: expect.stringContaining('stop the other one'),
    });
    await store.commit([putNode(node(6))]);
    await store.close();
    expect((await read(join(directory, 'live'))).state.nodes).toHaveLength(2);
    expect(readdirSync(join(directory, 'live'))).toEqual(['warren.db']);
  });

  test('takes a database that was copied by hand with its log', async () => {
    const directory = scratch('by-hand');
    const store = await started(join(directory, 'running'));
    await store.commit([putNode(node(5))]);
    for (const end of ['', '-wal']) {
      writeFileSync(join(directory, `copy.db${end}`), readFileSync(join(directory, 'running', `warren.db${end}`)));
    }
    await restoreBackup(join(directory, 'copy.db'), join(directory, 'restored'));
    expect((await read(join(directory, 'restored'))).state.nodes).toEqual([node(5)]);
  });

  describe('what is no good is refused before anything is changed:', () => {
    async function refused(name: string, spoil: (backup: string) => void): Promise<StoreError> {
      const { directory, backup } = await withBackup(name);
      spoil(backup);
      const target = join(directory, 'target');
      const error = await refusal(restoreBackup(backup, target, { force: true }));
      expect(existsSync(join(target, 'warren.db'))).toBe(false);
      if (existsSync(target)) expect(readdirSync(target)).toEqual([]);
      expect(error.what).not.toContain('.restore-');
      return error;
    }

    function change(backup: string, sql: string): void {
      const connection = new Database(backup);
      connection.exec(sql);
      connection.close();
    }

    test('a file that is cut off', async () => {
      expect(await refused('cut', (backup) => truncateSync(backup, statSync(backup).size - 4096))).toMatchObject({
        code: 'corrupt',
        what: expect.stringMatching(/backup is damaged/),
        help: expect.stringContaining('nothing was changed'),
      });
    });

    test('a page that is overwritten', async () => {
      const spoil = (backup: string) => {
        const content = readFileSync(backup);
        content.fill(0x5a, 8192, 12_288);
        writeFileSync(backup, content);
      };
      expect(await refused('page', spoil)).toMatchObject({ code: 'corrupt' });
    });

    test('a text file', async () => {
      expect(await refused('text', (backup) => writeFileSync(backup, 'hello\n'.repeat(1000)))).toMatchObject({
        code: 'corrupt',
      });
    });

    test("another program's database", async () => {
      const spoil = (backup: string) => change(backup, 'pragma application_id = 1');
      expect(await refused('other', spoil)).toMatchObject({ code: 'foreign' });
    });

    test('a backup of a newer version', async () => {
      const spoil = (backup: string) => change(backup, "insert into migration values ('0999-future', '')");
      expect(await refused('newer', spoil)).toMatchObject({
        code: 'newer',
        why: expect.stringContaining('0999-future'),
      });
    });

    test.each([
      ['settings', 'no settings'],
      ['identity', 'key is missing'],
    ])('one without its %s', async (table, why) => {
      expect(await refused(table, (backup) => change(backup, `delete from ${table}`))).toMatchObject({
        code: 'notInitialized',
        why: expect.stringContaining(why),
      });
    });

    test('an empty file', async () => {
      expect(await refused('empty', (backup) => truncateSync(backup, 0))).toMatchObject({ code: 'notInitialized' });
    });

    test('a target that is PostgreSQL, with the tool that can', async () => {
      const { backup } = await withBackup('postgres');
      expect(await refusal(restoreBackup(backup, 'postgres://u@host/db'))).toMatchObject({
        code: 'unsupported',
        help: expect.stringContaining('pg_restore'),
      });
    });

    test('no file, a directory, the database itself', async () => {
      const directory = scratch('itself');
      await (await started(directory)).close();
      const itself = join(directory, 'warren.db');
      expect(await refusal(restoreBackup(join(directory, 'none'), directory))).toMatchObject({
        code: 'location',
        why: 'there is no such file',
      });
      expect(await refusal(restoreBackup(directory, directory))).toMatchObject({ why: 'it is not a file' });
      expect(await refusal(restoreBackup(itself, directory, { force: true }))).toMatchObject({ code: 'exists' });
    });
  });
});
