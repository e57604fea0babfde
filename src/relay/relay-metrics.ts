// What a relay tells Prometheus, and a person who asks. Everything is read when it is asked for: engine, plane and streams count anyway.
// Members are not labels, there may be thousands: they are in the status alone.

import { Registry } from 'prom-client';
import type { MetricsText } from '../service/metrics-listener.ts';
import { addCounter, addCounterFamily, addGauge, addProcessMetrics } from '../service/prometheus.ts';
import type { RelayHost } from './relay-host.ts';
import type { StreamServer } from './stream/stream-server.ts';

/** Drops of the plane that concern a relay; the others cannot happen without a tunnel. */
const DROPS = [
  'inUnknownType',
  'inBadLength',
  'inUnknownIndex',
  'inBadMac1',
  'inRateLimited',
  'inControlFull',
  'inExpired',
  'inBadTag',
  'inReplayed',
  'inRelayUnknown',
  'relayBadInner',
  'relayNoSlot',
  'relayLimited',
  'outSocketError',
  'outSocketFull',
] as const;

/** `ofProcess`: whether the process is the relay's own, and its numbers are told too. */
export function createRelayMetrics(host: RelayHost, streams: StreamServer | null, ofProcess: boolean): MetricsText {
  const registry = new Registry();
  const { engine, plane } = host;
  addGauge(registry, 'warren_relay_members', 'Members that may use the relay', () => engine.status().members);
  addGauge(registry, 'warren_relay_sessions', 'Members that have a session', () => engine.status().sessions);
  addGauge(registry, 'warren_relay_slots', 'Members for which is forwarded', () => engine.status().slots);
  addGauge(registry, 'warren_relay_connected', 'Whether the controller is there', () =>
    host.controlStatus?.state === 'connected' ? 1 : 0,
  );
  addCounter(registry, 'warren_relay_forwarded_packets_total', 'Relayed datagrams', () => plane.totals().relayPackets);
  addCounter(registry, 'warren_relay_forwarded_bytes_total', 'Their bytes', () => plane.totals().relayBytes);
  addCounterFamily(
    registry,
    'warren_relay_events_total',
    'What members asked for',
    'event',
    () => engine.counters.counts,
  );
  addCounterFamily(registry, 'warren_relay_dropped_total', 'Datagrams that were dropped', 'reason', () => {
    const drops = plane.drops();
    return Object.fromEntries(DROPS.map((reason) => [reason, drops[reason]]));
  });
  addCounterFamily(
    registry,
    'warren_relay_handshakes_total',
    'Handshakes, and why they came to nothing',
    'event',
    () => {
      const { initiationsAccepted, responsesSent, cookieRepliesSent, sessionsConfirmed } =
        engine.engine.counters.reached;
      const reached = { initiationsAccepted, responsesSent, cookieRepliesSent, sessionsConfirmed };
      return { ...reached, ...engine.engine.counters.dropped };
    },
  );
  if (streams !== null) {
    addGauge(registry, 'warren_relay_streams', 'Streams over WebSocket', () => streams.streams);
    addCounterFamily(
      registry,
      'warren_relay_stream_events_total',
      'What became of them',
      'event',
      () => streams.counters,
    );
  }
  if (ofProcess) addProcessMetrics(registry);
  return { contentType: registry.contentType, text: () => registry.metrics() };
}

/** As JSON, for a person or a script. */
export function relayReport(host: RelayHost, streams: StreamServer | null): object {
  const { engine, plane } = host;
  const { relayPackets, relayBytes } = plane.totals();
  return {
    ...engine.status(),
    port: host.port,
    controller: host.controlStatus?.message ?? null,
    forwarded: { packets: relayPackets, bytes: relayBytes },
    streams: streams?.streams ?? null,
    users: [...engine.memberStatuses()].map(({ node, ...numbers }) => ({ id: node.id, name: node.name, ...numbers })),
  };
}
