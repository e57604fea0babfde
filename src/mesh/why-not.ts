// Why there is no session with a peer although one is wanted, in a sentence for a person. Says what is known here: what was
// tried, for how long, and whether the controller hears of the other end.

import { elapsedMs, type Instant } from '../base/instant.ts';
import type { MeshPeer } from './mesh-peer.ts';

/** Shorter than this nobody wonders. */
const WONDER_AFTER_MS = 1_000;

/** `addresses`: how many would be tried. Null when nothing is wrong. */
export function whyNot(mesh: MeshPeer, addresses: number, now: Instant): string | null {
  const { node, peer, meeting } = mesh;
  switch (mesh.unattached) {
    case 'ownKey':
      return `the controller gives ${node.name} the key of this machine: two machines share one state directory`;
    case 'duplicateKey':
      return `the controller gives ${node.name} the key of another node`;
    case 'tooMany':
      return 'this machine cannot hold as many peers';
    case null:
      break;
  }
  if (peer === null || peer.state(now).kind === 'established') return null;
  const away = node.online ? '' : `; ${node.name} is not connected to the controller`;
  if (peer.attempt === null)
    return meeting?.gaveUp === true ? `it did not answer; the next packet tries again${away}` : null;
  if (addresses === 0) return `no address of ${node.name} is known yet${away}`;
  const forMs = meeting === null || meeting.attemptAt === null ? 0 : elapsedMs(meeting.attemptAt, now);
  if (forMs < WONDER_AFTER_MS) return null;
  const from = addresses === 1 ? 'its one address' : `any of its ${addresses} addresses`;
  return `no answer from ${from} for ${Math.floor(forMs / 1000)} s${away}`;
}
