// The channel of messages over Noise IK: handshake, pieces and their limits, and a hostile other end. Every frame that a peer
// or somebody between may send ends in a message or in one state with a reason, never in a throw.

import { describe, expect, test } from 'vitest';
import { ascii, equalBytes } from '../../../src/base/bytes.ts';
import { Prng } from '../../../src/base/prng.ts';
import { nodeProvider } from '../../../src/crypto/node.ts';
import type { CryptoProvider, PublicKey } from '../../../src/crypto/provider.ts';
import { readFirst, writeFirst, writeSecond } from '../../../src/noise/ik.ts';
import {
  CHANNEL_FAILURES,
  type ChannelLimits,
  FRAME_BYTES_MAX,
  layOut,
  PIECE_BYTES_MAX,
  type ReceivedMessage,
  SecureChannel,
} from '../../../src/noise/secure-channel.ts';
import { CipherState, splitTransport, type Transport } from '../../../src/noise/transport.ts';

const c = nodeProvider;
const PROLOGUE = ascii('test of the channel');
const LIMITS: ChannelLimits = { receiveBytesMax: 1_000_000, queueBytesMax: 4_000_000, queueMessagesMax: 64 };
const NOTHING = new Uint8Array(0);

function bytes(prng: Prng, length: number): Uint8Array {
  const out = new Uint8Array(length);
  prng.fill(out);
  return out;
}

function pair(seed: number, limits: Partial<ChannelLimits> = {}, crypto: CryptoProvider = c) {
  const prng = new Prng(seed);
  const random = (out: Uint8Array): void => prng.fill(out);
  const nodeKey = crypto.importPrivateKey(bytes(prng, 32));
  const controllerKey = crypto.importPrivateKey(bytes(prng, 32));
  const options = { crypto, random, prologue: PROLOGUE, limits: { ...LIMITS, ...limits } };
  const initiator = SecureChannel.initiator({ ...options, localStatic: nodeKey }, controllerKey.publicKey);
  const responder = SecureChannel.responder({ ...options, localStatic: controllerKey });
  return { prng, random, nodeKey, controllerKey, options, initiator, responder };
}

/** Moves frames both ways until nothing is left; gives the messages that arrived at `to`. */
function exchange(from: SecureChannel, to: SecureChannel): ReceivedMessage[] {
  const received: ReceivedMessage[] = [];
  for (;;) {
    const frame = from.nextFrame() ?? null;
    const back = to.nextFrame();
    if (frame === null && back === null) return received;
    if (frame !== null) {
      expect(frame.length).toBeLessThanOrEqual(FRAME_BYTES_MAX);
      const message = to.handleFrame(frame);
      if (message !== null) received.push(message);
    }
    if (back !== null) from.handleFrame(back);
  }
}

/** Comparing large arrays element by element is slow in the runner. */
function isOnly(bytes: Uint8Array, deflated: boolean): (messages: ReceivedMessage[]) => boolean {
  return ([first, ...rest]) =>
    rest.length === 0 && first !== undefined && first.deflated === deflated && equalBytes(first.bytes, bytes);
}

function opened(seed: number, limits: Partial<ChannelLimits> = {}) {
  const sides = pair(seed, limits);
  exchange(sides.initiator, sides.responder);
  expect([sides.initiator.state, sides.responder.state]).toEqual(['open', 'open']);
  return sides;
}

