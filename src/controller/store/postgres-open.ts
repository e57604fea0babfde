// A bounded pool of connections to PostgreSQL, with the tables in a schema of their own (`warren`), checked and migrated.
// Two controllers that start at once take turns: the migration holds an advisory lock.

import { type Kysely, Kysely as KyselyClass, PostgresDialect } from 'kysely';
import pg from 'pg';
import { CONNECT_TIMEOUT_MS, CONNECTIONS_MAX, QUERY_TIMEOUT_MS } from './limits.ts';
import { isCurrent, migrate } from './migrations.ts';
import { postgresError } from './postgres-errors.ts';
import type { PostgresLocation } from './postgres-location.ts';
import type { Tables } from './tables.ts';

export const SCHEMA = 'warren';

export interface OpenPostgres {
  readonly shown: string;
  readonly pool: pg.Pool;
  readonly tables: Kysely<Tables>;
  /** The server would acknowledge before it has written; ask it not to, for our transactions. */
  readonly mustAskForDurability: boolean;
}

const { builtins } = pg.types;

/** 64-bit integers as numbers (ours stay below 2^53), JSON as the text that it is. */
const PARSERS: pg.CustomTypesConfig = {
  getTypeParser: (type: number, format?: 'text' | 'binary') => {
    if (type === builtins.INT8) return Number;
    if (type === builtins.JSON) return String;
    return pg.types.getTypeParser(type, format as 'text');
  },
};

export async function openPostgres(location: PostgresLocation): Promise<OpenPostgres> {
  const { shown } = location;
  const pool = makePool(location);
  const all = new KyselyClass<Tables>({ dialect: new PostgresDialect({ pool }) });
  try {
    if (!isCurrent(await executedMigrations(pool), shown)) await migrate(all, 'postgres', SCHEMA);
    const { rows } = await pool.query<{ synchronous_commit: string }>('show synchronous_commit');
    return {
      shown,
      pool,
      tables: all.withSchema(SCHEMA),
      mustAskForDurability: rows[0]?.synchronous_commit === 'off',
    };
  } catch (error) {
    await pool.end().catch(() => {});
    throw postgresError(error, shown);
  }
}

function makePool({ url }: PostgresLocation): pg.Pool {
  const pool = new pg.Pool({
    connectionString: url,
    application_name: 'warren',
    max: CONNECTIONS_MAX,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: QUERY_TIMEOUT_MS,
    keepAlive: true,
    types: PARSERS,
  });
  // A connection that dies between two queries says so by an event, which would end the process if nobody listened: in the
  // pool, where it is replaced, and while it is ours, where the next query fails and tells.
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
}

async function executedMigrations(pool: pg.Pool): Promise<string[]> {
  const exists = await pool.query<{ found: string | null }>('select to_regclass($1)::text as found', [
    `${SCHEMA}.migration`,
  ]);
  if (exists.rows[0]?.found == null) return [];
  const { rows } = await pool.query<{ name: string }>(`select name from ${SCHEMA}.migration order by name`);
  return rows.map((row) => row.name);
}
