// Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s against the vector of that name from cacophony (haskell-cryptography/cacophony), which
// other implementations of the framework share: prologue, both messages with payloads, handshake hash, transport.

import { describe, expect, test } from 'vitest';
import { toHex } from '../../src/base/bytes.ts';
import type { PublicKey } from '../../src/crypto/provider.ts';
import { readFirstPayload, readFirstStatic, readSecond, writeFirst, writeSecond } from '../../src/noise/ikpsk2.ts';
import { hex, providers } from './providers.ts';

const NOTHING = new Uint8Array(0);
const PROLOGUE = hex('4a6f686e2047616c74');
const PSK = hex('54686973206973206d7920417573747269616e20706572737065637469766521');
const INITIATOR_STATIC = hex('e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1');
const INITIATOR_EPHEMERAL = hex('893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a');
const RESPONDER_PUBLIC = hex('31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62') as PublicKey;
const RESPONDER_STATIC = hex('4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893');
const RESPONDER_EPHEMERAL = hex('bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b');
/** Some copies of the vector print another hash beside the same messages; this one is what its keys and messages give. */
const HANDSHAKE_HASH = 'f5191b875290abcd41347ac3622d9679688a7e980229cb937ef748336cfde0e5';

/** [payload, ciphertext]; the first two are the handshake, then the initiator and the responder take turns. */
const MESSAGES = [
  [
    '4c756477696720766f6e204d69736573',
    'ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8e2ad57527207feb56253c9c94a9e4967' +
      '82ecfcb2a75fbcaf1b52948cc48daefe660c62119ab5000980c84831215f2441eba616548e832985464cf17e51ee93109008399a21f7e13f',
  ],
  [
    '4d757272617920526f746862617264',
    '95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b8f007572dab0322217755c0632f36571' +
      '7edbf34d33e87a',
  ],
  ['462e20412e20486179656b', '8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7'],
  ['4361726c204d656e676572', '07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef'],
  ['4a65616e2d426170746973746520536179', '6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d'],
  [
    '457567656e2042f6686d20766f6e2042617765726b',
    'dfc346c0d2296ae6cf1acf6f12b8456a1dba228cf8d8b774aacf1c47fc53aa80ebc7a4c292',
  ],
] as const;

describe.each(providers.map((c) => [c.name, c] as const))('Noise IKpsk2 with %s', (_name, c) => {
  test('cacophony: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s', () => {
    const localStatic = c.importPrivateKey(INITIATOR_STATIC);
    const ephemeral = c.importPrivateKey(INITIATOR_EPHEMERAL);
    const responderStatic = c.importPrivateKey(RESPONDER_STATIC);
    expect(responderStatic.publicKey).toEqual(RESPONDER_PUBLIC);
    const staticStatic = localStatic.dh(RESPONDER_PUBLIC);
    if (staticStatic === null) throw new Error('no static-static secret');

    const first = writeFirst(c, {
      prologue: PROLOGUE,
      localStatic,
      remoteStatic: RESPONDER_PUBLIC,
      staticStatic,
      ephemeral,
      payload: hex(MESSAGES[0][0]),
    });
    if (first === null) throw new Error('the first message was not written');
    expect(toHex(first.message)).toBe(MESSAGES[0][1]);

    const opening = readFirstStatic(c, PROLOGUE, responderStatic, first.message);
    if (opening === null) throw new Error('the first message was not opened');
    expect(opening.remoteStatic).toEqual(localStatic.publicKey);
    expect(readFirstPayload(opening, staticStatic, first.message)).toEqual(hex(MESSAGES[0][0]));

    const second = writeSecond(c, opening, c.importPrivateKey(RESPONDER_EPHEMERAL), PSK, hex(MESSAGES[1][0]));
    if (second === null) throw new Error('the second message was not written');
    expect(toHex(second)).toBe(MESSAGES[1][1]);
    expect(toHex(opening.noise.handshakeHash)).toBe(HANDSHAKE_HASH);

    const read = readSecond(c, { noise: first.noise, localStatic, ephemeral, presharedKey: PSK }, second);
    if (read === null) throw new Error('the second message was not read');
    expect(read.payload).toEqual(hex(MESSAGES[1][0]));
    expect(toHex(read.noise.handshakeHash)).toBe(HANDSHAKE_HASH);

    const [toResponder, toInitiator] = read.noise.split();
    expect(opening.noise.split()).toEqual([toResponder, toInitiator]);
    MESSAGES.slice(2).forEach(([payload, ciphertext], i) => {
      const key = i % 2 === 0 ? toResponder : toInitiator;
      expect(toHex(c.seal(key, BigInt(i >> 1), hex(payload), NOTHING))).toBe(ciphertext);
    });
  });
});
