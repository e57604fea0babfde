// A stand-in for cryptography in simulations of many small worlds, where handshakes and packets are most of the cost: it has the
// shapes and the algebra (both ends agree on a secret, a changed byte does not open, text is not readable) and no strength whatever. It
// is made of integer arithmetic alone, so that it is the same everywhere. Whoever breaks it breaks nothing.

import { assert } from '../base/assert.ts';
import { concat } from '../base/bytes.ts';
import type { CryptoProvider, DhKey, PublicKey } from '../crypto/provider.ts';

const KEY_BYTES = 32;
const TAG_BYTES = 16;
const MAC_BYTES = 16;

/** Two primes below 2^26, so that products are exact in a double; exponents are taken from the key. */
const PRIMES = [67_108_859, 67_108_837] as const;
const GENERATORS = [2, 5] as const;

function power(base: number, exponent: number, prime: number): number {
  let result = 1;
  let square = base;
  for (let rest = exponent; rest > 0; rest >>>= 1) {
    if ((rest & 1) === 1) result = (result * square) % prime;
    square = (square * square) % prime;
  }
  return result;
}

// — mixing —

/** Four lanes of 32 bits over any number of parts (after MurmurHash3, Appleby); expanded by as many finishing rounds as asked for. */
class Mixer {
  readonly #lanes = new Uint32Array(4);
  #length = 0;

  constructor(domain: number) {
    for (let i = 0; i < 4; i++) this.#lanes[i] = Math.imul(domain + i + 1, 0x9e3779b1);
  }

  number(value: number): void {
    const lanes = this.#lanes;
    const lane = this.#length++ & 3;
    let mixed = Math.imul(value, 0xcc9e2d51);
    mixed = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
    const before = (lanes[lane] as number) ^ mixed;
    lanes[lane] = Math.imul((before << 13) | (before >>> 19), 5) + 0xe6546b64 + (lanes[(lane + 1) & 3] as number);
  }

  bytes(part: Uint8Array): void {
    let i = 0;
    for (; i + 4 <= part.length; i += 4) {
      this.number(
        (part[i] as number) |
          ((part[i + 1] as number) << 8) |
          ((part[i + 2] as number) << 16) |
          ((part[i + 3] as number) << 24),
      );
    }
    for (; i < part.length; i++) this.number((part[i] as number) + 1);
    this.number(part.length);
  }

  /** Fills `out`, or is xor-ed into it. */
  squeeze(out: Uint8Array, xor = false): void {
    const lanes = this.#lanes;
    for (let i = 0; i < 4; i++) this.number(this.#length);
    let state = (lanes[0] as number) ^ (lanes[2] as number);
    for (let at = 0; at < out.length; at += 4) {
      const lane = (at >>> 2) & 3;
      state = Math.imul(state ^ (state >>> 16) ^ (lanes[lane] as number), 0x85ebca6b);
      state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35) + at;
      state ^= state >>> 16;
      for (let byte = 0; byte < 4 && at + byte < out.length; byte++) {
        const value = (state >>> (8 * byte)) & 255;
        out[at + byte] = xor ? (out[at + byte] as number) ^ value : value;
      }
    }
  }
}

function mixed(domain: number, length: number, parts: readonly Uint8Array[]): Uint8Array {
  const mixer = new Mixer(domain);
  mixer.bytes(parts.length === 1 ? (parts[0] as Uint8Array) : concat(...parts));
  const out = new Uint8Array(length);
  mixer.squeeze(out);
  return out;
}

const [HASH, MAC, HMAC, STREAM, TAG, SECRET, EXPONENT] = [1, 2, 3, 4, 5, 6, 7];

// — agreement —

/** Two numbers below 2^26, and what fills the rest follows from them. */
function encode(numbers: readonly [number, number]): Uint8Array {
  const bytes = new Uint8Array(KEY_BYTES);
  const view = new DataView(bytes.buffer);
  const mixer = new Mixer(SECRET);
  for (const number of numbers) mixer.number(number);
  mixer.squeeze(bytes);
  view.setUint32(0, numbers[0]);
  view.setUint32(4, numbers[1]);
  return bytes;
}

