// What a node knows of its network: the nodes and how each may be reached, and the operations that change it. A snapshot
// is sent once, operations with sequence numbers ever after. An operation says all of what it sets: nothing that is
// absent means "unchanged".

import { z } from 'zod';
import { reachFieldSchema } from './reach.ts';
import {
  address4Schema,
  address6Schema,
  candidatesSchema,
  nodeIdSchema,
  nodeNameSchema,
  prefix4Schema,
  prefix6Schema,
  publicKeySchema,
  sequenceSchema,
  tagsSchema,
  wallTimeSchema,
  wordsSchema,
} from './values.ts';

export const NETWORK_NAME_LENGTH_MAX = 63;

export const networkSchema = z.object({
  name: wordsSchema(NETWORK_NAME_LENGTH_MAX).min(1),
  /** Every node's addresses are inside; each is one route of every node. */
  prefix4: prefix4Schema,
  prefix6: prefix6Schema,
});
export type Network = z.output<typeof networkSchema>;

/** One node as the others see it. Nodes that are not approved, expired, disabled or removed are not in the netmap. */
export const netmapNodeSchema = z.object({
  id: nodeIdSchema,
  name: nodeNameSchema,
  publicKey: publicKeySchema,
  address4: address4Schema,
  address6: address6Schema,
  tags: tagsSchema,
  candidates: candidatesSchema,
  reach: reachFieldSchema,
  /** Whether the controller hears from it. Shown to people; never a reason to end a session. */
  online: z.boolean(),
});
export type NetmapNode = z.output<typeof netmapNodeSchema>;

export const netmapOpSchema = z.discriminatedUnion('op', [
  /** A new node, or all of a known one (renamed, other addresses, another key: then it is a new peer). */
  z.object({ op: z.literal('put'), node: netmapNodeSchema }),
  /** Removed, expired or disabled: its session is destroyed at once. */
  z.object({ op: z.literal('remove'), id: nodeIdSchema }),
  z.object({ op: z.literal('candidates'), id: nodeIdSchema, candidates: candidatesSchema, reach: reachFieldSchema }),
  z.object({ op: z.literal('presence'), id: nodeIdSchema, online: z.boolean() }),
  z.object({ op: z.literal('network'), network: networkSchema }),
]);
export type NetmapOp = z.output<typeof netmapOpSchema>;

/** Which history a sequence number belongs to: a controller brought back from a backup begins another. */
export const epochSchema = z.string().regex(/^[A-Za-z0-9_-]{16}$/);

export const positionSchema = z.object({ epoch: epochSchema, seq: sequenceSchema });
export type Position = z.output<typeof positionSchema>;

/** A netmap as a node keeps it on its own disk, sealed; `nodes` without its own record. */
export const storedNetmapSchema = z.object({
  savedAt: wallTimeSchema,
  expiresAt: wallTimeSchema,
  position: positionSchema,
  network: networkSchema,
  self: netmapNodeSchema,
  nodes: z.array(netmapNodeSchema),
});
