// What the controller may not have a node do, whoever runs it: a range that would take the machine's own traffic, or an address outside
// of it. Such a network is refused as a whole.

import type { Netmap } from '../../mesh/netmap.ts';
import type { Problem } from '../../protocol/local-api.ts';
import { isInRange, unfitRange } from '../../protocol/mesh-range.ts';
import { networkUnfit } from './problems.ts';

/** Null when there is nothing wrong with it, or nothing known yet. */
export function unfitNetwork({ self, network }: Pick<Netmap, 'self' | 'network'>): Problem | null {
  if (self === null || network === null) return null;
  for (const [prefix, address] of [
    [network.prefix4, self.address4],
    [network.prefix6, self.address6],
  ] as const) {
    const why = unfitRange(prefix) ?? (isInRange(prefix, address) ? null : `our address ${address} is not in it`);
    if (why !== null) return networkUnfit(prefix, why);
  }
  return null;
}
