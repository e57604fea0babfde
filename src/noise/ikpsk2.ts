// The handshake pattern IKpsk2 of the Noise Protocol Framework, revision 34, §7.5 and §9:
//
//   <- s
//   ...
//   -> e, es, s, ss
//   <- e, ee, se, psk
//
// One function per message and side, each headed by its tokens. In a psk pattern the token `e` mixes the ephemeral into the
// key as well as into the hash (§9.2). Ephemerals and the static-static secret are made by the caller, who may cache
// the latter. All-zero shared secrets end the handshake. Message framing is the protocol's (src/wireguard/handshake.ts).

import { ascii } from '../base/bytes.ts';
import type { CryptoProvider, DhKey, PublicKey } from '../crypto/provider.ts';
import { initializeIk, mixDh } from './ik-pattern.ts';
import type { SymmetricState } from './symmetric-state.ts';

const PROTOCOL_NAME = ascii('Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s');

const KEY_BYTES = 32;
const TAG_BYTES = 16;
const SEALED_KEY_BYTES = KEY_BYTES + TAG_BYTES;

export interface FirstMessageInput {
  readonly prologue: Uint8Array;
  /** `s`: the initiator's. */
  readonly localStatic: DhKey;
  /** `rs`: the responder's, known beforehand. */
  readonly remoteStatic: PublicKey;
  /** DH(s, rs), borrowed. */
  readonly staticStatic: Uint8Array;
  /** `e`: fresh for each message; it is used again to read the answer. */
  readonly ephemeral: DhKey;
  readonly payload: Uint8Array;
}

/** -> e, es, s, ss. Initiator. `message` = e (32) ‖ sealed s (48) ‖ sealed payload. Null on an all-zero secret. */
export function writeFirst(
  c: CryptoProvider,
  input: FirstMessageInput,
): { readonly message: Uint8Array; readonly noise: SymmetricState } | null {
  const { ephemeral, localStatic, remoteStatic } = input;
  const noise = initializeIk(c, PROTOCOL_NAME, input.prologue, remoteStatic);
  const message = new Uint8Array(KEY_BYTES + SEALED_KEY_BYTES + input.payload.length + TAG_BYTES);
  // e
  message.set(ephemeral.publicKey, 0);
  noise.mixHash(ephemeral.publicKey);
  noise.mixKey(ephemeral.publicKey);
  // es
  if (!mixDh(c, noise, ephemeral.dh(remoteStatic))) {
    noise.wipe();
    return null;
  }
  // s
  message.set(noise.encryptAndHash(localStatic.publicKey), KEY_BYTES);
  // ss
  noise.mixKey(input.staticStatic);
  message.set(noise.encryptAndHash(input.payload), KEY_BYTES + SEALED_KEY_BYTES);
  return { message, noise };
}

/** What the responder has after `e, es, s`: whom the message claims to be from. `noise` belongs to the holder. */
export interface FirstMessageOpening {
  readonly noise: SymmetricState;
  /** `re`, a copy. */
  readonly remoteEphemeral: PublicKey;
  /** `rs`. Not yet authenticated: anyone who knows our public key can name it. */
  readonly remoteStatic: PublicKey;
}

/** -> e, es, s. Responder, first half: up to the initiator's static key. Null when it does not verify. */
export function readFirstStatic(
  c: CryptoProvider,
  prologue: Uint8Array,
  localStatic: DhKey,
  message: Uint8Array,
): FirstMessageOpening | null {
  if (message.length < KEY_BYTES + SEALED_KEY_BYTES + TAG_BYTES) return null;
  const noise = initializeIk(c, PROTOCOL_NAME, prologue, localStatic.publicKey);
  // e
  const remoteEphemeral = new Uint8Array(message.subarray(0, KEY_BYTES)) as PublicKey;
  noise.mixHash(remoteEphemeral);
  noise.mixKey(remoteEphemeral);
  // es
  const mixed = mixDh(c, noise, localStatic.dh(remoteEphemeral));
  // s
  const sealed = message.subarray(KEY_BYTES, KEY_BYTES + SEALED_KEY_BYTES);
  const remoteStatic = mixed ? (noise.decryptAndHash(sealed) as PublicKey | null) : null;
  if (remoteStatic === null) {
    noise.wipe();
    return null;
  }
  return { noise, remoteEphemeral, remoteStatic };
}

/**
 * -> ss. Responder, second half, with the claimed peer's DH(s, rs). Gives the payload; now the peer is authenticated
 * (but the message may be a replay). Null when it does not verify; the opening is spent then and the caller wipes it.
 */
export function readFirstPayload(
  opening: FirstMessageOpening,
  staticStatic: Uint8Array,
  message: Uint8Array,
): Uint8Array | null {
  // ss
  opening.noise.mixKey(staticStatic);
  return opening.noise.decryptAndHash(message.subarray(KEY_BYTES + SEALED_KEY_BYTES));
}

/**
 * <- e, ee, se, psk. Responder. `message` = e (32) ‖ sealed payload. `opening.noise` then holds the finished handshake, for
 * `split`. Null on an all-zero secret; the opening is spent then and the caller wipes it.
 */
export function writeSecond(
  c: CryptoProvider,
  opening: FirstMessageOpening,
  ephemeral: DhKey,
  presharedKey: Uint8Array,
  payload: Uint8Array,
): Uint8Array | null {
  const { noise } = opening;
  const message = new Uint8Array(KEY_BYTES + payload.length + TAG_BYTES);
  // e
  message.set(ephemeral.publicKey, 0);
  noise.mixHash(ephemeral.publicKey);
  noise.mixKey(ephemeral.publicKey);
  // ee
  if (!mixDh(c, noise, ephemeral.dh(opening.remoteEphemeral))) return null;
  // se
  if (!mixDh(c, noise, ephemeral.dh(opening.remoteStatic))) return null;
  // psk
  noise.mixKeyAndHash(presharedKey);
  message.set(noise.encryptAndHash(payload), KEY_BYTES);
  return message;
}

export interface SecondMessageInput {
  /** As `writeFirst` left it; stays untouched, so that a forged answer does not end the handshake. */
  readonly noise: SymmetricState;
  readonly localStatic: DhKey;
  /** The one that `writeFirst` sent. */
  readonly ephemeral: DhKey;
  readonly presharedKey: Uint8Array;
}

/** <- e, ee, se, psk. Initiator. Gives a new, finished state for `split`. Null when the message does not verify. */
export function readSecond(
  c: CryptoProvider,
  input: SecondMessageInput,
  message: Uint8Array,
): { readonly noise: SymmetricState; readonly payload: Uint8Array } | null {
  if (message.length < KEY_BYTES + TAG_BYTES) return null;
  const noise = input.noise.clone();
  // e
  const remoteEphemeral = new Uint8Array(message.subarray(0, KEY_BYTES)) as PublicKey;
  noise.mixHash(remoteEphemeral);
  noise.mixKey(remoteEphemeral);
  // ee, se
  const mixed =
    mixDh(c, noise, input.ephemeral.dh(remoteEphemeral)) && mixDh(c, noise, input.localStatic.dh(remoteEphemeral));
  if (mixed) {
    // psk
    noise.mixKeyAndHash(input.presharedKey);
    const payload = noise.decryptAndHash(message.subarray(KEY_BYTES));
    if (payload !== null) return { noise, payload };
  }
  noise.wipe();
  return null;
}
