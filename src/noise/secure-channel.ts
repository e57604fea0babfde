// Messages over Noise IK over a transport that keeps frames whole and in order (binary frames of a WebSocket). Sans-IO:
// frames in, messages out, and `nextFrame` pulls what is to be sent. The first frame of each side is its message of the
// handshake, with an empty payload; every later one is a transport message of at most 65,535 bytes:
//
//   plaintext = flags (1 byte) ‖ a piece of a message;  bit 0: more follows; bit 1, on the last piece: the message is deflated
//
// Every piece but the last is full, so a message has one spelling and needs no more pieces than it must. (De)compression is
// the caller's. Whatever is wrong ends in the one state `failed` with a reason; nothing that is received throws.

import { assert } from '../base/assert.ts';
import type { Brand } from '../base/brand.ts';
import { concat } from '../base/bytes.ts';
import type { RandomSource } from '../base/prng.ts';
import type { CryptoProvider, DhKey, PublicKey } from '../crypto/provider.ts';
import { FIRST_MESSAGE_BYTES, readFirst, readSecond, SECOND_MESSAGE_BYTES, writeFirst, writeSecond } from './ik.ts';
import type { SymmetricState } from './symmetric-state.ts';
import { NOISE_MESSAGE_BYTES_MAX, splitTransport, TAG_BYTES, type Transport } from './transport.ts';

export const FRAME_BYTES_MAX = NOISE_MESSAGE_BYTES_MAX;
const PLAINTEXT_BYTES_MAX = FRAME_BYTES_MAX - TAG_BYTES;
/** Of a message, in one frame. */
export const PIECE_BYTES_MAX = PLAINTEXT_BYTES_MAX - 1;

const FLAG_MORE = 1;
const FLAG_DEFLATED = 2;

const KEY_BYTES = 32;
const NOTHING = new Uint8Array(0);

export const CHANNEL_FAILURES = [
  'handshakeMalformed', // the first frame has the wrong length
  'handshakeForged', // it does not verify: another key than ours was meant, or the answer is not from whom we asked
  'weakKey', // a shared secret is all zeros
  'frameMalformed', // a transport frame is empty or too long
  'frameForged',
  'flagsUnknown',
  'pieceShort', // more was to follow a piece that is not full
  'messageTooLong',
  'noncesUsedUp',
] as const;
export type ChannelFailure = (typeof CHANNEL_FAILURES)[number];

export type ChannelState = 'handshaking' | 'open' | 'failed' | 'closed';

/** A message cut into the plaintexts of its frames, one behind the other. Never changed: any number of channels may send it. */
export type LaidOutMessage = Brand<Uint8Array, 'LaidOutMessage'>;

export interface ReceivedMessage {
  /** The receiver's own. */
  readonly bytes: Uint8Array;
  readonly deflated: boolean;
}

export interface ChannelLimits {
  /** Of a message that is received, before it is inflated. */
  readonly receiveBytesMax: number;
  /** Of all that waits to be sent, as it lies in memory. */
  readonly queueBytesMax: number;
  readonly queueMessagesMax: number;
}

export interface ChannelOptions {
  readonly crypto: CryptoProvider;
  readonly random: RandomSource;
  readonly prologue: Uint8Array;
  readonly localStatic: DhKey;
  readonly limits: ChannelLimits;
}

/** Cuts `bytes` (borrowed) into pieces with their flags. */
export function layOut(bytes: Uint8Array, deflated: boolean): LaidOutMessage {
  const pieces = Math.max(1, Math.ceil(bytes.length / PIECE_BYTES_MAX));
  const laidOut = new Uint8Array(bytes.length + pieces);
  for (let i = 0; i < pieces; i++) {
    const last = i === pieces - 1;
    laidOut[i * PLAINTEXT_BYTES_MAX] = last ? (deflated ? FLAG_DEFLATED : 0) : FLAG_MORE;
    laidOut.set(bytes.subarray(i * PIECE_BYTES_MAX, (i + 1) * PIECE_BYTES_MAX), i * PLAINTEXT_BYTES_MAX + 1);
  }
  return laidOut as LaidOutMessage;
}

/** What a side of the handshake keeps until it is done. */
type Handshake =
  | { readonly role: 'initiator'; readonly noise: SymmetricState; readonly ephemeral: DhKey }
  | { readonly role: 'responder' };

