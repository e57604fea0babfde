// Two nodes that learn of each other in any order and at any time, with any delays, some of their addresses of no use: the
// first packet is there within round trips of the moment from which they could know enough.

import { describe, expect, test } from 'vitest';
import type { Endpoint } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import { CROSSING_HOLD_MS, HURRIED_INTERVAL_MS } from '../../../src/wireguard/constants.ts';
import { type MeshNode, MeshWorld } from './mesh-world.ts';

interface Run {
  readonly world: MeshWorld;
  readonly alice: MeshNode;
  readonly bob: MeshNode;
  /** From when on both have all of the other's record. */
  readonly knownAt: number;
  readonly firstSentAt: number;
  readonly bothSend: boolean;
}

/** Plans a run; nothing has happened yet. */
function plan(seed: number): Run {
  const prng = new Prng(seed);
  const world = new MeshWorld(seed);
  const addresses = prng.nextInt(1, 3);
  const alice = world.addNode('alice', addresses);
  const bob = world.addNode('bob', addresses);
  world.network.conditions.latencyMs = prng.nextInt(1, 120);
  world.controllerLegMs = prng.nextInt(1, 120);
  // Of each node's addresses one works, in both directions.
  alice.leavesFrom = prng.pick(alice.endpoints);
  bob.leavesFrom = prng.pick(bob.endpoints);
  const works = new Set<Endpoint>([alice.leavesFrom, bob.leavesFrom]);
  world.network.blocked = ({ destination }) => !works.has(destination);
  const bothSend = prng.chance(0.4);
  let knownAt = world.now as number;
  let firstSentAt = Number.POSITIVE_INFINITY;
  for (const [node, other] of [
    [alice, bob],
    [bob, alice],
  ] as const) {
    const toldAt = prng.nextInt(0, 400);
    const late = prng.chance(0.3) ? prng.nextInt(0, 400) : 0;
    world.schedule(toldAt, () => node.snapshot([late > 0 ? other.record({ candidates: [] }) : other.record()]));
    if (late > 0) {
      const op = { op: 'candidates', id: other.id, candidates: other.candidates() } as const;
      world.schedule(toldAt + late, () => node.delta(op));
    }
    knownAt = Math.max(knownAt, world.now + toldAt + late);
    if (node === bob && !bothSend) continue;
    const sendAt = toldAt + prng.nextInt(0, 300);
    world.schedule(sendAt, () => node.send(other, 1));
    firstSentAt = Math.min(firstSentAt, world.now + sendAt);
  }
  return { world, alice, bob, knownAt, firstSentAt, bothSend };
}

describe('two nodes that learn of each other in any order', () => {
  test('exchange their first packet within a few round trips, whatever came first', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const run = plan(seed);
      const { world, alice, bob } = run;
      const met = (): boolean => bob.arrivals.length > 0 && (!run.bothSend || alice.arrivals.length > 0);
      expect(world.runUntil(met, 10_000), `seed ${seed} met`).toBe(true);
      const { latencyMs } = world.network.conditions;
      // A punch there and its reply back, the spacing of initiations, the handshake and the packet; and a crossing's hold.
      const bound = 4 * world.controllerLegMs + HURRIED_INTERVAL_MS + 3 * latencyMs + CROSSING_HOLD_MS;
      // Who sends second may have to wait for his own send.
      const from = Math.max(run.knownAt, run.firstSentAt) + (run.bothSend ? 700 : 0);
      expect(world.now - from, `seed ${seed} in time`).toBeLessThanOrEqual(bound);
      world.run(60_000);
      expect(alice.sequencesFrom(bob), `seed ${seed} once`).toEqual(run.bothSend ? [1] : []);
      expect(bob.sequencesFrom(alice)).toEqual([1]);
    }
  });

  test('meet through loss, too: within a few repetitions of a stock WireGuard, with nothing left running', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const { world, alice, bob, bothSend } = plan(seed);
      Object.assign(world.network.conditions, { loss: 0.25, duplication: 0.1, jitterMs: 30 });
      const prng = new Prng(seed * 7919);
      world.losesPunch = () => prng.chance(0.25);
      world.run(1_000);
      for (let sequence = 2; sequence < 40; sequence++) {
        alice.send(bob, sequence);
        world.run(1_000);
      }
      expect(bob.sequencesFrom(alice).length, `seed ${seed}`).toBeGreaterThan(10);
      if (bothSend) expect(alice.stateOf(bob)).toBe('established');
      world.network.conditions.loss = 0;
      world.run(1_200_000);
      const wakes = [alice.wakes, bob.wakes];
      world.run(1_200_000);
      expect([alice.wakes, bob.wakes]).toEqual(wakes);
    }
  });
});
