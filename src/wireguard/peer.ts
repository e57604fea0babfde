// One peer as the engine knows it: configuration, what is remembered of its handshakes, and the two things that may be
// alive: an attempt (we are initiating) and a session (keys are installed). Data only; attempts.ts, answers.ts, sessions.ts and timers.ts act
// on it. A peer that was added and never used holds no key material, no timer and no buffer beyond its public key.

import { elapsedMs, type Instant, NEVER, UNSET, type WallTime } from '../base/instant.ts';
import type { Endpoint } from '../base/ip.ts';
import type { PublicKey, SymmetricKey } from '../crypto/provider.ts';
import { type LocalIndex, type PeerSlot, RecordField } from '../dataplane/dataplane.ts';
import { REJECT_AFTER_TIME_MS } from './constants.ts';
import type { CookieGenerator } from './cookie.ts';
import type { Scheduled } from './deadlines.ts';
import type { HandshakeKeys, InitiatorState } from './handshake.ts';
import type { StampTicks } from './tai64n.ts';

/** What is remembered of a peer's handshakes for as long as the peer exists; made when the first one begins. */
export interface HandshakeMemory {
  readonly remoteStatic: PublicKey;
  /** DH(our static, theirs), made on first use and again when our key changes; null = not made. */
  staticStatic: Uint8Array | null;
  readonly cookies: CookieGenerator;
  /** Greatest TAI64N stamp accepted from the peer (12 bytes); null = none yet. Kept for the life of the peer. */
  greatestStamp: Uint8Array | null;
  /** The last stamp sent to it. */
  sentStamp: StampTicks;
  /** When the last valid initiation was accepted, for the 20 ms flood limit. */
  lastInitiationAcceptedAt: Instant;
  /** When we last sent an initiation or a response: no initiation goes out within REKEY_TIMEOUT of it. */
  lastHandshakeSentAt: Instant;
}

/** An unanswered initiation of ours. */
export interface PendingInitiation {
  readonly localIndex: LocalIndex;
  readonly state: InitiatorState;
}

/** A running attempt to make a session. The give-up clock starts anew with every outbound packet. */
export interface Attempt {
  startedAt: Instant;
  /** Null until the first initiation has gone out (it may have to wait out REKEY_TIMEOUT). */
  pending: PendingInitiation | null;
  /** Keys from a response that crossed an initiation of the peer's: see attempts.ts, `#mustYield`. */
  held: DerivedKeypair | null;
  /** The next initiation waits out HURRIED_INTERVAL instead of REKEY_TIMEOUT. Never set without an extension. */
  hurried: boolean;
}

/** What a finished handshake gives, before it is installed. Owns its keys. */
export interface DerivedKeypair {
  readonly localIndex: LocalIndex;
  readonly remoteIndex: number;
  readonly keys: HandshakeKeys;
  readonly derivedAt: Instant;
}

/** Keys are installed in the plane. */
export interface Session {
  /** When the session began; renewals do not move it. */
  readonly openedAt: Instant;
  /** When the keypair that we send with was derived; null while we have only answered and wait for the first packet. */
  derivedAt: Instant | null;
  /** The keypair that we answered for and that its initiator has not used yet. */
  unconfirmed: AnsweredKeypair | null;
  /** The one that we answered for before it: the plane may have seen it used while the word of that is still on its way. */
  overtaken: AnsweredKeypair | null;
}

export interface AnsweredKeypair {
  readonly localIndex: LocalIndex;
  readonly derivedAt: Instant;
}

export type PeerState =
  | { readonly kind: 'idle' }
  | { readonly kind: 'connecting'; readonly attempt: Attempt | null }
  | { readonly kind: 'established'; readonly session: Session };

export class Peer {
  readonly publicKeyHex: string;
  readonly slot: PeerSlot;
  readonly #record: Float64Array;
  readonly #recordOffset: number;

  endpoint: Endpoint | null = null;
  presharedKey: SymmetricKey | null = null;
  persistentKeepaliveSeconds = 0;
  /** Set while a change of the interval waits for the end of the peer's lines in a configuration. */
  persistentKeepaliveChanged = false;

  /** Wall time of the last completed handshake; the responder's completes at confirmation. */
  lastHandshake: WallTime | null = null;
  memory: HandshakeMemory | null = null;
  attempt: Attempt | null = null;
  session: Session | null = null;
  timers: PeerTimers | null = null;
  /** Set when the peer is stopped, so that nothing that still refers to it acts. */
  stopped = false;

  constructor(publicKeyHex: string, slot: PeerSlot, record: { view: Float64Array; offset: number }) {
    this.publicKeyHex = publicKeyHex;
    this.slot = slot;
    this.#record = record.view;
    this.#recordOffset = record.offset;
  }

  /** A field of the record that the plane shares (RecordField); no call is made. */
  recorded(field: number): number {
    return this.#record[this.#recordOffset + field] as number;
  }

  recordedInstant(field: number): Instant {
    return this.recorded(field) as Instant;
  }

  get staged(): number {
    return this.recorded(RecordField.staged);
  }

  /** What a person is told: established while a keypair works, connecting while one is wanted. */
  state(now: Instant): PeerState {
    const session = this.session;
    const lives = (derivedAt: Instant | undefined | null): boolean =>
      derivedAt !== undefined && derivedAt !== null && elapsedMs(derivedAt, now) < REJECT_AFTER_TIME_MS;
    if (session !== null && lives(session.derivedAt)) return { kind: 'established', session };
    if (this.attempt !== null || lives(session?.unconfirmed?.derivedAt)) {
      return { kind: 'connecting', attempt: this.attempt };
    }
    return { kind: 'idle' };
  }
}

/** The peer's deadlines, each NEVER when it is not set; timers.ts says what each means. */
export class PeerTimers implements Scheduled {
  readonly peer: Peer;
  heapIndex = -1;
  dueAt: Instant = NEVER;

  retransmitAt: Instant = NEVER;
  passiveKeepaliveAt: Instant = NEVER;
  newHandshakeAt: Instant = NEVER;
  zeroKeysAt: Instant = NEVER;
  persistentKeepaliveAt: Instant = NEVER;
  idleCloseAt: Instant = NEVER;
  crossingAt: Instant = NEVER;

  /** Set while a second round of passive keepalive is due because data came in during the first; when it began. */
  anotherKeepaliveSince: Instant = UNSET;
  /** Jitter of the newHandshake deadline that is set now, in ms. */
  newHandshakeJitterMs = 0;

  constructor(peer: Peer) {
    this.peer = peer;
  }

  earliest(): Instant {
    return Math.min(
      this.retransmitAt,
      this.passiveKeepaliveAt,
      this.newHandshakeAt,
      this.zeroKeysAt,
      this.persistentKeepaliveAt,
      this.idleCloseAt,
      this.crossingAt,
    ) as Instant;
  }

  clear(): void {
    this.retransmitAt = NEVER;
    this.passiveKeepaliveAt = NEVER;
    this.newHandshakeAt = NEVER;
    this.zeroKeysAt = NEVER;
    this.persistentKeepaliveAt = NEVER;
    this.idleCloseAt = NEVER;
    this.crossingAt = NEVER;
    this.anotherKeepaliveSince = UNSET;
  }
}
