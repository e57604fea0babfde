// The CipherState and SymmetricState objects of the Noise Protocol Framework, revision 34, §5.1 and §5.2, and HKDF
// (§4.3), with ChaChaPoly and BLAKE2s from the provider. MixKey derives the cipher key only when something is
// encrypted: tokens in a row overwrite it unused. Leaves out rekeying and handshakes without encryption.

import { assert } from '../base/assert.ts';
import type { CryptoProvider } from '../crypto/provider.ts';

const NOTHING = new Uint8Array(0);
const ONE = Uint8Array.of(1);
const TWO = Uint8Array.of(2);
const THREE = Uint8Array.of(3);

/** HKDF with two outputs of 32 bytes (Noise §4.3); both are the caller's to wipe. */
export function hkdf2(c: CryptoProvider, chainingKey: Uint8Array, input: Uint8Array): [Uint8Array, Uint8Array] {
  const temp = c.hmac(chainingKey, input);
  const first = c.hmac(temp, ONE);
  const second = c.hmac(temp, first, TWO);
  c.wipe(temp);
  return [first, second];
}

/** HKDF with three outputs of 32 bytes (Noise §4.3); all are the caller's to wipe. */
export function hkdf3(
  c: CryptoProvider,
  chainingKey: Uint8Array,
  input: Uint8Array,
): [Uint8Array, Uint8Array, Uint8Array] {
  const temp = c.hmac(chainingKey, input);
  const first = c.hmac(temp, ONE);
  const second = c.hmac(temp, first, TWO);
  const third = c.hmac(temp, second, THREE);
  c.wipe(temp);
  return [first, second, third];
}

/** Owns its secrets; `wipe` zeroes them and ends its use. */
export class SymmetricState {
  readonly #c: CryptoProvider;
  #chainingKey: Uint8Array;
  #hash: Uint8Array;
  /** The inner key of the last MixKey's HKDF while its second output, the cipher key, has not been asked for. */
  #pending: Uint8Array | null = null;
  #key: Uint8Array | null = null;
  #nonce = 0n;

  private constructor(c: CryptoProvider, chainingKey: Uint8Array, hash: Uint8Array) {
    this.#c = c;
    this.#chainingKey = chainingKey;
    this.#hash = hash;
  }

  /** InitializeSymmetric(protocol_name), for names longer than HASHLEN (32 bytes). */
  static initialize(c: CryptoProvider, protocolName: Uint8Array): SymmetricState {
    assert(protocolName.length > 32, 'the protocol name is hashed');
    const hash = c.hash(protocolName);
    return new SymmetricState(c, hash.slice(), hash);
  }

  /** `ck`: borrowed view of a secret. For tests and for those who derive more from it. */
  get chainingKey(): Uint8Array {
    return this.#chainingKey;
  }

  /** GetHandshakeHash(): `h`, which names the whole transcript. Borrowed, public. */
  get handshakeHash(): Uint8Array {
    return this.#hash;
  }

  /** An independent copy, so that a message that turns out to be forged leaves the original as it was. */
  clone(): SymmetricState {
    const copy = new SymmetricState(this.#c, this.#chainingKey.slice(), this.#hash.slice());
    copy.#pending = this.#pending?.slice() ?? null;
    copy.#key = this.#key?.slice() ?? null;
    copy.#nonce = this.#nonce;
    return copy;
  }

  /** MixHash(data). */
  mixHash(data: Uint8Array): void {
    this.#hash = this.#c.hash(this.#hash, data);
  }

  /** MixKey(input_key_material); the input stays the caller's to wipe. */
  mixKey(input: Uint8Array): void {
    const temp = this.#c.hmac(this.#chainingKey, input);
    this.#setChainingKey(this.#c.hmac(temp, ONE));
    this.#dropKey();
    this.#pending = temp;
  }

  /** MixKeyAndHash(input_key_material). */
  mixKeyAndHash(input: Uint8Array): void {
    const [chainingKey, hashed, key] = hkdf3(this.#c, this.#chainingKey, input);
    this.#setChainingKey(chainingKey);
    this.mixHash(hashed);
    this.#c.wipe(hashed);
    this.#dropKey();
    this.#key = key;
  }

  /** EncryptAndHash(plaintext): ciphertext ‖ tag. */
  encryptAndHash(plaintext: Uint8Array): Uint8Array {
    const ciphertext = this.#c.seal(this.#cipherKey(), this.#nonce, plaintext, this.#hash);
    this.#nonce += 1n;
    this.mixHash(ciphertext);
    return ciphertext;
  }

  /** DecryptAndHash(ciphertext); null, and nothing changed, when it does not verify. */
  decryptAndHash(ciphertext: Uint8Array): Uint8Array | null {
    const plaintext = this.#c.open(this.#cipherKey(), this.#nonce, ciphertext, this.#hash);
    if (plaintext === null) return null;
    this.#nonce += 1n;
    this.mixHash(ciphertext);
    return plaintext;
  }

  /** Split(): the key of the initiator's messages, then the responder's. The caller wipes them, and this state. */
  split(): [Uint8Array, Uint8Array] {
    return hkdf2(this.#c, this.#chainingKey, NOTHING);
  }

  wipe(): void {
    this.#c.wipe(this.#chainingKey, this.#hash);
    this.#dropKey();
  }

  #cipherKey(): Uint8Array {
    if (this.#pending !== null) {
      this.#key = this.#c.hmac(this.#pending, this.#chainingKey, TWO);
      this.#c.wipe(this.#pending);
      this.#pending = null;
    }
    assert(this.#key !== null, 'a key was mixed before anything is encrypted');
    return this.#key;
  }

  #setChainingKey(chainingKey: Uint8Array): void {
    this.#c.wipe(this.#chainingKey);
    this.#chainingKey = chainingKey;
  }

  #dropKey(): void {
    if (this.#pending !== null) this.#c.wipe(this.#pending);
    if (this.#key !== null) this.#c.wipe(this.#key);
    this.#pending = null;
    this.#key = null;
    this.#nonce = 0n;
  }
}
