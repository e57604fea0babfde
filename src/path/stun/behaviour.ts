// How the NAT in front of us maps (RFC 4787 §4.1), judged from where several servers saw one socket come from; and, of a server
// with two addresses, how it maps and filters exactly, by the tests of RFC 5780 §4.3 and §4.4. Pure: requests are StunClient's.
// Leaves out hairpinning, lifetimes and fragments.

import type { Instant } from '../../base/instant.ts';
import { type Endpoint, endpointParts, type Family, familyOf, formatEndpoint } from '../../base/ip.ts';
import type { AskOptions, StunResult } from './client.ts';

/**
 * - none: a server sees an address and port of ours
 * - independent: every destination sees the same (easy)
 * - varies: destinations see different ones (hard: known only to whom we send)
 */
export type NatMapping = 'none' | 'independent' | 'varies' | 'unknown';

/** A server's address and port, and where it saw us come from. */
export interface Observation {
  readonly server: Endpoint;
  readonly reflexive: Endpoint;
}

export interface MappingVerdict {
  readonly mapping: NatMapping;
  /**
   * False when `independent` was seen over ports of one address alone: a NAT that maps by address, but not by port, looks
   * the same. True for the other verdicts.
   */
  readonly certain: boolean;
}

/**
 * `observations` of one socket in the order of their time, none older than a NAT's mapping lasts; of one destination the last
 * counts, and those whose reflexive address is not of `family` are passed over. `local`: where that socket is, on every
 * address of the machine. One destination that is not one of those says nothing.
 */
export function judgeMapping(
  observations: readonly Observation[],
  local: readonly Endpoint[],
  family: Family,
): MappingVerdict {
  const seen = new Map<Endpoint, Endpoint>();
  for (const { server, reflexive } of observations) {
    if (familyOf(endpointParts(reflexive).address) === family) seen.set(server, reflexive);
  }
  const reflexives = new Set(seen.values());
  if (reflexives.size > 1) return { mapping: 'varies', certain: true };
  if (local.some((endpoint) => reflexives.has(endpoint))) return { mapping: 'none', certain: true };
  if (seen.size < 2) return { mapping: 'unknown', certain: true };
  const addresses = new Set([...seen.keys()].map((server) => endpointParts(server).address));
  return { mapping: 'independent', certain: addresses.size > 1 };
}

/** The terms of RFC 4787 §4.1 and §5. */
export type NatDependence = 'endpointIndependent' | 'addressDependent' | 'addressAndPortDependent';

export interface NatBehaviour {
  readonly mapping: NatDependence | 'none' | 'unknown';
  readonly filtering: NatDependence | 'unknown';
  /** Where the server sees us; null when it does not answer. */
  readonly reflexive: Endpoint | null;
  /** Why something is unknown; null when nothing is. */
  readonly problem: 'noAnswer' | 'noOtherAddress' | 'otherSilent' | null;
}

export interface DiscoveryOptions {
  /** `StunClient.ask`; null when it has no room: what hangs on it stays unknown. */
  readonly ask: (server: Endpoint, now: Instant, options?: AskOptions) => number | null;
  /** Where the socket is. */
  readonly local: readonly Endpoint[];
  /** Whether the other address that a server names may be sent requests. */
  readonly isUsable: (endpoint: Endpoint) => boolean;
  readonly done: (behaviour: NatBehaviour) => void;
}

type Step = 'first' | 'filterBoth' | 'filterPort' | 'otherAddress' | 'otherBoth';

/**
 * One run against one server; `handleResult` is called with every result of the client, those of others are not taken.
 * Filtering comes first, because a request to the other address opens the NAT for its answers. On a socket that sent to
 * the other address not long before, filtering looks looser than it is.
 */
export class NatDiscovery {
  readonly #options: DiscoveryOptions;
  readonly #server: Endpoint;
  #step: Step = 'first';
  #waitsFor: number | null = null;
  #other: Endpoint | null = null;
  #reflexive: Endpoint | null = null;
  /** As the other address sees us, on the server's own port. */
  #second: Endpoint | null = null;
  #filtering: NatDependence | 'unknown' = 'unknown';

