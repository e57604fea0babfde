// What a registered node sends: candidates, punches, another key.

import { describe, expect, test } from 'vitest';
import type { Endpoint } from '../../../src/base/ip.ts';
import type { Candidate, NodeId } from '../../../src/protocol/values.ts';
import { type Client, key, Lab } from './lab.ts';

function host(endpoint: string): Candidate {
  return { kind: 'host', endpoint: endpoint as Endpoint };
}

function observed(endpoint: string): Candidate {
  return { kind: 'observed', endpoint: endpoint as Endpoint };
}

function offer(client: Client, candidates: Candidate[], listenPort = 0): void {
  client.send({ type: 'candidates', candidates, listenPort });
}

describe('candidates', () => {
  test('reach the others as an operation of their own, only when they differ', () => {
    const lab = new Lab();
    const [node, watcher] = [lab.join(1), lab.join(2)];
    offer(node, [host('192.168.0.1:1')]);
    expect(watcher.last('delta').ops).toEqual([{ op: 'candidates', id: 1, candidates: [host('192.168.0.1:1')] }]);
    const { seq } = lab.core.state;
    offer(node, [host('192.168.0.1:1')]);
    expect(lab.core.state.seq).toBe(seq);
    expect(lab.store.nodes.get(1)?.candidates).toEqual([host('192.168.0.1:1')]);
  });

  test('get the address that the controller sees, with the port of the tunnel', () => {
    const lab = new Lab();
    const client = lab.join(1, { candidates: [host('10.0.0.5:51820')], listenPort: 51_820 }, '198.51.100.7');
    expect(client.last('welcome').self.candidates).toEqual([host('10.0.0.5:51820'), observed('198.51.100.7:51820')]);
    offer(client, [host('198.51.100.7:4000')], 4_000);
    expect(client.netmap.get(1)?.candidates).toEqual([host('198.51.100.7:4000')]);
    offer(client, [host('10.0.0.5:51820')]);
    expect(client.netmap.get(1)?.candidates).toEqual([host('10.0.0.5:51820')]);
  });

  test('get no loopback address, unless they are all of this machine', () => {
    const lab = new Lab();
    const register = (candidates: Candidate[]) => ({ candidates, listenPort: 5 });
    const selfOf = (client: Client) => client.last('welcome').self.candidates;
    expect(selfOf(lab.join(1, register([host('10.0.0.5:5')]), '127.0.0.1'))).toEqual([host('10.0.0.5:5')]);
    expect(selfOf(lab.join(2, register([host('127.0.0.9:5')]), '127.0.0.1'))).toEqual([
      host('127.0.0.9:5'),
      observed('127.0.0.1:5'),
    ]);
    expect(selfOf(lab.join(3, register([]), '::1'))).toEqual([observed('[::1]:5')]);
  });

  test('lose link-local ones, and stay within their number', () => {
    const lab = new Lab();
    const many = Array.from({ length: 16 }, (_, i) => host(`10.0.0.${i}:5`));
    const mixed = [host('[fe80::1%3]:5'), host('[fe80::2]:5'), host('10.0.0.1:5'), host('10.0.0.1:5')];
    const first = lab.join(1, { candidates: mixed, listenPort: 5 }, 'fe80::9').last('welcome').self;
    expect(first.candidates).toEqual([host('10.0.0.1:5')]);
    const second = lab.join(2, { candidates: many, listenPort: 5 }, '192.0.2.9').last('welcome').self;
    expect(second.candidates).toHaveLength(16);
    expect(second.candidates.at(-1)).toEqual(observed('192.0.2.9:5'));
  });

  test('that change too often are put off, and the newest arrive in the end', () => {
    const lab = new Lab();
    const [node, watcher] = [lab.join(1), lab.join(2)];
    const { seq } = lab.core.state;
    for (let i = 1; i <= 100; i++) offer(node, [host(`10.0.0.${i}:5`)]);
    expect(lab.core.state.seq - seq).toBe(10);
    expect(watcher.netmap.get(1)?.candidates).toEqual([host('10.0.0.10:5')]);
    lab.advance(1_000);
    expect(watcher.netmap.get(1)?.candidates).toEqual([host('10.0.0.100:5')]);
    expect(lab.core.state.seq - seq).toBe(11);
    expect(lab.core.counters.candidatesDeferred).toBe(90);
  });

  test('of a node that waits for approval are kept and told with it', () => {
    const lab = new Lab({ settings: { requireApproval: true } });
    const node = lab.join(1);
    offer(node, [host('10.0.0.1:5')]);
    expect(lab.core.state.seq).toBe(0);
    lab.ask({ action: 'nodes.approve', node: 1 as never });
    expect(node.netmap.get(1)?.candidates).toEqual([host('10.0.0.1:5')]);
  });
});

