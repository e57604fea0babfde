// Just enough of the WireGuard wire format to disturb an engine from outside: handshake initiations whose mac1 is right
// and whose rest is random, as an attacker who knows the public key can make by the thousand. (Paper §5.4.2, §5.4.4.)

import { randomBytes } from 'node:crypto';
import { blake2s } from '@noble/hashes/blake2.js';

export const INITIATION_BYTES = 148;
export const COOKIE_REPLY_TYPE = 3;
const MAC1_OFFSET = 116;

/**
 *   0  type = 1, reserved      8  ephemeral      88  timestamp (encrypted)   132  mac2 = 0
 *   4  sender index           40  static (encrypted)   116  mac1
 */
export function forgeInitiation(responderPublicKey: string): Uint8Array {
  const message = new Uint8Array(randomBytes(INITIATION_BYTES));
  message.set([1, 0, 0, 0]);
  const label = new TextEncoder().encode('mac1----');
  const key = blake2s(Uint8Array.from([...label, ...Buffer.from(responderPublicKey, 'base64')]));
  message.set(blake2s(message.subarray(0, MAC1_OFFSET), { key, dkLen: 16 }), MAC1_OFFSET);
  message.fill(0, MAC1_OFFSET + 16);
  return message;
}
