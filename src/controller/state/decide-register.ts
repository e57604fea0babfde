// Registration: a new node joins with an auth key, a known one comes back with its key alone, and one whose time had run
// out is renewed by an auth key, with its addresses and name. An auth key of a known node in good standing is not used up.

import type { ErrorCode, RegisterMessage } from '../../protocol/control.ts';
import { RELAY_TAG, sameReach } from '../../protocol/reach.ts';
import type { NodeId, PublicKeyText } from '../../protocol/values.ts';
import { addressesOf, findHost, findHostFromEnd } from './addresses.ts';
import { sameCandidates, sharedCandidates } from './candidates.ts';
import type { Actor, Decision, Outcome, Speaker } from './commands.ts';
import { Drafting } from './drafting.ts';
import type { AuthKeyRecord, NodeRecord } from './model.ts';
import { isMadeFrom, uniqueName } from './names.ts';
import { equalHashes, hashSecret } from './secrets.ts';
import { authKeyStateOf, isExpired, type StateView } from './state-view.ts';
import type { Surroundings } from './surroundings.ts';

/** Of auth keys that let nobody in. */
export const AUTH_KEY_ERRORS: readonly ErrorCode[] = [
  'authKeyInvalid',
  'authKeyExpired',
  'authKeyUsed',
  'authKeyRevoked',
];

/** Whether the outcome of this registration depends on its auth key. */
export function needsAuthKey(view: StateView, speaker: Speaker, around: Pick<Surroundings, 'wall'>): boolean {
  const known = nodeOf(view, speaker);
  return known === undefined || (!known.disabled && isExpired(known, around.wall));
}

export function decideRegister(
  view: StateView,
  speaker: Speaker,
  message: RegisterMessage,
  around: Surroundings,
): Decision {
  const known = nodeOf(view, speaker);
  if (known?.disabled) return refused('nodeDisabled');
  if (known !== undefined && !isExpired(known, around.wall)) return comeBack(view, known, speaker, message, around);
  if (message.authKey === null) return refused(withoutAuthKey(known, speaker.publicKey, around));
  const key = findAuthKey(view, message.authKey, around);
  if (typeof key === 'string') return refused(key);
  if (known !== undefined) return renew(view, known, key, speaker, message, around);
  return join(view, key, speaker, message, around);
}

/** A bound connection speaks for its node even after a change of keys. */
export function nodeOf(view: StateView, speaker: Speaker): NodeRecord | undefined {
  return speaker.nodeId === null ? view.nodeByKey(speaker.publicKey) : view.node(speaker.nodeId);
}

function join(
  view: StateView,
  key: AuthKeyRecord,
  speaker: Speaker,
  message: RegisterMessage,
  around: Surroundings,
): Decision {
  const isRelay = key.tags.includes(RELAY_TAG);
  const host = isRelay ? findHostFromEnd(view) : findHost(view);
  if (host === null) return refused('addressesExhausted');
  const { settings } = view;
  const drafting = new Drafting(view, around.wall);
  const node = drafting.putNode({
    id: settings.nextNodeId as NodeId,
    publicKey: speaker.publicKey,
    name: uniqueName(message.hostname, view),
    ...addressesOf(settings, host),
    tags: key.tags,
    ephemeral: key.ephemeral,
    approved: !settings.requireApproval || key.preApproved,
    disabled: false,
    expiresAt: null,
    createdAt: around.wall,
    lastSeenAt: around.wall,
    online: true,
    joinedWith: key.id,
    ...saidBy(speaker, message),
  });
  drafting.settings({ nextNodeId: settings.nextNodeId + 1, nextHost: isRelay ? settings.nextHost : host + 1 });
  useKey(drafting, key, around);
  drafting.audit(actorOf(node, speaker), 'nodes.join', String(node.id), {
    name: node.name,
    addresses: [node.address4, node.address6],
    key: key.id,
    approved: node.approved,
  });
  return registered(drafting, node, 'joined');
}

