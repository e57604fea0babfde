// One peer of the mesh: its record in the netmap, the engine's peer, and what is remembered of meeting it and of its paths, made when
// the first attempt, punch or ping needs it. Data only; meeting.ts, paths.ts and pings.ts act on it.

import { type Instant, NEVER } from '../base/instant.ts';
import type { Endpoint } from '../base/ip.ts';
import type { PeerPaths } from '../path/peer-paths.ts';
import { TokenBucket } from '../path/token-bucket.ts';
import type { NetmapNode } from '../protocol/netmap.ts';
import { RELAY_TAG } from '../protocol/reach.ts';
import type { Candidate } from '../protocol/values.ts';
import type { Scheduled } from '../wireguard/deadlines.ts';
import type { Peer } from '../wireguard/peer.ts';

/**
 * Initiations and indications to places that may be anybody's, for one peer: what it says of itself cannot make us send more. The burst is what
 * an attempt needs: every candidate of a netmap and of a punch, a few times.
 */
export const UNPROVED_PER_SECOND = 40;
export const UNPROVED_BURST = 120;

export class MeshPeer implements Scheduled {
  heapIndex = -1;
  dueAt: Instant = NEVER;

  /** The newest record; another key is another MeshPeer. */
  node: NetmapNode;
  /** A member without a tunnel: it forwards for us (relays.ts), and is shown to nobody as a peer. */
  readonly isRelay: boolean;
  /** The one place at which this relay is reached instead of its candidates: a bridge of the host's to its WebSocket. */
  override: Endpoint | null = null;
  /** Null: it could not be made a peer (`unattached` says why). */
  peer: Peer | null = null;
  unattached: 'ownKey' | 'duplicateKey' | 'tooMany' | null = null;
  /** The engine's endpoint was heard from; until then it is a guess. */
  proven = false;
  meeting: MeetingState | null = null;
  paths: PeerPaths | null = null;
  pings: PingState | null = null;

  constructor(node: NetmapNode) {
    this.node = node;
    this.isRelay = isRelayNode(node);
  }
}

export function isRelayNode(node: NetmapNode): boolean {
  return node.tags.includes(RELAY_TAG);
}

export interface MeetingState {
  /** When the first initiation of the running attempt went out; null = none runs or none has gone out. */
  attemptAt: Instant | null;
  /** The attempt goes to every candidate, although a session may seem alive. */
  wide: boolean;
  /** The one early repetition inside an attempt. */
  repeatAt: Instant;
  /** Of the last punch of this attempt; null once its reply has been acted upon. */
  punchTxid: number | null;
  /** The next initiation is due to a reply: it needs no punch of its own. */
  replied: boolean;
  /** From punches; newer than the netmap's until that changes. */
  punched: readonly Candidate[];
  lastPunchAt: Instant;
  /** The last attempt came to nothing, and no session has worked since. */
  gaveUp: boolean;
  /** For what goes to places that are not proved. */
  readonly unproved: TokenBucket;
}

export interface PingState {
  /** Wait for a session. */
  waiting: { readonly txid: number; readonly bytes: number }[];
  /** Tokens for answering, and when they were counted. */
  tokens: number;
  tokensAt: Instant;
  /** Where it saw us last. */
  observed: Endpoint | null;
}

const LONG_AGO = Number.NEGATIVE_INFINITY as Instant;

export function meetingOf(mesh: MeshPeer, now: Instant): MeetingState {
  mesh.meeting ??= {
    attemptAt: null,
    wide: false,
    repeatAt: NEVER,
    punchTxid: null,
    replied: false,
    punched: [],
    lastPunchAt: LONG_AGO,
    gaveUp: false,
    unproved: new TokenBucket(UNPROVED_PER_SECOND, UNPROVED_BURST, now),
  };
  return mesh.meeting;
}
