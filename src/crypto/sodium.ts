// The provider over libsodium-wrappers (WebAssembly): X25519 and both AEADs from libsodium, whose small AEAD calls are the
// fastest of the three; BLAKE2s, which libsodium lacks (it has BLAKE2b), from @noble/hashes.
//
// Zeroing: our copy of the scalar is zeroed by `wipe`. The wrapper copies its arguments into WebAssembly memory and frees
// them without zeroing; those copies last until they are overwritten.

import sodium from 'libsodium-wrappers';
import { assert } from '../base/assert.ts';
import { blake2sHash, blake2sHmac, blake2sMac } from './noble.ts';
import type { CryptoProvider, DhKey, PublicKey } from './provider.ts';
import { clamp, counterNonce, isAllZero, KEY_BYTES, TAG_BYTES, wipe, XNONCE_BYTES } from './secret-bytes.ts';

class SodiumDhKey implements DhKey {
  readonly publicKey: PublicKey;
  #scalar: Uint8Array | null;

  constructor(privateKey: Uint8Array) {
    this.#scalar = clamp(privateKey);
    this.publicKey = sodium.crypto_scalarmult_base(this.#scalar) as PublicKey;
  }

  dh(publicKey: PublicKey): Uint8Array | null {
    assert(this.#scalar !== null, 'a wiped key is not used');
    assert(publicKey.length === KEY_BYTES, 'a public key is 32 bytes');
    try {
      const secret = sodium.crypto_scalarmult(this.#scalar, publicKey);
      return isAllZero(secret) ? null : secret;
    } catch {
      // libsodium refuses low-order points.
      return null;
    }
  }

  wipe(): void {
    if (this.#scalar !== null) wipe(this.#scalar);
    this.#scalar = null;
  }
}

/** Ready once libsodium's WebAssembly has been compiled; everything after that is synchronous. */
export async function createSodiumProvider(): Promise<CryptoProvider> {
  await sodium.ready;
  return {
    name: 'sodium',

    importPrivateKey: (privateKey) => new SodiumDhKey(privateKey),

    hash: blake2sHash,
    mac: blake2sMac,
    hmac: blake2sHmac,

    seal(key, counter, plaintext, aad) {
      assert(key.length === KEY_BYTES, 'a key is 32 bytes');
      return sodium.crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, aad, null, counterNonce(counter), key);
    },

    open(key, counter, ciphertext, aad) {
      assert(key.length === KEY_BYTES, 'a key is 32 bytes');
      if (ciphertext.length < TAG_BYTES) return null;
      try {
        return sodium.crypto_aead_chacha20poly1305_ietf_decrypt(null, ciphertext, aad, counterNonce(counter), key);
      } catch {
        return null;
      }
    },

    xseal(key, nonce, plaintext, aad) {
      assert(key.length === KEY_BYTES && nonce.length === XNONCE_BYTES, 'a 32-byte key and a 24-byte nonce');
      return sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, aad, null, nonce, key);
    },

    xopen(key, nonce, ciphertext, aad) {
      assert(key.length === KEY_BYTES && nonce.length === XNONCE_BYTES, 'a 32-byte key and a 24-byte nonce');
      if (ciphertext.length < TAG_BYTES) return null;
      try {
        return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(null, ciphertext, aad, nonce, key);
      } catch {
        return null;
      }
    },

    equal: (a, b) => a.length === b.length && sodium.memcmp(a, b),
    wipe,
  };
}
