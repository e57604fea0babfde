// The controller's administration: one REST API, over its admin socket (inside the data directory, for whoever may open it)
// and over HTTPS with a token. These schemas give the types, the validation and the OpenAPI document. Instants are
// ISO 8601 in UTC. Paths are under /api/v1; the routes themselves are in the controller.

import { z } from 'zod';
import {
  addressSchema,
  candidatesSchema,
  hostnameSchema,
  nodeIdSchema,
  nodeNameSchema,
  publicKeySchema,
  tagsSchema,
} from './values.ts';

export const ADMIN_PREFIX = '/api/v1';
export const ADMIN_SOCKET_NAME = 'admin.sock';
export const DATA_DIR_DEFAULT = '/var/lib/warren/controller';
export const ADMIN_BODY_BYTES_MAX = 65_536;

const instant = z.iso.datetime();
const description = z.string().max(256);
/** Of keys and tokens: `k_…`, `t_…`; not secret. */
export const publicIdSchema = z.string().regex(/^[kt]_[A-Za-z0-9]{10}$/);

export const keyCreateSchema = z.object({
  description: description.default(''),
  reusable: z.boolean().default(false),
  ephemeral: z.boolean().default(false),
  preApproved: z.boolean().default(false),
  tags: tagsSchema.default([]),
  /** Seconds from now; null = never. Default a day. */
  expiresInSeconds: z.int().min(1).max(315_360_000).nullable().default(86_400),
});
export type KeyCreate = z.output<typeof keyCreateSchema>;

export const keyViewSchema = z.object({
  id: publicIdSchema,
  description,
  reusable: z.boolean(),
  ephemeral: z.boolean(),
  preApproved: z.boolean(),
  tags: tagsSchema,
  createdAt: instant,
  expiresAt: instant.nullable(),
  revokedAt: instant.nullable(),
  uses: z.int(),
  lastUsedAt: instant.nullable(),
  state: z.enum(['usable', 'used', 'expired', 'revoked']),
});
export type KeyView = z.output<typeof keyViewSchema>;

/** The only answer that ever holds the secret. */
export const keyCreatedSchema = keyViewSchema.extend({ joinLink: z.string() });
export type KeyCreated = z.output<typeof keyCreatedSchema>;

export const nodeViewSchema = z.object({
  id: nodeIdSchema,
  name: nodeNameSchema,
  hostname: hostnameSchema,
  publicKey: publicKeySchema,
  addresses: z.array(addressSchema),
  tags: tagsSchema,
  candidates: candidatesSchema,
  state: z.enum(['active', 'pending', 'expired', 'disabled']),
  online: z.boolean(),
  ephemeral: z.boolean(),
  os: z.string(),
  software: z.string(),
  createdAt: instant,
  lastSeenAt: instant.nullable(),
  expiresAt: instant.nullable(),
  joinedWith: publicIdSchema.nullable(),
});
export type NodeView = z.output<typeof nodeViewSchema>;

/** Only what is there is changed. `expiresAt`: now or earlier locks the node out until it joins again; null = never. */
export const nodeChangeSchema = z
  .object({
    name: nodeNameSchema,
    tags: tagsSchema,
    disabled: z.boolean(),
    expiresAt: instant.nullable(),
    addresses: z.object({ address4: addressSchema, address6: addressSchema }),
  })
  .partial();
export type NodeChange = z.output<typeof nodeChangeSchema>;

export const SCOPES = [
  'nodes:read',
  'nodes:write',
  'keys:read',
  'keys:write',
  'tokens:write',
  'audit:read',
  'admin',
] as const;
export const scopeSchema = z.enum(SCOPES);
export type Scope = z.output<typeof scopeSchema>;

export const tokenCreateSchema = z.object({
  name: z.string().min(1).max(64),
  scopes: z.array(scopeSchema).min(1),
  expiresInSeconds: z.int().min(1).max(315_360_000).nullable().default(7_776_000),
});
export type TokenCreate = z.output<typeof tokenCreateSchema>;

export const tokenViewSchema = z.object({
  id: publicIdSchema,
  name: z.string(),
  scopes: z.array(scopeSchema),
  createdAt: instant,
  expiresAt: instant.nullable(),
  revokedAt: instant.nullable(),
  lastUsedAt: instant.nullable(),
});
export type TokenView = z.output<typeof tokenViewSchema>;

export const tokenCreatedSchema = tokenViewSchema.extend({ secret: z.string() });
export type TokenCreated = z.output<typeof tokenCreatedSchema>;

export const auditViewSchema = z.object({
  id: z.int(),
  at: instant,
  /** `socket`, `token t_…` or `node NAME`. */
  actor: z.string(),
  /** Address that it came from, or `local`. */
  source: z.string(),
  /** `keys.create`, `nodes.remove`, … */
  action: z.string(),
  target: z.string(),
  detail: z.record(z.string(), z.unknown()),
});
export type AuditView = z.output<typeof auditViewSchema>;

export const controllerViewSchema = z.object({
  version: z.string(),
  publicKey: z.string(),
  url: z.string(),
  network: z.object({ name: z.string(), prefix4: z.string(), prefix6: z.string() }),
  requireApproval: z.boolean(),
  seq: z.int(),
  epoch: z.string(),
  nodes: z.int(),
  online: z.int(),
});
export type ControllerView = z.output<typeof controllerViewSchema>;

export const apiErrorSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), why: z.string().nullable(), help: z.string().nullable() }),
});
export type ApiError = z.output<typeof apiErrorSchema>;
