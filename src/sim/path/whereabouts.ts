// Where a simulated node says that it is, as its daemon does (src/daemon/mesh/whereabouts.ts and its neighbours): the addresses of its
// machine, what STUN servers say when they are asked from the tunnel's socket (at the start, when the network changed, and
// again when none answered), and what peers and relays see. Leaves out gateways that map ports.

import { type Instant, NEVER } from '../../base/instant.ts';
import { type Endpoint, endpointParts, type Family, familyOf } from '../../base/ip.ts';
import type { RandomSource } from '../../base/prng.ts';
import { judgeMapping, type NatMapping, type Observation } from '../../path/stun/behaviour.ts';
import { StunClient, type StunResult } from '../../path/stun/client.ts';
import type { Candidate, NodeId } from '../../protocol/values.ts';

/** When no server answered. */
const RETRIES_MS = [2_000, 15_000, 120_000];
/** Others whose word of where they see us is kept, and places that are passed on: what most of them say. */
const WITNESSES_MAX = 16;
const OBSERVED_MAX = 4;

export interface WhereaboutsOptions {
  readonly random: RandomSource;
  readonly servers: readonly Endpoint[];
  readonly send: (to: Endpoint, datagram: Uint8Array) => boolean;
  /** What is told may be different. */
  readonly changed: () => void;
}

export class Whereabouts {
  readonly #options: WhereaboutsOptions;
  readonly #client: StunClient;
  /** Of the last round, by server; null: it did not answer. */
  readonly #seen = new Map<Endpoint, Endpoint | null>();
  /** What each of the others has seen last, the newest at the end. */
  readonly #witnesses = new Map<NodeId, Endpoint>();
  #retryAt: Instant = NEVER;
  #retries = 0;

  constructor(options: WhereaboutsOptions) {
    this.#options = options;
    this.#client = new StunClient({
      random: options.random,
      outputs: { send: options.send, result: (result) => this.#result(result) },
    });
  }

  /** The network is another than before, or the first. */
  networkChanged(now: Instant): void {
    this.#witnesses.clear();
    this.#retries = 0;
    this.#ask(now);
  }

  #ask(now: Instant): void {
    this.#retryAt = NEVER;
    this.#seen.clear();
    this.#client.cancelAll();
    for (const server of this.#options.servers) this.#client.ask(server, now);
  }

  /** A peer or relay sees us there. */
  saw({ id, endpoint }: { readonly id: NodeId; readonly endpoint: Endpoint }): void {
    this.#witnesses.delete(id);
    this.#witnesses.set(id, endpoint);
    const oldest = this.#witnesses.keys().next();
    if (this.#witnesses.size > WITNESSES_MAX && !oldest.done) this.#witnesses.delete(oldest.value);
    this.#options.changed();
  }

  handleDatagram(datagram: Uint8Array, source: Endpoint, now: Instant): void {
    this.#client.handleDatagram(datagram, source, now);
  }

  nextDeadline(): Instant {
    return Math.min(this.#retryAt, this.#client.nextDeadline()) as Instant;
  }

  handleDeadline(now: Instant): void {
    this.#client.handleDeadline(now);
    if (this.#retryAt <= now) this.#ask(now);
    const delay = RETRIES_MS[this.#retries];
    if (this.udp !== 'blocked' || this.#retryAt !== NEVER || delay === undefined) return;
    this.#retries++;
    this.#retryAt = (now + delay) as Instant;
  }

  /** `hosts`: of the machine. What is surer comes before what is guessed. */
  candidates(hosts: readonly Endpoint[]): Candidate[] {
    const told = new Set<Endpoint>();
    const candidates: Candidate[] = [];
    const add = (kind: Candidate['kind'], endpoint: Endpoint): void => {
      if (told.has(endpoint)) return;
      told.add(endpoint);
      candidates.push({ kind, endpoint });
    };
    for (const endpoint of hosts) add('host', endpoint);
    for (const family of [4, 6] as const) {
      const [first] = this.#observations(family);
      if (first !== undefined) add('reflexive', first.reflexive);
    }
    for (const endpoint of this.#observed()) add('observed', endpoint);
    return candidates;
  }

  #observed(): Endpoint[] {
    const votes = new Map<Endpoint, number>();
    for (const endpoint of [...this.#witnesses.values()].reverse()) votes.set(endpoint, (votes.get(endpoint) ?? 0) + 1);
    return [...votes]
      .sort(([, a], [, b]) => b - a)
      .slice(0, OBSERVED_MAX)
      .map(([endpoint]) => endpoint)
      .sort();
  }

  get udp(): 'works' | 'blocked' | 'unknown' {
    if ([...this.#seen.values()].some((reflexive) => reflexive !== null)) return 'works';
    return this.#seen.size === this.#options.servers.length ? 'blocked' : 'unknown';
  }

  /** Of IPv4, or of IPv6 where there is no IPv4. */
  mapping(hosts: readonly Endpoint[]): NatMapping {
    const family = this.#observations(4).length > 0 ? 4 : 6;
    return judgeMapping(this.#observations(family), hosts, family).mapping;
  }

  #observations(family: Family): Observation[] {
    const observations: Observation[] = [];
    for (const [server, reflexive] of this.#seen) {
      if (reflexive !== null && familyOf(endpointParts(reflexive).address) === family)
        observations.push({ server, reflexive });
    }
    return observations;
  }

  #result(result: StunResult): void {
    this.#seen.set(result.server, result.kind === 'reflexive' ? result.reflexive : null);
    this.#options.changed();
  }
}
