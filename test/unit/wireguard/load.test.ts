// The under-load decision (paper §5.3): a backlog of an eighth of the queue, and a second after it.

import { expect, test } from 'vitest';
import type { Instant } from '../../../src/base/instant.ts';
import { LoadMonitor } from '../../../src/wireguard/load.ts';

const at = (ms: number): Instant => (5_000 + ms) as Instant;

test('an eighth of the queue is load, less is not', () => {
  const load = new LoadMonitor(1024);
  expect(load.underLoad(127, at(0))).toBe(false);
  expect(load.underLoad(128, at(0))).toBe(true);
});

test('load lasts a second after the backlog was last that high', () => {
  const load = new LoadMonitor(1024);
  load.underLoad(500, at(0));
  expect(load.underLoad(0, at(999))).toBe(true);
  expect(load.underLoad(0, at(1000))).toBe(false);
  load.underLoad(128, at(2000));
  load.underLoad(128, at(2500));
  expect(load.underLoad(0, at(3499))).toBe(true);
  expect(load.underLoad(0, at(3500))).toBe(false);
});

test('a steady trickle of any length is no load', () => {
  const load = new LoadMonitor(1024);
  for (let ms = 0; ms < 100_000; ms += 10) expect(load.underLoad(1, at(ms))).toBe(false);
});

test('a tiny queue is not always under load', () => {
  const load = new LoadMonitor(4);
  expect(load.underLoad(0, at(0))).toBe(false);
  expect(load.underLoad(1, at(0))).toBe(true);
});
