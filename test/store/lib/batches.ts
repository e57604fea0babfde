// Numbered commits of many changes each, of every kind, made from their number alone: whoever knows how many were made
// knows the whole state. The process that is killed makes them, the test says what must be there.

import type { AuditRecord, AuthKeyRecord, Change, NodeRecord } from '../../../src/controller/state/model.ts';
import {
  audit,
  authKey,
  deleteNode,
  node,
  numbers,
  op,
  putAudit,
  putAuthKey,
  putNode,
  putOp,
  putSettings,
  settings,
} from './records.ts';

const NODES = 300;

/** Also the number of the last commit made: `settings.nextHost`. */
export function batch(n: number): Change[] {
  const spread = (i: number) => 1 + ((n * 7919 + i * 31) % NODES);
  return [
    putOp(op(n)),
    ...numbers(0, 1 + ((n * 37) % 60)).map((i) => putNode(node(spread(i), { hostname: `commit ${n}` }))),
    deleteNode(spread(3)),
    putAuthKey(authKey(1 + (n % 10), { uses: n })),
    putSettings(settings({ nextHost: n })),
    putAudit(audit(n)),
  ];
}

/** What a store holds after commits 1…n. */
export class Model {
  n = 0;
  readonly nodes = new Map<number, NodeRecord>();
  readonly authKeys = new Map<string, AuthKeyRecord>();
  lastAudit: AuditRecord | null = null;

  advanceTo(n: number): void {
    while (this.n < n) {
      for (const change of batch(++this.n)) this.#apply(change);
    }
  }

  #apply(change: Change): void {
    if (change.kind === 'putNode') this.nodes.set(change.node.id, change.node);
    else if (change.kind === 'deleteNode') this.nodes.delete(change.id);
    else if (change.kind === 'putAuthKey') this.authKeys.set(change.key.id, change.key);
    else if (change.kind === 'audit') this.lastAudit = change.record;
  }
}
