// Secrets of auth keys and REST tokens: 32 random bytes in base64url, stored as their SHA-256 alone. They are found by that
// hash, which nobody can steer towards a stored one, and compared with it in constant time.

import { ascii, toBase64, toHex } from '../../base/bytes.ts';
import type { RandomSource } from '../../base/prng.ts';

const SECRET_BYTES = 32;
const SECRET = /^[A-Za-z0-9_-]{16,128}$/;
const ID_LENGTH = 10;
const ID_LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';

export type Sha256 = (data: Uint8Array) => Uint8Array;

export interface NewSecret {
  readonly secret: string;
  readonly secretHash: string;
}

export function newSecret(random: RandomSource, sha256: Sha256): NewSecret {
  const bytes = new Uint8Array(SECRET_BYTES);
  random(bytes);
  const secret = toBase64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  bytes.fill(0);
  return { secret, secretHash: hashSecret(secret, sha256) };
}

/** Text that can be no secret of ours gives a hash that is none. */
export function hashSecret(secret: string, sha256: Sha256): string {
  return SECRET.test(secret) ? toHex(sha256(ascii(secret))) : '';
}

/** `k_…` or `t_…`; without the letters' bias: bytes that do not fit are left out. */
export function newPublicId(kind: 'k' | 't', random: RandomSource): string {
  const bytes = new Uint8Array(2 * ID_LENGTH);
  const limit = 256 - (256 % ID_LETTERS.length);
  let id = '';
  while (id.length < ID_LENGTH) {
    random(bytes);
    for (const byte of bytes) {
      if (byte < limit && id.length < ID_LENGTH) id += ID_LETTERS.charAt(byte % ID_LETTERS.length);
    }
  }
  return `${kind}_${id}`;
}

/** Time depends on the lengths alone. */
export function equalHashes(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return difference === 0;
}
