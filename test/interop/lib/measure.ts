// Traffic with a verdict: ping, iperf3 and nft packet counters. Every call is bounded in time. Figures are what the tools
// said; nothing is derived here beyond units.

import type { ChildProcess } from 'node:child_process';
import type { Host } from './lab.ts';
import { until } from './wait.ts';

export interface PingResult {
  readonly sent: number;
  readonly received: number;
  /** One for each answer, in the order of arrival. */
  readonly rttMs: readonly number[];
}

/**
 * Once something was answered, ping(8) waits for the last answer no longer than one interval or two round trips: with a short
 * interval an answer that a busy machine holds up for a moment counts as lost.
 */
const INTERVAL_S = 0.2;

export interface PingOptions {
  readonly count?: number;
  readonly intervalSeconds?: number;
  /** How long the last answer is waited for. */
  readonly waitSeconds?: number;
  /** Bytes of ICMP payload. */
  readonly size?: number;
  /** Forbid fragmentation on the way. */
  readonly dontFragment?: boolean;
  readonly source?: string;
}

function pingCommand(target: string, options: PingOptions): string[] {
  const command = ['ping', '-n', '-i', `${options.intervalSeconds ?? INTERVAL_S}`, '-W', `${options.waitSeconds ?? 1}`];
  if (options.count !== undefined) command.push('-c', `${options.count}`);
  if (options.size !== undefined) command.push('-s', `${options.size}`);
  if (options.dontFragment === true) command.push('-M', 'do');
  if (options.source !== undefined) command.push('-I', options.source);
  return [...command, target];
}

function parsePing(text: string): PingResult {
  const totals = /(\d+) packets transmitted, (\d+) received/.exec(text);
  const rttMs = [...text.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]));
  return { sent: Number(totals?.[1] ?? 0), received: Number(totals?.[2] ?? 0), rttMs };
}

export async function ping(host: Host, target: string, options: PingOptions = {}): Promise<PingResult> {
  const count = options.count ?? 3;
  const spanMs = (count * (options.intervalSeconds ?? INTERVAL_S) + (options.waitSeconds ?? 1)) * 1_000;
  const { stdout } = await host.run(pingCommand(target, { ...options, count }), { timeoutMs: spanMs + 10_000 });
  return parsePing(stdout);
}

/** Whether one echo is answered within a second. */
export async function answers(host: Host, target: string): Promise<boolean> {
  return (await ping(host, target, { count: 1 })).received === 1;
}

/** Pings until one is answered; gives how long that took. */
export async function untilAnswers(host: Host, target: string, deadlineMs: number): Promise<number> {
  const started = performance.now();
  await until(`${target} answers ${host.netns}`, deadlineMs, () => answers(host, target));
  return performance.now() - started;
}

/** A ping that runs in the background until it is asked for its result. */
export class BackgroundPing {
  readonly #child: ChildProcess;
  #text = '';

