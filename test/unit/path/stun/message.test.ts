// The codec of STUN: the vectors of RFC 5769, the bytes of RFC 8489 and RFC 5780 one by one, and whatever else may come to the port.

import { createHash, createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { fromHex, toHex, writeU16be, writeU32be } from '../../../../src/base/bytes.ts';
import type { Endpoint } from '../../../../src/base/ip.ts';
import { Prng } from '../../../../src/base/prng.ts';
import { fingerprint } from '../../../../src/path/stun/fingerprint.ts';
import {
  type BindingSuccess,
  bindingIndication,
  decodeStun,
  encodeError,
  encodeRequest,
  encodeSuccess,
  looksLikeStun,
  STUN_FAULTS,
  UNKNOWN_ATTRIBUTES_MAX,
} from '../../../../src/path/stun/message.ts';
import { STUN_BYTES_MAX } from '../../../../src/path/stun/numbers.ts';
import {
  LONG_TERM,
  SAMPLE_IPV4_RESPONSE,
  SAMPLE_IPV6_RESPONSE,
  SAMPLE_LONG_TERM_REQUEST,
  SAMPLE_REQUEST,
  SHORT_TERM_PASSWORD,
} from './rfc5769.ts';

const ID_TEXT = '0102030405060708090a0b0c';
const bytes = (text: string): Uint8Array => fromHex(text.replaceAll(' ', '')) ?? new Uint8Array(0);
const ID = bytes(ID_TEXT);
const endpoint = (text: string): Endpoint => text as Endpoint;

/** A message with its length filled in. */
function message(type: string, ...attributes: readonly string[]): Uint8Array {
  const whole = bytes(`${type}0000 2112a442 ${ID_TEXT} ${attributes.join('')}`);
  writeU16be(whole, 2, whole.length - 20);
  return whole;
}

describe('the vectors of RFC 5769', () => {
  test('are those of the RFC: their HMACs fit their passwords', () => {
    const longTerm = createHash('md5').update(`${LONG_TERM.user}:${LONG_TERM.realm}:${LONG_TERM.password}`).digest();
    const vectors = [
      [SAMPLE_REQUEST, SHORT_TERM_PASSWORD, 8],
      [SAMPLE_IPV4_RESPONSE, SHORT_TERM_PASSWORD, 8],
      [SAMPLE_IPV6_RESPONSE, SHORT_TERM_PASSWORD, 8],
      [SAMPLE_LONG_TERM_REQUEST, longTerm, 0],
    ] as const;
    for (const [vector, key, behind] of vectors) {
      const end = vector.length - behind;
      const covered = vector.slice(0, end - 24);
      writeU16be(covered, 2, end - 20);
      expect(createHmac('sha1', key).update(covered).digest('hex')).toBe(toHex(vector.subarray(end - 20, end)));
    }
  });

  test('2.1: the request, whose PRIORITY is of ICE and unknown here', () => {
    expect(decodeStun(SAMPLE_REQUEST)).toEqual({
      kind: 'request',
      transactionId: bytes('b7e7a701bc34d686fa87dfae'),
      unknownRequired: [0x0024],
      fingerprint: true,
      change: null,
      responsePort: null,
    });
  });

  test.each([
    ['2.2', SAMPLE_IPV4_RESPONSE, '192.0.2.1:32853'],
    ['2.3', SAMPLE_IPV6_RESPONSE, '[2001:db8:1234:5678:11:2233:4455:6677]:32853'],
  ])('%s: the response', (_, vector, mapped) => {
    expect(decodeStun(vector)).toEqual({
      kind: 'success',
      transactionId: bytes('b7e7a701bc34d686fa87dfae'),
      unknownRequired: [],
      fingerprint: true,
      xorMapped: mapped,
      mapped: null,
      origin: null,
      other: null,
    });
    const ours = encodeSuccess(vector.slice(8, 20), { xorMapped: endpoint(mapped) });
    // XOR-MAPPED-ADDRESS, as it stands behind SOFTWARE.
    expect(toHex(ours.subarray(20))).toBe(toHex(vector.subarray(36, 36 + ours.length - 20)));
  });

  test('2.4: the request with a long-term password, which nobody asked for here', () => {
    expect(decodeStun(SAMPLE_LONG_TERM_REQUEST)).toMatchObject({
      kind: 'request',
      unknownRequired: [],
      fingerprint: false,
    });
  });

  test('any changed bit is found by the FINGERPRINT, or the message is not read at all', () => {
    for (const vector of [SAMPLE_REQUEST, SAMPLE_IPV4_RESPONSE, SAMPLE_IPV6_RESPONSE]) {
      for (let bit = 0; bit < vector.length * 8; bit++) {
        const changed = vector.slice();
        changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
        const read = decodeStun(changed);
        // But where the bit made another attribute of the FINGERPRINT itself, so that there is none.
        if (typeof read !== 'string') expect(read.fingerprint).toBe(false);
      }
    }
  });
});

describe('a request', () => {
  test('is the header of RFC 8489 and nothing else', () => {
    expect(toHex(encodeRequest(ID))).toBe(`000100002112a442${ID_TEXT}`);
  });

  test('is filled up to the size that is wanted, with an attribute that everybody may pass over', () => {
    for (let size = 24; size <= 256; size += 4) {
      const request = encodeRequest(ID, { bytes: size });
      expect(request.length).toBe(size);
      expect(decodeStun(request)).toEqual(decodeStun(encodeRequest(ID)));
      expect(toHex(request.subarray(20, 22))).toBe('8022');
    }
    expect(new TextDecoder().decode(encodeRequest(ID, { bytes: 40 }).subarray(24))).toBe('warren'.padEnd(16));
  });

  test.each([
    [false, false, '00000000'],
    [false, true, '00000002'],
    [true, false, '00000004'],
    [true, true, '00000006'],
  ])('asks for an answer from another address %s, from another port %s', (address, port, flags) => {
    const request = encodeRequest(ID, { change: { address, port } });
    expect(toHex(request.subarray(20))).toBe(`00030004${flags}`);
    expect(decodeStun(request)).toMatchObject({ kind: 'request', change: { address, port } });
  });

  test('may want its answer at another port', () => {
    const request = encodeRequest(ID, { responsePort: 0x1234 });
    expect(toHex(request.subarray(20))).toBe('0027000212340000');
    expect(decodeStun(request)).toMatchObject({ kind: 'request', responsePort: 0x1234, unknownRequired: [] });
    // As coturn writes it, the padding counted in.
    expect(decodeStun(message('0001', '00270004 12340000'))).toMatchObject({ responsePort: 0x1234 });
  });

  test('with PADDING of 1,500 bytes, as clients of RFC 5780 send it, is read', () => {
    const padding = message('0001', '002605dc', '00'.repeat(1_500));
    expect(decodeStun(padding)).toMatchObject({ kind: 'request', unknownRequired: [] });
  });

  test('of which we do not know something that must be known says so, within a limit', () => {
    expect(decodeStun(message('0001', '00240004 12340000', '00240004 12340000', '80ff0000'))).toMatchObject({
      unknownRequired: [0x0024],
    });
    const many = Array.from({ length: 20 }, (_, i) => `01${i.toString(16).padStart(2, '0')}0000`);
    expect(decodeStun(message('0001', ...many))).toMatchObject({
      unknownRequired: Array.from({ length: UNKNOWN_ATTRIBUTES_MAX }, (_, i) => 0x0100 + i),
    });
  });
});

describe('a success', () => {
  const SIX = endpoint('[2001:db8::7]:65535');

  test('has the bytes of RFC 8489 and RFC 5780', () => {
    const success = encodeSuccess(ID, {
      xorMapped: endpoint('192.0.2.1:32853'),
      mapped: endpoint('192.0.2.1:32853'),
      origin: endpoint('198.51.100.1:3478'),
      other: endpoint('198.51.100.2:3479'),
    });
    expect(toHex(success)).toBe(
      [
        `010100302112a442${ID_TEXT}`,
        '002000080001a147e112a643',
        '0001000800018055c0000201',
        '802b000800010d96c6336401',
        '802c000800010d97c6336402',
      ].join(''),
    );
  });

  test('is read as it was written, with and without FINGERPRINT', () => {
    for (const fingerprint of [false, true]) {
      const fields = { xorMapped: SIX, mapped: SIX, origin: endpoint('[::1]:1'), other: null, fingerprint };
      expect(decodeStun(encodeSuccess(ID, fields))).toEqual({
        kind: 'success',
        transactionId: ID,
        unknownRequired: [],
        ...fields,
      });
    }
  });

  test('of an attribute that comes twice the first counts', () => {
    const twice = message('0101', '00010008 00010001 01010101', '00010008 00010002 02020202');
    expect(decodeStun(twice)).toMatchObject({ mapped: '1.1.1.1:1' });
  });

  test('with an optional address that cannot be read is read without it', () => {
    const success = message('0101', '00010008 00010001 01010101', '802c0008 00010000 00000000', '802b0000');
    expect(decodeStun(success)).toMatchObject({ mapped: '1.1.1.1:1', other: null, origin: null });
  });
});

describe('a refusal', () => {
  test('names what was not understood, and has no phrase', () => {
    const error = encodeError(ID, { code: 420, unknownAttributes: [0x0027, 0x0003, 0x7fff] });
    expect(toHex(error)).toBe([`011100142112a442${ID_TEXT}`, '0009000400000414', '000a0006002700037fff0000'].join(''));
    expect(decodeStun(error)).toMatchObject({ kind: 'error', code: 420, unknownAttributes: [0x0027, 0x0003, 0x7fff] });
  });

  test('of other servers, with a phrase, is read', () => {
    const error = message('0111', '00090010 00000401 556e617574686f72697a6564', '000a0002 00030000');
    expect(decodeStun(error)).toMatchObject({ kind: 'error', code: 401, unknownAttributes: [3] });
  });
});

describe('an indication', () => {
  test('is the header with a random transaction, and nothing else', () => {
    const prng = new Prng(1);
    const first = bindingIndication((out) => prng.fill(out));
    const second = bindingIndication((out) => prng.fill(out));
    expect(toHex(first.subarray(0, 8))).toBe('001100002112a442');
    expect(first.length).toBe(20);
    expect(toHex(first.subarray(8))).not.toBe(toHex(second.subarray(8)));
    expect(decodeStun(first)).toMatchObject({ kind: 'indication', transactionId: first.subarray(8) });
  });
});

describe('what is none of it', () => {
  test.each([
    ['nothing', new Uint8Array(0), 'notStun'],
    ['less than a header', encodeRequest(ID).slice(0, 19), 'notStun'],
    ['a leading bit', bytes(`800100002112a442${ID_TEXT}`), 'notStun'],
    ["RFC 3489's, without the cookie", bytes(`0001000000000000${ID_TEXT}`), 'notStun'],
    ['more than is looked into', new Uint8Array([...encodeRequest(ID), ...new Uint8Array(STUN_BYTES_MAX)]), 'tooLong'],
    ['bytes behind the end', new Uint8Array([...encodeRequest(ID), 0, 0, 0, 0]), 'badLength'],
    ['an odd length', bytes(`000100022112a442${ID_TEXT}0000`), 'badLength'],
    ["TURN's Allocate", message('0003', '00190004 11000000'), 'notBinding'],
    ['an attribute that ends behind the message', message('0001', '80220005 00000000'), 'badAttribute'],
    ['RESPONSE-PORT 0', message('0001', '00270004 00000000'), 'badAttribute'],
    ['RESPONSE-PORT of no bytes', message('0001', '00270000'), 'badAttribute'],
    ['CHANGE-REQUEST of two bytes', message('0001', '00030002 00000000'), 'badAttribute'],
    ['an address of IPv4 with a length of IPv6', message('0101', `00200014 0001${'00'.repeat(18)}`), 'badAttribute'],
    ['an address of no family', message('0101', '00200008 00030001 01010101'), 'badAttribute'],
    ['port 0', message('0101', '00010008 00010000 01010101'), 'badAttribute'],
    ['a refusal without a code', message('0111'), 'badAttribute'],
    ['a refusal with code 799', message('0111', '00090004 00000763'), 'badAttribute'],
    ['a refusal with code 4.100', message('0111', '00090004 00000464'), 'badAttribute'],
    ['half an unknown attribute', message('0111', '00090004 00000414', '000a0001 00000000'), 'badAttribute'],
    ['FINGERPRINT of eight bytes', message('0001', '80280008 00000000 00000000'), 'badAttribute'],
    ['a wrong FINGERPRINT', message('0001', '80280004 00000000'), 'badFingerprint'],
  ] as const)('%s', (_, datagram, fault) => {
    expect(decodeStun(datagram)).toBe(fault);
  });

  test('something behind a FINGERPRINT that is right', () => {
    // Its length counts what comes behind in, and its value is of that length.
    const longer = message('0001', '80280004 00000000', '80220000');
    writeU32be(longer, 24, fingerprint(longer, 20));
    expect(decodeStun(longer)).toBe('badFingerprint');
  });
});

describe('whatever comes', () => {
  const ENDPOINTS = ['192.0.2.1:1', '10.0.0.9:65535', '[2001:db8::1]:3478', '[fe80::1]:2'].map(endpoint);

  function anyMessage(prng: Prng): Uint8Array {
    const id = new Uint8Array(12);
    prng.fill(id);
    const fingerprint = prng.chance(0.5);
    const some = (): Endpoint | null => (prng.chance(0.5) ? prng.pick(ENDPOINTS) : null);
    switch (prng.nextInt(0, 3)) {
      case 0: {
        const change = prng.chance(0.5) ? { address: prng.chance(0.5), port: prng.chance(0.5) } : null;
        const responsePort = prng.chance(0.2) ? prng.nextInt(1, 65_535) : null;
        return encodeRequest(id, { change, responsePort, bytes: 4 * prng.nextInt(0, 64), fingerprint });
      }
      case 1:
        return encodeError(id, {
          code: prng.nextInt(300, 699),
          unknownAttributes: Array.from({ length: prng.nextInt(0, UNKNOWN_ATTRIBUTES_MAX) }, (_, i) => i + 1),
          fingerprint,
        });
      case 2:
        return bindingIndication((out) => prng.fill(out));
      default:
        return encodeSuccess(id, {
          xorMapped: prng.pick(ENDPOINTS),
          mapped: some(),
          origin: some(),
          other: some(),
          fingerprint,
        });
    }
  }

  test('is read as it was written', () => {
    for (let seed = 1; seed <= 3_000; seed++) {
      const prng = new Prng(seed);
      const fields = {
        xorMapped: prng.pick(ENDPOINTS),
        mapped: prng.chance(0.5) ? prng.pick(ENDPOINTS) : null,
        origin: prng.chance(0.5) ? prng.pick(ENDPOINTS) : null,
        other: prng.chance(0.5) ? prng.pick(ENDPOINTS) : null,
        fingerprint: prng.chance(0.5),
      };
      const id = new Uint8Array(12);
      prng.fill(id);
      const read = decodeStun(encodeSuccess(id, fields)) as BindingSuccess;
      expect(read).toEqual({ kind: 'success', transactionId: id, unknownRequired: [], ...fields });
      // And written again it is the same.
      expect(toHex(encodeSuccess(read.transactionId, read as typeof fields))).toBe(toHex(encodeSuccess(id, fields)));
      const whole = decodeStun(anyMessage(prng));
      expect(typeof whole).not.toBe('string');
    }
  });

  test('is never thrown over, not changed, and read only if it looks like STUN', () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= 60_000; seed++) {
      const prng = new Prng(seed);
      let datagram = prng.chance(0.1) ? new Uint8Array(prng.nextInt(0, 200)) : anyMessage(prng);
      if (prng.chance(0.1)) {
        const kept = datagram.subarray(0, 8).slice();
        prng.fill(datagram);
        if (prng.chance(0.8)) datagram.set(kept);
      }
      for (let flips = prng.nextInt(0, 4); flips > 0 && datagram.length > 0; flips--) {
        const at = prng.nextInt(0, datagram.length - 1);
        datagram[at] = prng.nextU32() & 255;
      }
      if (prng.chance(0.2)) datagram = datagram.slice(0, prng.nextInt(0, datagram.length));
      if (prng.chance(0.5) && datagram.length >= 20) writeU16be(datagram, 2, datagram.length - 20);
      const before = toHex(datagram);
      const read = decodeStun(datagram);
      expect(toHex(datagram)).toBe(before);
      if (typeof read === 'string') {
        expect(STUN_FAULTS).toContain(read);
        seen.add(read);
      } else {
        expect(looksLikeStun(datagram)).toBe(true);
        expect(toHex(read.transactionId)).toBe(toHex(datagram.subarray(8, 20)));
        seen.add(read.kind);
      }
    }
    // The generator reaches all of it but what is too long.
    expect([...seen].sort()).toEqual(
      [...STUN_FAULTS, 'request', 'indication', 'success', 'error'].filter((name) => name !== 'tooLong').sort(),
    );
  });
});
