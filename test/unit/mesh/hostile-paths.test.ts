// A member that lies about where it is, and a controller that helps it: how much of it can be turned on third parties, and what of it moves
// anybody's packets.

import { describe, expect, test } from 'vitest';
import type { Endpoint } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import { encodePong } from '../../../src/mesh/frames.ts';
import { UNPROVED_BURST, UNPROVED_PER_SECOND } from '../../../src/mesh/mesh-peer.ts';
import { PEER_PROBES_PER_SECOND } from '../../../src/path/schedule.ts';
import type { Candidate } from '../../../src/protocol/values.ts';
import { connectedMeshPair, type MeshNode, type MeshWorld, meshPair } from './mesh-world.ts';

const VICTIMS = '198.18.';
const isVictim = ({ to }: { readonly to: Endpoint }): boolean => to.startsWith(VICTIMS);

function someVictims(prng: Prng): Candidate[] {
  return Array.from({ length: 16 }, () => ({
    kind: prng.pick(['host', 'observed', 'reflexive', 'mapped'] as const),
    endpoint: `${VICTIMS}${prng.nextInt(0, 255)}.${prng.nextInt(1, 254)}:${prng.nextInt(1, 65_535)}` as Endpoint,
  }));
}

/** Thirty seconds of punches and netmaps that name other people's addresses; what Alice sent there. */
function flood(world: MeshWorld, alice: MeshNode, bob: MeshNode, seed: number): number {
  const prng = new Prng(seed);
  world.log.length = 0;
  for (let step = 0; step < 600; step++) {
    const candidates = someVictims(prng);
    if (prng.chance(0.7)) {
      const punch = { type: 'punch', from: bob.id, txid: step, reply: prng.chance(0.5), candidates } as const;
      alice.act((mesh, now) => mesh.handlePunch({ ...punch, candidates }, now));
    } else alice.delta({ op: 'candidates', id: bob.id, candidates, reach: null });
    alice.send(bob, step);
    world.run(50);
  }
  return world.log.filter(isVictim).length;
}

const probed = PEER_PROBES_PER_SECOND * 31;
const unproved = UNPROVED_BURST + UNPROVED_PER_SECOND * 30;

describe('a peer that names the addresses of others', () => {
  test('while it has a session gets no more sent there than the budgets, and stays where it answers', () => {
    for (let seed = 1; seed <= 5; seed++) {
      const { world, alice, bob } = connectedMeshPair(1, seed);
      const sent = flood(world, alice, bob, seed);
      expect(sent).toBeGreaterThan(100);
      expect(sent, `seed ${seed}`).toBeLessThanOrEqual(probed + unproved);
      expect(alice.mesh.status(bob.id, world.now)?.endpoint).toBe(bob.endpoints[0]);
      expect(bob.sequencesFrom(alice).length).toBe(600);
    }
  });

  test('while it does not answer gets initiations there, within the budget, and they are counted', () => {
    const { world, alice, bob } = meshPair();
    world.network.blocked = () => true;
    const sent = flood(world, alice, bob, 9);
    expect(sent).toBeLessThanOrEqual(unproved + 600 / 6);
    expect(alice.mesh.counters.counts.unprovedLimited).toBeGreaterThan(0);
  });
});

describe('a peer that answers for paths that it cannot know of', () => {
  test('moves nothing with pongs of any txid, wherever they come from', () => {
    const { world, alice, bob } = connectedMeshPair();
    const prng = new Prng(4);
    const victim = someVictims(prng)[0] as Candidate;
    alice.delta({ op: 'candidates', id: bob.id, candidates: [victim, ...bob.candidates()], reach: null });
    const peer = [...bob.mesh.engine.peers()][0];
    if (peer === undefined) throw new Error('Bob has a peer');
    const before = alice.mesh.counters.counts.pongsUnexpected;
    for (let step = 0; step < 300; step++) {
      alice.send(bob, step);
      const txid = prng.nextU32();
      bob.act((_mesh, now) => bob.plane.sendFrame(peer.slot, encodePong(txid, Uint8Array.of(198, 18, 0, 1), 9), now));
      world.run(20);
    }
    expect(alice.mesh.counters.counts.pongsUnexpected).toBe(before + 300);
    expect(alice.mesh.status(bob.id, world.now)?.endpoint).toBe(bob.endpoints[0]);
    expect(alice.seen).toEqual([]);
    const told = alice.mesh.pathReport(bob.id, world.now);
    expect(told?.candidates.find(({ remote }) => remote === victim.endpoint)?.state).not.toBe('works');
  });
});
