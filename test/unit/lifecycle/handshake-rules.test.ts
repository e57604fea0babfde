// What the paper and the reference implementations ask of handshakes beyond the happy way: stamps, the 5 s between
// messages, keys that no handshake is possible with, floods, crossings (paper §5.1, §6.1–6.4; checklist 2–10).

import { describe, expect, test } from 'vitest';
import { fromHex, toHex } from '../../../src/base/bytes.ts';
import { NEVER } from '../../../src/base/instant.ts';
import { nodeProvider } from '../../../src/crypto/node.ts';
import { mac1Key } from '../../../src/wireguard/cookie.ts';
import { connectedPair, Fixture, type Pair, pair, stateOf } from '../../lib/pair.ts';

/** Alice's link goes down and up: she has forgotten the session and begins anew with her next packet. */
function restartLink(p: Pair): void {
  p.alice.configure((engine, now) => {
    engine.linkDown(now);
    engine.linkUp(now);
  });
}

/** An initiation to `host` with a good mac1 and nothing else that is good. */
function forgedInitiation(publicKeyHex: string, marker: number): Uint8Array {
  const message = new Uint8Array(148).fill(marker, 4, 116);
  message[0] = 1;
  const key = mac1Key(nodeProvider, fromHex(publicKeyHex) ?? new Uint8Array());
  message.set(nodeProvider.mac(key, message.subarray(0, 116)), 116);
  return message;
}

describe('the stamp of an initiation', () => {
  test('that was accepted once is remembered for the life of the peer: after sessions, links and keys of ours', () => {
    const p = pair();
    p.alice.send(p.bob, 1);
    p.world.run(100);
    const first = p.log.find((entry) => entry.kind === 'initiation')?.bytes ?? new Uint8Array();
    const replay = () => {
      const answered = p.count('bob', 'response');
      p.bob.plane.io.udpInput(first, p.alice.endpoint, p.bob.endpoint);
      p.bob.run();
      expect(p.count('bob', 'response')).toBe(answered);
    };
    replay();
    expect(p.bob.engine.counters.dropped.staleStamp).toBe(1);
    p.world.run(600_000);
    expect(p.bob.peerOf(p.alice).session).toBeNull();
    replay();
    expect(p.bob.engine.counters.dropped.staleStamp).toBe(2);
    p.bob.configure((engine, now) => {
      engine.linkDown(now);
      engine.linkUp(now);
    });
    replay();
    expect(p.bob.engine.counters.dropped.staleStamp).toBe(3);
    p.bob.configure((engine, now) => {
      engine.setPrivateKey(null, now);
      engine.setPrivateKey(p.bob.privateKey, now);
    });
    replay();
    expect(p.bob.engine.counters.dropped.staleStamp).toBe(4);
  });

  test('that is older than one accepted is refused although it was never seen', () => {
    const p = pair();
    p.world.network.blocked = ({ bytes }) => bytes[0] === 1;
    p.alice.send(p.bob, 1);
    p.world.run(1_000);
    const older = p.log.find((entry) => entry.kind === 'initiation')?.bytes ?? new Uint8Array();
    p.world.network.blocked = () => false;
    p.world.run(6_000);
    expect(stateOf(p.bob, p.alice)).toBe('established');
    p.bob.plane.io.udpInput(older, p.alice.endpoint, p.bob.endpoint);
    p.bob.run();
    expect(p.bob.engine.counters.dropped.staleStamp).toBe(1);
  });

  test('is compared with those of the same peer only: another whose clock is a year behind is served', () => {
    const f = new Fixture();
    const [alice, bob, carol] = ['alice', 'bob', 'carol'].map((name) => f.world.addHost(name));
    if (alice === undefined || bob === undefined || carol === undefined) throw new Error('three hosts');
    for (const other of [alice, carol]) {
      bob.addPeer(other);
      other.addPeer(bob);
    }
    carol.stepClock(-365 * 24 * 3600_000);
    alice.send(bob, 1);
    f.world.run(100);
    carol.send(bob, 2);
    f.world.run(100);
    expect(bob.sequencesFrom(alice)).toEqual([1]);
    expect(bob.sequencesFrom(carol)).toEqual([2]);
  });

  test('rises though the clock is set back, so that the peer still answers', () => {
    const p = connectedPair();
    p.alice.stepClock(-3600_000);
    p.world.run(125_000);
    p.alice.send(p.bob, 2);
    p.world.run(1_000);
    expect(p.count('alice', 'initiation')).toBe(1);
    expect(p.count('bob', 'response')).toBe(1);
    // Also for a peer that is removed and added again, of which nothing is remembered.
    p.alice.configure((engine, now) => engine.removeAllPeers(now));
    p.alice.addPeer(p.bob);
    p.alice.send(p.bob, 3);
    p.world.run(1_000);
    expect(p.count('bob', 'response')).toBe(2);
    expect(p.bob.engine.counters.dropped.staleStamp).toBe(0);
  });
});

