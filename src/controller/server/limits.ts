// What one controller takes from outside, each bound with a name. Limits on a source (an IPv4 address, an IPv6 /64) hold only
// until a machine is registered, so a whole office behind one NAT is welcome; a source on this machine (a reverse
// proxy) stands for many and has the limits of all together alone.

export interface ServerLimits {
  /** TCP connections, of whatever kind. Kept below what the core takes, so that a node is never turned away by it. */
  readonly connectionsMax: number;
  /** Connections of no node: requests to the REST API, handshakes, keys that nobody knows, and those that say nothing. */
  readonly unprovenMax: number;
  readonly unprovenPerSourceMax: number;
  /** Of HTTP: for all headers, for a whole request, and between two requests; looked at every `httpCheckMs`. */
  readonly headerBytesMax: number;
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly keepAliveMs: number;
  readonly httpCheckMs: number;
  /** From the upgrade to the first message under the keys of the handshake. */
  readonly handshakeTimeoutMs: number;
  /** Frames are sealed while less than this waits in the socket. */
  readonly sendMarkBytes: number;
  /** Of the controller's messages that wait to be sealed; shared ones count in full, although they are in memory once. */
  readonly queueBytesMax: number;
  readonly queueMessagesMax: number;
  readonly pingIntervalMs: number;
  /** So many pings without a sign of life, and the connection is dead. */
  readonly pingsMissedMax: number;
  /** To write out what was sent, and for the other end to close, before the connection is cut. */
  readonly closeTimeoutMs: number;
  /** Messages of one node: so many at once, then at this rate; more wait in its socket. */
  readonly messagesBurst: number;
  readonly messagesPerSecond: number;
  readonly bytesBurst: number;
  readonly bytesPerSecond: number;
  /** Outputs of the core carried out before sockets have their turn. */
  readonly outputsPerTurn: number;
}

export const SERVER_LIMITS: ServerLimits = {
  connectionsMax: 20_000,
  unprovenMax: 4_096,
  unprovenPerSourceMax: 128,
  headerBytesMax: 16_384,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  keepAliveMs: 5_000,
  httpCheckMs: 1_000,
  handshakeTimeoutMs: 10_000,
  sendMarkBytes: 262_144,
  queueBytesMax: 128 * 1024 * 1024,
  queueMessagesMax: 256,
  pingIntervalMs: 20_000,
  pingsMissedMax: 3,
  closeTimeoutMs: 2_000,
  messagesBurst: 2_000,
  messagesPerSecond: 200,
  bytesBurst: 1_048_576,
  bytesPerSecond: 262_144,
  outputsPerTurn: 256,
};
