// Tables that only grow are cut back to their limit, not at each commit but when TRIM_BATCH rows are over it. Their keys
// come without gaps, so how many rows there are is known without counting. Pure: the stores delete, in the same
// transaction, and keep the new extents once that is made.

import { type Change, LOGGED_OPS_MAX } from '../state/model.ts';
import { AUDIT_RECORDS_MAX, TRIM_BATCH } from './limits.ts';

/** Lowest and highest key in a table; `last` is below `first` when it is empty. */
export interface Extent {
  readonly first: number;
  readonly last: number;
}

export interface Extents {
  readonly log: Extent;
  readonly audit: Extent;
}

export interface Drop {
  readonly table: 'log' | 'audit';
  readonly key: 'seq' | 'id';
  /** This row and those before it. */
  readonly upTo: number;
}

export function trim(extents: Extents, changes: readonly Change[]): { extents: Extents; drops: readonly Drop[] } {
  let log = extents.log;
  let audit = extents.audit;
  for (const change of changes) {
    if (change.kind === 'op') log = grown(log, change.entry.seq);
    else if (change.kind === 'audit') audit = grown(audit, change.record.id);
  }
  const drops: Drop[] = [];
  if (isOver(log, LOGGED_OPS_MAX)) {
    log = { first: log.last - LOGGED_OPS_MAX + 1, last: log.last };
    drops.push({ table: 'log', key: 'seq', upTo: log.first - 1 });
  }
  if (isOver(audit, AUDIT_RECORDS_MAX)) {
    audit = { first: audit.last - AUDIT_RECORDS_MAX + 1, last: audit.last };
    drops.push({ table: 'audit', key: 'id', upTo: audit.first - 1 });
  }
  return { extents: { log, audit }, drops };
}

function grown(extent: Extent, key: number): Extent {
  if (extent.last < extent.first) return { first: key, last: key };
  return { first: Math.min(extent.first, key), last: Math.max(extent.last, key) };
}

function isOver(extent: Extent, max: number): boolean {
  return extent.last - extent.first + 1 > max + TRIM_BATCH;
}