/** An initiator by hand, with its keys in reach. */
function openedByHand(
  seed: number,
  limits: Partial<ChannelLimits> = {},
): { transport: Transport; responder: SecureChannel } {
  const { prng, nodeKey, controllerKey, responder } = pair(seed, limits);
  const ephemeral = c.importPrivateKey(bytes(prng, 32));
  const remoteStatic = controllerKey.publicKey;
  const first = writeFirst(c, { prologue: PROLOGUE, localStatic: nodeKey, remoteStatic, ephemeral, payload: NOTHING });
  if (first === null) throw new Error('no first message');
  responder.handleFrame(first.message);
  const second = responder.nextFrame();
  if (second === null) throw new Error('no answer');
  // The state of the responder is known from its own answer: read it as the initiator does.
  const noise = first.noise;
  const re = second.slice(0, 32) as PublicKey;
  noise.mixHash(re);
  for (const secret of [ephemeral.dh(re), nodeKey.dh(re)]) {
    if (secret === null) throw new Error('a weak key');
    noise.mixKey(secret);
  }
  expect(noise.decryptAndHash(second.slice(32))).toEqual(NOTHING);
  return { transport: splitTransport(c, noise, 'initiator'), responder };
}

function seal(transport: Transport, plaintext: Uint8Array): Uint8Array {
  const frame = transport.sending.encrypt(plaintext);
  if (frame === null) throw new Error('no nonce left');
  return frame;
}

