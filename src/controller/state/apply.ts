// Applies changes to the state, durable or draft. Decides nothing, refuses nothing, and does no harm when repeated, but for
// operations, whose numbers must follow one another.

import { unreachable } from '../../base/assert.ts';
import type { MeshState } from './mesh-state.ts';
import type { Change } from './model.ts';

export function apply(state: MeshState, changes: readonly Change[]): void {
  for (const change of changes) applyOne(state, change);
}

function applyOne(state: MeshState, change: Change): void {
  switch (change.kind) {
    case 'putNode':
      state.putNode(change.node);
      break;
    case 'deleteNode':
      state.deleteNode(change.id);
      break;
    case 'putAuthKey':
      state.putAuthKey(change.key);
      break;
    case 'putToken':
      state.putToken(change.token);
      break;
    case 'settings':
      state.putSettings(change.settings);
      break;
    case 'op':
      state.putOp(change.entry);
      break;
    case 'audit':
      break;
    default:
      unreachable(change);
  }
}
