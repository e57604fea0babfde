// What a controller has acknowledged, and what it may or may not have done because it died before the answer: compared with
// what is there after each start. An answer is a promise; without one, a change is whole or not at all.

import { expect } from 'vitest';
import type { AuditView, ControllerView, KeyView, NodeView } from '../../../src/protocol/admin-api.ts';
import { administer } from './controller-process.ts';
import type { Member } from './member.ts';

interface KnownNode {
  readonly id: number;
  readonly addresses: readonly string[];
  /** More than one while it is not known which rename arrived. */
  names: Set<string>;
}

const PAGE = 500;

export class PromisesKept {
  /** By public key. */
  readonly nodes = new Map<string, KnownNode>();
  readonly removed = new Set<number>();
  /** Asked to be removed, without an answer. */
  readonly perhapsRemoved = new Set<number>();
  readonly keys = new Set<string>();
  acknowledged = 0;
  unanswered = 0;
  /** The furthest that anybody was told. */
  seqTold = 0;

  welcomed(member: Member): void {
    const self = member.welcome?.self;
    if (self === undefined) throw new Error('a member without a welcome');
    this.acknowledged++;
    const known = this.nodes.get(member.publicKey);
    const addresses = [self.address4, self.address6];
    if (known === undefined) {
      this.nodes.set(member.publicKey, { id: self.id, addresses, names: new Set([self.name]) });
      return;
    }
    expect({ id: self.id, addresses }).toEqual({ id: known.id, addresses: known.addresses });
    expect([...known.names]).toContain(self.name);
  }

  /** Compares everything with what the controller says after a start. */
  async verify(directory: string): Promise<void> {
    const view = (await administer(directory, 'GET', '/controller')).body as ControllerView;
    expect(view.seq).toBeGreaterThanOrEqual(this.seqTold);
    const nodes = await all<NodeView>(directory, '/nodes', ({ id }) => id);
    this.#verifyNodes(nodes);
    const keys = await all<KeyView>(directory, '/keys', ({ id }) => id);
    this.#verifyKeys(keys, nodes);
  }

  #verifyNodes(nodes: readonly NodeView[]): void {
    // Nothing is given twice.
    const uniques = nodes.map(({ name, addresses, publicKey }) => [name, ...addresses, publicKey] as string[]);
    for (let i = 0; i < 4; i++) expect(new Set(uniques.map((unique) => unique[i])).size).toBe(nodes.length);
    const byKey = new Map(nodes.map((node) => [node.publicKey as string, node]));
    for (const [publicKey, known] of this.nodes) {
      const node = byKey.get(publicKey);
      if (this.removed.has(known.id) || (node === undefined && this.perhapsRemoved.has(known.id))) {
        expect(node, `node ${known.id} was removed`).toBeUndefined();
        this.removed.add(known.id);
        continue;
      }
      if (node === undefined) throw new Error(`node ${known.id} was welcomed and is not there`);
      expect({ id: node.id, addresses: node.addresses }).toEqual({ id: known.id, addresses: known.addresses });
      expect([...known.names]).toContain(node.name);
      known.names = new Set([node.name]);
      this.perhapsRemoved.delete(known.id);
    }
  }

  #verifyKeys(keys: readonly KeyView[], nodes: readonly NodeView[]): void {
    const ids = new Set(keys.map(({ id }) => id));
    for (const id of this.keys) expect(ids).toContain(id);
    // A key that lets in one: it was used if and only if there is who used it.
    const joined = new Map<string, number>();
    for (const { joinedWith } of nodes) {
      if (joinedWith !== null) joined.set(joinedWith, (joined.get(joinedWith) ?? 0) + 1);
    }
    for (const { id, uses, reusable } of keys) {
      if (!reusable) expect({ id, uses }).toEqual({ id, uses: joined.get(id) ?? 0 });
    }
  }

  /** Each change of a record and its line in the audit log stand or fall together. */
  async verifyAudit(directory: string): Promise<number> {
    const records: AuditView[] = [];
    for (let before: number | null = null; ; ) {
      const query: string = before === null ? '' : `&before=${before}`;
      const answer = await administer(directory, 'GET', `/audit?limit=${PAGE}${query}`);
      const page = answer.body as { records: AuditView[]; next: number | null };
      records.push(...page.records);
      if (page.next === null) break;
      before = page.next;
    }
    const ids = records.map(({ id }) => id);
    expect(ids).toEqual(ids.map((_, i) => ids.length - i));
    const made = records.filter(({ action }) => action === 'keys.create').map(({ target }) => target);
    const keys = await all<KeyView>(directory, '/keys', ({ id }) => id);
    expect(new Set(made)).toEqual(new Set(keys.map(({ id }) => id)));
    const removals = records.filter(({ action }) => action === 'nodes.remove').length;
    expect(removals).toBe(this.removed.size);
    return records.length;
  }
}

export async function all<T>(directory: string, path: string, cursor: (item: T) => number | string): Promise<T[]> {
  const items: T[] = [];
  for (;;) {
    const last = items.at(-1);
    const after = last === undefined ? '' : `&after=${cursor(last)}`;
    const answer = await administer(directory, 'GET', `${path}?limit=${PAGE}${after}`);
    if (answer.status !== 200) throw new Error(`${path}: ${JSON.stringify(answer)}`);
    const page = answer.body as T[];
    items.push(...page);
    if (page.length < PAGE) return items;
  }
}
