// What the paths of one peer read and give rise to: the seam between the machine (peer-paths.ts) and whoever has the plane. Types
// alone.

import type { Instant } from '../base/instant.ts';
import type { Endpoint } from '../base/ip.ts';

/** What the plane's record says of the peer. */
export interface RecordedTraffic {
  readonly awaitedSince: Instant;
  readonly lastReceive: Instant;
  /** Real data, in either direction, or waiting to leave. */
  readonly lastData: Instant;
}

/** What goes out; called within the calls, must not call back. */
export interface PathOutputs {
  /** A ping over the session to any remote; false: it did not leave. */
  ping(endpoint: Endpoint, txid: number, now: Instant): boolean;
  /** The same, of so many bytes and not to be fragmented. */
  probeMtu(endpoint: Endpoint, txid: number, bytes: number, now: Instant): 'sent' | 'tooBig' | 'failed';
  /** The largest inner packet of the active path from now on; 0: as the device. */
  limitMtu(mtu: number): void;
  deviceMtu(): number;
  /** The peer's packets go there from now on. */
  use(endpoint: Endpoint, now: Instant): void;
  /** The session is lost at the other end: an attempt over all remotes. */
  handshake(now: Instant): void;
  /** The plane tells again when data waits for an answer. */
  rearm(now: Instant): void;
  drawTxid(): number;
  traffic(): RecordedTraffic;
  /** A probe was held back for the budget; a remote had no place. */
  refused(what: 'probe' | 'remote'): void;
  /** The active path, at `endpoint`, is silent: it is being asked. */
  doubted?(endpoint: Endpoint, now: Instant): void;
  /** The active path did not answer. */
  lost?(now: Instant): void;
}

export interface PathOptions {
  /**
   * Others than the active path are probed only while that does not answer. For a relay, which takes us to be where our newest packet came
   * from: probing it from elsewhere would move us.
   */
  readonly settles: boolean;
}