  constructor(server: Endpoint, options: DiscoveryOptions) {
    this.#server = server;
    this.#options = options;
  }

  start(now: Instant): void {
    this.#ask('first', this.#server, now);
  }

  /** True when the result was this run's. */
  handleResult(result: StunResult, now: Instant): boolean {
    if (result.transaction !== this.#waitsFor) return false;
    this.#waitsFor = null;
    const reflexive = result.kind === 'reflexive' ? result.reflexive : null;
    switch (this.#step) {
      case 'first':
        this.#first(result, now);
        break;
      case 'filterBoth':
        if (reflexive !== null) this.#filtered('endpointIndependent', now);
        else this.#ask('filterPort', this.#server, now, { address: false, port: true });
        break;
      case 'filterPort':
        this.#filtered(reflexive !== null ? 'addressDependent' : 'addressAndPortDependent', now);
        break;
      case 'otherAddress':
        this.#otherAddress(reflexive, now);
        break;
      case 'otherBoth':
        if (reflexive === null) this.#finish('unknown', 'otherSilent');
        else this.#finish(reflexive === this.#second ? 'addressDependent' : 'addressAndPortDependent', null);
        break;
    }
    return true;
  }

  #first(result: StunResult, now: Instant): void {
    if (result.kind === 'failed') {
      this.#finish('unknown', 'noAnswer');
      return;
    }
    this.#reflexive = result.reflexive;
    if (result.other === null || !this.#isAnother(result.other)) {
      this.#finish(this.#isLocal() ? 'none' : 'unknown', 'noOtherAddress');
      return;
    }
    this.#other = result.other;
    this.#ask('filterBoth', this.#server, now, { address: true, port: true });
  }

  #filtered(filtering: NatDependence, now: Instant): void {
    this.#filtering = filtering;
    this.#ask('otherAddress', this.#otherAt(this.#server), now);
  }

  #otherAddress(reflexive: Endpoint | null, now: Instant): void {
    if (reflexive === null) {
      // What was not let in may never have been sent.
      if (this.#filtering !== 'endpointIndependent') this.#filtering = 'unknown';
      this.#finish(this.#isLocal() ? 'none' : 'unknown', 'otherSilent');
    } else if (this.#isLocal()) {
      this.#finish('none', null);
    } else if (reflexive === this.#reflexive) {
      this.#finish('endpointIndependent', null);
    } else {
      this.#second = reflexive;
      this.#ask('otherBoth', this.#otherAt(this.#other ?? this.#server), now);
    }
  }

  /** Address and port have to differ from the server's, and the family to be its own. */
  #isAnother(other: Endpoint): boolean {
    const mine = endpointParts(this.#server);
    const { address, port } = endpointParts(other);
    const differs = address !== mine.address && port !== mine.port && familyOf(address) === familyOf(mine.address);
    return differs && this.#options.isUsable(other);
  }

  #isLocal(): boolean {
    return this.#reflexive !== null && this.#options.local.includes(this.#reflexive);
  }

  /** The other address with the port of `endpoint`. */
  #otherAt(endpoint: Endpoint): Endpoint {
    const { address } = endpointParts(this.#other ?? endpoint);
    return formatEndpoint(address, endpointParts(endpoint).port);
  }

  #ask(
    step: Step,
    server: Endpoint,
    now: Instant,
    change?: { readonly address: boolean; readonly port: boolean },
  ): void {
    this.#step = step;
    const options = change === undefined ? {} : { change, answerFrom: this.#answersFrom(change.address) };
    this.#waitsFor = this.#options.ask(server, now, options);
    if (this.#waitsFor === null) this.#finish('unknown', this.#reflexive === null ? 'noAnswer' : 'otherSilent');
  }

  #answersFrom(otherAddress: boolean): Endpoint {
    const other = this.#other ?? this.#server;
    return otherAddress ? other : formatEndpoint(endpointParts(this.#server).address, endpointParts(other).port);
  }

  #finish(mapping: NatBehaviour['mapping'], problem: NatBehaviour['problem']): void {
    this.#options.done({ mapping, filtering: this.#filtering, reflexive: this.#reflexive, problem });
  }
}
