// The three crypto providers, over all of which the vector suites run.

import { nobleProvider } from '../../src/crypto/noble.ts';
import { nodeProvider } from '../../src/crypto/node.ts';
import type { CryptoProvider } from '../../src/crypto/provider.ts';
import { createSodiumProvider } from '../../src/crypto/sodium.ts';

export const providers: readonly CryptoProvider[] = [nodeProvider, nobleProvider, await createSodiumProvider()];

/** Bytes of a literal in a test. */
export function hex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.replace(/\s/g, ''), 'hex'));
}
