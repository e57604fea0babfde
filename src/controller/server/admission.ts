// How many connections there are that belong to no node, all together and for each source. A connection takes a place when
// it is accepted and gives it back when its node is registered or it is gone. A proved key is not enough: anybody can make one.

import { canonicalAddress, isLoopback, sourceOf } from '../../service/remote-address.ts';

export type Admitted =
  | { readonly ok: true; readonly place: Place }
  | { readonly ok: false; readonly reason: 'unproven' | 'source' };

/** Given back once, however often it is asked. */
export interface Place {
  release(): void;
}

export class Admission {
  readonly #totalMax: number;
  readonly #perSourceMax: number;
  readonly #bySource = new Map<string, number>();
  #total = 0;

  constructor(totalMax: number, perSourceMax: number) {
    this.#totalMax = totalMax;
    this.#perSourceMax = perSourceMax;
  }

  get unproven(): number {
    return this.#total;
  }

  /** `remoteAddress`: as the socket gives it; undefined when it is gone already. */
  admit(remoteAddress: string | undefined): Admitted {
    if (this.#total >= this.#totalMax) return { ok: false, reason: 'unproven' };
    const address = canonicalAddress(remoteAddress);
    const source = address === null || isLoopback(address) ? null : sourceOf(address);
    if (source !== null) {
      const count = this.#bySource.get(source) ?? 0;
      if (count >= this.#perSourceMax) return { ok: false, reason: 'source' };
      this.#bySource.set(source, count + 1);
    }
    this.#total++;
    let held = true;
    const release = (): void => {
      if (held) this.#release(source);
      held = false;
    };
    return { ok: true, place: { release } };
  }

  #release(source: string | null): void {
    this.#total--;
    if (source === null) return;
    const left = (this.#bySource.get(source) ?? 0) - 1;
    if (left > 0) this.#bySource.set(source, left);
    else this.#bySource.delete(source);
  }
}
