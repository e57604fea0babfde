// Presence: announced with the welcome, taken back after a grace period, batched; and ephemeral nodes that stay away.

import { describe, expect, test } from 'vitest';
import { ADMIN, key, Lab } from './lab.ts';

function isOnline(lab: Lab, watcher: number, node: number): boolean | undefined {
  return lab.clients.find((client) => client.publicKey === key(watcher))?.netmap.get(node)?.online;
}

describe('a node that loses its connection', () => {
  test('is offline to the others after ten seconds', () => {
    const lab = new Lab();
    lab.join(1);
    lab.join(2).disconnect();
    lab.advance(9_999);
    expect(isOnline(lab, 1, 2)).toBe(true);
    lab.advance(1);
    expect(isOnline(lab, 1, 2)).toBe(false);
    expect(lab.store.nodes.get(2)).toMatchObject({ online: false, lastSeenAt: lab.wall });
  });

  test('and is back in time is not told to anyone', () => {
    const lab = new Lab();
    const watcher = lab.join(1);
    lab.join(2, { hostname: 'host' }).disconnect();
    const heard = watcher.inbox.length;
    lab.advance(9_000);
    lab.connect(key(2)).register();
    lab.advance(60_000);
    expect(watcher.inbox).toHaveLength(heard);
  });

  test('and comes back later is online with its welcome', () => {
    const lab = new Lab();
    lab.join(1);
    lab.join(2).disconnect();
    lab.advance(20_000);
    const again = lab.connect(key(2)).register();
    expect(again.last('welcome').self.online).toBe(true);
    expect(isOnline(lab, 1, 2)).toBe(true);
  });

  test('and is back just as its time runs out is not told to anyone, however slow the store is', () => {
    const lab = new Lab();
    const watcher = lab.join(1);
    lab.join(2, { hostname: 'host' }).disconnect();
    const heard = watcher.of('delta').length;
    lab.advance(9_000);
    lab.storeWaits = true;
    lab.core.administer({ action: 'settings.change', edit: { requireApproval: true } }, ADMIN, lab.clock);
    lab.run();
    const back = lab.connect(key(2)).register();
    lab.advance(2_000);
    expect(back.inbox).toEqual([]);
    lab.storeWaits = false;
    lab.commit();
    lab.advance(60_000);
    expect(back.last('welcome').self.online).toBe(true);
    expect(watcher.of('delta')).toHaveLength(heard);
  });

  test('with many others is announced with them, no more than one batch in 250 ms', () => {
    const lab = new Lab();
    const watcher = lab.join(1);
    const others = Array.from({ length: 40 }, (_, i) => lab.join(i + 2));
    const heard = watcher.of('delta').length;
    for (const other of others) {
      other.disconnect();
      lab.advance(10);
      lab.core.handleDeadline(lab.clock);
    }
    for (let i = 0; i < 2_000; i++) {
      lab.advance(10);
      lab.core.handleDeadline(lab.clock);
      lab.run();
    }
    const deltas = watcher.of('delta').slice(heard);
    expect(deltas.flatMap(({ ops }) => ops)).toHaveLength(40);
    expect(deltas.length).toBeLessThanOrEqual(3);
  });
});

