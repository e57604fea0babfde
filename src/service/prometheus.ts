// Metrics that are read when they are asked for: whoever tells them counts anyway, and nobody who asks costs nothing. And those of
// the process. What there is to tell is each process's own.

import { performance } from 'node:perf_hooks';
import { Counter, Gauge, type Registry } from 'prom-client';

/** Our own few: the library's keep a timer running for the delay of the event loop. */
export function addProcessMetrics(registry: Registry): void {
  addCounter(registry, 'process_cpu_seconds_total', 'User and system CPU time', () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  addGauge(registry, 'process_resident_memory_bytes', 'Resident memory', () => process.memoryUsage.rss());
  addGauge(registry, 'process_start_time_seconds', 'Start, since the Unix epoch', () => performance.timeOrigin / 1000);
  addGauge(registry, 'nodejs_heap_used_bytes', 'Used heap of JavaScript', () => process.memoryUsage().heapUsed);
  let last = performance.eventLoopUtilization();
  addGauge(registry, 'nodejs_eventloop_utilization', 'Busy share of the event loop since the last look', () => {
    const { utilization } = performance.eventLoopUtilization(last);
    last = performance.eventLoopUtilization();
    return utilization;
  });
}

export function addGauge(registry: Registry, name: string, help: string, read: () => number): void {
  const gauge: Gauge = new Gauge({ name, help, registers: [registry], collect: () => gauge.set(read()) });
}

export function addLabelled(
  registry: Registry,
  name: string,
  help: string,
  label: string,
  read: () => Readonly<Record<string, number>>,
): void {
  const gauge: Gauge = new Gauge({
    name,
    help,
    labelNames: [label],
    registers: [registry],
    collect: () => {
      for (const [value, count] of Object.entries(read())) gauge.set({ [label]: value }, count);
    },
  });
}

export function addCounter(registry: Registry, name: string, help: string, read: () => number): void {
  const counter: Counter = new Counter({
    name,
    help,
    registers: [registry],
    collect: () => {
      counter.reset();
      counter.inc(read());
    },
  });
}

export function addCounterFamily(
  registry: Registry,
  name: string,
  help: string,
  label: string,
  read: () => Readonly<Record<string, number>>,
): void {
  const counter: Counter = new Counter({
    name,
    help,
    labelNames: [label],
    registers: [registry],
    collect: () => {
      counter.reset();
      for (const [value, count] of Object.entries(read())) counter.inc({ [label]: value }, count);
    },
  });
}
