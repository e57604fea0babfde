// What follows a handshake: the two CipherStates of Split() (Noise Protocol Framework, revision 34, §5.1 and §5.2), over a
// transport that keeps order. Nonces are counted, never sent, and end before the reserved one. Leaves out rekeying: a
// connection that reaches the limit (nobody's will) is made anew.

import { assert } from '../base/assert.ts';
import type { CryptoProvider } from '../crypto/provider.ts';
import type { SymmetricState } from './symmetric-state.ts';

/** A message on the wire, whole (§3). */
export const NOISE_MESSAGE_BYTES_MAX = 65_535;
export const TAG_BYTES = 16;

/** 2^64 − 1 is reserved (§5.1): the last nonce that is used is the one before it. */
const NONCE_RESERVED = 2n ** 64n - 1n;
const NOTHING = new Uint8Array(0);

/** One direction. Owns its key; `wipe` zeroes it and ends its use. */
export class CipherState {
  readonly #c: CryptoProvider;
  readonly #key: Uint8Array;
  #nonce = 0n;
  #wiped = false;

  /** `key`: owned from here on. */
  constructor(c: CryptoProvider, key: Uint8Array) {
    this.#c = c;
    this.#key = key;
  }

  /** SetNonce(nonce). */
  setNonce(nonce: bigint): void {
    assert(nonce >= this.#nonce && nonce <= NONCE_RESERVED, 'a nonce is never used twice');
    this.#nonce = nonce;
  }

  /** EncryptWithAd(ε, plaintext): ciphertext ‖ tag. Null when the nonces are used up. */
  encrypt(plaintext: Uint8Array): Uint8Array | null {
    assert(!this.#wiped, 'a wiped key is not used');
    assert(plaintext.length + TAG_BYTES <= NOISE_MESSAGE_BYTES_MAX, 'a message fits');
    if (this.#nonce === NONCE_RESERVED) return null;
    const ciphertext = this.#c.seal(this.#key, this.#nonce, plaintext, NOTHING);
    this.#nonce += 1n;
    return ciphertext;
  }

  /** DecryptWithAd(ε, ciphertext). Null, and nothing changed, when it does not verify or the nonces are used up. */
  decrypt(ciphertext: Uint8Array): Uint8Array | null {
    assert(!this.#wiped, 'a wiped key is not used');
    if (this.#nonce === NONCE_RESERVED) return null;
    const plaintext = this.#c.open(this.#key, this.#nonce, ciphertext, NOTHING);
    if (plaintext !== null) this.#nonce += 1n;
    return plaintext;
  }

  wipe(): void {
    this.#wiped = true;
    this.#c.wipe(this.#key);
  }
}

export interface Transport {
  readonly sending: CipherState;
  readonly receiving: CipherState;
}

/** Split(): the handshake's state is wiped, its keys are the transport's. */
export function splitTransport(c: CryptoProvider, noise: SymmetricState, role: 'initiator' | 'responder'): Transport {
  const [fromInitiator, fromResponder] = noise.split();
  noise.wipe();
  const first = new CipherState(c, fromInitiator);
  const second = new CipherState(c, fromResponder);
  return role === 'initiator' ? { sending: first, receiving: second } : { sending: second, receiving: first };
}
