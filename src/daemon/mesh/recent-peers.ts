// Who had a session when the tunnel was lost: told to the peers that did not lose theirs by a new handshake at once, because what
// they send until then goes nowhere, and they would notice after fifteen seconds only. Over a restart it is remembered as a
// list of ids (DIR/recent.json), which says nothing without the netmap.

import { fromHex, toBase64 } from '../../base/bytes.ts';
import type { MeshEngine } from '../../mesh/mesh-engine.ts';
import type { NodeId } from '../../protocol/values.ts';

/** More would be a storm of handshakes; the others are noticed in the usual way. */
export const RECENT_MAX = 256;

/** Peers with a session now. Costs one look at each peer. */
export function peersWithSession(mesh: MeshEngine): NodeId[] {
  const keys = new Set<string>();
  for (const peer of mesh.engine.peers()) {
    if (peer.session === null) continue;
    const key = fromHex(peer.publicKeyHex, 32);
    if (key !== null) keys.add(toBase64(key));
    if (keys.size === RECENT_MAX) break;
  }
  if (keys.size === 0) return [];
  const ids: NodeId[] = [];
  for (const node of mesh.netmap.nodes()) if (keys.has(node.publicKey)) ids.push(node.id);
  return ids.sort((a, b) => a - b);
}