describe('a retry', () => {
  test('is delayed by jitter that is drawn anew each time, so that two ends do not stay in step', () => {
    const p = pair();
    p.world.network.blocked = () => true;
    p.alice.send(p.bob, 1);
    p.world.run(85_000);
    const at = p.times('alice', 'initiation');
    const jitters = at.slice(1).map((time, i) => time - (at[i] ?? 0) - 5_000);
    expect(new Set(jitters.map((jitter) => Math.floor(jitter / 10))).size).toBeGreaterThan(8);
    expect(Math.max(...jitters)).toBeGreaterThan(200);
    expect(Math.min(...jitters)).toBeLessThan(130);
  });

  test('has an index that tells nothing of the one before: all 32 bits are random', () => {
    const p = pair();
    p.world.network.blocked = () => true;
    p.alice.send(p.bob, 1);
    p.world.run(85_000);
    const sent = p.log.filter((entry) => entry.kind === 'initiation').map((entry) => entry.bytes.subarray(4, 8));
    for (let byte = 0; byte < 4; byte++) {
      expect(new Set(sent.map((index) => index[byte])).size).toBeGreaterThan(sent.length / 2);
    }
  });

  test('frees the index of the initiation before it', () => {
    const p = pair();
    p.world.network.blocked = () => true;
    p.alice.send(p.bob, 1);
    p.world.run(60_000);
    const sent = p.log.filter((entry) => entry.kind === 'initiation');
    expect(sent.length).toBeGreaterThan(10);
    for (const { bytes } of sent) {
      const cookie = new Uint8Array(64);
      cookie[0] = 3;
      cookie.set(bytes.subarray(4, 8), 4);
      p.alice.plane.io.udpInput(cookie, p.bob.endpoint, p.alice.endpoint);
    }
    p.alice.run();
    expect(p.alice.plane.drops().inUnknownIndex).toBe(sent.length - 1);
    expect(p.alice.engine.counters.dropped.badCookie).toBe(1);
  });

  test('that is given up frees its index too, and the late response finds nobody', () => {
    const p = pair();
    const toAlice: Uint8Array[] = [];
    p.world.network.blocked = ({ bytes, source }) => {
      if (source === p.bob.endpoint) toAlice.push(bytes);
      return source === p.bob.endpoint;
    };
    p.alice.send(p.bob, 1);
    p.world.run(200_000);
    expect(p.alice.engine.counters.reached.attemptsGivenUp).toBe(1);
    for (const bytes of toAlice) p.alice.plane.io.udpInput(bytes, p.bob.endpoint, p.alice.endpoint);
    p.alice.run();
    expect(toAlice.length).toBeGreaterThan(10);
    expect(p.alice.plane.drops().inUnknownIndex).toBe(toAlice.length);
    expect(stateOf(p.alice, p.bob)).toBe('idle');
  });
});

describe('five seconds', () => {
  test('lie between any two handshake messages to a peer that died, whatever asks: renewal, silence, retries', () => {
    for (const silentFrom of [60_000, 104_000, 108_000, 112_000, 119_000]) {
      const p = connectedPair();
      const start = p.world.now;
      p.world.network.blocked = ({ source }) => source === p.bob.endpoint && p.world.now >= start + silentFrom;
      for (let ms = 0; ms < 200_000; ms += 500) {
        p.alice.send(p.bob, 2);
        if (ms < silentFrom) p.bob.send(p.alice, 2);
        p.world.run(500);
      }
      const at = p.times('alice', 'initiation');
      expect(at.length).toBeGreaterThan(10);
      for (let i = 1; i < at.length; i++) expect((at[i] ?? 0) - (at[i - 1] ?? 0)).toBeGreaterThanOrEqual(5_000);
    }
  });

  test('pass after our response before a renewal is begun', () => {
    const p = connectedPair();
    p.world.run(119_000);
    // Bob begins anew but never uses what Alice answers, so that her old keypair remains and grows too old.
    p.bob.configure((engine, now) => {
      engine.linkDown(now);
      engine.linkUp(now);
    });
    p.world.network.blocked = ({ bytes, source }) => source === p.bob.endpoint && bytes[0] === 4;
    p.bob.send(p.alice, 1);
    p.world.run(2_000);
    const answeredAt = p.times('alice', 'response')[0] ?? 0;
    p.alice.send(p.bob, 2);
    expect(p.count('alice', 'data')).toBe(1);
    p.world.network.blocked = ({ source }) => source === p.bob.endpoint;
    p.world.run(10_000);
    expect(p.times('alice', 'initiation')[0]).toBe(answeredAt + 5_000);
  });

  test('of a peer that only waits are not filled with anything: there is one initiation for a hundred packets', () => {
    const p = pair();
    p.world.network.blocked = () => true;
    for (let i = 0; i < 100; i++) {
      p.alice.send(p.bob, i);
      p.world.run(40);
    }
    expect(p.count('alice', 'initiation')).toBe(1);
  });
});

