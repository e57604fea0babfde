// What both databases are asked in the same words. Reading only: what is written stands in writes.ts, and at the first
// start in each store.

import type { Kysely } from 'kysely';
import { type AuditRecord, LOGGED_OPS_MAX, type StoredState } from '../state/model.ts';
import { AUDIT_PAGE_MAX } from './limits.ts';
import { auditOf, authKeyOf, logOf, nodeOf, settingsOf, tokenOf } from './rows.ts';
import type { AuditPage } from './store.ts';
import type { Tables } from './tables.ts';

/** Everything but audit records; null before the first start. The caller sees to it that nobody writes in between. */
export async function loadState(db: Kysely<Tables>): Promise<StoredState | null> {
  const settings = await db.selectFrom('settings').selectAll().where('id', '=', 1).executeTakeFirst();
  if (settings === undefined) return null;
  const nodes = await db.selectFrom('node').selectAll().orderBy('id').execute();
  const authKeys = await db.selectFrom('auth_key').selectAll().orderBy('id').execute();
  const tokens = await db.selectFrom('token').selectAll().orderBy('id').execute();
  const newestFirst = await db.selectFrom('log').selectAll().orderBy('seq', 'desc').limit(LOGGED_OPS_MAX).execute();
  return {
    settings: settingsOf(settings),
    nodes: nodes.map(nodeOf),
    authKeys: authKeys.map(authKeyOf),
    tokens: tokens.map(tokenOf),
    log: newestFirst.reverse().map(logOf),
  };
}

export async function auditPage(db: Kysely<Tables>, before: number | null, limit: number): Promise<AuditPage> {
  const count = Math.min(Math.max(1, Math.trunc(limit)), AUDIT_PAGE_MAX);
  const page = db
    .selectFrom('audit')
    .selectAll()
    .orderBy('id', 'desc')
    .limit(count + 1);
  const rows = await (before === null ? page : page.where('id', '<', before)).execute();
  const records: AuditRecord[] = rows.slice(0, count).map(auditOf);
  return { records, next: rows.length > count ? (records.at(-1)?.id ?? null) : null };
}

/** The highest key of a table that only grows, and its number of rows by that: keys come without gaps. */
export async function extent(db: Kysely<Tables>, table: 'log' | 'audit'): Promise<{ first: number; last: number }> {
  const key = table === 'log' ? 'seq' : 'id';
  const row = await db
    .selectFrom(table)
    .select(({ fn }) => [fn.min<number | null>(key).as('first'), fn.max<number | null>(key).as('last')])
    .executeTakeFirstOrThrow();
  return { first: row.first ?? 1, last: row.last ?? 0 };
}
