// Telling messages apart (paper §5.4), and framing them.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex, writeU32le } from '../../../src/base/bytes.ts';
import {
  classify,
  frameCookieReply,
  frameInitiation,
  frameResponse,
  MessageType,
  receiverIndex,
  senderIndex,
} from '../../../src/wireguard/messages.ts';

function datagram(type: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  writeU32le(bytes, 0, type);
  return bytes;
}

describe('classify', () => {
  test.each([
    ['initiation', 148],
    ['response', 92],
    ['cookieReply', 64],
  ] as const)('an %s is %d bytes, neither more nor fewer', (name, length) => {
    const type = MessageType[name];
    expect(classify(datagram(type, length))).toBe(type);
    expect(classify(datagram(type, length - 1))).toBeNull();
    expect(classify(datagram(type, length + 1))).toBeNull();
  });

  test('data is 32 bytes or more', () => {
    expect(classify(datagram(4, 31))).toBeNull();
    expect(classify(datagram(4, 32))).toBe(MessageType.data);
    expect(classify(datagram(4, 65_535))).toBe(MessageType.data);
  });

  test('the reserved bytes belong to the type: set, it is not WireGuard', () => {
    for (const [name, length] of [
      ['initiation', 148],
      ['response', 92],
      ['cookieReply', 64],
      ['data', 100],
    ] as const) {
      for (let at = 1; at < 4; at++) {
        const bytes = datagram(MessageType[name], length);
        bytes[at] = 1;
        expect(classify(bytes)).toBeNull();
      }
    }
  });

  test('no datagram makes it throw, and none but types 1 to 4 is ours', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 160 }), (bytes) => {
        const type = classify(bytes);
        if (type !== null) expect(bytes.subarray(0, 4)).toEqual(Uint8Array.of(type, 0, 0, 0));
      }),
    );
    for (const length of [0, 1, 3, 4, 31]) expect(classify(new Uint8Array(length))).toBeNull();
  });
});

describe('frames', () => {
  test('initiation: type, sender, Noise message, room for the macs', () => {
    const message = frameInitiation(0x11223344, new Uint8Array(108).fill(0xaa));
    expect(toHex(message)).toBe(`0100000044332211${'aa'.repeat(108)}${'00'.repeat(32)}`);
    expect(classify(message)).toBe(MessageType.initiation);
    expect(senderIndex(message)).toBe(0x11223344);
  });

  test('response: type, sender, receiver, Noise message, room for the macs', () => {
    const message = frameResponse(0xfedcba98, 0x11223344, new Uint8Array(48).fill(0xbb));
    expect(toHex(message)).toBe(`0200000098badcfe44332211${'bb'.repeat(48)}${'00'.repeat(32)}`);
    expect(senderIndex(message)).toBe(0xfedcba98);
    expect(receiverIndex(message)).toBe(0x11223344);
  });

  test('cookie reply: type, receiver, nonce, sealed cookie', () => {
    const message = frameCookieReply(0xfedcba98, new Uint8Array(24).fill(0xcc), new Uint8Array(32).fill(0xdd));
    expect(toHex(message)).toBe(`0300000098badcfe${'cc'.repeat(24)}${'dd'.repeat(32)}`);
    expect(receiverIndex(message)).toBe(0xfedcba98);
  });
});
