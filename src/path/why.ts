// Why each remote of a peer is used or not, and what would mend it: from facts to a cause of the fixed list (src/protocol/causes.ts,
// docs/why.md). Judges what was seen and nothing else: where two causes would look alike, it names the one that the person can
// do most about. Pure; who gathers the facts is src/mesh.

import { elapsedMs, type Instant, NEVER } from '../base/instant.ts';
import { endpointParts, type Family, familyOf, type IpAddress } from '../base/ip.ts';
import type { PathCause } from '../protocol/causes.ts';
import type { Mapping } from '../protocol/reach.ts';
import { isPublicAddress } from './portmap/outer-address.ts';
import type { Remote } from './remote.ts';

/** One side of the pair. */
export interface SideFacts {
  readonly mapping: Mapping;
  readonly udp: 'works' | 'blocked' | 'unknown';
  readonly families: readonly Family[];
}

export interface WhyFacts {
  readonly self: SideFacts & {
    /** Where others see this machine come from. */
    readonly outside: readonly IpAddress[];
    /** Null: there is none, or it has not answered. */
    readonly homeRelay: string | null;
    readonly relayRefused: boolean;
    /** The key of this machine has expired, or it is no member for another reason. */
    readonly lockedOut: boolean;
    readonly clockOff: boolean;
  };
  readonly peer: SideFacts & {
    readonly name: string;
    /** The controller hears from it. */
    readonly online: boolean;
    readonly session: 'idle' | 'connecting' | 'established';
    /** It has a home relay. */
    readonly hasRelay: boolean;
  };
  readonly remotes: readonly Remote[];
  readonly active: Remote | null;
  /** Small probes were answered there and large ones were not. */
  readonly isBlackHole: (remote: Remote) => boolean;
  /** Name of the relay of a relayed remote. */
  readonly relayName: (remote: Remote) => string | null;
}

export interface Verdict {
  readonly causes: ReadonlyMap<Remote, PathCause>;
  /** What keeps the pair from a direct path, the weightiest first; empty when it has one, or nothing is asked of it. */
  readonly pair: readonly PathCause[];
  readonly summary: string;
  readonly advice: readonly string[];
}

/** Packets of the peer that came from a remote so recently show that it reaches us by it. */
const HEARD_OF_LATE_MS = 60_000;

/** The weightiest first: what mends most, or makes the rest pointless. */
const WEIGHT: readonly PathCause[] = [
  'keyExpired',
  'clock',
  'policy',
  'peerOffline',
  'udpBlocked',
  'mtuBlackHole',
  'oneWay',
  'mappingVaries',
  'filtered',
  'hairpin',
  'noCandidate',
  'noFamily',
  'silent',
  'noRelay',
  'relayRefused',
];

export function judge(facts: WhyFacts, now: Instant): Verdict {
  const causes = new Map<Remote, PathCause>();
  for (const remote of facts.remotes) causes.set(remote, causeOf(remote, facts, now));
  const pair = pairCauses(facts, causes);
  return { causes, pair, summary: summaryOf(facts, pair), advice: adviceOn(pair, facts) };
}

function causeOf(remote: Remote, facts: WhyFacts, now: Instant): PathCause {
  const { self, peer, active } = facts;
  if (facts.isBlackHole(remote)) return 'mtuBlackHole';
  if (remote === active && remote.state === 'works') return 'works';
  if (remote.state === 'works') return active === null ? 'works' : 'worse';
  if (remote.isRelayed) return relayCause(remote, facts);
  const family = familyOf(endpointParts(remote.endpoint).address);
  if (!self.families.includes(family)) return 'noFamily';
  if (remote.state === 'untested') return 'untested';
  if (self.lockedOut) return 'keyExpired';
  if (peer.session !== 'established' && self.clockOff) return 'clock';
  if (peer.session !== 'established' && !peer.online) return 'peerOffline';
  if (isOneWay(remote, now)) return 'oneWay';
  if (remote.state === 'probing') return remote.cause === 'silent' ? 'silent' : 'untested';
  if (self.udp === 'blocked' || peer.udp === 'blocked') return 'udpBlocked';
  if (remote.state === 'lost') return 'silent';
  return unreached(remote, facts);
}

/** Packets of the peer came from there after ours had begun to be lost, not only before. */
function isOneWay({ heardAt, answeredAt, unansweredSince }: Remote, now: Instant): boolean {
  if (elapsedMs(heardAt, now) >= HEARD_OF_LATE_MS || heardAt <= answeredAt) return false;
  return unansweredSince === NEVER || heardAt > unansweredSince;
}

/** Probed in vain, and it never answered. */
function unreached(remote: Remote, { self, peer }: WhyFacts): PathCause {
  const { address } = endpointParts(remote.endpoint);
  if (remote.kind !== 'host' && self.outside.includes(address)) return 'hairpin';
  if (remote.kind === 'host' && !isPublicAddress(address) && !remote.sameLink) return 'elsewhere';
  if (remote.kind !== 'host' && remote.kind !== 'mapped' && self.mapping === 'varies' && peer.mapping === 'varies') {
    return 'mappingVaries';
  }
  return 'filtered';
}

