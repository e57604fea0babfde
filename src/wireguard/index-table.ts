// Our 32-bit session indexes (paper §5.4: "chosen randomly") and who owns each. Random, so that an index tells an observer
// nothing and cannot be guessed from another. Bounded. The table knows nothing of what an owner is.

import { assert } from '../base/assert.ts';
import { readU32le } from '../base/bytes.ts';
import type { RandomSource } from '../base/prng.ts';
import type { LocalIndex } from '../dataplane/dataplane.ts';

export class IndexTable<Owner> {
  readonly #random: RandomSource;
  readonly #entriesMax: number;
  readonly #owners = new Map<number, Owner>();
  readonly #draw = new Uint8Array(4);

  /** `entriesMax`: at most 2^31, so that a draw is free more often than not. */
  constructor(random: RandomSource, entriesMax: number) {
    assert(entriesMax <= 2 ** 31, 'at most half of all indexes are used');
    this.#random = random;
    this.#entriesMax = entriesMax;
  }

  get size(): number {
    return this.#owners.size;
  }

  /** A fresh index for `owner`; null when the table is full. */
  allocate(owner: Owner): LocalIndex | null {
    if (this.#owners.size >= this.#entriesMax) return null;
    for (;;) {
      this.#random(this.#draw);
      const index = readU32le(this.#draw, 0);
      if (this.#owners.has(index)) continue;
      this.#owners.set(index, owner);
      return index as LocalIndex;
    }
  }

  /** `index`: any number, straight from the network. */
  owner(index: number): Owner | undefined {
    return this.#owners.get(index);
  }

  /** Hands an index in use over, as when a handshake has become a keypair. */
  transfer(index: LocalIndex, owner: Owner): void {
    assert(this.#owners.has(index), 'only an index in use changes hands');
    this.#owners.set(index, owner);
  }

  /** Does nothing to an index that is not in use. */
  free(index: LocalIndex): void {
    this.#owners.delete(index);
  }
}
