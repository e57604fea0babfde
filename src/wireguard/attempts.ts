// Attempts: our side as initiator (paper §6.2–6.4; checklist 3–9). An attempt begins when something wants a session, sends
// a fresh initiation every REKEY_TIMEOUT plus jitter, and ends with a response, with a session that the peer began, or
// REKEY_ATTEMPT_TIME after the last packet that wanted it.

import { after, earliest, elapsedMs, type Instant, latest, NEVER } from '../base/instant.ts';
import { type LocalIndex, Notify, RecordField } from '../dataplane/dataplane.ts';
import {
  CROSSING_HOLD_MS,
  HURRIED_INTERVAL_MS,
  REKEY_ATTEMPT_TIME_MS,
  REKEY_TIMEOUT_JITTER_MS,
  REKEY_TIMEOUT_MS,
} from './constants.ts';
import { type EngineContext, jitterMs, reschedule, timersOf } from './context.ts';
import { consumeResponse, createInitiation } from './handshake.ts';
import { drawEphemeral, drawIndex, memoryOf, staticStaticOf } from './memory.ts';
import type { Attempt, DerivedKeypair, Peer } from './peer.ts';
import type { Sessions } from './sessions.ts';
import { encodeStamp, type TimestampSource } from './tai64n.ts';

const NO_PRESHARED_KEY = new Uint8Array(32);

export class Attempts {
  readonly #context: EngineContext;
  readonly #sessions: Sessions;
  readonly #stamps: TimestampSource;

  constructor(context: EngineContext, sessions: Sessions, stamps: TimestampSource) {
    this.#context = context;
    this.#sessions = sessions;
    this.#stamps = stamps;
  }

  /**
   * Something wants a (new) session. During an attempt this only restarts the give-up clock; otherwise the initiation
   * goes out at once, or REKEY_TIMEOUT after the last handshake message that we sent (checklist 4).
   */
  begin(peer: Peer, now: Instant): void {
    const { running, identity, extension } = this.#context;
    if (!running || identity === null || peer.stopped) return;
    if (peer.endpoint === null && extension === null) return;
    if (peer.attempt !== null) {
      peer.attempt.startedAt = now;
      return;
    }
    peer.attempt = { startedAt: now, pending: null, held: null, hurried: extension !== null };
    this.#sendOrWait(peer, peer.attempt, now);
    extension?.peerChanged(peer);
  }

