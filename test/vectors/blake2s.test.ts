// BLAKE2s (RFC 7693) as hash, keyed mac and HMAC (RFC 2104), and the HKDF of the Noise framework §4.3, over every provider.
// Where no published vector has the shape that WireGuard uses (16 bytes keyed, HMAC), values were computed with CPython
// 3.11's hashlib, which is the reference C code.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ascii, concat, toHex } from '../../src/base/bytes.ts';
import { hkdf2, hkdf3 } from '../../src/noise/symmetric-state.ts';
import { hex, providers } from './providers.ts';

/** RFC 7693 appendix E's generator of inputs. */
function selftestSequence(length: number): Uint8Array {
  const out = new Uint8Array(length);
  let a = Math.imul(0xdead4bad, length) >>> 0;
  let b = 1;
  for (let i = 0; i < length; i++) {
    const t = (a + b) >>> 0;
    a = b;
    b = t;
    out[i] = t >>> 24;
  }
  return out;
}

function sequence(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + seed * 13 + length) & 255);
}

const KEY = Uint8Array.from({ length: 32 }, (_, i) => i);
const INPUT = Uint8Array.from({ length: 32 }, (_, i) => 64 + i);

describe.each(providers.map((c) => [c.name, c] as const))('BLAKE2s with %s', (_name, c) => {
  test('RFC 7693 appendix B: abc', () => {
    expect(toHex(c.hash(ascii('abc')))).toBe('508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982');
  });

  test('RFC 7693 appendix E: the self-test, cut to a 32-byte hash and a 16-byte mac', () => {
    const outputs = [0, 3, 64, 65, 255, 1024].flatMap((length) => {
      const input = selftestSequence(length);
      return [c.hash(input), c.mac(selftestSequence(16), input)];
    });
    expect(toHex(c.hash(...outputs))).toBe('20c157f1fbb9c0af984a38b656ac9ea7decb8ab94d15e6f82703d3043c3e0702');
  });

  test('all input lengths from 0 to 256, all key lengths', () => {
    const lengths = Array.from({ length: 257 }, (_, n) => n);
    const hashes = lengths.map((n) => c.hash(sequence(n, 1)));
    expect(toHex(c.hash(...hashes))).toBe('78991c2ea76198886589e8b357880a76172042b993e608e69dddf5cbc9848662');
    const macs = lengths.map((n) => c.mac(sequence((n % 32) + 1, 2), sequence(n, 1)));
    expect(toHex(c.hash(...macs))).toBe('e430d9ff668aa779f536bc668bbdc6aa84e50786081ec0271488826265132661');
    const hmacs = lengths.map((n) => c.hmac(sequence(n % 100, 3), sequence(n, 1)));
    expect(toHex(c.hash(...hmacs))).toBe('3652a0d653207104410276406b5ed8fcd393b7c50df75c7e35b085068e725ebd');
  });

  test('RFC 2104: HMAC, also with a key longer than a block', () => {
    expect(toHex(c.hmac(KEY, INPUT))).toBe('2c89e64cda4681bf3a4112a300cca0ddf04db1f9dd452568b639e88baeadf8ef');
    const long = Uint8Array.from({ length: 100 }, (_, i) => i);
    expect(toHex(c.hmac(long, ascii('warren')))).toBe(
      '4718e129f6c4ecab747a018c565c8d25326d97a54949eedfe9fcd4fe50166342',
    );
  });

  test('Noise §4.3: HKDF with two and three outputs', () => {
    const expected = [
      'a308e29d3a10567bd1ac089e27310bd54ec6522ca2118240c3dd2416f7dc23fa',
      'c68caa124476385ed5f83d7aa98ebe58c9b636f48586d36061cf3781cc84b9a7',
      '089a9e4090ac20caaafab1a1e6d221242a8f1f547f4c2aea31d6312858451388',
    ];
    expect(hkdf2(c, KEY, INPUT).map(toHex)).toEqual(expected.slice(0, 2));
    expect(hkdf3(c, KEY, INPUT).map(toHex)).toEqual(expected);
  });

  test('parts are hashed as their concatenation', () => {
    const part = fc.uint8Array({ maxLength: 100 });
    const key = fc.uint8Array({ minLength: 1, maxLength: 32 });
    fc.assert(
      fc.property(fc.array(part, { maxLength: 5 }), key, (parts, k) => {
        const whole = concat(...parts);
        expect(c.hash(...parts)).toEqual(c.hash(whole));
        expect(c.mac(k, ...parts)).toEqual(c.mac(k, whole));
        expect(c.hmac(k, ...parts)).toEqual(c.hmac(k, whole));
      }),
    );
  });

  test('results are plain arrays of their own, whose slices are copies', () => {
    for (const result of [c.hash(KEY), c.mac(KEY, INPUT), c.hmac(KEY, INPUT)]) {
      expect(result.constructor).toBe(Uint8Array);
      const copy = result.slice();
      result.fill(0);
      expect(copy.some((byte) => byte !== 0)).toBe(true);
    }
  });

  test('a mac key that BLAKE2s cannot take is our bug', () => {
    expect(() => c.mac(new Uint8Array(0), INPUT)).toThrow(/invariant/);
    expect(() => c.mac(new Uint8Array(33), INPUT)).toThrow(/invariant/);
  });

  test('equal compares contents and lengths; wipe zeroes', () => {
    const copy = KEY.slice();
    expect(c.equal(KEY, copy)).toBe(true);
    expect(c.equal(KEY, copy.subarray(0, 31))).toBe(false);
    for (let i = 0; i < 32 * 8; i++) {
      const flipped = KEY.slice();
      flipped[i >> 3] = (flipped[i >> 3] as number) ^ (1 << (i & 7));
      expect(c.equal(KEY, flipped)).toBe(false);
    }
    const other = hex('0102');
    c.wipe(copy, other);
    expect(copy).toEqual(new Uint8Array(32));
    expect(other).toEqual(new Uint8Array(2));
  });
});
