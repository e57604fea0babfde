// How many bytes each member has had forwarded today (UTC), for quotas. By key, so that a member which leaves and comes back begins
// where it was. Knows nothing of when it is asked, nor of where it is kept between two runs.

import type { WallTime } from '../../base/instant.ts';
import type { PublicKeyText } from '../../protocol/values.ts';

const DAY_MS = 86_400_000;
/** Keys that are remembered on one day; with more, those that used least are forgotten. */
export const USAGE_MAX = 131_072;

export interface SavedUsage {
  /** Days since the Unix epoch. */
  readonly day: number;
  readonly bytes: Readonly<Record<string, number>>;
}

export class DailyUsage {
  readonly #bytesPerDay: number;
  readonly #bytes = new Map<PublicKeyText, number>();
  #day = 0;

  /** Infinity = no quota: nothing is remembered. */
  constructor(bytesPerDay: number) {
    this.#bytesPerDay = bytesPerDay;
  }

  get limited(): boolean {
    return this.#bytesPerDay !== Number.POSITIVE_INFINITY;
  }

  add(key: PublicKeyText, bytes: number, wall: WallTime): void {
    if (!this.limited || bytes <= 0) return;
    this.#turn(wall);
    this.#bytes.set(key, (this.#bytes.get(key) ?? 0) + bytes);
    if (this.#bytes.size > USAGE_MAX) this.#forgetSmallest();
  }

  of(key: PublicKeyText, wall: WallTime): number {
    this.#turn(wall);
    return this.#bytes.get(key) ?? 0;
  }

  exceeded(key: PublicKeyText, wall: WallTime): boolean {
    return this.limited && this.of(key, wall) >= this.#bytesPerDay;
  }

  save(wall: WallTime): SavedUsage {
    this.#turn(wall);
    return { day: this.#day, bytes: Object.fromEntries(this.#bytes) };
  }

  /** Of another day: nothing. */
  restore(saved: SavedUsage, wall: WallTime): void {
    this.#turn(wall);
    if (saved.day !== this.#day) return;
    for (const [key, bytes] of Object.entries(saved.bytes)) this.add(key as PublicKeyText, bytes, wall);
  }

  /** A clock that is set back begins the earlier day anew: whoever sets it may. */
  #turn(wall: WallTime): void {
    const day = Math.floor(wall / DAY_MS);
    if (day === this.#day) return;
    this.#day = day;
    this.#bytes.clear();
  }

  #forgetSmallest(): void {
    let smallest: PublicKeyText | null = null;
    let least = Number.POSITIVE_INFINITY;
    for (const [key, bytes] of this.#bytes) {
      if (bytes >= least) continue;
      smallest = key;
      least = bytes;
    }
    if (smallest !== null) this.#bytes.delete(smallest);
  }
}
