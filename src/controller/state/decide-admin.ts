// Administration: auth keys, nodes, tokens, settings. Each change leaves an audit record in the same transaction; what is
// so already is granted without one.

import { unreachable } from '../../base/assert.ts';
import type { WallTime } from '../../base/instant.ts';
import type { NodeId } from '../../protocol/values.ts';
import { isAssignable } from './addresses.ts';
import type { Actor, AdminAnswer, AdminCommand, AdminResult, Decision, NodeEdit } from './commands.ts';
import { Drafting } from './drafting.ts';
import type { NodeRecord } from './model.ts';
import { refuse } from './refusals.ts';
import { newPublicId, newSecret } from './secrets.ts';
import type { StateView } from './state-view.ts';
import type { Surroundings } from './surroundings.ts';

type Of<Action extends AdminCommand['action']> = Extract<AdminCommand, { action: Action }>;

/** One command at work. */
interface Work {
  readonly view: StateView;
  readonly actor: Actor;
  readonly around: Surroundings;
  readonly drafting: Drafting;
}

export function decideAdmin(view: StateView, command: AdminCommand, actor: Actor, around: Surroundings): Decision {
  const drafting = new Drafting(view, around.wall);
  const answer = answerOf({ view, actor, around, drafting }, command);
  return { changes: answer.ok ? drafting.changes() : [], outcome: { kind: 'answer', answer } };
}

function answerOf(work: Work, command: AdminCommand): AdminAnswer {
  switch (command.action) {
    case 'keys.create':
      return createKey(work, command);
    case 'keys.revoke':
      return revokeKey(work, command);
    case 'nodes.approve':
      return approve(work, command);
    case 'nodes.rename':
      return change(work, command.action, command.node, { name: command.name });
    case 'nodes.expire':
      return change(work, command.action, command.node, { expiresAt: work.around.wall });
    case 'nodes.remove':
      return remove(work, command);
    case 'nodes.change':
      return change(work, command.action, command.node, command.edit);
    case 'tokens.create':
      return createToken(work, command);
    case 'tokens.revoke':
      return revokeToken(work, command);
    case 'settings.change':
      return changeSettings(work, command);
    default:
      return unreachable(command);
  }
}

function createKey({ view, actor, around, drafting }: Work, { action, input }: Of<'keys.create'>): AdminAnswer {
  if (view.authKeyCount >= around.limits.authKeysMax) return refuse('tooMany', 'There are too many auth keys.');
  const { secret, secretHash } = newSecret(around.random, around.sha256);
  const key = {
    id: newId('k', around, (id) => view.authKey(id) !== undefined),
    secretHash,
    description: input.description,
    reusable: input.reusable,
    ephemeral: input.ephemeral,
    preApproved: input.preApproved,
    tags: input.tags,
    createdAt: around.wall,
    expiresAt: later(around.wall, input.expiresInSeconds),
    revokedAt: null,
    uses: 0,
    lastUsedAt: null,
  };
  drafting.putAuthKey(key);
  const { description, reusable, ephemeral, preApproved, tags, expiresAt } = key;
  drafting.audit(actor, action, key.id, { description, reusable, ephemeral, preApproved, tags, expiresAt });
  return granted({ kind: 'authKeyCreated', key, secret });
}

function revokeKey({ view, actor, around, drafting }: Work, { action, id }: Of<'keys.revoke'>): AdminAnswer {
  const key = view.authKey(id);
  if (key === undefined) return refuse('keyNotFound', `There is no auth key ${id}.`);
  if (key.revokedAt !== null) return granted({ kind: 'authKey', key });
  const revoked = { ...key, revokedAt: around.wall };
  drafting.putAuthKey(revoked);
  drafting.audit(actor, action, id);
  return granted({ kind: 'authKey', key: revoked });
}

function approve({ view, actor, around, drafting }: Work, { action, node: id }: Of<'nodes.approve'>): AdminAnswer {
  const node = view.node(id);
  if (node === undefined) return noSuchNode(id);
  if (node.approved) return granted({ kind: 'node', node });
  const approved = drafting.putNode({ ...node, approved: true, online: around.isConnected(id) });
  drafting.audit(actor, action, String(id), { name: node.name });
  return granted({ kind: 'node', node: approved });
}

function remove({ view, actor, drafting }: Work, { action, node: id }: Of<'nodes.remove'>): AdminAnswer {
  const node = view.node(id);
  if (node === undefined) return noSuchNode(id);
  drafting.deleteNode(node);
  drafting.audit(actor, action, String(id), { name: node.name, addresses: [node.address4, node.address6] });
  return granted({ kind: 'node', node });
}

