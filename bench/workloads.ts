// What is measured on one pair of engines: TCP with one and with four streams (and the CPU time, the latency and the JavaScript
// thread beside it), echoes on an idle tunnel, and 64-byte packets per second. One result per run; statistics are elsewhere.

import { readFileSync } from 'node:fs';
import { BackgroundPing, iperf3, ping } from '../test/interop/lib/measure.ts';
import type { Pair } from '../test/interop/lib/pair.ts';
import { until } from '../test/interop/lib/wait.ts';
import type { BenchOptions } from './options.ts';
import { percentile } from './statistics.ts';

/** One figure per metric; a metric that could not be measured is absent. */
export type Sample = Partial<Record<MetricName, number>> & {
  /** CPU time of the JavaScript threads of both ends, ms per GByte of TCP; Warren only, for the others have none. */
  javascriptMsPerGigabyte?: number;
};

export const METRICS = [
  { name: 'tcp1', label: 'TCP, 1 stream', unit: 'Gbit/s', better: 'more', digits: 2 },
  { name: 'tcp4', label: 'TCP, 4 streams', unit: 'Gbit/s', better: 'more', digits: 2 },
  { name: 'cpu1', label: 'CPU, 1 stream', unit: 's/GByte', better: 'less', digits: 2 },
  { name: 'cpu4', label: 'CPU, 4 streams', unit: 's/GByte', better: 'less', digits: 2 },
  { name: 'pps64', label: '64-byte packets', unit: 'kpps', better: 'more', digits: 0 },
  { name: 'pps64Cpu', label: 'CPU, 64-byte packets', unit: 's/Mpkt', better: 'less', digits: 2 },
  { name: 'pingIdle', label: 'ping idle, median', unit: 'ms', better: 'less', digits: 3 },
  { name: 'pingIdleP99', label: 'ping idle, p99', unit: 'ms', better: 'less', digits: 3 },
  { name: 'pingLoaded', label: 'ping under TCP, median', unit: 'ms', better: 'less', digits: 2 },
  { name: 'pingLoadedP99', label: 'ping under TCP, p99', unit: 'ms', better: 'less', digits: 2 },
  { name: 'rss', label: 'memory after the runs', unit: 'MB', better: 'less', digits: 0 },
] as const;
export type Metric = (typeof METRICS)[number];
export type MetricName = Metric['name'];

/** An IPv4 packet of 64 bytes: 20 of IP, 8 of UDP. */
const PAYLOAD_64 = 64 - 28;
const UDP_PORT = 9_000;
const PING_LOADED_INTERVAL_S = 0.01;

function engineCpu(pair: Pair): number {
  return pair.left.engine.cpuSeconds() + pair.right.engine.cpuSeconds();
}

/** Milliseconds of CPU of the first thread of both engines: in Node the one that runs JavaScript. */
function mainThreadMs(pair: Pair): number {
  let total = 0;
  for (const { engine } of [pair.left, pair.right]) {
    const text = readFileSync(`/proc/${engine.pid}/task/${engine.pid}/schedstat`, 'utf8');
    total += Number(text.split(' ')[0]) / 1e6;
  }
  return total;
}

async function tcp(
  pair: Pair,
  streams: number,
  seconds: number,
): Promise<{ gigabits: number; cpu: number; mainThread: number }> {
  const before = { cpu: engineCpu(pair), main: mainThreadMs(pair) };
  const result = await iperf3(pair.left.host, pair.right.host, pair.right.inner4, { seconds, streams });
  const gigabytes = result.bytes / 1e9;
  return {
    gigabits: result.bitsPerSecond / 1e9,
    cpu: (engineCpu(pair) - before.cpu) / gigabytes,
    mainThread: (mainThreadMs(pair) - before.main) / gigabytes,
  };
}

interface BlastResult {
  readonly packets: number;
  readonly seconds: number;
}

/** Offers 64-byte packets as fast as one sender can and counts what arrives. */
async function smallPackets(pair: Pair, blaster: string, seconds: number): Promise<{ kpps: number; cpu: number }> {
  const { left, right } = pair;
  const address = [right.inner4, `${UDP_PORT}`];
  const sink = right.host.start([blaster, 'receive', ...address]);
  let heard = '';
  sink.stdout?.setEncoding('utf8').on('data', (text: string) => {
    heard += text;
  });
  await until('the sink listens', 5_000, () => heard.includes('ready'));
  const before = engineCpu(pair);
  await left.host.must([blaster, 'send', ...address, `${PAYLOAD_64}`, `${seconds}`], {
    timeoutMs: seconds * 1_000 + 10_000,
  });
  const cpu = engineCpu(pair) - before;
  sink.kill('SIGTERM');
  await until('the sink tells what it got', 5_000, () => heard.includes('}\n'));
  const { packets } = JSON.parse(heard.slice(heard.indexOf('{'))) as BlastResult;
  // By the sender's clock: a queue that drains afterwards must not flatter.
  return { kpps: packets / seconds / 1e3, cpu: cpu / (packets / 1e6) };
}

/** All workloads once. `blaster`: the compiled udp_blast, or null where there is no C compiler. */
export async function measure(pair: Pair, options: BenchOptions, blaster: string | null): Promise<Sample> {
  const { left, right } = pair;
  // Once, so that the first run does not pay for the handshake and the first pages.
  await tcp(pair, 1, 1);
  const idle = await ping(left.host, right.inner4, { count: options.pings, intervalSeconds: 0.005 });

  const single = await tcp(pair, 1, options.tcpSeconds);
  const quadruple = await tcp(pair, 4, options.tcpSeconds);

  const load = tcp(pair, 1, options.tcpSeconds);
  const echoes = new BackgroundPing(left.host, right.inner4, {
    intervalSeconds: PING_LOADED_INTERVAL_S,
    waitSeconds: 2,
  });
  await load;
  const loaded = await echoes.finish();

  const sample: Sample = {
    tcp1: single.gigabits,
    tcp4: quadruple.gigabits,
    cpu1: single.cpu,
    cpu4: quadruple.cpu,
    pingIdle: percentile(idle.rttMs, 0.5),
    pingIdleP99: percentile(idle.rttMs, 0.99),
    pingLoaded: percentile(loaded.rttMs, 0.5),
    pingLoadedP99: percentile(loaded.rttMs, 0.99),
  };
  if (left.implementation === 'warren') sample.javascriptMsPerGigabyte = single.mainThread;
  if (blaster !== null) {
    const small = await smallPackets(pair, blaster, options.udpSeconds);
    sample.pps64 = small.kpps;
    sample.pps64Cpu = small.cpu;
  }
  sample.rss = (left.engine.rssMegabytes() + right.engine.rssMegabytes()) / 2;
  return sample;
}
