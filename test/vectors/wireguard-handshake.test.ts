// Transcripts of whole WireGuard handshakes (wireguard-handshakes.json, deterministic, made with an independent
// implementation): both roles byte for byte, the cookie path, the finished Noise state and transport data.

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { concat, fromHex, readU64le, toHex, writeU32le, writeU64le } from '../../src/base/bytes.ts';
import type { Instant } from '../../src/base/instant.ts';
import type { CryptoProvider, DhKey } from '../../src/crypto/provider.ts';
import type { LocalIndex } from '../../src/dataplane/dataplane.ts';
import { readFirstPayload, readFirstStatic, readSecond, writeFirst, writeSecond } from '../../src/noise/ikpsk2.ts';
import { IDENTIFIER } from '../../src/wireguard/constants.ts';
import { CookieChecker, CookieGenerator } from '../../src/wireguard/cookie.ts';
import {
  consumeResponse,
  createInitiation,
  createResponse,
  finishInitiation,
  peekInitiation,
} from '../../src/wireguard/handshake.ts';
import { classify, DATA_HEADER_BYTES, MessageType, receiverIndex, senderIndex } from '../../src/wireguard/messages.ts';
import { providers } from './providers.ts';

interface Case {
  readonly initiator_index: number;
  readonly responder_index: number;
  readonly [field: string]: string | number;
}

const { cases } = JSON.parse(readFileSync(new URL('./wireguard-handshakes.json', import.meta.url), 'utf8')) as {
  readonly cases: readonly Case[];
};

const NOW = 1_000_000 as Instant;
const NOTHING = new Uint8Array(0);

function bytes(vector: Case, field: string): Uint8Array {
  const value = fromHex(String(vector[field]));
  if (value === null) throw new Error(`the vector has no ${field}`);
  return value;
}

function present<T>(value: T | null | undefined, what: string): T {
  if (value === null || value === undefined) throw new Error(`no ${what}`);
  return value;
}

function keyOf(c: CryptoProvider, vector: Case, field: string): DhKey {
  return c.importPrivateKey(bytes(vector, field));
}

/** What a node sends for `packet`: padded to 16, under its keypair's header. */
function sealData(c: CryptoProvider, key: Uint8Array, index: number, counter: bigint, packet: Uint8Array): Uint8Array {
  const header = new Uint8Array(DATA_HEADER_BYTES);
  writeU32le(header, 0, MessageType.data);
  writeU32le(header, 4, index);
  writeU64le(header, 8, counter);
  const padded = concat(packet, new Uint8Array((16 - (packet.length % 16)) % 16));
  return concat(header, c.seal(key, counter, padded, NOTHING));
}

function openData(c: CryptoProvider, key: Uint8Array, message: Uint8Array): Uint8Array {
  expect(classify(message)).toBe(MessageType.data);
  return present(c.open(key, readU64le(message, 8), message.subarray(DATA_HEADER_BYTES), NOTHING), 'plaintext');
}

/** A source of entropy that gives what the transcript used, in order. */
function scripted(...draws: readonly Uint8Array[]): (out: Uint8Array) => void {
  const left = [...draws];
  return (out) => out.set(present(left.shift(), 'entropy left'));
}

const matrix = providers.flatMap((c) => cases.map((vector, i) => [c.name, i, c, vector] as const));

