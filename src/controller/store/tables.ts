// The tables as Kysely sees them, the same for both databases. Lists and objects are JSON: `text` in SQLite, `json` in
// PostgreSQL (not `jsonb`, which refuses some strings), read as text in both. Times are milliseconds since the Unix epoch.
// migrations.ts makes the tables; rows.ts turns records into rows and back.

import type { ColumnType } from 'kysely';

/** 0 or 1 goes in; SQLite gives that back, PostgreSQL a boolean. */
export type Flag = ColumnType<0 | 1 | boolean, 0 | 1, 0 | 1>;

export interface NodeTable {
  readonly id: number;
  readonly public_key: string;
  readonly name: string;
  readonly hostname: string;
  readonly address4: string;
  readonly address6: string;
  readonly tags: string;
  readonly ephemeral: Flag;
  readonly approved: Flag;
  readonly disabled: Flag;
  readonly expires_at: number | null;
  readonly created_at: number;
  readonly last_seen_at: number | null;
  readonly online: Flag;
  readonly candidates: string;
  readonly reach: string | null;
  readonly os: string;
  readonly software: string;
  readonly joined_with: string | null;
}

export interface AuthKeyTable {
  readonly id: string;
  readonly secret_hash: string;
  readonly description: string;
  readonly reusable: Flag;
  readonly ephemeral: Flag;
  readonly pre_approved: Flag;
  readonly tags: string;
  readonly created_at: number;
  readonly expires_at: number | null;
  readonly revoked_at: number | null;
  readonly uses: number;
  readonly last_used_at: number | null;
}

export interface TokenTable {
  readonly id: string;
  readonly secret_hash: string;
  readonly name: string;
  readonly scopes: string;
  readonly created_at: number;
  readonly expires_at: number | null;
  readonly revoked_at: number | null;
  readonly last_used_at: number | null;
}

export interface AuditTable {
  readonly id: number;
  readonly at: number;
  readonly actor: string;
  readonly source: string;
  readonly action: string;
  readonly target: string;
  readonly detail: string;
}

/** One row, id 1. */
export interface SettingsTable {
  readonly id: number;
  readonly network_name: string;
  readonly prefix4: string;
  readonly prefix6: string;
  readonly require_approval: Flag;
  readonly epoch: string;
  readonly next_node_id: number;
  readonly next_host: number;
  readonly next_audit_id: number;
}

/** One row, id 1: who the controller is. Alone, so that nothing else that is read or shown can bring it along. */
export interface IdentityTable {
  readonly id: number;
  readonly private_key: Uint8Array;
}

/** What happened, for nodes that come back. */
export interface LogTable {
  readonly seq: number;
  readonly op: string;
}

/** PostgreSQL only. One row, id 1, changed by every transaction that writes: who finds another generation than it left is not alone. */
export interface WriterTable {
  readonly id: number;
  readonly generation: number;
  /** Of the last transaction; tells after a broken connection whether it was made. */
  readonly token: string;
}

export interface MigrationTable {
  readonly name: string;
}

export interface Tables {
  readonly node: NodeTable;
  readonly auth_key: AuthKeyTable;
  readonly token: TokenTable;
  readonly audit: AuditTable;
  readonly settings: SettingsTable;
  readonly identity: IdentityTable;
  readonly log: LogTable;
  readonly writer: WriterTable;
  readonly migration: MigrationTable;
}
