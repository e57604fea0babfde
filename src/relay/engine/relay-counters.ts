// What the relay engine counts: what members ask of it, and what it says. Never logged one by one; what is forwarded is counted by the
// plane (TOTALS, and each peer's record), handshakes by the WireGuard engine.

export const RELAY_COUNTERS = [
  'allocations', // slots given, the same one again included
  'allocationsRefused',
  'slotsReleased', // of sessions that ended, members that went, and those that were silent for too long
  'quotasExceeded',
  'pingsAnswered',
  'framesLimited', // of a member that says more than it may
  'framesUnknown', // of a kind or version that is not known, or not for a relay
  'framesMalformed',
  'membersSkipped', // records that cannot be peers: a key twice, too many
] as const;
export type RelayCounter = (typeof RELAY_COUNTERS)[number];

export class RelayCounters {
  readonly counts: Record<RelayCounter, number> = Object.fromEntries(RELAY_COUNTERS.map((name) => [name, 0])) as Record<
    RelayCounter,
    number
  >;

  count(name: RelayCounter): void {
    this.counts[name]++;
  }
}
