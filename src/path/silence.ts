// Silence (docs/paths.md, rules 5 and 7): whether the active path of one peer still carries, found out from what the plane
// stamps in the peer's record anyway. One deadline while something is awaited, none otherwise.
//
//   quiet ── data waits for an answer ──▶ watching ── nothing for 300 ms ──▶ asking ── no answer for as long ──▶ adrift ── nothing from anywhere ──▶ handshake
//     ◀────────── something came in ─────────┘                                  │                                    │
//     ◀────────────────────────── the active path has answered ─────────────────┘   ◀────── any path has answered ───┘

import { after, earliest, elapsedMs, type Instant, latest, NEVER, UNSET } from '../base/instant.ts';

/** Nothing for so long, or for three round trips, is silence. */
export const SILENCE_MS = 300;
/** From the first ping that nobody answers to a new handshake: no path, the relay's included, leads to the session. */
export const SESSION_LOST_MS = 1_000;
/** After so long without a word from the peer the first packet is followed by a ping at once. */
export const LONG_SILENCE_MS = 10_000;
/** The peer's packets come by another path than ours go: ours is asked for an answer of its own so often while it carries data. */
export const APART_CHECK_MS = 1_000;
/** The peer is known to speak, by another path: one that answers neither of two pings within this, or three round trips, is left. */
export const SILENCE_ELSEWHERE_MS = 200;
/** From the first ping of an active path that is asked; only those that have time to be answered are sent. */
const ASKED_AT_MS = [0, 100, 300, 700, 1_500] as const;

/** What the peer's record and its paths say at the moment. */
export interface TrafficFacts {
  /** Since when data that we sent waits for anything authenticated; UNSET: none does. */
  readonly awaitedSince: Instant;
  /** The last authenticated packet, by whatever path. */
  readonly lastReceive: Instant;
  /** Of the active path; null: not measured. */
  readonly rttMs: number | null;
  /** The longest of any path that is being asked. */
  readonly longestRttMs: number;
}

export type SilenceAct =
  | 'ping' // the active path
  | 'lost' // the active path leads nowhere
  | 'handshake' // no path does: the other end has lost the session
  | 'rearm'; // the plane is to tell again when data waits

type State =
  | { readonly kind: 'quiet' }
  /** Data has waited since `since`. */
  | { readonly kind: 'watching'; readonly since: Instant; readonly until: Instant }
  | {
      readonly kind: 'asking';
      readonly since: Instant;
      pings: number;
      verdictAt: Instant;
      /** Only an answer to one of its pings counts: packets that come in come by another path. */
      readonly strict: boolean;
    }
  | { readonly kind: 'adrift'; readonly since: Instant; readonly handshakeAt: Instant };

const QUIET: State = { kind: 'quiet' };
const LONG_AGO = Number.NEGATIVE_INFINITY as Instant;

export function silenceMs(rttMs: number | null): number {
  return Math.max(SILENCE_MS, 3 * (rttMs ?? 0));
}

export class Silence {
  #state: State = QUIET;
  /** The newest packet that is known to have come by another path than the active one. */
  #elsewhereAt: Instant = LONG_AGO;
  /** The peer's packets come by another path than ours go, as far as was seen. */
  #apart = false;
  #activeAnsweredAt: Instant = LONG_AGO;

  get state(): State['kind'] {
    return this.#state.kind;
  }

  /** The ping that is out was sent then, while one is being waited for. */
  get askingSince(): Instant | null {
    return this.#state.kind === 'asking' || this.#state.kind === 'adrift' ? this.#state.since : null;
  }

  get deadline(): Instant {
    const state = this.#state;
    if (state.kind === 'watching') return state.until;
    if (state.kind === 'adrift') return state.handshakeAt;
    return state.kind === 'asking' ? earliest(nextPingAt(state), state.verdictAt) : NEVER;
  }

  /** Another path is the active one, or another session: nothing is awaited of it yet. */
  reset(): void {
    this.#state = QUIET;
    this.#apart = false;
  }

  // — what happens —

  /** The plane says that data has gone out to which nothing has come in yet. */
  dataWaits(facts: TrafficFacts, now: Instant): SilenceAct[] {
    if (this.#state.kind !== 'quiet') return [];
    if (facts.awaitedSince === UNSET) return ['rearm'];
    if (elapsedMs(facts.lastReceive, now) > LONG_SILENCE_MS)
      return this.ask({ strict: false, pinged: false }, facts, now);
    this.#watch(facts);
    return [];
  }

  #watch({ awaitedSince, rttMs }: TrafficFacts): void {
    this.#state = { kind: 'watching', since: awaitedSince, until: after(awaitedSince, silenceMs(rttMs)) };
  }

