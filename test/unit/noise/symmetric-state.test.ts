// The symmetric state of the Noise framework, revision 34 §5: what its objects promise beyond the vectors.

import { describe, expect, test } from 'vitest';
import { ascii } from '../../../src/base/bytes.ts';
import { nodeProvider as c } from '../../../src/crypto/node.ts';
import { hkdf2, SymmetricState } from '../../../src/noise/symmetric-state.ts';

const NAME = ascii('Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s');
const INPUT = new Uint8Array(32).fill(1);
const TEXT = ascii('some plaintext');

describe('symmetric state', () => {
  test('§5.2: MixKey is HKDF of the chaining key, whether or not the key is then used', () => {
    const [chainingKey, key] = hkdf2(c, c.hash(NAME), INPUT);
    const used = SymmetricState.initialize(c, NAME);
    used.mixKey(INPUT);
    expect(used.encryptAndHash(TEXT)).toEqual(c.seal(key, 0n, TEXT, c.hash(NAME)));
    expect(used.chainingKey).toEqual(chainingKey);
    const unused = SymmetricState.initialize(c, NAME);
    unused.mixKey(INPUT);
    expect(unused.chainingKey).toEqual(chainingKey);
  });

  test('§5.1: the nonce counts up under one key and starts again with the next', () => {
    const noise = SymmetricState.initialize(c, NAME);
    noise.mixKey(INPUT);
    const [chainingKey, key] = hkdf2(c, c.hash(NAME), INPUT);
    const h0 = c.hash(NAME);
    const first = noise.encryptAndHash(TEXT);
    const h1 = c.hash(h0, first);
    expect(noise.encryptAndHash(TEXT)).toEqual(c.seal(key, 1n, TEXT, h1));
    const h2 = noise.handshakeHash.slice();
    noise.mixKey(INPUT);
    const [, nextKey] = hkdf2(c, chainingKey, INPUT);
    expect(noise.encryptAndHash(TEXT)).toEqual(c.seal(nextKey, 0n, TEXT, h2));
  });

  test('§5.2: a ciphertext that does not verify changes nothing', () => {
    const [ours, theirs] = [SymmetricState.initialize(c, NAME), SymmetricState.initialize(c, NAME)];
    ours.mixKey(INPUT);
    theirs.mixKey(INPUT);
    const sealed = ours.encryptAndHash(TEXT);
    const before = theirs.handshakeHash.slice();
    expect(theirs.decryptAndHash(new Uint8Array(30))).toBeNull();
    expect(theirs.decryptAndHash(new Uint8Array(0))).toBeNull();
    expect(theirs.handshakeHash).toEqual(before);
    expect(theirs.decryptAndHash(sealed)).toEqual(TEXT);
    expect(theirs.handshakeHash).toEqual(ours.handshakeHash);
  });

  test('a clone goes its own way', () => {
    const noise = SymmetricState.initialize(c, NAME);
    noise.mixKey(INPUT);
    const copies = [noise.clone(), noise.clone()] as const;
    const sealed = noise.encryptAndHash(TEXT);
    expect(copies[0].encryptAndHash(TEXT)).toEqual(sealed);
    copies[0].wipe();
    noise.wipe();
    expect(copies[1].encryptAndHash(TEXT)).toEqual(sealed);
    const late = copies[1].clone();
    expect(late.encryptAndHash(TEXT)).toEqual(copies[1].encryptAndHash(TEXT));
  });

  test('wipe zeroes the chaining key and drops the cipher key', () => {
    const noise = SymmetricState.initialize(c, NAME);
    noise.mixKeyAndHash(INPUT);
    const { chainingKey } = noise;
    noise.wipe();
    expect(chainingKey).toEqual(new Uint8Array(32));
    expect(() => noise.encryptAndHash(TEXT)).toThrow(/invariant/);
  });

  test('replacing the chaining key zeroes the one before', () => {
    const noise = SymmetricState.initialize(c, NAME);
    const before = noise.chainingKey;
    noise.mixKey(INPUT);
    expect(before).toEqual(new Uint8Array(32));
  });

  test('encrypting before any key was mixed is our bug', () => {
    expect(() => SymmetricState.initialize(c, NAME).encryptAndHash(TEXT)).toThrow(/invariant/);
  });
});
