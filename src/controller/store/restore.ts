// Bringing a backup back. Everything is prepared and checked in a file beside the database: its integrity, that it is
// Warren's and not newer, that it holds a network and a key. Then it gets a new epoch, so that nodes do not take its
// sequence numbers for those that they know, and takes the database's name in one step. Until that step nothing has
// changed; after it the old database, if there was one, is still there under another name.

import { randomBytes } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import type { Settings } from '../state/model.ts';
import { checkDirectory, isPostgresUrl } from './open.ts';
import { loadState } from './queries.ts';
import { intoOneFile, syncFile } from './sqlite-backup.ts';
import { sqliteError } from './sqlite-errors.ts';
import { DATABASE_NAME, type OpenDatabase, openFile, syncDirectory } from './sqlite-file.ts';
import { messageOf, StoreError } from './store-error.ts';
import { PRIVATE_KEY_BYTES } from './store-faults.ts';

const EPOCH_BYTES = 12;
/** Ids that nodes may have been given since the backup: they are not given to others now. */
const GIVEN_SINCE_MAX = 65_536;

export interface RestoreOptions {
  /** Replace a database that is there. */
  readonly force?: boolean;
}

export interface Restored {
  /** With the new epoch. */
  readonly settings: Settings;
  readonly nodes: number;
  /** Where the database that was there before is now; null when there was none. */
  readonly replaced: string | null;
}

/** `dataDir`: the controller's directory, made when it is missing. A database that a controller has open is never replaced. */
export async function restoreBackup(file: string, dataDir: string, options: RestoreOptions = {}): Promise<Restored> {
  if (isPostgresUrl(dataDir)) throw notSqlite();
  checkDirectory(dataDir);
  const source = resolve(file);
  const target = join(resolve(dataDir), DATABASE_NAME);
  checkSource(source, target);
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw sqliteError(error, target);
  }
  const exists = existsSync(target);
  if (exists && options.force !== true) throw occupied(target);
  const prepared = `${target}.restore-${process.pid}`;
  try {
    const { settings, nodes } = await prepare(source, prepared);
    const replaced = exists ? await setAside(target) : null;
    renameSync(prepared, target);
    syncDirectory(resolve(dataDir));
    return { settings, nodes, replaced };
  } catch (error) {
    throw sqliteError(error, target);
  } finally {
    for (const end of ['', '-journal', '-wal', '-shm']) rmSync(`${prepared}${end}`, { force: true });
  }
}

function checkSource(source: string, target: string): void {
  const stat = statSync(source, { throwIfNoEntry: false });
  if (stat === undefined || !stat.isFile()) {
    throw new StoreError({
      code: 'location',
      what: `${source} cannot be restored`,
      why: stat === undefined ? 'there is no such file' : 'it is not a file',
      help: 'name a file made by warren controller backup FILE',
    });
  }
  const there = statSync(target, { throwIfNoEntry: false });
  if (there === undefined || there.dev !== stat.dev || there.ino !== stat.ino) return;
  throw new StoreError({
    code: 'exists',
    what: `${source} is the database itself`,
    why: 'it cannot be restored from itself',
    help: 'name a file made by warren controller backup FILE',
  });
}

async function prepare(source: string, prepared: string): Promise<{ settings: Settings; nodes: number }> {
  copyPrivately(source, prepared);
  // A database copied by hand may have its last changes in a log beside it.
  if (existsSync(`${source}-wal`)) copyPrivately(`${source}-wal`, `${prepared}-wal`);
  const database = await openCopy(source, prepared);
  let restored: { settings: Settings; nodes: number };
  try {
    checkIntegrity(database, source);
    const { settings, nodes } = await checkContent(database, source);
    const epoch = randomBytes(EPOCH_BYTES).toString('base64url');
    // Those who joined after the backup are unknown here, but keep their numbers until they hear of it.
    const nextNodeId = settings.nextNodeId + GIVEN_SINCE_MAX;
    database.connection.prepare('update settings set epoch = ?, next_node_id = ? where id = 1').run(epoch, nextNodeId);
    restored = { settings: { ...settings, epoch, nextNodeId }, nodes };
  } finally {
    database.connection.close();
  }
  intoOneFile(prepared);
  syncFile(prepared);
  return restored;
}

