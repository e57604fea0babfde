// The node's side of the control channel, without the channel: when to connect, what to say first, what to do with what
// comes, when to give up. The host opens and closes connections (WebSocket, Noise inside), hands over validated messages and
// calls `handleDeadline`; every connection has a number, and what comes from one that is over is ignored.

import { after, type Instant, latest, NEVER, type WallTime } from '../base/instant.ts';
import type { RandomSource } from '../base/prng.ts';
import {
  type ControlError,
  type ControllerMessage,
  type Delta,
  type ErrorCode,
  FATAL_ERRORS,
  type NodeMessage,
  type Punch,
  type PunchRequest,
  type Snapshot,
  UNDOABLE_ERRORS,
  type Welcome,
} from '../protocol/control.ts';
import type { Position } from '../protocol/netmap.ts';
import type { Reach } from '../protocol/reach.ts';
import { CANDIDATES_MAX, type Candidate, type PublicKeyText } from '../protocol/values.ts';
import { PROTOCOL_VERSION } from '../protocol/version-log.ts';
import { RETRY_MAX_MS, retryDelayMs, uniform } from './control-backoff.ts';
import {
  type CloseReason,
  type ControlProblem,
  type ControlStatus,
  type ControlStep,
  messageOf,
  stateOf,
} from './control-status.ts';
import { type ConnectionKey, KeyRotation } from './key-rotation.ts';

export type { CloseReason, ControlProblem, ControlStatus, ControlStep } from './control-status.ts';
export type { ConnectionKey } from './key-rotation.ts';

/** From `connect` to `opened`: TCP, TLS, WebSocket and Noise. */
export const CONNECT_TIMEOUT_MS = 10_000;
/** From `opened` to a welcome, a request to wait, or an error. */
export const REGISTER_TIMEOUT_MS = 15_000;
/** Until a welcome tells the controller's. */
export const PING_INTERVAL_DEFAULT_MS = 15_000;
export const PINGS_MISSED_MAX = 3;
/** After a change of the network a connection that lives has this long to show it. */
export const PROBE_ANSWER_MS = 1_500;
/** A change of the network brings a retry forward, but not closer to the last than this. */
export const CONNECT_INTERVAL_MIN_MS = 250;
/** Candidates that change in quick succession are told once. */
export const CANDIDATES_DEBOUNCE_MS = 100;
/** A connection that lasted as long was a good one: the next retry is a first one again. */
export const STABLE_AFTER_MS = 5_000;
/** Another machine has our key: whoever of both is slower to come back has lost less. */
export const REPLACED_ATTEMPT = 5;
export const CLOCK_SKEW_MAX_MS = 60_000;
/** A node that is shut out, and may be let in again, asks after so long, and after up to twice that: no herd, no load. */
export const ASK_AGAIN_MS = 15_000;

/** What the client gives rise to. Called within its calls; must not call back into it, except where it says so. */
export interface ControlOutputs {
  /** Open a connection; then `opened` or `closed` with the same number. */
  connect(connection: number, key: ConnectionKey): void;
  /** What was sent before is still to be flushed; `closed` need not follow. */
  close(connection: number): void;
  send(connection: number, message: NodeMessage): void;
  /** Send a WebSocket ping; its pong is `heard`. */
  probe(connection: number): void;
  welcome(message: Welcome): void;
  snapshot(message: Snapshot): void;
  /** Fits what came before. If it cannot be applied all the same, `resync` may be called from here. */
  delta(message: Delta): void;
  punch(message: Punch): void;
  /** Keep the next key's secret on disk, then call `nextKeyPersisted` (not from here). */
  persistNextKey(publicKey: PublicKeyText): void;
  /** The next key is the current one from now on: everywhere. */
  keySwitched(publicKey: PublicKeyText): void;
  /** A rotation came to nothing: forget the next key. */
  nextKeyRefused(publicKey: PublicKeyText, message: string): void;
  /** Status is different. */
  changed(): void;
}

export interface ControlClientOptions {
  readonly random: RandomSource;
  readonly wallClock: () => WallTime;
  readonly outputs: ControlOutputs;
  readonly software: string;
  readonly os: string;
}

