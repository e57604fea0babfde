// The values that every wire schema is made of: keys, addresses, names and numbers as they stand in JSON. Each is a zod
// schema that gives the project's own branded type, so that what passed validation needs no second look.

import { z } from 'zod';
import type { Brand } from '../base/brand.ts';
import {
  type Endpoint,
  endpointParts,
  familyOf,
  type IpAddress,
  type IpPrefix,
  parseAddress,
  parseEndpoint,
  parsePrefix,
} from '../base/ip.ts';
import { printable } from '../base/printable.ts';
import { isRelayed } from '../base/relayed.ts';

/** A node's number in its network: given once, never again. */
export type NodeId = Brand<number, 'NodeId'>;
/** 32 bytes in base64, as `wg` prints them: the node's key of the tunnel and of the control channel. */
export type PublicKeyText = Brand<string, 'PublicKeyText'>;
/** One DNS label: lower case letters, digits and hyphens, at most 63. Unique in its network. */
export type NodeName = Brand<string, 'NodeName'>;

export const NAME_LENGTH_MAX = 63;
export const HOSTNAME_LENGTH_MAX = 253;
export const TAGS_MAX = 16;
/** Of one node; the nearest and most useful first. */
export const CANDIDATES_MAX = 16;

const PUBLIC_KEY = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;
const NODE_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const TAG = /^[a-z][a-z0-9-]{0,31}$/;

/** A string that `parse` takes and that is already in its one canonical spelling. */
function canonical<T extends string>(parse: (text: string) => T | null, what: string) {
  return z
    .string()
    .max(64)
    .refine((text) => parse(text) === text, { error: `not a canonical ${what}` })
    .transform((text) => text as T);
}

export const nodeIdSchema = z
  .int()
  .min(1)
  .transform((value) => value as NodeId);

export const publicKeySchema = z
  .string()
  .regex(PUBLIC_KEY)
  .transform((text) => text as PublicKeyText);

export const nodeNameSchema = z
  .string()
  .regex(NODE_NAME)
  .transform((text) => text as NodeName);

export const addressSchema = canonical<IpAddress>(parseAddress, 'address');
export const address4Schema = addressSchema.refine((text) => familyOf(text) === 4, { error: 'not of IPv4' });
export const address6Schema = addressSchema.refine((text) => familyOf(text) === 6, { error: 'not of IPv6' });
export const prefixSchema = canonical<IpPrefix>(parsePrefix, 'prefix');
export const prefix4Schema = prefixSchema.refine((text) => familyOf(text) === 4, { error: 'not of IPv4' });
export const prefix6Schema = prefixSchema.refine((text) => familyOf(text) === 6, { error: 'not of IPv6' });
export const endpointSchema = canonical<Endpoint>(parseEndpoint, 'endpoint');

export const tagSchema = z.string().regex(TAG);
export const tagsSchema = z.array(tagSchema).max(TAGS_MAX);
/** Words that the other end has chosen, for people to read on their terminals. */
export function wordsSchema(lengthMax: number) {
  return z.string().max(lengthMax).overwrite(printable);
}
/** What a machine calls itself: made into a name by the controller. */
export const hostnameSchema = wordsSchema(HOSTNAME_LENGTH_MAX).min(1);
/** Milliseconds since the Unix epoch, UTC. */
export const wallTimeSchema = z.number().min(0);
export const sequenceSchema = z.int().min(0);

/**
 * Where a node may be reached.
 *
 * - host: an address of one of its interfaces, with the port of its tunnel
 * - observed: the address that the controller or a peer sees it come from, with that port
 * - reflexive, mapped: what STUN and port mapping found
 */
export const CANDIDATE_KINDS = ['host', 'observed', 'reflexive', 'mapped'] as const;
export type CandidateKind = (typeof CANDIDATE_KINDS)[number];

/** A relayed endpoint means something in one data plane alone: nobody has one to tell. */
const candidateEndpointSchema = endpointSchema.refine((endpoint) => !isRelayed(endpoint), { error: 'a relayed one' });

export const candidateSchema = z.object({ kind: z.enum(CANDIDATE_KINDS), endpoint: candidateEndpointSchema });
export type Candidate = z.output<typeof candidateSchema>;
export const candidatesSchema = z.array(candidateSchema).max(CANDIDATES_MAX);

/** Endpoints of link-local addresses name an interface of one machine and mean nothing on another. */
export function isShareable(endpoint: Endpoint): boolean {
  return endpointParts(endpoint).scopeId === 0;
}
