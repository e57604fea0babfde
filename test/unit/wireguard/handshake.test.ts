// The handshake's rules that a transcript cannot show: what is refused, what a forgery must leave alone, what is wiped.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromHex, writeU32le } from '../../../src/base/bytes.ts';
import type { Instant } from '../../../src/base/instant.ts';
import { Prng } from '../../../src/base/prng.ts';
import { nobleProvider } from '../../../src/crypto/noble.ts';
import { nodeProvider as c } from '../../../src/crypto/node.ts';
import type { CryptoProvider, DhKey, PublicKey } from '../../../src/crypto/provider.ts';
import type { LocalIndex } from '../../../src/dataplane/dataplane.ts';
import { CookieChecker, CookieGenerator } from '../../../src/wireguard/cookie.ts';
import {
  consumeResponse,
  createInitiation,
  createResponse,
  finishInitiation,
  type InitiatorState,
  peekInitiation,
} from '../../../src/wireguard/handshake.ts';
import { INITIATION_BYTES, RESPONSE_BYTES } from '../../../src/wireguard/messages.ts';

const NOW = 5_000 as Instant;
const NO_PSK = new Uint8Array(32);
const random = new Prng(1);
const entropy = (out: Uint8Array): void => random.fill(out);

function freshKey(): DhKey {
  const scalar = new Uint8Array(32);
  random.fill(scalar);
  return c.importPrivateKey(scalar);
}

const initiator = freshKey();
const responder = freshKey();
const staticStatic = present(initiator.dh(responder.publicKey));
const LOCAL = 0x01020304 as LocalIndex;
const REMOTE = 0xf1f2f3f4 as LocalIndex;

function present<T>(value: T | null): T {
  if (value === null) throw new Error('a handshake step gave nothing');
  return value;
}

function initiate(localIndex = LOCAL): { message: Uint8Array; state: InitiatorState; ephemeral: DhKey } {
  const ephemeral = freshKey();
  const timestamp = new Uint8Array(12);
  const remoteStatic = responder.publicKey;
  const input = { staticKey: initiator, remoteStatic, staticStatic, ephemeral, timestamp, localIndex };
  const { message, state } = present(createInitiation(c, input));
  new CookieGenerator(c, responder.publicKey).addMacs(message, NOW);
  return { message, state, ephemeral };
}

function respond(initiation: Uint8Array, presharedKey = NO_PSK) {
  const peek = present(peekInitiation(c, responder, initiation));
  const state = present(finishInitiation(peek, staticStatic));
  const created = present(createResponse(c, state, { presharedKey, ephemeral: freshKey(), localIndex: REMOTE }));
  new CookieGenerator(c, initiator.publicKey).addMacs(created.message, NOW);
  return created;
}

function consume(state: InitiatorState, message: Uint8Array, presharedKey = NO_PSK) {
  return consumeResponse(c, state, { staticKey: initiator, presharedKey }, message);
}

function flipped(message: Uint8Array, bit: number): Uint8Array {
  const copy = message.slice();
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
  return copy;
}

const SENDER_INDEX_BITS = { from: 4 * 8, to: 8 * 8 };
const isSenderIndex = (bit: number): boolean => bit >= SENDER_INDEX_BITS.from && bit < SENDER_INDEX_BITS.to;

