// Noise_IK_25519_ChaChaPoly_BLAKE2s against the vector of that name from cacophony (haskell-cryptography/cacophony), which
// other implementations of the framework share: prologue, both messages with payloads, transport. Its copies print a handshake
// hash that does not belong to these messages; the hash is checked against the chain of §5.2, made here from the messages.

import { describe, expect, test } from 'vitest';
import { ascii, toHex } from '../../src/base/bytes.ts';
import type { CryptoProvider, PublicKey } from '../../src/crypto/provider.ts';
import { readFirst, readSecond, writeFirst, writeSecond } from '../../src/noise/ik.ts';
import { splitTransport } from '../../src/noise/transport.ts';
import { hex, providers } from './providers.ts';

const PROLOGUE = hex('4a6f686e2047616c74');
const INITIATOR_STATIC = hex('e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1');
const INITIATOR_EPHEMERAL = hex('893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a');
const RESPONDER_PUBLIC = hex('31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62') as PublicKey;
const RESPONDER_STATIC = hex('4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893');
const RESPONDER_EPHEMERAL = hex('bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b');

/** [payload, ciphertext]; the first two are the handshake, then the initiator and the responder take turns. */
const MESSAGES = [
  [
    '4c756477696720766f6e204d69736573',
    'ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79440b03ddc7aac5123d06a1b23b71670e32e76c28239a7ca4ac' +
      '8f784de7e44c1adbfc6e83fef7352a58d9d56157400c0a737b1d171ce368229c7b752ac25b8faf4eca690f6d896f543be02c996ab2b86b76',
  ],
  [
    '4d757272617920526f746862617264',
    '95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843d9b5a8927f0ac9655ef76833bc7e5561f42e691ac8404efd' +
      '6fbd6308b6a27c',
  ],
  ['462e20412e20486179656b', '2c256ed08fcd08c2980f954ee4beaccb61c9581340f5dd2fd1cf3b'],
  ['4361726c204d656e676572', 'd6033f70eee20945c7c9dba304e397ee3b284ff5e00fd9efb095d3'],
  ['4a65616e2d426170746973746520536179', 'a9c068ca5d8babf72560652d8e851adbfac35c8a66e810d560863173e96adf4cfe'],
  [
    '457567656e2042f6686d20766f6e2042617765726b',
    '2a09d8f459e5927e40fdd2eddc99bdafb04e13a26f145cb5cfe9e6ba34c94331ebc17d5156',
  ],
] as const;

/** MixHash of the prologue, the pre-message and every part of both messages: what `h` is after them. */
function transcript(c: CryptoProvider): Uint8Array {
  const [first, second] = [hex(MESSAGES[0][1]), hex(MESSAGES[1][1])];
  const parts = [PROLOGUE, RESPONDER_PUBLIC, first.slice(0, 32), first.slice(32, 80), first.slice(80)];
  let h = c.hash(ascii('Noise_IK_25519_ChaChaPoly_BLAKE2s'));
  for (const part of [...parts, second.slice(0, 32), second.slice(32)]) h = c.hash(h, part);
  return h;
}

describe.each(providers.map((c) => [c.name, c] as const))('Noise IK with %s', (_name, c) => {
  test('cacophony: Noise_IK_25519_ChaChaPoly_BLAKE2s', () => {
    const localStatic = c.importPrivateKey(INITIATOR_STATIC);
    const ephemeral = c.importPrivateKey(INITIATOR_EPHEMERAL);
    const responderStatic = c.importPrivateKey(RESPONDER_STATIC);
    expect(responderStatic.publicKey).toEqual(RESPONDER_PUBLIC);

    const payload = hex(MESSAGES[0][0]);
    const first = writeFirst(c, {
      prologue: PROLOGUE,
      localStatic,
      remoteStatic: RESPONDER_PUBLIC,
      ephemeral,
      payload,
    });
    if (first === null) throw new Error('the first message was not written');
    expect(toHex(first.message)).toBe(MESSAGES[0][1]);

    const opening = readFirst(c, PROLOGUE, responderStatic, first.message);
    if (opening === null) throw new Error('the first message was not read');
    expect(opening.remoteStatic).toEqual(localStatic.publicKey);
    expect(opening.payload).toEqual(payload);

    const second = writeSecond(c, opening, c.importPrivateKey(RESPONDER_EPHEMERAL), hex(MESSAGES[1][0]));
    if (second === null) throw new Error('the second message was not written');
    expect(toHex(second)).toBe(MESSAGES[1][1]);
    expect(toHex(opening.noise.handshakeHash)).toBe(toHex(transcript(c)));

    expect(readSecond(c, { noise: first.noise, localStatic, ephemeral }, second)).toEqual(hex(MESSAGES[1][0]));
    expect(toHex(first.noise.handshakeHash)).toBe(toHex(transcript(c)));

    const initiator = splitTransport(c, first.noise, 'initiator');
    const responder = splitTransport(c, opening.noise, 'responder');
    MESSAGES.slice(2).forEach(([plaintext, ciphertext], i) => {
      const [from, to] = i % 2 === 0 ? [initiator, responder] : [responder, initiator];
      const sealed = from.sending.encrypt(hex(plaintext));
      expect(sealed === null ? null : toHex(sealed)).toBe(ciphertext);
      expect(to.receiving.decrypt(hex(ciphertext))).toEqual(hex(plaintext));
    });
  });
});
