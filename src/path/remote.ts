// One remote of a peer (docs/paths.md, "Words"): an endpoint at which it may be reached, what is known of it, and its last
// changes. Data and the few transitions; who probes it and when is peer-paths.ts.

import { elapsedMs, type Instant, NEVER } from '../base/instant.ts';
import type { Endpoint } from '../base/ip.ts';
import type { PathCause } from '../protocol/causes.ts';
import type { CandidateKind } from '../protocol/values.ts';

/** Beside the kinds of candidates: a slot at a relay, and an address that the peer's packets came from. */
export type RemoteKind = CandidateKind | 'relay' | 'seen';

export type RemoteState =
  | 'untested'
  | 'probing' // probes are out and none was answered since they began
  | 'works' // answered, and nothing since says otherwise
  | 'failed' // a round of probes without an answer
  | 'lost'; // worked, and fell silent

export interface RemoteChange {
  readonly at: Instant;
  readonly state: RemoteState;
  readonly cause: PathCause;
  /** The smoothed round trip then; null while none was measured. */
  readonly rttMs: number | null;
}

/** Changes that a remote remembers. */
export const HISTORY_MAX = 16;
/** How much of a new sample goes into the smoothed round trip: RFC 6298 §2 for those that are close together, else more. */
const SMOOTHING = 1 / 8;
const SMOOTHING_RARE = 1 / 2;
const RARE_MS = 1_000;

const LONG_AGO = Number.NEGATIVE_INFINITY as Instant;

export interface RemoteOrigin {
  readonly endpoint: Endpoint;
  readonly kind: RemoteKind;
  /** An address of a link that this machine is on. */
  readonly sameLink: boolean;
}

export class Remote {
  readonly endpoint: Endpoint;
  kind: RemoteKind;
  sameLink: boolean;
  /** The netmap or a punch names it now. */
  told = false;

  state: RemoteState = 'untested';
  cause: PathCause = 'untested';
  since: Instant;
  readonly history: RemoteChange[] = [];

  /** Where the peer sees us come from on it. */
  local: Endpoint | null = null;
  /** Smoothed; null before the first answer. */
  rttMs: number | null = null;
  lastRttMs: number | null = null;
  answeredAt: Instant = LONG_AGO;
  /** An authenticated packet of the peer came from there. */
  heardAt: Instant = LONG_AGO;

  /** Probes of this round, and when the next is due; NEVER: none. */
  sent = 0;
  nextProbeAt: Instant = NEVER;
  roundAt: Instant = LONG_AGO;
  lastProbeAt: Instant = LONG_AGO;
  /** Since the last answer, or the first probe. */
  unanswered = 0;
  unansweredSince: Instant = NEVER;

  constructor({ endpoint, kind, sameLink }: RemoteOrigin, now: Instant) {
    this.endpoint = endpoint;
    this.kind = kind;
    this.sameLink = sameLink;
    this.since = now;
  }

  get isRelayed(): boolean {
    return this.kind === 'relay';
  }

  enter(state: RemoteState, cause: PathCause, now: Instant): void {
    if (state === this.state && cause === this.cause) return;
    this.state = state;
    this.cause = cause;
    this.since = now;
    this.history.push({ at: now, state, cause, rttMs: this.rttMs });
    if (this.history.length > HISTORY_MAX) this.history.shift();
  }

  /** A new round of probes begins with one that is due at once. */
  startRound(now: Instant): void {
    this.sent = 0;
    this.roundAt = now;
    this.nextProbeAt = now;
  }

  probed(now: Instant): void {
    this.sent++;
    this.asked(now);
  }

  /** Something that it answers has left, of its round or not. */
  asked(now: Instant): void {
    this.lastProbeAt = now;
    this.unanswered++;
    if (this.unansweredSince === NEVER) this.unansweredSince = now;
    if (this.state === 'untested' || this.state === 'lost') this.enter('probing', 'untested', now);
  }

  answered(rttMs: number, now: Instant): void {
    this.lastRttMs = rttMs;
    const weight = elapsedMs(this.answeredAt, now) < RARE_MS ? SMOOTHING : SMOOTHING_RARE;
    this.rttMs = this.rttMs === null || this.state !== 'works' ? rttMs : this.rttMs + (rttMs - this.rttMs) * weight;
    this.answeredAt = now;
    this.unanswered = 0;
    this.unansweredSince = NEVER;
    this.enter('works', 'works', now);
  }

  /** It has to prove itself again: what was known of it was of another network, or of another moment. */
  doubt(now: Instant): void {
    this.unanswered = 0;
    this.unansweredSince = NEVER;
    if (this.state === 'works') this.enter('probing', 'untested', now);
  }

  /** For how long it has been asked in vain. */
  silentForMs(now: Instant): number {
    return this.unansweredSince === NEVER ? 0 : elapsedMs(this.unansweredSince, now);
  }
}
