// How far the time stamps of our handshakes have got, over restarts (DIR/stamps.json): a machine that starts with its clock set back
// would otherwise be ignored by everybody who has heard from it, until the clock has caught up (paper §5.1). What the bound
// means and how seldom it moves: wireguard/tai64n.ts.

import type { WallTime } from '../../base/instant.ts';
import type { StampMemory } from '../../wireguard/tai64n.ts';
import type { Log } from '../log.ts';
import { toProblem } from './problem-error.ts';
import type { StateDirectory } from './state-directory.ts';

export class StampLease implements StampMemory {
  readonly #state: StateDirectory;
  readonly #log: Log;
  #until: WallTime | null;

  constructor(state: StateDirectory, log: Log) {
    this.#state = state;
    this.#log = log;
    this.#until = (state.readStamps()?.until ?? null) as WallTime | null;
  }

  /** The latest: the tunnel may be made anew while we run. */
  get until(): WallTime | null {
    return this.#until;
  }

  /** A help, not a need: a disk that is full must not keep a machine from its peers. */
  keep(until: WallTime): void {
    this.#until = until;
    this.#state.writeStamps({ format: 1, until }).catch((error: unknown) => {
      this.#log.error('cannot remember how far the time stamps have got', { why: toProblem(error).why });
    });
  }
}
