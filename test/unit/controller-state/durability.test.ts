// Nothing is told before it is durable; a batch that fails leaves nothing half done; a restart goes on where the store is.

import { describe, expect, test } from 'vitest';
import type { WallTime } from '../../../src/base/instant.ts';
import type { NodeId } from '../../../src/protocol/values.ts';
import { ADMIN, key, Lab } from './lab.ts';

const REGISTER = {
  type: 'register' as const,
  version: 1,
  software: '',
  os: '',
  hostname: 'host',
  resume: null,
  candidates: [],
  listenPort: 0,
};

describe('until a batch is committed', () => {
  test('nobody is welcomed, answered or told, and the state is as before', () => {
    const lab = new Lab();
    const { secret } = lab.authKey();
    const other = lab.join(9);
    lab.storeWaits = true;
    const client = lab.connect(key(1)).register({ authKey: secret });
    expect(lab.holdsBatch).toBe(true);
    expect(client.inbox).toEqual([]);
    expect([...other.netmap.keys()]).toEqual([1]);
    expect([lab.core.state.nodeCount, lab.core.state.seq, lab.core.isIdle]).toEqual([1, 1, false]);
    lab.commit();
    expect(client.last('welcome').self.id).toBe(2);
    expect([...other.netmap.keys()]).toEqual([1, 2]);
    expect(lab.core.isIdle).toBe(true);
  });

  test('what comes meanwhile waits, and is one batch after it', () => {
    const lab = new Lab();
    const { secret } = lab.authKey({ reusable: true });
    const batches = lab.core.counters.batchesCommitted;
    lab.storeWaits = true;
    const clients = [1, 2, 3, 4, 5].map((number) => lab.connect(key(number)).register({ authKey: secret }));
    lab.commit();
    expect(clients.map((client) => client.of('welcome').length)).toEqual([1, 0, 0, 0, 0]);
    lab.commit();
    expect(clients.map((client) => client.nodeId)).toEqual([1, 2, 3, 4, 5]);
    expect(lab.core.counters.batchesCommitted).toBe(batches + 2);
    expect(new Set([...lab.store.nodes.values()].map(({ address4 }) => address4)).size).toBe(5);
    expect(new Set([...lab.store.nodes.values()].map(({ name }) => name)).size).toBe(5);
  });

  test('and what is stored of settings and a key is their last record alone', () => {
    const lab = new Lab();
    const { secret } = lab.authKey({ reusable: true });
    const clients = [1, 2, 3, 4, 5].map((number) => lab.connect(key(number)));
    for (const client of clients) lab.core.received(client.id, { ...REGISTER, authKey: secret }, lab.clock);
    const batch = lab.core.takeBatch(lab.clock) ?? [];
    const kinds = batch.map(({ kind }) => kind);
    expect(
      ['putNode', 'op', 'audit', 'putAuthKey', 'settings'].map((kind) => kinds.filter((k) => k === kind).length),
    ).toEqual([5, 5, 5, 1, 1]);
    lab.store.commit(batch);
    lab.core.batchCommitted(lab.clock);
    expect(lab.store.settings).toMatchObject({ nextNodeId: 6, nextHost: 7, nextAuditId: 7 });
  });

  test('a later command of a batch sees the earlier ones', () => {
    const lab = new Lab();
    const node = lab.join(1).nodeId;
    const ask = (name: string) =>
      lab.core.administer({ action: 'nodes.rename', node, name: name as never }, ADMIN, lab.clock);
    const tickets = [ask('one'), ask('two'), ask('two')];
    const other = lab.core.administer({ action: 'nodes.remove', node }, ADMIN, lab.clock);
    const late = ask('three');
    lab.run();
    expect(tickets.map((ticket) => lab.answer(ticket)?.ok)).toEqual([true, true, true]);
    expect(lab.answer(other)).toMatchObject({ ok: true, result: { node: { name: 'two' } } });
    expect(lab.answer(late)).toMatchObject({ ok: false, refusal: { code: 'nodeNotFound' } });
    expect(lab.store.audit.slice(-3).map(({ action }) => action)).toEqual([
      'nodes.rename',
      'nodes.rename',
      'nodes.remove',
    ]);
  });

  test('a node that gave up waiting joins nothing and uses no key up', () => {
    const lab = new Lab();
    const { secret, id } = lab.authKey();
    lab.storeWaits = true;
    lab.core.administer({ action: 'settings.change', edit: { requireApproval: true } }, ADMIN, lab.clock);
    lab.run();
    const client = lab.connect(key(1)).register({ authKey: secret });
    client.disconnect();
    lab.storeWaits = false;
    lab.commit();
    expect(lab.core.state.nodeCount).toBe(0);
    expect(lab.store.authKeys.get(id)?.uses).toBe(0);
  });

  test('a node that left while it was stored is announced as offline after the grace period', () => {
    const lab = new Lab();
    const watcher = lab.join(9);
    const { secret } = lab.authKey();
    lab.storeWaits = true;
    lab.connect(key(1)).register({ authKey: secret }).disconnect();
    lab.storeWaits = false;
    lab.commit();
    expect(watcher.netmap.get(2)?.online).toBe(true);
    lab.advance(10_000);
    expect(watcher.netmap.get(2)?.online).toBe(false);
  });
});

