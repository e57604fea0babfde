// Names that somebody may have meant: typing errors, beginnings, nothing far-fetched; compared with the plain definition.

import { describe, expect, it } from 'vitest';
import { nearNames } from '../../../src/base/near-names.ts';
import { Prng } from '../../../src/base/prng.ts';

/** Optimal string alignment as it is defined, over the whole table. */
function distance(a: string, b: string): number {
  const table = Array.from({ length: a.length + 1 }, (_, i) =>
    Array.from({ length: b.length + 1 }, (_, j) => (i === 0 ? j : j === 0 ? i : 0)),
  );
  const cell = (i: number, j: number): number => table[i]?.[j] as number;
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      let best = Math.min(cell(i - 1, j) + 1, cell(i, j - 1) + 1, cell(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, cell(i - 2, j - 2) + 1);
      (table[i] as number[])[j] = best;
    }
  }
  return cell(a.length, b.length);
}

describe('near names', () => {
  it.each([
    ['kwii', ['kiwi']],
    ['Kiwi', ['kiwi']],
    ['kiw', ['kiwi']],
    ['lst', ['list']],
    ['build-runer-1', ['build-runner-1']],
    ['build', ['build-runner-1']],
    ['zzz', []],
    ['x', []],
    ['', []],
    ['k'.repeat(65), []],
  ])('of %j are %j', (word, expected) => {
    expect(nearNames(word, ['kiwi', 'list', 'fig', 'build-runner-1', 'k'.repeat(64)], 3)).toEqual(expected);
  });

  it('come nearest first, and no more than are asked for', () => {
    expect(nearNames('runner', ['rnunre', 'runner-2', 'runer', 'funner', 'rumner'], 3)).toEqual([
      'runner-2',
      'runer',
      'funner',
    ]);
  });

  it('are those within a third of the length in errors, by the plain definition', () => {
    const prng = new Prng(7);
    const letters = (count: number): string =>
      Array.from({ length: count }, () => 'abcd'.charAt(prng.nextU32() % 4)).join('');
    let found = 0;
    for (let round = 0; round < 20_000; round++) {
      const word = letters(2 + (prng.nextU32() % 8));
      const name = letters(1 + (prng.nextU32() % 9));
      const limit = Math.min(3, Math.floor((word.length + 1) / 3));
      const expected = name.startsWith(word) || distance(word, name) <= limit;
      expect([word, name, nearNames(word, [name], 1).length > 0]).toEqual([word, name, expected]);
      if (expected) found++;
    }
    expect(found).toBeGreaterThan(500);
  });

  it('look at a limited number of names', () => {
    let asked = 0;
    function* names(): Generator<string> {
      for (;;) {
        asked++;
        yield `node-${asked}`;
      }
    }
    expect(nearNames('ndoe-1', names(), 1)).toEqual(['node-1']);
    expect(asked).toBeLessThanOrEqual(10_001);
  });
});
