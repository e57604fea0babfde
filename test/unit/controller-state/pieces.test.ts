// The parts that the core is made of, each by itself: names, addresses, schedule, rates, log, overlays.

import { describe, expect, test } from 'vitest';
import type { Instant } from '../../../src/base/instant.ts';
import type { IpAddress, IpPrefix } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import {
  addressesOf,
  findHost,
  findHostFromEnd,
  hostMax,
  isAssignable,
} from '../../../src/controller/state/addresses.ts';
import { closesAfter, controlError } from '../../../src/controller/state/errors.ts';
import { isMadeFrom, nameBase, uniqueName } from '../../../src/controller/state/names.ts';
import { OpLog } from '../../../src/controller/state/op-log.ts';
import { RateTable } from '../../../src/controller/state/rates.ts';
import { Schedule } from '../../../src/controller/state/schedule.ts';
import { equalHashes, newPublicId } from '../../../src/controller/state/secrets.ts';
import type { StateView } from '../../../src/controller/state/state-view.ts';
import { Overlay } from '../../../src/controller/state/tables.ts';
import { publicIdSchema } from '../../../src/protocol/admin-api.ts';
import { ERROR_CODES, errorSchema, FATAL_ERRORS } from '../../../src/protocol/control.ts';
import { type NodeName, nodeNameSchema } from '../../../src/protocol/values.ts';
import { settings } from './lab.ts';

function viewWithNames(names: ReadonlySet<string>): { view: StateView; looks: () => number } {
  let looks = 0;
  const nodeByName = (name: string) => {
    looks++;
    return names.has(name) ? {} : undefined;
  };
  return { view: { nodeByName } as never, looks: () => looks };
}

describe('names', () => {
  test('are one DNS label, whatever the machine calls itself', () => {
    const made = [
      'Web',
      'web.example.com',
      'My Laptop',
      '--x--',
      'ünï',
      '日本',
      '.',
      'localhost',
      'a'.repeat(200),
      '-',
    ];
    expect(made.map(nameBase)).toEqual([
      'web',
      'web',
      'my-laptop',
      'x',
      'n',
      'node',
      'node',
      'node',
      'a'.repeat(63),
      'node',
    ]);
    for (const hostname of made) expect(nodeNameSchema.safeParse(nameBase(hostname)).success).toBe(true);
  });

  test('are told apart by numbers, and stay within a label', () => {
    const taken = new Set<string>();
    const { view } = viewWithNames(taken);
    for (let i = 0; i < 200; i++) {
      const name = uniqueName('a'.repeat(80), view);
      expect(taken.has(name)).toBe(false);
      expect(nodeNameSchema.safeParse(name).success).toBe(true);
      taken.add(name);
    }
    expect([...taken].slice(0, 3)).toEqual(['a'.repeat(63), `${'a'.repeat(61)}-2`, `${'a'.repeat(61)}-3`]);
  });

  test('of ten thousand clones are found in a few looks', () => {
    const { view, looks } = viewWithNames(
      new Set(['web', ...Array.from({ length: 10_000 }, (_, i) => `web-${i + 2}`)]),
    );
    expect(uniqueName('web', view)).toBe('web-10002');
    expect(looks()).toBeLessThan(45);
  });

  test('are known to be made of a hostname', () => {
    const made = (name: string, hostname: string) => isMadeFrom(name as NodeName, hostname);
    expect([made('web', 'Web.lan'), made('web-12', 'web'), made('db', 'web'), made('web-x', 'web')]).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });
});