describe('punches', () => {
  const punch = (to: number, txid = 1) => ({
    type: 'punch' as const,
    to: to as NodeId,
    txid,
    reply: false,
    candidates: [host('10.0.0.1:5')],
  });

  test('are passed on at once, with who asks and what it is seen as', () => {
    const lab = new Lab();
    const [from, to] = [lab.join(1, { listenPort: 5 }, '198.51.100.7'), lab.join(2)];
    lab.storeWaits = true;
    from.send(punch(2, 77));
    expect(to.last('punch')).toEqual({
      type: 'punch',
      from: 1,
      txid: 77,
      reply: false,
      candidates: [host('10.0.0.1:5'), observed('198.51.100.7:5')],
    });
    expect(from.of('punch')).toEqual([]);
  });

  test('come after the news of who asks', () => {
    const lab = new Lab({ limits: { fanOutCostMs: 1_000 } });
    const to = lab.join(1);
    const from = lab.join(2);
    lab.join(3);
    expect(to.netmap.has(3)).toBe(false);
    from.send(punch(1));
    expect(to.netmap.has(2)).toBe(true);
    expect(to.inbox.findLastIndex(({ type }) => type === 'delta')).toBeLessThan(
      to.inbox.findIndex(({ type }) => type === 'punch'),
    );
  });

  test('go to nobody who is not in the netmap or has no connection, nor to oneself', () => {
    const lab = new Lab();
    const from = lab.join(1);
    lab.join(2).disconnect();
    for (const to of [1, 2, 3, 4_000_000]) from.send(punch(to));
    lab.ask({ action: 'settings.change', edit: { requireApproval: true } });
    const pending = lab.join(4);
    from.send(punch(3));
    pending.send(punch(1));
    expect(lab.clients.flatMap((client) => client.of('punch'))).toEqual([]);
    expect(lab.core.counters.punchesUnroutable).toBe(6);
    expect(from.closed).toBe(false);
  });

  test('are five at once and one a second for each pair and direction', () => {
    const lab = new Lab();
    const [a, b, c] = [lab.join(1), lab.join(2), lab.join(3)] as const;
    for (let i = 0; i < 20; i++) a.send(punch(2));
    expect(b.of('punch')).toHaveLength(5);
    expect(lab.core.counters.punchesLimited).toBe(15);
    c.send(punch(2));
    b.send(punch(1));
    expect([b.of('punch').length, a.of('punch').length]).toEqual([6, 1]);
    lab.advance(999);
    a.send(punch(2));
    expect(b.of('punch')).toHaveLength(6);
    lab.advance(1);
    a.send(punch(2));
    expect(b.of('punch')).toHaveLength(7);
  });

  test('of one node have a limit, whomever they are for; replies that were asked for do not count', () => {
    const lab = new Lab({ limits: { punchesOfNodeBurst: 3, punchesOfNodeIntervalMs: 100 } });
    const [from, ...others] = [1, 2, 3, 4, 5, 6].map((number) => lab.join(number)) as [Client, ...Client[]];
    const passed = () => others.reduce((sum, other) => sum + other.of('punch').length, 0);
    for (let to = 2; to <= 6; to++) from.send(punch(to));
    expect(passed()).toBe(3);
    expect(lab.core.counters.punchesLimited).toBe(2);
    // Nobody has asked for this one.
    from.send({ ...punch(6), reply: true });
    expect(passed()).toBe(3);
    for (const other of others) other.send(punch(1));
    for (let to = 2; to <= 6; to++) from.send({ ...punch(to), reply: true });
    expect(passed()).toBe(8);
    lab.advance(100);
    from.send(punch(6));
    from.send(punch(5));
    expect(passed()).toBe(9);
  });

  test('for a node that does not read are dropped, and it is not closed for them', () => {
    const lab = new Lab({ limits: { punchesQueuedMax: 3 } });
    const to = lab.join(1);
    const others = [2, 3, 4, 5, 6].map((number) => lab.join(number));
    to.slow = true;
    to.drain();
    for (const other of others) other.send(punch(1));
    expect(to.of('punch')).toHaveLength(3);
    expect(lab.core.counters.punchesDropped).toBe(2);
    expect(to.closed).toBe(false);
  });

  test('before the welcome are ignored', () => {
    const lab = new Lab();
    lab.join(1);
    expect(lab.connect(key(2)).send(punch(1)).errors).toEqual(['malformed']);
  });
});

