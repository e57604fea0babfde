// The one way to a store: a directory means SQLite at DIRECTORY/warren.db, a postgres:// URL means PostgreSQL. Each is
// loaded only when it is used.

import type { Store } from './store.ts';
import { StoreError } from './store-error.ts';

export function isPostgresUrl(location: string): boolean {
  return /^postgres(ql)?:/i.test(location);
}

/** Rejects with a StoreError that a person can act upon. */
export async function openStore(location: string): Promise<Store> {
  if (isPostgresUrl(location)) {
    const { openPostgresStore } = await import('./postgres-store.ts');
    return await openPostgresStore(location);
  }
  checkDirectory(location);
  const { openSqliteStore } = await import('./sqlite-store.ts');
  return await openSqliteStore(location);
}

/** Whether a location can be a directory's name; the file system says the rest. */
export function checkDirectory(location: string): void {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(location)?.[1];
  if (location.trim() !== '' && scheme === undefined) return;
  throw new StoreError({
    code: 'location',
    what: 'there is no such place for the database',
    why: scheme === undefined ? 'its name is empty' : `${scheme}:// is no database that Warren knows`,
    help: 'name a directory (SQLite), or postgres://USER@HOST:PORT/DATABASE',
  });
}
