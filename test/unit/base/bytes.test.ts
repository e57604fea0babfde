// Hexadecimal, base64 (RFC 4648) and words, held against Buffer and DataView; strictness in what is read, as the control
// socket needs it.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ascii,
  concat,
  equalBytes,
  fromBase64,
  fromHex,
  readU16be,
  readU32be,
  readU32le,
  readU64le,
  toBase64,
  toHex,
  writeU16be,
  writeU32be,
  writeU32le,
  writeU64le,
} from '../../../src/base/bytes.ts';

const bytes = fc.uint8Array({ maxLength: 70 });

describe('hexadecimal', () => {
  it('is written in lower case and read in either', () => {
    expect(toHex(new Uint8Array([0, 10, 0xff]))).toBe('000aff');
    expect(fromHex('00Aa fF'.replace(' ', ''))).toEqual(new Uint8Array([0, 0xaa, 0xff]));
    expect(fromHex('')).toEqual(new Uint8Array(0));
  });

  it('is what Buffer says', () => {
    fc.assert(
      fc.property(bytes, (value) => {
        expect(toHex(value)).toBe(Buffer.from(value).toString('hex'));
        expect(fromHex(toHex(value))).toEqual(value);
      }),
    );
  });

  it('of another length, or with other characters, is refused', () => {
    for (const text of ['0', '0g', 'zz', '0x', ' 0', '00 ', '٠٠', 'é0', '00:0']) expect(fromHex(text)).toBe(null);
    expect(fromHex('00ff', 2)).toEqual(new Uint8Array([0, 255]));
    expect(fromHex('00ff', 1)).toBe(null);
    expect(fromHex('00ff', 3)).toBe(null);
  });
});

describe('base64', () => {
  // RFC 4648 §10.
  it.each([
    ['', ''],
    ['f', 'Zg=='],
    ['fo', 'Zm8='],
    ['foo', 'Zm9v'],
    ['foob', 'Zm9vYg=='],
    ['fooba', 'Zm9vYmE='],
    ['foobar', 'Zm9vYmFy'],
  ])('of %j is %j', (plain, encoded) => {
    expect(toBase64(ascii(plain))).toBe(encoded);
    expect(fromBase64(encoded, plain.length)).toEqual(ascii(plain));
  });

  it('is what Buffer says', () => {
    fc.assert(
      fc.property(bytes, (value) => {
        expect(toBase64(value)).toBe(Buffer.from(value).toString('base64'));
        expect(fromBase64(toBase64(value), value.length)).toEqual(value);
      }),
    );
  });

  it('that is not canonical, or of another length, is refused', () => {
    for (const text of ['Zh==', 'Zg=', 'Zg', 'Z===', '=Zg=', 'Zg=a', 'Zm9v', 'Z-==', '    ']) {
      expect(fromBase64(text, 1)).toBe(null);
    }
    expect(fromBase64('Zm9=', 2)).toBe(null);
    expect(fromBase64('Zg==', 0)).toBe(null);
    expect(fromBase64('Zm9v', 2)).toBe(null);
  });

  it('is only ever read back from what it would be written as', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 12 }), fc.nat({ max: 9 }), (text, length) => {
        const value = fromBase64(text, length);
        if (value !== null) expect(toBase64(value)).toBe(text);
      }),
    );
  });
});

describe('words', () => {
  it('are as DataView reads them', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.nat({ max: 8 }), (value, at) => {
        const view = new DataView(value.buffer, value.byteOffset);
        expect(readU16be(value, at)).toBe(view.getUint16(at));
        expect(readU32be(value, at)).toBe(view.getUint32(at));
        expect(readU32le(value, at)).toBe(view.getUint32(at, true));
        expect(readU64le(value, at)).toBe(view.getBigUint64(at, true));
      }),
    );
  });

  it('come back as they were written, and nothing beside them changes', () => {
    fc.assert(
      fc.property(fc.nat({ max: 0xffff_ffff }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (word, long) => {
        const out = new Uint8Array(20);
        writeU32le(out, 1, word);
        writeU32be(out, 5, word);
        writeU16be(out, 9, word & 0xffff);
        writeU64le(out, 11, long);
        expect(readU32le(out, 1)).toBe(word);
        expect(readU32be(out, 5)).toBe(word);
        expect(readU16be(out, 9)).toBe(word & 0xffff);
        expect(readU64le(out, 11)).toBe(long);
        expect([out[0], out[19]]).toEqual([0, 0]);
      }),
    );
  });
});

describe('byte strings', () => {
  it('are joined in order', () => {
    expect(concat()).toEqual(new Uint8Array(0));
    expect(concat(ascii('ab'), ascii(''), ascii('c'))).toEqual(ascii('abc'));
  });

  it('are equal when every byte is', () => {
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        expect(equalBytes(a, b)).toBe(toHex(a) === toHex(b));
        expect(equalBytes(a, a.slice())).toBe(true);
      }),
    );
  });
});