describe('another key', () => {
  test('is durable, then granted, then told; the old one is a stranger', () => {
    const lab = new Lab();
    const [node, watcher] = [lab.join(1), lab.join(2)];
    lab.storeWaits = true;
    node.send({ type: 'rotateKey', publicKey: key(11) });
    expect(node.of('keyRotated')).toEqual([]);
    lab.storeWaits = false;
    lab.commit();
    expect(node.last('keyRotated').publicKey).toBe(key(11));
    expect(watcher.last('delta').ops).toMatchObject([{ op: 'put', node: { id: 1, publicKey: key(11) } }]);
    expect(lab.connect(key(1)).register().errors).toEqual(['unregistered']);
    const again = lab.connect(key(11)).remember(node).register();
    expect(again.last('welcome').self).toMatchObject({ id: 1, address4: '100.64.0.2' });
    expect(node.errors).toEqual(['replaced']);
  });

  test('leaves the connection on which it was changed at work', () => {
    const lab = new Lab();
    const [node, watcher] = [lab.join(1), lab.join(2)];
    node.send({ type: 'rotateKey', publicKey: key(11) });
    offer(node, [host('10.0.0.9:5')]);
    expect(watcher.netmap.get(1)?.candidates).toEqual([host('10.0.0.9:5')]);
    node.register({ hostname: 'host1' });
    expect(node.last('welcome').self.publicKey).toBe(key(11));
  });

  test('that another node has is refused, and the connection stays', () => {
    const lab = new Lab();
    const node = lab.join(1);
    lab.join(2);
    node.send({ type: 'rotateKey', publicKey: key(2) });
    expect(node.errors).toEqual(['keyInUse']);
    expect(node.closed).toBe(false);
    expect(lab.store.nodes.get(1)?.publicKey).toBe(key(1));
  });

  test('that it has already is granted again', () => {
    const lab = new Lab();
    const node = lab.join(1);
    node.send({ type: 'rotateKey', publicKey: key(11) }).send({ type: 'rotateKey', publicKey: key(11) });
    expect(node.of('keyRotated')).toHaveLength(2);
    expect(lab.store.audit.filter(({ action }) => action === 'nodes.rotate-key')).toHaveLength(1);
  });

  test('is not changed all the time', () => {
    const lab = new Lab();
    const node = lab.join(1);
    for (let i = 0; i < 10; i++) node.send({ type: 'rotateKey', publicKey: key(20 + i) });
    expect(node.of('keyRotated').length).toBeLessThan(6);
    expect(node.errors).toContain('rateLimited');
    expect(node.closed).toBe(false);
  });
});

test('a message that does not pass its schema is answered and ends the connection', () => {
  const lab = new Lab();
  const client = lab.join(1);
  lab.core.receivedMalformed(client.id, lab.clock);
  lab.run();
  expect([client.errors, client.closed]).toEqual([['malformed'], true]);
});

test('what still comes from a connection that was closed is ignored', () => {
  const lab = new Lab();
  const client = lab.join(1);
  lab.ask({ action: 'nodes.remove', node: 1 as never });
  client.send({ type: 'goodbye', reason: 'logout' });
  client.register();
  client.drain();
  client.disconnect();
  expect(lab.core.counters.messagesIgnored).toBe(2);
  expect(lab.core.connectionCount).toBe(0);
});
