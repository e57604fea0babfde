// One simulated run of paths: everybody joins, chaos, healing, then every pair with traffic has to communicate, directly if and
// only if its places permit it; then a path dies under traffic, a path is promoted under traffic, and silence. A run is a
// function of its seed. The digest is over every datagram and control message sent.

import type { Reached } from '../mesh/reached.ts';
import { Cast } from './cast.ts';
import type { Hostility } from './hostile.ts';
import { PathChaos } from './path-chaos.ts';
import { PathTrials, type TrialCounts } from './path-trials.ts';
import { PathWorld, type PathWorldOptions } from './path-world.ts';

export interface PathRunOptions extends PathWorldOptions {
  /** Virtual minutes of chaos. */
  readonly minutes: number;
}

export interface PathRunResult {
  readonly seed: number;
  readonly hosts: number;
  readonly violations: readonly string[];
  readonly story: readonly string[];
  /** Of every datagram and control message: 64-bit FNV-1a, in hexadecimal. */
  readonly digest: string;
  readonly datagrams: number;
  readonly packetsDelivered: number;
  readonly events: number;
  readonly controlMessages: number;
  readonly hostility: Hostility;
  readonly trials: Readonly<TrialCounts>;
  readonly reached: Readonly<Reached>;
}

/** Between two acts of chaos, at most. */
const ACT_MS = 2_500;

export function simulatePaths(options: PathRunOptions): PathRunResult {
  const world = new PathWorld(options);
  const cast = new Cast(world);
  const chaos = new PathChaos(cast);
  const trials = new PathTrials(cast, chaos);
  world.tell(cast.describe());
  cast.begin();
  if (trials.gather()) {
    chaos.begin();
    const end = world.now + options.minutes * 60_000;
    while (world.now < end && cast.violations.length === 0) {
      chaos.act();
      cast.harm();
      world.run(world.prng.nextInt(1, ACT_MS));
    }
    chaos.heal();
    if (trials.gather()) trials.run();
  }
  cast.finish();
  return {
    seed: options.seed,
    hosts: cast.nodes.length,
    violations: cast.violations,
    story: world.story,
    digest: world.digest.value(),
    datagrams: world.topology.counts.sent,
    packetsDelivered: cast.flows.counts.delivered,
    events: world.counts.events,
    controlMessages: world.counts.controlMessages,
    hostility: cast.hostility,
    trials: trials.counts,
    reached: world.reached,
  };
}
