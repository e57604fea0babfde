// Changes as writes to tables. One statement says all of a row (insert, or replace what is there), so a change that is
// applied twice does no harm. The text of the statements is made here, not by Kysely: SQLite prepares each once and runs it
// by the thousand, PostgreSQL takes many rows at a time.

import { unreachable } from '../../base/assert.ts';
import type { Change } from '../state/model.ts';
import { auditRow, authKeyRow, logRow, nodeRow, settingsRow, tokenRow } from './rows.ts';

export type Value = string | number | null;
export type Row = Readonly<Record<string, Value>>;

export type WrittenTable = 'node' | 'auth_key' | 'token' | 'audit' | 'settings' | 'log';

export type Write =
  | { readonly kind: 'put'; readonly table: WrittenTable; readonly row: Row }
  | { readonly kind: 'delete'; readonly table: 'node'; readonly id: number };

/** The rows of one table always name their columns in the same order. */
export function writeOf(change: Change): Write {
  switch (change.kind) {
    case 'putNode':
      return put('node', { ...nodeRow(change.node) });
    case 'deleteNode':
      return { kind: 'delete', table: 'node', id: change.id };
    case 'putAuthKey':
      return put('auth_key', { ...authKeyRow(change.key) });
    case 'putToken':
      return put('token', { ...tokenRow(change.token) });
    case 'audit':
      return put('audit', { ...auditRow(change.record) });
    case 'settings':
      return put('settings', { ...settingsRow(change.settings) });
    case 'op':
      return put('log', { ...logRow(change.entry) });
    default:
      return unreachable(change);
  }
}

export function keyColumn(table: WrittenTable): 'id' | 'seq' {
  return table === 'log' ? 'seq' : 'id';
}

/** `placeholder(n)`: how the database writes its n-th parameter, counted from 1. `target`: the table's name as the statement has it. */
export function putStatement(
  target: string,
  key: string,
  columns: readonly string[],
  rows: number,
  placeholder: (n: number) => string,
): string {
  const tuple = (row: number): string =>
    `(${columns.map((_, column) => placeholder(row * columns.length + column + 1)).join(', ')})`;
  const tuples = Array.from({ length: rows }, (_, row) => tuple(row)).join(', ');
  const updates = columns.filter((column) => column !== key).map((column) => `${column} = excluded.${column}`);
  return `insert into ${target} (${columns.join(', ')}) values ${tuples} on conflict (${key}) do update set ${updates.join(', ')}`;
}

function put(table: WrittenTable, row: Row): Write {
  return { kind: 'put', table, row };
}
