// The timers of a peer (paper §6; the method names follow its events). Packets never come here: the plane stamps the
// peer's shared record, raises a notification when a timer has to start, and stays quiet while it runs. A timer that
// fires looks at the record and either moves on to where the stamps say it belongs, or acts.

import { after, type Instant, latest, NEVER, UNSET } from '../base/instant.ts';
import { Notify, RecordField } from '../dataplane/dataplane.ts';
import type { Attempts } from './attempts.ts';
import { KEEPALIVE_TIMEOUT_MS, NEW_HANDSHAKE_TIME_MS, REKEY_TIMEOUT_JITTER_MS } from './constants.ts';
import { type EngineContext, jitterMs, reschedule, timersOf } from './context.ts';
import type { Peer, PeerTimers } from './peer.ts';
import type { Sessions } from './sessions.ts';

export class Timers {
  readonly #context: EngineContext;
  readonly #attempts: Attempts;
  readonly #sessions: Sessions;

  constructor(context: EngineContext, attempts: Attempts, sessions: Sessions) {
    this.#context = context;
    this.#attempts = attempts;
    this.#sessions = sessions;
  }

  /** Data came in and nothing has gone out since: a passive keepalive is due after KEEPALIVE_TIMEOUT. */
  answerOwed(peer: Peer, now: Instant): void {
    const timers = timersOf(peer);
    if (timers.passiveKeepaliveAt !== NEVER) return;
    this.#passiveKeepaliveFrom(peer, timers, now);
    reschedule(this.#context, peer);
  }

  /** Data went out and nothing has come in since: a new handshake is due after KEEPALIVE_TIMEOUT + REKEY_TIMEOUT. */
  answerAwaited(peer: Peer, now: Instant): void {
    const timers = timersOf(peer);
    if (timers.newHandshakeAt !== NEVER) return;
    const since = peer.recordedInstant(RecordField.answerAwaitedSince);
    timers.newHandshakeJitterMs = jitterMs(this.#context, REKEY_TIMEOUT_JITTER_MS);
    if (since === UNSET) this.#context.plane.rearm(peer.slot, Notify.answerAwaited, now);
    else timers.newHandshakeAt = after(since, NEW_HANDSHAKE_TIME_MS + timers.newHandshakeJitterMs);
    reschedule(this.#context, peer);
  }

  /** The interval was set or changed. Switching it on sends one at once, which is a reason to handshake. */
  persistentKeepaliveChanged(peer: Peer, now: Instant): void {
    if (peer.persistentKeepaliveSeconds === 0) {
      if (peer.timers === null) return;
      peer.timers.persistentKeepaliveAt = NEVER;
      if (peer.session !== null) peer.timers.idleCloseAt = after(now, this.#context.idleTimeoutMs);
    } else {
      timersOf(peer).idleCloseAt = NEVER;
      this.#sendPersistentKeepalive(peer, timersOf(peer), now);
    }
    reschedule(this.#context, peer);
  }

  /** The peer had no endpoint, so that its persistent keepalives had nowhere to go; now it was heard. */
  endpointLearned(peer: Peer, now: Instant): void {
    if (peer.persistentKeepaliveSeconds === 0 || peer.endpoint === null) return;
    timersOf(peer).persistentKeepaliveAt = after(now, peer.persistentKeepaliveSeconds * 1000);
    reschedule(this.#context, peer);
  }

  /** Runs what is due at `now`. */
  expire(now: Instant): void {
    const { deadlines } = this.#context;
    for (let timers = deadlines.due(now); timers !== undefined; timers = deadlines.due(now)) {
      this.#expirePeer(timers.peer, timers, now);
      reschedule(this.#context, timers.peer);
    }
  }

  #expirePeer(peer: Peer, timers: PeerTimers, now: Instant): void {
    if (timers.crossingAt <= now) this.#attempts.crossingOver(peer, now);
    if (timers.retransmitAt <= now) this.#attempts.retransmit(peer, now);
    if (timers.passiveKeepaliveAt <= now) this.#passiveKeepaliveDue(peer, timers, now);
    if (timers.newHandshakeAt <= now) this.#newHandshakeDue(peer, timers, now);
    if (timers.persistentKeepaliveAt <= now) this.#persistentKeepaliveDue(peer, timers, now);
    if (timers.idleCloseAt <= now) this.#idleCloseDue(peer, timers, now);
    if (timers.zeroKeysAt <= now) this.#sessions.close(peer, now);
  }

  #passiveKeepaliveFrom(peer: Peer, timers: PeerTimers, now: Instant): void {
    const since = peer.recordedInstant(RecordField.answerOwedSince);
    timers.passiveKeepaliveAt = since === UNSET ? NEVER : after(since, KEEPALIVE_TIMEOUT_MS);
    if (since === UNSET) this.#context.plane.rearm(peer.slot, Notify.answerOwed, now);
  }

  /**
   * Sends the keepalive that is owed. Data that arrived while the timer ran is owed one more, KEEPALIVE_TIMEOUT later,
   * unless something else goes out first ("need another keepalive"; checklist 18).
   */
  #passiveKeepaliveDue(peer: Peer, timers: PeerTimers, now: Instant): void {
    const since = peer.recordedInstant(RecordField.answerOwedSince);
    const another = timers.anotherKeepaliveSince;
    timers.anotherKeepaliveSince = UNSET;
    const anotherOwed = another !== UNSET && peer.recorded(RecordField.lastAuthenticatedSend) <= another;
    if (!anotherOwed && (since === UNSET || after(since, KEEPALIVE_TIMEOUT_MS) > now)) {
      this.#passiveKeepaliveFrom(peer, timers, now);
      return;
    }
    const ranSince = anotherOwed ? another : since;
    const dataSince = peer.recorded(RecordField.lastDataReceive) > ranSince;
    timers.passiveKeepaliveAt = NEVER;
    const sent = this.#context.plane.sendKeepalive(peer.slot, now);
    if (sent) this.#context.counters.count('keepalivesSent');
    if (sent && dataSince) {
      timers.anotherKeepaliveSince = now;
      timers.passiveKeepaliveAt = after(now, KEEPALIVE_TIMEOUT_MS);
    } else if (sent) {
      this.#context.plane.rearm(peer.slot, Notify.answerOwed, now);
    }
    // Not sent: no session is left that could carry it; a new session's installation re-arms the notification.
  }

  #newHandshakeDue(peer: Peer, timers: PeerTimers, now: Instant): void {
    const since = peer.recordedInstant(RecordField.answerAwaitedSince);
    timers.newHandshakeAt = NEVER;
    if (since === UNSET) {
      this.#context.plane.rearm(peer.slot, Notify.answerAwaited, now);
      return;
    }
    const due = after(since, NEW_HANDSHAKE_TIME_MS + timers.newHandshakeJitterMs);
    if (due > now) {
      timers.newHandshakeAt = due;
      return;
    }
    // The notification stays quiet until the attempt ends: until then the attempt's own clock follows outbound data.
    this.#context.plane.clearSource(peer.slot);
    this.#attempts.begin(peer, now);
  }

  /** Pushed back by any authenticated packet in either direction (checklist 20). */
  #persistentKeepaliveDue(peer: Peer, timers: PeerTimers, now: Instant): void {
    const last = latest(
      peer.recordedInstant(RecordField.lastAuthenticatedSend),
      peer.recordedInstant(RecordField.lastAuthenticatedReceive),
    );
    const due = after(last, peer.persistentKeepaliveSeconds * 1000);
    if (due > now) timers.persistentKeepaliveAt = due;
    else this.#sendPersistentKeepalive(peer, timers, now);
  }

  #sendPersistentKeepalive(peer: Peer, timers: PeerTimers, now: Instant): void {
    if (!this.#context.running || peer.endpoint === null) {
      timers.persistentKeepaliveAt = NEVER;
      return;
    }
    timers.persistentKeepaliveAt = after(now, peer.persistentKeepaliveSeconds * 1000);
    if (this.#context.plane.sendKeepalive(peer.slot, now)) this.#context.counters.count('keepalivesSent');
    else this.#attempts.begin(peer, now);
  }

  #idleCloseDue(peer: Peer, timers: PeerTimers, now: Instant): void {
    const session = peer.session;
    if (session === null) {
      timers.idleCloseAt = NEVER;
      return;
    }
    const moved = latest(
      peer.recordedInstant(RecordField.lastDataReceive),
      latest(peer.recordedInstant(RecordField.lastDataSend), peer.recordedInstant(RecordField.lastStaged)),
    );
    timers.idleCloseAt = after(latest(moved, session.openedAt), this.#context.idleTimeoutMs);
    if (timers.idleCloseAt > now) return;
    this.#context.counters.count('sessionsClosedIdle');
    // A renewal that is under way would open at once what is closed here.
    this.#attempts.end(peer);
    this.#sessions.close(peer, now);
  }
}
