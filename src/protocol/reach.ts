// What a node tells the others of how it may be reached, beside its candidates: its home relay, the NAT in front of it, and
// whether UDP works there at all. It travels wherever the candidates do (docs/paths.md). Readers of older messages see null.

import { z } from 'zod';
import { type Candidate, nodeIdSchema, wordsSchema } from './values.ts';

const URL_LENGTH_MAX = 512;

/** A slot at a relay: 8 bytes, not all zero, as 16 lower case hex digits. */
export const relaySlotSchema = z
  .string()
  .regex(/^[0-9a-f]{16}$/)
  .refine((text) => text !== '0000000000000000', { error: 'slot 0 is nobody' });

export const homeSchema = z.object({ relay: nodeIdSchema, slot: relaySlotSchema });
export type Home = z.output<typeof homeSchema>;

/** How the NAT in front of a node maps (RFC 4787 §4.1). `none`: no NAT; `varies`: by destination. */
export const MAPPINGS = ['none', 'independent', 'varies', 'unknown'] as const;
export type Mapping = (typeof MAPPINGS)[number];

export const reachSchema = z.object({
  home: homeSchema.nullable().default(null),
  mapping: z.enum(MAPPINGS).catch('unknown'),
  udp: z.enum(['works', 'blocked', 'unknown']).catch('unknown'),
  /** Of a relay: where datagrams may ride a WebSocket. */
  url: wordsSchema(URL_LENGTH_MAX).nullable().default(null),
});
export type Reach = z.output<typeof reachSchema>;

/** For a field of a message that older peers leave out: absent is null, nothing known. */
export const reachFieldSchema = reachSchema.nullish();

export function sameReach(a: Reach | null | undefined, b: Reach | null | undefined): boolean {
  if (a == null || b == null) return (a ?? null) === (b ?? null);
  return (
    a.home?.relay === b.home?.relay &&
    a.home?.slot === b.home?.slot &&
    a.mapping === b.mapping &&
    a.udp === b.udp &&
    a.url === b.url
  );
}

/** A node's candidates and reach: what it says of where it is, and what is replaced as a whole. */
export interface Whereabouts {
  readonly candidates: readonly Candidate[];
  readonly reach: Reach | null;
}

/** A member that has it is a relay, not a machine with an address of interest to people. Given by auth keys alone. */
export const RELAY_TAG = 'relay';
