// Who is sent what of the netmap: shared messages, slow connections, snapshots for who fell behind, rounds under load.

import { describe, expect, test } from 'vitest';
import { compactOps } from '../../../src/controller/state/compact.ts';
import type { Output } from '../../../src/controller/state/outputs.ts';
import type { NodeName } from '../../../src/protocol/values.ts';
import { ADMIN, type Client, key, Lab } from './lab.ts';

function rename(lab: Lab, node: number, name: string): void {
  lab.ask({ action: 'nodes.rename', node: node as never, name: name as NodeName });
}

/** As it is in the state. */
function names(lab: Lab): string[] {
  return [...lab.core.state.nodes()].map(({ name }) => name);
}

function namesAt(client: Client): string[] {
  return [...client.netmap.values()].sort((a, b) => a.id - b.id).map(({ name }) => name);
}

describe('one message for all that need the same', () => {
  test('a delta to many connections is one object', () => {
    const lab = new Lab();
    for (let number = 1; number <= 20; number++) lab.join(number);
    const shared: Output[] = [];
    lab.core.administer({ action: 'nodes.rename', node: 1 as never, name: 'new' as NodeName }, ADMIN, lab.clock);
    const batch = lab.core.takeBatch(lab.clock);
    lab.store.commit(batch ?? []);
    lab.core.batchCommitted(lab.clock);
    for (const output of lab.core.takeOutputs()) if (output.kind === 'sendShared') shared.push(output);
    expect(shared).toHaveLength(20);
    expect(new Set(shared.map((output) => output.kind === 'sendShared' && output.shared)).size).toBe(1);
  });

  test('the snapshot is made anew only when it is far behind', () => {
    const lab = new Lab({ trusting: true });
    for (let number = 1; number <= 200; number++) lab.join(number);
    lab.advance(1_000);
    // 1, then one for each 64 operations.
    expect(lab.core.counters.snapshotsBuilt).toBe(4);
    expect(lab.core.counters.snapshotsSent).toBe(200);
    for (const client of lab.clients) expect(namesAt(client)).toEqual(names(lab));
  });
});

describe('a slow connection', () => {
  test('is sent one delta when it has room, of all that happened', () => {
    const lab = new Lab();
    const slow = lab.join(1);
    lab.join(2);
    slow.slow = true;
    const heard = slow.inbox.length;
    for (let i = 0; i < 50; i++) rename(lab, 2, `name-${i}`);
    expect(slow.inbox).toHaveLength(heard + 1);
    slow.slow = false;
    slow.drain();
    lab.run();
    expect(slow.inbox).toHaveLength(heard + 2);
    expect(namesAt(slow)).toEqual(names(lab));
  });

  test('that comes back has what it missed right behind the welcome', () => {
    const lab = new Lab();
    const first = lab.join(1);
    lab.join(2);
    first.disconnect();
    rename(lab, 2, 'other');
    const again = lab.connect(key(1)).remember(first);
    again.slow = true;
    again.register({ hostname: 'host1' });
    expect(again.inbox.map(({ type }) => type)).toEqual(['welcome', 'delta']);
  });

  test('whose place is off the log is sent a snapshot', () => {
    const lab = new Lab({ limits: { loggedOpsMax: 40 } });
    const slow = lab.join(1);
    lab.join(2);
    slow.slow = true;
    for (let i = 0; i < 100; i++) rename(lab, 2, `name-${i}`);
    slow.slow = false;
    slow.drain();
    lab.run();
    expect(slow.of('snapshot')).toHaveLength(2);
    expect(namesAt(slow)).toEqual(names(lab));
  });

  test('so far behind that a delta would be larger than the network is sent a snapshot', () => {
    const lab = new Lab({ limits: { deltaOpsMax: 20 } });
    const slow = lab.join(1);
    lab.join(2);
    slow.slow = true;
    for (let i = 0; i < 30; i++) rename(lab, 2, `name-${i}`);
    slow.slow = false;
    slow.drain();
    lab.run();
    expect(slow.of('snapshot')).toHaveLength(2);
    expect(namesAt(slow)).toEqual(names(lab));
  });

  test('holds up nobody', () => {
    const lab = new Lab();
    const slow = lab.join(1);
    const other = lab.join(2);
    slow.slow = true;
    for (let i = 0; i < 10; i++) rename(lab, 1, `name-${i}`);
    expect(namesAt(other)).toEqual(['name-9', 'host2']);
  });

  test('that reads nothing at all is closed when too much of its own waits', () => {
    const lab = new Lab({ limits: { ownMessagesMax: 8, registerBurst: 100 } });
    const slow = lab.join(1);
    slow.slow = true;
    for (let i = 0; i < 20 && !slow.closed; i++) slow.send({ type: 'rotateKey', publicKey: key(100 + i) });
    expect(slow.closed).toBe(true);
    expect(slow.inbox.length).toBeLessThan(15);
    expect(lab.core.counters.closedTooSlow).toBe(1);
  });
});