describe('the handshake', () => {
  test('one frame each way opens both sides and names the initiator', () => {
    const { initiator, responder, nodeKey, controllerKey } = pair(1);
    const first = initiator.nextFrame();
    expect(initiator.nextFrame()).toBeNull();
    responder.handleFrame(first as Uint8Array);
    expect(responder.state).toBe('open');
    expect(responder.remoteStatic).toEqual(nodeKey.publicKey);
    initiator.handleFrame(responder.nextFrame() as Uint8Array);
    expect(initiator.state).toBe('open');
    expect(initiator.remoteStatic).toEqual(controllerKey.publicKey);
  });

  test('the responder holds the initiator for present only after its first message', () => {
    const { initiator, responder } = opened(2);
    expect(initiator.confirmed).toBe(true);
    expect(responder.confirmed).toBe(false);
    expect(initiator.send(layOut(ascii('here'), false))).toBe(true);
    exchange(initiator, responder);
    expect(responder.confirmed).toBe(true);
  });

  test('a recorded conversation, played again, opens nothing that a message could come through', () => {
    const { initiator, responder, options, controllerKey } = pair(3);
    const recorded = [initiator.nextFrame() as Uint8Array];
    responder.handleFrame(recorded[0] as Uint8Array);
    initiator.handleFrame(responder.nextFrame() as Uint8Array);
    initiator.send(layOut(ascii('let me in'), false));
    recorded.push(initiator.nextFrame() as Uint8Array);
    expect(responder.handleFrame(recorded[1] as Uint8Array)?.bytes).toEqual(ascii('let me in'));

    const again = SecureChannel.responder({ ...options, localStatic: controllerKey });
    again.handleFrame(recorded[0] as Uint8Array);
    expect(again.confirmed).toBe(false);
    expect(again.handleFrame(recorded[1] as Uint8Array)).toBeNull();
    expect(again.failure).toBe('frameForged');
    expect(again.confirmed).toBe(false);
  });

  test('messages queued before it is done follow right behind it', () => {
    const { initiator, responder } = pair(4);
    initiator.send(layOut(ascii('first'), false));
    initiator.send(layOut(ascii('second'), true));
    expect(exchange(initiator, responder)).toEqual([
      { bytes: ascii('first'), deflated: false },
      { bytes: ascii('second'), deflated: true },
    ]);
  });

  test("fails with the initiator when the responder has another key, and with another prologue's responder", () => {
    const { initiator, options, prng } = pair(5);
    const other = SecureChannel.responder({ ...options, localStatic: c.importPrivateKey(bytes(prng, 32)) });
    const first = initiator.nextFrame() as Uint8Array;
    other.handleFrame(first);
    expect(other.failure).toBe('handshakeForged');
    expect(other.nextFrame()).toBeNull();

    const { initiator: second, options: theirs, controllerKey } = pair(6);
    const elsewhere = SecureChannel.responder({ ...theirs, localStatic: controllerKey, prologue: ascii('other') });
    elsewhere.handleFrame(second.nextFrame() as Uint8Array);
    expect(elsewhere.failure).toBe('handshakeForged');
  });

  test('the initiator refuses an answer from somebody who has not the pinned key', () => {
    const { initiator, options, nodeKey, prng } = pair(7);
    initiator.nextFrame();
    // Somebody between, who has a key of his own and knows ours.
    const impostor = c.importPrivateKey(bytes(prng, 32));
    const toImpostor = SecureChannel.initiator({ ...options, localStatic: nodeKey }, impostor.publicKey);
    const responder = SecureChannel.responder({ ...options, localStatic: impostor });
    responder.handleFrame(toImpostor.nextFrame() as Uint8Array);
    initiator.handleFrame(responder.nextFrame() as Uint8Array);
    expect(initiator.state).toBe('failed');
    expect(initiator.failure).toBe('handshakeForged');
  });

  test('refuses low-order points: as a key to connect to, and as an ephemeral', () => {
    const { options, nodeKey, controllerKey } = pair(8);
    for (const point of [new Uint8Array(32), Uint8Array.of(1, ...new Uint8Array(31))]) {
      const initiator = SecureChannel.initiator({ ...options, localStatic: nodeKey }, point as PublicKey);
      expect(initiator.failure).toBe('weakKey');
      expect(initiator.nextFrame()).toBeNull();
      expect(initiator.handleFrame(new Uint8Array(48))).toBeNull();

      const responder = SecureChannel.responder({ ...options, localStatic: controllerKey });
      const first = new Uint8Array(96);
      first.set(point);
      responder.handleFrame(first);
      expect(responder.failure).toBe('handshakeForged');
    }
  });

  test('refuses a first message whose static key is a low-order point, although its sender can seal it', () => {
    const { options, controllerKey, prng } = pair(9);
    // DH(s, rs) is zero for such an s whatever rs is: without the check anyone could be "the node of the zero key".
    const zero = new Uint8Array(32) as PublicKey;
    const lowOrder = { publicKey: zero, dh: () => new Uint8Array(32), wipe: () => undefined };
    const forged = writeFirst(c, {
      prologue: PROLOGUE,
      localStatic: lowOrder,
      remoteStatic: controllerKey.publicKey,
      ephemeral: c.importPrivateKey(bytes(prng, 32)),
      payload: NOTHING,
    });
    const responder = SecureChannel.responder({ ...options, localStatic: controllerKey });
    responder.handleFrame(forged?.message as Uint8Array);
    expect(responder.failure).toBe('handshakeForged');
    expect(responder.remoteStatic).toBeNull();
  });

  test.each([0, 1, 31, 32, 95, FRAME_BYTES_MAX + 1])('refuses a first frame of %i bytes', (length) => {
    const { responder } = pair(10);
    responder.handleFrame(new Uint8Array(length));
    expect(responder.failure).toBe('handshakeMalformed');
  });

  test('keeps a payload that a newer version may put there from being a message', () => {
    const { nodeKey, controllerKey, responder, prng, options } = pair(11);
    const ephemeral = c.importPrivateKey(bytes(prng, 32));
    const remoteStatic = controllerKey.publicKey;
    const payload = ascii('from the future');
    const first = writeFirst(c, { prologue: PROLOGUE, localStatic: nodeKey, remoteStatic, ephemeral, payload });
    expect(responder.handleFrame(first?.message as Uint8Array)).toBeNull();
    expect(responder.state).toBe('open');

    const initiator = SecureChannel.initiator({ ...options, localStatic: nodeKey }, remoteStatic);
    const opening = readFirst(c, PROLOGUE, controllerKey, initiator.nextFrame() as Uint8Array);
    if (opening === null) throw new Error('not read');
    initiator.handleFrame(writeSecond(c, opening, ephemeral, payload) as Uint8Array);
    expect(initiator.state).toBe('open');
  });
});