describe('addresses', () => {
  const view = (prefix4: string, nextHost: number, taken: readonly string[] = []): StateView =>
    ({
      settings: settings({ prefix4: prefix4 as IpPrefix, nextHost }),
      nodeCount: taken.length,
      nodeByAddress: (address: string) => (taken.includes(address) ? {} : undefined),
    }) as never;

  test('are made of one host number for both families', () => {
    const plan = settings({ prefix4: '100.64.0.0/10' as IpPrefix, prefix6: 'fd12:3456:789a::/48' as IpPrefix });
    expect(addressesOf(plan, 2)).toEqual({ address4: '100.64.0.2', address6: 'fd12:3456:789a::2' });
    expect(addressesOf(plan, 0x3f_ffff)).toEqual({ address4: '100.127.255.255', address6: 'fd12:3456:789a::3f:ffff' });
    expect(hostMax(plan)).toBe(2 ** 22 - 2);
  });

  test('go round from the cursor and leave out the first two and the last', () => {
    expect([0, 1, 2, 99].map((cursor) => findHost(view('10.0.0.0/29', cursor)))).toEqual([2, 2, 2, 2]);
    expect(findHost(view('10.0.0.0/29', 6))).toBe(6);
    expect(findHost(view('10.0.0.0/29', 7))).toBe(2);
    expect(findHost(view('10.0.0.0/29', 5, ['10.0.0.5', '10.0.0.6', 'fd00:77::2']))).toBe(3);
    expect(findHost(view('10.0.0.0/30', 2, ['10.0.0.2']))).toBe(null);
    expect([31, 32].map((length) => findHost(view(`10.0.0.0/${length}`, 2)))).toEqual([null, null]);
  });

  test('of relays are the last that are free, wherever the cursor is', () => {
    expect(findHostFromEnd(view('10.0.0.0/29', 2))).toBe(6);
    expect(findHostFromEnd(view('10.0.0.0/29', 6, ['10.0.0.6', 'fd00:77::5']))).toBe(4);
    expect(findHostFromEnd(view('10.0.0.0/30', 2, ['10.0.0.2']))).toBe(null);
    expect([31, 32].map((length) => findHostFromEnd(view(`10.0.0.0/${length}`, 2)))).toEqual([null, null]);
  });

  test('are limited by the smaller range', () => {
    const prefix6 = 'fd00::/125' as IpPrefix;
    expect(hostMax(settings({ prefix6 }))).toBe(7);
  });

  test('may be given by hand when they are of the range and not kept', () => {
    const can = (prefix: string, address: string) => isAssignable(prefix as IpPrefix, address as IpAddress);
    for (const good of ['10.0.0.2', '10.0.1.0', '10.0.3.254']) expect(can('10.0.0.0/22', good)).toBe(true);
    for (const bad of ['10.0.0.0', '10.0.0.1', '10.0.3.255', '10.0.4.2', 'fd00::5']) {
      expect(can('10.0.0.0/22', bad)).toBe(false);
    }
    for (const good of ['fd00::2', 'fd00::ffff:ffff:ffff:ffff']) expect(can('fd00::/64', good)).toBe(true);
    for (const bad of ['fd00::', 'fd00::1', 'fd00:0:0:1::2', '10.0.0.2']) expect(can('fd00::/64', bad)).toBe(false);
  });
});

describe('schedule', () => {
  test('gives keys when they are due, earliest first, however they were moved', () => {
    const random = new Prng(5);
    const schedule = new Schedule<number>();
    const model = new Map<number, number>();
    for (let step = 0; step < 20_000; step++) {
      const which = random.nextInt(0, 40);
      const dice = random.nextFloat();
      if (dice < 0.6) {
        const at = random.nextInt(0, 1_000);
        schedule.set(which, at);
        model.set(which, at);
      } else if (dice < 0.8) {
        schedule.delete(which);
        model.delete(which);
      } else if (dice < 0.85) {
        const time = random.nextInt(0, 300);
        const due = [...model].filter(([, at]) => at <= time);
        const taken = schedule.takeDue(time);
        expect(taken.map((id) => model.get(id))).toEqual(due.map(([, at]) => at).sort((a, b) => a - b));
        for (const [id] of due) model.delete(id);
      }
      expect(schedule.next()).toBe(Math.min(...model.values()));
      expect(schedule.size).toBe(model.size);
    }
  });
});

