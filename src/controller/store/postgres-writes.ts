// A commit as few statements: rows of one table that follow one another go in one INSERT. Tables do not refer to each
// other, so their order among themselves means nothing; within the nodes' table it is kept, because names, keys and
// addresses are unique at every step.

import type { Change } from '../state/model.ts';
import { ROWS_PER_INSERT_MAX } from './limits.ts';
import { keyColumn, putStatement, type Row, type Value, type WrittenTable, writeOf } from './writes.ts';

export interface Query {
  readonly text: string;
  readonly values: readonly (Value | readonly number[])[];
}

type Run =
  | { readonly kind: 'put'; readonly rows: Map<Value, Row> }
  | { readonly kind: 'delete'; readonly ids: number[] };

const UNIQUE_IN_NODE = ['public_key', 'name', 'address4', 'address6'] as const;

/** `schema`: where the tables are. */
export function queriesOf(changes: readonly Change[], schema: string): Query[] {
  const tables = new Map<WrittenTable, Run[]>();
  for (const change of changes) {
    const write = writeOf(change);
    const runs = tables.get(write.table) ?? [];
    tables.set(write.table, runs);
    if (write.kind === 'delete') deleteRow(runs, write.id);
    else putRow(runs, write.table, write.row);
  }
  return [...tables].flatMap(([table, runs]) => runs.flatMap((run) => statementsOf(run, table, `${schema}.${table}`)));
}

function deleteRow(runs: Run[], id: number): void {
  const last = runs.at(-1);
  if (last?.kind === 'delete') last.ids.push(id);
  else runs.push({ kind: 'delete', ids: [id] });
}

/** One INSERT cannot touch a row twice: the later one replaces the earlier, unless a row in between may need its old name. */
function putRow(runs: Run[], table: WrittenTable, row: Row): void {
  const key = row[keyColumn(table)] as Value;
  const last = runs.at(-1);
  if (last?.kind === 'put') {
    const earlier = last.rows.get(key);
    const movesNothing = earlier === undefined || UNIQUE_IN_NODE.every((column) => earlier[column] === row[column]);
    if (table !== 'node' || movesNothing) {
      last.rows.set(key, row);
      return;
    }
  }
  runs.push({ kind: 'put', rows: new Map([[key, row]]) });
}

function statementsOf(run: Run, table: WrittenTable, target: string): Query[] {
  if (run.kind === 'delete') return [{ text: `delete from ${target} where id = any($1)`, values: [run.ids] }];
  const rows = [...run.rows.values()];
  const columns = Object.keys(rows[0] as Row);
  const queries: Query[] = [];
  for (let from = 0; from < rows.length; from += ROWS_PER_INSERT_MAX) {
    const some = rows.slice(from, from + ROWS_PER_INSERT_MAX);
    queries.push({
      text: putStatement(target, keyColumn(table), columns, some.length, (n) => `$${n}`),
      values: some.flatMap((row) => Object.values(row)),
    });
  }
  return queries;
}
