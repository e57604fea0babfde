// What every store must do, as one suite over each of them: records come back as they went in, a commit is whole or
// nothing, commits are one after another, the history is bounded, and refusals say why.

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Change, LOGGED_OPS_MAX } from '../../src/controller/state/model.ts';
import { AUDIT_PAGE_MAX, COMMITS_WAITING_MAX, TRIM_BATCH } from '../../src/controller/store/limits.ts';
import type { Store } from '../../src/controller/store/store.ts';
import {
  audit,
  authKey,
  deleteNode,
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
} from './lib/records.ts';

/** One place where a store can be, empty at first. */
export interface Place {
  /** Opens it; again after the store was closed, as a restarted controller does. */
  open(): Promise<Store>;
  /** How many rows of a table there are, seen from outside of the store. Called while no store is open. */
  countRows(table: string): Promise<number>;
  remove(): Promise<void>;
}

export function describeStore(name: string, makePlace: () => Promise<Place>): void {
  describe(`the store on ${name}`, () => {
    let place: Place;
    let store: Store;

    async function reopen(): Promise<Store> {
      await store.close();
      store = await place.open();
      return store;
    }

    async function loaded() {
      const state = await store.load();
      if (state === null) throw new Error('there is no network in it');
      return state;
    }

    beforeEach(async () => {
      place = await makePlace();
      store = await place.open();
    });

    afterEach(async () => {
      await store.close();
      await place.remove();
    });

    describe('before the first start', () => {
      test('holds nothing', async () => {
        expect(await store.load()).toBeNull();
        expect(await store.audit(null, 10)).toEqual({ records: [], next: null });
      });

      test('refuses to commit or to give a key, and says that there is no network yet', async () => {
        await expect(store.commit([putNode(node(1))])).rejects.toMatchObject({
          code: 'notInitialized',
          what: expect.stringContaining('holds no network yet'),
          help: expect.stringContaining('warren controller'),
        });
        await expect(store.privateKey()).rejects.toMatchObject({ code: 'notInitialized' });
        expect(await (await reopen()).load()).toBeNull();
      });

      test('refuses a key of another length', async () => {
        await expect(store.initialize(settings(), new Uint8Array(31))).rejects.toThrow('32 bytes');
        expect(await store.load()).toBeNull();
      });
    });

    describe('the first start', () => {
      test('keeps settings and key, over a restart too', async () => {
        const key = Uint8Array.from(PRIVATE_KEY);
        const initialized = store.initialize(settings(), key);
        // The caller's copy is the caller's: zeroed before it is stored.
        key.fill(0);
        await initialized;
        for (const _ of [1, 2]) {
          expect(await loaded()).toEqual({ settings: settings(), nodes: [], authKeys: [], tokens: [], log: [] });
          expect(await store.privateKey()).toEqual(PRIVATE_KEY);
          await reopen();
        }
      });

      test('gives a copy of the key that the caller may zero', async () => {
        await store.initialize(settings(), PRIVATE_KEY);
        (await store.privateKey()).fill(0);
        expect(await store.privateKey()).toEqual(PRIVATE_KEY);
      });

      test('happens once', async () => {
        await store.initialize(settings(), PRIVATE_KEY);
        const again = () => store.initialize(settings({ networkName: 'other' }), new Uint8Array(32));
        await expect(again()).rejects.toMatchObject({ code: 'alreadyInitialized' });
        await reopen();
        await expect(again()).rejects.toMatchObject({
          code: 'alreadyInitialized',
          what: expect.stringContaining('holds a network already'),
        });
        expect((await loaded()).settings).toEqual(settings());
        expect(await store.privateKey()).toEqual(PRIVATE_KEY);
      });
    });

    describe('with a network', () => {
      beforeEach(() => store.initialize(settings(), PRIVATE_KEY));

      test('gives every record back as it went in', async () => {
        const changed = settings({
          requireApproval: false,
          nextNodeId: 2 ** 40,
          nextAuditId: 7,
          epoch: '-_09azAZ09azAZ09',
        });
        await store.commit([
          ...numbers(1, 12).map((n) => putNode(node(n))),
          ...numbers(1, 6).map((n) => putAuthKey(authKey(n))),
          ...numbers(1, 4).map((n) => putToken(token(n))),
          ...numbers(1, 3).map((n) => putAudit(audit(n))),
          ...numbers(1, 5).map((n) => putOp(op(n))),
          putSettings(changed),
        ]);
        for (const _ of [1, 2]) {
          expect(await loaded()).toEqual({
            settings: changed,
            nodes: numbers(1, 12).map((n) => node(n)),
            authKeys: numbers(1, 6).map((n) => authKey(n)),
            tokens: numbers(1, 4).map((n) => token(n)),
            log: numbers(1, 5).map((n) => op(n)),
          });
          expect((await store.audit(null, 10)).records).toEqual([3, 2, 1].map((n) => audit(n)));
          await reopen();
        }
      });

      test('takes any text that a machine may call itself', async () => {
        await store.commit([
          putNode(node(1, { hostname: "'; drop table node; --", os: '', software: '%s $1 ? :x @y' })),
          putNode(node(2, { hostname: 'zero \0 byte', os: '\u{10ffff}', software: '\u200f\u0001\u007f' })),
        ]);
        expect((await loaded()).nodes).toMatchObject([
          { hostname: "'; drop table node; --", os: '', software: '%s $1 ? :x @y' },
          { hostname: 'zero \u{fffd} byte', os: '\u{10ffff}', software: '\u200f\u0001\u007f' },
        ]);
      });

      test('a record that is put again replaces the old one; one that is deleted is gone', async () => {
        await store.commit([putNode(node(1)), putNode(node(2)), putAuthKey(authKey(1)), putToken(token(2))]);
        const used = authKey(1, { uses: 9, lastUsedAt: authKey(5).createdAt });
        const revoked = token(2, { revokedAt: token(5).createdAt });
        const moved = node(1, {
          online: false,
          name: node(7).name,
          address4: node(7).address4,
          candidates: [],
          tags: [],
        });
        await store.commit([putNode(moved), deleteNode(2), deleteNode(3), putAuthKey(used), putToken(revoked)]);
        await reopen();
        expect(await loaded()).toMatchObject({ nodes: [moved], authKeys: [used], tokens: [revoked] });
      });

      test('changes are applied in their order', async () => {
        const [a, b, spare] = [node(1), node(2), node(3)].map(({ name, publicKey }) => ({ name, publicKey })) as [
          Partial<ReturnType<typeof node>>,
          Partial<ReturnType<typeof node>>,
          Partial<ReturnType<typeof node>>,
        ];
        await store.commit([putNode(node(1)), putNode(node(2))]);
        await store.commit([
          // Two nodes exchange their names and keys by a third name, as only an order can.
          putNode(node(1, spare)),
          putNode(node(2, a)),
          putNode(node(1, b)),
          putSettings(settings({ nextHost: 5 })),
          putNode(node(9)),
          deleteNode(9),
          putNode(node(8, { name: node(9).name })),
          deleteNode(8),
          putNode(node(8, { online: true })),
          putNode(node(8, { online: false })),
          putSettings(settings({ nextHost: 6 })),
        ]);
        const state = await loaded();
        expect(state.nodes).toEqual([node(1, b), node(2, a), node(8, { online: false })]);
        expect(state.settings.nextHost).toBe(6);
      });

      test('applying a commit twice does no harm', async () => {
        const changes = [putNode(node(1)), putOp(op(1)), putAudit(audit(1)), putAuthKey(authKey(1)), deleteNode(4)];
        await store.commit(changes);
        const once = await loaded();
        await store.commit(changes);
        expect(await loaded()).toEqual(once);
        expect((await store.audit(null, 10)).records).toEqual([audit(1)]);
      });

      test('an empty commit is one', async () => {
        await store.commit([]);
        expect((await loaded()).nodes).toEqual([]);
      });

      test('a commit that cannot be made whole leaves nothing of itself, and the next one works', async () => {
        await store.commit([putNode(node(1))]);
        const before = await loaded();
        const twice = node(3, { name: node(1).name });
        await expect(
          store.commit([putNode(node(2)), putOp(op(1)), putSettings(settings({ nextHost: 99 })), putNode(twice)]),
        ).rejects.toThrow(/unique/i);
        expect(await loaded()).toEqual(before);
        await store.commit([putNode(node(2))]);
        await reopen();
        expect((await loaded()).nodes).toEqual([node(1), node(2)]);
      });

      test('a name, a key or an address is never stored for two nodes', async () => {
        await store.commit([putNode(node(1))]);
        for (const field of ['name', 'publicKey', 'address4', 'address6'] as const) {
          await expect(store.commit([putNode(node(2, { [field]: node(1)[field] }))])).rejects.toThrow(/unique/i);
        }
      });

      test('thousands of changes in one commit', async () => {
        const records = numbers(1, 3000).map((n) => node(n));
        await store.commit(records.flatMap((record, i) => [putNode(record), putOp(op(i + 1))]));
        await reopen();
        const state = await loaded();
        expect(state.nodes).toEqual(records);
        expect(state.log).toEqual(numbers(1, 3000).map((n) => op(n)));
      });

      test('commits that are called at once are made one after another, in the order of the calls', async () => {
        const resolved: number[] = [];
        await Promise.all(
          numbers(1, 50).map(async (n) => {
            await store.commit([putNode(node(1, { hostname: `after ${n}` })), putOp(op(n))]);
            resolved.push(n);
          }),
        );
        expect(resolved).toEqual(numbers(1, 50));
        const state = await loaded();
        expect(state.nodes[0]?.hostname).toBe('after 50');
        expect(state.log).toHaveLength(50);
      });

      test('a load among commits sees whole ones', async () => {
        const writes = numbers(1, 30).map((n) =>
          store.commit([putNode(node(1, { hostname: `${n}` })), putSettings(settings({ nextHost: n })), putOp(op(n))]),
        );
        const states = await Promise.all(numbers(1, 5).map(() => loaded()));
        await Promise.all(writes);
        for (const state of states) {
          expect(state.nodes[0]?.hostname).toBe(`${state.settings.nextHost}`);
          expect(state.log.at(-1)?.seq).toBe(state.settings.nextHost);
        }
      });

      test('commits that wait behind one that fails are refused with it', async () => {
        await store.commit([putNode(node(1))]);
        const failing = store.commit([putNode(node(2, { name: node(1).name }))]);
        const behind = store.commit([putNode(node(3))]);
        await expect(failing).rejects.toThrow(/unique/i);
        await expect(behind).rejects.toMatchObject({ code: 'afterFailure' });
        expect((await loaded()).nodes).toEqual([node(1)]);
        await store.commit([putNode(node(3))]);
        expect((await loaded()).nodes).toEqual([node(1), node(3)]);
      });

      test('more waiting commits than a limit are refused', async () => {
        const results = await Promise.allSettled(
          numbers(1, COMMITS_WAITING_MAX + 2).map((n) => store.commit([putOp(op(n))])),
        );
        expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(COMMITS_WAITING_MAX + 1);
        expect(results.at(-1)).toMatchObject({ status: 'rejected', reason: { code: 'overloaded' } });
      });

      test('the history keeps its last operations and is cut in batches, not at each commit', async () => {
        const chunk = 10_000;
        const put = (first: number, count: number) => store.commit(numbers(first, count).map((n) => putOp(op(n))));
        for (let first = 1; first <= LOGGED_OPS_MAX; first += chunk) await put(first, chunk);
        await put(LOGGED_OPS_MAX + 1, TRIM_BATCH);
        expect((await loaded()).log).toHaveLength(LOGGED_OPS_MAX);
        await store.close();
        expect(await place.countRows('log')).toBe(LOGGED_OPS_MAX + TRIM_BATCH);
        // One more, after a restart: the batch goes.
        store = await place.open();
        const last = LOGGED_OPS_MAX + TRIM_BATCH + 1;
        await put(last, 1);
        const { log } = await loaded();
        expect(log).toHaveLength(LOGGED_OPS_MAX);
        expect(log[0]?.seq).toBe(last - LOGGED_OPS_MAX + 1);
        expect(log.at(-1)).toEqual(op(last));
        await store.close();
        expect(await place.countRows('log')).toBe(LOGGED_OPS_MAX);
      }, 120_000);

      test('audit records come by page, newest first, each once', async () => {
        const count = AUDIT_PAGE_MAX + 50;
        await store.commit(numbers(1, count).map((n) => putAudit(audit(n))));
        const first = await store.audit(null, 20);
        expect(first.records.map(({ id }) => id)).toEqual(numbers(count - 19, 20).reverse());
        const seen: number[] = [];
        for (let before: number | null = null; ; ) {
          const page = await store.audit(before, 333);
          seen.push(...page.records.map(({ id }) => id));
          before = page.next;
          if (before === null) break;
        }
        expect(seen).toEqual(numbers(1, count).reverse());
      });

      test('a page of the audit log is never longer than its limit, and is not empty without reason', async () => {
        await store.commit(numbers(1, AUDIT_PAGE_MAX + 1).map((n) => putAudit(audit(n))));
        expect((await store.audit(null, 1e9)).records).toHaveLength(AUDIT_PAGE_MAX);
        expect((await store.audit(null, 0)).records).toHaveLength(1);
        expect(await store.audit(1, 10)).toEqual({ records: [], next: null });
      });

      test('closing lets the commits that were called finish, and refuses later ones', async () => {
        const commits = numbers(1, 20).map((n) => store.commit([putNode(node(n))]));
        const closing = store.close();
        await expect(store.commit([putNode(node(99))])).rejects.toMatchObject({ code: 'closed' });
        await expect(store.load()).rejects.toMatchObject({ code: 'closed' });
        await Promise.all([...commits, closing, store.close()]);
        store = await place.open();
        expect((await loaded()).nodes).toHaveLength(20);
      });

      test('random commits leave what a plain model says, over restarts', async () => {
        const expected = new Map<number, ReturnType<typeof node>>();
        let seed = 12345;
        const random = (below: number) => {
          seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
          return (seed >>> 8) % below;
        };
        for (let round = 0; round < 40; round++) {
          const changes: Change[] = [];
          for (let i = random(20); i >= 0; i--) {
            const n = 1 + random(30);
            if (random(3) === 0) {
              changes.push(deleteNode(n));
              expected.delete(n);
            } else {
              const record = node(n, { hostname: `round ${round} ${i}`, online: random(2) === 0 });
              changes.push(putNode(record));
              expected.set(n, record);
            }
          }
          await store.commit(changes);
          if (round % 10 === 9) await reopen();
          const { nodes } = await loaded();
          expect(nodes).toEqual([...expected.values()].sort((a, b) => a.id - b.id));
        }
      });
    });
  });
}
