// The provider of a running host: the same bytes before and after libsodium is there.

import { expect, test } from 'vitest';
import { nobleXopen, nobleXseal } from '../../src/crypto/noble.ts';
import { createHostProvider } from '../../src/crypto/node-and-sodium.ts';

test('XChaCha20-Poly1305 goes to libsodium once it has been asked for, and the bytes stay the same', async () => {
  let tell: (loaded: boolean) => void = () => undefined;
  const loading = new Promise<boolean>((resolve) => {
    tell = resolve;
  });
  const provider = createHostProvider(tell);
  const key = new Uint8Array(32).fill(1);
  const nonce = new Uint8Array(24).fill(2);
  const text = new Uint8Array(16).fill(3);
  const aad = new Uint8Array(16).fill(4);
  const expected = nobleXseal(key, nonce, text, aad);
  expect(provider.xseal(key, nonce, text, aad)).toEqual(expected);
  expect(await loading).toBe(true);
  const sealed = provider.xseal(key, nonce, text, aad);
  expect(sealed).toEqual(expected);
  expect(provider.xopen(key, nonce, sealed, aad)).toEqual(text);
  expect(nobleXopen(key, nonce, sealed, aad)).toEqual(text);
  sealed[0] = (sealed[0] as number) ^ 1;
  expect(provider.xopen(key, nonce, sealed, aad)).toBeNull();
});
