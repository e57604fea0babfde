// The frames inside the tunnel: their bytes as drawn above the codec, and whatever else may come in their place.

import { describe, expect, test } from 'vitest';
import { fromHex, toHex } from '../../../src/base/bytes.ts';
import { parseAddressBytes } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import {
  decodeFrame,
  encodePing,
  encodePong,
  encodeRelayAllocate,
  encodeRelayDraining,
  encodeRelayRefused,
  encodeRelaySlot,
  FRAME_BYTES_MAX,
  PING_BYTES_MIN,
  PONG_BYTES,
} from '../../../src/mesh/frames.ts';

const bytes = (text: string): Uint8Array => fromHex(text) ?? new Uint8Array(0);
const address = (text: string): Uint8Array => parseAddressBytes(text) ?? new Uint8Array(0);

const KINDS = ['ping', 'pong', 'relayAllocate', 'relaySlot', 'relayRefused', 'relayDraining'] as const;
const BYTES_MIN = {
  ping: PING_BYTES_MIN,
  pong: PONG_BYTES,
  relayAllocate: 8,
  relaySlot: 16,
  relayRefused: 9,
  relayDraining: 10,
};

function someFrame(prng: Prng): Uint8Array {
  const txid = prng.nextU32();
  switch (prng.nextInt(0, 5)) {
    case 0:
      return encodePing(txid, prng.nextInt(8, 64));
    case 1:
      return encodePong(txid, address(prng.chance(0.5) ? '10.0.0.1' : 'fd00::1'), prng.nextInt(0, 65_535));
    case 2:
      return encodeRelayAllocate(txid);
    case 3: {
      const slot = new Uint8Array(8);
      prng.fill(slot);
      return encodeRelaySlot(txid, slot);
    }
    case 4:
      return encodeRelayRefused(txid, 'full');
    default:
      return encodeRelayDraining(txid, prng.nextInt(0, 65_535));
  }
}

describe('a ping', () => {
  test('has the bytes that are drawn', () => {
    expect(toHex(encodePing(0x01020304, 8))).toBe('0101000801020304');
    expect(toHex(encodePing(0xffffffff, 12))).toBe('0101000cffffffff00000000');
  });

  test('of any size is read again, with the padding of the transport behind it', () => {
    for (const size of [PING_BYTES_MIN, 9, 64, 1_472, FRAME_BYTES_MAX]) {
      const padded = new Uint8Array(Math.ceil(size / 16) * 16);
      padded.set(encodePing(77, size));
      expect(decodeFrame(padded)).toEqual({ kind: 'ping', txid: 77 });
    }
  });
});

describe('a pong', () => {
  test('has the bytes that are drawn, and says where the ping came from', () => {
    const four = encodePong(5, address('192.0.2.1'), 51_820);
    expect(toHex(four)).toBe(`0102001c00000005${'0400ca6c'}c0000201${'00'.repeat(12)}`);
    expect(decodeFrame(four)).toEqual({ kind: 'pong', txid: 5, observed: '192.0.2.1:51820' });
    const six = encodePong(6, address('2001:db8::1'), 1);
    expect(six.length).toBe(PONG_BYTES);
    expect(decodeFrame(six)).toEqual({ kind: 'pong', txid: 6, observed: '[2001:db8::1]:1' });
  });

  test('that does not say is no error', () => {
    for (const family of [0, 5, 255]) {
      const pong = encodePong(5, address('192.0.2.1'), 51_820);
      pong[8] = family;
      expect(decodeFrame(pong)).toEqual({ kind: 'pong', txid: 5, observed: null });
    }
    expect(decodeFrame(encodePong(5, address('192.0.2.1'), 0))).toMatchObject({ observed: null });
  });
});

