// Datagrams in a message of a WebSocket: the bytes as drawn, what was put in comes out, and whatever else comes in its place is refused
// whole.

import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import { Prng } from '../../../src/base/prng.ts';
import {
  datagramsIn,
  STREAM_DATAGRAM_BYTES_MAX,
  STREAM_DATAGRAM_BYTES_MIN,
  STREAM_MESSAGE_BYTES_MAX,
  StreamBatch,
} from '../../../src/protocol/relay-stream.ts';

const filled = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);

function message(...datagrams: readonly Uint8Array[]): Uint8Array {
  const batch = new StreamBatch();
  for (const datagram of datagrams) expect(batch.add(datagram)).toBe(true);
  return batch.take() ?? new Uint8Array(0);
}

describe('a message', () => {
  test('has the bytes that are drawn', () => {
    expect(toHex(message(filled(32, 1), filled(33, 2)))).toBe(`0020${'01'.repeat(32)}0021${'02'.repeat(33)}`);
  });

  test('holds the largest datagram, and takes nothing beyond its size', () => {
    const batch = new StreamBatch();
    expect(batch.add(filled(STREAM_DATAGRAM_BYTES_MAX, 1))).toBe(true);
    expect(batch.bytes).toBe(2 + STREAM_DATAGRAM_BYTES_MAX);
    expect(batch.count).toBe(1);
    expect(batch.add(filled(32, 1))).toBe(false);
    const whole = batch.take() as Uint8Array;
    expect(datagramsIn(whole)?.map((datagram) => datagram.length)).toEqual([STREAM_DATAGRAM_BYTES_MAX]);
    expect(batch.take()).toBeNull();
    for (const length of [0, STREAM_DATAGRAM_BYTES_MIN - 1, STREAM_DATAGRAM_BYTES_MAX + 1]) {
      expect(batch.add(filled(length, 1))).toBe(false);
    }
    expect(batch.bytes).toBe(0);
  });

  test('that is empty, cut off, or has a datagram that is too short is refused whole', () => {
    const good = message(filled(40, 1), filled(50, 2));
    expect(datagramsIn(new Uint8Array(0))).toBeNull();
    expect(datagramsIn(new Uint8Array(STREAM_MESSAGE_BYTES_MAX + 1))).toBeNull();
    for (let length = 1; length < good.length; length++) {
      // The end of the first datagram is the end of a message too.
      expect(datagramsIn(good.subarray(0, length)) === null).toBe(length !== 42);
    }
    const short = new Uint8Array(2 + 31);
    short[1] = 31;
    expect(datagramsIn(short)).toBeNull();
  });
});

describe('any message', () => {
  test('of datagrams of any sizes is read again as it was', () => {
    for (let seed = 1; seed <= 500; seed++) {
      const prng = new Prng(seed);
      const datagrams = Array.from({ length: prng.nextInt(1, 20) }, () => {
        const datagram = new Uint8Array(prng.nextInt(32, 1_600));
        prng.fill(datagram);
        return datagram;
      });
      expect(datagramsIn(message(...datagrams))?.map(toHex)).toEqual(datagrams.map(toHex));
    }
  });

  test('of random or mutated bytes never throws; what is read covers it without a gap', () => {
    let read = 0;
    for (let seed = 1; seed <= 20_000; seed++) {
      const prng = new Prng(seed);
      const bytes = prng.chance(0.3)
        ? new Uint8Array(prng.nextInt(0, 200))
        : message(filled(prng.nextInt(32, 99), 1), filled(prng.nextInt(32, 99), 2)).slice();
      if (prng.chance(0.3)) prng.fill(bytes);
      for (let flips = prng.nextInt(0, 2); flips > 0 && bytes.length > 0; flips--) {
        bytes[prng.nextInt(0, bytes.length - 1)] = prng.nextInt(0, 255);
      }
      const datagrams = datagramsIn(bytes);
      if (datagrams === null) continue;
      read++;
      let at = 0;
      for (const datagram of datagrams) {
        expect(datagram.byteOffset - bytes.byteOffset).toBe(at + 2);
        expect(datagram.length).toBeGreaterThanOrEqual(STREAM_DATAGRAM_BYTES_MIN);
        at += 2 + datagram.length;
      }
      expect(at).toBe(bytes.length);
    }
    expect(read).toBeGreaterThan(1_000);
  });
});