/** What the daemon knows when it starts. */
export interface ControlStart {
  readonly hostname: string;
  /** Secret of the join link; held in memory until the controller knows us. */
  readonly authKey: string | null;
  /** Where the netmap on disk ends. */
  readonly resume: Position | null;
  /** A next key that was persisted and may or may not have reached the controller. */
  readonly nextKey: PublicKeyText | null;
}

export class ControlClient {
  readonly #options: ControlClientOptions;
  readonly #outputs: ControlOutputs;
  readonly #rotation: KeyRotation;
  #step: ControlStep = 'stopped';
  #since: WallTime;
  /** What the controller said of the step, or why the last connection ended. */
  #told: string | null = null;
  #lastError: ControlStatus['lastError'] = null;
  #problem: ControlProblem | null = null;
  #clockSkewMs: number | null = null;

  #hostname = '';
  #authKey: string | null = null;
  /** With a rotation open: the controller has shown that it knows the key that we connect with. */
  #keyIsKnown = false;
  /** What it said when it did not know one of our keys any more. */
  #removal: ControlError | null = null;
  #position: Position | null = null;
  #candidates: readonly Candidate[] = [];
  #reach: Reach | null = null;
  #listenPort = 0;
  /** What this connection has been told of them, as one string; null = nothing. */
  #announced: string | null = null;

  #connection = 0;
  /** The connection of this number is open or being opened. */
  #alive = false;
  #connectedAt: Instant = NEVER;
  #welcomedAt: Instant = NEVER;
  #lastHeard: Instant = NEVER;
  #pingIntervalMs = PING_INTERVAL_DEFAULT_MS;
  /** Retries since the last good connection. */
  #attempt = 0;

  #retryAt: Instant = NEVER;
  /** Connecting or registering takes too long. */
  #patienceAt: Instant = NEVER;
  #livenessAt: Instant = NEVER;
  #probeAt: Instant = NEVER;
  #probeSince: Instant = NEVER;
  #candidatesAt: Instant = NEVER;

  constructor(options: ControlClientOptions) {
    this.#options = options;
    this.#outputs = options.outputs;
    this.#rotation = new KeyRotation(options.outputs);
    this.#since = options.wallClock();
  }

  // — what a person wants —

  /** Begins at once, also after `stop` or a problem; a connection that is there is replaced. */
  start(start: ControlStart, now: Instant): void {
    this.#dropConnection();
    this.#hostname = start.hostname;
    this.#authKey = start.authKey;
    this.#position = start.resume;
    this.#rotation.start(start.nextKey);
    this.#keyIsKnown = false;
    this.#removal = null;
    this.#attempt = 0;
    this.#problem = null;
    this.#lastError = null;
    this.#connect(now);
  }