describe.each(matrix)('transcript with %s, case %i', (_name, _i, c, vector) => {
  const initiatorStatic = keyOf(c, vector, 'initiator_private');
  const responderStatic = keyOf(c, vector, 'responder_private');
  const staticStatic = present(initiatorStatic.dh(responderStatic.publicKey), 'static-static secret');
  const presharedKey = bytes(vector, 'preshared_key');
  const initiation = bytes(vector, 'initiation');
  const response = bytes(vector, 'response');

  function initiate() {
    const created = createInitiation(c, {
      staticKey: initiatorStatic,
      remoteStatic: responderStatic.publicKey,
      staticStatic,
      ephemeral: keyOf(c, vector, 'initiator_ephemeral_private'),
      timestamp: bytes(vector, 'timestamp'),
      localIndex: vector.initiator_index as LocalIndex,
    });
    return present(created, 'initiation');
  }

  test('public keys', () => {
    expect(initiatorStatic.publicKey).toEqual(bytes(vector, 'initiator_public'));
    expect(responderStatic.publicKey).toEqual(bytes(vector, 'responder_public'));
  });

  test('the initiator sends and understands the transcript', () => {
    const { message, state } = initiate();
    new CookieGenerator(c, responderStatic.publicKey).addMacs(message, NOW);
    expect(toHex(message)).toBe(toHex(initiation));

    const consumed = consumeResponse(c, state, { staticKey: initiatorStatic, presharedKey }, response);
    const { keys, remoteIndex } = present(consumed, 'response');
    expect(remoteIndex).toBe(vector.responder_index);
    expect(toHex(keys.sendKey)).toBe(vector['initiator_send_key']);
    expect(toHex(keys.receiveKey)).toBe(vector['initiator_recv_key']);
    const inner = bytes(vector, 'inner_packet');
    const sent = (counter: bigint, packet: Uint8Array): string =>
      toHex(sealData(c, keys.sendKey, remoteIndex, counter, packet));
    expect(sent(0n, inner)).toBe(vector['data_initiator_0']);
    expect(sent(1n, NOTHING)).toBe(vector['keepalive_initiator_1']);
    expect(sent(4294967301n, inner)).toBe(vector['data_initiator_4294967301']);
    const received = openData(c, keys.receiveKey, bytes(vector, 'data_responder_0'));
    expect(received.subarray(0, inner.length)).toEqual(inner);
  });

  test('the responder understands and sends the transcript', () => {
    const peek = present(peekInitiation(c, responderStatic, initiation), 'peek');
    expect(peek.remoteStatic).toEqual(initiatorStatic.publicKey);
    expect(peek.remoteIndex).toBe(vector.initiator_index);
    const state = present(finishInitiation(peek, staticStatic), 'responder state');
    expect(toHex(state.timestamp)).toBe(vector['timestamp']);

    const created = createResponse(c, state, {
      presharedKey,
      ephemeral: keyOf(c, vector, 'responder_ephemeral_private'),
      localIndex: vector.responder_index as LocalIndex,
    });
    const { message, keys } = present(created, 'response');
    new CookieGenerator(c, initiatorStatic.publicKey).addMacs(message, NOW);
    expect(toHex(message)).toBe(toHex(response));
    expect(senderIndex(message)).toBe(vector.responder_index);
    expect(receiverIndex(message)).toBe(vector.initiator_index);
    expect(toHex(keys.receiveKey)).toBe(vector['initiator_send_key']);
    expect(toHex(keys.sendKey)).toBe(vector['initiator_recv_key']);

    const inner = bytes(vector, 'inner_packet');
    expect(toHex(sealData(c, keys.sendKey, state.remoteIndex, 0n, inner))).toBe(vector['data_responder_0']);
    for (const field of ['data_initiator_0', 'data_initiator_4294967301']) {
      expect(openData(c, keys.receiveKey, bytes(vector, field)).subarray(0, inner.length)).toEqual(inner);
    }
    expect(openData(c, keys.receiveKey, bytes(vector, 'keepalive_initiator_1'))).toHaveLength(0);
  });

  test('the finished Noise state, on both sides', () => {
    const ephemeral = keyOf(c, vector, 'initiator_ephemeral_private');
    const first = writeFirst(c, {
      prologue: IDENTIFIER,
      localStatic: initiatorStatic,
      remoteStatic: responderStatic.publicKey,
      staticStatic,
      ephemeral,
      payload: bytes(vector, 'timestamp'),
    });
    const { noise, message } = present(first, 'first message');
    const opening = present(readFirstStatic(c, IDENTIFIER, responderStatic, message), 'opening');
    present(readFirstPayload(opening, staticStatic, message), 'payload');
    const responderEphemeral = keyOf(c, vector, 'responder_ephemeral_private');
    const second = present(writeSecond(c, opening, responderEphemeral, presharedKey, NOTHING), 'second message');
    const read = present(
      readSecond(c, { noise, localStatic: initiatorStatic, ephemeral, presharedKey }, second),
      'end',
    );
    for (const finished of [opening.noise, read.noise]) {
      expect(toHex(finished.chainingKey)).toBe(vector['final_chaining_key']);
      expect(toHex(finished.handshakeHash)).toBe(vector['final_hash']);
    }
  });

  test('the cookie path: reply, receipt, mac2', () => {
    const cookie = bytes(vector, 'cookie');
    const nonce = bytes(vector, 'cookie_nonce');
    const reply = bytes(vector, 'cookie_reply_to_initiation');

    const generator = new CookieGenerator(c, responderStatic.publicKey);
    const { message } = initiate();
    generator.addMacs(message, NOW);
    expect(generator.consumeReply(reply, NOW)).toBe(true);
    generator.addMacs(message, NOW);
    expect(toHex(message)).toBe(vector['initiation_with_mac2']);

    // The transcript gives the cookie, not the secret behind it: a responder that would seal that cookie seals that reply.
    const knowing: CryptoProvider = {
      ...c,
      mac: (key, ...parts) => (parts.length === 1 && parts[0] === NOTHING ? cookie.slice() : c.mac(key, ...parts)),
    };
    const checker = new CookieChecker(knowing, scripted(new Uint8Array(32), nonce), responderStatic.publicKey);
    expect(toHex(checker.createReply(initiation, NOTHING, NOW))).toBe(toHex(reply));
    expect(checker.checkMac1(initiation)).toBe(true);
    expect(checker.checkMac2(initiation, NOTHING, NOW)).toBe(false);
    expect(checker.checkMac2(bytes(vector, 'initiation_with_mac2'), NOTHING, NOW)).toBe(true);
  });
});
