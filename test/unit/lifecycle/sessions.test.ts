// Sessions: whose keys are used when, for how long, and who renews them (paper §6.1–6.3; checklist 11–17 and the table of
// constants, at the seam where the data plane is told them).

import { describe, expect, test, vi } from 'vitest';
import { NEVER } from '../../../src/base/instant.ts';
import type { KeypairConfig } from '../../../src/dataplane/dataplane.ts';
import type { Host } from '../../../src/sim/host.ts';
import { connectedPair, type Pair, pair, stateOf } from '../../lib/pair.ts';

/** Every keypair that the host's engine installs from now on. */
function installed(host: Host): KeypairConfig[] {
  const configs: KeypairConfig[] = [];
  const install = host.plane.installKeypair.bind(host.plane);
  vi.spyOn(host.plane, 'installKeypair').mockImplementation((peer, config) => {
    configs.push(config);
    install(peer, config);
  });
  return configs;
}

/** The host's JavaScript stands still until the function that is given back is called; its plane goes on. */
function stall(host: Host): () => void {
  const run = vi.spyOn(host, 'run').mockImplementation(() => {});
  return () => {
    run.mockRestore();
    host.run();
  };
}

/** `from`'s link goes down and up, and it begins a new session with its next packet. */
function restartLink(from: Host): void {
  from.configure((engine, now) => {
    engine.linkDown(now);
    engine.linkUp(now);
  });
}

describe('the limits of a session', () => {
  test('are those of the paper, counted from derivation; renewal is the initiator’s alone', () => {
    const p = pair();
    const ofAlice = installed(p.alice);
    const ofBob = installed(p.bob);
    const start = p.world.now;
    p.alice.send(p.bob, 1);
    p.world.run(100);
    expect(ofAlice).toHaveLength(1);
    expect(ofAlice[0]).toMatchObject({
      role: 'initiator',
      rejectAt: start + 20 + 180_000,
      rekeyOnSendAt: start + 20 + 120_000,
      rekeyOnReceiveAt: start + 20 + 165_000,
      rekeyAfterMessages: 1_152_921_504_606_846_976n,
      rejectAfterMessages: 18_446_744_073_709_543_423n,
    });
    expect(ofBob).toHaveLength(1);
    expect(ofBob[0]).toMatchObject({
      role: 'responder',
      rejectAt: start + 10 + 180_000,
      rekeyOnSendAt: NEVER,
      rekeyOnReceiveAt: NEVER,
      rejectAfterMessages: 18_446_744_073_709_543_423n,
    });
    // A counter is never given a start of its own.
    expect(ofAlice[0]?.firstSendCounter ?? 0n).toBe(0n);
  });

  test('hold for receiving to the millisecond, also for the previous keypair', () => {
    for (const previous of [false, true]) {
      for (const [lateMs, taken] of [
        [-1, 1],
        [0, 0],
      ] as const) {
        const p = connectedPair();
        const derived = p.bob.peerOf(p.alice).session?.derivedAt ?? 0;
        const expiry = derived + 180_000;
        let held: Uint8Array | undefined;
        p.world.network.blocked = ({ bytes, source }) => {
          if (source !== p.alice.endpoint || bytes[0] !== 4 || bytes.length === 32 || held !== undefined) return false;
          held = bytes;
          return true;
        };
        p.world.run(60_000);
        p.alice.send(p.bob, 77);
        expect(held).toBeDefined();
        if (previous) {
          p.world.run(65_000);
          p.alice.send(p.bob, 2);
          p.world.run(1_000);
          expect(p.count('bob', 'response')).toBe(1);
        }
        p.world.run(expiry + lateMs - p.world.now);
        p.bob.plane.io.setNow(p.world.now);
        p.bob.plane.io.udpInput(held ?? new Uint8Array(), p.alice.endpoint, p.bob.endpoint);
        p.bob.run();
        expect(p.bob.sequencesFrom(p.alice).filter((sequence) => sequence === 77)).toHaveLength(taken);
        expect(p.bob.plane.drops().inExpired).toBe(1 - taken);
      }
    }
  });

  test('end it at 180 s for sending though JavaScript stands still', () => {
    const p = connectedPair();
    const derived = p.alice.peerOf(p.bob).session?.derivedAt ?? 0;
    p.world.run(30_000);
    const resume = stall(p.alice);
    p.log.length = 0;
    p.world.run(derived + 179_999 - p.world.now);
    p.alice.send(p.bob, 2);
    p.world.run(1);
    p.alice.send(p.bob, 3);
    expect(p.alice.peerOf(p.bob).staged).toBe(1);
    resume();
    expect(p.wire()).toEqual(['alice:data', 'alice:initiation']);
    p.world.run(1_000);
    expect(p.bob.sequencesFrom(p.alice).at(-1)).toBe(3);
  });
});

