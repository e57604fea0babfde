// What the control client tells of itself: for a person who waits for `warren up`, and for `warren status`. Leaves out what
// to do about it, which the daemon adds.

import type { Instant, WallTime } from '../base/instant.ts';
import type { ErrorCode } from '../protocol/control.ts';
import type { Position } from '../protocol/netmap.ts';

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

/** Why the node is shut out: until `start`, or until the controller lets it in again (UNDOABLE_ERRORS). */
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
  /** Since when `state` is what it is. */
  readonly since: WallTime;
  /**
   * Why the last connection ended or was refused; null once one is welcomed. `code`: a CloseReason's, an ErrorCode of the
   * controller's, or `timeout`, `silent`, `resync`.
   */
  readonly lastError: { readonly code: string; readonly message: string } | null;
  readonly problem: ControlProblem | null;
  readonly position: Position | null;
  /** Our clock minus the controller's at the last welcome, when that is more than CLOCK_SKEW_MAX_MS; else null. */
  readonly clockSkewMs: number | null;
  /** Null when no retry is planned. */
  readonly retryAt: Instant | null;
}

export function stateOf(step: ControlStep): ControlStatus['state'] {
  switch (step) {
    case 'stopped':
    case 'failed':
    case 'backoff':
      return 'offline';
    case 'connecting':
    case 'registering':
    case 'pending':
      return 'connecting';
    case 'netmap':
    case 'connected':
      return 'connected';
  }
}

/** `told`: what the controller said of it, where there is such a thing. */
export function messageOf(step: ControlStep, told: string | null): string {
  switch (step) {
    case 'stopped':
      return 'not connecting';
    case 'backoff':
      return told === null ? 'the controller was not reached; trying again' : `${told}; trying again`;
    case 'connecting':
      return 'connecting to the controller';
    case 'registering':
      return 'registering with the controller';
    case 'pending':
      return told ?? 'waiting for an administrator to approve this machine';
    case 'netmap':
      return 'receiving the network map';
    case 'connected':
      return 'connected';
    case 'failed':
      return told ?? 'the controller refused this machine';
  }
}
