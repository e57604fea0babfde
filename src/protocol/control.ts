// Messages of the control channel (`/v1/control`): JSON inside Noise inside WebSocket. The node's static key proves who it
// is before the first message, so none carries an identity. Fields that the reader does not know are ignored; what an older
// peer may leave out has a default here. version-log.ts tells what changed when.

import { z } from 'zod';
import { epochSchema, netmapNodeSchema, netmapOpSchema, networkSchema, positionSchema } from './netmap.ts';
import { reachFieldSchema } from './reach.ts';
import {
  addressSchema,
  candidatesSchema,
  hostnameSchema,
  nodeIdSchema,
  publicKeySchema,
  sequenceSchema,
  wallTimeSchema,
  wordsSchema,
} from './values.ts';

/** Prologue of the Noise handshake of this channel. */
export const CONTROL_PROLOGUE = 'warren control v1';
export const CONTROL_PATH = '/v1/control';
/** A node's message, whole. */
export const NODE_MESSAGE_BYTES_MAX = 65_536;
/** A controller's message after decompression: a snapshot of 100,000 nodes. */
export const CONTROLLER_MESSAGE_BYTES_MAX = 64 * 1024 * 1024;

const SOFTWARE_LENGTH_MAX = 64;
const STUN_PORTS_MAX = 4;
/** Of what a person is told. */
const TEXT_LENGTH_MAX = 1024;

// — node → controller —

/**
 * The first message of every connection. A node that the controller does not know needs an auth key; one that it knows
 * does not, and names where its netmap ends to be sent only what changed.
 */
export const registerSchema = z.object({
  type: z.literal('register'),
  version: z.int().min(1),
  software: wordsSchema(SOFTWARE_LENGTH_MAX),
  os: wordsSchema(SOFTWARE_LENGTH_MAX),
  hostname: hostnameSchema,
  /** Secret of a join link; null for a node that is known. */
  authKey: z.string().max(128).nullable(),
  resume: positionSchema.nullable(),
  candidates: candidatesSchema,
  reach: reachFieldSchema,
  /** UDP port of the tunnel, for the address that the controller sees. */
  listenPort: z.int().min(0).max(65_535),
});

export const candidatesMessageSchema = z.object({
  type: z.literal('candidates'),
  candidates: candidatesSchema,
  reach: reachFieldSchema,
  listenPort: z.int().min(0).max(65_535),
});

/**
 * Asks a peer to let us in: the other end opens its firewalls towards `candidates` and answers with its own (`reply`
 * true), which also says that it knows us by now. One for each handshake attempt, and one more a second later.
 */
export const punchRequestSchema = z.object({
  type: z.literal('punch'),
  to: nodeIdSchema,
  txid: z.int().min(0).max(0xffff_ffff),
  reply: z.boolean(),
  candidates: candidatesSchema,
  reach: reachFieldSchema,
});

/** Our next key. Answered by `keyRotated` once it is durable; the next connection is made with it. */
export const rotateKeySchema = z.object({ type: z.literal('rotateKey'), publicKey: publicKeySchema });

/** `logout`: forget me. `down`: I am off on purpose, tell the others at once. */
export const goodbyeSchema = z.object({ type: z.literal('goodbye'), reason: z.enum(['down', 'logout']) });

/** What the netmap of this node holds; sent in answer to a delta that asks for it. */
export const ackSchema = z.object({ type: z.literal('ack'), seq: sequenceSchema });

export const nodeMessageSchema = z.discriminatedUnion('type', [
  registerSchema,
  candidatesMessageSchema,
  punchRequestSchema,
  rotateKeySchema,
  goodbyeSchema,
  ackSchema,
]);
export type NodeMessage = z.output<typeof nodeMessageSchema>;
export type RegisterMessage = z.output<typeof registerSchema>;
export type PunchRequest = z.output<typeof punchRequestSchema>;

// — controller → node —

