// The netmap reducer: what each update changes, what makes it ask for everything anew, and how a person's word finds a node.

import { describe, expect, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { Netmap, type NetmapChange } from '../../../src/mesh/netmap.ts';
import type { Delta, Snapshot } from '../../../src/protocol/control.ts';
import type { NetmapNode, NetmapOp } from '../../../src/protocol/netmap.ts';
import type { NodeId } from '../../../src/protocol/values.ts';
import { EPOCH, NETWORK } from './mesh-world.ts';
import { nodeRecord } from './node-record.ts';

const id = (n: number): NodeId => n as NodeId;

function snapshot(nodes: readonly NetmapNode[], seq = 0): Snapshot {
  return { type: 'snapshot', epoch: EPOCH as Snapshot['epoch'], seq, network: NETWORK, nodes: [...nodes] };
}

function delta(from: number, ...ops: NetmapOp[]): Delta {
  return { type: 'delta', from, seq: from + ops.length, ops, ack: false };
}

/** Node 1 is us; 2 and 3 are the others. */
function netmap(): Netmap {
  const map = new Netmap();
  map.setSelf(nodeRecord(1), NETWORK);
  map.applySnapshot(snapshot([1, 2, 3].map((n) => nodeRecord(n))));
  return map;
}

function changesOf(map: Netmap, ...ops: NetmapOp[]): readonly NetmapChange[] {
  const result = map.applyDelta(delta(map.position?.seq ?? 0, ...ops));
  if (result.kind !== 'applied') throw new Error(result.reason);
  return result.changes;
}

describe('a snapshot', () => {
  test('adds everyone but ourselves', () => {
    const map = new Netmap();
    expect(map.setSelf(nodeRecord(1), NETWORK).map(({ kind }) => kind)).toEqual(['self', 'network']);
    const changes = map.applySnapshot(
      snapshot(
        [1, 2, 3].map((n) => nodeRecord(n)),
        7,
      ),
    );
    expect(changes).toEqual([2, 3].map((n) => ({ kind: 'added', node: nodeRecord(n) })));
    expect(map.position).toEqual({ epoch: EPOCH, seq: 7 });
    expect(map.size).toBe(2);
  });

  test('after another one tells only the differences', () => {
    const map = netmap();
    const renamed = nodeRecord(3, { name: 'other' as never });
    const changes = map.applySnapshot(snapshot([nodeRecord(1), renamed, nodeRecord(4)], 9));
    expect(changes).toEqual([
      { kind: 'removed', before: nodeRecord(2) },
      { kind: 'changed', before: nodeRecord(3), node: renamed, aspects: ['renamed'] },
      { kind: 'added', node: nodeRecord(4) },
    ]);
  });

  test('without our own record leaves what the welcome said', () => {
    const map = netmap();
    map.applySnapshot(snapshot([nodeRecord(2)]));
    expect(map.self).toEqual(nodeRecord(1));
  });

  test('from before we knew who we are does not leave us our own peer', () => {
    const map = new Netmap();
    map.applySnapshot(snapshot([1, 2].map((n) => nodeRecord(n))));
    const changes = map.setSelf(nodeRecord(1), NETWORK);
    expect(changes[0]).toEqual({ kind: 'removed', before: nodeRecord(1) });
    expect([...map.nodes()]).toEqual([nodeRecord(2)]);
  });
});

describe('a delta', () => {
  test('tells for each node what is different of it', () => {
    const map = netmap();
    const two = nodeRecord(2);
    const candidates = nodeRecord(9).candidates;
    expect(changesOf(map, { op: 'candidates', id: id(2), candidates })).toEqual([
      { kind: 'changed', before: two, node: { ...two, candidates }, aspects: ['candidates'] },
    ]);
    const next = { ...two, candidates, online: false };
    expect(changesOf(map, { op: 'presence', id: id(2), online: false })).toEqual([
      { kind: 'changed', before: { ...two, candidates }, node: next, aspects: ['presence'] },
    ]);
    const all = nodeRecord(2, { name: 'b' as never, tags: ['x'], address4: '100.64.9.9' as never });
    expect(changesOf(map, { op: 'put', node: all })).toEqual([
      { kind: 'changed', before: next, node: all, aspects: ['candidates', 'addresses', 'renamed', 'tags', 'presence'] },
    ]);
    const rekeyed = { ...all, publicKey: nodeRecord(7).publicKey };
    expect(changesOf(map, { op: 'put', node: rekeyed })).toEqual([{ kind: 'rekeyed', before: all, node: rekeyed }]);
    expect(changesOf(map, { op: 'remove', id: id(2) })).toEqual([{ kind: 'removed', before: rekeyed }]);
  });

  test('that says what is known already changes nothing', () => {
    const map = netmap();
    expect(changesOf(map, { op: 'put', node: nodeRecord(2) }, { op: 'presence', id: id(3), online: true })).toEqual([]);
    expect(map.position?.seq).toBe(2);
  });

  test('counts as a whole: who comes and goes in it was never there, two who swap names have swapped them', () => {
    const map = netmap();
    expect(changesOf(map, { op: 'put', node: nodeRecord(4) }, { op: 'remove', id: id(4) })).toEqual([]);
    const [two, three] = [nodeRecord(2), nodeRecord(3)];
    const changes = changesOf(
      map,
      { op: 'put', node: { ...two, name: three.name } },
      { op: 'put', node: { ...three, name: two.name } },
    );
    expect(changes.map((change) => change.kind === 'changed' && change.aspects)).toEqual([['renamed'], ['renamed']]);
    expect(map.find(two.name)).toMatchObject({ kind: 'found', node: { id: 3 } });
  });

  test('that does not begin where the netmap ends asks for a resync and changes nothing', () => {
    const map = netmap();
    const before = JSON.stringify(map.save());
    for (const from of [1, -1, 5]) {
      expect(map.applyDelta(delta(from, { op: 'remove', id: id(2) }))).toEqual({ kind: 'resync', reason: 'gap' });
    }
    expect(map.applyDelta({ ...delta(0), seq: -1 })).toEqual({ kind: 'resync', reason: 'gap' });
    expect(new Netmap().applyDelta(delta(0))).toEqual({ kind: 'resync', reason: 'noSnapshot' });
    expect(JSON.stringify(map.save())).toBe(before);
  });

  test('that removes a node that was never known only moves the position: it came and went in between', () => {
    const map = netmap();
    const size = map.size;
    expect(map.applyDelta(delta(0, { op: 'remove', id: id(9) }))).toEqual({ kind: 'applied', changes: [] });
    expect([map.size, map.position?.seq]).toEqual([size, delta(0, { op: 'remove', id: id(9) }).seq]);
    const gone: NetmapOp[] = [
      { op: 'remove', id: id(2) },
      { op: 'presence', id: id(2), online: true },
    ];
    expect(netmap().applyDelta(delta(0, ...gone))).toEqual({ kind: 'resync', reason: 'unknownId' });
    const later: NetmapOp[] = [
      { op: 'remove', id: id(9) },
      { op: 'presence', id: id(9), online: true },
    ];
    expect(netmap().applyDelta(delta(0, ...later))).toEqual({ kind: 'resync', reason: 'unknownId' });
  });

  test('about an unknown node asks for a resync and changes nothing, also when what stands before it is sound', () => {
    const unknown: NetmapOp[] = [
      { op: 'presence', id: id(9), online: true },
      { op: 'candidates', id: id(9), candidates: [] },
    ];
    for (const op of unknown) {
      const map = netmap();
      const before = JSON.stringify(map.save());
      const result = map.applyDelta(delta(0, { op: 'put', node: nodeRecord(4) }, op));
      expect(result).toEqual({ kind: 'resync', reason: 'unknownId' });
      expect(JSON.stringify(map.save())).toBe(before);
    }
    const added = netmap().applyDelta(
      delta(0, { op: 'put', node: nodeRecord(4) }, { op: 'presence', id: id(4), online: false }),
    );
    expect(added.kind).toBe('applied');
  });

  test('about ourselves changes our own record', () => {
    const map = netmap();
    const self = nodeRecord(1, { name: 'me' as never });
    expect(changesOf(map, { op: 'put', node: self })).toEqual([{ kind: 'self', node: self }]);
    expect(map.self).toEqual(self);
    expect(changesOf(map, { op: 'remove', id: id(1) })).toEqual([{ kind: 'self', node: null }]);
    expect(map.size).toBe(2);
  });

  test('about the network changes it', () => {
    const map = netmap();
    const network = { ...NETWORK, name: 'other' };
    expect(changesOf(map, { op: 'network', network })).toEqual([{ kind: 'network', network }]);
    expect(changesOf(map, { op: 'network', network })).toEqual([]);
  });
});

describe('any sequence of deltas', () => {
  test('leads to the netmap that a snapshot of its end gives, and its changes lead there too', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const prng = new Prng(seed);
      const map = netmap();
      const truth = new Map(([2, 3] as const).map((n) => [n as number, nodeRecord(n)]));
      const followed = new Map(truth);
      for (let step = 0; step < 20; step++) {
        const ops = Array.from({ length: prng.nextInt(0, 5) }, () => randomOp(prng, truth));
        for (const change of changesOf(map, ...ops)) follow(followed, change);
        expect(sorted(map.nodes())).toEqual(sorted(truth.values()));
        expect(sorted(followed.values())).toEqual(sorted(truth.values()));
      }
      const fresh = netmap();
      fresh.applySnapshot(snapshot([...truth.values()], map.position?.seq));
      expect(sorted(fresh.nodes())).toEqual(sorted(map.nodes()));
      expect(map.applySnapshot(snapshot([...truth.values()]))).toEqual([]);
    }
  });
});

