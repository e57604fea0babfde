// The daemon's local API: HTTP with JSON over a unix socket, spoken by the person's side of the CLI. Long work answers with
// one JSON object a line (application/x-ndjson): `progress` lines, then `done` or `error`. Types alone: the CLI reads what a
// daemon of its own machine says, and starts faster without a validator.
//
//   GET  /v1/status[?watch=1]     Status, or one Status a line for each change; &peer=NAME: that peer alone, &peers=none: none
//   POST /v1/up                   UpRequest → lines of UpLine
//   POST /v1/down                 {} → Status
//   POST /v1/logout               {} → {told}: whether the controller has heard of it
//   POST /v1/rotate-key           {} → {publicKey}
//   POST /v1/ping                 PingRequest → lines of PingLine
//   POST /v1/peers/flush          {peer} → {name, closed}
//   GET  /v1/why?peer=NAME        WhyReport (path-report.ts)
//   POST /v1/netcheck             {} → NetcheckReport; takes some seconds
//
// Anything else than 200 has a Failure as its body.

import { z } from 'zod';
import type { ErrorCode } from './control.ts';
import type { RelayStatus } from './path-report.ts';

export const REQUEST_BYTES_MAX = 16_384;

// — what the daemon takes —

export const upRequestSchema = z.object({
  /** Null: the network that it belongs to already. */
  joinLink: z.string().max(2048).nullable().default(null),
  hostname: z.string().max(253).nullable().default(null),
  /** Give up waiting (not trying) after this long. */
  timeoutMs: z.number().min(0).max(3_600_000).default(60_000),
});
export type UpRequest = z.output<typeof upRequestSchema>;

export const pingRequestSchema = z.object({
  peer: z.string().max(253),
  /** End with the first answer that came by a direct path; `lost` until then is no failure. */
  untilDirect: z.boolean().default(false),
  /** 0 = until the client goes. */
  count: z.int().min(0).max(1_000_000).default(4),
  intervalMs: z.number().min(10).max(3_600_000).default(1000),
  timeoutMs: z.number().min(10).max(600_000).default(5000),
});
export type PingRequest = z.output<typeof pingRequestSchema>;

export const flushRequestSchema = z.object({ peer: z.string().max(253) });

// — what it says —

export type PeerState = 'idle' | 'connecting' | 'established';

export interface PathStatus {
  readonly kind: 'direct' | 'relay';
  /** Of the peer, or of the relay. */
  readonly endpoint: string;
  /** Name of the relay. */
  readonly relay?: string | null;
  readonly rttMs?: number | null;
}

export interface PeerStatus {
  readonly id: number;
  readonly name: string;
  /** IPv4 first. */
  readonly addresses: readonly string[];
  readonly publicKey: string;
  readonly tags: readonly string[];
  readonly online: boolean;
  readonly state: PeerState;
  readonly path: PathStatus | null;
  readonly candidates: readonly { readonly kind: string; readonly endpoint: string }[];
  /** ISO 8601, or null for never. */
  readonly lastHandshake: string | null;
  readonly rxBytes: number;
  readonly txBytes: number;
  /** Why there is no session although one is wanted, for a person; null when nothing is wrong. */
  readonly reason: string | null;
}

export type DaemonState =
  | 'unconfigured' // it belongs to no network: `warren up --join LINK`
  | 'down' // it belongs to one and is told to stay out
  | 'starting'
  | 'waiting' // for an administrator's approval
  | 'up'
  | 'failed'; // see `problem`

export interface Problem {
  /** For programs: an ErrorCode of the control channel, or one of the daemon's own. */
  readonly code: ErrorCode | DaemonProblemCode;
  /** What happened, why, and what to do next, for a person. */
  readonly message: string;
  readonly why: string | null;
  readonly help: string | null;
}

export const DAEMON_PROBLEM_CODES = [
  'notConfigured',
  'badJoinLink',
  'controllerUnreachable',
  'controllerKeyMismatch',
  'prefixCollision',
  'networkUnfit',
  'ipv6Unavailable',
  'clockOff',
  'tunUnavailable',
  'portInUse',
  'permission',
  'timeout',
  'unknownPeer',
  'ambiguousPeer',
  'badRequest',
  'stateUnusable',
  'internal',
] as const;
export type DaemonProblemCode = (typeof DAEMON_PROBLEM_CODES)[number];

export interface Status {
  readonly version: string;
  readonly state: DaemonState;
  readonly problem: Problem | null;
  /** Things that work but should be known: the clock, locked memory, … */
  readonly warnings: readonly Problem[];
  readonly self: {
    readonly id: number | null;
    readonly name: string | null;
    readonly addresses: readonly string[];
    readonly publicKey: string | null;
    readonly tags: readonly string[];
    readonly interface: string | null;
    readonly listenPort: number | null;
    readonly candidates: readonly { readonly kind: string; readonly endpoint: string }[];
  };
  readonly network: { readonly name: string; readonly prefix4: string; readonly prefix6: string } | null;
  readonly controller: {
    readonly state: 'connected' | 'connecting' | 'offline';
    readonly url: string | null;
    /** ISO 8601: since when it is in this state. */
    readonly since: string | null;
    readonly lastError: string | null;
    /** Position of the netmap; null before the first. */
    readonly seq: number | null;
  };
  readonly peers: readonly PeerStatus[];
  /** Relays of the network; they are no peers. */
  readonly relays: readonly RelayStatus[];
}

export type UpLine =
  | { readonly type: 'progress'; readonly step: string; readonly message: string }
  | { readonly type: 'done'; readonly status: Status }
  | { readonly type: 'error'; readonly problem: Problem };

export type PingLine =
  | { readonly type: 'reply'; readonly sequence: number; readonly ms: number; readonly path: PathStatus }
  | { readonly type: 'lost'; readonly sequence: number; readonly reason: string }
  | {
      readonly type: 'done';
      readonly peer: string;
      readonly sent: number;
      readonly received: number;
      readonly minMs: number | null;
      readonly avgMs: number | null;
      readonly maxMs: number | null;
    }
  | { readonly type: 'error'; readonly problem: Problem };

export interface Failure {
  readonly error: Problem;
}