describe('many connections', () => {
  const MANY = 300;

  test('are told of the first change at once and of those that follow together', () => {
    const lab = new Lab({ trusting: true });
    for (let number = 1; number <= MANY; number++) lab.join(number);
    lab.advance(1_000);
    const watcher = lab.clients[0] as Client;
    const heard = watcher.of('delta').length;
    rename(lab, 5, 'first');
    expect(watcher.of('delta')).toHaveLength(heard + 1);
    for (let i = 0; i < 20; i++) rename(lab, 5, `later-${i}`);
    expect(watcher.of('delta')).toHaveLength(heard + 1);
    // 300 connections × 0.12 ms.
    lab.advance(36);
    expect(watcher.of('delta')).toHaveLength(heard + 2);
    expect(watcher.netmap.get(5)?.name).toBe('later-19');
    expect(watcher.last('delta').ops.length).toBeLessThanOrEqual(20);
  });

  test('that join at once are not told of each other one by one', () => {
    const lab = new Lab({ trusting: true });
    const { secret } = lab.authKey({ reusable: true });
    for (let number = 1; number <= MANY; number++) lab.connect(key(number)).register({ authKey: secret });
    const sent = lab.core.counters.deltasSent;
    lab.advance(1_000);
    expect(sent + lab.core.counters.deltasSent).toBeLessThan((MANY * MANY) / 8);
    for (const client of lab.clients) expect(namesAt(client)).toEqual(names(lab));
  });
});

describe('operations of one delta', () => {
  const node = (id: number, edit: object = {}) =>
    ({
      id,
      name: `n${id}`,
      publicKey: key(id),
      address4: `10.0.0.${id}`,
      address6: `fd00::${id}`,
      tags: [],
      candidates: [],
      online: true,
      ...edit,
    }) as never;
  const put = (id: number, edit: object = {}) => ({ op: 'put', node: node(id, edit) }) as const;
  const remove = (id: number) => ({ op: 'remove', id: id as never }) as const;
  const presence = (id: number, online: boolean) => ({ op: 'presence', id: id as never, online }) as const;
  const host = [{ kind: 'host', endpoint: '192.0.2.1:1' }] as never;
  const candidates = (id: number) => ({ op: 'candidates', id: id as never, candidates: host }) as const;

  test('fold news of a node into where it was put', () => {
    expect(compactOps([put(1), candidates(1), put(2), presence(1, false)])).toEqual([
      put(1, { candidates: host, online: false }),
      put(2),
    ]);
  });

  test('keep the last of each kind of news', () => {
    expect(compactOps([presence(1, false), candidates(1), presence(1, true), presence(1, false)])).toEqual([
      presence(1, false),
      candidates(1),
    ]);
  });

  test('say nothing of a node that was removed but that', () => {
    expect(compactOps([put(1), candidates(1), put(2), remove(1)])).toEqual([remove(1), put(2)]);
  });

  test('end the session of a node that was removed and put again', () => {
    expect(compactOps([remove(1), put(1), presence(1, false)])).toEqual([remove(1), put(1, { online: false })]);
  });

  test('keep the order in which a name changes hands', () => {
    const ops = [put(1, { name: 'free' }), put(2, { name: 'n1' }), put(1, { name: 'n2' })];
    expect(compactOps(ops)).toEqual(ops);
  });

  test('put a node once when only its tags change', () => {
    expect(compactOps([put(1), put(2), put(1, { tags: ['x'] })])).toEqual([put(1, { tags: ['x'] }), put(2)]);
  });
});