describe('a batch that fails', () => {
  test('leaves the state as the store is, refuses every ticket and closes who asked', () => {
    const lab = new Lab();
    const { secret } = lab.authKey();
    const bystander = lab.join(1);
    const asker = lab.join(2);
    const stored = lab.store.load();
    lab.storeFails = true;
    const ticket = lab.core.administer(
      { action: 'nodes.rename', node: 1 as never, name: 'x' as never },
      ADMIN,
      lab.clock,
    );
    const joiner = lab.connect(key(3)).register({ authKey: secret });
    asker.send({ type: 'rotateKey', publicKey: key(22) });
    expect(lab.answer(ticket)).toMatchObject({ ok: false, refusal: { code: 'internal' } });
    expect([joiner.errors, asker.errors, bystander.errors]).toEqual([['internal'], ['internal'], []]);
    expect([joiner.closed, asker.closed, bystander.closed]).toEqual([true, true, false]);
    expect(lab.store.load()).toEqual(stored);
    expect([...lab.core.state.nodes()]).toEqual(stored.nodes);
    expect(lab.core.state.settings).toEqual(stored.settings);
    expect(lab.core.lastFailure).toBe('disk full');
    lab.storeFails = false;
    expect(lab.connect(key(3)).register({ authKey: secret }).last('welcome').self.id).toBe(3);
    expect(lab.connect(key(2)).register().last('welcome').self.id).toBe(2);
    expect(lab.core.lastFailure).toBe(null);
  });

  test('of what fell due by itself is tried again', () => {
    const lab = new Lab();
    const watcher = lab.join(1);
    lab.join(2).disconnect();
    const expiring = lab.join(3);
    const edit = { expiresAt: (lab.wall + 10_000) as WallTime };
    lab.ask({ action: 'nodes.change', node: expiring.nodeId, edit });
    lab.storeFails = true;
    lab.advance(15_000);
    expect([watcher.netmap.get(2)?.online, expiring.closed]).toEqual([true, false]);
    lab.storeFails = false;
    lab.advance(2_000);
    expect([watcher.netmap.get(2)?.online, watcher.netmap.has(3)]).toEqual([false, false]);
    expect(expiring.errors).toEqual(['nodeExpired']);
  });
});

describe('a restart', () => {
  test('resumes nodes without telling anyone anything', () => {
    const lab = new Lab();
    const before = [1, 2, 3].map((number) => lab.join(number));
    lab.restart(5_000);
    const again = before.map((client, i) =>
      lab
        .connect(client.publicKey)
        .remember(client)
        .register({ hostname: `host${i + 1}` }),
    );
    lab.advance(200_000);
    expect(again.flatMap((client) => client.inbox.map(({ type }) => type))).toEqual(['welcome', 'welcome', 'welcome']);
    expect(lab.core.counters.batchesCommitted).toBe(0);
  });

  test('announces those who stay away together, once, after ninety seconds', () => {
    const lab = new Lab();
    const first = lab.join(1);
    for (let number = 2; number <= 30; number++) lab.join(number);
    lab.restart();
    const again = lab.connect(key(1)).remember(first).register({ hostname: 'host1' });
    // The first was sent all joins as they came.
    expect(again.of('delta')).toEqual([]);
    lab.advance(89_999);
    expect(again.of('delta')).toEqual([]);
    lab.advance(1);
    expect(again.of('delta')).toHaveLength(1);
    expect([...again.netmap.values()].filter(({ online }) => online).map(({ id }) => id)).toEqual([1]);
  });

  test('does not bring an expired node back into the netmap because the clock was set back', () => {
    const lab = new Lab();
    const watcher = lab.join(1);
    const { nodeId } = lab.join(2);
    lab.ask({ action: 'nodes.expire', node: nodeId });
    lab.wall = (lab.wall - 3_600_000) as WallTime;
    lab.restart();
    const again = lab.connect(watcher.publicKey).register({ hostname: 'host1' });
    expect(again.netmap.has(nodeId)).toBe(false);
    lab.ask({ action: 'nodes.remove', node: nodeId });
    lab.advance(1_000);
    expect(lab.store.log.filter(({ op }) => op.op === 'remove')).toHaveLength(1);
  });

  test('does not bring in a node that was approved after its time had run out', () => {
    const lab = new Lab({ settings: { requireApproval: true } });
    const watcher = lab.join(1);
    const pending = lab.join(2);
    const [first, second] = [...lab.core.state.nodes()];
    lab.ask({ action: 'nodes.approve', node: first?.id as NodeId });
    lab.ask({ action: 'nodes.expire', node: second?.id as NodeId });
    lab.ask({ action: 'nodes.approve', node: second?.id as NodeId });
    lab.restart();
    const again = lab.connect(watcher.publicKey).register({ hostname: 'host1' });
    expect([...again.netmap.keys()]).toEqual([first?.id]);
    expect(lab.connect(pending.publicKey).register({ hostname: 'host2' }).errors).toEqual(['nodeExpired']);
  });

  test('goes on with numbers: ids, hosts, operations and audit records', () => {
    const lab = new Lab();
    lab.join(1);
    const client = lab.join(2);
    lab.ask({ action: 'nodes.remove', node: client.nodeId });
    lab.restart();
    const next = lab.join(3);
    expect(next.last('welcome').self).toMatchObject({ id: 3, address4: '100.64.0.4' });
    expect(lab.store.log.map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
    expect(lab.store.audit.map(({ id }) => id)).toEqual(lab.store.audit.map((_, i) => i + 1));
  });
});
