// What the engine counts: every handshake message that is dropped, by reason, and the milestones of sessions. Network
// input is never logged message by message; these numbers are what a person looks at instead.

export const HANDSHAKE_DROPS = [
  'malformed', // the plane let through what is not a handshake message
  'noIdentity', // we have no private key
  'badInitiation', // authentication failed, or an all-zero shared secret
  'unknownPeer', // a valid initiation from a static key that is no peer of ours
  'staleStamp', // TAI64N stamp not greater than the greatest accepted (paper §5.1)
  'initiationFlood', // less than 20 ms after the last valid initiation of this peer
  'unexpectedResponse', // no initiation of ours waits for it
  'badResponse',
  'unexpectedCookie', // no mac1 of ours waits for a cookie
  'badCookie',
  'noMac2', // under load, and answered with a cookie reply
  'rateLimited', // under load, good mac2, but over the rate of its source
  'outOfIndexes',
] as const;
export type HandshakeDrop = (typeof HANDSHAKE_DROPS)[number];

export const MILESTONES = [
  'initiationsSent',
  'responsesSent',
  'cookieRepliesSent',
  'initiationsAccepted',
  'responsesAccepted',
  'cookiesAccepted',
  'sessionsConfirmed',
  'attemptsGivenUp',
  'sessionsClosedIdle',
  'keepalivesSent',
] as const;
export type Milestone = (typeof MILESTONES)[number];

export class EngineCounters {
  readonly dropped: Record<HandshakeDrop, number> = zeros(HANDSHAKE_DROPS);
  readonly reached: Record<Milestone, number> = zeros(MILESTONES);

  drop(reason: HandshakeDrop): void {
    this.dropped[reason]++;
  }

  count(milestone: Milestone): void {
    this.reached[milestone]++;
  }
}

function zeros<K extends string>(names: readonly K[]): Record<K, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<K, number>;
}
