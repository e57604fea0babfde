// What a registered node asks: other candidates, another key, to go. A node that is gone by now changes nothing: its
// connection has been told.

import { sameReach, type Whereabouts } from '../../protocol/reach.ts';
import type { PublicKeyText } from '../../protocol/values.ts';
import { sameCandidates } from './candidates.ts';
import type { Decision, Outcome, Speaker } from './commands.ts';
import { actorOf, nodeOf, refused } from './decide-register.ts';
import { Drafting } from './drafting.ts';
import type { StateView } from './state-view.ts';
import type { Surroundings } from './surroundings.ts';

const NOTHING: Decision = { changes: [], outcome: { kind: 'done' } };

export function decideCandidates(
  view: StateView,
  speaker: Speaker,
  { candidates, reach }: Whereabouts,
  around: Surroundings,
): Decision {
  const node = nodeOf(view, speaker);
  if (node === undefined) return NOTHING;
  if (sameCandidates(node.candidates, candidates) && sameReach(node.reach, reach)) return NOTHING;
  const drafting = new Drafting(view, around.wall);
  drafting.putNode({ ...node, candidates, reach });
  return decided(drafting);
}

/** The same key again is granted again: the answer to the first request may have been lost. */
export function decideRotateKey(
  view: StateView,
  speaker: Speaker,
  publicKey: PublicKeyText,
  around: Surroundings,
): Decision {
  const node = nodeOf(view, speaker);
  if (node === undefined) return NOTHING;
  const holder = view.nodeByKey(publicKey);
  if (holder !== undefined && holder.id !== node.id) return refused('keyInUse');
  const drafting = new Drafting(view, around.wall);
  if (holder === undefined) {
    drafting.putNode({ ...node, publicKey });
    drafting.audit(actorOf(node, speaker), 'nodes.rotate-key', String(node.id), { publicKey });
  }
  return decided(drafting, { kind: 'keyRotated', publicKey });
}

/** `down` is not believed of a node that has another connection by now. */
export function decideGoodbye(
  view: StateView,
  speaker: Speaker,
  reason: 'down' | 'logout',
  around: Surroundings,
): Decision {
  const node = nodeOf(view, speaker);
  if (node === undefined) return NOTHING;
  const drafting = new Drafting(view, around.wall);
  if (reason === 'logout') {
    drafting.deleteNode(node);
    drafting.audit(actorOf(node, speaker), 'nodes.logout', String(node.id), { name: node.name });
  } else if (node.online && !around.isConnected(node.id)) {
    drafting.putNode({ ...node, online: false, lastSeenAt: around.wall });
  }
  return decided(drafting);
}

function decided(drafting: Drafting, outcome: Outcome = { kind: 'done' }): Decision {
  return { changes: drafting.changes(), outcome };
}
