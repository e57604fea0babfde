// Opening the database file: made as 0600 in a directory made as 0700, held by this process alone (SQLite's exclusive
// locking mode: the kernel drops the lock with the process, however that ends), checked to be Warren's and not newer, and
// migrated. In exclusive mode the index of the write-ahead log is in our memory: there is no -shm file.
//
// Nothing else in this process may open and close the database file while it is open: POSIX drops a process's locks on a
// file when any of its descriptors of that file is closed.

import { chmodSync, closeSync, existsSync, fsyncSync, mkdirSync, openSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { Kysely, SqliteAdapter, SqliteDialect } from 'kysely';
import { LOCK_RETRY_MS, LOCK_WAIT_MS, WAL_BYTES_KEPT_MAX, WAL_PAGES_MAX } from './limits.ts';
import { isCurrent, migrate } from './migrations.ts';
import { sqliteError } from './sqlite-errors.ts';
import { codeOf, StoreError } from './store-error.ts';
import type { Tables } from './tables.ts';

export const DATABASE_NAME = 'warren.db';

/** 'WRRN', in the header of the file: `file` and we tell by it what it is. */
const APPLICATION_ID = 0x5752524e;

export interface OpenDatabase {
  readonly path: string;
  readonly connection: Database.Database;
  readonly tables: Kysely<Tables>;
}

/** SQLite rolls definitions of tables back like anything else; Kysely's adapter does not know. */
class TransactionalAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}

class Dialect extends SqliteDialect {
  override createAdapter(): TransactionalAdapter {
    return new TransactionalAdapter();
  }
}

/** `lockWaitMs`: how long to wait for another process to let go. */
export async function openDatabase(directory: string, lockWaitMs = LOCK_WAIT_MS): Promise<OpenDatabase> {
  // Absolute, so that no name can be taken for a URI or for a database in memory.
  const path = resolve(directory, DATABASE_NAME);
  makePrivate(path);
  const deadline = performance.now() + lockWaitMs;
  for (;;) {
    try {
      return await openFile(path);
    } catch (error) {
      const isLocked = error instanceof StoreError && error.code === 'locked';
      if (!isLocked || performance.now() >= deadline) throw error;
    }
    // Everything is let go in between, for a random time: of two that start at once one gets it.
    await sleep(LOCK_RETRY_MS * (0.5 + Math.random()));
  }
}

/** `path`: absolute, of a file that exists. Does not wait for a lock. */
export async function openFile(path: string): Promise<OpenDatabase> {
  let connection: Database.Database | undefined;
  try {
    connection = new Database(path, { timeout: 0, fileMustExist: true });
    takeLock(connection);
    checkOwner(connection, path);
    const tables = new Kysely<Tables>({ dialect: new Dialect({ database: connection }) });
    await bringUpToDate(connection, tables, path);
    configure(connection);
    return { path, connection, tables };
  } catch (error) {
    connection?.close();
    throw sqliteError(error, path);
  }
}

/** Makes sure that directory and file are there, and the file for its owner alone; SQLite gives the files beside it the same mode. */
function makePrivate(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    try {
      closeSync(openSync(path, 'wx', 0o600));
      syncDirectory(dirname(path));
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
      // No open and close here: see above about locks. A log may be there that a killed controller left.
      for (const file of [path, `${path}-wal`, `${path}-journal`]) if (existsSync(file)) chmodSync(file, 0o600);
    }
  } catch (error) {
    throw sqliteError(error, path);
  }
}

export function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** The lock is taken by the first transaction that writes, and kept. */
function takeLock(connection: Database.Database): void {
  connection.pragma('locking_mode = exclusive');
  connection.exec('begin immediate; commit');
}

function checkOwner(connection: Database.Database, path: string): void {
  const id = connection.pragma('application_id', { simple: true });
  if (id === APPLICATION_ID) return;
  const tables = connection.prepare('select count(*) from sqlite_master').pluck().get();
  if (id === 0 && tables === 0) return;
  throw new StoreError({
    code: 'foreign',
    what: `${path} is not a database of Warren`,
    why: 'another program made it',
    help: 'name another directory with --data',
  });
}

async function bringUpToDate(connection: Database.Database, tables: Kysely<Tables>, path: string): Promise<void> {
  if (isCurrent(executedMigrations(connection), path)) return;
  // Before the journal is a write-ahead log, and fully synchronous: a migration is durable when the start goes on.
  connection.pragma('synchronous = full');
  connection.pragma(`application_id = ${APPLICATION_ID}`);
  await migrate(tables, 'sqlite');
}

export function executedMigrations(connection: Database.Database): string[] {
  const exists = connection.prepare("select 1 from sqlite_master where type = 'table' and name = 'migration'").get();
  if (exists === undefined) return [];
  return connection.prepare<[], string>('select name from migration order by name').pluck().all();
}

/** docs/decisions/0030-store.md says why `normal`, and who makes commits durable instead. */
function configure(connection: Database.Database): void {
  connection.pragma('journal_mode = wal');
  connection.pragma('synchronous = normal');
  connection.pragma(`wal_autocheckpoint = ${WAL_PAGES_MAX}`);
  connection.pragma(`journal_size_limit = ${WAL_BYTES_KEPT_MAX}`);
  connection.pragma('foreign_keys = off');
  connection.pragma('trusted_schema = off');
  connection.pragma('temp_store = memory');
}
