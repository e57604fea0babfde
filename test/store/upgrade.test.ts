// Databases of every version that was ever released open in this one, with all that was in them, and end up with the same
// tables as a new one. The fixtures are SQL, made by lib/make-fixture.ts when a version was new.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { MIGRATIONS } from '../../src/controller/store/migrations.ts';
import { openStore } from '../../src/controller/store/open.ts';
import { Cluster, whyNoCluster } from './lib/cluster.ts';
import { node, putNode } from './lib/records.ts';
import { scratch } from './lib/scratch.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures');
const VERSIONS = readdirSync(FIXTURES)
  .filter((name) => name.endsWith('.json'))
  .map((name) => name.slice(0, -'.json'.length));

const sql = (version: string, kind: string) => readFileSync(join(FIXTURES, `${version}-${kind}.sql`), 'utf8');

/** Fields that a later version added are not in it. */
function expected(version: string) {
  const { audit, privateKey, ...state } = JSON.parse(readFileSync(join(FIXTURES, `${version}.json`), 'utf8'));
  return { audit, privateKey, state };
}

async function expectContent(location: string, version: string): Promise<void> {
  const store = await openStore(location);
  onTestFinished(() => store.close());
  const { audit, privateKey, state } = expected(version);
  const loaded = await store.load();
  expect(loaded).toMatchObject(state);
  expect(loaded?.nodes).toHaveLength(state.nodes.length);
  expect((await store.audit(null, 100)).records).toEqual(audit);
  expect(Buffer.from(await store.privateKey()).toString('hex')).toBe(privateKey);
  await store.commit([putNode(node(99))]);
  expect((await store.load())?.nodes).toHaveLength(state.nodes.length + 1);
}

test('there is a fixture of every version, also of the present one', () => {
  expect(VERSIONS.sort()).toEqual(MIGRATIONS.map((_, i) => `v${i + 1}`).sort());
});

describe.each(VERSIONS)('SQLite, from %s', (version) => {
  function schemaOf(directory: string): unknown {
    const connection = new Database(join(directory, 'warren.db'));
    try {
      return {
        id: connection.pragma('application_id', { simple: true }),
        tables: connection.prepare('select type, name, tbl_name, sql from sqlite_master order by name').all(),
        migrations: connection.prepare('select name from migration order by name').all(),
      };
    } finally {
      connection.close();
    }
  }

  function fixture(): string {
    const directory = scratch('fixture');
    const connection = new Database(join(directory, 'warren.db'));
    connection.exec(sql(version, 'sqlite'));
    connection.close();
    return directory;
  }

  test('everything is there, and commits go on', () => expectContent(fixture(), version));

  test('the tables are those of a new database', async () => {
    const [old, fresh] = [fixture(), scratch('fresh')];
    for (const directory of [old, fresh]) await (await openStore(directory)).close();
    expect(schemaOf(old)).toEqual(schemaOf(fresh));
  });
});

describe.skipIf(whyNoCluster() !== null).each(VERSIONS)('PostgreSQL, from %s', (version) => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start();
  });
  afterAll(() => cluster?.remove());

  async function fixture(): Promise<string> {
    const database = await cluster.createDatabase();
    await cluster.query(sql(version, 'postgres'), database);
    return database;
  }

  async function schemaOf(database: string): Promise<unknown> {
    const columns = `select table_name, column_name, data_type, is_nullable, column_default, ordinal_position
      from information_schema.columns where table_schema = 'warren' order by table_name, column_name`;
    const indexes = "select indexname, indexdef from pg_indexes where schemaname = 'warren' order by indexname";
    return {
      columns: (await cluster.query(columns, database)).rows,
      indexes: (await cluster.query(indexes, database)).rows,
    };
  }

  test('everything is there, and commits go on', async () => {
    await expectContent(cluster.url(await fixture()), version);
  });

  test('the tables are those of a new database', async () => {
    const [old, fresh] = [await fixture(), await cluster.createDatabase()];
    for (const database of [old, fresh]) await (await openStore(cluster.url(database))).close();
    expect(await schemaOf(old)).toEqual(await schemaOf(fresh));
  });
});
