// X25519: RFC 7748 §5.2 and §6.1, and edge cases in the manner of Wycheproof (C2SP/wycheproof, x25519_test.json, some of
// whose twist vectors are quoted by number), over every provider.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../src/base/bytes.ts';
import type { CryptoProvider, PublicKey } from '../../src/crypto/provider.ts';
import { hex, providers } from './providers.ts';

function dh(c: CryptoProvider, scalar: Uint8Array, u: Uint8Array): string | null {
  const secret = c.importPrivateKey(scalar).dh(u as PublicKey);
  return secret === null ? null : toHex(secret);
}

/** [scalar, u, result] */
const RFC_7748_5_2 = [
  [
    'a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4',
    'e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c',
    'c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552',
  ],
  [
    '4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d',
    'e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493',
    '95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957',
  ],
] as const;

/** Wycheproof tcId: [scalar, u, result]. The u of 1 is on the curve, the others on its twist. */
const WYCHEPROOF = {
  1: [
    'c8a9d5a91091ad851c668b0736c1c9a02936c0d3ad62670858088047ba057475',
    '504a36999f489cd2fdbc08baff3d88fa00569ba986cba22548ffde80f9806829',
    '436a2c040cf45fea9b29a0cb81b1f41458f863d0d61b453d0a982720d6d61320',
  ],
  2: [
    'd85d8c061a50804ac488ad774ac716c3f5ba714b2712e048491379a500211958',
    '63aa40c6e38346c5caf23a6df0a5e6c80889a08647e551b3563449befcfc9733',
    '279df67a7c4611db4708a0e8282b195e5ac0ed6f4b2f292c6fbd0acac30d1332',
  ],
  6: [
    '08da77b26d06dff9d9f7fd4c5b3769f8cdd5b30516a5ab806be324ff3eb69e60',
    'fa695fc7be8d1be5bf704898f388c452bafdd3b8eae805f8681a8d15c2d4e142',
    'b6f8e2fcb1affc79e2ff798319b2701139b95ad6dd07f05cbac78bd83edfd92e',
  ],
  7: [
    'd03edde9f3e7b799045f9ac3793d4a9277dadeadc41bec0290f81f744f73775f',
    '0200000000000000000000000000000000000000000000000000000000000000',
    'b87a1722cc6c1e2feecb54e97abd5a22acc27616f78f6e315fd2b73d9f221e57',
  ],
  19: [
    '105d621e1ef339c3d99245cfb77cd3a5bd0c4427a0e4d8752c3b51f045889b4f',
    'ffffff030000f8ffff1f0000c0ffffff000000feffff070000f0ffff3f000000',
    '61eace52da5f5ecefafa4f199b077ff64f2e3d2a6ece6f8ec0497826b212ef5f',
  ],
  25: [
    '300305eb002bf86c71fe9c0b311993727b9dc618d0ce7251d0dfd8552d17905d',
    'ffffffffffffff00000000000000ffffffffffffff00000000000000ffffff7f',
    'f8624d6e35e6c548ac47832f2e5d151a8e53b9290363b28d2ab8d84ab7cb6a72',
  ],
  27: [
    '806e7f26ca3246de8182946cbed09f52b95da626c823c7b50450001a47b7b252',
    'edfffffffffffffffffffffffffffeffffffffffffffffffffffffffffffff7f',
    'bca4a0724f5c1feb184078448c898c8620e7caf81f64cca746f557dff2498859',
  ],
  31: [
    'd02456e456911d3c6cd054933199807732dfdc958642ad1aebe900c793bef24a',
    'eaffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    '07ba5fcbda21a9a17845c401492b10e6de0a168d5c94b606694c11bac39bea41',
  ],
} as const;

/** Every encoding of a point whose order divides 8, on the curve or the twist: p = 2^255 − 19, with and without bit 255. */
const LOW_ORDER = [
  '0000000000000000000000000000000000000000000000000000000000000000', // 0
  '0100000000000000000000000000000000000000000000000000000000000000', // 1
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800', // order 8
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157', // order 8
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f', // p − 1
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f', // p
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f', // p + 1
];

