// What the core has done, for metrics. Plain numbers that only grow; input from nodes that is turned away is counted
// here and nowhere else.

import { ERROR_CODES, type ErrorCode } from '../../protocol/control.ts';

export interface Counters {
  registrationsJoined: number;
  registrationsRenewed: number;
  registrationsReturned: number;
  registrationsPending: number;
  /** Errors told to nodes, by code. */
  readonly errors: Record<ErrorCode, number>;
  batchesCommitted: number;
  batchesFailed: number;
  changesCommitted: number;
  ops: number;
  fanOuts: number;
  snapshotsBuilt: number;
  snapshotsSent: number;
  deltasBuilt: number;
  deltasSent: number;
  /** A register on a connection that had one before. */
  resyncs: number;
  /** Registers that named a position and were sent no snapshot. */
  resumes: number;
  punchesPassed: number;
  punchesLimited: number;
  /** To or from a node that is not in the netmap, or without a connection. */
  punchesUnroutable: number;
  /** The target's connection was too slow. */
  punchesDropped: number;
  candidatesDeferred: number;
  /** Messages that made no sense where they came. */
  messagesIgnored: number;
  closedTooSlow: number;
}

export function newCounters(): Counters {
  return {
    registrationsJoined: 0,
    registrationsRenewed: 0,
    registrationsReturned: 0,
    registrationsPending: 0,
    errors: Object.fromEntries(ERROR_CODES.map((code) => [code, 0])) as Record<ErrorCode, number>,
    batchesCommitted: 0,
    batchesFailed: 0,
    changesCommitted: 0,
    ops: 0,
    fanOuts: 0,
    snapshotsBuilt: 0,
    snapshotsSent: 0,
    deltasBuilt: 0,
    deltasSent: 0,
    resyncs: 0,
    resumes: 0,
    punchesPassed: 0,
    punchesLimited: 0,
    punchesUnroutable: 0,
    punchesDropped: 0,
    candidatesDeferred: 0,
    messagesIgnored: 0,
    closedTooSlow: 0,
  };
}
