// What a change of the netmap means to the daemon, beyond what the mesh engine does with it by itself: whom to ask for a sign of
// life, and what is worth a write to the disk.

import type { NetmapChange } from '../../mesh/netmap.ts';
import type { NodeId } from '../../protocol/values.ts';

/** Peers that are back or elsewhere: they may have lost the session that we still have. */
export function returned(changes: readonly NetmapChange[]): NodeId[] {
  return changes.flatMap((change) => {
    if (change.kind !== 'changed') return [];
    const { aspects, node } = change;
    return aspects.includes('candidates') || (aspects.includes('presence') && node.online) ? [node.id] : [];
  });
}

/** Who is online is old when it is read again. */
export function isWorthKeeping(changes: readonly NetmapChange[]): boolean {
  return changes.some((change) => change.kind !== 'changed' || change.aspects.some((aspect) => aspect !== 'presence'));
}