  /**
   * Mesh peers only: a fresh initiation has better prospects than the one that is out, so it need not wait for REKEY_TIMEOUT.
   * Not while the peer's own handshake, which we have answered, is about to be confirmed.
   */
  hurry(peer: Peer, now: Instant): void {
    const { attempt } = peer;
    if (attempt === null || attempt.held !== null || attempt.hurried || this.#context.extension === null) return;
    attempt.hurried = true;
    this.#sendOrWait(peer, attempt, now);
  }

  /** The retransmission deadline has come. */
  retransmit(peer: Peer, now: Instant): void {
    timersOf(peer).retransmitAt = NEVER;
    const attempt = peer.attempt;
    if (attempt === null) return;
    // Every outbound packet restarts the clock; the plane only stamps it, so the stamps are looked at here.
    const outbound = latest(
      peer.recordedInstant(RecordField.lastStaged),
      peer.recordedInstant(RecordField.lastDataSend),
    );
    attempt.startedAt = latest(attempt.startedAt, outbound);
    if (elapsedMs(attempt.startedAt, now) >= REKEY_ATTEMPT_TIME_MS) {
      this.#giveUp(peer, attempt, now);
      return;
    }
    if (attempt.pending !== null) this.#context.plane.clearSource(peer.slot);
    this.#sendOrWait(peer, attempt, now);
  }

  /** Ends the attempt, if there is one, and wipes what it held. */
  end(peer: Peer): void {
    const attempt = peer.attempt;
    if (attempt === null) return;
    peer.attempt = null;
    this.#dropPending(attempt);
    this.#dropHeld(attempt);
    const timers = timersOf(peer);
    timers.retransmitAt = NEVER;
    timers.crossingAt = NEVER;
    reschedule(this.#context, peer);
    this.#context.extension?.peerChanged(peer);
  }

  /** Our key was replaced: what is in flight was made with the old one. Starts over at once with the new. */
  restart(peer: Peer, now: Instant): void {
    this.end(peer);
    this.begin(peer, now);
  }

  /** True when the message was the answer to our initiation; `accepted` is then called before keys are installed. */
  handleResponse(peer: Peer, message: Uint8Array, accepted: () => void, now: Instant): boolean {
    const attempt = peer.attempt;
    const identity = this.#context.identity;
    if (attempt === null || attempt.pending === null || identity === null) {
      this.#context.counters.drop('unexpectedResponse');
      return false;
    }
    const { localIndex, state } = attempt.pending;
    const presharedKey = peer.presharedKey ?? NO_PRESHARED_KEY;
    const input = { staticKey: identity.key, presharedKey };
    const consumed = consumeResponse(this.#context.crypto, state, input, message);
    if (consumed === null) {
      this.#context.counters.drop('badResponse');
      return false;
    }
    attempt.pending = null;
    accepted();
    this.#context.counters.count('responsesAccepted');
    const keypair = { localIndex, remoteIndex: consumed.remoteIndex, keys: consumed.keys, derivedAt: now };
    if (this.#mustYield(peer, identity.publicKeyHex, now)) this.#hold(peer, attempt, keypair, now);
    else this.#complete(peer, keypair, now);
    return true;
  }

  /** The peer's own handshake, which crossed ours, has not been used in time: ours is used after all. */
  crossingOver(peer: Peer, now: Instant): void {
    timersOf(peer).crossingAt = NEVER;
    const held = peer.attempt?.held ?? null;
    if (peer.attempt === null || held === null) return;
    peer.attempt.held = null;
    this.#complete(peer, held, now);
  }

  /**
   * Both ends began at once, each answered the other: two keypairs. If each used its own, the next renewal would drop the
   * one that the other still sends with. So the end with the greater public key waits for the other's first packet.
   */
  #mustYield(peer: Peer, ownPublicKeyHex: string, now: Instant): boolean {
    const unconfirmed = peer.session?.unconfirmed ?? null;
    if (unconfirmed === null || elapsedMs(unconfirmed.derivedAt, now) >= REKEY_TIMEOUT_MS) return false;
    return ownPublicKeyHex > peer.publicKeyHex;
  }

  #hold(peer: Peer, attempt: Attempt, keypair: DerivedKeypair, now: Instant): void {
    attempt.held = keypair;
    const timers = timersOf(peer);
    timers.retransmitAt = NEVER;
    timers.crossingAt = after(now, CROSSING_HOLD_MS);
    reschedule(this.#context, peer);
  }

  /** The initiator confirms the session at once: with what is staged, or else with a keepalive (checklist 13). */
  #complete(peer: Peer, keypair: DerivedKeypair, now: Instant): void {
    this.end(peer);
    this.#sessions.install(peer, 'initiator', keypair, now);
    const { plane, counters } = this.#context;
    if (plane.flushStaged(peer.slot, now) === 0 && plane.sendKeepalive(peer.slot, now))
      counters.count('keepalivesSent');
  }

  #sendOrWait(peer: Peer, attempt: Attempt, now: Instant): void {
    const allowedAt = this.#allowedAt(peer, attempt);
    const timers = timersOf(peer);
    if (allowedAt <= now) this.#sendInitiation(peer, attempt, now);
    else timers.retransmitAt = attempt.hurried ? earliest(timers.retransmitAt, allowedAt) : allowedAt;
    reschedule(this.#context, peer);
  }

  #allowedAt(peer: Peer, attempt: Attempt): Instant {
    const sentAt = memoryOf(this.#context, peer).lastHandshakeSentAt;
    if (!attempt.hurried) return after(sentAt, REKEY_TIMEOUT_MS);
    const unconfirmed = peer.session?.unconfirmed ?? null;
    const spaced = after(sentAt, HURRIED_INTERVAL_MS);
    return unconfirmed === null ? spaced : latest(spaced, after(unconfirmed.derivedAt, CROSSING_HOLD_MS));
  }

  /** Fresh ephemeral, index and stamp every time: no bytes are ever sent again (checklist 3). */
  #sendInitiation(peer: Peer, attempt: Attempt, now: Instant): void {
    const { plane, crypto, identity, counters } = this.#context;
    this.#dropPending(attempt);
    const memory = memoryOf(this.#context, peer);
    const staticStatic = staticStaticOf(this.#context, memory);
    const localIndex = staticStatic === null ? null : drawIndex(this.#context, peer);
    if (identity === null || staticStatic === null || localIndex === null) {
      this.#impossible(peer, now);
      return;
    }
    memory.sentStamp = this.#stamps.next(this.#context.wallClock(), memory.sentStamp);
    const created = createInitiation(crypto, {
      staticKey: identity.key,
      remoteStatic: memory.remoteStatic,
      staticStatic,
      ephemeral: drawEphemeral(this.#context),
      timestamp: encodeStamp(memory.sentStamp),
      localIndex,
    });
    if (created === null) {
      plane.forgetIndex(localIndex);
      this.#impossible(peer, now);
      return;
    }
    attempt.pending = { localIndex, state: created.state };
    memory.cookies.addMacs(created.message, now);
    memory.lastHandshakeSentAt = now;
    attempt.hurried = false;
    const sent = peer.endpoint !== null && plane.sendHandshake(peer.slot, created.message, now);
    const sentElsewhere = this.#context.extension?.initiationSent(peer, created.message, now) ?? false;
    if (sent || sentElsewhere) counters.count('initiationsSent');
    timersOf(peer).retransmitAt = after(now, REKEY_TIMEOUT_MS + jitterMs(this.#context, REKEY_TIMEOUT_JITTER_MS));
  }

  /** The peer's key is a low-order point (checklist 7) or no index is free: its packets have nowhere to go. */
  #impossible(peer: Peer, now: Instant): void {
    this.end(peer);
    this.#context.plane.dropStaged(peer.slot, { unreachable: true }, now);
    this.#context.plane.rearm(peer.slot, REARM_AFTER_FAILURE, now);
  }

  /** Ninety seconds unanswered: the queue is flushed and the peer waits for the next packet (checklist 5). */
  #giveUp(peer: Peer, attempt: Attempt, now: Instant): void {
    const { plane, counters } = this.#context;
    counters.count('attemptsGivenUp');
    const heard = peer.recordedInstant(RecordField.lastAuthenticatedReceive) >= attempt.startedAt;
    this.end(peer);
    this.#context.extension?.attemptGivenUp(peer, now);
    plane.dropStaged(peer.slot, { unreachable: true }, now);
    if (!heard) this.#sessions.close(peer, now);
    else plane.rearm(peer.slot, REARM_AFTER_FAILURE, now);
  }

  #dropPending(attempt: Attempt): void {
    if (attempt.pending === null) return;
    this.#forget(attempt.pending.localIndex);
    attempt.pending.state.wipe();
    attempt.pending = null;
  }

  #dropHeld(attempt: Attempt): void {
    if (attempt.held === null) return;
    this.#forget(attempt.held.localIndex);
    attempt.held.keys.wipe();
    attempt.held = null;
  }

  #forget(index: LocalIndex): void {
    this.#context.plane.forgetIndex(index);
  }
}

const REARM_AFTER_FAILURE = Notify.sessionWanted | Notify.answerAwaited | Notify.rekeyOnSend | Notify.rekeyOnReceive;