export const welcomeSchema = z.object({
  type: z.literal('welcome'),
  version: z.int().min(1),
  software: wordsSchema(SOFTWARE_LENGTH_MAX),
  self: netmapNodeSchema,
  network: networkSchema,
  epoch: epochSchema,
  /** Where the controller sees this node come from. */
  observedAddress: addressSchema.nullable(),
  /** For the node to compare its clock with. */
  time: wallTimeSchema,
  /** The controller sends a WebSocket ping this often; three missed and the connection is dead. */
  pingIntervalMs: z.int().min(100),
  /**
   * UDP ports at which the controller answers STUN (docs/stun.md), on the addresses at which the node reaches it: it may not
   * know them itself. Two ports show how a NAT maps.
   */
  stunPorts: z.array(z.int().min(1).max(65_535)).max(STUN_PORTS_MAX).default([]),
});

/** Registered, and waiting for an administrator. `welcome` follows on the same connection. */
export const pendingSchema = z.object({
  type: z.literal('pending'),
  message: wordsSchema(TEXT_LENGTH_MAX),
  help: wordsSchema(TEXT_LENGTH_MAX),
});

/** The whole netmap at `seq`. Replaces whatever the node had. */
export const snapshotSchema = z.object({
  type: z.literal('snapshot'),
  epoch: epochSchema,
  seq: sequenceSchema,
  network: networkSchema,
  nodes: z.array(netmapNodeSchema),
});

/** What changed after `from` up to `seq`; `ops` in order. A node whose netmap is not at `from` asks for a resync. */
export const deltaSchema = z.object({
  type: z.literal('delta'),
  from: sequenceSchema,
  seq: sequenceSchema,
  ops: z.array(netmapOpSchema),
  ack: z.boolean().default(false),
});

export const punchSchema = z.object({
  type: z.literal('punch'),
  from: nodeIdSchema,
  txid: z.int().min(0).max(0xffff_ffff),
  reply: z.boolean(),
  candidates: candidatesSchema,
  reach: reachFieldSchema,
});

export const keyRotatedSchema = z.object({ type: z.literal('keyRotated'), publicKey: publicKeySchema });

export const ERROR_CODES = [
  'unregistered', // unknown key, and no auth key
  'authKeyInvalid',
  'authKeyExpired',
  'authKeyUsed',
  'authKeyRevoked',
  'nodeExpired', // the node's key has expired: join again
  'nodeDisabled',
  'nodeRemoved',
  'addressesExhausted',
  'keyInUse', // rotateKey to a key that another node has
  'versionTooOld',
  'rateLimited',
  'malformed',
  'replaced', // the same node connected again
  'goingAway', // the controller stops or restarts
  'internal',
] as const;
export type ErrorCode = (typeof ERROR_CODES)[number];

/** Errors after which connecting again is of no use until a person has done something. */
export const FATAL_ERRORS: readonly ErrorCode[] = [
  'unregistered',
  'authKeyInvalid',
  'authKeyExpired',
  'authKeyUsed',
  'authKeyRevoked',
  'nodeExpired',
  'nodeDisabled',
  'nodeRemoved',
  'addressesExhausted',
  'versionTooOld',
];

/**
 * Those of them that an administrator can undo while nobody is at the machine (`nodes enable`, `nodes expire --in`): the node
 * leaves the network at once, as with the others, and asks again now and then.
 */
export const UNDOABLE_ERRORS: readonly ErrorCode[] = ['nodeExpired', 'nodeDisabled'];

/** The controller closes after it, except after keyInUse and rateLimited. */
export const errorSchema = z.object({
  type: z.literal('error'),
  /** One of ERROR_CODES, or one that a newer controller knows. */
  code: wordsSchema(64),
  message: wordsSchema(TEXT_LENGTH_MAX),
  help: wordsSchema(TEXT_LENGTH_MAX),
  retryAfterMs: z.int().min(0).nullable().default(null),
});

export const controllerMessageSchema = z.discriminatedUnion('type', [
  welcomeSchema,
  pendingSchema,
  snapshotSchema,
  deltaSchema,
  punchSchema,
  keyRotatedSchema,
  errorSchema,
]);
export type ControllerMessage = z.output<typeof controllerMessageSchema>;
export type Welcome = z.output<typeof welcomeSchema>;
export type Snapshot = z.output<typeof snapshotSchema>;
export type Delta = z.output<typeof deltaSchema>;
export type Punch = z.output<typeof punchSchema>;
export type ControlError = z.output<typeof errorSchema>;
