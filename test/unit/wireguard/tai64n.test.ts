// TAI64N stamps (paper §5.1): encoding, coarseness, and rising whatever the wall clock does.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import type { WallTime } from '../../../src/base/instant.ts';
import {
  encodeStamp,
  isLaterStamp,
  LEASE_MS,
  NO_STAMP,
  type StampTicks,
  TimestampSource,
} from '../../../src/wireguard/tai64n.ts';

const stamp = (wall: number): string => toHex(encodeStamp(new TimestampSource().next(wall as WallTime, NO_STAMP)));

describe('encoding', () => {
  test.each([
    [0, '400000000000000a00000000'],
    [1_700_000_000_000, '400000006553f10a00000000'],
    [1_700_000_000_123, '400000006553f10a07000000'],
    [1_700_000_000_999.999, '400000006553f10a3b000000'],
    // The low word overflows in 2106: 2^32 − 10 s.
    [(2 ** 32 - 11) * 1000, '40000000ffffffff00000000'],
    [(2 ** 32 - 10) * 1000, '400000010000000000000000'],
    [2 ** 32 * 1000, '400000010000000a00000000'],
  ])('%d ms after 1970 is %s', (wall, expected) => {
    expect(stamp(wall)).toBe(expected);
  });

  test('a clock before 1970 gives the epoch', () => {
    expect(stamp(-5000)).toBe('400000000000000a00000000');
  });

  test('the low 24 bits of the nanoseconds are always clear, and nanoseconds stay below a second', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e13, noNaN: true }), (wall) => {
        const text = stamp(wall);
        expect(text.endsWith('000000')).toBe(true);
        expect(Number.parseInt(text.slice(16), 16)).toBeLessThan(1e9);
      }),
    );
  });
});

describe('comparison', () => {
  test('later is later, equal is not, and anything beats nothing', () => {
    const early = encodeStamp(100 as StampTicks);
    const late = encodeStamp(101 as StampTicks);
    expect(isLaterStamp(late, early)).toBe(true);
    expect(isLaterStamp(early, late)).toBe(false);
    expect(isLaterStamp(early, early.slice())).toBe(false);
    expect(isLaterStamp(early, null)).toBe(true);
  });

  test('it is the order of the numbers, and of the bytes as the network sends them', () => {
    const ticks = fc.integer({ min: 0, max: 2 ** 40 });
    fc.assert(
      fc.property(ticks, ticks, (a, b) => {
        expect(isLaterStamp(encodeStamp(a as StampTicks), encodeStamp(b as StampTicks))).toBe(a > b);
      }),
    );
    const bytes = fc.uint8Array({ minLength: 12, maxLength: 12 });
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        expect(isLaterStamp(a, b)).toBe(toHex(a) > toHex(b));
      }),
    );
  });
});

