// What `warren why` is told by the mesh engine, from what really happened between two nodes: each cause that a network can have, with
// the history of the paths. That each cause follows from its facts: test/unit/path/why.test.ts.

import { describe, expect, test } from 'vitest';
import type { Endpoint } from '../../../src/base/ip.ts';
import type { PathReport } from '../../../src/mesh/mesh-engine.ts';
import type { Mapping } from '../../../src/protocol/reach.ts';
import { type MeshNode, MeshWorld } from './mesh-world.ts';
import { onlyRelays, RelayedWorld } from './relay-node.ts';

function lab(relays = 1): { world: MeshWorld; alice: MeshNode; bob: MeshNode; relayed: RelayedWorld } {
  const world = new MeshWorld(11);
  const alice = world.addNode('alice', 2);
  const bob = world.addNode('bob', 2);
  const relayed = new RelayedWorld(world, relays);
  relayed.tellAll();
  world.run(4_000);
  return { world, alice, bob, relayed };
}

function report(node: MeshNode, other: MeshNode): PathReport {
  const told = node.mesh.pathReport(other.id, node.world.now);
  if (told === null) throw new Error('it is a peer');
  return told;
}

const causeAt = (told: PathReport, endpoint: Endpoint | undefined): string | undefined =>
  told.candidates.find(({ remote }) => remote === endpoint)?.cause;

function talk(world: MeshWorld, from: MeshNode, to: MeshNode, durationMs: number): void {
  for (let t = 0; t < durationMs; t += 100) {
    from.send(to, t);
    to.send(from, t);
    world.run(100);
  }
}

describe('a peer that nobody has spoken with', () => {
  test('has what would be tried, untested', () => {
    const { alice, bob } = lab();
    const told = report(alice, bob);
    expect(told).toMatchObject({ active: null, causes: [], advice: [] });
    expect(told.candidates.map(({ kind, state, cause }) => [kind, state, cause])).toEqual([
      ['host', 'untested', 'untested'],
      ['host', 'untested', 'untested'],
      ['relay', 'untested', 'untested'],
    ]);
    expect(alice.mesh.pathReport(999 as never, alice.world.now)).toBeNull();
    expect(alice.mesh.pathReport(101 as never, alice.world.now)).toBeNull();
  });
});

describe('a direct path', () => {
  test('is told with where the peer sees us, its round trip, and since when', () => {
    const { world, alice, bob } = lab();
    const wall = 1_700_000_000_000 + world.now;
    talk(world, alice, bob, 3_000);
    const told = report(alice, bob);
    expect(told.active).toMatchObject({ kind: 'direct', endpoint: bob.endpoints[0], relay: null, rttMs: 20 });
    expect((told.active?.since ?? 0) - wall).toBeLessThanOrEqual(50);
    expect(told.causes).toEqual([]);
    const [first, , relay] = told.candidates;
    expect(first).toMatchObject({ state: 'active', cause: 'works' });
    // As Bob sees it, whichever of her two she used.
    expect(alice.endpoints).toContain(first?.local);
    expect(first?.history.map(({ state }) => state)).toEqual(['probing', 'works']);
    expect(relay).toMatchObject({ kind: 'relay', relay: 101, cause: 'worse', local: null });
  });

  test('that fell silent has that in its history, and is back', () => {
    const { world, alice, bob, relayed } = lab();
    talk(world, alice, bob, 3_000);
    onlyRelays(world, relayed.relays);
    talk(world, alice, bob, 20_000);
    const told = report(alice, bob);
    expect(told.active?.kind).toBe('relay');
    expect(told.summary).toMatch(/^relayed by relay1/);
    const history = told.candidates.find(({ remote }) => remote === bob.endpoints[0])?.history ?? [];
    expect(history.map(({ state, cause }) => `${state} ${cause}`)).toContain('lost silent');
    expect(told.causes).toEqual(['filtered']);
    expect(told.advice.length).toBe(1);
  });
});

