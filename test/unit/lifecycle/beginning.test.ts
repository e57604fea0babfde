// How a session begins: only for a reason, with everything fresh on every try (paper §6.1–6.4).

import { describe, expect, test } from 'vitest';
import { fromHex } from '../../../src/base/bytes.ts';
import { NEVER } from '../../../src/base/instant.ts';
import { nodeProvider } from '../../../src/crypto/node.ts';
import { mac1Key } from '../../../src/wireguard/cookie.ts';
import { connectedPair, pair, stateOf } from '../../lib/pair.ts';

describe('a peer that was added', () => {
  test('waits at no cost: no packet, no timer, no memory of handshakes', () => {
    const { alice, bob, world, log } = pair();
    const wakes = alice.wakes;
    world.run(24 * 3600_000);
    expect(log).toEqual([]);
    expect(alice.wakes).toBe(wakes);
    expect(alice.engine.nextDeadline()).toBe(NEVER);
    expect(alice.peerOf(bob).memory).toBeNull();
    expect(alice.peerOf(bob).timers).toBeNull();
    expect(stateOf(alice, bob)).toBe('idle');
  });

  test('handshakes when outbound data is queued, and the data arrives with the session', () => {
    const p = pair();
    p.alice.send(p.bob, 7);
    expect(stateOf(p.alice, p.bob)).toBe('connecting');
    p.world.run(40);
    expect(p.wire()).toEqual(['alice:initiation', 'bob:response', 'alice:data']);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([7]);
    expect(stateOf(p.alice, p.bob)).toBe('established');
    expect(stateOf(p.bob, p.alice)).toBe('established');
  });

  test('has no retransmission left to wake for once it is connected', () => {
    const p = pair();
    p.alice.send(p.bob, 7);
    p.world.run(40);
    p.bob.send(p.alice, 8);
    p.world.run(40);
    // What is set now belongs to the session: the passive keepalive for bob's packet is the first.
    expect(p.alice.engine.nextDeadline() - p.world.now).toBeGreaterThan(9_900);
  });

  test('works for IPv6 inside as for IPv4', () => {
    const p = pair();
    p.alice.send(p.bob, 3, { family: 6 });
    p.world.run(100);
    p.bob.send(p.alice, 4, { family: 6 });
    p.world.run(100);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([3]);
    expect(p.alice.sequencesFrom(p.bob)).toEqual([4]);
  });

  test('sends what was staged in order, at most the newest 128 packets', () => {
    const p = pair();
    for (let i = 0; i < 200; i++) p.alice.send(p.bob, i);
    p.world.run(100);
    expect(p.bob.sequencesFrom(p.alice)).toEqual(Array.from({ length: 128 }, (_, i) => 72 + i));
    expect(p.alice.plane.drops().outStagedOverflow).toBe(72);
  });

  test('does not handshake for a packet without a peer, nor without an endpoint', () => {
    const p = pair({ bobKnowsAlice: false });
    p.bob.send(p.alice, 1);
    p.world.run(10_000);
    expect(p.log).toEqual([]);
    expect(p.bob.plane.drops().outNoEndpoint).toBe(1);
  });

  test('with a wrong preshared key never connects, and with the right one does', () => {
    const presharedKey = new Uint8Array(32).fill(9);
    const good = pair({ presharedKey });
    good.alice.send(good.bob, 1);
    good.world.run(100);
    expect(good.bob.sequencesFrom(good.alice)).toEqual([1]);

    const bad = pair({ presharedKey });
    bad.bob.engine.setPresharedKey(bad.bob.peerOf(bad.alice), new Uint8Array(32).fill(8));
    bad.alice.send(bad.bob, 1);
    bad.world.run(20_000);
    expect(bad.bob.received).toEqual([]);
    expect(bad.alice.engine.counters.dropped.badResponse).toBeGreaterThan(0);
  });
});