describe('messages', () => {
  test.each([0, 1, PIECE_BYTES_MAX - 1, PIECE_BYTES_MAX, PIECE_BYTES_MAX + 1, 2 * PIECE_BYTES_MAX, 999_999])(
    'of %i bytes arrive whole, in both directions',
    (length) => {
      const { initiator, responder, prng } = opened(20);
      const message = bytes(prng, length);
      initiator.send(layOut(message, false));
      expect(exchange(initiator, responder)).toSatisfy(isOnly(message, false));
      responder.send(layOut(message, true));
      expect(exchange(responder, initiator)).toSatisfy(isOnly(message, true));
    },
  );

  test('one laid out message goes over many channels, pulled piece by piece, and stays as it was', () => {
    const body = bytes(new Prng(21), 500_000);
    const shared = layOut(body, true);
    const before = shared.slice();
    for (let seed = 0; seed < 5; seed++) {
      const { initiator, responder } = opened(100 + seed);
      responder.send(shared);
      const pieces = Math.ceil(body.length / PIECE_BYTES_MAX);
      let frames = 0;
      let message: ReceivedMessage | null = null;
      for (let frame = responder.nextFrame(); frame !== null; frame = responder.nextFrame()) {
        frames++;
        expect(responder.queuedBytes).toBeLessThan(shared.length);
        message = initiator.handleFrame(frame);
        expect(message === null).toBe(frames < pieces);
      }
      expect(frames).toBe(pieces);
      expect(message === null ? [] : [message]).toSatisfy(isOnly(body, true));
      expect(responder.queuedBytes).toBe(0);
    }
    expect(equalBytes(shared, before)).toBe(true);
  });

  test('keep their order, whatever their sizes', () => {
    const { initiator, responder, prng } = opened(22);
    const messages = Array.from({ length: 50 }, () => bytes(prng, prng.nextInt(0, prng.chance(0.2) ? 200_000 : 100)));
    const received: Uint8Array[] = [];
    for (const message of messages) {
      while (!initiator.send(layOut(message, false))) {
        const got = responder.handleFrame(initiator.nextFrame() as Uint8Array);
        if (got !== null) received.push(got.bytes);
      }
    }
    received.push(...exchange(initiator, responder).map((message) => message.bytes));
    expect(received.length).toBe(messages.length);
    expect(received.every((message, i) => equalBytes(message, messages[i] as Uint8Array))).toBe(true);
  });

  test('the queue is bounded in bytes and in messages; what does not fit is refused and harms nothing', () => {
    const { initiator, responder } = opened(23, { queueBytesMax: 1000, queueMessagesMax: 3 });
    expect(initiator.send(layOut(new Uint8Array(998), false))).toBe(true);
    expect(initiator.send(layOut(new Uint8Array(1), false))).toBe(false);
    expect(exchange(initiator, responder)).toHaveLength(1);
    const small = layOut(new Uint8Array(1), false);
    expect([1, 2, 3, 4].map(() => initiator.send(small))).toEqual([true, true, true, false]);
    expect(exchange(initiator, responder)).toHaveLength(3);
  });

  test('a message beyond the limit of its receiver ends the channel before it is kept', () => {
    const { initiator, responder } = opened(24, { receiveBytesMax: 100_000 });
    initiator.send(layOut(new Uint8Array(100_000), false));
    expect(exchange(initiator, responder)).toHaveLength(1);
    initiator.send(layOut(new Uint8Array(100_001), false));
    exchange(initiator, responder);
    expect(responder.failure).toBe('messageTooLong');
  });
});