  /** `down` and `logout` are said to the controller if there is a connection; null: a silent end (the daemon stops). */
  stop(goodbye: 'down' | 'logout' | null, _now: Instant): void {
    if (goodbye !== null && this.#isWelcomed()) this.#send({ type: 'goodbye', reason: goodbye });
    this.#dropConnection();
    this.#authKey = null;
    this.#problem = null;
    this.#lastError = null;
    this.#enter('stopped', null);
  }

  /** In the order of their use. Told when they are different, once they have been still for a moment. */
  setCandidates(candidates: readonly Candidate[], listenPort: number, now: Instant): void {
    this.#candidates = candidates.slice(0, CANDIDATES_MAX);
    this.#listenPort = listenPort;
    this.#whereaboutsSet(now);
  }

  /** Told with the candidates, and in the same way. */
  setReach(reach: Reach | null, now: Instant): void {
    this.#reach = reach;
    this.#whereaboutsSet(now);
  }

  #whereaboutsSet(now: Instant): void {
    if (!this.#isWelcomed() || this.#candidatesText() === this.#announced) {
      this.#candidatesAt = NEVER;
      return;
    }
    // Others may be waiting for the very first address.
    const first = this.#announced === NO_CANDIDATES;
    if (this.#candidatesAt === NEVER) this.#candidatesAt = after(now, first ? 0 : CANDIDATES_DEBOUNCE_MS);
    if (this.#candidatesAt <= now) this.#announce();
  }

  /** False when it was lost because there is no connection. */
  punch(request: PunchRequest): boolean {
    if (!this.#isWelcomed()) return false;
    this.#send(request);
    return true;
  }

  /** The netmap does not fit what came: begins anew with a snapshot. Also from within `delta`. */
  resync(now: Instant): void {
    this.#position = null;
    if (!this.#isWelcomed()) return;
    this.#retry({ code: 'resync', message: 'the network map did not fit what the controller sent' }, 0, now);
  }

  /** First `persistNextKey`, then the controller is asked, then `keySwitched`. False while another rotation runs. */
  rotateKey(publicKey: PublicKeyText, _now: Instant): boolean {
    return this.#rotation.begin(publicKey);
  }

  nextKeyPersisted(publicKey: PublicKeyText, _now: Instant): void {
    if (this.#rotation.persisted(publicKey)) this.#askRotation();
  }

  // — what the connection says —

  opened(connection: number, now: Instant): void {
    if (!this.#isCurrent(connection) || this.#step !== 'connecting') return;
    this.#heardAt(now);
    this.#livenessAt = NEVER;
    this.#patienceAt = after(now, REGISTER_TIMEOUT_MS);
    this.#announced = this.#candidatesText();
    this.#candidatesAt = NEVER;
    this.#enter('registering', null);
    this.#send({
      type: 'register',
      version: PROTOCOL_VERSION,
      software: this.#options.software,
      os: this.#options.os,
      hostname: this.#hostname,
      // With a rotation open, a key that seems unknown may be ours all the same: it must not join as another node.
      authKey: this.#rotation.open && !this.#keyIsKnown ? null : this.#authKey,
      resume: this.#position,
      candidates: [...this.#candidates],
      reach: this.#reach,
      listenPort: this.#listenPort,
    });
  }

  /** Any other sign of life: a WebSocket ping or pong. */
  heard(connection: number, now: Instant): void {
    if (this.#isCurrent(connection)) this.#heardAt(now);
  }

  closed(connection: number, reason: CloseReason, now: Instant): void {
    if (!this.#isCurrent(connection)) return;
    this.#retry(reason, 0, now);
  }

  message(connection: number, message: ControllerMessage, now: Instant): void {
    if (!this.#isCurrent(connection) || this.#step === 'connecting') return;
    this.#heardAt(now);
    switch (message.type) {
      case 'welcome':
        this.#welcomed(message, now);
        break;
      case 'pending':
        // The controller knows us from now on.
        this.#authKey = null;
        this.#problem = null;
        this.#patienceAt = NEVER;
        this.#watchLiveness(now);
        this.#enter('pending', withHelp(message.message, message.help));
        break;
      case 'error':
        this.#refused(message, now);
        break;
      default:
        if (this.#isWelcomed()) this.#served(message, now);
        break;
    }
  }

  #welcomed(message: Welcome, now: Instant): void {
    this.#authKey = null;
    this.#problem = null;
    this.#welcomedAt = now;
    this.#patienceAt = NEVER;
    this.#pingIntervalMs = message.pingIntervalMs;
    this.#watchLiveness(now);
    this.#lastError = null;
    const skew = this.#options.wallClock() - message.time;
    this.#clockSkewMs = Math.abs(skew) > CLOCK_SKEW_MAX_MS ? skew : null;
    // Another history: what we have says nothing about it, and a snapshot is on its way.
    if (this.#position !== null && this.#position.epoch !== message.epoch) this.#position = null;
    this.#rotation.welcomed();
    this.#outputs.welcome(message);
    this.#enter(this.#position === null ? 'netmap' : 'connected', null);
    this.#askRotation();
    if (this.#candidatesText() !== this.#announced) this.#announce();
  }

  #served(message: Exclude<ControllerMessage, Welcome | ControlError | { type: 'pending' }>, now: Instant): void {
    switch (message.type) {
      case 'snapshot':
        this.#position = { epoch: message.epoch, seq: message.seq };
        this.#outputs.snapshot(message);
        this.#enter('connected', null);
        break;
      case 'delta':
        this.#delta(message, now);
        break;
      case 'punch':
        this.#outputs.punch(message);
        break;
      case 'keyRotated':
        this.#rotation.rotated(message.publicKey);
        break;
    }
  }

  #delta(delta: Delta, now: Instant): void {
    const position = this.#position;
    if (position === null || delta.from !== position.seq || delta.seq < delta.from) {
      this.resync(now);
      return;
    }
    this.#position = { epoch: position.epoch, seq: delta.seq };
    const connection = this.#connection;
    this.#outputs.delta(delta);
    if (this.#isCurrent(connection) && delta.ack) this.#send({ type: 'ack', seq: delta.seq });
  }

  #refused(error: ControlError, now: Instant): void {
    if (error.code === 'keyInUse') {
      this.#rotation.refused(error.message);
      return;
    }
    const { code, message } = error;
    if (code === 'rateLimited' && this.#isWelcomed()) return;
    if (this.#isWorthAnother(error)) {
      this.#lastError = { code, message };
      this.#dropConnection();
      this.#connect(now);
      return;
    }
    if (isFatal(code)) {
      // That it was removed says more than that its other key is unknown.
      this.#fail(code === 'unregistered' ? (this.#removal ?? error) : error, now);
      return;
    }
    if (code === 'goingAway') this.#attempt = 0;
    if (code === 'replaced') this.#attempt = Math.max(this.#attempt, REPLACED_ATTEMPT - 1);
    this.#retry({ code, message }, error.retryAfterMs ?? 0, now);
  }

  /** Whether a connection at once may fare better: with the other key, or with an auth key that was held back. */
  #isWorthAnother(error: ControlError): boolean {
    const mayJoin = this.#authKey !== null;
    if (error.code === 'nodeRemoved') this.#removal = error;
    if (error.code === 'unregistered' || error.code === 'nodeRemoved') {
      return this.#rotation.tryOther(error.message, mayJoin);
    }
    // The controller knows this key, so an auth key renews us and nobody else.
    if (error.code !== 'nodeExpired' || !mayJoin || this.#keyIsKnown || !this.#rotation.open) return false;
    this.#keyIsKnown = true;
    return true;
  }

  #fail({ code, message, help }: ControlError, now: Instant): void {
    this.#dropConnection();
    this.#authKey = null;
    this.#problem = { code: code as ErrorCode, message, help: help === '' ? null : help };
    this.#lastError = { code, message };
    if ((UNDOABLE_ERRORS as readonly string[]).includes(code)) {
      // Whoever is shut out has no netmap any more.
      this.#position = null;
      this.#retryAt = after(now, ASK_AGAIN_MS + uniform(this.#options.random) * ASK_AGAIN_MS);
    }
    this.#enter('failed', message);
  }

  // — connections —

  #connect(now: Instant): void {
    this.#connection++;
    this.#alive = true;
    this.#connectedAt = now;
    this.#welcomedAt = NEVER;
    this.#retryAt = NEVER;
    this.#patienceAt = after(now, CONNECT_TIMEOUT_MS);
    this.#enter('connecting', null);
    this.#outputs.connect(this.#connection, this.#rotation.key);
  }

  /** The connection is over, or was none. `atLeastMs`: as the controller asks. */
  #retry(reason: { readonly code: string; readonly message: string }, atLeastMs: number, now: Instant): void {
    if (this.#welcomedAt !== NEVER && now - this.#welcomedAt >= STABLE_AFTER_MS) this.#attempt = 0;
    this.#dropConnection();
    this.#attempt++;
    this.#lastError = { code: reason.code, message: reason.message };
    const delayMs = Math.min(atLeastMs, RETRY_MAX_MS) + retryDelayMs(this.#attempt, this.#options.random);
    this.#retryAt = after(now, delayMs);
    this.#enter('backoff', reason.message);
  }

  /** Nothing of the connection, if there is one, is waited for any more. */
  #dropConnection(): void {
    this.#retryAt = NEVER;
    this.#patienceAt = NEVER;
    this.#livenessAt = NEVER;
    this.#probeAt = NEVER;
    this.#candidatesAt = NEVER;
    this.#announced = null;
    if (!this.#alive) return;
    this.#alive = false;
    this.#outputs.close(this.#connection);
  }

  /** An address or route changed, or the machine woke: retries at once, and looks whether the connection lives. */
  networkChanged(now: Instant): void {
    const soon = latest(now, after(this.#connectedAt, CONNECT_INTERVAL_MIN_MS));
    if (this.#step === 'backoff') {
      this.#attempt = 0;
      this.#retryAt = soon;
    } else if (this.#step === 'connecting') {
      // What has been sent may have left by a way that is gone.
      this.#dropConnection();
      this.#retryAt = soon;
      this.#enter('backoff', null);
    } else if (this.#alive) {
      this.#probeSince = now;
      this.#probeAt = after(now, PROBE_ANSWER_MS);
      this.#outputs.probe(this.#connection);
    }
    if (this.#retryAt <= now) this.#connect(now);
  }

  // — time —

  nextDeadline(): Instant {
    return Math.min(this.#retryAt, this.#patienceAt, this.#livenessAt, this.#probeAt, this.#candidatesAt) as Instant;
  }

  handleDeadline(now: Instant): void {
    if (this.#candidatesAt <= now) this.#announce();
    if (this.#retryAt <= now) this.#connect(now);
    else if (this.#patienceAt <= now) this.#retry({ code: 'timeout', message: this.#impatience() }, 0, now);
    else if (this.#probeAt <= now) this.#probeOver(now);
    else if (this.#livenessAt <= now) this.#livenessDue(now);
  }

  #impatience(): string {
    return this.#step === 'connecting'
      ? `the controller did not answer within ${CONNECT_TIMEOUT_MS / 1000} s`
      : `the controller did not answer the registration within ${REGISTER_TIMEOUT_MS / 1000} s`;
  }

  #probeOver(now: Instant): void {
    this.#probeAt = NEVER;
    if (this.#lastHeard > this.#probeSince) return;
    // Only we have lost it: there is no herd to keep apart.
    this.#dropConnection();
    this.#lastError = { code: 'silent', message: 'the connection did not survive a change of the network' };
    this.#connect(now);
  }

  #watchLiveness(now: Instant): void {
    this.#livenessAt = after(now, PINGS_MISSED_MAX * this.#pingIntervalMs);
  }

  #livenessDue(now: Instant): void {
    this.#livenessAt = after(this.#lastHeard, PINGS_MISSED_MAX * this.#pingIntervalMs);
    if (this.#livenessAt > now) return;
    this.#retry({ code: 'silent', message: 'the controller was not heard any more' }, 0, now);
  }

  #heardAt(now: Instant): void {
    this.#lastHeard = now;
  }

  // — what is said —

  #announce(): void {
    this.#candidatesAt = NEVER;
    this.#announced = this.#candidatesText();
    this.#send({
      type: 'candidates',
      candidates: [...this.#candidates],
      reach: this.#reach,
      listenPort: this.#listenPort,
    });
  }

  #candidatesText(): string {
    if (this.#candidates.length === 0 && this.#reach === null) return NO_CANDIDATES;
    const candidates = this.#candidates.map(({ kind, endpoint }) => `${kind} ${endpoint}`);
    return `${this.#listenPort} ${candidates.join(' ')} ${JSON.stringify(this.#reach)}`;
  }

  #askRotation(): void {
    const publicKey = this.#rotation.toAsk;
    if (publicKey !== null && this.#isWelcomed()) this.#send({ type: 'rotateKey', publicKey });
  }

  #send(message: NodeMessage): void {
    this.#outputs.send(this.#connection, message);
  }

  // — status —

  #isCurrent(connection: number): boolean {
    return connection === this.#connection && this.#alive;
  }

  #isWelcomed(): boolean {
    return this.#alive && stateOf(this.#step) === 'connected';
  }

  #enter(step: ControlStep, told: string | null): void {
    if (this.#told === told && this.#step === step) return;
    if (stateOf(step) !== stateOf(this.#step)) this.#since = this.#options.wallClock();
    this.#step = step;
    this.#told = told;
    this.#outputs.changed();
  }

  status(): ControlStatus {
    return {
      state: stateOf(this.#step),
      step: this.#step,
      message: messageOf(this.#step, this.#told),
      since: this.#since,
      lastError: this.#lastError,
      problem: this.#problem,
      position: this.#position,
      clockSkewMs: this.#clockSkewMs,
      retryAt: this.#retryAt === NEVER ? null : this.#retryAt,
    };
  }
}

const NO_CANDIDATES = '';

/** What is a sentence already is followed by another. */
function withHelp(message: string, help: string): string {
  if (help === '') return message;
  return message.endsWith('.') ? `${message} ${help}` : `${message}: ${help}`;
}

function isFatal(code: string): code is ErrorCode {
  return (FATAL_ERRORS as readonly string[]).includes(code);
}
