// The pure provider, over @noble/curves, /hashes and /ciphers: the reference in tests and the simulator's, since it runs
// wherever JavaScript does. Slow: 1.0 ms of processor time for one X25519 against 0.04 ms with node:crypto.
//
// Zeroing: the scalar is zeroed by `wipe`. The big integers that @noble/curves computes with cannot be, nor can the word
// arrays inside its hashes be reached; they last until collected.

import { chacha20poly1305, xchacha20poly1305 } from '@noble/ciphers/chacha.js';
import { x25519 } from '@noble/curves/ed25519.js';
import { blake2s } from '@noble/hashes/blake2.js';
import { hmac } from '@noble/hashes/hmac.js';
import { assert } from '../base/assert.ts';
import type { CryptoProvider, DhKey, PublicKey } from './provider.ts';
import {
  clamp,
  counterNonce,
  equalConstantTime,
  isAllZero,
  KEY_BYTES,
  MAC_BYTES,
  TAG_BYTES,
  wipe,
  XNONCE_BYTES,
} from './secret-bytes.ts';

class NobleDhKey implements DhKey {
  readonly publicKey: PublicKey;
  #scalar: Uint8Array | null;

  constructor(privateKey: Uint8Array) {
    this.#scalar = clamp(privateKey);
    this.publicKey = x25519.getPublicKey(this.#scalar) as PublicKey;
  }

  dh(publicKey: PublicKey): Uint8Array | null {
    assert(this.#scalar !== null, 'a wiped key is not used');
    assert(publicKey.length === KEY_BYTES, 'a public key is 32 bytes');
    try {
      const secret = x25519.getSharedSecret(this.#scalar, publicKey);
      return isAllZero(secret) ? null : secret;
    } catch {
      // The library throws where RFC 7748 §6.1 lets one abort: on an all-zero result. Lengths were checked above.
      return null;
    }
  }

  wipe(): void {
    if (this.#scalar !== null) wipe(this.#scalar);
    this.#scalar = null;
  }
}

/** BLAKE2s-256 and the keyed 16-byte variant, as @noble/hashes has them; the sodium provider borrows them. */
export function blake2sHash(...parts: readonly Uint8Array[]): Uint8Array {
  const state = blake2s.create();
  for (const part of parts) state.update(part);
  const digest = state.digest();
  state.destroy();
  return digest;
}

export function blake2sMac(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  assert(key.length >= 1 && key.length <= KEY_BYTES, 'a BLAKE2s key is 1 to 32 bytes');
  const state = blake2s.create({ key, dkLen: MAC_BYTES });
  for (const part of parts) state.update(part);
  const tag = state.digest();
  state.destroy();
  return tag;
}

export function blake2sHmac(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  const state = hmac.create(blake2s, key);
  for (const part of parts) state.update(part);
  const tag = state.digest();
  state.destroy();
  return tag;
}

/** XChaCha20-Poly1305, which node:crypto lacks. `nonce`: 24 bytes. */
export function nobleXseal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, aad: Uint8Array): Uint8Array {
  assert(key.length === KEY_BYTES && nonce.length === XNONCE_BYTES, 'XChaCha takes a 32-byte key and a 24-byte nonce');
  return xchacha20poly1305(key, nonce, aad).encrypt(plaintext);
}

export function nobleXopen(
  key: Uint8Array,
  nonce: Uint8Array,
  ciphertext: Uint8Array,
  aad: Uint8Array,
): Uint8Array | null {
  assert(key.length === KEY_BYTES && nonce.length === XNONCE_BYTES, 'XChaCha takes a 32-byte key and a 24-byte nonce');
  if (ciphertext.length < TAG_BYTES) return null;
  try {
    return xchacha20poly1305(key, nonce, aad).decrypt(ciphertext);
  } catch {
    return null;
  }
}

export const nobleProvider: CryptoProvider = {
  name: 'noble',

  importPrivateKey: (privateKey) => new NobleDhKey(privateKey),

  hash: blake2sHash,
  mac: blake2sMac,
  hmac: blake2sHmac,

  seal(key, counter, plaintext, aad) {
    assert(key.length === KEY_BYTES, 'a key is 32 bytes');
    return chacha20poly1305(key, counterNonce(counter), aad).encrypt(plaintext);
  },

  open(key, counter, ciphertext, aad) {
    assert(key.length === KEY_BYTES, 'a key is 32 bytes');
    if (ciphertext.length < TAG_BYTES) return null;
    try {
      return chacha20poly1305(key, counterNonce(counter), aad).decrypt(ciphertext);
    } catch {
      return null;
    }
  },

  xseal: nobleXseal,
  xopen: nobleXopen,

  equal: equalConstantTime,
  wipe,
};