describe('a pair on the relay', () => {
  const blocked = (): ReturnType<typeof lab> => {
    const made = lab();
    onlyRelays(made.world, made.relayed.relays);
    // Bob tells his addresses by the netmap alone.
    made.world.losesPunch = () => true;
    return made;
  };
  const reach = (mapping: Mapping, udp: 'works' | 'blocked' = 'works') => ({ home: null, mapping, udp, url: null });

  test('because of firewalls', () => {
    const { world, alice, bob } = blocked();
    talk(world, alice, bob, 10_000);
    const told = report(alice, bob);
    expect([told.active?.kind, told.causes]).toEqual(['relay', ['filtered']]);
    expect(causeAt(told, bob.endpoints[0])).toBe('filtered');
  });

  test('because both NATs vary', () => {
    const { world, alice, bob } = blocked();
    alice.mesh.setLocalReach(reach('varies'));
    const home = alice.mesh.netmap.node(bob.id)?.reach?.home ?? null;
    const candidates = [{ kind: 'reflexive' as const, endpoint: '198.51.100.77:4000' as Endpoint }];
    alice.delta({ op: 'candidates', id: bob.id, candidates, reach: { ...reach('varies'), home } });
    talk(world, alice, bob, 10_000);
    expect(report(alice, bob).causes).toEqual(['mappingVaries']);
  });

  test('because no UDP leaves here', () => {
    const { world, alice, bob } = blocked();
    alice.mesh.setLocalReach(reach('unknown', 'blocked'));
    talk(world, alice, bob, 10_000);
    expect(report(alice, bob).causes).toEqual(['udpBlocked']);
  });

  test('because the one path works in one direction', () => {
    const { world, alice, bob } = lab();
    // What Bob sends directly arrives, and nothing of Alice's.
    world.network.blocked = ({ source, destination }) =>
      alice.endpoints.includes(source) && bob.endpoints.includes(destination);
    talk(world, alice, bob, 12_000);
    const told = report(alice, bob);
    expect(told.active?.kind).toBe('relay');
    expect(told.causes).toContain('oneWay');
  });

  test('because its only address is the outer one of our own NAT', () => {
    const { world, alice, bob } = blocked();
    const outer = '198.51.100.99:4000' as Endpoint;
    alice.act((mesh, now) =>
      mesh.setLocalCandidates([...alice.candidates(), { kind: 'observed', endpoint: outer }], now),
    );
    const reached = alice.mesh.netmap.node(bob.id)?.reach ?? null;
    const candidates = [{ kind: 'observed' as const, endpoint: '198.51.100.99:5000' as Endpoint }];
    alice.delta({ op: 'candidates', id: bob.id, candidates, reach: reached });
    talk(world, alice, bob, 10_000);
    expect(report(alice, bob).causes).toEqual(['hairpin']);
  });

  test('because it has no address of a family of ours', () => {
    const { world, alice, bob } = blocked();
    const reached = alice.mesh.netmap.node(bob.id)?.reach ?? null;
    const candidates = [{ kind: 'host' as const, endpoint: '[2001:db8::7]:4000' as Endpoint }];
    alice.delta({ op: 'candidates', id: bob.id, candidates, reach: reached });
    talk(world, alice, bob, 10_000);
    const told = report(alice, bob);
    expect(causeAt(told, '[2001:db8::7]:4000' as Endpoint)).toBe('noFamily');
    expect(told.causes).toEqual(['noCandidate', 'noFamily']);
  });
});

describe('no path at all', () => {
  test('to a peer that is off, and without a relay', () => {
    const { world, alice, bob } = lab(0);
    world.network.blocked = () => true;
    alice.delta({ op: 'presence', id: bob.id, online: false });
    alice.send(bob, 1);
    world.run(20_000);
    const told = report(alice, bob);
    expect(told.causes).toEqual(['peerOffline', 'noRelay']);
    expect(causeAt(told, bob.endpoints[0])).toBe('peerOffline');
    // Also when the attempt has been given up: somebody asks why the day after.
    world.run(200_000);
    expect(report(alice, bob).causes).toContain('peerOffline');
  });

  test('because of our own clock or key', () => {
    const { world, alice, bob } = lab(0);
    world.network.blocked = () => true;
    alice.send(bob, 1);
    world.run(20_000);
    const told = (troubles: { lockedOut: boolean; clockOff: boolean }): readonly string[] =>
      alice.mesh.pathReport(bob.id, world.now, troubles)?.causes ?? [];
    expect(told({ lockedOut: false, clockOff: true })[0]).toBe('clock');
    expect(told({ lockedOut: true, clockOff: false })[0]).toBe('keyExpired');
  });
});