function renew(
  view: StateView,
  known: NodeRecord,
  key: AuthKeyRecord,
  speaker: Speaker,
  message: RegisterMessage,
  around: Surroundings,
): Decision {
  const drafting = new Drafting(view, around.wall);
  const node = drafting.putNode({
    ...known,
    expiresAt: null,
    approved: known.approved || !view.settings.requireApproval || key.preApproved,
    online: true,
    lastSeenAt: around.wall,
    joinedWith: key.id,
    ...saidBy(speaker, message),
  });
  useKey(drafting, key, around);
  drafting.audit(actorOf(node, speaker), 'nodes.renew', String(node.id), { name: node.name, key: key.id });
  return registered(drafting, node, 'renewed');
}

/** Without a change, nothing has to be stored. A name that was made of the hostname follows it. */
function comeBack(
  view: StateView,
  known: NodeRecord,
  speaker: Speaker,
  message: RegisterMessage,
  around: Surroundings,
): Decision {
  const drafting = new Drafting(view, around.wall);
  const said = saidBy(speaker, message);
  const follows = known.hostname !== said.hostname && isMadeFrom(known.name, known.hostname);
  const name = follows && !isMadeFrom(known.name, said.hostname) ? uniqueName(said.hostname, view) : known.name;
  const online = known.approved;
  const unchanged =
    known.online === online &&
    known.name === name &&
    known.hostname === said.hostname &&
    known.os === said.os &&
    known.software === said.software &&
    sameCandidates(known.candidates, said.candidates) &&
    sameReach(known.reach, said.reach);
  if (unchanged) return registered(drafting, known, 'returned');
  const lastSeenAt = known.online === online ? known.lastSeenAt : around.wall;
  // A name is what others go by: who takes one is on record.
  if (name !== known.name) {
    drafting.audit(actorOf(known, speaker), 'nodes.hostname', String(known.id), { renamed: [known.name, name] });
  }
  return registered(drafting, drafting.putNode({ ...known, ...said, name, online, lastSeenAt }), 'returned');
}

function saidBy(speaker: Speaker, message: RegisterMessage) {
  const { hostname, os, software, listenPort } = message;
  return {
    hostname,
    os,
    software,
    candidates: sharedCandidates(message.candidates, speaker.remoteAddress, listenPort),
    reach: message.reach ?? null,
  };
}

function withoutAuthKey(known: NodeRecord | undefined, key: PublicKeyText, around: Surroundings): ErrorCode {
  if (known !== undefined) return 'nodeExpired';
  return around.wasRemoved(key) ? 'nodeRemoved' : 'unregistered';
}

function findAuthKey(view: StateView, secret: string, around: Surroundings): AuthKeyRecord | ErrorCode {
  const hash = hashSecret(secret, around.sha256);
  const key = view.authKeyByHash(hash);
  if (key === undefined || !equalHashes(key.secretHash, hash)) return 'authKeyInvalid';
  switch (authKeyStateOf(key, around.wall)) {
    case 'revoked':
      return 'authKeyRevoked';
    case 'expired':
      return 'authKeyExpired';
    case 'used':
      return 'authKeyUsed';
    case 'usable':
      return key;
  }
}

function useKey(drafting: Drafting, key: AuthKeyRecord, around: Surroundings): void {
  drafting.putAuthKey({ ...key, uses: key.uses + 1, lastUsedAt: around.wall });
}

export function actorOf(node: NodeRecord, speaker: Speaker): Actor {
  return { name: `node ${node.name}`, source: speaker.remoteAddress ?? 'local' };
}

export function refused(code: ErrorCode): Decision {
  return { changes: [], outcome: { kind: 'refused', code } };
}

function registered(
  drafting: Drafting,
  node: NodeRecord,
  how: Extract<Outcome, { kind: 'registered' }>['how'],
): Decision {
  return { changes: drafting.changes(), outcome: { kind: 'registered', node: node.id, how } };
}
