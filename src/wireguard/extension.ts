// What a mesh adds to the engine, as seen by the engine: hooks around attempts and sessions, frames inside the tunnel, and a
// deadline of its own. Without one the engine is a stock WireGuard and none of this happens.
//
// With one, a peer may be without an endpoint and still be wanted: its packets are staged and its initiations go where the
// extension sends them. Hooks may use the plane and read the engine; they must not begin or end anything of the engine's.

import type { Instant } from '../base/instant.ts';
import type { Endpoint } from '../base/ip.ts';
import type { MessageSource } from './message-source.ts';
import type { Peer } from './peer.ts';

/**
 * What stands in the plane for "not known", because the plane refuses packets for a peer without an endpoint. Of the prefix
 * that is discarded everywhere (RFC 6666); nothing is ever sent there.
 */
export const UNKNOWN_ENDPOINT = '[100::]:9' as Endpoint;

export interface EngineExtension {
  /** A fresh initiation (borrowed) has gone to the peer's endpoint, if it has one. True when it was sent elsewhere too. */
  initiationSent(peer: Peer, message: Uint8Array, now: Instant): boolean;
  /** Nothing answered for REKEY_ATTEMPT_TIME. */
  attemptGivenUp(peer: Peer, now: Instant): void;
  /** A keypair may send from now on. */
  sessionWorks(peer: Peer, now: Instant): void;
  /** Where the peers are is the extension's to say; without it they roam, as stock peers do. */
  readonly endpoints?: EndpointHooks;
  /** Its attempt, session or endpoint is another, or none. Comes after the change. */
  peerChanged(peer: Peer): void;
  /** An in-tunnel control frame, padding included; `frame` and `source` are borrowed. */
  frame(peer: Peer, frame: Uint8Array, source: MessageSource, receivedAt: Instant): void;
  /** A STUN datagram (RFC 8489) from anybody; `datagram` and `source` are borrowed. */
  stun?(datagram: Uint8Array, source: MessageSource, receivedAt: Instant): void;
  /** The extension's own earliest deadline; NEVER = none. */
  nextDeadline(): Instant;
  /** Runs what is due; here it may do anything. */
  expire(now: Instant): void;
}

/** With these no peer's endpoint moves by itself: the hooks say where packets came from, and may set it (`Engine.setEndpoint`). */
export interface EndpointHooks {
  /** An authenticated handshake message came from `source`. */
  handshakeFrom(peer: Peer, source: Endpoint, now: Instant): void;
  /** Answers an initiation that came from `source`; `response` and `source` are borrowed. False when it could not leave. */
  sendResponse(peer: Peer, response: Uint8Array, source: MessageSource, now: Instant): boolean;
  /** An authenticated packet that is no control frame came from another place than the endpoint. */
  packetFrom(peer: Peer, source: Endpoint, now: Instant): void;
  /** Data has gone out and nothing has come in since (Notify.answerAwaited). */
  answerAwaited(peer: Peer, now: Instant): void;
  /** A datagram to the peer could not leave; `errno` as the kernel numbers it. */
  sendFailed(peer: Peer, errno: number, now: Instant): void;
}
