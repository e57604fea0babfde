// The last netmap, for the disk: so that a node starts and connects while the controller is away. Sealed, because it is a map
// of somebody's network, and expiring, because it says whom to let in. Pure: the daemon reads and writes the file.
//
//   0        4        5                29
//   | "WNM"0 | version| nonce (random) | XChaCha20-Poly1305 of JSON, with the first 29 bytes as associated data |
//
// The key is HMAC-BLAKE2s(private key, label): whoever has it is the node itself.

import { ascii, concat } from '../base/bytes.ts';
import type { WallTime } from '../base/instant.ts';
import type { RandomSource } from '../base/prng.ts';
import type { CryptoProvider } from '../crypto/provider.ts';
import { storedNetmapSchema } from '../protocol/netmap.ts';
import type { SavedNetmap } from './netmap.ts';

/** Longer away from the controller than this, and a node lets nobody in on its old word. */
export const NETMAP_EXPIRY_MS = 14 * 24 * 3_600_000;
/** A file that is larger was not written by us. 100,000 nodes take about 40 MB. */
export const SEALED_BYTES_MAX = 64 * 1024 * 1024;

const MAGIC = ascii('WNM\0');
const VERSION = 1;
const NONCE_BYTES = 24;
const HEADER_BYTES = MAGIC.length + 1 + NONCE_BYTES;
const LABEL = ascii('warren netmap v1');

export interface SealContext {
  readonly crypto: CryptoProvider;
  /** 32 bytes, borrowed. */
  readonly privateKey: Uint8Array;
  readonly now: WallTime;
}

export type Unsealed =
  | { readonly ok: true; readonly netmap: SavedNetmap; readonly savedAt: WallTime }
  | {
      readonly ok: false;
      /** `otherVersion`: another Warren wrote it. `refused`: tampered with, cut off, or of another key. */
      readonly reason: 'notOurs' | 'otherVersion' | 'refused' | 'expired' | 'malformed';
    };

export function sealNetmap(
  netmap: SavedNetmap,
  context: SealContext & { readonly random: RandomSource; readonly expiryMs?: number },
): Uint8Array {
  const { crypto, now, random } = context;
  const header = new Uint8Array(HEADER_BYTES);
  header.set(MAGIC);
  header[MAGIC.length] = VERSION;
  const nonce = header.subarray(MAGIC.length + 1);
  random(nonce);
  const expiresAt = now + (context.expiryMs ?? NETMAP_EXPIRY_MS);
  const plaintext = asciiJson({ savedAt: now, expiresAt, ...netmap });
  const key = keyOf(context);
  const sealed = crypto.xseal(key, nonce, plaintext, header);
  crypto.wipe(key, plaintext);
  return concat(header, sealed);
}

/** Never throws, whatever the bytes. */
export function openNetmap(bytes: Uint8Array, context: SealContext): Unsealed {
  if (bytes.length < HEADER_BYTES || bytes.length > SEALED_BYTES_MAX) return { ok: false, reason: 'notOurs' };
  if (!MAGIC.every((byte, i) => bytes[i] === byte)) return { ok: false, reason: 'notOurs' };
  if (bytes[MAGIC.length] !== VERSION) return { ok: false, reason: 'otherVersion' };
  const { crypto, now } = context;
  const header = bytes.subarray(0, HEADER_BYTES);
  const key = keyOf(context);
  const plaintext = crypto.xopen(key, header.subarray(MAGIC.length + 1), bytes.subarray(HEADER_BYTES), header);
  crypto.wipe(key);
  if (plaintext === null) return { ok: false, reason: 'refused' };
  const content = storedNetmapSchema.safeParse(parsed(plaintext));
  crypto.wipe(plaintext);
  if (!content.success) return { ok: false, reason: 'malformed' };
  const { savedAt, expiresAt, ...netmap } = content.data;
  // A clock that is behind the file's makes it no younger than it is.
  if (now >= expiresAt) return { ok: false, reason: 'expired' };
  return { ok: true, netmap, savedAt: savedAt as WallTime };
}

function keyOf(context: SealContext): Uint8Array {
  return context.crypto.hmac(context.privateKey, LABEL);
}

/** What JSON escapes is left to it; the rest that is not ASCII is escaped too, so that one character is one byte. */
function asciiJson(value: unknown): Uint8Array {
  const text = JSON.stringify(value).replace(
    /[\u0080-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return ascii(text);
}

/** Undefined when it is not JSON. */
function parsed(bytes: Uint8Array): unknown {
  const STEP = 8_192;
  const pieces: string[] = [];
  for (let at = 0; at < bytes.length; at += STEP) pieces.push(String.fromCharCode(...bytes.subarray(at, at + STEP)));
  try {
    return JSON.parse(pieces.join(''));
  } catch {
    return undefined;
  }
}
