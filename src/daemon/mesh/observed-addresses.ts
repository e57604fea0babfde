// Where peers have seen us come from, as candidates beside those of our interfaces: behind a NAT they are what others can use. The
// newest few; forgotten when the network changes, because they were true of the old one.

import type { Endpoint } from '../../base/ip.ts';
import { CANDIDATES_MAX, type Candidate, isShareable, type NodeId } from '../../protocol/values.ts';

export const OBSERVED_MAX = 4;

export class ObservedAddresses {
  /** Newest last. */
  readonly #seen = new Set<Endpoint>();

  /** True when it was not known. */
  saw({ endpoint }: { readonly id: NodeId; readonly endpoint: Endpoint }): boolean {
    if (!isShareable(endpoint)) return false;
    const known = this.#seen.delete(endpoint);
    this.#seen.add(endpoint);
    if (this.#seen.size > OBSERVED_MAX) {
      const [oldest] = this.#seen;
      if (oldest !== undefined) this.#seen.delete(oldest);
    }
    return !known;
  }

  clear(): void {
    this.#seen.clear();
  }

  /** `hosts`, and what was seen that is none of them; in an order that does not depend on who spoke last. */
  addTo(hosts: readonly Candidate[]): Candidate[] {
    const own = new Set<string>(hosts.map(({ endpoint }) => endpoint));
    const observed = [...this.#seen].filter((endpoint) => !own.has(endpoint)).sort();
    const kept = hosts.slice(0, CANDIDATES_MAX - observed.length);
    return [...kept, ...observed.map((endpoint): Candidate => ({ kind: 'observed', endpoint }))];
  }
}