describe('goodbye', () => {
  test('down: offline at once, without the grace period', () => {
    const lab = new Lab();
    lab.join(1);
    const leaver = lab.join(2).send({ type: 'goodbye', reason: 'down' });
    expect(leaver.closed).toBe(true);
    expect(isOnline(lab, 1, 2)).toBe(false);
    const heard = lab.core.state.seq;
    lab.advance(60_000);
    expect(lab.core.state.seq).toBe(heard);
  });

  test('down on an old connection does not take a newer one off', () => {
    const lab = new Lab();
    const old = lab.join(1);
    lab.connect(key(1)).register();
    old.send({ type: 'goodbye', reason: 'down' });
    lab.advance(60_000);
    expect(isOnline(lab, 1, 1)).toBe(true);
  });

  test('down and back in the same moment ends online', () => {
    const lab = new Lab();
    const watcher = lab.join(9);
    const old = lab.join(1);
    lab.storeWaits = true;
    lab.core.administer({ action: 'settings.change', edit: { requireApproval: true } }, ADMIN, lab.clock);
    lab.run();
    expect(lab.holdsBatch).toBe(true);
    old.send({ type: 'goodbye', reason: 'down' });
    const back = lab.connect(key(1)).register();
    lab.storeWaits = false;
    lab.commit();
    lab.advance(60_000);
    expect(watcher.netmap.get(2)?.online).toBe(true);
    expect(back.last('welcome').self.online).toBe(true);
  });

  test('logout: the node is forgotten, and its key is a stranger', () => {
    const lab = new Lab();
    lab.join(1);
    lab.join(2).send({ type: 'goodbye', reason: 'logout' });
    expect(isOnline(lab, 1, 2)).toBeUndefined();
    expect(lab.store.nodes.has(2)).toBe(false);
    expect(lab.store.audit.at(-1)).toMatchObject({ actor: 'node host2', action: 'nodes.logout', target: '2' });
    expect(lab.connect(key(2)).register().errors).toEqual(['unregistered']);
  });
});

describe('an ephemeral node', () => {
  test('is removed five minutes after it went', () => {
    const lab = new Lab();
    const watcher = lab.join(1);
    const { secret } = lab.authKey({ ephemeral: true });
    lab.connect(key(2)).register({ authKey: secret }).disconnect();
    lab.advance(299_999);
    expect(watcher.netmap.has(2)).toBe(true);
    lab.advance(1);
    expect(watcher.netmap.has(2)).toBe(false);
    expect(lab.store.nodes.has(2)).toBe(false);
    expect(lab.store.audit.at(-1)).toMatchObject({ actor: 'controller', action: 'nodes.remove' });
    expect(lab.connect(key(2)).register().errors).toEqual(['nodeRemoved']);
  });

  test('stays when it comes back, and when the controller restarts in between has its time anew', () => {
    const lab = new Lab();
    const { secret } = lab.authKey({ ephemeral: true });
    const first = lab.connect(key(1)).register({ authKey: secret });
    first.disconnect();
    lab.advance(250_000);
    lab.connect(key(1)).register().disconnect();
    lab.advance(250_000);
    expect(lab.store.nodes.has(1)).toBe(true);
    lab.restart();
    lab.advance(299_999);
    expect(lab.store.nodes.has(1)).toBe(true);
    lab.advance(100_000);
    expect(lab.store.nodes.has(1)).toBe(false);
  });

  test('that is back just as its time runs out stays, however slow the store is', () => {
    const lab = new Lab();
    const { secret } = lab.authKey({ ephemeral: true });
    lab.connect(key(1)).register({ authKey: secret }).disconnect();
    lab.advance(299_000);
    lab.storeWaits = true;
    lab.core.administer({ action: 'settings.change', edit: { requireApproval: true } }, ADMIN, lab.clock);
    lab.run();
    const back = lab.connect(key(1)).register();
    lab.advance(2_000);
    lab.storeWaits = false;
    lab.commit();
    expect(back.last('welcome').self.id).toBe(1);
    expect(lab.store.nodes.has(1)).toBe(true);
  });

  test('that was online when the controller stopped is removed too, if it never returns', () => {
    const lab = new Lab();
    const { secret } = lab.authKey({ ephemeral: true });
    lab.connect(key(1)).register({ authKey: secret });
    lab.restart();
    lab.advance(90_000 + 300_000);
    expect(lab.store.nodes.size).toBe(0);
  });
});

test('a controller whose nodes are all there has nothing to wake up for', () => {
  const lab = new Lab();
  for (let number = 1; number <= 5; number++) lab.join(number);
  expect(lab.core.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
});

test('a controller that stops tells its nodes and announces nobody', () => {
  const lab = new Lab();
  const clients = [lab.join(1), lab.join(2)];
  const { seq } = lab.core.state;
  lab.core.goAway(lab.clock);
  lab.run();
  expect(clients.map((client) => [client.errors, client.closed])).toEqual([
    [['goingAway'], true],
    [['goingAway'], true],
  ]);
  expect(lab.core.state.seq).toBe(seq);
});
