// The handshake of the paper §5.4.2–5.4.5: Noise IKpsk2 (src/noise/ikpsk2.ts) framed as WireGuard messages. Pure: ephemeral
// keys, indexes and time stamps are passed in, macs are added by cookie.ts. The responder works in steps so that the
// peer can be looked up, and a replay or flood turned away, between them:
//
//   createInitiation ─── 148 B ──▶ peekInitiation → whose? → finishInitiation → stamp, flood → createResponse
//   consumeResponse  ◀── 92 B ───────────────────────────────────────────────────────────────────┘
//
// What is given back owns secrets: `wipe` it on every way out that does not pass it on.

import { assert } from '../base/assert.ts';
import type { CryptoProvider, DhKey, PublicKey } from '../crypto/provider.ts';
import type { LocalIndex } from '../dataplane/dataplane.ts';
import * as ikpsk2 from '../noise/ikpsk2.ts';
import type { SymmetricState } from '../noise/symmetric-state.ts';
import { IDENTIFIER } from './constants.ts';
import {
  classify,
  frameInitiation,
  frameResponse,
  INITIATION_BYTES,
  INITIATION_NOISE,
  MessageType,
  mac1Offset,
  RESPONSE_BYTES,
  RESPONSE_NOISE,
  receiverIndex,
  senderIndex,
} from './messages.ts';
import { TAI64N_BYTES } from './tai64n.ts';

const NO_PAYLOAD = new Uint8Array(0);
const PRESHARED_KEY_BYTES = 32;

/** Two 32-byte keys of one session, from our side. Owned; wipe after the data plane has copied them. */
export interface HandshakeKeys {
  readonly sendKey: Uint8Array;
  readonly receiveKey: Uint8Array;
  wipe(): void;
}

/** A sent initiation that waits for its response. Owns its ephemeral key. */
export interface InitiatorState {
  readonly localIndex: LocalIndex;
  /** For this module alone. */
  readonly noise: SymmetricState;
  readonly ephemeral: DhKey;
  wipe(): void;
}

/** An initiation whose sender is named but not proved. */
export interface InitiationPeek {
  /** Anyone who knows our public key can name any key here: look the peer up, believe nothing yet. */
  readonly remoteStatic: PublicKey;
  /** The initiator's index for the session. */
  readonly remoteIndex: number;
  /** For this module alone. */
  readonly opening: ikpsk2.FirstMessageOpening;
  readonly message: Uint8Array;
  wipe(): void;
}

/** An authenticated initiation that waits for our response. It may be a replay until its stamp has been compared. */
export interface ResponderState {
  readonly remoteStatic: PublicKey;
  readonly remoteIndex: number;
  /** 12 bytes, TAI64N as sent; a copy. */
  readonly timestamp: Uint8Array;
  /** For this module alone. */
  readonly opening: ikpsk2.FirstMessageOpening;
  wipe(): void;
}

function handshakeKeys(c: CryptoProvider, sendKey: Uint8Array, receiveKey: Uint8Array): HandshakeKeys {
  return { sendKey, receiveKey, wipe: () => c.wipe(sendKey, receiveKey) };
}

export interface InitiationInput {
  readonly staticKey: DhKey;
  readonly remoteStatic: PublicKey;
  /** `staticKey.dh(remoteStatic)`, computed once per peer; borrowed. */
  readonly staticStatic: Uint8Array;
  /** Fresh for every initiation, retries included. Taken over: wiped with the state, or here on failure. */
  readonly ephemeral: DhKey;
  /** 12 bytes, greater than any sent to this peer before. */
  readonly timestamp: Uint8Array;
  /** Fresh from the index table, retries included. */
  readonly localIndex: LocalIndex;
}

/** 148 bytes with zero macs (see `CookieGenerator.addMacs`); null when the peer's key is a low-order point. */
export function createInitiation(
  c: CryptoProvider,
  input: InitiationInput,
): { readonly message: Uint8Array; readonly state: InitiatorState } | null {
  const { ephemeral, localIndex } = input;
  assert(input.timestamp.length === TAI64N_BYTES, 'a TAI64N stamp is 12 bytes');
  const { staticKey: localStatic, remoteStatic, staticStatic, timestamp: payload } = input;
  const first = ikpsk2.writeFirst(c, {
    prologue: IDENTIFIER,
    localStatic,
    remoteStatic,
    staticStatic,
    ephemeral,
    payload,
  });
  if (first === null) {
    ephemeral.wipe();
    return null;
  }
  const { noise } = first;
  const wipe = (): void => {
    noise.wipe();
    ephemeral.wipe();
  };
  return { message: frameInitiation(localIndex, first.message), state: { localIndex, noise, ephemeral, wipe } };
}