describe('a hostile other end', () => {
  const more = (length: number): Uint8Array => new Uint8Array(length + 1).fill(1, 0, 1);

  test('sends flags that are not known', () => {
    for (const flags of [3, 4, 8, 128, 255]) {
      const { transport, responder } = openedByHand(30);
      responder.handleFrame(seal(transport, Uint8Array.of(flags, 1, 2)));
      expect(responder.failure).toBe('flagsUnknown');
    }
  });

  test('sends pieces that are not full, and would have us keep many', () => {
    for (const length of [0, 1, PIECE_BYTES_MAX - 1]) {
      const { transport, responder } = openedByHand(31);
      responder.handleFrame(seal(transport, more(length)));
      expect(responder.failure).toBe('pieceShort');
    }
  });

  test('never ends a message', () => {
    const { transport, responder } = openedByHand(32, { receiveBytesMax: 300_000 });
    const piece = new Uint8Array(PIECE_BYTES_MAX + 1);
    piece[0] = 1;
    let sent = 0;
    while (responder.state === 'open') {
      expect(responder.handleFrame(seal(transport, piece))).toBeNull();
      sent++;
    }
    expect(responder.failure).toBe('messageTooLong');
    expect(sent).toBe(Math.floor(300_000 / PIECE_BYTES_MAX) + 1);
  });

  test('sends frames without a byte of plaintext, or longer than a frame may be', () => {
    const { transport, responder } = openedByHand(33);
    responder.handleFrame(seal(transport, NOTHING));
    expect(responder.failure).toBe('frameMalformed');
    const second = openedByHand(34);
    second.responder.handleFrame(new Uint8Array(FRAME_BYTES_MAX + 1));
    expect(second.responder.failure).toBe('frameMalformed');
  });

  test('repeats, drops or swaps frames', () => {
    const frames = (seed: number) => {
      const sides = openedByHand(seed);
      const sealed = [1, 2, 3].map((n) => seal(sides.transport, Uint8Array.of(0, n)));
      return { ...sides, sealed: sealed as [Uint8Array, Uint8Array, Uint8Array] };
    };
    const repeated = frames(35);
    expect(repeated.responder.handleFrame(repeated.sealed[0])).not.toBeNull();
    repeated.responder.handleFrame(repeated.sealed[0]);
    expect(repeated.responder.failure).toBe('frameForged');
    const dropped = frames(36);
    dropped.responder.handleFrame(dropped.sealed[1]);
    expect(dropped.responder.failure).toBe('frameForged');
  });

  test('cannot bring a failed or closed channel back to life', () => {
    const { transport, responder } = openedByHand(37);
    responder.handleFrame(new Uint8Array(40));
    expect(responder.failure).toBe('frameForged');
    expect(responder.handleFrame(seal(transport, Uint8Array.of(0, 1)))).toBeNull();
    expect(responder.send(layOut(ascii('x'), false))).toBe(false);
    expect(responder.nextFrame()).toBeNull();
    responder.close();
    expect(responder.state).toBe('failed');

    const closed = opened(38);
    closed.initiator.send(layOut(ascii('x'), false));
    const frame = closed.initiator.nextFrame() as Uint8Array;
    closed.responder.close();
    expect(closed.responder.handleFrame(frame)).toBeNull();
    expect(closed.responder.state).toBe('closed');
    expect(closed.responder.nextFrame()).toBeNull();
  });

  test('fuzz: mutated, cut, glued and invented frames give messages as sent or one reason, and never throw', () => {
    const reasons = new Map<string, number>();
    for (let seed = 1; seed <= 400; seed++) {
      const prng = new Prng(seed);
      const { initiator, responder } = pair(seed, { receiveBytesMax: 70_000 });
      const sent = Array.from({ length: 4 }, () => bytes(prng, prng.nextInt(0, prng.chance(0.1) ? 69_000 : 60)));
      for (const message of sent) initiator.send(layOut(message, false));
      let untouched = true;
      let arrived = 0;
      for (let step = 0; step < 12; step++) {
        let frame = initiator.nextFrame();
        if (frame === null) break;
        if (prng.chance(0.15)) {
          untouched = false;
          frame = mutate(prng, frame);
        }
        const message = responder.handleFrame(frame);
        if (message !== null) {
          // Only what was sent, in order: a mutated frame never becomes a message.
          expect(equalBytes(message.bytes, sent[arrived] as Uint8Array)).toBe(true);
          arrived++;
        }
        const back = responder.nextFrame();
        if (back !== null) initiator.handleFrame(prng.chance(0.05) ? mutate(prng, back) : back);
      }
      if (untouched && initiator.state === 'open') expect(arrived).toBe(sent.length);
      for (const side of [initiator, responder]) {
        expect(side.state === 'failed').toBe(side.failure !== null);
        if (side.failure !== null) {
          expect(CHANNEL_FAILURES).toContain(side.failure);
          reasons.set(side.failure, (reasons.get(side.failure) ?? 0) + 1);
        }
      }
    }
    // The generator reaches what it is for.
    for (const reason of ['handshakeMalformed', 'handshakeForged', 'frameMalformed', 'frameForged']) {
      expect(reasons.get(reason) ?? 0).toBeGreaterThan(0);
    }
  });

  test('fuzz: whatever an authenticated peer seals, what is kept stays within the limit', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const prng = new Prng(seed);
      const { transport, responder } = openedByHand(1000 + seed, { receiveBytesMax: 150_000 });
      for (let i = 0; i < 20 && responder.state === 'open'; i++) {
        const full = prng.chance(0.6);
        const plaintext = bytes(prng, full ? PIECE_BYTES_MAX + 1 : prng.nextInt(1, 50));
        plaintext[0] = prng.chance(0.9) ? (full ? 1 : prng.pick([0, 2])) : prng.nextInt(0, 255);
        const message = responder.handleFrame(seal(transport, plaintext));
        if (message !== null) expect(message.bytes.length).toBeLessThanOrEqual(150_000);
      }
      expect(['open', 'failed']).toContain(responder.state);
    }
  });
});

