// Under load (paper §5.3; checklist 34–38), roaming (checklist 28), and what the network may not do to us.

import { describe, expect, test } from 'vitest';
import { equalBytes, fromHex } from '../../../src/base/bytes.ts';
import type { Endpoint } from '../../../src/base/ip.ts';
import { nodeProvider } from '../../../src/crypto/node.ts';
import { mac1Key } from '../../../src/wireguard/cookie.ts';
import { connectedPair, type Pair, pair, stateOf } from '../../lib/pair.ts';

/** Fills Bob's queue with garbage that has a good mac1, from addresses that nobody owns, and lets him work it off. */
function flood(p: Pair, messages: number): void {
  const key = mac1Key(nodeProvider, fromHex(p.bob.publicKeyHex) ?? new Uint8Array());
  for (let i = 0; i < messages; i++) {
    const message = new Uint8Array(148);
    message[0] = 1;
    message[4] = i & 255;
    message[5] = i >> 8;
    message.set(nodeProvider.mac(key, message.subarray(0, 116)), 116);
    const source = `198.18.${i >> 8}.${i & 255}:1000` as Endpoint;
    p.bob.plane.io.udpInput(message, source, p.bob.endpoint);
  }
  p.bob.run();
}

describe('under load', () => {
  test('an eighth of the queue waiting brings cookies; less does not', () => {
    const p = pair();
    flood(p, p.bob.plane.slabSlots / 8 - 1);
    expect(p.count('bob', 'cookie')).toBe(0);
    flood(p, p.bob.plane.slabSlots / 8);
    expect(p.count('bob', 'cookie')).toBe(p.bob.plane.slabSlots / 8);
  });

  test('an honest peer gets a cookie, waits for its own 5 s timer, and is served with mac2', () => {
    const p = pair();
    p.alice.send(p.bob, 1);
    p.world.run(9);
    flood(p, p.bob.plane.slabSlots / 2);
    p.world.run(4_000);
    expect(p.alice.engine.counters.reached.cookiesAccepted).toBe(1);
    expect(p.count('alice', 'initiation')).toBe(1);
    p.world.run(900);
    flood(p, p.bob.plane.slabSlots / 2);
    p.world.run(1_500);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([1]);
    expect(p.count('alice', 'initiation')).toBe(2);
  });

  test('ends a second after the queue has shrunk, and an unknown mac2 is then no reason to refuse', () => {
    const p = pair();
    flood(p, p.bob.plane.slabSlots / 2);
    p.world.run(1_001);
    p.alice.send(p.bob, 1);
    p.world.run(100);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([1]);
  });

  test('holds a source with a good cookie to 20 messages a second after a burst of 5', () => {
    const p = pair();
    p.alice.send(p.bob, 1);
    p.world.run(9);
    flood(p, p.bob.plane.slabSlots / 2);
    p.world.run(5_400);
    const initiation = p.log.filter((entry) => entry.from === 'alice' && entry.kind === 'initiation').at(-1);
    flood(p, p.bob.plane.slabSlots / 2);
    for (let i = 0; i < 30; i++) {
      p.bob.plane.io.udpInput(initiation?.bytes ?? new Uint8Array(), p.alice.endpoint, p.bob.endpoint);
    }
    p.bob.run();
    expect(p.bob.engine.counters.dropped.rateLimited).toBeGreaterThanOrEqual(25);
  });

  test('does not touch established sessions', () => {
    const p = connectedPair();
    flood(p, 2 * p.bob.plane.slabSlots);
    p.alice.send(p.bob, 2);
    p.world.run(100);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([2]);
  });
});

describe('roaming', () => {
  const elsewhere = '203.0.113.77:4242' as Endpoint;

  test('follows an authenticated data packet at once', () => {
    const p = connectedPair();
    p.alice.move(elsewhere);
    p.alice.send(p.bob, 2);
    p.world.run(100);
    expect(p.bob.peerOf(p.alice).endpoint).toBe(elsewhere);
    p.bob.send(p.alice, 3);
    p.world.run(100);
    expect(p.alice.sequencesFrom(p.bob)).toEqual([3]);
  });

  test('follows an authenticated initiation', () => {
    const p = pair({ bobKnowsAlice: false });
    p.alice.move(elsewhere);
    p.alice.send(p.bob, 2);
    p.world.run(100);
    expect(p.bob.peerOf(p.alice).endpoint).toBe(elsewhere);
    expect(stateOf(p.bob, p.alice)).toBe('established');
  });

  test('does not follow a replayed packet', () => {
    const p = connectedPair();
    p.alice.send(p.bob, 2);
    p.world.run(100);
    const data = p.log.filter((entry) => entry.from === 'alice' && entry.kind === 'data').at(-1);
    p.bob.plane.io.udpInput(data?.bytes ?? new Uint8Array(), elsewhere, p.bob.endpoint);
    p.bob.run();
    expect(p.bob.peerOf(p.alice).endpoint).toBe(p.alice.endpoint);
    expect(p.bob.plane.drops().inReplayed).toBe(1);
  });

  test('does not follow a cookie reply', () => {
    const p = pair();
    p.alice.send(p.bob, 1);
    p.world.run(9);
    flood(p, p.bob.plane.slabSlots / 2);
    p.world.run(2);
    const index = p.log.find((entry) => entry.kind === 'initiation')?.bytes.subarray(4, 8) ?? new Uint8Array();
    const cookie = p.log.find((entry) => entry.kind === 'cookie' && equalBytes(entry.bytes.subarray(4, 8), index));
    expect(cookie).toBeDefined();
    p.alice.plane.io.udpInput(cookie?.bytes ?? new Uint8Array(), elsewhere, p.alice.endpoint);
    p.alice.run();
    expect(p.alice.engine.counters.reached.cookiesAccepted).toBe(1);
    expect(p.alice.peerOf(p.bob).endpoint).toBe(p.bob.endpoint);
  });
});

describe('garbage', () => {
  test('is answered with silence and counted', () => {
    const p = connectedPair();
    for (let length = 0; length < 200; length++) {
      p.bob.plane.io.udpInput(new Uint8Array(length).fill(length & 7), p.alice.endpoint, p.bob.endpoint);
    }
    p.bob.run();
    expect(p.count('bob', 'cookie') + p.count('bob', 'response') + p.count('bob', 'data')).toBe(0);
    const drops = p.bob.plane.drops();
    expect(drops.inUnknownType + drops.inBadLength + drops.inBadMac1 + drops.inUnknownIndex).toBe(200);
  });

  test('a cookie reply for nothing that we sent is counted and ignored', () => {
    const p = connectedPair();
    const reply = new Uint8Array(64);
    reply[0] = 3;
    p.bob.plane.io.udpInput(reply, p.alice.endpoint, p.bob.endpoint);
    p.bob.run();
    expect(p.bob.plane.drops().inUnknownIndex).toBe(1);
    expect(p.bob.engine.counters.reached.cookiesAccepted).toBe(0);
  });
});
