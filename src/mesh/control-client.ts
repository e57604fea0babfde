// The node's side of the control channel, without the channel: when to connect, what to say first, what to do with what
// comes, when to give up. The host opens and closes connections (WebSocket, Noise inside), hands over validated messages and
// calls `handleDeadline`; every connection has a number, and what comes from one that is over is ignored.

import type { Instant, WallTime } from '../base/instant.ts';
import type { RandomSource } from '../base/prng.ts';
import type {
  ControllerMessage,
  Delta,
  ErrorCode,
  NodeMessage,
  Punch,
  PunchRequest,
  Snapshot,
  Welcome,
} from '../protocol/control.ts';
import type { Position } from '../protocol/netmap.ts';
import type { Candidate, PublicKeyText } from '../protocol/values.ts';

/** Which of the node's keys a connection proves: `next` while a rotation may have reached the controller or not. */
export type ConnectionKey = 'current' | 'next';

/** What the client gives rise to. Called within its calls; must not call back into it, but for reading. */
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
  /** Fits what came before. If it cannot be applied all the same: `resync`. */
  delta(message: Delta): void;
  punch(message: Punch): void;
  /** Keep the next key's secret on disk, then call `nextKeyPersisted`. */
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
  /** Secret of the join link; held in memory until the controller has welcomed us. */
  readonly authKey: string | null;
  /** Where the netmap on disk ends. */
  readonly resume: Position | null;
  /** A next key that was persisted and may or may not have reached the controller. */
  readonly nextKey: PublicKeyText | null;
}

/** Why a connection ended, or never was; a sentence for a person. */
export interface CloseReason {
  readonly code:
    | 'unreachable' // no connection: refused, no route, name not found, timed out
    | 'rejected' // HTTP or TLS said no
    | 'keyMismatch' // not the controller that the join link pins
    | 'malformed' // it broke the protocol
    | 'closed'; // it was there, and ended
  readonly message: string;
}

/** Why the client has stopped trying, until `start`. */
export interface ControlProblem {
  readonly code: ErrorCode;
  readonly message: string;
  readonly help: string | null;
}

export type ControlStep =
  | 'stopped'
  | 'backoff' // the last attempt failed
  | 'connecting'
  | 'registering'
  | 'pending' // an administrator has to approve
  | 'netmap' // welcomed; the netmap is on its way
  | 'connected'
  | 'failed'; // see `problem`

export interface ControlStatus {
  readonly state: 'connected' | 'connecting' | 'offline';
  readonly step: ControlStep;
  /** For a person who waits, one sentence. */
  readonly message: string;
  readonly since: WallTime;
  readonly lastError: string | null;
  readonly problem: ControlProblem | null;
  readonly position: Position | null;
  /** Ours minus the controller's clock at the last welcome, when it is more than a minute; else null. */
  readonly clockSkewMs: number | null;
  /** Null when no retry is planned. */
  readonly retryAt: Instant | null;
}

export declare class ControlClient {
  constructor(options: ControlClientOptions);

  /** Begins at once, also after `stop` or a problem. */
  start(start: ControlStart, now: Instant): void;
  /** `down` and `logout` are said to the controller if there is a connection; null: a silent end (the daemon stops). */
  stop(goodbye: 'down' | 'logout' | null, now: Instant): void;
  /** Newest first is not needed: order is theirs. Sent when they changed, once they have been still for a moment. */
  setCandidates(candidates: readonly Candidate[], listenPort: number, now: Instant): void;

  opened(connection: number, now: Instant): void;
  message(connection: number, message: ControllerMessage, now: Instant): void;
  /** Any other sign of life: a WebSocket ping or pong. */
  heard(connection: number, now: Instant): void;
  closed(connection: number, reason: CloseReason, now: Instant): void;
  /** An address or route changed, or the machine woke: retries at once, and looks whether the connection lives. */
  networkChanged(now: Instant): void;

  /** False when it was lost because there is no connection. */
  punch(request: PunchRequest): boolean;
  /** The netmap does not fit what came: begins anew with a snapshot. */
  resync(now: Instant): void;
  /** First `persistNextKey`, then the controller is asked, then `keySwitched`. False while another rotation runs. */
  rotateKey(publicKey: PublicKeyText, now: Instant): boolean;
  nextKeyPersisted(publicKey: PublicKeyText, now: Instant): void;

  nextDeadline(): Instant;
  handleDeadline(now: Instant): void;
  status(): ControlStatus;
}
