// Slots of a relay: the same for the same key and secret, another relay's for another, never 0, never two owners of one.

import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import { Prng } from '../../../src/base/prng.ts';
import { nobleProvider } from '../../../src/crypto/noble.ts';
import { nodeProvider } from '../../../src/crypto/node.ts';
import { SLOT_SECRET_BYTES, Slots } from '../../../src/relay/engine/slots.ts';

const filled = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
const hex = (slot: Uint8Array | null): string => (slot === null ? 'none' : toHex(slot));

describe('slots', () => {
  test('are the same after a restart, whatever the order, and of another relay others', () => {
    const before = new Slots<number>(nodeProvider, filled(1));
    const after = new Slots<number>(nobleProvider, filled(1));
    const other = new Slots<number>(nodeProvider, filled(2));
    const keys = Array.from({ length: 50 }, (_, i) => filled(i + 10));
    const first = keys.map((key, i) => hex(before.take(key, i)));
    const second = keys.map((key, i) => hex(after.take(key, i)));
    expect(second.toReversed()).toEqual(keys.toReversed().map((key, i) => hex(after.take(key, 49 - i))));
    expect(second).toEqual(first);
    expect(new Set(first).size).toBe(50);
    expect(keys.map((key, i) => hex(other.take(key, i)))).not.toContain(first[0]);
    expect(SLOT_SECRET_BYTES).toBe(32);
  });

  test('are the first 8 bytes of BLAKE2s, keyed with the secret, of the key', () => {
    const slot = new Slots<number>(nodeProvider, filled(3)).take(filled(4), 0);
    expect(hex(slot)).toBe(toHex(nobleProvider.mac(filled(3), filled(4)).subarray(0, 8)));
  });

  test('belong to one owner until it gives them back', () => {
    const slots = new Slots<string>(nodeProvider, filled(1));
    const slot = slots.take(filled(9), 'a') as Uint8Array;
    expect(slots.owner(slot)).toBe('a');
    expect(hex(slots.take(filled(9), 'a'))).toBe(hex(slot));
    expect(slots.size).toBe(1);
    slots.release(slot, 'b');
    expect(slots.owner(slot)).toBe('a');
    slots.release(slot, 'a');
    expect(slots.owner(slot)).toBeUndefined();
    expect(slots.size).toBe(0);
  });

  test('are never 0 and never shared, although keys meet in one', () => {
    // A MAC that knows four slots, 0 among them.
    const poor = {
      mac: (_key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array => {
        const out = new Uint8Array(16);
        let sum = 0;
        for (const part of parts) for (const byte of part) sum += byte;
        out[7] = sum % 4;
        out[8] = 255;
        return out;
      },
    };
    for (let seed = 1; seed <= 200; seed++) {
      const prng = new Prng(seed);
      const slots = new Slots<number>(poor, filled(1));
      const held = new Map<number, Uint8Array>();
      for (let step = 0; step < 40; step++) {
        const owner = prng.nextInt(0, 5);
        if (prng.chance(0.3)) {
          const slot = held.get(owner);
          if (slot !== undefined) slots.release(slot, owner);
          held.delete(owner);
          continue;
        }
        const slot = slots.take(filled(owner), owner);
        if (held.size >= 3 && !held.has(owner)) expect(slot).toBeNull();
        if (slot === null) continue;
        expect(slot.every((byte) => byte === 0)).toBe(false);
        // Whoever asks again may be given a nearer one; what it had before is its own to release.
        const had = held.get(owner);
        if (had !== undefined && hex(had) !== hex(slot)) slots.release(had, owner);
        held.set(owner, slot);
        for (const [other, of] of held) if (other !== owner) expect(hex(of)).not.toBe(hex(slot));
      }
    }
  });

  test('end with the secret', () => {
    const secret = filled(1);
    const slots = new Slots<number>(nodeProvider, secret);
    const slot = hex(slots.take(filled(9), 1));
    slots.wipe();
    expect(secret).toEqual(filled(1));
    expect(slots.size).toBe(0);
    expect(hex(slots.take(filled(9), 1))).not.toBe(slot);
  });
});
