// The last netmap on disk, so that a node which starts while the controller is away connects all the same. Written a moment after
// it changed, one write for many changes; sealed under a key that only this node has. How it is sealed is passed in.

import type { SavedNetmap } from '../../mesh/netmap.ts';
import type { Log } from '../log.ts';
import type { NodeFile } from './node-file.ts';
import { toProblem } from './problem-error.ts';
import type { StateDirectory } from './state-directory.ts';

/** After the first change … */
export const SAVE_AFTER_MS = 1000;
/** … and so many times as long as the last sealing took: a large network that changes all the time costs 1 % of a CPU. */
const SPACING_FACTOR = 100;

export interface NetmapSealing {
  seal(file: NodeFile, netmap: SavedNetmap): Uint8Array;
  /** `reason`: it is another node's, has expired, or is damaged. */
  unseal(file: NodeFile, sealed: Uint8Array): { readonly netmap: SavedNetmap } | { readonly reason: string };
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
  #sealingMs = 0;

  constructor(state: StateDirectory, sealing: NetmapSealing, log: Log) {
    this.#state = state;
    this.#sealing = sealing;
    this.#log = log;
  }

  read(file: NodeFile): SavedNetmap | null {
    const sealed = this.#state.readNetmap();
    if (sealed === null) return null;
    const opened = this.#sealing.unseal(file, sealed);
    if ('netmap' in opened) return opened.netmap;
    this.#log.debug('the netmap on disk is of no use', { why: opened.reason });
    return null;
  }

  /** `what` is asked when it is written: the latest then. */
  save(what: () => ToSave | null): void {
    this.#pending = what;
    if (this.#timer !== null) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        this.flush().catch(() => undefined);
      },
      Math.max(SAVE_AFTER_MS, SPACING_FACTOR * this.#sealingMs),
    );
    this.#timer.unref();
  }

  /** Writes what waits. A netmap that cannot be written is a help that is missing, not a failure. */
  async flush(): Promise<void> {
    const what = this.#pending?.() ?? null;
    this.#drop();
    if (what === null) return;
    try {
      const began = performance.now();
      const sealed = this.#sealing.seal(what.file, what.netmap);
      this.#sealingMs = performance.now() - began;
      await this.#state.writeNetmap(sealed);
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
