// What the controller tells Prometheus. Everything is read when it is asked for: the core and the server count anyway, and
// nobody who asks costs nothing. The exceptions are how long commits take and what the REST API answers. Process metrics
// are our own few: the library's keep a timer running for the delay of the event loop.

import { Counter, Histogram, Registry } from 'prom-client';
import type { WallTime } from '../../base/instant.ts';
import { addCounter, addCounterFamily, addGauge, addLabelled, addProcessMetrics } from '../../service/prometheus.ts';
import type { ControllerCore } from '../state/core.ts';
import type { Counters } from '../state/counters.ts';
import { nodeStateOf } from '../state/state-view.ts';

export interface MetricsSource {
  readonly core: Pick<ControllerCore, 'state' | 'counters' | 'connectedCount'>;
  /** Numbers that only grow, by the name of what they count: of sockets, handshakes, requests. */
  readonly server: () => Readonly<Record<string, number>>;
  /** The same of STUN. */
  readonly stun: () => Readonly<Record<string, number>>;
  readonly wallNow: () => WallTime;
}

export interface Metrics {
  readonly contentType: string;
  /** One transaction of the store, from its begin until it was durable. */
  observeCommit(seconds: number): void;
  /** A request of the REST API was answered. */
  observeAnswer(door: string, status: number): void;
  /** In the text format of Prometheus. */
  text(): Promise<string>;
}

const COMMIT_BUCKETS_S = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/** Counters that stand alone, with what they count. */
const PLAIN = [
  ['changesCommitted', 'changes_committed_total', 'Changes made durable'],
  ['ops', 'netmap_operations_total', 'Operations added to the history that nodes follow'],
  ['fanOuts', 'netmap_fan_outs_total', 'Rounds in which connections were told what had changed'],
  ['resyncs', 'netmap_resyncs_total', 'Nodes that asked for their netmap again on the same connection'],
  ['resumes', 'netmap_resumes_total', 'Nodes that came back and were sent only what had changed'],
  ['candidatesDeferred', 'candidates_deferred_total', 'Updates of candidates that were held back by their rate'],
  ['messagesIgnored', 'messages_ignored_total', 'Messages of nodes that made no sense where they came'],
  ['closedTooSlow', 'connections_closed_too_slow_total', 'Connections closed because their end did not read'],
] as const satisfies readonly (readonly [keyof Counters, string, string])[];

/** Counters of one kind of thing, by label. */
const FAMILIES = [
  {
    name: 'registrations_total',
    help: 'Nodes that registered: new, with another key, known, and waiting for approval',
    label: 'result',
    of: {
      joined: 'registrationsJoined',
      renewed: 'registrationsRenewed',
      returned: 'registrationsReturned',
      pending: 'registrationsPending',
    },
  },
  {
    name: 'punches_total',
    help: 'Punch requests: passed on, above their rate, for nobody who is there, for one who reads too slowly',
    label: 'result',
    of: {
      passed: 'punchesPassed',
      limited: 'punchesLimited',
      unroutable: 'punchesUnroutable',
      dropped: 'punchesDropped',
    },
  },
  {
    name: 'snapshots_total',
    help: 'Snapshots: built, and sent (many share one)',
    label: 'stage',
    of: { built: 'snapshotsBuilt', sent: 'snapshotsSent' },
  },
  {
    name: 'deltas_total',
    help: 'Deltas: built, and sent (many share one)',
    label: 'stage',
    of: { built: 'deltasBuilt', sent: 'deltasSent' },
  },
  {
    name: 'commits_total',
    help: 'Transactions of the store',
    label: 'result',
    of: { committed: 'batchesCommitted', failed: 'batchesFailed' },
  },
] as const satisfies readonly {
  readonly name: string;
  readonly help: string;
  readonly label: string;
  readonly of: Readonly<Record<string, keyof Counters>>;
}[];

export function createMetrics(source: MetricsSource): Metrics {
  const registry = new Registry();
  addNodes(registry, source);
  addCounters(registry, source);
  addProcessMetrics(registry);
  const commits = new Histogram({
    name: 'warren_commit_seconds',
    help: 'How long transactions of the store took until they were durable',
    buckets: COMMIT_BUCKETS_S,
    registers: [registry],
  });
  const answers = new Counter({
    name: 'warren_api_requests_total',
    help: 'Requests of the REST API, by the door they came through and the status of the answer',
    labelNames: ['door', 'status'],
    registers: [registry],
  });
  return {
    contentType: registry.contentType,
    observeAnswer: (door, status) => answers.inc({ door, status }),
    observeCommit: (seconds) => commits.observe(seconds),
    text: () => registry.metrics(),
  };
}

function addNodes(registry: Registry, { core, wallNow }: MetricsSource): void {
  addGauge(registry, 'warren_connections', 'Nodes that are connected', () => core.connectedCount);
  addGauge(registry, 'warren_auth_keys', 'Auth keys, usable or not', () => core.state.authKeyCount);
  addGauge(registry, 'warren_netmap_sequence', 'Number of the last operation', () => core.state.seq);
  addLabelled(registry, 'warren_nodes', 'Nodes by state', 'state', () => {
    const states = { active: 0, pending: 0, expired: 0, disabled: 0 };
    for (const node of core.state.nodes()) states[nodeStateOf(node, wallNow())]++;
    return states;
  });
  addGauge(registry, 'warren_nodes_online', 'Nodes that the others are told are online', () => {
    let online = 0;
    for (const node of core.state.nodes()) if (node.online) online++;
    return online;
  });
}

function addCounters(registry: Registry, { core, server, stun }: MetricsSource): void {
  const { counters } = core;
  for (const [key, name, help] of PLAIN) addCounter(registry, `warren_${name}`, help, () => counters[key]);
  for (const { name, help, label, of } of FAMILIES) {
    addCounterFamily(registry, `warren_${name}`, help, label, () =>
      Object.fromEntries(Object.entries(of).map(([value, key]) => [value, counters[key]])),
    );
  }
  addCounterFamily(registry, 'warren_node_errors_total', 'Errors told to nodes', 'code', () => counters.errors);
  addCounterFamily(registry, 'warren_server_events_total', 'What happened on the listeners', 'event', server);
  addCounterFamily(registry, 'warren_stun_events_total', 'What became of STUN datagrams', 'event', stun);
}
