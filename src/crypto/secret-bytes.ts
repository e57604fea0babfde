// What every provider does alike with secret bytes: clamping (RFC 7748 §5), comparison in constant time, the AEAD nonce
// of the WireGuard paper §5.4.6, and zeroing. Pure.

import { assert } from '../base/assert.ts';
import { writeU64le } from '../base/bytes.ts';

export const KEY_BYTES = 32;
export const TAG_BYTES = 16;
export const MAC_BYTES = 16;
export const NONCE_BYTES = 12;
export const XNONCE_BYTES = 24;

/** A clamped copy of a 32-byte X25519 scalar. */
export function clamp(privateKey: Uint8Array): Uint8Array {
  assert(privateKey.length === KEY_BYTES, 'a private key is 32 bytes');
  const scalar = new Uint8Array(privateKey);
  scalar[0] = (scalar[0] as number) & 248;
  scalar[31] = ((scalar[31] as number) & 127) | 64;
  return scalar;
}

/** Whether a shared secret is the all-zero one that low-order points give (RFC 7748 §6.1); constant time. */
export function isAllZero(secret: Uint8Array): boolean {
  let bits = 0;
  for (let i = 0; i < secret.length; i++) bits |= secret[i] as number;
  return bits === 0;
}

export function equalConstantTime(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= (a[i] as number) ^ (b[i] as number);
  return difference === 0;
}

export function wipe(...secrets: readonly Uint8Array[]): void {
  for (const secret of secrets) secret.fill(0);
}

/** 32 zero bits ‖ LE64(counter). */
export function counterNonce(counter: bigint): Uint8Array {
  const nonce = new Uint8Array(NONCE_BYTES);
  writeU64le(nonce, 4, counter);
  return nonce;
}
