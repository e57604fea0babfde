// What may be asked of the controller's state: an administrator's commands with their answers, a node's requests, and what
// falls due by itself. Commands are decided in the order in which they came (decide.ts); none is answered before it is
// durable. Times are WallTime: the REST layer reads and prints ISO 8601.

import type { Brand } from '../../base/brand.ts';
import type { WallTime } from '../../base/instant.ts';
import type { IpAddress } from '../../base/ip.ts';
import type { KeyCreate, TokenCreate } from '../../protocol/admin-api.ts';
import type { ErrorCode, RegisterMessage } from '../../protocol/control.ts';
import type { Whereabouts } from '../../protocol/reach.ts';
import type { NodeId, NodeName, PublicKeyText } from '../../protocol/values.ts';
import type { AuthKeyRecord, Change, NodeRecord, Settings, TokenRecord } from './model.ts';

/** One transport: given by whoever holds the sockets, never used again. */
export type ConnectionId = Brand<number, 'ConnectionId'>;
/** Names the answer of one administrative command. */
export type Ticket = Brand<number, 'Ticket'>;

/** Who asks, for the audit log. */
export interface Actor {
  /** `socket`, `token t_…`, `node NAME` or `controller`. */
  readonly name: string;
  /** Address that it came from, or `local`. */
  readonly source: string;
}

// — an administrator's —

/** Only what is there is changed. `expiresAt` now or earlier locks the node out until it joins again; null = never. */
export interface NodeEdit {
  readonly name?: NodeName;
  readonly tags?: readonly string[];
  readonly disabled?: boolean;
  readonly expiresAt?: WallTime | null;
  readonly addresses?: { readonly address4: IpAddress; readonly address6: IpAddress };
}

export interface SettingsEdit {
  readonly requireApproval?: boolean;
}

/** `action` is what the audit log shows. */
export type AdminCommand =
  | { readonly action: 'keys.create'; readonly input: KeyCreate }
  | { readonly action: 'keys.revoke'; readonly id: string }
  | { readonly action: 'nodes.approve'; readonly node: NodeId }
  | { readonly action: 'nodes.rename'; readonly node: NodeId; readonly name: NodeName }
  | { readonly action: 'nodes.expire'; readonly node: NodeId }
  | { readonly action: 'nodes.remove'; readonly node: NodeId }
  | { readonly action: 'nodes.change'; readonly node: NodeId; readonly edit: NodeEdit }
  | { readonly action: 'tokens.create'; readonly input: TokenCreate }
  | { readonly action: 'tokens.revoke'; readonly id: string }
  | { readonly action: 'settings.change'; readonly edit: SettingsEdit };

/** `secret` is nowhere else: what is stored is its hash. Of `nodes.remove`, the node as it last was. */
export type AdminResult =
  | { readonly kind: 'authKeyCreated'; readonly key: AuthKeyRecord; readonly secret: string }
  | { readonly kind: 'authKey'; readonly key: AuthKeyRecord }
  | { readonly kind: 'node'; readonly node: NodeRecord }
  | { readonly kind: 'tokenCreated'; readonly token: TokenRecord; readonly secret: string }
  | { readonly kind: 'token'; readonly token: TokenRecord }
  | { readonly kind: 'settings'; readonly settings: Settings };

export const REFUSAL_CODES = [
  'nodeNotFound',
  'keyNotFound',
  'tokenNotFound',
  'nameTaken',
  'addressInvalid', // outside the network's range, reserved, or of the other family
  'addressTaken',
  'tooMany', // a limit on keys or tokens
  'busy', // too many commands are waiting
  'internal', // the store has failed; nothing was changed
] as const;
export type RefusalCode = (typeof REFUSAL_CODES)[number];

/** For people, as the REST API's error and the CLI print it. */
export interface Refusal {
  readonly code: RefusalCode;
  readonly message: string;
  readonly why: string | null;
  readonly help: string | null;
}

export type AdminAnswer =
  | { readonly ok: true; readonly result: AdminResult }
  | { readonly ok: false; readonly refusal: Refusal };

// — all —

/** `nodeId`: of a connection that is bound to a node already (its key may have been rotated since); else null. */
export interface Speaker {
  readonly connection: ConnectionId;
  readonly publicKey: PublicKeyText;
  readonly nodeId: NodeId | null;
  readonly remoteAddress: IpAddress | null;
}

export type Command =
  | { readonly kind: 'admin'; readonly ticket: Ticket; readonly actor: Actor; readonly command: AdminCommand }
  | { readonly kind: 'register'; readonly speaker: Speaker; readonly message: RegisterMessage }
  | { readonly kind: 'candidates'; readonly speaker: Speaker; readonly whereabouts: Whereabouts }
  | { readonly kind: 'rotateKey'; readonly speaker: Speaker; readonly publicKey: PublicKeyText }
  | { readonly kind: 'goodbye'; readonly speaker: Speaker; readonly reason: 'down' | 'logout' }
  /** Nodes whose presence may differ from what is stored. */
  | { readonly kind: 'presence'; readonly nodes: readonly NodeId[] }
  | { readonly kind: 'expiry'; readonly nodes: readonly NodeId[] }
  /** Ephemeral nodes that have been away for long enough. */
  | { readonly kind: 'sweep'; readonly nodes: readonly NodeId[] }
  | { readonly kind: 'tokenUsed'; readonly id: string };

/** What follows once the changes are durable. */
export type Outcome =
  | { readonly kind: 'answer'; readonly answer: AdminAnswer }
  | { readonly kind: 'registered'; readonly node: NodeId; readonly how: 'joined' | 'renewed' | 'returned' }
  | { readonly kind: 'refused'; readonly code: ErrorCode }
  | { readonly kind: 'keyRotated'; readonly publicKey: PublicKeyText }
  | { readonly kind: 'done' };

export interface Decision {
  readonly changes: readonly Change[];
  readonly outcome: Outcome;
}
