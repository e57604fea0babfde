// What the core is given from outside, and its limits with their defaults. All times are milliseconds. Limits on bytes and
// on handshakes are the server's.

import type { RandomSource } from '../../base/prng.ts';
import { LOGGED_OPS_MAX } from './model.ts';

export interface CoreOptions {
  /** The kernel's generator, or a seeded one in simulations. */
  readonly random: RandomSource;
  /** SHA-256; 32 bytes, fresh. */
  readonly sha256: (data: Uint8Array) => Uint8Array;
  /** Shown to nodes, at most 64 characters. */
  readonly software: string;
  /** Ports at which the controller answers STUN, as nodes are told; none when absent. */
  readonly stunPorts?: readonly number[];
  readonly limits?: Partial<CoreLimits>;
}

export interface CoreLimits {
  /** A node that is away for less is not told to anyone. */
  readonly offlineGraceMs: number;
  /** The same after a restart of the controller, for all who were online. */
  readonly restartGraceMs: number;
  /** Presence changes are told at most this often. */
  readonly presenceIntervalMs: number;
  /** An ephemeral node that is away for longer is removed. */
  readonly ephemeralMs: number;
  /** From the Noise handshake to the first register. */
  readonly registerTimeoutMs: number;
  /** Passed on to nodes; the server sends them. */
  readonly pingIntervalMs: number;
  /**
   * Two rounds of netmap traffic are at least connections × this apart, when that is more than `fanOutAtOnceMs` … So no
   * more than 1 / fanOutCostMs messages a millisecond are made; a message costs the server about a third of it.
   */
  readonly fanOutCostMs: number;
  readonly fanOutAtOnceMs: number;
  /** … and never further apart than this. */
  readonly fanOutIntervalMaxMs: number;
  /** After a round with at least so many operations (a crowd joins, or returns) the next is twice as far away. */
  readonly fanOutBulkOps: number;
  /** Operations in memory: a cursor that is older is sent a snapshot. */
  readonly loggedOpsMax: number;
  /** A delta of more operations than this, and than there are nodes, is not made: a snapshot is smaller. */
  readonly deltaOpsMax: number;
  /** Deltas kept for connections that need the same. */
  readonly deltasCachedMax: number;
  /** A cached snapshot is used while it is behind by no more than this many operations or an eighth of the nodes. */
  readonly snapshotLagMin: number;
  readonly connectionsMax: number;
  /** Messages of its own (not netmap) on their way to one connection; with more it is closed as too slow. */
  readonly ownMessagesMax: number;
  /** Punches on their way to one connection; more are dropped. */
  readonly punchesQueuedMax: number;
  /** Commands of administrators that wait. Nodes have at most a few each. */
  readonly adminWaitingMax: number;
  /** Commands of one connection that wait; what comes above is put off or refused. */
  readonly commandsWaitingMax: number;
  /** Commands in one transaction. */
  readonly batchCommandsMax: number;
  /** After a failed transaction, what falls due by itself is tried again after this. */
  readonly retryMs: number;
  readonly authKeysMax: number;
  readonly tokensMax: number;
  /** Failed auth keys of one source (IPv4 address, IPv6 /64): so many at once, then one per interval. */
  readonly authFailuresBurst: number;
  readonly authFailureIntervalMs: number;
  readonly punchBurst: number;
  readonly punchIntervalMs: number;
  /** The same of one node, whomever they are for, but for replies to a punch of the last interval. */
  readonly punchesOfNodeBurst: number;
  readonly punchesOfNodeIntervalMs: number;
  readonly candidatesBurst: number;
  readonly candidatesIntervalMs: number;
  /** Registers (the first, and resyncs) and changes of the key on one connection. */
  readonly registerBurst: number;
  readonly registerIntervalMs: number;
  /** Registers of one node, on however many connections: each may be answered with the whole netmap. */
  readonly nodeRegisterBurst: number;
  readonly nodeRegisterIntervalMs: number;
  /** Changes of the key of one node, of which each is told to all and audited: nobody may push out what others did. */
  readonly nodeRotationBurst: number;
  readonly nodeRotationIntervalMs: number;
  /** Entries of each of the tables of rates. */
  readonly ratesMax: number;
  /** Keys of removed nodes that are told so when they come back; others are told that they are unregistered. */
  readonly removedKeysMax: number;
  /** A token's last use is written at most this often. */
  readonly tokenUsedIntervalMs: number;
}

export const DEFAULT_LIMITS: CoreLimits = {
  offlineGraceMs: 10_000,
  restartGraceMs: 90_000,
  presenceIntervalMs: 250,
  ephemeralMs: 300_000,
  registerTimeoutMs: 30_000,
  pingIntervalMs: 20_000,
  fanOutCostMs: 0.12,
  fanOutAtOnceMs: 12,
  fanOutIntervalMaxMs: 1_200,
  fanOutBulkOps: 32,
  loggedOpsMax: LOGGED_OPS_MAX,
  deltaOpsMax: 10_000,
  deltasCachedMax: 16,
  snapshotLagMin: 64,
  connectionsMax: 20_000,
  ownMessagesMax: 128,
  punchesQueuedMax: 64,
  adminWaitingMax: 1_000,
  commandsWaitingMax: 16,
  batchCommandsMax: 1_000,
  retryMs: 1_000,
  authKeysMax: 100_000,
  tokensMax: 10_000,
  authFailuresBurst: 10,
  authFailureIntervalMs: 6_000,
  punchBurst: 5,
  punchIntervalMs: 1_000,
  punchesOfNodeBurst: 512,
  punchesOfNodeIntervalMs: 50,
  candidatesBurst: 10,
  candidatesIntervalMs: 1_000,
  registerBurst: 5,
  registerIntervalMs: 5_000,
  nodeRegisterBurst: 30,
  nodeRegisterIntervalMs: 2_000,
  nodeRotationBurst: 20,
  nodeRotationIntervalMs: 300_000,
  ratesMax: 65_536,
  removedKeysMax: 4_096,
  tokenUsedIntervalMs: 60_000,
};