/**
 * Opens the static key of an initiation: one DH. `message` is borrowed until `finishInitiation` or `wipe`. Null when it
 * is no initiation or was not made for our public key.
 */
export function peekInitiation(c: CryptoProvider, staticKey: DhKey, message: Uint8Array): InitiationPeek | null {
  if (classify(message) !== MessageType.initiation) return null;
  const noiseMessage = message.subarray(INITIATION_NOISE, mac1Offset(INITIATION_BYTES));
  const opening = ikpsk2.readFirstStatic(c, IDENTIFIER, staticKey, noiseMessage);
  if (opening === null) return null;
  return {
    remoteStatic: opening.remoteStatic,
    remoteIndex: senderIndex(message),
    opening,
    message: noiseMessage,
    wipe: () => opening.noise.wipe(),
  };
}

/**
 * Proves the sender, given the static-static secret of the peer that `remoteStatic` named: no DH. Uses the peek up, also
 * on failure (null: a forgery).
 */
export function finishInitiation(peek: InitiationPeek, staticStatic: Uint8Array): ResponderState | null {
  const { opening } = peek;
  const timestamp = ikpsk2.readFirstPayload(opening, staticStatic, peek.message);
  if (timestamp === null) {
    peek.wipe();
    return null;
  }
  return {
    remoteStatic: peek.remoteStatic,
    remoteIndex: peek.remoteIndex,
    timestamp,
    opening,
    wipe: () => opening.noise.wipe(),
  };
}

export interface ResponseInput {
  /** 32 bytes, all zeros when unset; borrowed. */
  readonly presharedKey: Uint8Array;
  /** Fresh. Used up: wiped here. */
  readonly ephemeral: DhKey;
  /** Fresh from the index table. */
  readonly localIndex: LocalIndex;
}

/**
 * 92 bytes with zero macs (see `CookieGenerator.addMacs`) and the session's keys; two DHs. Uses `state` up, also on
 * failure (null: an all-zero secret).
 */
export function createResponse(
  c: CryptoProvider,
  state: ResponderState,
  input: ResponseInput,
): { readonly message: Uint8Array; readonly keys: HandshakeKeys } | null {
  const { ephemeral, localIndex, presharedKey } = input;
  assert(presharedKey.length === PRESHARED_KEY_BYTES, 'a preshared key is 32 bytes');
  const noiseMessage = ikpsk2.writeSecond(c, state.opening, ephemeral, presharedKey, NO_PAYLOAD);
  ephemeral.wipe();
  if (noiseMessage === null) {
    state.wipe();
    return null;
  }
  const [receiveKey, sendKey] = state.opening.noise.split();
  state.wipe();
  const message = frameResponse(localIndex, state.remoteIndex, noiseMessage);
  return { message, keys: handshakeKeys(c, sendKey, receiveKey) };
}

export interface ConsumeResponseInput {
  /** The key that the initiation was made with. */
  readonly staticKey: DhKey;
  /** 32 bytes, all zeros when unset; borrowed. */
  readonly presharedKey: Uint8Array;
}

/**
 * The session's keys and the responder's index; two DHs. On success `state` is wiped. Null, and `state` as it was, when the
 * message is not the answer to it: forgeries must not end a handshake.
 */
export function consumeResponse(
  c: CryptoProvider,
  state: InitiatorState,
  input: ConsumeResponseInput,
  message: Uint8Array,
): { readonly keys: HandshakeKeys; readonly remoteIndex: number } | null {
  if (classify(message) !== MessageType.response || receiverIndex(message) !== state.localIndex) return null;
  const { staticKey: localStatic, presharedKey } = input;
  assert(presharedKey.length === PRESHARED_KEY_BYTES, 'a preshared key is 32 bytes');
  const second = ikpsk2.readSecond(
    c,
    { noise: state.noise, localStatic, ephemeral: state.ephemeral, presharedKey },
    message.subarray(RESPONSE_NOISE, mac1Offset(RESPONSE_BYTES)),
  );
  if (second === null) return null;
  const [sendKey, receiveKey] = second.noise.split();
  second.noise.wipe();
  state.wipe();
  return { keys: handshakeKeys(c, sendKey, receiveKey), remoteIndex: senderIndex(message) };
}
