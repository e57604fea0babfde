// Where peers have seen us come from, as candidates beside those of our interfaces: behind a NAT they are what others can use. One
// for each of the peers that told last, so that one that lies pushes out nobody's but its own; forgotten when the network changes,
// because they were true of the old one. Whether an address makes sense at all is told by whoever knows the mesh.

import type { Endpoint } from '../../base/ip.ts';
import { CANDIDATES_MAX, type Candidate, isShareable, type NodeId } from '../../protocol/values.ts';

export const OBSERVED_MAX = 4;
/** Peers whose word is kept; several may say the same. */
const PEERS_MAX = 16;

export class ObservedAddresses {
  /** What each has seen last, the newest at the end. */
  readonly #seen = new Map<NodeId, Endpoint>();

  /** True when what is told of us may be different by it. */
  saw({ id, endpoint }: { readonly id: NodeId; readonly endpoint: Endpoint }): boolean {
    if (!isShareable(endpoint)) return false;
    const before = this.#chosen().join();
    this.#seen.delete(id);
    this.#seen.set(id, endpoint);
    if (this.#seen.size > PEERS_MAX) {
      const [oldest] = this.#seen.keys();
      if (oldest !== undefined) this.#seen.delete(oldest);
    }
    return this.#chosen().join() !== before;
  }

  clear(): void {
    this.#seen.clear();
  }

  /** `hosts`, and what was seen that is none of them; in an order that does not depend on who spoke last. */
  addTo(hosts: readonly Candidate[]): Candidate[] {
    const own = new Set<string>(hosts.map(({ endpoint }) => endpoint));
    const observed = this.#chosen().filter((endpoint) => !own.has(endpoint));
    const kept = hosts.slice(0, CANDIDATES_MAX - observed.length);
    return [...kept, ...observed.map((endpoint): Candidate => ({ kind: 'observed', endpoint }))];
  }

  /** What most of them say; of those that as many say, the newest. */
  #chosen(): Endpoint[] {
    const votes = new Map<Endpoint, number>();
    for (const endpoint of [...this.#seen.values()].reverse()) votes.set(endpoint, (votes.get(endpoint) ?? 0) + 1);
    const ranked = [...votes].sort(([, a], [, b]) => b - a).slice(0, OBSERVED_MAX);
    return ranked.map(([endpoint]) => endpoint).sort();
  }
}
