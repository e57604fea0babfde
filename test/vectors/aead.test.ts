// ChaCha20-Poly1305 (RFC 8439) and XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) over every provider: the published
// vectors, every length around the block edges, and every forgery of one bit.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ascii, concat, toHex } from '../../src/base/bytes.ts';
import { hex, providers } from './providers.ts';

const UTF8 = new TextEncoder();
const NOTHING = new Uint8Array(0);

/** RFC 8439 A.5; its nonce begins with 32 zero bits, as WireGuard's do. */
const A5 = {
  key: hex('1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0'),
  counter: 0x0807060504030201n,
  aad: hex('f33388860000000000004e91'),
  plaintext: UTF8.encode(
    'Internet-Drafts are draft documents valid for a maximum of six months and may be updated, replaced, or obsoleted by ' +
      'other documents at any time. It is inappropriate to use Internet-Drafts as reference material or to cite them other ' +
      'than as /\u201cwork in progress./\u201d',
  ),
  sealed: hex(`
  64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb2
  4c6cfc18755d43eea09ee94e382d26b0bdb7b73c321b0100d4f03b7f355894cf
  332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c855
  9797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4
  b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523e
  af4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a
  0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a10
  49e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29
  a6ad5cb4022b02709beead9d67890cbb22392336fea1851f38
  `),
};

/** draft-irtf-cfrg-xchacha-03 A.3.1. */
const XCHACHA = {
  key: Uint8Array.from({ length: 32 }, (_, i) => 0x80 + i),
  nonce: Uint8Array.from({ length: 24 }, (_, i) => 0x40 + i),
  aad: hex('50515253c0c1c2c3c4c5c6c7'),
  plaintext: ascii(
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
  ),
  sealed: hex(`
    bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb
    731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452
    2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9
    21f9664c97637da9768812f615c68b13b52e
    c0875924c1c7987947deafd8780acf49
  `),
};

/** Around the edges of Poly1305's 16-byte and ChaCha20's 64-byte blocks, and the sizes of full packets. */
const LENGTHS = [...Array.from({ length: 146 }, (_, n) => n), 255, 256, 257, 511, 512, 513, 1419, 1420, 1436, 2048];

function bytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + length) & 255);
}

function withBitFlipped(data: Uint8Array, bit: number): Uint8Array {
  const flipped = data.slice();
  flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
  return flipped;
}