describe('the latest handshake', () => {
  test('is the initiator’s at the response, the responder’s at the first packet on the new keys', () => {
    const p = pair();
    const epoch = 1_700_000_000_000;
    const start = p.world.now;
    p.alice.send(p.bob, 1);
    p.world.run(15);
    expect(p.alice.peerOf(p.bob).lastHandshake).toBeNull();
    p.world.run(10);
    expect(p.alice.peerOf(p.bob).lastHandshake).toBe(epoch + start + 20);
    expect(p.bob.peerOf(p.alice).lastHandshake).toBeNull();
    p.world.run(100);
    expect(p.bob.peerOf(p.alice).lastHandshake).toBe(epoch + start + 30);
  });

  test('does not move when an answer of ours is not used', () => {
    const p = connectedPair();
    const before = p.bob.peerOf(p.alice).lastHandshake;
    p.world.network.blocked = ({ bytes, source }) => source === p.alice.endpoint && bytes[0] === 4;
    restartLink(p.alice);
    p.alice.send(p.bob, 1);
    p.world.run(4_000);
    expect(p.count('bob', 'response')).toBe(1);
    expect(p.bob.peerOf(p.alice).lastHandshake).toBe(before);
  });
});

describe('the responder', () => {
  /** A renewal by Alice whose confirmation is held up; gives back the index that Bob sends to. */
  function renewing(p: Pair): () => number {
    p.world.run(121_000);
    p.world.network.blocked = ({ bytes, source }) =>
      source === p.alice.endpoint && bytes[0] === 4 && p.count('bob', 'response') > 0;
    p.alice.send(p.bob, 2);
    p.world.run(100);
    expect(p.count('bob', 'response')).toBe(1);
    return () => {
      const data = p.log.filter((entry) => entry.from === 'bob' && entry.kind === 'data').at(-1);
      return new DataView((data?.bytes ?? new Uint8Array(8)).slice().buffer).getUint32(4, true);
    };
  }

  test('goes on sending with the current keypair until the new one is confirmed, which a keepalive does', () => {
    const p = connectedPair();
    p.bob.send(p.alice, 3);
    const remoteIndex = renewing(p);
    const before = remoteIndex();
    p.bob.send(p.alice, 4);
    p.world.run(100);
    expect(remoteIndex()).toBe(before);
    p.world.network.blocked = () => false;
    p.alice.plane.sendKeepalive(p.alice.peerOf(p.bob).slot, p.world.now);
    p.alice.run();
    p.world.run(100);
    p.bob.send(p.alice, 5);
    p.world.run(100);
    expect(remoteIndex()).not.toBe(before);
    expect(p.alice.sequencesFrom(p.bob)).toEqual([3, 4, 5]);
  });

  test('hears of a confirmation that a newer initiation overtook, and can still begin a session of its own later', () => {
    const p = pair();
    p.alice.send(p.bob, 1);
    p.world.run(15);
    // Bob wants to send before he may, so that he has asked for a session once already.
    p.bob.send(p.alice, 1);
    const resume = stall(p.bob);
    // While Bob's JavaScript stands still Alice uses the session, forgets it, and begins another that she never uses.
    p.world.run(50);
    restartLink(p.alice);
    p.world.network.blocked = ({ source }) => source === p.bob.endpoint;
    p.alice.send(p.bob, 2);
    p.world.run(50);
    resume();
    expect(p.count('bob', 'response')).toBe(2);
    expect(p.bob.engine.counters.reached.sessionsConfirmed).toBe(1);
    expect(p.bob.peerOf(p.alice).lastHandshake).not.toBeNull();
    expect(stateOf(p.bob, p.alice)).toBe('established');
    p.world.network.blocked = () => false;
    p.alice.configure((engine, now) => engine.removeAllPeers(now));
    p.world.run(200_000);
    p.alice.addPeer(p.bob);
    p.bob.send(p.alice, 3);
    p.world.run(100);
    expect(p.alice.sequencesFrom(p.bob)).toEqual([3]);
  });

  test('whose answer was never used holds the peer to be connecting for 180 s, then to be idle', () => {
    const p = pair();
    p.world.network.blocked = ({ bytes, source }) => source === p.alice.endpoint && bytes[0] === 4;
    p.alice.send(p.bob, 1);
    p.world.run(1_000);
    expect(stateOf(p.bob, p.alice)).toBe('connecting');
    p.alice.configure((engine, now) => engine.removeAllPeers(now));
    p.world.run(180_000);
    p.bob.run();
    expect(stateOf(p.bob, p.alice)).toBe('idle');
  });
});

