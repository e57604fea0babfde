// Records for the store's tests: every field filled, every kind of change, from a number. Different numbers share nothing
// that must be unique.

import type { WallTime } from '../../../src/base/instant.ts';
import type { Endpoint, IpAddress, IpPrefix } from '../../../src/base/ip.ts';
import type {
  AuditRecord,
  AuthKeyRecord,
  Change,
  LoggedOp,
  NodeRecord,
  Settings,
  TokenRecord,
} from '../../../src/controller/state/model.ts';
import type { NodeId, NodeName, PublicKeyText } from '../../../src/protocol/values.ts';

/** Half a millisecond: times may have fractions. */
const START = 1_790_000_000_000.5;

export const PRIVATE_KEY = Uint8Array.from({ length: 32 }, (_, i) => 255 - i);

export function settings(change: Partial<Settings> = {}): Settings {
  return {
    networkName: 'büro',
    prefix4: '100.64.0.0/10' as IpPrefix,
    prefix6: 'fd00:1:2::/48' as IpPrefix,
    requireApproval: true,
    epoch: 'AAAAAAAAAAAAAAA_',
    nextNodeId: 1,
    nextHost: 2,
    nextAuditId: 1,
    ...change,
  };
}

export function node(n: number, change: Partial<NodeRecord> = {}): NodeRecord {
  return {
    id: n as NodeId,
    publicKey: Buffer.from(`key ${n}`.padEnd(32)).toString('base64') as PublicKeyText,
    name: `node-${n}` as NodeName,
    hostname: `Node "${n}" 'ü' \\ 😀`,
    address4: `100.${64 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}` as IpAddress,
    address6: `fd00:1:2::${n.toString(16)}` as IpAddress,
    tags: n % 2 === 0 ? [] : ['web', `t${n}`],
    ephemeral: n % 2 === 1,
    approved: n % 3 !== 0,
    disabled: n % 5 === 0,
    expiresAt: n % 2 === 0 ? null : ((START + n) as WallTime),
    createdAt: (START - n) as WallTime,
    lastSeenAt: n % 3 === 0 ? null : (START as WallTime),
    online: n % 4 === 1,
    candidates: [
      { kind: 'host', endpoint: `192.0.2.${n & 255}:51820` as Endpoint },
      { kind: 'observed', endpoint: `[2001:db8::${n.toString(16)}]:${1 + (n % 65_535)}` as Endpoint },
    ],
    reach:
      n % 2 === 0
        ? null
        : { home: { relay: 7 as NodeId, slot: '00000000000000ff' }, mapping: 'varies', udp: 'works', url: null },
    os: 'linux',
    software: 'warren 0.1.0',
    joinedWith: n % 2 === 0 ? null : 'k_0123456789',
    ...change,
  };
}

export function authKey(n: number, change: Partial<AuthKeyRecord> = {}): AuthKeyRecord {
  return {
    id: `k_${String(n).padStart(10, '0')}`,
    secretHash: n.toString(16).padStart(64, '0'),
    description: `key no. ${n}`,
    reusable: n % 2 === 0,
    ephemeral: n % 2 === 1,
    preApproved: n % 3 === 0,
    tags: ['a'],
    createdAt: (START + n) as WallTime,
    expiresAt: n % 2 === 0 ? null : ((START + 1000 * n) as WallTime),
    revokedAt: null,
    uses: n,
    lastUsedAt: null,
    ...change,
  };
}

export function token(n: number, change: Partial<TokenRecord> = {}): TokenRecord {
  return {
    id: `t_${String(n).padStart(10, '0')}`,
    secretHash: n.toString(16).padStart(64, 'f'),
    name: `token ${n}`,
    scopes: ['nodes:read', 'keys:write'],
    createdAt: (START + n) as WallTime,
    expiresAt: null,
    revokedAt: n % 2 === 0 ? null : (START as WallTime),
    lastUsedAt: null,
    ...change,
  };
}

export function audit(n: number): AuditRecord {
  return {
    id: n,
    at: (START + n) as WallTime,
    actor: 'token t_0000000001',
    source: '192.0.2.1',
    action: 'nodes.rename',
    target: `node ${n}`,
    detail: { from: 'a', to: ['b', { c: null }], zero: 'x\0y', half: '\ud800' },
  };
}

export function op(seq: number): LoggedOp {
  return { seq, op: { op: 'presence', id: (1 + (seq % 100)) as NodeId, online: seq % 2 === 0 } };
}

export const putNode = (record: NodeRecord): Change => ({ kind: 'putNode', node: record });
export const deleteNode = (n: number): Change => ({ kind: 'deleteNode', id: n as NodeId });
export const putAuthKey = (key: AuthKeyRecord): Change => ({ kind: 'putAuthKey', key });
export const putToken = (record: TokenRecord): Change => ({ kind: 'putToken', token: record });
export const putAudit = (record: AuditRecord): Change => ({ kind: 'audit', record });
export const putSettings = (value: Settings): Change => ({ kind: 'settings', settings: value });
export const putOp = (entry: LoggedOp): Change => ({ kind: 'op', entry });

/** From `first` on, `count` of them. */
export function numbers(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => first + i);
}