function copyPrivately(from: string, to: string): void {
  rmSync(to, { force: true });
  closeSync(openSync(to, 'wx', 0o600));
  copyFileSync(from, to);
}

async function openCopy(source: string, prepared: string): Promise<OpenDatabase> {
  try {
    return await openFile(prepared);
  } catch (error) {
    // In words of the file that the person named, not of our copy.
    if (!(error instanceof StoreError) || !['corrupt', 'foreign', 'newer'].includes(error.code)) throw error;
    throw new StoreError(
      {
        code: error.code,
        what: error.what.replaceAll(prepared, source),
        why: error.why,
        help: HELP[error.code] ?? error.help,
      },
      error,
    );
  }
}

const OTHER_BACKUP = 'use another backup; nothing was changed';
const HELP: Readonly<Record<string, string>> = {
  corrupt: OTHER_BACKUP,
  foreign: 'name a file made by warren controller backup FILE',
  newer: 'restore it with the version of Warren that made it, or use an older backup; nothing was changed',
};

function checkIntegrity(database: OpenDatabase, source: string): void {
  let found: unknown;
  try {
    found = database.connection.pragma('integrity_check(1)', { simple: true });
  } catch (error) {
    found = messageOf(error);
  }
  if (found === 'ok') return;
  throw new StoreError({ code: 'corrupt', what: `${source} is damaged`, why: String(found), help: OTHER_BACKUP });
}

async function checkContent(database: OpenDatabase, source: string): Promise<{ settings: Settings; nodes: number }> {
  const state = await loadState(database.tables);
  const keyBytes = database.connection.prepare('select length(private_key) from identity where id = 1').pluck().get();
  if (state !== null && keyBytes === PRIVATE_KEY_BYTES) return { settings: state.settings, nodes: state.nodes.length };
  throw new StoreError({
    code: 'notInitialized',
    what: `${source} holds no network`,
    why: state === null ? 'it has no settings' : "the controller's key is missing",
    help: OTHER_BACKUP,
  });
}

/**
 * Gives the database that is there a second name, complete without a log beside it. Refuses when a controller has it
 * open. What is too damaged to open is kept as it is, its log included.
 */
async function setAside(target: string): Promise<string> {
  const aside = `${target}.replaced`;
  for (const end of ['', '-wal', '-journal']) rmSync(`${aside}${end}`, { force: true });
  try {
    // Closing folds the log into the database and removes it.
    (await openFile(target)).connection.close();
  } catch (error) {
    if (error instanceof StoreError && ['locked', 'full', 'io', 'nativeMissing', 'notWritable'].includes(error.code)) {
      throw error;
    }
  }
  linkSync(target, aside);
  for (const end of ['-wal', '-journal']) {
    // The new database must not find the old one's log beside it.
    if (existsSync(`${target}${end}`)) renameSync(`${target}${end}`, `${aside}${end}`);
  }
  rmSync(`${target}-shm`, { force: true });
  return aside;
}

function occupied(target: string): StoreError {
  return new StoreError({
    code: 'exists',
    what: `${target} exists already`,
    why: 'restoring would replace the network in it',
    help: 'name another directory with --data, or replace it with --force (the old one is kept beside it)',
  });
}

function notSqlite(): StoreError {
  return new StoreError({
    code: 'unsupported',
    what: 'this backup cannot be restored',
    why: 'the database named is PostgreSQL, and a backup is one of SQLite',
    help: 'pg_restore or psql brings back what pg_dump made; then change the epoch in warren.settings to 16 other characters',
  });
}
