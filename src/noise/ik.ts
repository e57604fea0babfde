// The handshake pattern IK of the Noise Protocol Framework, revision 34, §7.5:
//
//   <- s
//   ...
//   -> e, es, s, ss
//   <- e, ee, se
//
// One function per message and side, each headed by its tokens. Ephemerals are made by the caller. All-zero shared secrets end
// the handshake. For a transport that neither loses nor forges: a message that does not verify spends the state.

import { ascii } from '../base/bytes.ts';
import type { CryptoProvider, DhKey, PublicKey } from '../crypto/provider.ts';
import { initializeIk, mixDh } from './ik-pattern.ts';
import type { SymmetricState } from './symmetric-state.ts';

const PROTOCOL_NAME = ascii('Noise_IK_25519_ChaChaPoly_BLAKE2s');

const KEY_BYTES = 32;
const TAG_BYTES = 16;
const SEALED_KEY_BYTES = KEY_BYTES + TAG_BYTES;

/** With an empty payload. */
export const FIRST_MESSAGE_BYTES = KEY_BYTES + SEALED_KEY_BYTES + TAG_BYTES;
export const SECOND_MESSAGE_BYTES = KEY_BYTES + TAG_BYTES;

export interface FirstMessageInput {
  readonly prologue: Uint8Array;
  /** `s`: the initiator's. */
  readonly localStatic: DhKey;
  /** `rs`: the responder's, known beforehand. */
  readonly remoteStatic: PublicKey;
  /** `e`: fresh for each handshake; it is used again to read the answer. */
  readonly ephemeral: DhKey;
  readonly payload: Uint8Array;
}

/** -> e, es, s, ss. Initiator. `message` = e (32) ‖ sealed s (48) ‖ sealed payload. Null on an all-zero secret. */
export function writeFirst(
  c: CryptoProvider,
  input: FirstMessageInput,
): { readonly message: Uint8Array; readonly noise: SymmetricState } | null {
  const { ephemeral, localStatic, remoteStatic, payload } = input;
  const noise = initializeIk(c, PROTOCOL_NAME, input.prologue, remoteStatic);
  const message = new Uint8Array(FIRST_MESSAGE_BYTES + payload.length);
  // e
  message.set(ephemeral.publicKey, 0);
  noise.mixHash(ephemeral.publicKey);
  // es
  if (!mixDh(c, noise, ephemeral.dh(remoteStatic))) {
    noise.wipe();
    return null;
  }
  // s
  message.set(noise.encryptAndHash(localStatic.publicKey), KEY_BYTES);
  // ss
  if (!mixDh(c, noise, localStatic.dh(remoteStatic))) {
    noise.wipe();
    return null;
  }
  message.set(noise.encryptAndHash(payload), KEY_BYTES + SEALED_KEY_BYTES);
  return { message, noise };
}

/** What the responder has after the first message. `noise` belongs to the holder. */
export interface FirstMessageOpening {
  readonly noise: SymmetricState;
  /** `re`, a copy. */
  readonly remoteEphemeral: PublicKey;
  /** `rs`: whose message it is. It may be a replay: only what the initiator sends next proves that it is there. */
  readonly remoteStatic: PublicKey;
  readonly payload: Uint8Array;
}

/** -> e, es, s, ss. Responder. Null when it does not verify. */
export function readFirst(
  c: CryptoProvider,
  prologue: Uint8Array,
  localStatic: DhKey,
  message: Uint8Array,
): FirstMessageOpening | null {
  if (message.length < FIRST_MESSAGE_BYTES) return null;
  const noise = initializeIk(c, PROTOCOL_NAME, prologue, localStatic.publicKey);
  // e
  const remoteEphemeral = new Uint8Array(message.subarray(0, KEY_BYTES)) as PublicKey;
  noise.mixHash(remoteEphemeral);
  // es
  if (mixDh(c, noise, localStatic.dh(remoteEphemeral))) {
    // s
    const sealedStatic = message.subarray(KEY_BYTES, KEY_BYTES + SEALED_KEY_BYTES);
    const remoteStatic = noise.decryptAndHash(sealedStatic) as PublicKey | null;
    // ss
    if (remoteStatic !== null && mixDh(c, noise, localStatic.dh(remoteStatic))) {
      const payload = noise.decryptAndHash(message.subarray(KEY_BYTES + SEALED_KEY_BYTES));
      if (payload !== null) return { noise, remoteEphemeral, remoteStatic, payload };
    }
  }
  noise.wipe();
  return null;
}

/**
 * <- e, ee, se. Responder. `message` = e (32) ‖ sealed payload. `opening.noise` then holds the finished handshake, for `split`.
 * Null on an all-zero secret; the caller wipes the opening then.
 */
export function writeSecond(
  c: CryptoProvider,
  opening: FirstMessageOpening,
  ephemeral: DhKey,
  payload: Uint8Array,
): Uint8Array | null {
  const { noise } = opening;
  const message = new Uint8Array(SECOND_MESSAGE_BYTES + payload.length);
  // e
  message.set(ephemeral.publicKey, 0);
  noise.mixHash(ephemeral.publicKey);
  // ee
  if (!mixDh(c, noise, ephemeral.dh(opening.remoteEphemeral))) return null;
  // se
  if (!mixDh(c, noise, ephemeral.dh(opening.remoteStatic))) return null;
  message.set(noise.encryptAndHash(payload), KEY_BYTES);
  return message;
}

export interface SecondMessageInput {
  /** As `writeFirst` left it. Holds the finished handshake afterwards, or is spent; the caller wipes it either way. */
  readonly noise: SymmetricState;
  readonly localStatic: DhKey;
  /** The one that `writeFirst` sent. */
  readonly ephemeral: DhKey;
}

/** <- e, ee, se. Initiator. Gives the payload; null when the message does not verify. */
export function readSecond(c: CryptoProvider, input: SecondMessageInput, message: Uint8Array): Uint8Array | null {
  if (message.length < SECOND_MESSAGE_BYTES) return null;
  const { noise } = input;
  // e
  const remoteEphemeral = new Uint8Array(message.subarray(0, KEY_BYTES)) as PublicKey;
  noise.mixHash(remoteEphemeral);
  // ee
  if (!mixDh(c, noise, input.ephemeral.dh(remoteEphemeral))) return null;
  // se
  if (!mixDh(c, noise, input.localStatic.dh(remoteEphemeral))) return null;
  return noise.decryptAndHash(message.subarray(KEY_BYTES));
}