describe('what a node and a relay say to each other', () => {
  const slot = bytes('8000000000000001');

  test('has the bytes that are drawn, and is read again', () => {
    expect(toHex(encodeRelayAllocate(1))).toBe('0103000800000001');
    expect(decodeFrame(encodeRelayAllocate(1))).toEqual({ kind: 'relayAllocate', txid: 1 });
    expect(toHex(encodeRelaySlot(2, slot))).toBe('01040010000000028000000000000001');
    expect(decodeFrame(encodeRelaySlot(2, slot))).toEqual({ kind: 'relaySlot', txid: 2, slot });
    expect(toHex(encodeRelayDraining(0, 10))).toBe('0106000a00000000000a');
    expect(decodeFrame(encodeRelayDraining(0, 9.2))).toEqual({ kind: 'relayDraining', txid: 0, seconds: 10 });
    expect(decodeFrame(encodeRelayDraining(0, 1e9))).toMatchObject({ seconds: 65_535 });
    (['notMember', 'full', 'draining'] as const).forEach((reason, i) => {
      expect(toHex(encodeRelayRefused(3, reason))).toBe(`01050009000000030${i + 1}`);
      expect(decodeFrame(encodeRelayRefused(3, reason))).toEqual({ kind: 'relayRefused', txid: 3, reason });
    });
  });

  test('may be refused for a reason that only a newer relay knows', () => {
    for (const reason of ['00', '04', 'ff']) {
      expect(decodeFrame(bytes(`0105000900000003${reason}`))).toMatchObject({ reason: 'unknown' });
    }
  });

  test('gives a slot that is no view of what is borrowed', () => {
    const frame = encodeRelaySlot(2, slot);
    const decoded = decodeFrame(frame);
    frame.fill(0);
    expect(decoded).toEqual({ kind: 'relaySlot', txid: 2, slot });
  });
});

describe('another frame', () => {
  test('of a kind or version that is not known is not an error', () => {
    expect(decodeFrame(bytes('0107000800000000'))).toEqual({ kind: 'unknown' });
    expect(decodeFrame(bytes('0201000800000000'))).toEqual({ kind: 'unknown' });
    expect(decodeFrame(bytes('0001000800000000'))).toEqual({ kind: 'unknown' });
  });

  test('that is cut off, longer than what carries it, or no frame at all is malformed', () => {
    for (const text of [
      '',
      '01',
      '01010008000000',
      '0101000900000000',
      '0101000700000000',
      '0102001c00000000',
      '4501000800000000',
      // Of the relay's kinds: each one byte short, and slot 0, which is nobody.
      '0103000700000000',
      '0104000f000000000102030405060708',
      '0105000800000000',
      '010600090000000000',
      '01040010000000000000000000000000',
    ]) {
      expect(decodeFrame(bytes(text))).toEqual({ kind: 'malformed' });
    }
  });

  test('of random or mutated bytes never throws, and what is read was there', () => {
    for (let seed = 1; seed <= 20_000; seed++) {
      const prng = new Prng(seed);
      const base = someFrame(prng);
      const frame = prng.chance(0.2)
        ? new Uint8Array(prng.nextInt(0, 64))
        : base.slice(0, prng.nextInt(0, base.length));
      if (prng.chance(0.2)) prng.fill(frame);
      for (let flips = prng.nextInt(0, 3); flips > 0 && frame.length > 0; flips--) {
        const at = prng.nextInt(0, frame.length - 1);
        frame[at] = (frame[at] as number) ^ (1 << prng.nextInt(0, 7));
      }
      const before = toHex(frame);
      const decoded = decodeFrame(frame);
      expect(toHex(frame)).toBe(before);
      if (decoded.kind !== 'unknown' && decoded.kind !== 'malformed') {
        expect(frame[0]).toBe(1);
        expect(frame[1]).toBe(KINDS.indexOf(decoded.kind) + 1);
        expect(decoded.txid).toBe(new DataView(frame.buffer, frame.byteOffset).getUint32(4));
        expect(frame.length).toBeGreaterThanOrEqual(BYTES_MIN[decoded.kind]);
        if (decoded.kind === 'relaySlot') expect(toHex(decoded.slot)).toBe(toHex(frame.subarray(8, 16)));
      }
    }
  });
});