describe('initiation (§5.4.2)', () => {
  test('a changed bit anywhere before mac2 is refused: by mac1, and where Noise authenticates it, by Noise', () => {
    const { message } = initiate();
    const checker = new CookieChecker(c, entropy, responder.publicKey);
    expect(checker.checkMac1(message)).toBe(true);
    for (let bit = 0; bit < (INITIATION_BYTES - 16) * 8; bit++) {
      const forged = flipped(message, bit);
      expect(checker.checkMac1(forged)).toBe(false);
      if (bit >= (INITIATION_BYTES - 32) * 8 || isSenderIndex(bit)) continue;
      const peek = peekInitiation(c, responder, forged);
      expect(peek === null ? null : finishInitiation(peek, staticStatic)).toBeNull();
    }
  });

  test('whoever names a key without holding it is turned away when that peer is known', () => {
    const stranger = freshKey();
    const input = {
      staticKey: { publicKey: initiator.publicKey, dh: (u: PublicKey) => stranger.dh(u), wipe: () => stranger.wipe() },
      remoteStatic: responder.publicKey,
      staticStatic: present(stranger.dh(responder.publicKey)),
      ephemeral: freshKey(),
      timestamp: new Uint8Array(12),
      localIndex: LOCAL,
    };
    const { message } = present(createInitiation(c, input));
    const peek = present(peekInitiation(c, responder, message));
    expect(peek.remoteStatic).toEqual(initiator.publicKey);
    expect(finishInitiation(peek, staticStatic)).toBeNull();
  });

  test('one made for another public key is refused', () => {
    expect(peekInitiation(c, freshKey(), initiate().message)).toBeNull();
  });

  test('every message has its own bytes, also for one stamp', () => {
    const a = initiate().message.subarray(8, 116);
    const b = initiate().message.subarray(8, 116);
    for (const [from, to] of [
      [0, 32],
      [32, 80],
      [80, 108],
    ] as const) {
      expect(a.subarray(from, to)).not.toEqual(b.subarray(from, to));
    }
  });

  test('a low-order ephemeral is refused by the responder (RFC 7748 §6.1)', () => {
    const { message } = initiate();
    message.fill(0, 8, 40);
    expect(peekInitiation(c, responder, message)).toBeNull();
  });

  test('a low-order public key makes no initiation, and the ephemeral does not outlive the attempt', () => {
    const ephemeral = freshKey();
    const remoteStatic = present(
      fromHex('e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800'),
    ) as PublicKey;
    const timestamp = new Uint8Array(12);
    const input = { staticKey: initiator, remoteStatic, staticStatic, ephemeral, timestamp, localIndex: LOCAL };
    expect(createInitiation(c, input)).toBeNull();
    expect(() => ephemeral.dh(responder.publicKey)).toThrow(/wiped/);
  });
});

describe('response (§5.4.3)', () => {
  test('both ends come to the same keys, crossed', () => {
    const { message, state } = initiate();
    const { message: response, keys } = respond(message);
    const consumed = present(consume(state, response));
    expect(consumed.remoteIndex).toBe(REMOTE);
    expect(consumed.keys.sendKey).toEqual(keys.receiveKey);
    expect(consumed.keys.receiveKey).toEqual(keys.sendKey);
    expect(consumed.keys.sendKey).not.toEqual(consumed.keys.receiveKey);
  });

  test('a forged response, of whatever changed bit, leaves the pending handshake intact for the true one', () => {
    const { message, state } = initiate();
    const { message: response } = respond(message);
    const checker = new CookieChecker(c, entropy, initiator.publicKey);
    for (let bit = 0; bit < (RESPONSE_BYTES - 16) * 8; bit++) {
      const forged = flipped(response, bit);
      expect(checker.checkMac1(forged)).toBe(false);
      if (bit >= (RESPONSE_BYTES - 32) * 8 || isSenderIndex(bit)) continue;
      expect(consume(state, forged)).toBeNull();
    }
    expect(consume(state, response)).not.toBeNull();
  });

  test('a low-order ephemeral is refused and leaves the pending handshake intact', () => {
    const { message, state } = initiate();
    const { message: response } = respond(message);
    const forged = response.slice();
    forged.fill(0, 12, 44);
    expect(consume(state, forged)).toBeNull();
    expect(consume(state, response)).not.toBeNull();
  });

  test('the answer to an earlier initiation is refused, even under the same index', () => {
    const earlier = respond(initiate().message);
    const { message, state } = initiate();
    expect(consume(state, earlier.message)).toBeNull();
    expect(consume(state, respond(message).message)).not.toBeNull();
  });

  test('an answer for another index is refused', () => {
    const { message, state } = initiate();
    const { message: response } = respond(message);
    writeU32le(response, 8, LOCAL + 1);
    expect(consume(state, response)).toBeNull();
  });

  test('preshared keys must be the same on both ends (§5.4.3)', () => {
    const psk = new Uint8Array(32).fill(7);
    const { message, state } = initiate();
    const { message: response, keys } = respond(message, psk);
    expect(consume(state, response)).toBeNull();
    expect(consume(state, response, new Uint8Array(32).fill(8))).toBeNull();
    expect(present(consume(state, response, psk)).keys.sendKey).toEqual(keys.receiveKey);
  });
});

