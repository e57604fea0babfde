// Writes the fixtures of the schema's present version, for when it has changed: a small network as SQL, for SQLite and for
// PostgreSQL, and the state that must come out of it, as JSON. Run by hand; fixtures of older versions are never made again.
// usage, after compiling it: node make-fixture.js FIXTURES_DIRECTORY

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { MIGRATIONS } from '../../../src/controller/store/migrations.ts';
import { openStore } from '../../../src/controller/store/open.ts';
import { Cluster } from './cluster.ts';
import {
  audit,
  authKey,
  node,
  numbers,
  op,
  PRIVATE_KEY,
  putAudit,
  putAuthKey,
  putNode,
  putOp,
  putSettings,
  putToken,
  settings,
  token,
} from './records.ts';

async function fill(location: string) {
  const store = await openStore(location);
  await store.initialize(settings(), PRIVATE_KEY);
  await store.commit([
    ...numbers(1, 4).map((n) => putNode(node(n))),
    ...numbers(1, 3).map((n) => putAuthKey(authKey(n))),
    ...numbers(1, 2).map((n) => putToken(token(n))),
    ...numbers(1, 2).map((n) => putAudit(audit(n))),
    ...numbers(1, 3).map((n) => putOp(op(n))),
    putSettings(settings({ nextNodeId: 5, nextHost: 6, nextAuditId: 3 })),
  ]);
  const state = await store.load();
  const { records } = await store.audit(null, 10);
  await store.close();
  return { ...state, audit: records, privateKey: Buffer.from(PRIVATE_KEY).toString('hex') };
}

function literal(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value === 'number') return String(value);
  if (value instanceof Uint8Array) return `x'${Buffer.from(value).toString('hex')}'`;
  return `'${String(value).replaceAll("'", "''")}'`;
}

function dumpSqlite(path: string): string {
  const connection = new Database(path, { readonly: true });
  const tables = connection
    .prepare<[], { name: string; sql: string }>(
      "select name, sql from sqlite_master where type = 'table' order by name",
    )
    .all();
  const lines = [`pragma application_id = ${connection.pragma('application_id', { simple: true })};`];
  for (const { name, sql } of tables) {
    lines.push(`${sql};`);
    for (const row of connection.prepare<[], Record<string, unknown>>(`select * from ${name}`).all()) {
      lines.push(`insert into ${name} values (${Object.values(row).map(literal).join(', ')});`);
    }
  }
  connection.close();
  return `${lines.join('\n')}\n`;
}

function dumpPostgres(cluster: Cluster): string {
  const args = ['--schema=warren', '--inserts', '--no-owner', '--no-privileges', cluster.url('postgres')];
  const { stdout, stderr, status } = spawnSync('pg_dump', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  // Without comments and psql's own commands.
  const lines = stdout.split('\n').filter((line) => line !== '' && !line.startsWith('--') && !line.startsWith('\\'));
  return `${lines.join('\n')}\n`;
}

async function make(fixtures: string): Promise<void> {
  const version = `v${MIGRATIONS.length}`;
  const directory = mkdtempSync(join(tmpdir(), 'warren-store-fixture-'));
  const cluster = await Cluster.start();
  try {
    const state = await fill(directory);
    await fill(cluster.url('postgres'));
    writeFileSync(join(fixtures, `${version}.json`), `${JSON.stringify(state, null, 2)}\n`);
    writeFileSync(join(fixtures, `${version}-sqlite.sql`), dumpSqlite(join(directory, 'warren.db')));
    writeFileSync(join(fixtures, `${version}-postgres.sql`), dumpPostgres(cluster));
  } finally {
    await cluster.remove();
    rmSync(directory, { recursive: true, force: true });
  }
}

await make(process.argv[2] as string);
