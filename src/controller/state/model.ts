// What the controller knows: records as the store keeps them, and the changes between one state and the next. A change
// says all of the record that it sets, so applying it twice does no harm. Shared by the reducer (state/) and the stores.

import type { WallTime } from '../../base/instant.ts';
import type { IpAddress, IpPrefix } from '../../base/ip.ts';
import type { Scope } from '../../protocol/admin-api.ts';
import type { NetmapOp } from '../../protocol/netmap.ts';
import type { Reach } from '../../protocol/reach.ts';
import type { Candidate, NodeId, NodeName, PublicKeyText } from '../../protocol/values.ts';

export interface NodeRecord {
  readonly id: NodeId;
  readonly publicKey: PublicKeyText;
  readonly name: NodeName;
  /** As the machine says it; `name` was made from it. */
  readonly hostname: string;
  readonly address4: IpAddress;
  readonly address6: IpAddress;
  readonly tags: readonly string[];
  /** Removed by itself when it has been away for long enough. */
  readonly ephemeral: boolean;
  readonly approved: boolean;
  readonly disabled: boolean;
  readonly expiresAt: WallTime | null;
  readonly createdAt: WallTime;
  readonly lastSeenAt: WallTime | null;
  readonly online: boolean;
  readonly candidates: readonly Candidate[];
  readonly reach: Reach | null;
  readonly os: string;
  readonly software: string;
  /** Public id of the auth key that it joined with. */
  readonly joinedWith: string | null;
}

export interface AuthKeyRecord {
  readonly id: string;
  /** SHA-256 of the secret, hex. */
  readonly secretHash: string;
  readonly description: string;
  readonly reusable: boolean;
  readonly ephemeral: boolean;
  readonly preApproved: boolean;
  readonly tags: readonly string[];
  readonly createdAt: WallTime;
  readonly expiresAt: WallTime | null;
  readonly revokedAt: WallTime | null;
  readonly uses: number;
  readonly lastUsedAt: WallTime | null;
}

export interface TokenRecord {
  readonly id: string;
  readonly secretHash: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly createdAt: WallTime;
  readonly expiresAt: WallTime | null;
  readonly revokedAt: WallTime | null;
  readonly lastUsedAt: WallTime | null;
}

export interface AuditRecord {
  /** 1, 2, 3 …, without gaps. */
  readonly id: number;
  readonly at: WallTime;
  readonly actor: string;
  readonly source: string;
  readonly action: string;
  readonly target: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** One value each for the whole network. */
export interface Settings {
  readonly networkName: string;
  readonly prefix4: IpPrefix;
  readonly prefix6: IpPrefix;
  readonly requireApproval: boolean;
  /** Random; another one after a restore: sequence numbers of different epochs cannot be compared. */
  readonly epoch: string;
  /** The next id: ids are never given twice. */
  readonly nextNodeId: number;
  /** Where the search for a free host number begins; behind the last one given, so that addresses rest before reuse. */
  readonly nextHost: number;
  readonly nextAuditId: number;
}

/** One step of the history that nodes follow. */
export interface LoggedOp {
  readonly seq: number;
  readonly op: NetmapOp;
}

export type Change =
  | { readonly kind: 'putNode'; readonly node: NodeRecord }
  | { readonly kind: 'deleteNode'; readonly id: NodeId }
  | { readonly kind: 'putAuthKey'; readonly key: AuthKeyRecord }
  | { readonly kind: 'putToken'; readonly token: TokenRecord }
  | { readonly kind: 'audit'; readonly record: AuditRecord }
  | { readonly kind: 'settings'; readonly settings: Settings }
  | { readonly kind: 'op'; readonly entry: LoggedOp };

/** Operations kept for nodes that come back; one that was away for longer gets a snapshot. */
export const LOGGED_OPS_MAX = 100_000;

/** All that a store holds, but for audit records (asked for by page) and the controller's private key. */
export interface StoredState {
  readonly settings: Settings;
  readonly nodes: readonly NodeRecord[];
  readonly authKeys: readonly AuthKeyRecord[];
  readonly tokens: readonly TokenRecord[];
  /** The last LOGGED_OPS_MAX, oldest first. */
  readonly log: readonly LoggedOp[];
}
