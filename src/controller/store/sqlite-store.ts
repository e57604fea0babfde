// The store on SQLite, the default. A commit runs prepared statements in one transaction, which appends to the write-ahead
// log; then the log is synced by a thread of libuv and only then does the promise resolve. So a commit is as durable as
// with `synchronous = full`, and the event loop does not stand still while the disk works (docs/decisions/0030-store.md).

import { closeSync, fdatasync, openSync } from 'node:fs';
import { promisify } from 'node:util';
import type Database from 'better-sqlite3';
import type { Change, Settings, StoredState } from '../state/model.ts';
import { CommitQueue } from './commit-queue.ts';
import { auditPage, extent, loadState } from './queries.ts';
import { settingsRow } from './rows.ts';
import { backupTo } from './sqlite-backup.ts';
import { sqliteError } from './sqlite-errors.ts';
import { type OpenDatabase, openDatabase } from './sqlite-file.ts';
import type { AuditPage, Store } from './store.ts';
import { messageOf, StoreError } from './store-error.ts';
import { alreadyInitialized, closed, notInitialized, ownedKey } from './store-faults.ts';
import { type Extents, trim } from './trim.ts';
import { keyColumn, putStatement, type Row, type Value, type WrittenTable, writeOf } from './writes.ts';

export interface SqliteOptions {
  readonly lockWaitMs?: number;
  /** Given by tests: makes what was written to the log's file durable. */
  readonly sync?: (logDescriptor: number) => Promise<void>;
}

export async function openSqliteStore(directory: string, options: SqliteOptions = {}): Promise<Store> {
  const database = await openDatabase(directory, options.lockWaitMs);
  try {
    const extents = { log: await extent(database.tables, 'log'), audit: await extent(database.tables, 'audit') };
    // The log's file is there by now and stays the same one until we close.
    const logDescriptor = openSync(`${database.path}-wal`, 'r');
    return new SqliteStore(database, logDescriptor, extents, options.sync ?? promisify(fdatasync));
  } catch (error) {
    database.connection.close();
    throw sqliteError(error, database.path);
  }
}

type Statement = Database.Statement<Value[]>;

class SqliteStore implements Store {
  readonly kind = 'sqlite';
  readonly #database: OpenDatabase;
  readonly #logDescriptor: number;
  readonly #sync: (logDescriptor: number) => Promise<void>;
  readonly #queue = new CommitQueue();
  readonly #puts = new Map<WrittenTable, Statement>();
  readonly #deleteNode: Statement;
  #extents: Extents;
  #isInitialized: boolean;
  #broken: StoreError | null = null;
  #closing: Promise<void> | null = null;

  constructor(
    database: OpenDatabase,
    logDescriptor: number,
    extents: Extents,
    sync: (logDescriptor: number) => Promise<void>,
  ) {
    this.#database = database;
    this.#logDescriptor = logDescriptor;
    this.#extents = extents;
    this.#sync = sync;
    this.#deleteNode = this.#prepare('delete from node where id = ?');
    this.#isInitialized = this.#prepare('select 1 from settings').get() !== undefined;
  }

  load(): Promise<StoredState | null> {
    // In the queue, so that no commit comes between its queries.
    return this.#guarded(() => this.#queue.run(() => loadState(this.#database.tables)));
  }

  async initialize(settings: Settings, privateKey: Uint8Array): Promise<void> {
    const key = ownedKey(privateKey);
    try {
      await this.#write(() => {
        if (this.#isInitialized) throw alreadyInitialized(this.#database.path);
        this.#put('settings', { ...settingsRow(settings) });
        this.#database.connection.prepare<[Buffer]>('insert into identity (id, private_key) values (1, ?)').run(key);
        return () => {
          this.#isInitialized = true;
        };
      });
    } finally {
      key.fill(0);
    }
  }

  privateKey(): Promise<Uint8Array> {
    return this.#guarded(async () => {
      const row = await this.#database.tables.selectFrom('identity').select('private_key').executeTakeFirst();
      if (row === undefined) throw notInitialized(this.#database.path);
      const key = Uint8Array.from(row.private_key);
      row.private_key.fill(0);
      return key;
    });
  }

  commit(changes: readonly Change[]): Promise<void> {
    return this.#write(() => {
      if (!this.#isInitialized) throw notInitialized(this.#database.path);
      const { extents, drops } = trim(this.#extents, changes);
      for (const change of changes) this.#apply(change);
      for (const drop of drops) this.#prepare(`delete from ${drop.table} where ${drop.key} <= ?`).run(drop.upTo);
      return () => {
        this.#extents = extents;
      };
    });
  }

  audit(before: number | null, limit: number): Promise<AuditPage> {
    return this.#guarded(() => auditPage(this.#database.tables, before, limit));
  }

  backup(path: string, progress: (done: number, total: number) => void): Promise<void> {
    return this.#guarded(() => backupTo(this.#database, path, progress));
  }

  close(): Promise<void> {
    this.#closing ??= this.#queue.idle().then(() => {
      // Folds the log into the database and removes it.
      this.#database.connection.close();
      closeSync(this.#logDescriptor);
    });
    return this.#closing;
  }

  /** `work` runs inside a transaction; what it returns, once that is durable. */
  #write(work: () => () => void): Promise<void> {
    if (this.#closing !== null) return Promise.reject(closed(this.#database.path));
    return this.#queue.run(async () => {
      if (this.#broken !== null) throw this.#broken;
      let done: () => void;
      try {
        done = this.#database.connection.transaction(work).immediate();
      } catch (error) {
        throw sqliteError(error, this.#database.path);
      }
      await this.#makeDurable();
      done();
    });
  }

  /** When a sync fails the kernel may have dropped what it could not write: nothing after it can be trusted. */
  async #makeDurable(): Promise<void> {
    try {
      await this.#sync(this.#logDescriptor);
    } catch (error) {
      this.#broken = new StoreError(
        {
          code: 'broken',
          what: `${this.#database.path}: a change may not have reached the disk`,
          why: `the disk reports an error (${messageOf(error)})`,
          help: 'look at the kernel log (dmesg) and the space on the disk; then restart the controller',
        },
        error,
      );
      throw this.#broken;
    }
  }

  #apply(change: Change): void {
    const write = writeOf(change);
    if (write.kind === 'put') this.#put(write.table, write.row);
    else this.#deleteNode.run(write.id);
  }

  #put(table: WrittenTable, row: Row): void {
    let statement = this.#puts.get(table);
    if (statement === undefined) {
      statement = this.#prepare(putStatement(table, keyColumn(table), Object.keys(row), 1, () => '?'));
      this.#puts.set(table, statement);
    }
    statement.run(...Object.values(row));
  }

  #prepare(text: string): Statement {
    return this.#database.connection.prepare<Value[]>(text);
  }

  async #guarded<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closing !== null) throw closed(this.#database.path);
    try {
      return await work();
    } catch (error) {
      // What is under way when the database closes (a backup, a page of the audit log) ends with it.
      throw this.#closing === null ? sqliteError(error, this.#database.path) : closed(this.#database.path);
    }
  }
}
