// The changes of one command in the making: numbers operations and audit records, keeps who is listed in step with what the
// records say, and writes the settings once at the end. Reads the state, never writes to it.

import { assert } from '../../base/assert.ts';
import type { WallTime } from '../../base/instant.ts';
import type { NetmapOp } from '../../protocol/netmap.ts';
import { sameReach } from '../../protocol/reach.ts';
import { sameCandidates } from './candidates.ts';
import type { Actor } from './commands.ts';
import type { AuthKeyRecord, Change, NodeRecord, Settings, TokenRecord } from './model.ts';
import { isExpired, netmapNodeOf, type StateView } from './state-view.ts';

export class Drafting {
  readonly #view: StateView;
  readonly #wall: WallTime;
  readonly #changes: Change[] = [];
  #settings: Settings;
  #seq: number;

  constructor(view: StateView, wall: WallTime) {
    this.#view = view;
    this.#wall = wall;
    this.#settings = view.settings;
    this.#seq = view.seq;
  }

  /** At most once for a node. Gives the record as it will be: one that is not in the netmap is never online. */
  putNode(wanted: NodeRecord): NodeRecord {
    const isListed = wanted.approved && !wanted.disabled && !isExpired(wanted, this.#wall);
    const node = isListed || !wanted.online ? wanted : { ...wanted, online: false };
    this.#changes.push({ kind: 'putNode', node });
    const before = this.#view.node(node.id);
    if (!this.#view.isListed(node.id)) {
      if (isListed) this.#op({ op: 'put', node: netmapNodeOf(node) });
      return node;
    }
    assert(before !== undefined, 'who is listed is known');
    if (!isListed) this.#op({ op: 'remove', id: node.id });
    else this.#tellDifference(before, node);
    return node;
  }

  deleteNode(node: NodeRecord): void {
    this.#changes.push({ kind: 'deleteNode', id: node.id });
    if (this.#view.isListed(node.id)) this.#op({ op: 'remove', id: node.id });
  }

  putAuthKey(key: AuthKeyRecord): void {
    this.#changes.push({ kind: 'putAuthKey', key });
  }

  putToken(token: TokenRecord): void {
    this.#changes.push({ kind: 'putToken', token });
  }

  settings(edit: Partial<Settings>): Settings {
    this.#settings = { ...this.#settings, ...edit };
    return this.#settings;
  }

  /** `detail` holds no secret. */
  audit(actor: Actor, action: string, target: string, detail: Readonly<Record<string, unknown>> = {}): void {
    const id = this.#settings.nextAuditId;
    this.settings({ nextAuditId: id + 1 });
    const { name, source } = actor;
    this.#changes.push({ kind: 'audit', record: { id, at: this.#wall, actor: name, source, action, target, detail } });
  }

  changes(): readonly Change[] {
    if (this.#settings !== this.#view.settings) this.#changes.push({ kind: 'settings', settings: this.#settings });
    return this.#changes;
  }

  #tellDifference(before: NodeRecord, after: NodeRecord): void {
    if (!looksTheSame(before, after)) {
      this.#op({ op: 'put', node: netmapNodeOf(after) });
      return;
    }
    if (!sameCandidates(before.candidates, after.candidates) || !sameReach(before.reach, after.reach)) {
      const { candidates, reach } = netmapNodeOf(after);
      this.#op({ op: 'candidates', id: after.id, candidates, ...(reach == null ? {} : { reach }) });
    }
    if (before.online !== after.online) this.#op({ op: 'presence', id: after.id, online: after.online });
  }

  #op(op: NetmapOp): void {
    this.#seq++;
    this.#changes.push({ kind: 'op', entry: { seq: this.#seq, op } });
  }
}

/** But for candidates and presence, which have operations of their own. */
function looksTheSame(a: NodeRecord, b: NodeRecord): boolean {
  return (
    a.name === b.name &&
    a.publicKey === b.publicKey &&
    a.address4 === b.address4 &&
    a.address6 === b.address6 &&
    a.tags.length === b.tags.length &&
    a.tags.every((tag, i) => tag === b.tags[i])
  );
}