describe('renewal', () => {
  test('is begun by a keepalive too: persistent keepalives alone keep a session for ever', () => {
    const p = connectedPair({ aliceKeepaliveSeconds: 25 });
    p.world.run(1_000_000);
    const at = p.times('alice', 'initiation');
    expect(at.length).toBeGreaterThanOrEqual(6);
    for (let i = 1; i < at.length; i++) {
      expect((at[i] ?? 0) - (at[i - 1] ?? 0)).toBeGreaterThanOrEqual(120_000);
      expect((at[i] ?? 0) - (at[i - 1] ?? 0)).toBeLessThanOrEqual(150_000);
    }
    expect(p.count('bob', 'initiation')).toBe(0);
    expect(stateOf(p.bob, p.alice)).toBe('established');
  });

  test('is not begun by the responder, however much it sends, while the initiator can be heard', () => {
    const p = connectedPair();
    p.world.network.blocked = ({ bytes, source }) => source === p.bob.endpoint && bytes[0] === 2;
    for (let ms = 0; ms < 178_000; ms += 1_000) {
      p.bob.send(p.alice, 2);
      p.world.run(1_000);
    }
    expect(p.count('alice', 'initiation')).toBeGreaterThan(5);
    expect(p.count('bob', 'initiation')).toBe(0);
  });

  test('on receipt is not before 165 s, and once for a session though its answer does not come', () => {
    const p = connectedPair();
    const derived = p.alice.peerOf(p.bob).session?.derivedAt ?? 0;
    // Alice sends nothing that would renew: her passive keepalives come 10 s after data, so none is due before 165 s.
    p.world.run(derived + 164_900 - 10 - p.world.now);
    p.bob.send(p.alice, 2);
    p.world.run(50);
    expect(p.count('alice', 'initiation')).toBe(0);
    p.world.network.blocked = ({ bytes, source }) => source === p.alice.endpoint && bytes[0] === 1;
    p.world.run(100);
    for (let i = 0; i < 20; i++) {
      p.bob.send(p.alice, 3);
      p.world.run(200);
    }
    expect(p.count('alice', 'initiation')).toBe(1);
  });

  test('is begun once though every packet after 120 s asks for it', () => {
    const p = connectedPair();
    p.world.network.blocked = ({ source }) => source === p.bob.endpoint;
    p.world.run(120_000);
    for (let i = 0; i < 100; i++) {
      p.alice.send(p.bob, i);
      p.world.run(49);
    }
    expect(p.count('alice', 'data')).toBe(100);
    expect(p.count('alice', 'initiation')).toBe(1);
  });
});

