// The netmap on disk: read by the node that wrote it, for a while, and by nobody else.

import { describe, expect, test } from 'vitest';
import type { WallTime } from '../../../src/base/instant.ts';
import { Prng } from '../../../src/base/prng.ts';
import { nobleProvider } from '../../../src/crypto/noble.ts';
import { nodeProvider } from '../../../src/crypto/node.ts';
import { NETMAP_EXPIRY_MS, openNetmap, SEALED_BYTES_MAX, sealNetmap } from '../../../src/mesh/sealed-netmap.ts';
import type { Position } from '../../../src/protocol/netmap.ts';
import { NETWORK } from './mesh-world.ts';
import { nodeRecord } from './node-record.ts';

const NOW = 1_700_000_000_000 as WallTime;
const KEY = new Uint8Array(32).fill(7);
const NETMAP = {
  position: { epoch: 'AAAAAAAAAAAAAAAA', seq: 42 } as Position,
  network: { ...NETWORK, name: 'Büro "Süd" ☃ 𝄞\\' },
  self: nodeRecord(1),
  nodes: [nodeRecord(2), nodeRecord(3, { tags: ['db'], online: false })],
};

function seal(seed = 1, now = NOW): Uint8Array {
  const prng = new Prng(seed);
  return sealNetmap(NETMAP, { crypto: nodeProvider, privateKey: KEY, now, random: (out) => prng.fill(out) });
}

const open = (bytes: Uint8Array, over: { privateKey?: Uint8Array; now?: number } = {}) =>
  openNetmap(bytes, {
    crypto: nodeProvider,
    privateKey: over.privateKey ?? KEY,
    now: (over.now ?? NOW) as WallTime,
  });

describe('a sealed netmap', () => {
  test('is what it was, any characters in its name included, with any crypto provider', () => {
    expect(open(seal())).toEqual({ ok: true, netmap: NETMAP, savedAt: NOW });
    expect(openNetmap(seal(), { crypto: nobleProvider, privateKey: KEY, now: NOW })).toMatchObject({ ok: true });
  });

  test('shows nothing of the network, and never the same bytes', () => {
    const text = String.fromCharCode(...seal());
    for (const word of ['node-2', '100.64', 'AAAAAAAA', NETMAP.self.publicKey]) expect(text).not.toContain(word);
    expect(seal(1)).not.toEqual(seal(2));
  });

  test('expires after two weeks, to the millisecond, and not before', () => {
    expect(open(seal(), { now: NOW + NETMAP_EXPIRY_MS - 1 }).ok).toBe(true);
    expect(open(seal(), { now: NOW + NETMAP_EXPIRY_MS })).toEqual({ ok: false, reason: 'expired' });
    // A clock that was set back: not older than it was.
    expect(open(seal(), { now: NOW - 1_000_000 }).ok).toBe(true);
  });

  test('is not read with another key', () => {
    expect(open(seal(), { privateKey: new Uint8Array(32).fill(8) })).toEqual({ ok: false, reason: 'refused' });
  });

  test('is not read when a bit of it is different, wherever', () => {
    const sealed = seal();
    for (let at = 0; at < sealed.length; at++) {
      const bytes = sealed.slice();
      bytes[at] = (bytes[at] as number) ^ (1 << (at % 8));
      const reason = at < 4 ? 'notOurs' : at === 4 ? 'otherVersion' : 'refused';
      expect(open(bytes)).toEqual({ ok: false, reason });
    }
  });

  test('is not read when it is cut off or longer', () => {
    const sealed = seal();
    for (const length of [0, 1, 4, 5, 28, 29, 30, 45, sealed.length - 1]) {
      expect(open(sealed.subarray(0, length)).ok).toBe(false);
    }
    expect(open(new Uint8Array([...sealed, 0]))).toEqual({ ok: false, reason: 'refused' });
    expect(open(new Uint8Array(SEALED_BYTES_MAX + 1)).ok).toBe(false);
  });

  test('that we sealed ourselves and whose content is not sound is refused: another version of us wrote it', () => {
    const prng = new Prng(1);
    const odd = { ...NETMAP, nodes: [{ ...nodeRecord(2), address4: 'nonsense' as never }] };
    const context = { crypto: nodeProvider, privateKey: KEY, now: NOW };
    expect(open(sealNetmap(odd, { ...context, random: (out) => prng.fill(out) }))).toEqual({
      ok: false,
      reason: 'malformed',
    });
  });
});