  constructor(host: Host, target: string, options: PingOptions) {
    this.#child = host.start(pingCommand(target, options));
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#text += text;
    });
  }

  get answered(): number {
    return [...this.#text.matchAll(/time=/g)].length;
  }

  async finish(): Promise<PingResult> {
    this.#child.kill('SIGINT');
    await until(
      'ping prints its summary',
      5_000,
      () => this.#child.exitCode !== null && /packets transmitted/.test(this.#text),
    );
    return parsePing(this.#text);
  }
}

export interface Iperf3Options {
  readonly seconds?: number;
  /** Ends after this many bytes instead of a time. */
  readonly bytes?: number;
  readonly streams?: number;
  readonly udpBitsPerSecond?: number;
  readonly udpPayload?: number;
  readonly reverse?: boolean;
  readonly intervalSeconds?: number;
  readonly port?: number;
}

export interface Iperf3Result {
  /** Taken by the sender; the receiver's count ends with the test, when data may still be on the way. */
  readonly bytesSent: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly bitsPerSecond: number;
  readonly retransmits: number;
  /** UDP only. */
  readonly lostPackets: number;
  readonly packets: number;
  readonly intervals: readonly { readonly start: number; readonly end: number; readonly bitsPerSecond: number }[];
}

interface Iperf3Sum {
  readonly bytes: number;
  readonly seconds: number;
  readonly bits_per_second: number;
  readonly retransmits?: number;
  readonly lost_packets?: number;
  readonly packets?: number;
}

interface Iperf3Json {
  readonly error?: string;
  readonly intervals: readonly { readonly sum: { start: number; end: number; bits_per_second: number } }[];
  readonly end: { readonly sum?: Iperf3Sum; readonly sum_sent?: Iperf3Sum; readonly sum_received?: Iperf3Sum };
}

/** A client at `client` against a one-shot server at `server`, which listens on `address`. */
export async function iperf3(
  client: Host,
  server: Host,
  address: string,
  options: Iperf3Options = {},
): Promise<Iperf3Result> {
  const port = `${options.port ?? 5201}`;
  const seconds = options.seconds ?? 2;
  const listener = server.start(['iperf3', '-s', '-1', '-B', address, '-p', port, '--forceflush']);
  try {
    let heard = '';
    listener.stdout?.setEncoding('utf8').on('data', (text: string) => {
      heard += text;
    });
    await until('iperf3 listens', 5_000, () => {
      if (listener.exitCode !== null) throw new Error(`the iperf3 server ended: ${heard}`);
      return /listening/.test(heard);
    });
    const command = ['iperf3', '-J', '-c', address, '-p', port, '-P', `${options.streams ?? 1}`];
    if (options.bytes === undefined) command.push('-t', `${seconds}`);
    else command.push('-n', `${options.bytes}`);
    if (options.udpBitsPerSecond !== undefined) command.push('-u', '-b', `${options.udpBitsPerSecond}`);
    if (options.udpPayload !== undefined) command.push('-l', `${options.udpPayload}`);
    if (options.reverse === true) command.push('-R');
    if (options.intervalSeconds !== undefined) command.push('-i', `${options.intervalSeconds}`);
    const { stdout } = await client.run(command, { timeoutMs: seconds * 1_000 + 20_000 });
    return parseIperf3(stdout);
  } finally {
    listener.kill('SIGKILL');
    await until('the iperf3 server has ended', 5_000, () => listener.exitCode !== null || listener.signalCode !== null);
  }
}

function parseIperf3(text: string): Iperf3Result {
  const json = JSON.parse(text) as Iperf3Json;
  if (json.error !== undefined) throw new Error(`iperf3: ${json.error}`);
  const received = json.end.sum_received ?? json.end.sum;
  if (received === undefined) throw new Error('iperf3 gave no result');
  return {
    bytesSent: json.end.sum_sent?.bytes ?? received.bytes,
    bytes: received.bytes,
    seconds: received.seconds,
    bitsPerSecond: received.bits_per_second,
    retransmits: json.end.sum_sent?.retransmits ?? 0,
    lostPackets: json.end.sum?.lost_packets ?? 0,
    packets: json.end.sum?.packets ?? 0,
    intervals: json.intervals.map(({ sum }) => ({
      start: sum.start,
      end: sum.end,
      bitsPerSecond: sum.bits_per_second,
    })),
  };
}

/** Counts what one nft expression matches, in the input or the output of a host. */
export class PacketCounter {
  readonly #host: Host;
  readonly #name: string;

  private constructor(host: Host, name: string) {
    this.#host = host;
    this.#name = name;
  }

  /** `match`: an nft expression, for example `udp dport 51820`; `verdict`: what happens to what matches. */
  static async open(
    host: Host,
    hook: 'input' | 'output',
    match: string,
    verdict: 'accept' | 'drop' = 'accept',
  ): Promise<PacketCounter> {
    const name = `count${countersMade++}`;
    const rules = [
      `table inet ${name} {`,
      'counter c {}',
      'chain x {',
      `type filter hook ${hook} priority 0;`,
      `${match} counter name c ${verdict}`,
      '}',
      '}',
    ];
    await host.must(['nft', '-f', host.lab.file(`${name}.nft`, `${rules.join('\n')}\n`)]);
    return new PacketCounter(host, name);
  }

  async packets(): Promise<number> {
    const text = await this.#host.must(['nft', 'list', 'counter', 'inet', this.#name, 'c']);
    return Number(/packets (\d+)/.exec(text)?.[1]);
  }

  async close(): Promise<void> {
    await this.#host.must(['nft', 'delete', 'table', 'inet', this.#name]);
  }
}

let countersMade = 0;
