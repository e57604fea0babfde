// Who is sent what of the netmap, and when. Rounds: in each, every connection that is behind and has room is sent one delta
// from its cursor to the end, or a snapshot when its cursor is off the log. Rounds are the further apart the more
// connections there are; the first after a pause is at once. Connections with the same cursor share the message.

import { type Instant, NEVER, UNSET } from '../../base/instant.ts';
import type { NetmapNode } from '../../protocol/netmap.ts';
import { compactOps } from './compact.ts';
import { type Connection, type Connections, NOWHERE } from './connections.ts';
import type { Counters } from './counters.ts';
import type { DurableState } from './mesh-state.ts';
import type { OpLog } from './op-log.ts';
import type { CoreLimits } from './options.ts';
import type { Outbox } from './outbox.ts';
import type { SharedMessage } from './outputs.ts';
import { netmapNodeOf } from './state-view.ts';

export class FanOut {
  readonly #state: DurableState;
  readonly #log: OpLog;
  readonly #connections: Connections;
  readonly #limits: CoreLimits;
  readonly #counters: Counters;
  readonly #outbox: Outbox;
  readonly #deltas = new Map<string, SharedMessage>();
  #snapshot: SharedMessage | null = null;
  #wanted = false;
  /** Not before. */
  #nextAt: Instant = UNSET;
  /** Where the log ended at the last round. */
  #toldUpTo = 0;

  constructor(
    state: DurableState,
    log: OpLog,
    connections: Connections,
    limits: CoreLimits,
    counters: Counters,
    outbox: Outbox,
  ) {
    this.#state = state;
    this.#log = log;
    this.#connections = connections;
    this.#limits = limits;
    this.#counters = counters;
    this.#outbox = outbox;
    this.#toldUpTo = state.seq;
  }

  /** Somebody may be behind. */
  want(): void {
    this.#wanted = true;
  }

  deadline(): Instant {
    return this.#wanted ? this.#nextAt : NEVER;
  }

  /** A round, if it is wanted and time. */
  run(now: Instant): void {
    if (!this.#wanted || now < this.#nextAt) return;
    this.#wanted = false;
    this.#nextAt = (now + this.#intervalMs(this.#state.seq - this.#toldUpTo)) as Instant;
    this.#toldUpTo = this.#state.seq;
    this.#counters.fanOuts++;
    for (const conn of this.#connections.all()) this.advance(conn);
  }

  isBehind(conn: Connection): boolean {
    return conn.phase === 'joined' && conn.cursor !== this.#state.seq;
  }

  /** The next message for one connection, if it is behind and has room. */
  advance(conn: Connection): void {
    if (conn.busy || !this.isBehind(conn)) return;
    const shared = this.canFollow(conn.cursor) ? this.#deltaFrom(conn.cursor) : this.#currentSnapshot();
    this.#counters[shared.message.type === 'delta' ? 'deltasSent' : 'snapshotsSent']++;
    conn.cursor = shared.message.seq;
    conn.busy = true;
    this.#outbox.push({ kind: 'sendShared', conn: conn.id, shared });
  }

  /** Whether deltas lead on from `cursor`. */
  canFollow(cursor: number): boolean {
    if (cursor === NOWHERE || !this.#log.covers(cursor)) return false;
    return this.#state.seq - cursor <= Math.max(this.#limits.deltaOpsMax, this.#state.nodeCount);
  }

  /** `ops`: how many the round before it tells. */
  #intervalMs(ops: number): number {
    const { fanOutCostMs, fanOutAtOnceMs, fanOutIntervalMaxMs, fanOutBulkOps } = this.#limits;
    const cost = this.#connections.joinedCount * fanOutCostMs;
    if (cost < fanOutAtOnceMs) return 0;
    return Math.min(cost, fanOutIntervalMaxMs) * (ops < fanOutBulkOps ? 1 : 2);
  }

  #deltaFrom(from: number): SharedMessage {
    const { seq } = this.#state;
    const key = `${from}:${seq}`;
    const cached = this.#deltas.get(key);
    if (cached !== undefined) return cached;
    const ops = compactOps(this.#log.after(from));
    const shared: SharedMessage = { message: { type: 'delta', from, seq, ops, ack: false } };
    this.#counters.deltasBuilt++;
    for (const old of this.#deltas.keys()) {
      if (this.#deltas.size < this.#limits.deltasCachedMax) break;
      this.#deltas.delete(old);
    }
    this.#deltas.set(key, shared);
    return shared;
  }

  #currentSnapshot(): SharedMessage {
    const { seq } = this.#state;
    const lagMax = Math.max(this.#limits.snapshotLagMin, this.#state.nodeCount / 8);
    const cached = this.#snapshot;
    if (cached !== null && seq - cached.message.seq <= lagMax && this.canFollow(cached.message.seq)) return cached;
    const { networkName, prefix4, prefix6, epoch } = this.#state.settings;
    const nodes: NetmapNode[] = [];
    for (const node of this.#state.nodes()) if (this.#state.isListed(node.id)) nodes.push(netmapNodeOf(node));
    const network = { name: networkName, prefix4, prefix6 };
    this.#snapshot = { message: { type: 'snapshot', epoch, seq, network, nodes } };
    this.#counters.snapshotsBuilt++;
    return this.#snapshot;
  }
}
