// Session indexes: random, unique while in use, bounded.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { writeU32le } from '../../../src/base/bytes.ts';
import { Prng } from '../../../src/base/prng.ts';
import type { LocalIndex } from '../../../src/dataplane/dataplane.ts';
import { IndexTable } from '../../../src/wireguard/index-table.ts';

function scripted(...draws: number[]): (out: Uint8Array) => void {
  return (out) => writeU32le(out, 0, draws.shift() as number);
}

describe('index table', () => {
  test('an index is what the source of entropy gave, all 32 bits of it', () => {
    const table = new IndexTable<string>(scripted(0xffff_ffff, 0, 0x8000_0001), 10);
    expect([table.allocate('a'), table.allocate('b'), table.allocate('c')]).toEqual([0xffff_ffff, 0, 0x8000_0001]);
    expect(table.owner(0xffff_ffff)).toBe('a');
    expect(table.owner(0)).toBe('b');
    expect(table.owner(1)).toBeUndefined();
  });

  test('an index in use is not given twice; once freed it may come again', () => {
    const table = new IndexTable<string>(scripted(5, 5, 5, 6, 5), 10);
    const first = table.allocate('a') as LocalIndex;
    expect(table.allocate('b')).toBe(6);
    table.free(first);
    expect(table.owner(5)).toBeUndefined();
    expect(table.allocate('c')).toBe(5);
    expect(table.owner(5)).toBe('c');
  });

  test('a full table refuses, and serves again when something was freed', () => {
    const random = new Prng(4);
    const table = new IndexTable<number>((out) => random.fill(out), 3);
    const indexes = [0, 1, 2].map((owner) => table.allocate(owner) as LocalIndex);
    expect(table.allocate(3)).toBeNull();
    table.free(indexes[1] as LocalIndex);
    table.free(indexes[1] as LocalIndex);
    expect(table.size).toBe(2);
    expect(table.allocate(3)).not.toBeNull();
  });

  test('an index changes hands when a handshake becomes a keypair', () => {
    const table = new IndexTable<string>(scripted(9), 10);
    const index = table.allocate('handshake') as LocalIndex;
    table.transfer(index, 'keypair');
    expect(table.owner(9)).toBe('keypair');
    expect(table.size).toBe(1);
    table.free(index);
    expect(() => table.transfer(index, 'keypair')).toThrow(/invariant/);
  });

  test('it answers as a plain map of live indexes does', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 80 }), fc.integer(), (actions, seed) => {
        const random = new Prng(seed);
        // Three bits of index: collisions are the rule.
        const table = new IndexTable<number>((out) => writeU32le(out, 0, random.nextInt(0, 7)), 6);
        const model = new Map<LocalIndex, number>();
        for (const [step, allocate] of actions.entries()) {
          if (allocate) {
            const index = table.allocate(step);
            expect(index === null).toBe(model.size >= 6);
            if (index !== null) {
              expect(model.has(index)).toBe(false);
              model.set(index, step);
            }
          } else if (model.size > 0) {
            const index = random.pick([...model.keys()]);
            table.free(index);
            model.delete(index);
          }
          expect(table.size).toBe(model.size);
          for (let index = 0; index < 8; index++) expect(table.owner(index)).toBe(model.get(index as LocalIndex));
        }
      }),
    );
  });
});
