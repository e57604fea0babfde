// Keys of nodes that an administrator removed, so that one that comes back is told so. Bounded, in memory alone: after a
// restart it is told that it is unregistered, which is as true.

import type { PublicKeyText } from '../../protocol/values.ts';

export class RemovedKeys {
  readonly #max: number;
  readonly #keys = new Set<PublicKeyText>();

  constructor(max: number) {
    this.#max = max;
  }

  add(key: PublicKeyText): void {
    for (const oldest of this.#keys) {
      if (this.#keys.size < this.#max) break;
      this.#keys.delete(oldest);
    }
    this.#keys.add(key);
  }

  delete(key: PublicKeyText): void {
    this.#keys.delete(key);
  }

  has(key: PublicKeyText): boolean {
    return this.#keys.has(key);
  }
}
