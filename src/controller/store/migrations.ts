// The tables' history. Each migration is one transaction and is never edited once released: a later one changes what it
// made (test/store/fixtures holds a database of every version). A database with a migration that is not here was written
// by a newer Warren and is refused, because writing to it would lose what this one does not know.

import { type ColumnDataType, type Kysely, type Migration, Migrator, type SchemaModule } from 'kysely';
import { StoreError } from './store-error.ts';
import type { Tables } from './tables.ts';

export type Dialect = 'sqlite' | 'postgres';

interface ColumnTypes {
  readonly integer: ColumnDataType;
  readonly time: ColumnDataType;
  readonly flag: ColumnDataType;
  readonly json: ColumnDataType;
  readonly bytes: ColumnDataType;
}

const TYPES: Readonly<Record<Dialect, ColumnTypes>> = {
  sqlite: { integer: 'integer', time: 'real', flag: 'integer', json: 'text', bytes: 'blob' },
  postgres: { integer: 'bigint', time: 'double precision', flag: 'boolean', json: 'json', bytes: 'bytea' },
};

type Step = (schema: SchemaModule, types: ColumnTypes, dialect: Dialect) => Promise<void>;

async function first(schema: SchemaModule, type: ColumnTypes, dialect: Dialect): Promise<void> {
  await schema
    .createTable('node')
    .addColumn('id', type.integer, (column) => column.primaryKey())
    .addColumn('public_key', 'text', (column) => column.notNull().unique())
    .addColumn('name', 'text', (column) => column.notNull().unique())
    .addColumn('hostname', 'text', (column) => column.notNull())
    .addColumn('address4', 'text', (column) => column.notNull().unique())
    .addColumn('address6', 'text', (column) => column.notNull().unique())
    .addColumn('tags', type.json, (column) => column.notNull())
    .addColumn('ephemeral', type.flag, (column) => column.notNull())
    .addColumn('approved', type.flag, (column) => column.notNull())
    .addColumn('disabled', type.flag, (column) => column.notNull())
    .addColumn('expires_at', type.time)
    .addColumn('created_at', type.time, (column) => column.notNull())
    .addColumn('last_seen_at', type.time)
    .addColumn('online', type.flag, (column) => column.notNull())
    .addColumn('candidates', type.json, (column) => column.notNull())
    .addColumn('os', 'text', (column) => column.notNull())
    .addColumn('software', 'text', (column) => column.notNull())
    .addColumn('joined_with', 'text')
    .execute();
  await schema
    .createTable('auth_key')
    .addColumn('id', 'text', (column) => column.notNull().primaryKey())
    .addColumn('secret_hash', 'text', (column) => column.notNull())
    .addColumn('description', 'text', (column) => column.notNull())
    .addColumn('reusable', type.flag, (column) => column.notNull())
    .addColumn('ephemeral', type.flag, (column) => column.notNull())
    .addColumn('pre_approved', type.flag, (column) => column.notNull())
    .addColumn('tags', type.json, (column) => column.notNull())
    .addColumn('created_at', type.time, (column) => column.notNull())
    .addColumn('expires_at', type.time)
    .addColumn('revoked_at', type.time)
    .addColumn('uses', type.integer, (column) => column.notNull())
    .addColumn('last_used_at', type.time)
    .execute();
  await schema
    .createTable('token')
    .addColumn('id', 'text', (column) => column.notNull().primaryKey())
    .addColumn('secret_hash', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('scopes', type.json, (column) => column.notNull())
    .addColumn('created_at', type.time, (column) => column.notNull())
    .addColumn('expires_at', type.time)
    .addColumn('revoked_at', type.time)
    .addColumn('last_used_at', type.time)
    .execute();
  await schema
    .createTable('audit')
    .addColumn('id', type.integer, (column) => column.primaryKey())
    .addColumn('at', type.time, (column) => column.notNull())
    .addColumn('actor', 'text', (column) => column.notNull())
    .addColumn('source', 'text', (column) => column.notNull())
    .addColumn('action', 'text', (column) => column.notNull())
    .addColumn('target', 'text', (column) => column.notNull())
    .addColumn('detail', type.json, (column) => column.notNull())
    .execute();
  await schema
    .createTable('settings')
    .addColumn('id', type.integer, (column) => column.primaryKey())
    .addColumn('network_name', 'text', (column) => column.notNull())
    .addColumn('prefix4', 'text', (column) => column.notNull())
    .addColumn('prefix6', 'text', (column) => column.notNull())
    .addColumn('require_approval', type.flag, (column) => column.notNull())
    .addColumn('epoch', 'text', (column) => column.notNull())
    .addColumn('next_node_id', type.integer, (column) => column.notNull())
    .addColumn('next_host', type.integer, (column) => column.notNull())
    .addColumn('next_audit_id', type.integer, (column) => column.notNull())
    .execute();
  await schema
    .createTable('identity')
    .addColumn('id', type.integer, (column) => column.primaryKey())
    .addColumn('private_key', type.bytes, (column) => column.notNull())
    .execute();
  await schema
    .createTable('log')
    .addColumn('seq', type.integer, (column) => column.primaryKey())
    .addColumn('op', type.json, (column) => column.notNull())
    .execute();
  if (dialect === 'sqlite') return;
  await schema
    .createTable('writer')
    .addColumn('id', type.integer, (column) => column.primaryKey())
    .addColumn('generation', type.integer, (column) => column.notNull())
    .addColumn('token', 'text', (column) => column.notNull())
    .execute();
}

async function reach(schema: SchemaModule, type: ColumnTypes): Promise<void> {
  await schema.alterTable('node').addColumn('reach', type.json).execute();
}

/** In order; the names are stored. */
const STEPS: Readonly<Record<string, Step>> = {
  '0001-first': first,
  '0002-reach': reach,
};

export const MIGRATIONS = Object.keys(STEPS);

/** `executed`: the names in the database. True when there is nothing to do; throws when it is newer than this program. */
export function isCurrent(executed: readonly string[], where: string): boolean {
  const unknown = executed.filter((name) => !MIGRATIONS.includes(name));
  if (unknown.length > 0) {
    throw new StoreError({
      code: 'newer',
      what: `${where} was written by a newer version of Warren`,
      why: `it has schema changes that this version does not know: ${unknown.join(', ')}`,
      help: 'start the newer version again, or restore a backup that was made before the upgrade',
    });
  }
  return executed.length === MIGRATIONS.length;
}

/** Brings the tables to this version. `schemaName`: PostgreSQL's namespace of the tables, made when it is missing. */
export async function migrate(db: Kysely<Tables>, dialect: Dialect, schemaName?: string): Promise<void> {
  const migrations = Object.fromEntries(
    Object.entries(STEPS).map(([name, step]): [string, Migration] => [
      name,
      { up: (within) => step(schemaOf(within, schemaName), TYPES[dialect], dialect) },
    ]),
  );
  const migrator = new Migrator({
    db,
    provider: { getMigrations: () => Promise.resolve(migrations) },
    migrationTableName: 'migration',
    migrationLockTableName: 'migration_lock',
    ...(schemaName === undefined ? {} : { migrationTableSchema: schemaName }),
  });
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) throw error;
}

function schemaOf(db: Kysely<Tables>, name: string | undefined): SchemaModule {
  return name === undefined ? db.schema : db.withSchema(name).schema;
}
