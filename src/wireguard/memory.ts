// What handshakes with a peer need and leave behind, made when the first one begins: decoding 100,000 public keys and
// multiplying them with ours while a configuration is read would cost seconds for peers that may never speak.

import { fromHex, readU32le } from '../base/bytes.ts';
import type { Instant } from '../base/instant.ts';
import type { DhKey, PublicKey } from '../crypto/provider.ts';
import type { LocalIndex } from '../dataplane/dataplane.ts';
import type { EngineContext } from './context.ts';
import { CookieGenerator } from './cookie.ts';
import type { HandshakeMemory, Peer } from './peer.ts';
import { NO_STAMP } from './tai64n.ts';

/** Sorts before every instant: nothing was sent or accepted yet. */
const LONG_AGO = Number.NEGATIVE_INFINITY as Instant;

export function memoryOf(context: EngineContext, peer: Peer): HandshakeMemory {
  if (peer.memory === null) {
    const remoteStatic = fromHex(peer.publicKeyHex, 32) as PublicKey;
    peer.memory = {
      remoteStatic,
      staticStatic: null,
      cookies: new CookieGenerator(context.crypto, remoteStatic),
      greatestStamp: null,
      sentStamp: NO_STAMP,
      lastInitiationAcceptedAt: LONG_AGO,
      lastHandshakeSentAt: LONG_AGO,
    };
  }
  return peer.memory;
}

/** DH of both static keys; null when we have no key or the peer's is a low-order point (no handshake is possible). */
export function staticStaticOf(context: EngineContext, memory: HandshakeMemory): Uint8Array | null {
  memory.staticStatic ??= context.identity?.key.dh(memory.remoteStatic) ?? null;
  return memory.staticStatic;
}

/** Our key was replaced, or the link is down: what was derived goes, and the next initiation need not wait. */
export function resetHandshakes(context: EngineContext, memory: HandshakeMemory): void {
  if (memory.staticStatic !== null) context.crypto.wipe(memory.staticStatic);
  memory.staticStatic = null;
  memory.lastHandshakeSentAt = LONG_AGO;
}

const INDEX_DRAWS_MAX = 64;

/** A fresh random index that the plane expects for the peer; null when the index space is as good as full. */
export function drawIndex(context: EngineContext, peer: Peer): LocalIndex | null {
  const bytes = new Uint8Array(4);
  for (let draws = 0; draws < INDEX_DRAWS_MAX; draws++) {
    context.random(bytes);
    const index = readU32le(bytes, 0) as LocalIndex;
    if (context.plane.expectIndex(index, peer.slot)) return index;
  }
  context.counters.drop('outOfIndexes');
  return null;
}

/** A fresh ephemeral key. */
export function drawEphemeral(context: EngineContext): DhKey {
  const scalar = new Uint8Array(32);
  context.random(scalar);
  const key = context.crypto.importPrivateKey(scalar);
  context.crypto.wipe(scalar);
  return key;
}
