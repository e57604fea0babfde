// Answers: our side as responder, and cookies in both directions (paper §5.3, §5.4; checklist 2, 6–9, 28, 34–39). What
// arrives here has passed the plane's mac1 check and per-source limit; nothing that fails is answered, except with a
// cookie reply while we are under load.

import { toHex } from '../base/bytes.ts';
import { elapsedMs, type Instant } from '../base/instant.ts';
import type { PublicKey } from '../crypto/provider.ts';
import { INITIATION_INTERVAL_MIN_MS } from './constants.ts';
import type { EngineContext } from './context.ts';
import { CookieChecker, cookieSource } from './cookie.ts';
import { createResponse, finishInitiation, peekInitiation, type ResponderState } from './handshake.ts';
import { drawEphemeral, drawIndex, memoryOf, staticStaticOf } from './memory.ts';
import type { MessageSource } from './message-source.ts';
import type { HandshakeMemory, Peer } from './peer.ts';
import { RateLimiter } from './rate-limiter.ts';
import type { Sessions } from './sessions.ts';
import { isLaterStamp } from './tai64n.ts';

const NO_PRESHARED_KEY = new Uint8Array(32);

/** What an answer needs of the engine. */
export interface Answering {
  readonly find: (publicKeyHex: string) => Peer | undefined;
  /** Called once the sender is proved, before the response goes out. */
  readonly accepted: (peer: Peer) => void;
  /** `response` is borrowed. False when it could not leave. */
  readonly send: (peer: Peer, response: Uint8Array) => boolean;
}

export class Answers {
  readonly #context: EngineContext;
  readonly #sessions: Sessions;
  readonly #limiter = new RateLimiter();
  #checker: CookieChecker | null = null;

  constructor(context: EngineContext, sessions: Sessions) {
    this.#context = context;
    this.#sessions = sessions;
  }

  /** Our key was replaced: cookies are bound to it. */
  identityChanged(publicKey: PublicKey | null): void {
    this.#checker?.wipe();
    this.#checker =
      publicKey === null ? null : new CookieChecker(this.#context.crypto, this.#context.random, publicKey);
  }

  /**
   * Whether a message is served under load: one without our cookie gets a cookie reply, one with it is held to the rate
   * of its source. Without load nothing is asked (checklist 34).
   */
  served(message: Uint8Array, source: MessageSource, underLoad: boolean, now: Instant): boolean {
    if (!underLoad || this.#checker === null) return true;
    const { plane, counters } = this.#context;
    const bound = cookieSource(source.address, source.port);
    if (!this.#checker.checkMac2(message, bound, now)) {
      counters.drop('noMac2');
      if (plane.reply(source.handle, this.#checker.createReply(message, bound, now)))
        counters.count('cookieRepliesSent');
      return false;
    }
    if (this.#limiter.allow(source.address, now)) return true;
    counters.drop('rateLimited');
    return false;
  }

  /** Answers an initiation. */
  handleInitiation(message: Uint8Array, now: Instant, { find, accepted, send }: Answering): void {
    const { counters, crypto, identity } = this.#context;
    if (identity === null) {
      counters.drop('noIdentity');
      return;
    }
    const peek = peekInitiation(crypto, identity.key, message);
    if (peek === null) {
      counters.drop('badInitiation');
      return;
    }
    const peer = find(toHex(peek.remoteStatic));
    const memory = peer === undefined ? null : memoryOf(this.#context, peer);
    const staticStatic = memory === null ? null : staticStaticOf(this.#context, memory);
    if (peer === undefined || memory === null || staticStatic === null) {
      counters.drop(peer === undefined ? 'unknownPeer' : 'badInitiation');
      peek.wipe();
      return;
    }
    const state = finishInitiation(peek, staticStatic);
    if (state === null) {
      counters.drop('badInitiation');
      return;
    }
    if (!this.#fresh(memory, state, now)) {
      state.wipe();
      return;
    }
    memory.greatestStamp = state.timestamp;
    memory.lastInitiationAcceptedAt = now;
    counters.count('initiationsAccepted');
    accepted(peer);
    this.#respond(peer, memory, state, send, now);
  }

  /** Keeps the cookie of a reply to the last message that we sent; nothing is sent because of it (checklist 37). */
  handleCookieReply(peer: Peer, message: Uint8Array, now: Instant): void {
    if (peer.memory === null) this.#context.counters.drop('unexpectedCookie');
    else if (peer.memory.cookies.consumeReply(message, now)) this.#context.counters.count('cookiesAccepted');
    else this.#context.counters.drop('badCookie');
  }

  /** Neither a replay (§5.1) nor one of a flood: both are judged only after authentication (checklist 2, 8). */
  #fresh(memory: HandshakeMemory, state: ResponderState, now: Instant): boolean {
    if (!isLaterStamp(state.timestamp, memory.greatestStamp)) {
      this.#context.counters.drop('staleStamp');
      return false;
    }
    if (elapsedMs(memory.lastInitiationAcceptedAt, now) < INITIATION_INTERVAL_MIN_MS) {
      this.#context.counters.drop('initiationFlood');
      return false;
    }
    return true;
  }

  #respond(peer: Peer, memory: HandshakeMemory, state: ResponderState, send: Answering['send'], now: Instant): void {
    const { plane, crypto, counters } = this.#context;
    const localIndex = drawIndex(this.#context, peer);
    if (localIndex === null) {
      state.wipe();
      return;
    }
    const presharedKey = peer.presharedKey ?? NO_PRESHARED_KEY;
    const { remoteIndex } = state;
    const created = createResponse(crypto, state, {
      presharedKey,
      ephemeral: drawEphemeral(this.#context),
      localIndex,
    });
    if (created === null) {
      plane.forgetIndex(localIndex);
      counters.drop('badInitiation');
      return;
    }
    memory.cookies.addMacs(created.message, now);
    memory.lastHandshakeSentAt = now;
    // Keys before the response: its answer may be on its way back before this function returns.
    this.#sessions.install(peer, 'responder', { localIndex, remoteIndex, keys: created.keys, derivedAt: now }, now);
    if (send(peer, created.message)) counters.count('responsesSent');
  }
}
