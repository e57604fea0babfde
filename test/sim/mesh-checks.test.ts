// The checks of the simulated mesh can fail, and its store and streams do what they say: what is not durable is lost, what is
// sent arrives in order or not at all.

import { describe, expect, test } from 'vitest';
import { type Instant, NEVER, type WallTime } from '../../src/base/instant.ts';
import type { IpAddress, IpPrefix } from '../../src/base/ip.ts';
import { Prng } from '../../src/base/prng.ts';
import type { ConnectionId } from '../../src/controller/state/commands.ts';
import type { AuthKeyRecord, Change, NodeRecord, Settings } from '../../src/controller/state/model.ts';
import { netmapNodeOf } from '../../src/controller/state/state-view.ts';
import type { Delta } from '../../src/protocol/control.ts';
import type { NetmapOp } from '../../src/protocol/netmap.ts';
import type { NodeId, NodeName, PublicKeyText } from '../../src/protocol/values.ts';
import { EventQueue } from '../../src/sim/event-queue.ts';
import { Committed } from '../../src/sim/mesh/committed.ts';
import { ControlStream } from '../../src/sim/mesh/control-stream.ts';
import { MemoryStore } from '../../src/sim/mesh/memory-store.ts';
import type { Scheduler } from '../../src/sim/network.ts';

class Clock implements Scheduler {
  now = 0 as Instant;
  readonly #events = new EventQueue();

  schedule(delayMs: number, run: () => void): void {
    this.#events.add((this.now + delayMs) as Instant, run);
  }

  run(untilMs: number): void {
    for (let at = this.#events.nextAt() ?? NEVER; at <= untilMs; at = this.#events.nextAt() ?? NEVER) {
      this.now = at;
      this.#events.take()?.run();
    }
    this.now = untilMs as Instant;
  }
}

const SETTINGS: Settings = {
  networkName: 'net',
  prefix4: '10.0.0.0/24' as IpPrefix,
  prefix6: 'fd00::/64' as IpPrefix,
  requireApproval: false,
  epoch: 'epoch-0123456789',
  nextNodeId: 1,
  nextHost: 2,
  nextAuditId: 1,
};

function node(id: number, edit: Partial<NodeRecord> = {}): NodeRecord {
  return {
    id: id as NodeId,
    publicKey: `${String.fromCharCode(64 + id).repeat(42)}A=` as PublicKeyText,
    name: `node${id}` as NodeName,
    hostname: `node${id}`,
    address4: `10.0.0.${id}` as IpAddress,
    address6: `fd00::${id}` as IpAddress,
    tags: [],
    ephemeral: false,
    approved: true,
    disabled: false,
    expiresAt: null,
    createdAt: 0 as WallTime,
    lastSeenAt: null,
    online: true,
    reach: null,
    candidates: [],
    os: '',
    software: '',
    joinedWith: null,
    ...edit,
  };
}

const put = (record: NodeRecord): Change => ({ kind: 'putNode', node: record });
const logged = (seq: number, op: NetmapOp): Change => ({ kind: 'op', entry: { seq, op } });

function committed() {
  const violations: string[] = [];
  return { it: new Committed((what) => violations.push(what)), violations };
}

describe('what is committed and told', () => {
  test('is silent about a history that is sound, and about what is told of it', () => {
    const { it, violations } = committed();
    const op: NetmapOp = { op: 'put', node: netmapNodeOf(node(1)) };
    it.durable([put(node(1)), logged(1, op)]);
    const delta: Delta = { type: 'delta', from: 0, seq: 1, ops: [op], ack: false };
    it.told({ kind: 'sendShared', conn: 1 as ConnectionId, shared: { message: delta } });
    it.told({ kind: 'answered', ticket: 1 as never, answer: { ok: true, result: { kind: 'node', node: node(1) } } });
    expect(violations).toEqual([]);
  });

  test('notices a delta and an answer that come before the commit', () => {
    const { it, violations } = committed();
    const op: NetmapOp = { op: 'put', node: netmapNodeOf(node(1)) };
    const delta: Delta = { type: 'delta', from: 0, seq: 1, ops: [op], ack: false };
    it.told({ kind: 'sendShared', conn: 1 as ConnectionId, shared: { message: delta } });
    it.told({ kind: 'answered', ticket: 1 as never, answer: { ok: true, result: { kind: 'node', node: node(1) } } });
    expect(violations).toEqual([
      expect.stringContaining('told operation 1; 0 are durable'),
      expect.stringContaining('answered before it was durable'),
    ]);
  });

  test('notices a delta that leaves something out', () => {
    const { it, violations } = committed();
    it.durable([put(node(1)), logged(1, { op: 'put', node: netmapNodeOf(node(1)) })]);
    it.durable([put(node(2)), logged(2, { op: 'put', node: netmapNodeOf(node(2)) })]);
    const ops: NetmapOp[] = [{ op: 'put', node: netmapNodeOf(node(2)) }];
    const message: Delta = { type: 'delta', from: 0, seq: 2, ops, ack: false };
    it.told({ kind: 'sendShared', conn: 1 as ConnectionId, shared: { message } });
    expect(violations).toEqual([expect.stringContaining('the delta 0–2 says of node 1 undefined')]);
  });

  test.each([
    ['a name', { name: 'node1' as NodeName }],
    ['an address', { address4: '10.0.0.1' as IpAddress }],
    ['a key', { publicKey: node(1).publicKey }],
  ])('notices %s that two nodes have', (_what, edit) => {
    const { it, violations } = committed();
    it.durable([put(node(1)), put(node(2, edit))]);
    expect(violations).toEqual([expect.stringMatching(/^nodes 1 and 2 both have/)]);
  });

  test('notices a node id that is given twice, and a record that others are not told of', () => {
    const { it, violations } = committed();
    it.durable([put(node(1)), logged(1, { op: 'put', node: netmapNodeOf(node(1)) })]);
    it.durable([put(node(1, { name: 'other' as NodeName }))]);
    it.durable([{ kind: 'deleteNode', id: 1 as NodeId }, logged(2, { op: 'remove', id: 1 as NodeId })]);
    it.durable([put(node(1))]);
    expect(violations).toEqual([
      expect.stringMatching(/^node 1 is told as .* and recorded as/),
      'node id 1 was given twice',
    ]);
  });

  test('notices an auth key for one machine that lets in two', () => {
    const { it, violations } = committed();
    it.durable([{ kind: 'putAuthKey', key: { id: 'k_1', reusable: false, uses: 0 } as AuthKeyRecord }]);
    it.durable([put(node(1, { joinedWith: 'k_1' }))]);
    expect(violations).toEqual([]);
    it.durable([put(node(2, { joinedWith: 'k_1' }))]);
    expect(violations).toEqual(['auth key k_1 for one machine let in 2']);
  });
});

