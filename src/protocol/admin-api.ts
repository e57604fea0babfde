// The controller's administration: one REST API, over its admin socket (inside the data directory, for whoever may open it)
// and over HTTPS with a token. These schemas give the types, the validation and the OpenAPI document. Instants are
// ISO 8601 in UTC. Paths are under ADMIN_PREFIX (paths.ts); the routes themselves are in the controller. What a request
// says and the controller does not know is refused, not ignored: a misspelt field must not pass for "changed".

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

export const ADMIN_BODY_BYTES_MAX = 65_536;
/** Records in one answer to a GET of keys, nodes, tokens or audit records. */
export const ADMIN_PAGE_MAX = 1000;
/** Ten years. */
const LIFETIME_SECONDS_MAX = 315_360_000;

const instant = z.iso.datetime();
const description = z.string().max(256);
/** Of keys and tokens: `k_…`, `t_…`; not secret. */
export const publicIdSchema = z.string().regex(/^[kt]_[A-Za-z0-9]{10}$/);

/** A page of a list: the records behind the one with the id `after`, oldest first. */
export const keyPageSchema = z.strictObject({
  after: publicIdSchema.optional(),
  limit: z.coerce.number<string>().int().min(1).max(ADMIN_PAGE_MAX).default(ADMIN_PAGE_MAX),
});
export type KeyPage = z.output<typeof keyPageSchema>;

export const keyCreateSchema = z.strictObject({
  description: description.default(''),
  reusable: z.boolean().default(false),
  ephemeral: z.boolean().default(false),
  preApproved: z.boolean().default(false),
  tags: tagsSchema.default([]),
  /** Seconds from now; null = never. Default a day. */
  expiresInSeconds: z.int().min(1).max(LIFETIME_SECONDS_MAX).nullable().default(86_400),
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

/** Like keyPageSchema; nodes are in the order of their ids. */
export const nodePageSchema = z.strictObject({
  after: z.coerce.number<string>().int().min(0).default(0),
  limit: z.coerce.number<string>().int().min(1).max(ADMIN_PAGE_MAX).default(ADMIN_PAGE_MAX),
});
export type NodePage = z.output<typeof nodePageSchema>;

/** Only what is there is changed. `expiresAt`: now or earlier locks the node out until it joins again; null = never. */
export const nodeChangeSchema = z
  .strictObject({
    name: nodeNameSchema,
    tags: tagsSchema,
    disabled: z.boolean(),
    expiresAt: instant.nullable(),
    addresses: z.strictObject({ address4: addressSchema, address6: addressSchema }).partial(),
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

export const tokenCreateSchema = z.strictObject({
  name: z.string().min(1).max(64),
  scopes: z.array(scopeSchema).min(1).max(SCOPES.length),
  expiresInSeconds: z.int().min(1).max(LIFETIME_SECONDS_MAX).nullable().default(7_776_000),
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

/** Newest first: the records older than `before`. */
export const auditQuerySchema = z.strictObject({
  before: z.coerce.number<string>().int().min(1).optional(),
  limit: z.coerce.number<string>().int().min(1).max(ADMIN_PAGE_MAX).default(100),
});
export type AuditQuery = z.output<typeof auditQuerySchema>;

export const auditPageSchema = z.object({
  records: z.array(auditViewSchema),
  /** `before` of the next page; null at the end. */
  next: z.int().nullable(),
});
export type AuditPageView = z.output<typeof auditPageSchema>;

/** On the admin socket alone: the controller writes the file, with its own rights. */
export const backupRequestSchema = z.strictObject({
  path: z
    .string()
    .min(2)
    .max(4096)
    .regex(/^\/[^\0]+$/),
});
export type BackupRequest = z.output<typeof backupRequestSchema>;

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

/** Nodes that are in stay in. */
export const controllerChangeSchema = z.strictObject({ requireApproval: z.boolean() }).partial();
export type ControllerChange = z.output<typeof controllerChangeSchema>;

/** What is wrong with a request beyond what the controller's state says; refusals of the state have codes of their own. */
export const API_ERROR_CODES = [
  'badRequest', // 400: not JSON, not a path that can be read
  'unauthenticated', // 401: no token, or one that is wrong, expired or revoked
  'forbidden', // 403: the token lacks a scope
  'socketOnly', // 403: only on the controller's machine
  'notFound', // 404
  'methodNotAllowed', // 405
  'timeout', // 408: the body did not come in time
  'conflict', // 409: what is there is in the way
  'ambiguous', // 409: more than one node is meant
  'bodyTooLarge', // 413
  'unsupportedMediaType', // 415: not application/json
  'invalid', // 422: JSON, but not what the route takes
  'rateLimited', // 429, with Retry-After
  'internal', // 500
  'unavailable', // 503: the store does not take it; nothing was changed
] as const;
export type ApiErrorCode = (typeof API_ERROR_CODES)[number];

const problem = z.object({
  /** One of API_ERROR_CODES, or what the controller's state refused. */
  code: z.string(),
  message: z.string(),
  why: z.string().nullable(),
  help: z.string().nullable(),
});
export type ApiProblem = z.output<typeof problem>;

export const apiErrorSchema = z.object({ error: problem });
export type ApiError = z.output<typeof apiErrorSchema>;

export const backupLineSchema = z.discriminatedUnion('type', [
  /** In pages of the database. */
  z.object({ type: z.literal('progress'), done: z.int(), total: z.int() }),
  z.object({ type: z.literal('done'), path: z.string(), bytes: z.int() }),
  z.object({ type: z.literal('error'), error: problem }),
]);
export type BackupLine = z.output<typeof backupLineSchema>;

export const healthSchema = z.object({ status: z.enum(['ok', 'unavailable']) });
export type Health = z.output<typeof healthSchema>;
