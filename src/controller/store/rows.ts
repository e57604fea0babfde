// Records of the model ⇄ rows of the tables. A field that the model gains does not compile here until it has a column.
// Text from machines may hold a zero character, which PostgreSQL refuses: it becomes U+FFFD, in both databases alike.

import type { Insertable, Selectable } from 'kysely';
import type { WallTime } from '../../base/instant.ts';
import type { IpAddress, IpPrefix } from '../../base/ip.ts';
import type { NodeId, NodeName, PublicKeyText } from '../../protocol/values.ts';
import type { AuditRecord, AuthKeyRecord, LoggedOp, NodeRecord, Settings, TokenRecord } from '../state/model.ts';
import { StoreError } from './store-error.ts';
import type { AuditTable, AuthKeyTable, LogTable, NodeTable, SettingsTable, TokenTable } from './tables.ts';

const ONE = 1;

export function nodeRow(node: NodeRecord): Insertable<NodeTable> {
  return {
    id: node.id,
    public_key: node.publicKey,
    name: node.name,
    hostname: text(node.hostname),
    address4: node.address4,
    address6: node.address6,
    tags: JSON.stringify(node.tags),
    ephemeral: flag(node.ephemeral),
    approved: flag(node.approved),
    disabled: flag(node.disabled),
    expires_at: node.expiresAt,
    created_at: node.createdAt,
    last_seen_at: node.lastSeenAt,
    online: flag(node.online),
    candidates: JSON.stringify(node.candidates),
    reach: node.reach === null ? null : JSON.stringify(node.reach),
    os: text(node.os),
    software: text(node.software),
    joined_with: node.joinedWith,
  };
}

export function nodeOf(row: Selectable<NodeTable>): NodeRecord {
  return {
    id: row.id as NodeId,
    publicKey: row.public_key as PublicKeyText,
    name: row.name as NodeName,
    hostname: row.hostname,
    address4: row.address4 as IpAddress,
    address6: row.address6 as IpAddress,
    tags: parsed(row.tags, 'node'),
    ephemeral: Boolean(row.ephemeral),
    approved: Boolean(row.approved),
    disabled: Boolean(row.disabled),
    expiresAt: row.expires_at as WallTime | null,
    createdAt: row.created_at as WallTime,
    lastSeenAt: row.last_seen_at as WallTime | null,
    online: Boolean(row.online),
    candidates: parsed(row.candidates, 'node'),
    reach: row.reach === null ? null : parsed(row.reach, 'node'),
    os: row.os,
    software: row.software,
    joinedWith: row.joined_with,
  };
}

export function authKeyRow(key: AuthKeyRecord): Insertable<AuthKeyTable> {
  return {
    id: key.id,
    secret_hash: key.secretHash,
    description: text(key.description),
    reusable: flag(key.reusable),
    ephemeral: flag(key.ephemeral),
    pre_approved: flag(key.preApproved),
    tags: JSON.stringify(key.tags),
    created_at: key.createdAt,
    expires_at: key.expiresAt,
    revoked_at: key.revokedAt,
    uses: key.uses,
    last_used_at: key.lastUsedAt,
  };
}

export function authKeyOf(row: Selectable<AuthKeyTable>): AuthKeyRecord {
  return {
    id: row.id,
    secretHash: row.secret_hash,
    description: row.description,
    reusable: Boolean(row.reusable),
    ephemeral: Boolean(row.ephemeral),
    preApproved: Boolean(row.pre_approved),
    tags: parsed(row.tags, 'auth_key'),
    createdAt: row.created_at as WallTime,
    expiresAt: row.expires_at as WallTime | null,
    revokedAt: row.revoked_at as WallTime | null,
    uses: row.uses,
    lastUsedAt: row.last_used_at as WallTime | null,
  };
}

export function tokenRow(token: TokenRecord): Insertable<TokenTable> {
  return {
    id: token.id,
    secret_hash: token.secretHash,
    name: text(token.name),
    scopes: JSON.stringify(token.scopes),
    created_at: token.createdAt,
    expires_at: token.expiresAt,
    revoked_at: token.revokedAt,
    last_used_at: token.lastUsedAt,
  };
}

export function tokenOf(row: Selectable<TokenTable>): TokenRecord {
  return {
    id: row.id,
    secretHash: row.secret_hash,
    name: row.name,
    scopes: parsed(row.scopes, 'token'),
    createdAt: row.created_at as WallTime,
    expiresAt: row.expires_at as WallTime | null,
    revokedAt: row.revoked_at as WallTime | null,
    lastUsedAt: row.last_used_at as WallTime | null,
  };
}

export function auditRow(record: AuditRecord): Insertable<AuditTable> {
  return {
    id: record.id,
    at: record.at,
    actor: text(record.actor),
    source: text(record.source),
    action: text(record.action),
    target: text(record.target),
    detail: JSON.stringify(record.detail),
  };
}

export function auditOf(row: Selectable<AuditTable>): AuditRecord {
  return {
    id: row.id,
    at: row.at as WallTime,
    actor: row.actor,
    source: row.source,
    action: row.action,
    target: row.target,
    detail: parsed(row.detail, 'audit'),
  };
}

export function settingsRow(settings: Settings): Insertable<SettingsTable> {
  return {
    id: ONE,
    network_name: text(settings.networkName),
    prefix4: settings.prefix4,
    prefix6: settings.prefix6,
    require_approval: flag(settings.requireApproval),
    epoch: settings.epoch,
    next_node_id: settings.nextNodeId,
    next_host: settings.nextHost,
    next_audit_id: settings.nextAuditId,
  };
}

export function settingsOf(row: Selectable<SettingsTable>): Settings {
  return {
    networkName: row.network_name,
    prefix4: row.prefix4 as IpPrefix,
    prefix6: row.prefix6 as IpPrefix,
    requireApproval: Boolean(row.require_approval),
    epoch: row.epoch,
    nextNodeId: row.next_node_id,
    nextHost: row.next_host,
    nextAuditId: row.next_audit_id,
  };
}

export function logRow(entry: LoggedOp): Insertable<LogTable> {
  return { seq: entry.seq, op: JSON.stringify(entry.op) };
}

export function logOf(row: Selectable<LogTable>): LoggedOp {
  return { seq: row.seq, op: parsed(row.op, 'log') };
}

function flag(value: boolean): 0 | 1 {
  return value ? 1 : 0;
}

function text(value: string): string {
  return value.includes('\0') ? value.replaceAll('\0', '\u{fffd}') : value;
}

/** Our own JSON: it was valid when it was written, so anything else is a damaged database. */
function parsed<T>(json: string, table: string): T {
  try {
    return JSON.parse(json) as T;
  } catch (error) {
    throw new StoreError(
      {
        code: 'corrupt',
        what: 'the database is damaged',
        why: `a value in table ${table} is no longer JSON`,
        help: 'restore a backup: warren controller restore FILE --force',
      },
      error,
    );
  }
}
