// The primitives that the protocol core needs, behind one interface with several implementations: node (node:crypto,
// the default), noble (@noble/*, pure TypeScript: the reference and the simulator's) and sodium (libsodium-wrappers).
// One vector suite runs over all of them.
//
// Buffers: every input is borrowed for the call, every returned array is fresh and owned by the caller, who zeroes it
// with `wipe` when it is secret. Nothing here throws on bad input from the network: failure is `null` or `false`.
// Wrong lengths from our own code are broken invariants.

import type { Brand } from '../base/brand.ts';

/** 32 bytes, clamped X25519 scalar (RFC 7748). */
export type PrivateKey = Brand<Uint8Array, 'PrivateKey'>;
/** 32 bytes, X25519 u-coordinate. */
export type PublicKey = Brand<Uint8Array, 'PublicKey'>;
/** 32 bytes. */
export type SymmetricKey = Brand<Uint8Array, 'SymmetricKey'>;

/** A private key prepared for many X25519 operations; `wipe` zeroes what can be zeroed and makes it unusable. */
export interface DhKey {
  readonly publicKey: PublicKey;
  /** The 32-byte shared secret, or null when it is all zeros (a low-order point, RFC 7748 §6.1). */
  dh(publicKey: PublicKey): Uint8Array | null;
  wipe(): void;
}

export interface CryptoProvider {
  /** `standIn`: none at all, for simulations (src/sim). */
  readonly name: 'node' | 'noble' | 'sodium' | 'standIn';

  /** `privateKey`: 32 bytes, clamped by this call into a copy. */
  importPrivateKey(privateKey: Uint8Array): DhKey;

  /** BLAKE2s-256 (RFC 7693), unkeyed, of the concatenation of `parts`. 32 bytes. */
  hash(...parts: readonly Uint8Array[]): Uint8Array;
  /** Keyed BLAKE2s with a 16-byte output: the paper's MAC(key, input). `key`: 1 … 32 bytes. */
  mac(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array;
  /** HMAC-BLAKE2s-256 (RFC 2104). 32 bytes. */
  hmac(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array;

  /** ChaCha20-Poly1305 (RFC 8439), nonce = 32 zero bits ‖ LE64(counter). Result: ciphertext ‖ 16-byte tag. */
  seal(key: Uint8Array, counter: bigint, plaintext: Uint8Array, aad: Uint8Array): Uint8Array;
  /** Null when the tag does not verify or `ciphertext` is shorter than a tag. */
  open(key: Uint8Array, counter: bigint, ciphertext: Uint8Array, aad: Uint8Array): Uint8Array | null;

  /** XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha), 24-byte nonce. */
  xseal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, aad: Uint8Array): Uint8Array;
  xopen(key: Uint8Array, nonce: Uint8Array, ciphertext: Uint8Array, aad: Uint8Array): Uint8Array | null;

  /** Constant time in the contents; false at once when the lengths differ. */
  equal(a: Uint8Array, b: Uint8Array): boolean;
  /** Zeroes each buffer. */
  wipe(...secrets: readonly Uint8Array[]): void;
}
