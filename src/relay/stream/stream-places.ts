// How many streams there are, all together and for each source, strangers apart. A source on this machine (a reverse proxy that does not
// say for whom it speaks) has the limits of all together alone.

import type { IpAddress } from '../../base/ip.ts';
import { isLoopback, sourceOf } from '../../service/remote-address.ts';
import type { StreamLimits } from './stream-limits.ts';

export interface StreamPlace {
  /** It is no stranger any more. */
  proven(): void;
  /** Given back once, however often it is asked. */
  release(): void;
}

export type Placed =
  | { readonly ok: true; readonly place: StreamPlace }
  | { readonly ok: false; readonly reason: 'total' | 'source' };

interface Counts {
  all: number;
  unproven: number;
}

export class StreamPlaces {
  readonly #limits: StreamLimits;
  readonly #total: Counts = { all: 0, unproven: 0 };
  readonly #bySource = new Map<string, Counts>();

  constructor(limits: StreamLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#total.all;
  }

  get sources(): number {
    return this.#bySource.size;
  }

  take(address: IpAddress | null): Placed {
    const { streamsMax, unprovenMax, perSourceMax, unprovenPerSourceMax } = this.#limits;
    if (this.#total.all >= streamsMax || this.#total.unproven >= unprovenMax) return { ok: false, reason: 'total' };
    const source = address === null || isLoopback(address) ? null : sourceOf(address);
    const counts = source === null ? null : (this.#bySource.get(source) ?? { all: 0, unproven: 0 });
    if (counts !== null && (counts.all >= perSourceMax || counts.unproven >= unprovenPerSourceMax)) {
      return { ok: false, reason: 'source' };
    }
    if (source !== null && counts !== null) this.#bySource.set(source, counts);
    const concerned = counts === null ? [this.#total] : [this.#total, counts];
    for (const one of concerned) {
      one.all++;
      one.unproven++;
    }
    return { ok: true, place: this.#place(concerned, source) };
  }

  #place(concerned: readonly Counts[], source: string | null): StreamPlace {
    let unproven = true;
    let held = true;
    const proven = (): void => {
      if (!unproven) return;
      unproven = false;
      for (const one of concerned) one.unproven--;
    };
    return {
      proven,
      release: () => {
        if (!held) return;
        held = false;
        proven();
        for (const one of concerned) one.all--;
        if (source !== null && this.#bySource.get(source)?.all === 0) this.#bySource.delete(source);
      },
    };
  }
}
