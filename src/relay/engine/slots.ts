// The slots of a relay: 64 bits that stand for a member in relayed datagrams (docs/paths.md). The slot of a key is a MAC of it under
// a secret that only this relay has, so that a relay which restarts gives the same ones and nobody can work out whose a slot is.
// Pure; which peer of the data plane has a slot is relay-engine.ts's.

import { toHex } from '../../base/bytes.ts';
import { RELAY_SLOT_BYTES } from '../../base/relayed.ts';
import type { CryptoProvider } from '../../crypto/provider.ts';

export const SLOT_SECRET_BYTES = 32;
/** Two keys of 100,000 meet in 64 bits once in four billion networks; a table that is taken this often in a row is broken. */
const TRIES_MAX = 16;

export class Slots<Owner> {
  readonly #crypto: Pick<CryptoProvider, 'mac'>;
  readonly #secret: Uint8Array;
  readonly #owners = new Map<string, Owner>();

  /** `secret`: SLOT_SECRET_BYTES, copied. */
  constructor(crypto: Pick<CryptoProvider, 'mac'>, secret: Uint8Array) {
    this.#crypto = crypto;
    this.#secret = new Uint8Array(secret);
  }

  get size(): number {
    return this.#owners.size;
  }

  owner(slot: Uint8Array): Owner | undefined {
    return this.#owners.get(toHex(slot));
  }

  /**
   * The slot of `publicKey` (32 bytes, borrowed), which is the owner's from now on; 8 bytes, not all zero. Null when every slot that it
   * could have is taken. Keys that meet in one slot have theirs by who came first.
   */
  take(publicKey: Uint8Array, owner: Owner): Uint8Array | null {
    for (let attempt = 0; attempt < TRIES_MAX; attempt++) {
      const slot = this.#derive(publicKey, attempt);
      if (slot.every((byte) => byte === 0)) continue;
      const hex = toHex(slot);
      const before = this.#owners.get(hex);
      if (before !== undefined && before !== owner) continue;
      this.#owners.set(hex, owner);
      return slot;
    }
    return null;
  }

  /** Does nothing to a slot that another owner has. */
  release(slot: Uint8Array, owner: Owner): void {
    const hex = toHex(slot);
    if (this.#owners.get(hex) === owner) this.#owners.delete(hex);
  }

  /** Zeroes the secret; nothing can be taken any more. */
  wipe(): void {
    this.#secret.fill(0);
    this.#owners.clear();
  }

  #derive(publicKey: Uint8Array, attempt: number): Uint8Array {
    const again = attempt === 0 ? [] : [Uint8Array.of(attempt)];
    return this.#crypto.mac(this.#secret, publicKey, ...again).slice(0, RELAY_SLOT_BYTES);
  }
}
