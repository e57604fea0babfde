// How large a packet a path carries: found within seconds, never lowered for one loss, told to the plane, and found again when it changes.

import { describe, expect, test } from 'vitest';
import { NEVER } from '../../../src/base/instant.ts';
import { BASE_MTU, RAISE_MS, SIZES, TRIES_MAX, VERIFY_MS } from '../../../src/path/mtu-search.ts';
import { at, origin, Rig, relay, relayAt, seeded } from './rig.ts';

function rig(carries = Number.POSITIVE_INFINITY, deviceMtu = 1_420): Rig {
  const made = new Rig();
  made.deviceMtu = deviceMtu;
  made.ways.set(at(1), 20);
  made.narrow.set(at(1), carries);
  made.connect(origin(at(1)), relay(1));
  return made;
}

/** What the plane was told last; 0: no limit. */
const limitOf = ({ limits }: Rig): number => limits.at(-1)?.mtu ?? 0;

/** The largest of the sizes that are tried that the path carries. */
const best = (carries: number, device: number): number =>
  Math.max(...[...SIZES, device].filter((size) => size <= Math.min(carries, device)));

describe('a path that carries what the device sends', () => {
  test('costs one large ping, and nothing is told to the plane', () => {
    const one = rig();
    one.traffic(10_000);
    expect(one.large).toEqual([{ at: 520, bytes: 1_420 }]);
    expect([one.limits, one.paths.mtu, one.paths.isBlackHole(one.paths.active as never)]).toEqual([[], 1_420, false]);
  });

  test('is tried again once a minute while there is data, and never without', () => {
    const one = rig();
    one.traffic(150_000, 200);
    expect(one.large.map((probe) => Math.round(probe.at / 1_000))).toEqual([1, 61, 121]);
    one.run(60_000);
    expect([one.large.length, one.paths.deadline]).toEqual([3, NEVER]);
  });
});

describe('a narrower path', () => {
  test.each([1_400, 1_380, 1_340, 1_300, 1_280, 1_240, 1_200, 1_000, 576])(
    'of %i bytes is found within 12 s',
    (carries) => {
      const one = rig(carries);
      one.traffic(12_000);
      expect(limitOf(one)).toBe(best(carries, 1_420));
      expect(one.paths.mtu).toBe(best(carries, 1_420));
      expect(one.paths.isBlackHole(one.paths.active as never)).toBe(true);
      expect([one.uses.length, one.handshakes.length]).toEqual([1, 0]);
    },
  );

  test('is held to what passes everywhere while it is in doubt: within 1.6 s', () => {
    const one = rig(1_300);
    one.traffic(2_000);
    expect(one.limits[0]?.mtu).toBe(BASE_MTU);
    expect(one.limits[0]?.at).toBeLessThanOrEqual(1_600);
  });

  test('costs no more than the sizes between, each a few times', () => {
    for (let seed = 1; seed <= 100; seed++) {
      const prng = seeded(seed);
      const carries = prng.nextInt(600, 1_500);
      const device = prng.pick([1_280, 1_380, 1_420, 1_440, 1_500, 8_920]);
      const one = rig(carries, device);
      one.traffic(20_000);
      const largest = Math.min(device, 1_500);
      expect(one.paths.mtu, `seed ${seed}`).toBe(best(carries, largest));
      expect(limitOf(one), `seed ${seed}`).toBe(carries >= largest ? 0 : best(carries, largest));
      expect(one.large.length).toBeLessThanOrEqual(TRIES_MAX * 7);
    }
  });

  test('that the interface itself is too narrow for is known without waiting, and is no black hole', () => {
    const one = rig();
    one.interfaceMtu = 1_350;
    one.traffic(1_500);
    expect(limitOf(one)).toBe(1_344);
    expect(one.paths.isBlackHole(one.paths.active as never)).toBe(false);
  });

  test('that becomes wide again is used so ten minutes later, without narrowing it meanwhile', () => {
    const one = rig(1_400);
    one.traffic(10_000);
    expect(limitOf(one)).toBe(1_392);
    const told = one.limits.length;
    one.narrow.delete(at(1));
    one.traffic(RAISE_MS + VERIFY_MS, 500);
    expect(limitOf(one)).toBe(0);
    expect(one.limits.length).toBe(told + 1);
  });
});

describe('a path that narrows', () => {
  test('is noticed within a minute, and at once when a datagram could not leave', () => {
    const one = rig();
    one.traffic(5_000);
    one.narrow.set(at(1), 1_340);
    one.traffic(VERIFY_MS + 5_000, 100);
    expect(limitOf(one)).toBe(1_328);
    one.narrow.set(at(1), 1_290);
    const start = one.t;
    one.paths.tooBig(one.now);
    one.traffic(8_000);
    expect(limitOf(one)).toBe(1_280);
    expect(one.limits.at(-1)?.at).toBeLessThanOrEqual(start + 8_000);
  });

  test('is not concluded from one large ping that is lost, nor from a path that is dead as a whole', () => {
    const one = rig();
    one.run(500);
    // The first is lost.
    one.narrow.set(at(1), 0);
    one.traffic(200);
    one.narrow.delete(at(1));
    one.traffic(5_000);
    expect([one.limits, one.paths.mtu]).toEqual([[], 1_420]);
    one.ways.delete(at(1));
    one.ways.delete(relayAt(1));
    one.traffic(3_000);
    expect(one.limits).toEqual([]);
  });

  test('is searched anew on another path: what was found belongs to the one before', () => {
    const one = rig(1_340);
    one.ways.set(relayAt(1), 60);
    one.traffic(10_000);
    expect(limitOf(one)).toBe(1_328);
    one.ways.delete(at(1));
    one.traffic(4_000);
    expect(one.active).toBe(relayAt(1));
    expect(limitOf(one)).toBe(0);
    one.ways.set(at(1), 20);
    one.traffic(15_000);
    expect([one.active, limitOf(one)]).toEqual([at(1), 1_328]);
  });
});
