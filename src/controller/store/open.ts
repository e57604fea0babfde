// The one way to a store: a directory means SQLite at DIRECTORY/warren.db, a postgres:// URL means PostgreSQL. Each is
// loaded only when it is used.

import type { Store } from './store.ts';

export function isPostgresUrl(location: string): boolean {
  return /^postgres(ql)?:/i.test(location);
}

/** Rejects with a StoreError that a person can act upon. */
export async function openStore(location: string): Promise<Store> {
  if (isPostgresUrl(location)) {
    const { openPostgresStore } = await import('./postgres-store.ts');
    return await openPostgresStore(location);
  }
  const { openSqliteStore } = await import('./sqlite-store.ts');
  return await openSqliteStore(location);
}
