// The default provider, over node:crypto (OpenSSL); what OpenSSL or Node's binding lacks, keyed BLAKE2s and
// XChaCha20-Poly1305, comes from @noble.
//
// Import of keys, measured on Node 20.20: private DER 530 µs, JWK 44 µs; public DER 113 µs, JWK 10 µs; hence JWK. Only `d`
// of a private JWK is read (`x` must be there, but the public key is computed); where a newer Node should check `x`, DER is used.
//
// Zeroing: our copy of the scalar and the DER bytes are zeroed. Not in our reach, until collected: the KeyObject (OpenSSL
// clears its memory when it is freed), the base64url text that a JWK needs, and Node's decoded copy of it.

import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  type KeyObject,
  timingSafeEqual,
} from 'node:crypto';
import { assert } from '../base/assert.ts';
import { blake2sMac, nobleXopen, nobleXseal } from './noble.ts';
import type { CryptoProvider, DhKey, PublicKey } from './provider.ts';
import { clamp, counterNonce, isAllZero, KEY_BYTES, TAG_BYTES, wipe } from './secret-bytes.ts';

const HASH = 'blake2s256';
const CIPHER = 'chacha20-poly1305';
const CIPHER_OPTIONS = { authTagLength: TAG_BYTES } as const;
/** PrivateKeyInfo (RFC 8410 §7) up to the 32 bytes of an X25519 private key. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');

/** A plain view: `slice` of a Buffer shares memory where that of a Uint8Array copies. */
function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64url');
}

function privateFromJwk(scalar: Uint8Array): KeyObject {
  const jwk = { kty: 'OKP', crv: 'X25519', x: '', d: base64url(scalar) };
  return createPrivateKey({ key: jwk, format: 'jwk' });
}

function privateFromDer(scalar: Uint8Array): KeyObject {
  const der = Buffer.alloc(PKCS8_PREFIX.length + KEY_BYTES);
  der.set(PKCS8_PREFIX);
  der.set(scalar, PKCS8_PREFIX.length);
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  wipe(der);
  return key;
}

function publicBytes(privateKey: KeyObject): Uint8Array {
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' });
  assert(x !== undefined, 'an X25519 key has an x');
  return new Uint8Array(Buffer.from(x, 'base64url'));
}

/** Whether this Node imports a private JWK by `d` alone and computes the public key from it (Alice of RFC 7748 §6.1). */
function jwkWorks(): boolean {
  const scalar = Buffer.from('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a', 'hex');
  try {
    const direct = publicBytes(privateFromDer(clamp(scalar)));
    return timingSafeEqual(publicBytes(privateFromJwk(clamp(scalar))), direct);
  } catch {
    return false;
  }
}

const importPrivate = jwkWorks() ? privateFromJwk : privateFromDer;

class NodeDhKey implements DhKey {
  readonly publicKey: PublicKey;
  #key: KeyObject | null;

  constructor(privateKey: Uint8Array) {
    const scalar = clamp(privateKey);
    this.#key = importPrivate(scalar);
    wipe(scalar);
    this.publicKey = publicBytes(this.#key) as PublicKey;
  }

  dh(publicKey: PublicKey): Uint8Array | null {
    assert(this.#key !== null, 'a wiped key is not used');
    assert(publicKey.length === KEY_BYTES, 'a public key is 32 bytes');
    const jwk = { kty: 'OKP', crv: 'X25519', x: base64url(publicKey) };
    const remote = createPublicKey({ key: jwk, format: 'jwk' });
    try {
      const secret = plain(diffieHellman({ privateKey: this.#key, publicKey: remote }));
      return isAllZero(secret) ? null : secret;
    } catch {
      // OpenSSL refuses to derive an all-zero secret.
      return null;
    }
  }

  /** Drops the KeyObject; OpenSSL's memory is cleared when it is collected, which nothing here can hasten. */
  wipe(): void {
    this.#key = null;
  }
}

export const nodeProvider: CryptoProvider = {
  name: 'node',

  importPrivateKey: (privateKey) => new NodeDhKey(privateKey),

  hash(...parts) {
    const state = createHash(HASH);
    for (const part of parts) state.update(part);
    return plain(state.digest());
  },

  mac: blake2sMac,

  hmac(key, ...parts) {
    const state = createHmac(HASH, key);
    for (const part of parts) state.update(part);
    return plain(state.digest());
  },

  seal(key, counter, plaintext, aad) {
    assert(key.length === KEY_BYTES, 'a key is 32 bytes');
    const cipher = createCipheriv(CIPHER, key, counterNonce(counter), CIPHER_OPTIONS);
    cipher.setAAD(aad, { plaintextLength: plaintext.length });
    const sealed = new Uint8Array(plaintext.length + TAG_BYTES);
    sealed.set(cipher.update(plaintext), 0);
    cipher.final();
    sealed.set(cipher.getAuthTag(), plaintext.length);
    return sealed;
  },

  open(key, counter, ciphertext, aad) {
    assert(key.length === KEY_BYTES, 'a key is 32 bytes');
    const length = ciphertext.length - TAG_BYTES;
    if (length < 0) return null;
    const decipher = createDecipheriv(CIPHER, key, counterNonce(counter), CIPHER_OPTIONS);
    decipher.setAAD(aad, { plaintextLength: length });
    decipher.setAuthTag(ciphertext.subarray(length));
    const plaintext = plain(decipher.update(ciphertext.subarray(0, length)));
    try {
      decipher.final();
      return plaintext;
    } catch {
      wipe(plaintext);
      return null;
    }
  },

  xseal: nobleXseal,
  xopen: nobleXopen,

  equal: (a, b) => a.length === b.length && timingSafeEqual(a, b),
  wipe,
};
