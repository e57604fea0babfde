// One real daemon in a network of ten thousand: memory, CPU while idle, and how often it wakes.

import { cpuSeconds, rssMegabytes, voluntarySwitches } from '../../test/interop/lib/proc.ts';
import { pass, until } from '../../test/interop/lib/wait.ts';
import type { Node } from './node.ts';

const IDLE_SECONDS = 20;
const SETTLE_LIMIT_MS = 60_000;

export interface DaemonScale {
  readonly peers: number;
  readonly upMs: number;
  readonly rssMegabytes: number;
  readonly idleCpuPercent: number;
  readonly wakeUpsPerSecond: number;
}

export async function measureDaemon(node: Node, link: string, peers: number): Promise<DaemonScale> {
  await node.start();
  const started = performance.now();
  await node.must(['up', '--join', link]);
  const upMs = performance.now() - started;
  await until('it knows them all', SETTLE_LIMIT_MS, async () => (await node.status()).peers.length >= peers);
  // Garbage of the start is collected before anything is judged; what is measured is the rest after it.
  await pass(IDLE_SECONDS * 1_000);
  const before = { cpu: cpuSeconds(node.pid), switches: voluntarySwitches(node.pid) };
  await pass(IDLE_SECONDS * 1_000);
  return {
    peers,
    upMs,
    rssMegabytes: rssMegabytes(node.pid),
    idleCpuPercent: (100 * (cpuSeconds(node.pid) - before.cpu)) / IDLE_SECONDS,
    wakeUpsPerSecond: (voluntarySwitches(node.pid) - before.switches) / IDLE_SECONDS,
  };
}