function relayCause(remote: Remote, { self }: WhyFacts): PathCause {
  if (self.relayRefused) return 'relayRefused';
  if (self.homeRelay === null) return 'noRelay';
  if (remote.state === 'lost') return 'silent';
  return remote.state === 'failed' ? 'noRelay' : 'untested';
}

function pairCauses(facts: WhyFacts, causes: ReadonlyMap<Remote, PathCause>): PathCause[] {
  const { self, peer, active, remotes } = facts;
  if (active !== null && !active.isRelayed && active.state === 'works') return [];
  const found = new Set<PathCause>();
  for (const [remote, cause] of causes) {
    // Of relayed remotes only what keeps the pair from any path at all.
    if (remote.isRelayed && active !== null) continue;
    if (WEIGHT.includes(cause)) found.add(cause);
  }
  const direct = remotes.filter((remote) => !remote.isRelayed);
  if (self.lockedOut) found.add('keyExpired');
  if (peer.session === 'established') {
    if (self.udp === 'blocked' || peer.udp === 'blocked') found.add('udpBlocked');
    if (!direct.some((remote) => self.families.includes(familyOf(endpointParts(remote.endpoint).address)))) {
      found.add('noCandidate');
    }
  } else if (!peer.online) {
    found.add('peerOffline');
  }
  // That both map by destination explains why packets are filtered, and so does that none leaves.
  if (found.has('mappingVaries') || found.has('udpBlocked')) found.delete('filtered');
  if (active === null && !peer.hasRelay) found.add('noRelay');
  return WEIGHT.filter((cause) => found.has(cause));
}

const BECAUSE: Partial<Record<PathCause, string>> = {
  keyExpired: 'a key has expired',
  clock: 'a clock is off',
  policy: 'the network’s policy forbids it',
  peerOffline: 'it is not connected to the controller',
  udpBlocked: 'UDP does not leave one of the two networks',
  mtuBlackHole: 'large packets get lost on the direct way',
  oneWay: 'packets pass in one direction only',
  mappingVaries: 'both NATs give another port for each destination',
  filtered: 'a firewall or NAT drops what comes in directly',
  hairpin: 'both are behind one NAT that does not turn packets round',
  noCandidate: 'it tells no address that this machine could use',
  noFamily: 'this machine has no address of the family that it tells',
  silent: 'the direct path fell silent',
  noRelay: 'no relay is reachable',
  relayRefused: 'the relay refused',
};

function summaryOf(facts: WhyFacts, pair: readonly PathCause[]): string {
  const { active, peer } = facts;
  const [first] = pair;
  const because = first === undefined ? '' : `, because ${BECAUSE[first] ?? first}`;
  if (peer.session === 'idle') return first === undefined ? 'idle: nobody speaks to it' : `idle${because}`;
  if (active === null || peer.session === 'connecting') return `not connected yet${because}`;
  const rtt = active.rttMs === null ? '' : `, ${active.rttMs.toFixed(1)} ms`;
  if (!active.isRelayed) return `direct${rtt}${because}`;
  const name = facts.relayName(active);
  const looking = first === undefined ? '; direct paths are being tried' : because;
  return `relayed${name === null ? '' : ` by ${name}`}${rtt}${looking}`;
}

function adviceOn(pair: readonly PathCause[], { self, peer }: WhyFacts): string[] {
  const advice: string[] = [];
  for (const cause of pair) {
    switch (cause) {
      case 'keyExpired':
        advice.push(
          'join again with `warren up --join LINK`, or have the node’s expiry set anew by `warren nodes expire --in`',
        );
        break;
      case 'clock':
        advice.push('set the clock of both machines (NTP)');
        break;
      case 'peerOffline':
        advice.push(`look whether ${peer.name} is on and its daemon runs: \`warren status\` there`);
        break;
      case 'udpBlocked':
        advice.push(
          self.udp === 'blocked'
            ? 'let UDP out of this machine’s network'
            : `let UDP out of the network of ${peer.name}`,
        );
        break;
      case 'mappingVaries':
        advice.push(
          'on one of the two routers switch on UPnP, NAT-PMP or PCP, or forward the tunnel’s UDP port; or give both machines IPv6',
        );
        break;
      case 'filtered':
        advice.push('let the tunnel’s UDP port in at one of the two firewalls or routers');
        break;
      case 'oneWay':
        advice.push('look for a firewall or a route that lets packets through in one direction only');
        break;
      case 'mtuBlackHole':
        advice.push(
          'have the routers between the two send ICMP “too big”, or lower the MTU of the interface that they are on',
        );
        break;
      case 'noCandidate':
      case 'noFamily':
        advice.push('give both machines an address of the same family');
        break;
      case 'noRelay':
        advice.push(
          'run a relay (`warren relay`, or the controller’s own) that both can reach by UDP port 7370 or HTTPS',
        );
        break;
      case 'relayRefused':
        advice.push('look at the relay’s log and metrics: it is full, draining, or does not know this node');
        break;
      default:
        break;
    }
  }
  return advice;
}
