// Copies of the running database. SQLite's online backup copies some pages per turn of the event loop and carries along
// what our own connection writes meanwhile, so the copy is the state at its end, whole. It is made beside its destination
// under another name, synced, and renamed: the name that was asked for never holds half a backup.

import { closeSync, fsyncSync, openSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import Database from 'better-sqlite3';
import { BACKUP_PAGES_PER_TURN } from './limits.ts';
import { sqliteError } from './sqlite-errors.ts';
import { type OpenDatabase, syncDirectory } from './sqlite-file.ts';
import { StoreError } from './store-error.ts';

/** `progress` is told pages, at last that all are done. An existing file at `path` is replaced. */
export async function backupTo(
  database: OpenDatabase,
  path: string,
  progress: (done: number, total: number) => void,
): Promise<void> {
  const target = resolve(path);
  refuseDatabaseItself(database.path, target);
  // Per process and backup, so that two at once do not share it.
  const temporary = `${target}.${process.pid}-${performance.now().toString(36).replace('.', '')}.tmp`;
  try {
    closeSync(openSync(temporary, 'wx', 0o600));
    let total = 0;
    await database.connection.backup(temporary, {
      progress: ({ totalPages, remainingPages }) => {
        total = totalPages;
        progress(totalPages - remainingPages, totalPages);
        return BACKUP_PAGES_PER_TURN;
      },
    });
    intoOneFile(temporary);
    syncFile(temporary);
    renameSync(temporary, target);
    syncDirectory(dirname(target));
    progress(total, total);
  } catch (error) {
    throw sqliteError(error, target);
  } finally {
    for (const end of ['', '-journal', '-wal', '-shm']) rmSync(`${temporary}${end}`, { force: true });
  }
}

/** The copy says of itself that it has a write-ahead log; as a file to be kept it needs none. */
export function intoOneFile(path: string): void {
  const copy = new Database(path, { fileMustExist: true });
  try {
    copy.pragma('journal_mode = delete');
  } finally {
    copy.close();
  }
}

export function syncFile(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function refuseDatabaseItself(database: string, target: string): void {
  const live = statSync(database);
  const there = statSync(target, { throwIfNoEntry: false });
  const isSame = there !== undefined && there.dev === live.dev && there.ino === live.ino;
  if (!isSame && target !== database && target !== `${database}-wal`) return;
  throw new StoreError({
    code: 'exists',
    what: `${target} is the database itself`,
    why: 'a backup must be another file',
    help: 'name another file, best on another disk',
  });
}
