// The controller's state as it may be read: records by their keys. Everything in it is durable, except while a batch is
// being decided, when it is a draft that includes the commands decided before (mesh-state.ts).

import type { WallTime } from '../../base/instant.ts';
import type { IpAddress } from '../../base/ip.ts';
import type { NetmapNode } from '../../protocol/netmap.ts';
import type { NodeId, NodeName, PublicKeyText } from '../../protocol/values.ts';
import type { AuthKeyRecord, NodeRecord, Settings, TokenRecord } from './model.ts';

export interface StateView {
  readonly settings: Settings;
  /** Of the last operation; 0 before the first. */
  readonly seq: number;
  readonly nodeCount: number;
  readonly authKeyCount: number;
  readonly tokenCount: number;
  node(id: NodeId): NodeRecord | undefined;
  nodeByKey(key: PublicKeyText): NodeRecord | undefined;
  nodeByName(name: NodeName): NodeRecord | undefined;
  nodeByAddress(address: IpAddress): NodeRecord | undefined;
  /** Whether the node is in the netmap: what the operations so far say. */
  isListed(id: NodeId): boolean;
  authKey(id: string): AuthKeyRecord | undefined;
  /** SHA-256 in hex. */
  authKeyByHash(hash: string): AuthKeyRecord | undefined;
  token(id: string): TokenRecord | undefined;
  tokenByHash(hash: string): TokenRecord | undefined;
}

/** And lists, in order of creation; O(n). */
export interface StateLists extends StateView {
  nodes(): IterableIterator<NodeRecord>;
  authKeys(): IterableIterator<AuthKeyRecord>;
  tokens(): IterableIterator<TokenRecord>;
}

export function isExpired(record: { readonly expiresAt: WallTime | null }, wall: WallTime): boolean {
  return record.expiresAt !== null && record.expiresAt <= wall;
}

/** As the REST API names it. */
export function nodeStateOf(node: NodeRecord, wall: WallTime): 'active' | 'pending' | 'expired' | 'disabled' {
  if (node.disabled) return 'disabled';
  if (isExpired(node, wall)) return 'expired';
  return node.approved ? 'active' : 'pending';
}

export function authKeyStateOf(key: AuthKeyRecord, wall: WallTime): 'usable' | 'used' | 'expired' | 'revoked' {
  if (key.revokedAt !== null) return 'revoked';
  if (isExpired(key, wall)) return 'expired';
  return key.uses > 0 && !key.reusable ? 'used' : 'usable';
}

/** As the others see it. */
export function netmapNodeOf(node: NodeRecord): NetmapNode {
  return {
    id: node.id,
    name: node.name,
    publicKey: node.publicKey,
    address4: node.address4,
    address6: node.address6,
    tags: node.tags as string[],
    candidates: node.candidates as NetmapNode['candidates'],
    ...(node.reach === null ? {} : { reach: node.reach }),
    online: node.online,
  };
}