describe('rising', () => {
  test('a clock that stands still or steps back still gives each peer a greater stamp than before', () => {
    const source = new TimestampSource();
    const first = source.next(1_700_000_000_000 as WallTime, NO_STAMP);
    const same = source.next(1_700_000_000_000 as WallTime, first);
    const back = source.next(1_600_000_000_000 as WallTime, same);
    expect(isLaterStamp(encodeStamp(same), encodeStamp(first))).toBe(true);
    expect(isLaterStamp(encodeStamp(back), encodeStamp(same))).toBe(true);
    const caughtUp = source.next(1_700_000_060_000 as WallTime, back);
    expect(toHex(encodeStamp(caughtUp))).toBe('400000006553f14600000000');
  });

  test('a peer that was removed and added again is sent a greater stamp than before', () => {
    const source = new TimestampSource();
    const before = source.next(1_700_000_000_000 as WallTime, NO_STAMP);
    source.retire(before);
    expect(source.next(1_600_000_000_000 as WallTime, NO_STAMP)).toBeGreaterThan(before);
  });

  test('removing peers, though there be ten thousand, costs the clock one step; those never spoken to cost none', () => {
    const source = new TimestampSource();
    const now = 1_700_000_000_000 as WallTime;
    const sent = source.next(now, NO_STAMP);
    for (let peer = 0; peer < 10_000; peer++) source.retire(NO_STAMP);
    expect(source.next(now, NO_STAMP)).toBe(sent);
    for (let peer = 0; peer < 10_000; peer++) source.retire(sent);
    expect(source.next(now, NO_STAMP)).toBe(sent + 1);
  });

  test('ten thousand peers at one moment do not run ahead of the clock', () => {
    const source = new TimestampSource();
    const now = 1_700_000_000_000 as WallTime;
    const first = source.next(now, NO_STAMP);
    for (let peer = 0; peer < 10_000; peer++) expect(source.next(now, NO_STAMP)).toBe(first);
  });

  test('whatever the clock does, per peer it rises and for the device it never falls', () => {
    const event = fc.record({ peer: fc.integer({ min: 0, max: 3 }), wall: fc.integer({ min: 0, max: 100_000 }) });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const source = new TimestampSource();
        const previous = new Map<number, StampTicks>();
        let highest = NO_STAMP;
        for (const { peer, wall } of events) {
          const last = previous.get(peer) ?? NO_STAMP;
          const next = source.next(wall as WallTime, last);
          expect(next).toBeGreaterThan(last);
          expect(next).toBeGreaterThanOrEqual(highest);
          previous.set(peer, next);
          highest = next;
        }
      }),
    );
  });
});

describe('rising over restarts', () => {
  /** What a process left behind; one that comes later begins with it. */
  function memory() {
    const kept: { until: WallTime | null; writes: number } = { until: null, writes: 0 };
    const begin = () =>
      new TimestampSource({
        until: kept.until,
        keep: (until) => {
          kept.until = until;
          kept.writes++;
        },
      });
    return { kept, begin };
  }

  test('whatever the clock does and whenever the process ends, each peer is sent greater stamps only', () => {
    const event = fc.record({
      peer: fc.integer({ min: 0, max: 3 }),
      wall: fc.oneof(fc.integer({ min: 0, max: 10_000_000 }), fc.integer({ min: 0, max: 8_640_000_000_000_000 })),
      restarts: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const { kept, begin } = memory();
        const greatest = new Map<number, Uint8Array>();
        let previous = new Map<number, StampTicks>();
        let source = begin();
        for (const { peer, wall, restarts } of events) {
          if (restarts) {
            source = begin();
            previous = new Map();
          }
          const ticks = source.next(wall as WallTime, previous.get(peer) ?? NO_STAMP);
          const bytes = encodeStamp(ticks);
          expect(isLaterStamp(bytes, greatest.get(peer) ?? null)).toBe(true);
          greatest.set(peer, bytes);
          previous.set(peer, ticks);
          // The bound holds for all that has been sent.
          const bound = encodeStamp(new TimestampSource().next(kept.until as WallTime, NO_STAMP));
          expect(isLaterStamp(bytes, bound)).toBe(false);
        }
      }),
    );
  });

  test('the bound is moved ahead of time, and seldom', () => {
    const { kept, begin } = memory();
    const source = begin();
    let last = NO_STAMP;
    let late = 0;
    const hour = 3_600_000;
    for (let wall = 1_700_000_000_000; wall <= 1_700_000_000_000 + hour; wall += 1_000) {
      const before = kept.until ?? 0;
      last = source.next(wall as WallTime, last);
      if (wall > before) late++;
    }
    // The first alone was sent while the bound was being written.
    expect(late).toBe(1);
    expect(kept.writes).toBeLessThanOrEqual(hour / (LEASE_MS / 2) + 1);
  });

  test('a clock that is behind for long costs a write for dozens of initiations, not one for each', () => {
    const { kept, begin } = memory();
    begin().next(1_700_000_000_000 as WallTime, NO_STAMP);
    const source = begin();
    let last = NO_STAMP;
    for (let i = 0; i < 1_000; i++) last = source.next(1_600_000_000_000 as WallTime, last);
    expect(kept.writes).toBeLessThan(30);
  });
});