/** `value` as 32 little-endian bytes. */
function encodeU(value: bigint): Uint8Array {
  return hex(value.toString(16).padStart(64, '0')).reverse();
}

const P = 2n ** 255n - 19n;
const SCALAR = hex(WYCHEPROOF[1][0]);

describe.each(providers.map((c) => [c.name, c] as const))('X25519 with %s', (_name, c) => {
  test.each(RFC_7748_5_2)('RFC 7748 §5.2: scalar %s', (scalar, u, expected) => {
    expect(dh(c, hex(scalar), hex(u))).toBe(expected);
  });

  test('RFC 7748 §5.2: iterated once and a thousand times', () => {
    let k = hex('0900000000000000000000000000000000000000000000000000000000000000');
    let u = k;
    for (let i = 1; i <= 1000; i++) {
      const next = c.importPrivateKey(k).dh(u as PublicKey) as Uint8Array;
      u = k;
      k = next;
      if (i === 1) expect(toHex(k)).toBe('422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079');
    }
    expect(toHex(k)).toBe('684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51');
  }, 30_000);

  test('RFC 7748 §6.1: Alice and Bob', () => {
    const alice = c.importPrivateKey(hex('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'));
    const bob = c.importPrivateKey(hex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'));
    expect(toHex(alice.publicKey)).toBe('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a');
    expect(toHex(bob.publicKey)).toBe('de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f');
    const shared = '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742';
    expect(toHex(alice.dh(bob.publicKey) as Uint8Array)).toBe(shared);
    expect(toHex(bob.dh(alice.publicKey) as Uint8Array)).toBe(shared);
  });

  test.each(Object.entries(WYCHEPROOF))(
    'Wycheproof tcId %s: points on the twist and limb edges',
    (_id, [k, u, shared]) => {
      expect(dh(c, hex(k), hex(u))).toBe(shared);
    },
  );

  test.each(LOW_ORDER)('RFC 7748 §6.1: the low-order point %s gives no secret', (u) => {
    const masked = hex(u);
    expect(dh(c, SCALAR, masked)).toBeNull();
    masked[31] = (masked[31] as number) | 128;
    expect(dh(c, SCALAR, masked)).toBeNull();
  });

  test('RFC 7748 §5: a non-canonical u is taken modulo p, and bit 255 is ignored', () => {
    for (let u = 2n; u < 19n; u++) {
      const canonical = dh(c, SCALAR, encodeU(u));
      expect(canonical).not.toBeNull();
      expect(dh(c, SCALAR, encodeU(u + P))).toBe(canonical);
      expect(dh(c, SCALAR, encodeU(u + 2n ** 255n))).toBe(canonical);
    }
  });

  test('RFC 7748 §5: the scalar is clamped on import, into a copy', () => {
    const unclamped = new Uint8Array(32).fill(0xff);
    const clamped = unclamped.slice();
    clamped[0] = 0xf8;
    clamped[31] = 0x7f;
    expect(toHex(c.importPrivateKey(unclamped).publicKey)).toBe(toHex(c.importPrivateKey(clamped).publicKey));
    expect(unclamped).toEqual(new Uint8Array(32).fill(0xff));
  });

  test('a wiped key is unusable, and wiping twice is harmless', () => {
    const key = c.importPrivateKey(SCALAR);
    key.wipe();
    key.wipe();
    expect(() => key.dh(hex(WYCHEPROOF[1][1]) as PublicKey)).toThrow(/wiped/);
  });

  test('both ends of an exchange agree', () => {
    const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 });
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        const alice = c.importPrivateKey(a);
        const bob = c.importPrivateKey(b);
        expect(alice.dh(bob.publicKey)).toEqual(bob.dh(alice.publicKey));
      }),
      { numRuns: 20 },
    );
  });
});

test('the providers agree on public keys and secrets, whatever the bytes', () => {
  const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 });
  fc.assert(
    fc.property(bytes, bytes, (scalar, u) => {
      const results = providers.map((c) => [toHex(c.importPrivateKey(scalar).publicKey), dh(c, scalar, u)]);
      for (const result of results) expect(result).toEqual(results[0]);
    }),
    { numRuns: 50 },
  );
});
