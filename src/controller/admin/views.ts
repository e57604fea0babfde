// Records of the state as the REST API shows them: instants as ISO 8601, states worked out for the moment of asking, no
// hashes of secrets.

import type { WallTime } from '../../base/instant.ts';
import type { AuditView, ControllerView, KeyView, NodeView, TokenView } from '../../protocol/admin-api.ts';
import type { AuditRecord, AuthKeyRecord, NodeRecord, TokenRecord } from '../state/model.ts';
import { authKeyStateOf, nodeStateOf } from '../state/state-view.ts';
import type { AdminDeps } from './deps.ts';

export function keyView(key: AuthKeyRecord, wallNow: WallTime): KeyView {
  return {
    id: key.id,
    description: key.description,
    reusable: key.reusable,
    ephemeral: key.ephemeral,
    preApproved: key.preApproved,
    tags: [...key.tags],
    createdAt: iso(key.createdAt),
    expiresAt: isoOrNull(key.expiresAt),
    revokedAt: isoOrNull(key.revokedAt),
    uses: key.uses,
    lastUsedAt: isoOrNull(key.lastUsedAt),
    state: authKeyStateOf(key, wallNow),
  };
}

export function nodeView(node: NodeRecord, wallNow: WallTime): NodeView {
  return {
    id: node.id,
    name: node.name,
    hostname: node.hostname,
    publicKey: node.publicKey,
    addresses: [node.address4, node.address6],
    tags: [...node.tags],
    candidates: [...node.candidates],
    state: nodeStateOf(node, wallNow),
    online: node.online,
    ephemeral: node.ephemeral,
    os: node.os,
    software: node.software,
    createdAt: iso(node.createdAt),
    lastSeenAt: isoOrNull(node.lastSeenAt),
    expiresAt: isoOrNull(node.expiresAt),
    joinedWith: node.joinedWith,
  };
}

export function tokenView(token: TokenRecord): TokenView {
  return {
    id: token.id,
    name: token.name,
    scopes: [...token.scopes],
    createdAt: iso(token.createdAt),
    expiresAt: isoOrNull(token.expiresAt),
    revokedAt: isoOrNull(token.revokedAt),
    lastUsedAt: isoOrNull(token.lastUsedAt),
  };
}

export function auditView(record: AuditRecord): AuditView {
  const { id, at, actor, source, action, target, detail } = record;
  return { id, at: iso(at), actor, source, action, target, detail: withIsoInstants(detail) };
}

/** The core writes instants as numbers: an expiry, or the one before and the one after. */
function withIsoInstants(detail: AuditRecord['detail']): Record<string, unknown> {
  const { expiresAt } = detail;
  if (expiresAt === undefined) return { ...detail };
  const shown = Array.isArray(expiresAt) ? expiresAt.map(isoOfNumber) : isoOfNumber(expiresAt);
  return { ...detail, expiresAt: shown };
}

function isoOfNumber(value: unknown): unknown {
  return typeof value === 'number' ? iso(value as WallTime) : value;
}

export function controllerView(deps: AdminDeps): ControllerView {
  const state = deps.state();
  let online = 0;
  for (const node of state.nodes()) if (node.online) online++;
  const { networkName: name, prefix4, prefix6, requireApproval, epoch } = state.settings;
  return {
    version: deps.version,
    publicKey: Buffer.from(deps.joinKey, 'base64url').toString('base64'),
    url: deps.url(),
    network: { name, prefix4, prefix6 },
    requireApproval,
    seq: state.seq,
    epoch,
    nodes: state.nodeCount,
    online,
  };
}

function iso(time: WallTime): string {
  return new Date(time).toISOString();
}

function isoOrNull(time: WallTime | null): string | null {
  return time === null ? null : iso(time);
}