describe('a key with which no handshake is possible', () => {
  test('low-order as a peer’s: its packets are answered with ICMP errors, nothing is sent and nothing waits', () => {
    const p = pair();
    const zero = '00'.repeat(32);
    p.alice.configure((engine, now) => {
      const peer = engine.addPeer(zero, now);
      if (peer === undefined) throw new Error('any key can be configured');
      engine.setEndpoint(peer, p.bob.endpoint, now);
      engine.addAllowedIp(peer, '10.0.0.2/32' as never);
    });
    for (let i = 1; i <= 3; i++) {
      p.alice.send(p.bob, i);
      p.world.run(1_000);
      expect(p.alice.plane.drops().outStagedFlushed).toBe(i);
      expect(p.alice.received).toHaveLength(i);
    }
    expect(p.log).toEqual([]);
    expect(p.alice.engine.nextDeadline()).toBe(NEVER);
    expect(p.alice.engine.peer(zero)?.staged).toBe(0);
  });

  test('our own as a peer’s is ignored', () => {
    const p = pair();
    expect(p.alice.engine.addPeer(p.alice.publicKeyHex, p.world.now)).toBeUndefined();
    expect(p.alice.engine.peerCount).toBe(1);
  });

  test('a private key is clamped when it is set and shown clamped', () => {
    const p = pair();
    p.alice.engine.setPrivateKey(new Uint8Array(32).fill(0xff), p.world.now);
    expect(p.alice.engine.privateKeyHex()).toBe(`f8${'ff'.repeat(30)}7f`);
    const shown = fromHex(p.alice.engine.privateKeyHex() ?? '') ?? new Uint8Array();
    const unclamped = nodeProvider.importPrivateKey(new Uint8Array(32).fill(0xff)).publicKey;
    expect(toHex(nodeProvider.importPrivateKey(shown).publicKey)).toBe(toHex(unclamped));
  });
});

describe('a flood of initiations', () => {
  test('that nobody signed does not keep the true peer from being answered in the same millisecond', () => {
    const p = pair();
    p.alice.send(p.bob, 1);
    p.world.run(9.5);
    for (let i = 0; i < 50; i++) {
      p.bob.plane.io.udpInput(forgedInitiation(p.bob.publicKeyHex, i), p.alice.endpoint, p.bob.endpoint);
    }
    p.bob.run();
    p.world.run(100);
    expect(p.bob.engine.counters.dropped.badInitiation).toBe(50);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([1]);
    expect(p.count('alice', 'initiation')).toBe(1);
  });

  test('of replays does not either', () => {
    const p = pair();
    p.world.network.conditions.latencyMs = 0;
    p.alice.send(p.bob, 1);
    p.world.run(0);
    const accepted = p.log.find((entry) => entry.kind === 'initiation')?.bytes ?? new Uint8Array();
    restartLink(p);
    p.world.run(21);
    for (let i = 0; i < 10; i++) p.bob.plane.io.udpInput(accepted, p.alice.endpoint, p.bob.endpoint);
    p.bob.run();
    p.alice.send(p.bob, 2);
    p.world.run(10);
    expect(p.bob.engine.counters.dropped.initiationFlood).toBe(0);
    expect(p.bob.engine.counters.dropped.staleStamp).toBe(10);
    expect(p.bob.sequencesFrom(p.alice)).toContain(2);
  });

  test('is told by 20 ms between two that were accepted, and one that was turned away does not prolong it', () => {
    const p = pair();
    p.world.network.conditions.latencyMs = 0;
    for (const ms of [0, 8, 8, 8]) {
      p.world.run(ms);
      restartLink(p);
      p.alice.send(p.bob, ms);
      p.world.run(0);
    }
    expect(p.count('alice', 'initiation')).toBe(4);
    expect(p.bob.engine.counters.dropped.initiationFlood).toBe(2);
    expect(p.bob.engine.counters.reached.initiationsAccepted).toBe(2);
  });

  test('leaves behind the keys of the last alone', () => {
    const p = pair();
    p.world.network.conditions.latencyMs = 0;
    p.world.network.blocked = ({ source }) => source === p.bob.endpoint;
    for (let i = 0; i < 30; i++) {
      restartLink(p);
      p.alice.send(p.bob, i);
      p.world.run(25);
    }
    const responses = p.log.filter((entry) => entry.kind === 'response').map((entry) => entry.bytes.subarray(4, 8));
    expect(responses).toHaveLength(30);
    for (const index of responses) {
      const cookie = new Uint8Array(64);
      cookie[0] = 3;
      cookie.set(index, 4);
      p.bob.plane.io.udpInput(cookie, p.alice.endpoint, p.bob.endpoint);
    }
    p.bob.run();
    expect(p.bob.plane.drops().inUnknownIndex).toBe(29);
  });
});

