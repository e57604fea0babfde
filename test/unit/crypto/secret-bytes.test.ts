// What the providers share: clamping (RFC 7748 §5), nonces (paper §5.4.6), comparison and the all-zero check.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import { clamp, counterNonce, equalConstantTime, isAllZero } from '../../../src/crypto/secret-bytes.ts';

test('RFC 7748 §5: clamping clears three low bits and the top one, and sets the one below it', () => {
  expect(toHex(clamp(new Uint8Array(32).fill(0xff)))).toBe(`f8${'ff'.repeat(30)}7f`);
  expect(toHex(clamp(new Uint8Array(32)))).toBe(`${'00'.repeat(31)}40`);
  expect(() => clamp(new Uint8Array(31))).toThrow(/invariant/);
});

test('clamping makes a copy and changes a clamped key no further', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (key) => {
      const before = key.slice();
      const clamped = clamp(key);
      expect(key).toEqual(before);
      expect(clamped).not.toBe(key);
      expect(clamp(clamped)).toEqual(clamped);
      expect(clamped.subarray(1, 31)).toEqual(key.subarray(1, 31));
    }),
  );
});

test('a nonce is 32 zero bits and the counter, little-endian, in all its 64 bits', () => {
  expect(toHex(counterNonce(0n))).toBe('000000000000000000000000');
  expect(toHex(counterNonce(4294967301n))).toBe('000000000500000001000000');
  expect(toHex(counterNonce(2n ** 64n - 2n))).toBe('00000000feffffffffffffff');
});

test('equality and the all-zero check see every bit', () => {
  const zero = new Uint8Array(32);
  expect(isAllZero(zero)).toBe(true);
  expect(equalConstantTime(zero, new Uint8Array(32))).toBe(true);
  expect(equalConstantTime(zero, new Uint8Array(31))).toBe(false);
  for (let bit = 0; bit < 256; bit++) {
    const one = new Uint8Array(32);
    one[bit >> 3] = 1 << (bit & 7);
    expect(isAllZero(one)).toBe(false);
    expect(equalConstantTime(zero, one)).toBe(false);
  }
});