describe('the simulated store', () => {
  test('loses at a crash what was not durable, keeps what was, and tells of neither', () => {
    let lost = 0;
    let kept = 0;
    for (let seed = 1; seed <= 40; seed++) {
      const clock = new Clock();
      const store = new MemoryStore(SETTINGS, 100, clock, new Prng(seed));
      store.conditions = { commitMs: 10, toldMs: 10, failure: 0 };
      let told = false;
      store.commit([put(node(1))], () => {
        told = true;
      });
      clock.run(6);
      if (told) continue;
      store.crash();
      clock.run(100);
      expect(told).toBe(false);
      if (store.load().nodes.length === 1) kept++;
      else lost++;
      expect(store.counts).toMatchObject({ lost: 1 - store.load().nodes.length, untold: store.load().nodes.length });
    }
    expect(lost).toBeGreaterThan(0);
    expect(kept).toBeGreaterThan(0);
  });

  test('stores nothing of a transaction that fails', () => {
    const clock = new Clock();
    const store = new MemoryStore(SETTINGS, 100, clock, new Prng(1));
    store.conditions = { commitMs: 10, toldMs: 10, failure: 1 };
    const told: boolean[] = [];
    store.commit([put(node(1))], (stored) => told.push(stored));
    clock.run(100);
    expect([told, store.load().nodes]).toEqual([[false], []]);
  });
});

describe('a simulated connection', () => {
  function connection(seed: number) {
    const clock = new Clock();
    const got: string[] = [];
    const stream = new ControlStream({
      id: 1 as ConnectionId,
      publicKey: node(1).publicKey,
      remoteAddress: '192.0.2.1' as IpAddress,
      conditions: () => ({ latencyMs: 10, jitterMs: 100, writeMs: 20 }),
      pingIntervalMs: 1_000,
      scheduler: clock,
      prng: new Prng(seed),
      tap: () => undefined,
      controller: {
        accepted: () => got.push('accepted'),
        message: (_stream, message) => got.push(message.type === 'ack' ? `ack ${message.seq}` : message.type),
        drained: () => undefined,
        closed: () => got.push('controller closed'),
      },
      node: {
        opened: () => got.push('opened'),
        message: (_stream, message) => got.push(message.type === 'delta' ? `delta ${message.seq}` : message.type),
        heard: () => undefined,
        closed: () => got.push('node closed'),
      },
    });
    return { clock, got, stream };
  }

  test('keeps the order of each direction', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const { clock, got, stream } = connection(seed);
      clock.run(500);
      got.length = 0;
      for (let seq = 1; seq <= 5; seq++) {
        stream.nodeSends({ type: 'ack', seq });
        stream.controllerSends(JSON.stringify({ type: 'delta', from: 0, seq, ops: [] }), true);
      }
      stream.nodeCloses();
      clock.run(2_000);
      const up = got.filter((what) => !what.startsWith('delta'));
      expect(up).toEqual(['ack 1', 'ack 2', 'ack 3', 'ack 4', 'ack 5', 'controller closed']);
    }
  });

  test('that falls silent loses everything, and the controller notices after three pings', () => {
    const { clock, got, stream } = connection(1);
    clock.run(500);
    got.length = 0;
    stream.fallsSilent(false);
    stream.nodeSends({ type: 'ack', seq: 1 });
    clock.run(2_900);
    expect(got).toEqual([]);
    clock.run(6_000);
    expect(got).toEqual(['controller closed']);
  });
});