describe('the initiator', () => {
  test('confirms the session with a keepalive when nothing is staged', () => {
    const p = pair({ aliceKeepaliveSeconds: 25 });
    p.world.run(40);
    expect(p.wire()).toEqual(['alice:initiation', 'bob:response', 'alice:keepalive']);
    expect(stateOf(p.bob, p.alice)).toBe('established');
  });

  test('retries every 5 s plus at most 333 ms of jitter, with a fresh ephemeral, index and stamp each time', () => {
    const p = pair();
    p.world.network.blocked = () => true;
    p.alice.send(p.bob, 1);
    p.world.run(60_000);
    const sent = p.log.filter((entry) => entry.kind === 'initiation');
    expect(sent.length).toBeGreaterThanOrEqual(11);
    for (let i = 1; i < sent.length; i++) {
      const gap = (sent[i]?.at ?? 0) - (sent[i - 1]?.at ?? 0);
      expect(gap).toBeGreaterThanOrEqual(5000);
      expect(gap).toBeLessThanOrEqual(5334);
    }
    const fields = (from: number, to: number) => new Set(sent.map((entry) => entry.bytes.subarray(from, to).join()));
    expect(fields(4, 8).size).toBe(sent.length);
    expect(fields(8, 40).size).toBe(sent.length);
  });

  test('accepts a response that is seconds late', () => {
    const p = pair();
    p.world.network.conditions.latencyMs = 2_000;
    p.alice.send(p.bob, 1);
    p.world.run(7_000);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([1]);
    expect(p.count('alice', 'initiation')).toBe(1);
  });

  test('keeps its pending handshake when a forged response arrives', () => {
    const p = pair();
    p.world.network.conditions.latencyMs = 1_000;
    p.alice.send(p.bob, 1);
    p.world.run(1_500);
    const response = p.log.find((entry) => entry.kind === 'response');
    const forged = (response?.bytes ?? new Uint8Array()).slice();
    forged[20] = (forged[20] as number) ^ 1;
    const mac1 = macOf(p.alice.publicKeyHex, forged);
    forged.set(mac1, 60);
    p.alice.plane.io.udpInput(forged, p.bob.endpoint, p.alice.endpoint);
    p.alice.run();
    expect(p.alice.engine.counters.dropped.badResponse).toBe(1);
    p.world.run(5_000);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([1]);
    expect(p.count('alice', 'initiation')).toBe(1);
  });

  test('sends no initiation within 5 s of its own response', () => {
    const p = pair();
    // Bob answers Alice, but her confirmation is lost: he may not yet send, and wants to.
    p.world.network.blocked = ({ bytes, source }) => source === p.alice.endpoint && bytes[0] === 4;
    p.alice.send(p.bob, 1);
    p.world.run(30);
    const answeredAt = p.times('bob', 'response')[0] ?? 0;
    p.bob.send(p.alice, 1);
    p.world.run(6_000);
    expect(p.times('bob', 'initiation')[0]).toBeGreaterThanOrEqual(answeredAt + 5_000);
  });
});

describe('the responder', () => {
  test('sends nothing but the response, and starts no timer of its own, until the first authenticated packet', () => {
    const p = pair();
    p.world.network.blocked = ({ bytes, source }) => source === p.alice.endpoint && bytes[0] === 4;
    p.alice.send(p.bob, 1);
    p.world.run(4_900);
    expect(p.wire().filter((entry) => entry.startsWith('bob'))).toEqual(['bob:response']);
    const timers = p.bob.peerOf(p.alice).timers;
    expect(timers?.passiveKeepaliveAt).toBe(NEVER);
    expect(timers?.newHandshakeAt).toBe(NEVER);
    expect(timers?.retransmitAt).toBe(NEVER);
    expect(stateOf(p.bob, p.alice)).toBe('connecting');
    expect(p.bob.peerOf(p.alice).lastHandshake).toBeNull();
  });

  test('waits with staged data for the confirmation and then sends it', () => {
    const p = pair();
    p.alice.send(p.bob, 1);
    p.world.run(15);
    p.bob.send(p.alice, 5);
    p.world.run(100);
    expect(p.alice.sequencesFrom(p.bob)).toEqual([5]);
    expect(p.count('bob', 'initiation')).toBe(0);
  });

  test('does not accept an initiation twice', () => {
    const p = connectedPair();
    p.alice.configure((engine, now) => engine.setPrivateKey(p.alice.privateKey, now));
    p.world.run(121_000);
    p.alice.send(p.bob, 2);
    p.world.run(1_000);
    const initiation = p.log.find((entry) => entry.kind === 'initiation');
    expect(initiation).toBeDefined();
    p.bob.plane.io.udpInput(initiation?.bytes ?? new Uint8Array(), p.alice.endpoint, p.bob.endpoint);
    p.bob.run();
    expect(p.bob.engine.counters.dropped.staleStamp).toBe(1);
  });

  test('takes at most one initiation per 20 ms from one peer', () => {
    // A link that goes down and up again begins anew at once, without waiting out the 5 s.
    const p = pair();
    p.world.network.conditions.latencyMs = 0;
    p.alice.send(p.bob, 1);
    p.alice.configure((engine, now) => {
      engine.linkDown(now);
      engine.linkUp(now);
    });
    p.alice.send(p.bob, 2);
    p.world.run(10);
    expect(p.count('alice', 'initiation')).toBe(2);
    expect(p.bob.engine.counters.dropped.initiationFlood).toBe(1);
    expect(p.count('bob', 'response')).toBe(1);
  });
});

describe('both ends beginning at once', () => {
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    test(`converge within a second on one keypair and lose nothing, then or at the next renewal (seed ${seed})`, () => {
      const p = pair({ seed });
      p.alice.send(p.bob, 0);
      p.bob.send(p.alice, 0);
      p.world.run(1_000);
      expect(p.bob.sequencesFrom(p.alice)).toEqual([0]);
      expect(p.alice.sequencesFrom(p.bob)).toEqual([0]);
      let sequence = 1;
      for (let ms = 0; ms < 130_000; ms += 50) {
        p.alice.send(p.bob, sequence);
        p.bob.send(p.alice, sequence);
        sequence++;
        p.world.run(50);
      }
      p.world.run(1_000);
      const all = Array.from({ length: sequence }, (_, i) => i);
      expect(p.bob.sequencesFrom(p.alice)).toEqual(all);
      expect(p.alice.sequencesFrom(p.bob)).toEqual(all);
    });
  }
});

function macOf(publicKeyHex: string, message: Uint8Array): Uint8Array {
  return nodeProvider.mac(
    mac1Key(nodeProvider, fromHex(publicKeyHex) ?? new Uint8Array()),
    message.subarray(0, message.length - 32),
  );
}