function sorted(nodes: Iterable<NetmapNode>): NetmapNode[] {
  return [...nodes].sort((a, b) => a.id - b.id);
}

function follow(nodes: Map<number, NetmapNode>, change: NetmapChange): void {
  if (change.kind === 'added' || change.kind === 'rekeyed' || change.kind === 'changed') {
    expect(nodes.get(change.node.id)).toEqual(change.kind === 'added' ? undefined : change.before);
    nodes.set(change.node.id, change.node);
  } else if (change.kind === 'removed') {
    expect(nodes.delete(change.before.id)).toBe(true);
  }
}

/** A sound operation, applied to `truth` too. */
function randomOp(prng: Prng, truth: Map<number, NetmapNode>): NetmapOp {
  const known = [...truth.values()];
  const node = known.length === 0 ? undefined : prng.pick(known);
  const kind = node === undefined ? 0 : prng.nextInt(0, 4);
  if (node === undefined || kind <= 1) {
    const n = prng.nextInt(2, 9);
    const over = prng.chance(0.3) ? { publicKey: nodeRecord(prng.nextInt(10, 20)).publicKey } : {};
    const next = nodeRecord(n, { ...over, tags: prng.chance(0.5) ? ['a'] : [], online: prng.chance(0.5) });
    truth.set(n, next);
    return { op: 'put', node: next };
  }
  if (kind === 2) {
    truth.delete(node.id);
    return { op: 'remove', id: node.id };
  }
  const next =
    kind === 3
      ? { ...node, online: !node.online }
      : { ...node, candidates: nodeRecord(prng.nextInt(20, 30)).candidates };
  truth.set(node.id, next);
  return kind === 3
    ? { op: 'presence', id: node.id, online: next.online }
    : { op: 'candidates', id: node.id, candidates: next.candidates };
}

