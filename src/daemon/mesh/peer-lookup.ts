// Finds the peer that a person named: by name, address, public key or id, or by the beginning of a name that is like no other.
// What is not found is answered with the names near it.

import { nearNames } from '../../base/near-names.ts';
import type { Netmap } from '../../mesh/netmap.ts';
import type { NetmapNode } from '../../protocol/netmap.ts';
import { ProblemError } from './problem-error.ts';
import { ambiguousPeer, unknownPeer } from './problems.ts';

const NEAR_MAX = 3;

/** `self`: it is this machine. Throws a ProblemError. */
export function findPeer(netmap: Netmap, name: string): { readonly node: NetmapNode; readonly self: boolean } {
  const found = netmap.find(name);
  switch (found.kind) {
    case 'found':
      return { node: found.node, self: false };
    case 'self':
      return { node: found.node, self: true };
    case 'ambiguous':
      throw new ProblemError(
        ambiguousPeer(
          name,
          found.nodes.map((node) => node.name),
        ),
      );
    case 'unknown':
      throw new ProblemError(unknownPeer(name, nearNames(name.toLowerCase(), namesOf(netmap), NEAR_MAX)));
  }
}

function* namesOf(netmap: Netmap): Iterable<string> {
  for (const node of netmap.nodes()) yield node.name;
  if (netmap.self !== null) yield netmap.self.name;
}
