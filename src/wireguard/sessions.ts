// Sessions: what follows from a finished handshake. Installs keypairs in the plane with the limits of the paper §6, keeps
// what the engine itself has to know of them, and closes them. Rotation of previous, current and next is the plane's.

import { after, type Instant, NEVER, UNSET } from '../base/instant.ts';
import { Notify } from '../dataplane/dataplane.ts';
import {
  REJECT_AFTER_MESSAGES,
  REJECT_AFTER_TIME_MS,
  REKEY_AFTER_MESSAGES,
  REKEY_AFTER_TIME_MS,
  REKEY_ON_RECEIVE_TIME_MS,
  ZERO_KEYS_TIME_MS,
} from './constants.ts';
import { type EngineContext, reschedule, timersOf } from './context.ts';
import type { DerivedKeypair, Peer } from './peer.ts';

export class Sessions {
  readonly #context: EngineContext;

  constructor(context: EngineContext) {
    this.#context = context;
  }

  /** Takes over and wipes the keys of `keypair`. The initiator may send with it at once. */
  install(peer: Peer, role: 'initiator' | 'responder', keypair: DerivedKeypair, now: Instant): void {
    const initiator = role === 'initiator';
    this.#context.plane.installKeypair(peer.slot, {
      localIndex: keypair.localIndex,
      remoteIndex: keypair.remoteIndex,
      sendKey: keypair.keys.sendKey,
      receiveKey: keypair.keys.receiveKey,
      role,
      rejectAt: after(keypair.derivedAt, REJECT_AFTER_TIME_MS),
      rekeyOnSendAt: initiator ? after(keypair.derivedAt, REKEY_AFTER_TIME_MS) : NEVER,
      rekeyOnReceiveAt: initiator ? after(keypair.derivedAt, REKEY_ON_RECEIVE_TIME_MS) : NEVER,
      rekeyAfterMessages: REKEY_AFTER_MESSAGES,
      rejectAfterMessages: REJECT_AFTER_MESSAGES,
    });
    keypair.keys.wipe();
    peer.session ??= { openedAt: now, derivedAt: null, unconfirmed: null, overtaken: null };
    peer.session.overtaken = initiator ? null : peer.session.unconfirmed;
    peer.session.unconfirmed = initiator ? null : { localIndex: keypair.localIndex, derivedAt: keypair.derivedAt };
    if (initiator) this.#works(peer, keypair.derivedAt, now);

    const timers = timersOf(peer);
    timers.zeroKeysAt = after(now, ZERO_KEYS_TIME_MS);
    if (timers.idleCloseAt === NEVER && peer.persistentKeepaliveSeconds === 0) {
      timers.idleCloseAt = after(now, this.#context.idleTimeoutMs);
    }
    reschedule(this.#context, peer);
    this.#context.extension?.peerChanged(peer);
  }

  /**
   * The initiator has used the keypair that we answered for: only now may we, and only now is its handshake over. False
   * when the keypair is of a session that has ended, or was made with a key that is no longer ours.
   */
  confirmed(peer: Peer, localIndex: number, now: Instant): boolean {
    const session = peer.session;
    if (session === null) return false;
    const answered = [session.unconfirmed, session.overtaken].find((keypair) => keypair?.localIndex === localIndex);
    if (answered === undefined || answered === null) return false;
    if (answered === session.unconfirmed) session.unconfirmed = null;
    session.overtaken = null;
    this.#context.counters.count('sessionsConfirmed');
    this.#works(peer, answered.derivedAt, now);
    return true;
  }

  /** Our key was replaced: nothing more is sent with what was derived from the old one (checklist 11). */
  expireSending(peer: Peer): void {
    if (peer.session === null) return;
    this.#context.plane.expireSending(peer.slot);
    peer.session.derivedAt = null;
    peer.session.unconfirmed = null;
    peer.session.overtaken = null;
  }

  /** Zeroes every key; the peer waits for the next packet, from either side, as if it had just been added. */
  close(peer: Peer, now: Instant): void {
    this.#context.plane.clearKeypairs(peer.slot);
    peer.session = null;
    const timers = timersOf(peer);
    timers.zeroKeysAt = NEVER;
    timers.idleCloseAt = NEVER;
    timers.passiveKeepaliveAt = NEVER;
    timers.anotherKeepaliveSince = UNSET;
    timers.newHandshakeAt = NEVER;
    reschedule(this.#context, peer);
    this.#context.plane.rearm(peer.slot, Notify.sessionWanted, now);
    this.#context.extension?.peerChanged(peer);
  }

  #works(peer: Peer, derivedAt: Instant, now: Instant): void {
    if (peer.session === null) return;
    peer.session.derivedAt = derivedAt;
    peer.lastHandshake = this.#context.wallClock();
    const timers = timersOf(peer);
    // A timer that is set keeps its notification quiet until it has fired; all others are listened for from now on.
    let notifications = Notify.sessionWanted;
    if (timers.passiveKeepaliveAt === NEVER) notifications |= Notify.answerOwed;
    if (timers.newHandshakeAt === NEVER) notifications |= Notify.answerAwaited;
    this.#context.plane.rearm(peer.slot, notifications, now);
    this.#context.extension?.sessionWorks(peer, now);
  }
}
