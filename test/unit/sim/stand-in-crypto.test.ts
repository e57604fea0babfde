// The stand-in for cryptography does what the protocol needs of it, but for strength.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { PublicKey } from '../../../src/crypto/provider.ts';
import { standInProvider as crypto } from '../../../src/sim/stand-in-crypto.ts';

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const text = fc.uint8Array({ maxLength: 300 });
const counter = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const dh = (mine: Uint8Array, theirs: Uint8Array) =>
  crypto.importPrivateKey(mine).dh(crypto.importPrivateKey(theirs).publicKey);

test('both ends agree on a secret, which a third has not', () => {
  fc.assert(
    fc.property(bytes(32), bytes(32), bytes(32), (a, b, c) => {
      fc.pre(!crypto.equal(a, b) && !crypto.equal(b, c) && !crypto.equal(a, c));
      expect(dh(a, b)).toEqual(dh(b, a));
      expect(dh(a, b)).not.toEqual(dh(a, c));
    }),
  );
});

test('a public key of low order gives no secret', () => {
  expect(crypto.importPrivateKey(new Uint8Array(32).fill(7)).dh(new Uint8Array(32) as PublicKey)).toBeNull();
});

test('what is sealed opens, and not after a change of any of its parts', () => {
  fc.assert(
    fc.property(bytes(32), counter, text, text, fc.nat(), (key, at, plaintext, aad, which) => {
      const sealed = crypto.seal(key, at, plaintext, aad);
      expect(crypto.open(key, at, sealed, aad)).toEqual(plaintext);
      expect(crypto.open(key, at ^ 1n, sealed, aad)).toBeNull();
      expect(crypto.open(key, at, sealed, Uint8Array.of(...aad, 0))).toBeNull();
      const altered = sealed.slice();
      altered[which % altered.length] = (altered[which % altered.length] as number) ^ 1;
      expect(crypto.open(key, at, altered, aad)).toBeNull();
      const otherKey = key.slice();
      otherKey[which % 32] = (otherKey[which % 32] as number) ^ 1;
      expect(crypto.open(otherKey, at, sealed, aad)).toBeNull();
    }),
  );
  expect(crypto.open(new Uint8Array(32), 0n, new Uint8Array(15), new Uint8Array())).toBeNull();
});

test('text is not readable, and the same text is other bytes each time', () => {
  const key = new Uint8Array(32).fill(1);
  const plaintext = new Uint8Array(64).fill(0x42);
  const [first, second] = [0n, 1n].map((at) => crypto.seal(key, at, plaintext, new Uint8Array()));
  expect(first?.subarray(0, 64)).not.toEqual(plaintext);
  expect(first).not.toEqual(second);
  expect(new Set(first?.subarray(0, 64)).size).toBeGreaterThan(40);
});

test('with a nonce of 24 bytes likewise', () => {
  fc.assert(
    fc.property(bytes(32), bytes(24), text, text, (key, nonce, plaintext, aad) => {
      const sealed = crypto.xseal(key, nonce, plaintext, aad);
      expect(crypto.xopen(key, nonce, sealed, aad)).toEqual(plaintext);
      const other = nonce.slice();
      other[23] = (other[23] as number) ^ 1;
      expect(crypto.xopen(key, other, sealed, aad)).toBeNull();
    }),
  );
});

test('hashes are of the concatenation, of the right length, and differ by key and by kind', () => {
  fc.assert(
    fc.property(bytes(32), text, text, (key, a, b) => {
      const whole = Uint8Array.of(...a, ...b);
      expect(crypto.hash(a, b)).toEqual(crypto.hash(whole));
      expect(crypto.hash(a, b)).toHaveLength(32);
      expect(crypto.mac(key, a, b)).toEqual(crypto.mac(key, whole));
      expect(crypto.mac(key, a)).toHaveLength(16);
      expect(crypto.hmac(key, a, b)).toEqual(crypto.hmac(key, whole));
      expect(crypto.hmac(key, a)).not.toEqual(crypto.hash(key, a));
    }),
  );
});

test('no two of many inputs have one hash', () => {
  const seen = new Set<string>();
  for (let i = 0; i < 20_000; i++) seen.add(crypto.hash(Uint8Array.of(i & 255, i >> 8)).join());
  expect(seen.size).toBe(20_000);
});