describe('secrets', () => {
  test('a consumed response wipes the initiator state', () => {
    const { message, state, ephemeral } = initiate();
    const { chainingKey } = state.noise;
    expect(chainingKey.some((byte) => byte !== 0)).toBe(true);
    const { message: response } = respond(message);
    present(consume(state, response));
    expect(chainingKey).toEqual(new Uint8Array(32));
    expect(() => ephemeral.dh(responder.publicKey)).toThrow(/wiped/);
  });

  test('a made response wipes the responder state and its ephemeral', () => {
    const state = present(finishInitiation(present(peekInitiation(c, responder, initiate().message)), staticStatic));
    const { noise } = state.opening;
    const ephemeral = freshKey();
    present(createResponse(c, state, { presharedKey: NO_PSK, ephemeral, localIndex: REMOTE }));
    expect(noise.chainingKey).toEqual(new Uint8Array(32));
    expect(() => ephemeral.dh(responder.publicKey)).toThrow(/wiped/);
  });

  test('a forged initiation wipes what its peek had derived', () => {
    const { message } = initiate();
    const peek = present(peekInitiation(c, responder, flipped(message, 100 * 8)));
    expect(finishInitiation(peek, staticStatic)).toBeNull();
    expect(peek.opening.noise.chainingKey).toEqual(new Uint8Array(32));
  });

  test('wipe ends a pending handshake, and its keys, for good', () => {
    const { message, state } = initiate();
    const { message: response, keys } = respond(message);
    state.wipe();
    state.wipe();
    expect(state.noise.chainingKey).toEqual(new Uint8Array(32));
    expect(() => consume(state, response)).toThrow(/wiped/);
    keys.wipe();
    expect(keys.sendKey).toEqual(new Uint8Array(32));
    expect(keys.receiveKey).toEqual(new Uint8Array(32));
  });

  test('the borrowed static-static secret and preshared key stay as they were', () => {
    const psk = new Uint8Array(32).fill(9);
    const before = staticStatic.slice();
    const { message, state } = initiate();
    present(consume(state, respond(message, psk).message, psk));
    expect(staticStatic).toEqual(before);
    expect(psk).toEqual(new Uint8Array(32).fill(9));
  });
});

/** The provider, and every secret that it has given out: shared secrets, chaining and cipher keys. */
function watched(): { c: CryptoProvider; left: () => number } {
  const secrets: Uint8Array[] = [];
  const seen = <T extends Uint8Array | null>(secret: T): T => {
    if (secret !== null) secrets.push(secret);
    return secret;
  };
  const importPrivateKey = (scalar: Uint8Array): DhKey => {
    const key = c.importPrivateKey(scalar);
    return { publicKey: key.publicKey, dh: (u) => seen(key.dh(u)), wipe: () => key.wipe() };
  };
  const provider = { ...c, importPrivateKey, hmac: (key, ...parts) => seen(c.hmac(key, ...parts)) } as CryptoProvider;
  return { c: provider, left: () => secrets.filter((secret) => secret.some((byte) => byte !== 0)).length };
}

