// Where the controller's state rests. SQLite and PostgreSQL stand behind this interface and pass one suite
// (test/store/store-suite.ts). A commit is one transaction, durable when its promise resolves.

import type { AuditRecord, Change, Settings, StoredState } from '../state/model.ts';

export interface AuditPage {
  readonly records: readonly AuditRecord[];
  /** Pass as `before` for the next page; null at the end. */
  readonly next: number | null;
}

export interface Store {
  readonly kind: 'sqlite' | 'postgres';
  /** Null before `initialize`. */
  load(): Promise<StoredState | null>;
  /** First start: settings and the controller's private key, in one transaction. Refused when there are some already. */
  initialize(settings: Settings, privateKey: Uint8Array): Promise<void>;
  /** 32 bytes; the caller owns and zeroes them. */
  privateKey(): Promise<Uint8Array>;
  /** All of `changes` or none, in order; durable when it resolves. Rejects when another controller has written since. */
  commit(changes: readonly Change[]): Promise<void>;
  /** Newest first; `before`: an id, or null for the newest. */
  audit(before: number | null, limit: number): Promise<AuditPage>;
  /** A consistent copy while others write, mode 0600. SQLite only; PostgreSQL has pg_dump, and the error says so. */
  backup(path: string, progress: (done: number, total: number) => void): Promise<void>;
  close(): Promise<void>;
}
