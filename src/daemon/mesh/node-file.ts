// What a daemon remembers of itself (DIR/node.json, 0600): its keys, which controller it belongs to, and whether it is wanted up.
// The schema is strict about what it needs and drops what it does not know, so that a newer daemon's file still starts.

import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { nodeIdSchema } from '../../protocol/values.ts';
import { LEASE_MS } from '../../wireguard/tai64n.ts';
import { RECENT_MAX } from './recent-peers.ts';

/** 32 bytes, base64. */
const secretKeySchema = z.string().regex(/^[A-Za-z0-9+/]{43}=$/);

export const nodeFileSchema = z.object({
  format: z.literal(1),
  privateKey: secretKeySchema,
  /** The key that is to replace it, while the controller has not said that it knows it. */
  nextPrivateKey: secretKeySchema.nullable().default(null),
  controller: z.object({ url: z.string(), key: z.string() }),
  /** Of the join link, until the controller has let us in. */
  authKey: z.string().nullable().default(null),
  /** Whether the controller has let us in once. */
  joined: z.boolean().default(false),
  /** What the person called this machine; null = its own name. */
  hostname: z.string().nullable().default(null),
  wanted: z.enum(['up', 'down']),
});
export type NodeFile = z.output<typeof nodeFileSchema>;

/** What outlives a logout: a random port is kept, so that firewalls may be opened for it. DIR/settings.json. */
export const settingsFileSchema = z.object({
  format: z.literal(1),
  listenPort: z.int().min(1).max(65_535),
});
export type SettingsFile = z.output<typeof settingsFileSchema>;

/** DIR/recent.json: see recent-peers.ts. */
export const recentFileSchema = z.object({
  format: z.literal(1),
  ids: z.array(nodeIdSchema).max(RECENT_MAX),
});
export type RecentFile = z.output<typeof recentFileSchema>;

/** Later than any clock: what `Date` can hold, and a lease. */
const STAMPS_UNTIL_MAX = 8_640_000_000_000_000 + LEASE_MS;

/** DIR/stamps.json: see stamp-lease.ts. Milliseconds since 1970. */
export const stampsFileSchema = z.object({
  format: z.literal(1),
  until: z.number().min(0).max(STAMPS_UNTIL_MAX),
});
export type StampsFile = z.output<typeof stampsFileSchema>;

export function newPrivateKey(): string {
  return randomBytes(32).toString('base64');
}

/** Owned by the caller, who zeroes it. */
export function keyBytes(base64: string): Uint8Array {
  return new Uint8Array(Buffer.from(base64, 'base64'));
}
