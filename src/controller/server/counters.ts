// What the server has seen, for metrics. Plain numbers that only grow; what comes from the network and is turned away is
// counted here and nowhere else.

import { CHANNEL_FAILURES, type ChannelFailure } from '../../noise/secure-channel.ts';

/** Why a connection of the control channel ended. */
export const CLOSE_REASONS = [
  'peer', // the node closed it, or the network did
  'core', // the controller's state says so: an error was told, or it connected again
  'channel', // see channelFailures
  'malformed', // a text frame, or a message that cannot be read
  'handshakeTimeout',
  'silent', // pings without a sign of life
  'tooSlow', // more waits for it than may
  'stopping',
] as const;
export type CloseReason = (typeof CLOSE_REASONS)[number];

export interface ServerCounters {
  connectionsOpened: number;
  /** TCP connections over the limit of all, of those without a proved key, and of one source. */
  refusedTotal: number;
  refusedUnproven: number;
  refusedSource: number;
  /** Not HTTP, or HTTP that took too long. */
  badRequests: number;
  badUpgrades: number;
  handshakesDone: number;
  framesReceived: number;
  framesSent: number;
  bytesReceived: number;
  bytesSent: number;
  messagesReceived: number;
  messagesMalformed: number;
  /** Times that a connection was not read because its node sent too much. */
  pauses: number;
  encodingsMade: number;
  encodingsReused: number;
  readonly channelFailures: Record<ChannelFailure, number>;
  readonly closed: Record<CloseReason, number>;
}

function zeros<const K extends string>(keys: readonly K[]): Record<K, number> {
  return Object.fromEntries(keys.map((key) => [key, 0])) as Record<K, number>;
}

export function newServerCounters(): ServerCounters {
  return {
    connectionsOpened: 0,
    refusedTotal: 0,
    refusedUnproven: 0,
    refusedSource: 0,
    badRequests: 0,
    badUpgrades: 0,
    handshakesDone: 0,
    framesReceived: 0,
    framesSent: 0,
    bytesReceived: 0,
    bytesSent: 0,
    messagesReceived: 0,
    messagesMalformed: 0,
    pauses: 0,
    encodingsMade: 0,
    encodingsReused: 0,
    channelFailures: zeros(CHANNEL_FAILURES),
    closed: zeros(CLOSE_REASONS),
  };
}
