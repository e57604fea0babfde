// What administration needs of the process around it: the state to read, a way to change it that answers once the change
// is durable, the store's audit records and backup, clocks and chance. The process gives these; tests give fakes.

import type { Instant, WallTime } from '../../base/instant.ts';
import type { Actor, AdminAnswer, AdminCommand } from '../state/commands.ts';
import type { TokenCheck } from '../state/core.ts';
import type { StateLists } from '../state/state-view.ts';
import type { AuditPage } from '../store/store.ts';

export interface AdminLog {
  error(what: string, fields?: Readonly<Record<string, string | number | boolean | null>>): void;
  debug(what: string, fields?: Readonly<Record<string, string | number | boolean | null>>): void;
}

export interface AdminDeps {
  /** `core.state`, asked anew for every request. */
  readonly state: () => StateLists;
  /** `core.administer`; resolves with the answer that its ticket is given, once that is durable. */
  readonly administer: (command: AdminCommand, actor: Actor) => Promise<AdminAnswer>;
  /** `core.checkToken`. */
  readonly checkToken: (secret: string) => TokenCheck;
  readonly audit: (before: number | null, limit: number) => Promise<AuditPage>;
  /** `store.backup`. */
  readonly backup: (path: string, progress: (done: number, total: number) => void) => Promise<void>;
  readonly now: () => Instant;
  readonly wallNow: () => WallTime;
  readonly random: (count: number) => Uint8Array;
  readonly log: AdminLog;
  /** A request was answered; for metrics. */
  readonly onAnswer?: (door: 'socket' | 'tcp', status: number) => void;
  readonly version: string;
  /** Where nodes reach the controller: canonical (join-link.ts), goes into join links. */
  readonly url: () => string;
  /** The controller's public key, base64url without padding, as join links carry it. */
  readonly joinKey: string;
  /** False while the store does not take changes; for /healthz. */
  readonly healthy: () => boolean;
}