describe.each(providers.map((c) => [c.name, c] as const))('AEADs with %s', (_name, c) => {
  test('RFC 8439 A.5', () => {
    expect(toHex(c.seal(A5.key, A5.counter, A5.plaintext, A5.aad))).toBe(toHex(A5.sealed));
    expect(c.open(A5.key, A5.counter, A5.sealed, A5.aad)).toEqual(A5.plaintext);
  });

  test('draft-irtf-cfrg-xchacha A.3.1', () => {
    expect(toHex(c.xseal(XCHACHA.key, XCHACHA.nonce, XCHACHA.plaintext, XCHACHA.aad))).toBe(toHex(XCHACHA.sealed));
    expect(c.xopen(XCHACHA.key, XCHACHA.nonce, XCHACHA.sealed, XCHACHA.aad)).toEqual(XCHACHA.plaintext);
  });

  test('every bit of ciphertext, tag and associated data is authenticated', () => {
    const plaintext = bytes(33);
    const aad = bytes(17);
    const sealed = c.seal(A5.key, 1n, plaintext, aad);
    const xsealed = c.xseal(A5.key, XCHACHA.nonce, plaintext, aad);
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      expect(c.open(A5.key, 1n, withBitFlipped(sealed, bit), aad)).toBeNull();
      expect(c.xopen(A5.key, XCHACHA.nonce, withBitFlipped(xsealed, bit), aad)).toBeNull();
    }
    for (let bit = 0; bit < aad.length * 8; bit++) {
      expect(c.open(A5.key, 1n, sealed, withBitFlipped(aad, bit))).toBeNull();
      expect(c.xopen(A5.key, XCHACHA.nonce, xsealed, withBitFlipped(aad, bit))).toBeNull();
    }
    expect(c.open(A5.key, 2n, sealed, aad)).toBeNull();
    expect(c.open(A5.key, 1n + 2n ** 32n, sealed, aad)).toBeNull();
    expect(c.open(XCHACHA.key, 1n, sealed, aad)).toBeNull();
  });

  test('what is shorter than a tag, and every truncation, is refused', () => {
    const sealed = c.seal(A5.key, 1n, bytes(20), NOTHING);
    const xsealed = c.xseal(A5.key, XCHACHA.nonce, bytes(20), NOTHING);
    for (let length = 0; length < sealed.length; length++) {
      expect(c.open(A5.key, 1n, sealed.subarray(0, length), NOTHING)).toBeNull();
      expect(c.xopen(A5.key, XCHACHA.nonce, xsealed.subarray(0, length), NOTHING)).toBeNull();
    }
  });

  test('counters take all 64 bits', () => {
    const counters = [0n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n + 1n, 2n ** 64n - 2n ** 13n - 2n];
    const tags = counters.map((counter) => toHex(c.seal(A5.key, counter, NOTHING, NOTHING)));
    expect(new Set(tags).size).toBe(counters.length);
  });

  test('a key or nonce of the wrong size is our bug', () => {
    expect(() => c.seal(new Uint8Array(31), 0n, NOTHING, NOTHING)).toThrow(/invariant/);
    expect(() => c.open(new Uint8Array(33), 0n, bytes(16), NOTHING)).toThrow(/invariant/);
    expect(() => c.xseal(A5.key, new Uint8Array(12), NOTHING, NOTHING)).toThrow(/invariant/);
    expect(() => c.xopen(A5.key, new Uint8Array(12), bytes(16), NOTHING)).toThrow(/invariant/);
  });

  test('random input never opens and never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.uint8Array({ maxLength: 40 }), (ciphertext, aad) => {
        expect(c.open(A5.key, 7n, ciphertext, aad)).toBeNull();
        expect(c.xopen(A5.key, XCHACHA.nonce, ciphertext, aad)).toBeNull();
      }),
    );
  });
});

test('the providers agree, and open one another, at every length around the block edges', () => {
  const [first, ...others] = providers;
  if (first === undefined) throw new Error('no providers');
  for (const length of LENGTHS) {
    const plaintext = bytes(length);
    const aad = bytes(length % 35);
    const sealed = first.seal(A5.key, BigInt(length), plaintext, aad);
    const xsealed = first.xseal(A5.key, XCHACHA.nonce, plaintext, aad);
    for (const c of others) {
      expect(c.seal(A5.key, BigInt(length), plaintext, aad)).toEqual(sealed);
      expect(c.open(A5.key, BigInt(length), sealed, aad)).toEqual(plaintext);
      expect(c.xseal(A5.key, XCHACHA.nonce, plaintext, aad)).toEqual(xsealed);
      expect(c.xopen(A5.key, XCHACHA.nonce, xsealed, aad)).toEqual(plaintext);
    }
  }
});

test('inputs may be views into larger buffers, and are left as they were', () => {
  for (const c of providers) {
    const whole = concat(bytes(5), A5.plaintext, bytes(7));
    const view = whole.subarray(5, 5 + A5.plaintext.length);
    expect(c.seal(A5.key, A5.counter, view, A5.aad)).toEqual(A5.sealed);
    const sealed = concat(bytes(3), A5.sealed, bytes(9)).subarray(3, 3 + A5.sealed.length);
    expect(c.open(A5.key, A5.counter, sealed, A5.aad)).toEqual(A5.plaintext);
    expect(whole).toEqual(concat(bytes(5), A5.plaintext, bytes(7)));
    expect(sealed).toEqual(A5.sealed);
  }
});