describe('rates', () => {
  const at = (ms: number): Instant => (1_000 + ms) as Instant;

  test('are a burst, then one per interval, and never more saved up', () => {
    const table = new RateTable<string>({ burst: 3, intervalMs: 100 }, 10);
    const taken = (ms: number) => Array.from({ length: 10 }, () => table.take('a', at(ms))).filter(Boolean).length;
    expect([taken(0), taken(99), taken(100), taken(250), taken(10_000)]).toEqual([3, 0, 1, 1, 3]);
    expect(table.waitMs('a', at(10_000))).toBe(100);
    expect(table.waitMs('b', at(10_000))).toBe(0);
  });

  test('are kept for a bounded number', () => {
    const table = new RateTable<number>({ burst: 1, intervalMs: 1_000 }, 100);
    for (let i = 0; i < 10_000; i++) table.take(i, at(0));
    expect(table.size).toBe(100);
    expect(table.take(9_999, at(1))).toBe(false);
    for (let i = 0; i < 60; i++) table.take(-i, at(5_000));
    expect(table.size).toBeLessThan(100);
  });
});

describe('the log', () => {
  const entry = (seq: number) => ({ seq, op: { op: 'remove', id: seq } as never });

  test('covers what it holds, and drops the oldest', () => {
    const log = new OpLog([entry(5), entry(6)], 8);
    expect([3, 4, 5, 6, 7].map((seq) => log.covers(seq))).toEqual([false, true, true, true, false]);
    for (let seq = 7; seq <= 100; seq++) log.append(entry(seq));
    expect(log.seq).toBe(100);
    expect([100 - 11, 100 - 8].map((seq) => log.covers(seq))).toEqual([false, true]);
    expect(log.after(98)).toEqual([entry(99).op, entry(100).op]);
    expect(() => log.append(entry(102))).toThrow('no gaps');
  });

  test('that is empty covers its end alone', () => {
    const log = new OpLog([], 8);
    expect([log.seq, log.covers(0), log.covers(1)]).toEqual([0, true, false]);
  });
});

test('an overlay reads like a changed map and leaves the map alone', () => {
  const random = new Prng(3);
  const base = new Map(Array.from({ length: 20 }, (_, i) => [i, i]));
  const before = new Map(base);
  const model = new Map(base);
  const overlay = new Overlay(base);
  for (let i = 0; i < 1_000; i++) {
    const which = random.nextInt(0, 30);
    if (random.chance(0.5)) {
      overlay.set(which, i);
      model.set(which, i);
    } else {
      overlay.delete(which);
      model.delete(which);
    }
    expect([overlay.get(which), overlay.size]).toEqual([model.get(which), model.size]);
  }
  for (let which = 0; which <= 30; which++) expect(overlay.get(which)).toBe(model.get(which));
  expect(base).toEqual(before);
});

test('public ids are what the REST API takes for ids', () => {
  const random = new Prng(1);
  for (let i = 0; i < 100; i++) {
    expect(publicIdSchema.safeParse(newPublicId(i % 2 === 0 ? 'k' : 't', (out) => random.fill(out))).success).toBe(
      true,
    );
  }
});

test('hashes are equal when all of them is', () => {
  expect([
    equalHashes('abc', 'abc'),
    equalHashes('abc', 'abd'),
    equalHashes('abc', 'bbc'),
    equalHashes('abc', 'abcd'),
  ]).toEqual([true, false, false, false]);
});

test('every error says what happened and what to do, and those that a person must mend end the connection', () => {
  const messages = ERROR_CODES.map((code) => errorSchema.parse(controlError(code)));
  expect(new Set(messages.map(({ message }) => message)).size).toBe(ERROR_CODES.length);
  for (const { message, help } of messages)
    for (const text of [message, help]) expect(text).toMatch(/^[A-Z`].{30,}\.$/s);
  expect(FATAL_ERRORS.filter((code) => !closesAfter(code))).toEqual([]);
});
