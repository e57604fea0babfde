// What the WebSocket side of a relay takes from outside, each bound with a name. Limits of strangers hold until the relay has answered
// what they sent, which it does to members alone.

export interface StreamLimits {
  /** Streams at the same time, and of them those that are strangers. */
  readonly streamsMax: number;
  readonly unprovenMax: number;
  /** From one source (an IPv4 address, an IPv6 /64), strangers or not; an office whose firewall drops UDP is one source. */
  readonly perSourceMax: number;
  readonly unprovenPerSourceMax: number;
  /** Without an answer of the relay for so long a stranger is put out … */
  readonly provenWithinMs: number;
  /** … or when it has sent so many datagrams: a handshake, with repetitions. */
  readonly unprovenDatagramsMax: number;
  /** Nothing came in for so long: a member that wants to be reached says something twice as often. */
  readonly idleMs: number;
  /** What waits in a socket to be taken by the other end; beyond it datagrams are dropped, as a full queue of UDP does. */
  readonly waitingBytesMax: number;
  /** A message is sent when it has so many bytes, or in the next turn of the event loop. */
  readonly batchBytes: number;
  /** Of what one stream sends to us, each way through JavaScript: so much at once, then at this rate; more waits in its socket. */
  readonly bytesBurst: number;
  readonly bytesPerSecond: number;
}

export const STREAM_LIMITS: StreamLimits = {
  streamsMax: 4_096,
  unprovenMax: 512,
  perSourceMax: 512,
  unprovenPerSourceMax: 16,
  provenWithinMs: 10_000,
  unprovenDatagramsMax: 64,
  idleMs: 60_000,
  waitingBytesMax: 262_144,
  batchBytes: 32_768,
  bytesBurst: 2_097_152,
  bytesPerSecond: 25_000_000,
};

export const STREAM_COUNTERS = [
  'opened',
  'proven',
  'refusedTotal',
  'refusedSource',
  'badUpgrades',
  'closedUnproven', // strangers whom the relay did not answer
  'closedIdle',
  'closedMalformed',
  'closedByPeer',
  'closedOther', // we stop, or the relay's socket is gone
  'datagramsIn',
  'datagramsOut',
  'droppedFull', // the other end did not take them
  'droppedBusy', // the relay's socket did not
  'pauses',
] as const;
export type StreamCounter = (typeof STREAM_COUNTERS)[number];
export type StreamCounters = Record<StreamCounter, number>;

export function newStreamCounters(): StreamCounters {
  return Object.fromEntries(STREAM_COUNTERS.map((name) => [name, 0])) as StreamCounters;
}
