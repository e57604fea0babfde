// The connections of nodes, by their own number and by the node that each speaks for. A node has one at most: a newer one
// takes its place.

import { type Instant, UNSET } from '../../base/instant.ts';
import type { IpAddress } from '../../base/ip.ts';
import type { Position } from '../../protocol/netmap.ts';
import type { Whereabouts } from '../../protocol/reach.ts';
import type { NodeId, PublicKeyText } from '../../protocol/values.ts';
import type { ConnectionId, Speaker } from './commands.ts';

/**
 * - new: the key is proven, nothing was asked
 * - registering: its register is waiting or not yet durable
 * - pending: registered, waiting for approval
 * - joined: welcomed; follows the netmap
 */
export type Phase = 'new' | 'registering' | 'pending' | 'joined';

/** The cursor of one that needs a snapshot. */
export const NOWHERE = -1;

export interface Connection {
  readonly id: ConnectionId;
  readonly publicKey: PublicKeyText;
  readonly remoteAddress: IpAddress | null;
  phase: Phase;
  /** Bound: the node that it was registered as. */
  nodeId: NodeId | null;
  /** The last operation that it was sent. */
  cursor: number;
  /** Netmap traffic is on its way. */
  busy: boolean;
  /** Messages of its own on their way, and how many of them are punches. */
  ownQueued: number;
  punchesQueued: number;
  /** Commands of it that are not yet durable. */
  waiting: number;
  resume: Position | null;
  /** Of its tunnel, as it said last; 0: unknown. */
  listenPort: number;
  /** The newest of these, held back because others came just before. */
  heldWhereabouts: Whereabouts | null;
  candidatesFull: Instant;
  registersFull: Instant;
}

export class Connections {
  readonly #byId = new Map<ConnectionId, Connection>();
  readonly #byNode = new Map<NodeId, Connection>();
  #joined = 0;

  get size(): number {
    return this.#byId.size;
  }

  get joinedCount(): number {
    return this.#joined;
  }

  open(id: ConnectionId, publicKey: PublicKeyText, remoteAddress: IpAddress | null): void {
    this.#byId.set(id, {
      id,
      publicKey,
      remoteAddress,
      phase: 'new',
      nodeId: null,
      cursor: NOWHERE,
      busy: false,
      ownQueued: 0,
      punchesQueued: 0,
      waiting: 0,
      resume: null,
      listenPort: 0,
      heldWhereabouts: null,
      candidatesFull: UNSET,
      registersFull: UNSET,
    });
  }

  get(id: ConnectionId): Connection | undefined {
    return this.#byId.get(id);
  }

  of(node: NodeId): Connection | undefined {
    return this.#byNode.get(node);
  }

  all(): IterableIterator<Connection> {
    return this.#byId.values();
  }

  setPhase(conn: Connection, phase: Phase): void {
    if (conn.phase === 'joined') this.#joined--;
    if (phase === 'joined') this.#joined++;
    conn.phase = phase;
  }

  /** The node must have no other. */
  bind(conn: Connection, node: NodeId): void {
    conn.nodeId = node;
    this.#byNode.set(node, conn);
  }

  /** The node that is without a connection now, or null. */
  remove(conn: Connection): NodeId | null {
    if (!this.#byId.delete(conn.id)) return null;
    this.setPhase(conn, 'new');
    if (conn.nodeId === null || this.#byNode.get(conn.nodeId) !== conn) return null;
    this.#byNode.delete(conn.nodeId);
    return conn.nodeId;
  }
}

export function speakerOf(conn: Connection): Speaker {
  const { id, publicKey, nodeId, remoteAddress } = conn;
  return { connection: id, publicKey, nodeId, remoteAddress };
}