describe('handshakes that cross', () => {
  test('converge on one session whatever the latency and however far apart they began', () => {
    for (const latencyMs of [0, 1, 40, 140]) {
      for (const apartMs of [0, 1, 30, 130]) {
        const p = pair({ seed: 1 + latencyMs + apartMs });
        p.world.network.conditions.latencyMs = latencyMs;
        p.alice.send(p.bob, 1);
        p.world.run(apartMs);
        p.bob.send(p.alice, 1);
        p.world.run(2_000);
        expect(p.bob.sequencesFrom(p.alice)).toEqual([1]);
        expect(p.alice.sequencesFrom(p.bob)).toEqual([1]);
        p.alice.send(p.bob, 2);
        p.bob.send(p.alice, 2);
        p.world.run(1_000);
        // Both send with the same session: each data message goes to the index that the other's session has.
        expect(p.bob.sequencesFrom(p.alice)).toEqual([1, 2]);
        expect(p.alice.sequencesFrom(p.bob)).toEqual([1, 2]);
        p.world.run(60_000);
        expect(p.count('alice', 'initiation')).toBeLessThanOrEqual(1);
        expect(p.count('bob', 'initiation')).toBeLessThanOrEqual(1);
      }
    }
  });

  test('with a peer that drops its own initiation costs 300 ms, not 5 s', () => {
    for (const seed of [1, 2, 3, 4]) {
      const p = pair({ seed });
      const yields = p.alice.publicKeyHex > p.bob.publicKeyHex ? p.alice : p.bob;
      const other = yields === p.alice ? p.bob : p.alice;
      // The other never makes anything of the answer to its own initiation.
      p.world.network.blocked = ({ bytes, source }) => source === yields.endpoint && bytes[0] === 2;
      const start = p.world.now;
      yields.send(other, 1);
      other.send(yields, 1);
      p.world.run(330);
      expect(other.sequencesFrom(yields)).toEqual([1]);
      expect(other.received[0]?.at).toBe(start + 20 + 300 + 10);
      p.world.run(100);
      expect(yields.sequencesFrom(other)).toEqual([1]);
      expect(p.count(other.name, 'initiation')).toBe(1);
    }
  });

  test('do not leave the keys that were held back when the peer is removed or our key changes meanwhile', () => {
    for (const what of ['removed', 'rekeyed'] as const) {
      const p = pair();
      const yields = p.alice.publicKeyHex > p.bob.publicKeyHex ? p.alice : p.bob;
      const other = yields === p.alice ? p.bob : p.alice;
      p.world.network.blocked = ({ bytes, source }) => source === yields.endpoint && bytes[0] === 2;
      yields.send(other, 1);
      other.send(yields, 1);
      p.world.run(100);
      const held = yields.peerOf(other).attempt?.held ?? null;
      expect(held).not.toBeNull();
      if (what === 'removed') yields.configure((engine, now) => engine.removeAllPeers(now));
      else yields.changeKey();
      expect(held?.keys.sendKey.every((byte) => byte === 0)).toBe(true);
      expect(held?.keys.receiveKey.every((byte) => byte === 0)).toBe(true);
      if (what === 'removed') expect(yields.engine.nextDeadline()).toBe(NEVER);
    }
  });
});