describe('the replay window', () => {
  test('takes packets that are 8,128 behind, each once, and none that is further behind', () => {
    const p = connectedPair();
    const held: Uint8Array[] = [];
    p.world.network.blocked = ({ bytes }) => held.length < 3 && held.push(bytes) > 0;
    for (let i = 0; i < 3; i++) p.alice.send(p.bob, i);
    p.world.network.conditions.jitterMs = 50;
    for (let i = 3; i < 8_131; i++) {
      p.alice.send(p.bob, i);
      if (i % 64 === 0) p.world.run(1);
    }
    p.world.run(100);
    expect(p.bob.received).toHaveLength(8_128);
    for (const bytes of [...held, ...held]) p.bob.plane.io.udpInput(bytes, p.alice.endpoint, p.bob.endpoint);
    p.bob.run();
    // Of the three that were held up the first is one too far behind.
    expect(p.bob.sequencesFrom(p.alice).slice(8_128)).toEqual([2]);
    expect(p.bob.plane.drops().inReplayed).toBe(5);
  });
});

describe('our private key', () => {
  test('replaced at any moment of our own handshake gives one session under the new key and none under the old', () => {
    for (const delay of [0, 5, 9, 11, 15, 19, 21, 25, 35]) {
      const p = pair({ seed: delay + 1 });
      const configs = installed(p.alice);
      p.alice.send(p.bob, 1);
      p.world.run(delay);
      const before = configs.length;
      p.alice.changeKey();
      p.bob.configure((engine, now) => engine.removeAllPeers(now));
      p.bob.addPeer(p.alice);
      p.alice.send(p.bob, 2);
      p.world.run(11_000);
      expect(configs.length).toBe(before + 1);
      expect(p.bob.sequencesFrom(p.alice).at(-1)).toBe(2);
      expect(p.alice.engine.counters.dropped.badResponse).toBe(0);
    }
  });

  test('replaced while our answer is not used yet: a late first packet on the old keys does not stop the new handshake', () => {
    const p = pair();
    p.alice.send(p.bob, 1);
    p.world.run(25);
    // Bob has answered; Alice's first packet is under way to him.
    expect(p.bob.peerOf(p.alice).session?.unconfirmed).not.toBeNull();
    p.bob.changeKey();
    expect(p.count('bob', 'initiation')).toBe(1);
    p.bob.send(p.alice, 7);
    p.alice.addPeer(p.bob);
    p.world.run(200);
    expect(p.alice.sequencesFrom(p.bob)).toEqual([7]);
    expect(p.count('bob', 'initiation')).toBe(1);
  });

  test('replaced expires the session for sending, not for receiving, and shows it as not established', () => {
    const p = connectedPair();
    p.world.network.blocked = ({ bytes }) => bytes[0] === 1;
    p.alice.changeKey();
    expect(stateOf(p.alice, p.bob)).toBe('connecting');
    p.bob.send(p.alice, 6);
    p.world.run(100);
    expect(p.alice.sequencesFrom(p.bob)).toEqual([6]);
    p.alice.send(p.bob, 7);
    expect(p.count('alice', 'data')).toBe(0);
  });
});

describe('a preshared key', () => {
  test('that changes while our initiation is under way is used with the response', () => {
    const presharedKey = new Uint8Array(32).fill(5);
    const p = pair();
    p.bob.engine.setPresharedKey(p.bob.peerOf(p.alice), presharedKey);
    p.alice.send(p.bob, 1);
    p.world.run(5);
    p.alice.engine.setPresharedKey(p.alice.peerOf(p.bob), presharedKey);
    p.world.run(100);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([1]);
  });

  test('of 32 zero bytes is none', () => {
    const p = pair({ presharedKey: new Uint8Array(32) });
    p.bob.engine.setPresharedKey(p.bob.peerOf(p.alice), null);
    p.alice.send(p.bob, 1);
    p.world.run(100);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([1]);
  });
});