describe('a person finds a node', () => {
  const map = netmap();
  map.applySnapshot(
    snapshot([
      nodeRecord(1),
      nodeRecord(2, { name: 'build' as never }),
      nodeRecord(3, { name: 'build-arm' as never }),
      nodeRecord(4, { name: 'db-primary' as never }),
      nodeRecord(5, { name: 'db-replica' as never }),
    ]),
  );
  const foundId = (query: string): unknown => {
    const found = map.find(query);
    return found.kind === 'found' || found.kind === 'self' ? found.node.id : found.kind;
  };

  test('by its name, in any case and with a final dot, also where another begins with it', () => {
    expect(foundId('build')).toBe(2);
    expect(foundId(' BUILD. ')).toBe(2);
    expect(foundId('build-arm')).toBe(3);
  });

  test('by either address, by its id, by its public key', () => {
    const three = nodeRecord(3);
    for (const query of [three.address4, three.address6, three.address6.toUpperCase(), '3', three.publicKey]) {
      expect(foundId(query)).toBe(3);
    }
  });

  test('by the beginning of its name, if there is only one', () => {
    expect(foundId('build-')).toBe(3);
    expect(foundId('db-p')).toBe(4);
    const found = map.find('db');
    expect(found).toMatchObject({ kind: 'ambiguous', nodes: [{ id: 4 }, { id: 5 }] });
  });

  test('or is told that it is this one, or that there is none', () => {
    expect(map.find('node-1')).toMatchObject({ kind: 'self', node: { id: 1 } });
    expect(map.find('100.64.0.1')).toMatchObject({ kind: 'self' });
    for (const query of ['', 'nobody', '99', '100.64.0.99', '.']) expect(foundId(query)).toBe('unknown');
  });
});

describe('on disk', () => {
  test('it is what it was, and only what is different since then changes', () => {
    const map = netmap();
    changesOf(map, { op: 'put', node: nodeRecord(4) });
    const saved = map.save();
    if (saved === null) throw new Error('there is something to save');
    const again = new Netmap();
    const changes = again.restore(JSON.parse(JSON.stringify(saved)));
    expect(changes.map(({ kind }) => kind)).toEqual(['self', 'network', 'added', 'added', 'added']);
    expect(again.save()).toEqual(saved);
    expect(again.restore(saved)).toEqual([]);
    expect(again.applyDelta(delta(1, { op: 'remove', id: id(4) })).kind).toBe('applied');
  });

  test('there is nothing before the first snapshot, and nothing after it is cleared', () => {
    const map = new Netmap();
    expect(map.save()).toBeNull();
    map.setSelf(nodeRecord(1), NETWORK);
    expect(map.save()).toBeNull();
    const full = netmap();
    expect(full.clear().map(({ kind }) => kind)).toEqual(['removed', 'removed']);
    expect([full.save(), full.size, full.self]).toEqual([null, 0, null]);
  });
});