export class SecureChannel {
  readonly #options: ChannelOptions;
  #state: ChannelState = 'handshaking';
  #failure: ChannelFailure | null = null;
  #handshake: Handshake | null;
  /** Our message of the handshake, until it is pulled. */
  #handshakeFrame: Uint8Array | null = null;
  #remoteStatic: PublicKey | null = null;
  #transport: Transport | null = null;
  #confirmed = false;
  /** Plaintexts of the pieces so far, flags included. */
  #pieces: Uint8Array[] = [];
  #piecesBytes = 0;
  #queue: LaidOutMessage[] = [];
  /** In the first of the queue. */
  #sentBytes = 0;
  #queuedBytes = 0;

  /** The side that connects; its message of the handshake is there to be pulled at once. */
  static initiator(options: ChannelOptions, remoteStatic: PublicKey): SecureChannel {
    const { crypto: c, prologue, localStatic } = options;
    const ephemeral = freshKey(options);
    const first = writeFirst(c, { prologue, localStatic, remoteStatic, ephemeral, payload: NOTHING });
    if (first === null) {
      ephemeral.wipe();
      const channel = new SecureChannel(options, null);
      channel.#fail('weakKey');
      return channel;
    }
    const channel = new SecureChannel(options, { role: 'initiator', noise: first.noise, ephemeral });
    channel.#handshakeFrame = first.message;
    channel.#remoteStatic = remoteStatic;
    return channel;
  }

  /** The side that is connected to. */
  static responder(options: ChannelOptions): SecureChannel {
    return new SecureChannel(options, { role: 'responder' });
  }

  private constructor(options: ChannelOptions, handshake: Handshake | null) {
    this.#options = options;
    this.#handshake = handshake;
  }

  get state(): ChannelState {
    return this.#state;
  }

  /** Why the state is `failed`. */
  get failure(): ChannelFailure | null {
    return this.#failure;
  }

  /** The other side's static key; a responder knows it once it is open. */
  get remoteStatic(): PublicKey | null {
    return this.#remoteStatic;
  }

  /** Whether the other side has proved to be there now: a first message of the handshake alone may be a replay. */
  get confirmed(): boolean {
    return this.#confirmed;
  }

  /** What waits to be sent and was not pulled yet. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** `frame` is borrowed. A message, when this frame completes one; otherwise see `state`. */
  handleFrame(frame: Uint8Array): ReceivedMessage | null {
    switch (this.#state) {
      case 'handshaking':
        this.#handleHandshake(frame);
        return null;
      case 'open':
        return this.#handlePiece(frame);
      default:
        return null;
    }
  }