describe('nothing derived on the way outlives the handshake', () => {
  const scalar = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);

  function watchedInitiation() {
    const watch = watched();
    const staticKey = watch.c.importPrivateKey(scalar(1));
    const remoteStatic = c.importPrivateKey(scalar(2)).publicKey;
    const shared = present(c.importPrivateKey(scalar(1)).dh(remoteStatic));
    const ephemeral = watch.c.importPrivateKey(scalar(3));
    const timestamp = new Uint8Array(12);
    const input = { staticKey, remoteStatic, staticStatic: shared, ephemeral, timestamp, localIndex: LOCAL };
    return { ...present(createInitiation(watch.c, input)), watch, staticKey, shared };
  }

  function answerTo(message: Uint8Array, shared: Uint8Array, provider = c) {
    const peek = present(peekInitiation(provider, provider.importPrivateKey(scalar(2)), message));
    const state = present(finishInitiation(peek, shared));
    const ephemeral = provider.importPrivateKey(scalar(4));
    return present(createResponse(provider, state, { presharedKey: NO_PSK, ephemeral, localIndex: REMOTE }));
  }

  test('as initiator: only the session keys are left, and a forged response leaves no more than was there', () => {
    const { message, state, watch, staticKey, shared } = watchedInitiation();
    const pending = watch.left();
    const answer = answerTo(message, shared);
    const forged = flipped(answer.message, 50 * 8);
    expect(consumeResponse(watch.c, state, { staticKey, presharedKey: NO_PSK }, forged)).toBeNull();
    expect(watch.left()).toBe(pending);
    const consumed = consumeResponse(watch.c, state, { staticKey, presharedKey: NO_PSK }, answer.message);
    expect(watch.left()).toBe(2);
    present(consumed).keys.wipe();
    expect(watch.left()).toBe(0);
  });

  test('as initiator that gives up', () => {
    const { state, watch } = watchedInitiation();
    expect(watch.left()).toBeGreaterThan(0);
    state.wipe();
    expect(watch.left()).toBe(0);
  });

  test('as responder: only the session keys are left', () => {
    const { message, shared } = watchedInitiation();
    const watch = watched();
    const { keys } = answerTo(message, shared, watch.c);
    expect(watch.left()).toBe(2);
    keys.wipe();
    expect(watch.left()).toBe(0);
  });

  test('as responder, wherever a forgery is found out', () => {
    const { message, shared } = watchedInitiation();
    for (const byte of [10, 45, 80, 100, 110]) {
      const watch = watched();
      const peek = peekInitiation(watch.c, watch.c.importPrivateKey(scalar(2)), flipped(message, byte * 8));
      if (peek !== null) expect(finishInitiation(peek, shared)).toBeNull();
      expect(watch.left()).toBe(0);
    }
  });

  test('as responder that turns a peer away', () => {
    const { message, shared } = watchedInitiation();
    const watch = watched();
    const peek = present(peekInitiation(watch.c, watch.c.importPrivateKey(scalar(2)), message));
    expect(watch.left()).toBeGreaterThan(0);
    present(finishInitiation(peek, shared)).wipe();
    expect(watch.left()).toBe(0);
    const again = present(peekInitiation(watch.c, watch.c.importPrivateKey(scalar(2)), message));
    again.wipe();
    expect(watch.left()).toBe(0);
  });
});

describe('input from the network', () => {
  test('random bytes of any length are refused and never throw', () => {
    const { state } = initiate();
    const lengths = [0, 1, 3, 4, 31, 32, 64, RESPONSE_BYTES, INITIATION_BYTES - 1, INITIATION_BYTES, 1500];
    const anyLength = fc.constantFrom(...lengths).chain((n) => fc.uint8Array({ minLength: n, maxLength: n }));
    fc.assert(
      fc.property(anyLength, fc.integer({ min: 0, max: 5 }), (bytes, type) => {
        const message = bytes.slice();
        if (message.length >= 4) writeU32le(message, 0, type);
        if (message.length >= 12) writeU32le(message, 8, LOCAL);
        expect(peekInitiation(c, responder, message)).toBeNull();
        expect(consume(state, message)).toBeNull();
      }),
      { numRuns: 300 },
    );
  });

  test('a Buffer is read as any other view, and what is kept of it is a copy', () => {
    const { message } = initiate();
    const buffer = Buffer.alloc(200, 0xee);
    buffer.set(message, 20);
    const peek = present(peekInitiation(c, responder, buffer.subarray(20, 20 + INITIATION_BYTES)));
    const state = present(finishInitiation(peek, staticStatic));
    buffer.fill(0);
    expect(state.remoteStatic).toEqual(initiator.publicKey);
    expect(state.opening.remoteEphemeral).toEqual(message.slice(8, 40) as PublicKey);
  });
});

test('two providers understand each other', () => {
  const noble = nobleProvider;
  const scalar = new Uint8Array(32).fill(5);
  const there = noble.importPrivateKey(scalar);
  const secret = present(initiator.dh(there.publicKey));
  const { message, state } = present(
    createInitiation(c, {
      staticKey: initiator,
      remoteStatic: there.publicKey,
      staticStatic: secret,
      ephemeral: freshKey(),
      timestamp: new Uint8Array(12),
      localIndex: LOCAL,
    }),
  );
  const theirs = present(finishInitiation(present(peekInitiation(noble, there, message)), secret));
  const ephemeral = noble.importPrivateKey(new Uint8Array(32).fill(6));
  const answer = present(createResponse(noble, theirs, { presharedKey: NO_PSK, ephemeral, localIndex: REMOTE }));
  expect(present(consume(state, answer.message)).keys.sendKey).toEqual(answer.keys.receiveKey);
});