function mutate(prng: Prng, frame: Uint8Array): Uint8Array {
  switch (prng.nextInt(0, 4)) {
    case 0: {
      const flipped = frame.slice();
      const at = prng.nextInt(0, flipped.length - 1);
      flipped[at] = (flipped[at] as number) ^ (1 << prng.nextInt(0, 7));
      return flipped;
    }
    case 1:
      return frame.slice(0, prng.nextInt(0, frame.length - 1));
    case 2:
      return new Uint8Array([...frame, ...bytes(prng, prng.nextInt(1, 20))]);
    case 3:
      return bytes(prng, prng.nextInt(0, 200));
    default:
      return new Uint8Array(FRAME_BYTES_MAX + prng.nextInt(1, 5));
  }
}

describe('nonces', () => {
  test('end before the reserved one, on both sides', () => {
    const sending = new CipherState(c, new Uint8Array(32).fill(7));
    const receiving = new CipherState(c, new Uint8Array(32).fill(7));
    sending.setNonce(2n ** 64n - 2n);
    receiving.setNonce(2n ** 64n - 2n);
    const last = sending.encrypt(ascii('last'));
    expect(last).not.toBeNull();
    expect(sending.encrypt(ascii('one more'))).toBeNull();
    expect(receiving.decrypt(last as Uint8Array)).toEqual(ascii('last'));
    expect(receiving.decrypt(last as Uint8Array)).toBeNull();
  });

  test('are never set back', () => {
    const state = new CipherState(c, new Uint8Array(32));
    state.encrypt(ascii('0'));
    expect(() => state.setNonce(0n)).toThrow('a nonce is never used twice');
  });

  test('a key is gone when it was wiped', () => {
    const key = new Uint8Array(32).fill(9);
    const state = new CipherState(c, key);
    state.wipe();
    expect(key).toEqual(new Uint8Array(32));
    expect(() => state.encrypt(ascii('x'))).toThrow('a wiped key is not used');
  });
});