function change(work: Work, action: string, id: NodeId, edit: NodeEdit): AdminAnswer {
  const { view, actor, around, drafting } = work;
  const node = view.node(id);
  if (node === undefined) return noSuchNode(id);
  const refusal = unacceptable(view, node, edit);
  if (refusal !== null) return refusal;
  const changed: NodeRecord = {
    ...node,
    name: edit.name ?? node.name,
    tags: edit.tags ?? node.tags,
    disabled: edit.disabled ?? node.disabled,
    expiresAt: edit.expiresAt === undefined ? node.expiresAt : edit.expiresAt,
    ...edit.addresses,
  };
  const detail = differences(node, changed);
  if (Object.keys(detail).length === 0) return granted({ kind: 'node', node });
  // One that is let in again may have kept its connection only if it was never shut out: then it is online as before.
  const online = view.isListed(id) ? node.online : around.isConnected(id);
  const stored = drafting.putNode({ ...changed, online });
  drafting.audit(actor, action, String(id), { name: node.name, ...detail });
  return granted({ kind: 'node', node: stored });
}

function unacceptable(view: StateView, node: NodeRecord, edit: NodeEdit): AdminAnswer | null {
  if (edit.name !== undefined) {
    const holder = view.nodeByName(edit.name);
    if (holder !== undefined && holder.id !== node.id)
      return refuse('nameTaken', `Another node is named ${edit.name}.`);
  }
  if (edit.addresses === undefined) return null;
  const { prefix4, prefix6 } = view.settings;
  for (const [address, prefix] of [
    [edit.addresses.address4, prefix4],
    [edit.addresses.address6, prefix6],
  ] as const) {
    if (!isAssignable(prefix, address)) return refuse('addressInvalid', `${address} cannot be given out of ${prefix}.`);
    const holder = view.nodeByAddress(address);
    if (holder !== undefined && holder.id !== node.id) {
      return refuse('addressTaken', `${address} is the address of ${holder.name}.`);
    }
  }
  return null;
}

const EDITED = ['name', 'tags', 'disabled', 'expiresAt', 'address4', 'address6'] as const;

/** What is other than before, as `{field: [before, after]}`. */
function differences(before: NodeRecord, after: NodeRecord): Record<string, unknown> {
  const detail: Record<string, unknown> = {};
  for (const field of EDITED) {
    const same = field === 'tags' ? before.tags.join() === after.tags.join() : before[field] === after[field];
    if (!same) detail[field === 'name' ? 'renamed' : field] = [before[field], after[field]];
  }
  return detail;
}

function createToken({ view, actor, around, drafting }: Work, { action, input }: Of<'tokens.create'>): AdminAnswer {
  if (view.tokenCount >= around.limits.tokensMax) return refuse('tooMany', 'There are too many tokens.');
  const { secret, secretHash } = newSecret(around.random, around.sha256);
  const token = {
    id: newId('t', around, (id) => view.token(id) !== undefined),
    secretHash,
    name: input.name,
    scopes: input.scopes,
    createdAt: around.wall,
    expiresAt: later(around.wall, input.expiresInSeconds),
    revokedAt: null,
    lastUsedAt: null,
  };
  drafting.putToken(token);
  drafting.audit(actor, action, token.id, { name: token.name, scopes: token.scopes, expiresAt: token.expiresAt });
  return granted({ kind: 'tokenCreated', token, secret });
}

function revokeToken({ view, actor, around, drafting }: Work, { action, id }: Of<'tokens.revoke'>): AdminAnswer {
  const token = view.token(id);
  if (token === undefined) return refuse('tokenNotFound', `There is no token ${id}.`);
  if (token.revokedAt !== null) return granted({ kind: 'token', token });
  const revoked = { ...token, revokedAt: around.wall };
  drafting.putToken(revoked);
  drafting.audit(actor, action, id, { name: token.name });
  return granted({ kind: 'token', token: revoked });
}

/** Approval that is asked for from now on leaves those alone who are in. */
function changeSettings({ view, actor, drafting }: Work, { action, edit }: Of<'settings.change'>): AdminAnswer {
  const requireApproval = edit.requireApproval ?? view.settings.requireApproval;
  if (requireApproval === view.settings.requireApproval) return granted({ kind: 'settings', settings: view.settings });
  drafting.audit(actor, action, 'requireApproval', { requireApproval });
  return granted({ kind: 'settings', settings: drafting.settings({ requireApproval }) });
}

function newId(kind: 'k' | 't', around: Surroundings, isTaken: (id: string) => boolean): string {
  let id = newPublicId(kind, around.random);
  while (isTaken(id)) id = newPublicId(kind, around.random);
  return id;
}

function later(wall: WallTime, seconds: number | null): WallTime | null {
  return seconds === null ? null : ((wall + seconds * 1000) as WallTime);
}

function noSuchNode(id: NodeId): AdminAnswer {
  return refuse('nodeNotFound', `There is no node ${id}.`);
}

function granted(result: AdminResult): AdminAnswer {
  return { ok: true, result };
}
