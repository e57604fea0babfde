// A node that starts with its clock behind what it has shown its peers (paper §5.1: a stamp that is no later is not answered): with a
// memory of how far its stamps have got it is believed at once.

import { describe, expect, it } from 'vitest';
import type { WallTime } from '../../../src/base/instant.ts';
import type { StampMemory } from '../../../src/wireguard/tai64n.ts';
import { type MeshNode, MeshWorld } from './mesh-world.ts';

const YEAR_MS = 365 * 24 * 3_600_000;

/** A disk that counts. */
class Disk implements StampMemory {
  until: WallTime | null = null;
  writes = 0;

  keep(until: WallTime): void {
    this.until = until;
    this.writes++;
  }
}

function restarted(world: MeshWorld, node: MeshNode, offsetMs: number): void {
  node.wallOffsetMs = offsetMs;
  node.restart();
  node.snapshot(world.nodes.map((other) => other.record()));
}

/** Of packet `sequence`, from the one to the other; null when it does not arrive within ten seconds. */
function arrivesAfter(world: MeshWorld, from: MeshNode, to: MeshNode, sequence: number): number | null {
  const begun = world.now;
  from.send(to, sequence);
  world.run(10_000);
  const arrival = to.arrivals.find((one) => one.sequence === sequence);
  return arrival === undefined ? null : arrival.at - begun;
}

function twoNodes(withDisk: boolean) {
  const world = new MeshWorld();
  const ada = world.addNode('ada');
  const bob = world.addNode('bob');
  const disk = new Disk();
  if (withDisk) bob.stamps = disk;
  bob.restart();
  world.tellAll();
  return { world, ada, bob, disk };
}

describe('a clock that is set back while the node is off', () => {
  it.each([
    ['a minute', -60_000],
    ['a year', -YEAR_MS],
    ['to 1970', -1_700_000_000_000],
  ])('%s: the node is answered at once', (_what, offsetMs) => {
    const { world, ada, bob, disk } = twoNodes(true);
    expect(arrivesAfter(world, bob, ada, 1)).not.toBeNull();
    for (let sequence = 2; sequence < 6; sequence++) {
      restarted(world, bob, offsetMs);
      expect(arrivesAfter(world, bob, ada, sequence)).toBeLessThan(1_000);
    }
    // One at the start of each run.
    expect(disk.writes).toBe(5);
  });

  it('without the memory it is not, which is why there is one', () => {
    const { world, ada, bob } = twoNodes(false);
    expect(arrivesAfter(world, bob, ada, 1)).not.toBeNull();
    restarted(world, bob, -60_000);
    expect(arrivesAfter(world, bob, ada, 2)).toBeNull();
  });

  it('a clock that was a hundred years ahead once does no harm for ever', () => {
    const { world, ada, bob } = twoNodes(true);
    restarted(world, bob, 100 * YEAR_MS);
    expect(arrivesAfter(world, bob, ada, 1)).not.toBeNull();
    for (let sequence = 2; sequence < 20; sequence++) {
      restarted(world, bob, 0);
      expect(arrivesAfter(world, bob, ada, sequence)).toBeLessThan(1_000);
    }
  });
});

it('a node that renews its sessions for a day writes once in five minutes at most', () => {
  const { world, ada, bob, disk } = twoNodes(true);
  const hours = 24;
  for (let minute = 0; minute < hours * 60; minute++) {
    bob.send(ada, minute);
    world.run(60_000);
  }
  expect(bob.mesh.engine.counters.reached.initiationsSent).toBeGreaterThan(hours * 15);
  expect(disk.writes).toBeLessThanOrEqual(hours * 12 + 1);
  expect(disk.writes).toBeGreaterThan(hours);
});