  /** There is a reason to ask the active path now. `pinged`: something that it answers has just left. */
  ask(how: { readonly strict: boolean; readonly pinged: boolean }, facts: TrafficFacts, now: Instant): SilenceAct[] {
    if (this.#state.kind === 'asking' || this.#state.kind === 'adrift') return [];
    const verdictAt = after(now, silenceMs(facts.rttMs));
    this.#state = { kind: 'asking', since: now, pings: 1, verdictAt, strict: how.strict };
    return how.pinged ? [] : ['ping'];
  }

  /** A packet of the peer came by another path than the active one. */
  heardElsewhere(now: Instant): void {
    this.#elsewhereAt = latest(this.#elsewhereAt, now);
    this.#apart = true;
  }

  /** A probe of the peer came by another path, as they do by all: it says nothing of the active one. */
  pingedElsewhere(now: Instant): void {
    this.#elsewhereAt = latest(this.#elsewhereAt, now);
  }

  /** Another path has answered: what is asked of the active one need not wait for as long. */
  otherAnswered(facts: TrafficFacts, now: Instant): SilenceAct[] {
    this.#elsewhereAt = latest(this.#elsewhereAt, now);
    const state = this.#state;
    if (state.kind === 'adrift') return this.#calm();
    if (state.kind === 'asking') {
      const least = Math.max(SILENCE_ELSEWHERE_MS, 3 * (facts.rttMs ?? 0));
      state.verdictAt = Math.min(state.verdictAt, Math.max(now, state.since + least)) as Instant;
    }
    return [];
  }

  /** The active path has answered a ping. */
  activeAnswered(now: Instant): SilenceAct[] {
    this.#activeAnsweredAt = now;
    return this.#state.kind === 'asking' || this.#state.kind === 'adrift' ? this.#calm() : [];
  }

  /** Another path is the active one; what the state is of stays. */
  movedOn(): void {
    this.#apart = false;
  }

  /** To be called at `deadline`. */
  handleDeadline(facts: TrafficFacts, now: Instant): SilenceAct[] {
    const state = this.#state;
    if (this.deadline > now) return [];
    switch (state.kind) {
      case 'quiet':
        return [];
      case 'watching':
        return this.#watched(state, facts, now);
      case 'asking':
        return this.#asked(state, facts, now);
      case 'adrift':
        if (facts.lastReceive >= state.since) return this.#calm();
        this.#state = QUIET;
        return ['handshake'];
    }
  }

  #watched(state: Extract<State, { kind: 'watching' }>, facts: TrafficFacts, now: Instant): SilenceAct[] {
    this.#state = QUIET;
    // An answer that another path gave to a probe of its own is none to the data.
    if (facts.lastReceive < state.since || facts.lastReceive <= this.#elsewhereAt) {
      return this.ask({ strict: false, pinged: false }, facts, now);
    }
    // Something has come in; where the peer's packets come by another path, that says nothing of this one.
    if (this.#apart && elapsedMs(this.#activeAnsweredAt, now) >= APART_CHECK_MS) {
      return this.ask({ strict: true, pinged: false }, facts, now);
    }
    if (facts.awaitedSince === UNSET) return ['rearm'];
    this.#watch(facts);
    return this.deadline > now ? [] : this.ask({ strict: false, pinged: false }, facts, now);
  }

  #asked(state: Extract<State, { kind: 'asking' }>, facts: TrafficFacts, now: Instant): SilenceAct[] {
    if (state.verdictAt > now) {
      state.pings++;
      return ['ping'];
    }
    // Once its packets come by another path the plane tells of that path no more: then they say nothing of the active one.
    const strict = state.strict || this.#apart;
    if (!strict && facts.lastReceive >= state.since && facts.lastReceive > this.#elsewhereAt) return this.#calm();
    const answerBy = after(now, silenceMs(facts.longestRttMs));
    this.#state = {
      kind: 'adrift',
      since: state.since,
      handshakeAt: latest(after(state.since, SESSION_LOST_MS), answerBy),
    };
    return ['lost'];
  }

  #calm(): SilenceAct[] {
    this.#state = QUIET;
    return ['rearm'];
  }
}

/** Repeated, so that one lost packet does not end a path, while an answer could still be in time. */
function nextPingAt(state: Extract<State, { kind: 'asking' }>): Instant {
  const offset = ASKED_AT_MS[state.pings];
  const span = state.verdictAt - state.since;
  return offset === undefined || offset > 0.75 * span ? NEVER : after(state.since, offset);
}
