// Punches: passed on at once, without being stored, between two nodes of the netmap. Limited for each pair and direction, and
// for each sender: every one of them has another node send datagrams to addresses that the sender chooses. Replies to what was
// asked a moment ago are the asking node's. What is over a limit is counted and dropped, for the next attempt brings another.

import type { Instant } from '../../base/instant.ts';
import type { PunchRequest } from '../../protocol/control.ts';
import type { NodeId } from '../../protocol/values.ts';
import { sharedCandidates } from './candidates.ts';
import type { Connection, Connections } from './connections.ts';
import type { Counters } from './counters.ts';
import type { FanOut } from './fan-out.ts';
import type { CoreLimits } from './options.ts';
import type { Outbox } from './outbox.ts';
import { RateTable } from './rates.ts';
import type { StateView } from './state-view.ts';

export class Punches {
  readonly #state: StateView;
  readonly #connections: Connections;
  readonly #fanOut: FanOut;
  readonly #outbox: Outbox;
  readonly #counters: Counters;
  readonly #pairs: RateTable<string>;
  readonly #senders: RateTable<NodeId>;

  constructor(
    state: StateView,
    connections: Connections,
    fanOut: FanOut,
    outbox: Outbox,
    limits: CoreLimits,
    counters: Counters,
  ) {
    this.#state = state;
    this.#connections = connections;
    this.#fanOut = fanOut;
    this.#outbox = outbox;
    this.#counters = counters;
    this.#pairs = new RateTable({ burst: limits.punchBurst, intervalMs: limits.punchIntervalMs }, limits.ratesMax);
    this.#senders = new RateTable(
      { burst: limits.punchesOfNodeBurst, intervalMs: limits.punchesOfNodeIntervalMs },
      limits.ratesMax,
    );
  }

  pass(from: Connection, request: PunchRequest, now: Instant): void {
    const target = this.#connections.of(request.to);
    const { nodeId } = from;
    if (nodeId === null || target?.phase !== 'joined' || target === from || !this.#state.isListed(nodeId)) {
      this.#counters.punchesUnroutable++;
      return;
    }
    const asked = request.reply && this.#pairs.isWarm(`${request.to}>${nodeId}`, now);
    const limited = !asked && this.#senders.waitMs(nodeId, now) > 0;
    if (limited || !this.#pairs.take(`${nodeId}>${request.to}`, now)) {
      this.#counters.punchesLimited++;
      return;
    }
    if (!asked) this.#senders.spend(nodeId, now);
    // It may be of a node that the target has not been told of yet.
    this.#fanOut.advance(target);
    const { txid, reply, reach } = request;
    const candidates = sharedCandidates(request.candidates, from.remoteAddress, from.listenPort);
    const sent = this.#outbox.sendPunch(target, { type: 'punch', from: nodeId, txid, reply, candidates, reach });
    this.#counters[sent ? 'punchesPassed' : 'punchesDropped']++;
  }
}
