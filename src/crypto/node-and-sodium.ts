// What a host runs with: node:crypto for everything that it has, and for XChaCha20-Poly1305 (cookies, which only a flood makes
// frequent) libsodium, ten times as fast there as the pure implementation. Its WebAssembly costs 30 ms and 12 MB, so it is
// loaded when the first such call is made; until it is there, and should it fail to load, @noble/ciphers does the work.

import { nodeProvider } from './node.ts';
import type { CryptoProvider } from './provider.ts';

/** `onLoaded` is called once, with whether libsodium serves from now on. */
export function createHostProvider(onLoaded: (loaded: boolean) => void = () => undefined): CryptoProvider {
  let xchacha: CryptoProvider = nodeProvider;
  let asked = false;
  const load = (): void => {
    import('./sodium.ts')
      .then(({ createSodiumProvider }) => createSodiumProvider())
      .then(
        (sodium) => {
          xchacha = sodium;
          onLoaded(true);
        },
        () => onLoaded(false),
      );
  };
  const fastest = (): CryptoProvider => {
    if (!asked) {
      asked = true;
      load();
    }
    return xchacha;
  };
  return {
    ...nodeProvider,
    xseal: (key, nonce, plaintext, aad) => fastest().xseal(key, nonce, plaintext, aad),
    xopen: (key, nonce, ciphertext, aad) => fastest().xopen(key, nonce, ciphertext, aad),
  };
}
