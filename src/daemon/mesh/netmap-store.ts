// The last netmap on disk, so that a node which starts while the controller is away connects all the same. Written a moment after
// it changed, one write for many changes; sealed under a key that only this node has. How it is sealed is passed in.

import type { SavedNetmap } from '../../mesh/netmap.ts';
import type { Log } from '../log.ts';
import type { NodeFile } from './node-file.ts';
import { toProblem } from './problem-error.ts';
import type { StateDirectory } from './state-directory.ts';

/** A network in which something changes all the time is written this often. */
export const SAVE_AFTER_MS = 1000;

export interface NetmapSealing {
  seal(file: NodeFile, netmap: SavedNetmap): Uint8Array;
  /** Null when it is another node's, has expired, or is damaged. */
  unseal(file: NodeFile, sealed: Uint8Array): SavedNetmap | null;
}

export interface ToSave {
  readonly file: NodeFile;
  readonly netmap: SavedNetmap;
}

export class NetmapStore {
  readonly #state: StateDirectory;
  readonly #sealing: NetmapSealing;
  readonly #log: Log;
  #timer: NodeJS.Timeout | null = null;
  #pending: (() => ToSave | null) | null = null;

  constructor(state: StateDirectory, sealing: NetmapSealing, log: Log) {
    this.#state = state;
    this.#sealing = sealing;
    this.#log = log;
  }

  read(file: NodeFile): SavedNetmap | null {
    const sealed = this.#state.readNetmap();
    return sealed === null ? null : this.#sealing.unseal(file, sealed);
  }

  /** `what` is asked when it is written: the latest then. */
  save(what: () => ToSave | null): void {
    this.#pending = what;
    if (this.#timer !== null) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.flush().catch(() => undefined);
    }, SAVE_AFTER_MS);
    this.#timer.unref();
  }

  /** Writes what waits. A netmap that cannot be written is a help that is missing, not a failure. */
  async flush(): Promise<void> {
    const what = this.#pending?.() ?? null;
    this.#drop();
    if (what === null) return;
    try {
      await this.#state.writeNetmap(this.#sealing.seal(what.file, what.netmap));
    } catch (error) {
      const { message, why } = toProblem(error);
      this.#log.error(message, { why });
    }
  }

  forget(): Promise<void> {
    this.#drop();
    return this.#state.removeNetmap();
  }

  #drop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#pending = null;
  }
}