class StandInKey implements DhKey {
  readonly publicKey: PublicKey;
  readonly #exponents = new Uint32Array(2);

  constructor(privateKey: Uint8Array) {
    assert(privateKey.length === KEY_BYTES, 'a private key is 32 bytes');
    const bytes = mixed(EXPONENT, 8, [privateKey]);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < 2; i++) this.#exponents[i] = (view.getUint32(4 * i) >>> 6) | 1;
    this.publicKey = encode(this.#powers(GENERATORS)) as PublicKey;
  }

  #powers(bases: readonly [number, number]): [number, number] {
    return [
      power(bases[0], this.#exponents[0] as number, PRIMES[0]),
      power(bases[1], this.#exponents[1] as number, PRIMES[1]),
    ];
  }

  dh(publicKey: PublicKey): Uint8Array | null {
    assert(publicKey.length === KEY_BYTES, 'a public key is 32 bytes');
    const view = new DataView(publicKey.buffer, publicKey.byteOffset, KEY_BYTES);
    const [first, second] = this.#powers([view.getUint32(0) % PRIMES[0], view.getUint32(4) % PRIMES[1]]);
    // Of low order: what it gives would be known to everybody.
    return first <= 1 || second <= 1 ? null : encode([first, second]);
  }

  wipe(): void {
    this.#exponents.fill(0);
  }
}

// — sealing —

function crypt(key: Uint8Array, nonce: readonly number[], text: Uint8Array): Uint8Array {
  const out = text.slice();
  const mixer = new Mixer(STREAM);
  mixer.bytes(key);
  for (const number of nonce) mixer.number(number);
  mixer.squeeze(out, true);
  return out;
}

function seal(key: Uint8Array, nonce: readonly number[], plaintext: Uint8Array, aad: Uint8Array): Uint8Array {
  const sealed = new Uint8Array(plaintext.length + TAG_BYTES);
  sealed.set(crypt(key, nonce, plaintext));
  tag(key, nonce, sealed.subarray(0, plaintext.length), aad, sealed.subarray(plaintext.length));
  return sealed;
}

function open(key: Uint8Array, nonce: readonly number[], sealed: Uint8Array, aad: Uint8Array): Uint8Array | null {
  const length = sealed.length - TAG_BYTES;
  if (length < 0) return null;
  const expected = new Uint8Array(TAG_BYTES);
  tag(key, nonce, sealed.subarray(0, length), aad, expected);
  return equal(expected, sealed.subarray(length)) ? crypt(key, nonce, sealed.subarray(0, length)) : null;
}

function tag(
  key: Uint8Array,
  nonce: readonly number[],
  ciphertext: Uint8Array,
  aad: Uint8Array,
  out: Uint8Array,
): void {
  const mixer = new Mixer(TAG);
  mixer.bytes(key);
  for (const number of nonce) mixer.number(number);
  mixer.bytes(aad);
  mixer.bytes(ciphertext);
  mixer.squeeze(out);
}

function counterOf(counter: bigint): readonly number[] {
  return [Number(counter & 0xffff_ffffn), Number(counter >> 32n)];
}

function numbersOf(nonce: Uint8Array): readonly number[] {
  return [...mixed(HASH, 4, [nonce])];
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

export const standInProvider: CryptoProvider = {
  name: 'standIn',
  importPrivateKey: (privateKey) => new StandInKey(privateKey),
  hash: (...parts) => mixed(HASH, 32, parts),
  mac: (key, ...parts) => mixed(MAC, MAC_BYTES, [key, ...parts]),
  hmac: (key, ...parts) => mixed(HMAC, 32, [key, ...parts]),
  seal: (key, counter, plaintext, aad) => seal(key, counterOf(counter), plaintext, aad),
  open: (key, counter, sealed, aad) => open(key, counterOf(counter), sealed, aad),
  xseal: (key, nonce, plaintext, aad) => seal(key, numbersOf(nonce), plaintext, aad),
  xopen: (key, nonce, sealed, aad) => open(key, numbersOf(nonce), sealed, aad),
  equal,
  wipe: (...secrets) => {
    for (const secret of secrets) secret.fill(0);
  },
};