  /** Queues a message, also before the channel is open. False when it does not fit or the channel is over. */
  send(message: LaidOutMessage): boolean {
    if (this.#state === 'failed' || this.#state === 'closed') return false;
    const { queueBytesMax, queueMessagesMax } = this.#options.limits;
    if (this.#queue.length >= queueMessagesMax || this.#queuedBytes + message.length > queueBytesMax) return false;
    this.#queue.push(message);
    this.#queuedBytes += message.length;
    return true;
  }

  /** The next frame for the wire, the caller's own; null when there is none now. */
  nextFrame(): Uint8Array | null {
    if (this.#handshakeFrame !== null) {
      const frame = this.#handshakeFrame;
      this.#handshakeFrame = null;
      return frame;
    }
    const message = this.#queue[0];
    if (this.#transport === null || message === undefined) return null;
    const plaintext = message.subarray(this.#sentBytes, this.#sentBytes + PLAINTEXT_BYTES_MAX);
    const frame = this.#transport.sending.encrypt(plaintext);
    if (frame === null) {
      this.#fail('noncesUsedUp');
      return null;
    }
    this.#sentBytes += plaintext.length;
    this.#queuedBytes -= plaintext.length;
    if (this.#sentBytes === message.length) {
      this.#queue.shift();
      this.#sentBytes = 0;
    }
    return frame;
  }

  /** Zeroes the keys and drops what waits; nothing comes in or out any more. */
  close(): void {
    if (this.#state === 'closed') return;
    if (this.#state !== 'failed') this.#state = 'closed';
    this.#release();
  }

  // — handshake —

  #handleHandshake(frame: Uint8Array): void {
    const handshake = this.#handshake;
    assert(handshake !== null, 'a handshake is under way');
    const failure = handshake.role === 'initiator' ? this.#handleSecond(handshake, frame) : this.#handleFirst(frame);
    if (failure !== null) this.#fail(failure);
  }

  #handleFirst(frame: Uint8Array): ChannelFailure | null {
    const { crypto: c, prologue, localStatic } = this.#options;
    if (frame.length < FIRST_MESSAGE_BYTES || frame.length > FRAME_BYTES_MAX) return 'handshakeMalformed';
    const opening = readFirst(c, prologue, localStatic, frame);
    if (opening === null) return 'handshakeForged';
    const ephemeral = freshKey(this.#options);
    const answer = writeSecond(c, opening, ephemeral, NOTHING);
    ephemeral.wipe();
    if (answer === null) {
      opening.noise.wipe();
      return 'weakKey';
    }
    this.#remoteStatic = opening.remoteStatic;
    this.#handshakeFrame = answer;
    this.#open(opening.noise, 'responder');
    return null;
  }

  #handleSecond(handshake: Handshake & { role: 'initiator' }, frame: Uint8Array): ChannelFailure | null {
    const { crypto: c, localStatic } = this.#options;
    const { noise, ephemeral } = handshake;
    if (frame.length < SECOND_MESSAGE_BYTES || frame.length > FRAME_BYTES_MAX) return 'handshakeMalformed';
    if (readSecond(c, { noise, localStatic, ephemeral }, frame) === null) return 'handshakeForged';
    ephemeral.wipe();
    // `ee` is in it: it was made for the ephemeral of this handshake.
    this.#confirmed = true;
    this.#open(noise, 'initiator');
    return null;
  }

  #open(noise: SymmetricState, role: 'initiator' | 'responder'): void {
    this.#transport = splitTransport(this.#options.crypto, noise, role);
    this.#handshake = null;
    this.#state = 'open';
  }

  // — messages —

  #handlePiece(frame: Uint8Array): ReceivedMessage | null {
    const transport = this.#transport;
    assert(transport !== null, 'an open channel has keys');
    if (frame.length <= TAG_BYTES || frame.length > FRAME_BYTES_MAX) return this.#refuse('frameMalformed');
    const plaintext = transport.receiving.decrypt(frame);
    if (plaintext === null) return this.#refuse('frameForged');
    this.#confirmed = true;

    const flags = plaintext[0] as number;
    const more = (flags & FLAG_MORE) !== 0;
    if (flags > (FLAG_MORE | FLAG_DEFLATED) || flags === (FLAG_MORE | FLAG_DEFLATED))
      return this.#refuse('flagsUnknown');
    if (more && plaintext.length !== PLAINTEXT_BYTES_MAX) return this.#refuse('pieceShort');
    this.#piecesBytes += plaintext.length - 1;
    if (this.#piecesBytes > this.#options.limits.receiveBytesMax) return this.#refuse('messageTooLong');
    this.#pieces.push(plaintext.subarray(1));
    if (more) return null;

    const bytes = this.#pieces.length === 1 ? (this.#pieces[0] as Uint8Array) : concat(...this.#pieces);
    this.#pieces = [];
    this.#piecesBytes = 0;
    return { bytes, deflated: (flags & FLAG_DEFLATED) !== 0 };
  }

  #refuse(reason: ChannelFailure): null {
    this.#fail(reason);
    return null;
  }

  #fail(reason: ChannelFailure): void {
    this.#state = 'failed';
    this.#failure = reason;
    this.#release();
  }

  #release(): void {
    if (this.#handshake?.role === 'initiator') {
      this.#handshake.noise.wipe();
      this.#handshake.ephemeral.wipe();
    }
    this.#handshake = null;
    this.#handshakeFrame = null;
    this.#transport?.sending.wipe();
    this.#transport?.receiving.wipe();
    this.#transport = null;
    this.#pieces = [];
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#sentBytes = 0;
  }
}

function freshKey(options: ChannelOptions): DhKey {
  const seed = new Uint8Array(KEY_BYTES);
  options.random(seed);
  const key = options.crypto.importPrivateKey(seed);
  options.crypto.wipe(seed);
  return key;
}
