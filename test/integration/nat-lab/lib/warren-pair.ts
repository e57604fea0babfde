// How two daemons meet: from a closed session on both sides, packets go from one to the other every few milliseconds, and what is
// answered, when, by which path and what is lost meanwhile is taken down. `ping` inside the tunnel is the traffic; the daemon's
// own pings say by which path they came.

import { ask, follow } from '../../../../src/cli/local-client.ts';
import type { PingLine, PingRequest } from '../../../../src/protocol/local-api.ts';
import type { WhyReport } from '../../../../src/protocol/path-report.ts';
import type { Verdict } from '../../../../src/sim/nat/permits.ts';
import { until } from '../../../interop/lib/wait.ts';
import type { WarrenSite } from './warren-world.ts';
import { expectation } from './world.ts';

const EVERY_MS = 20;
/** How long a direct path may take, and how long to look whether one is found that should not be. */
const DIRECT_LIMIT_MS = 10_000;
const RELAY_WATCH_MS = 3_000;
/** After the promotion: what is lost by it is lost by then. */
const AFTERWARDS_MS = 700;

export interface PairMeasurement {
  readonly a: string;
  readonly b: string;
  readonly expected: Verdict;
  readonly connected: boolean;
  /** What is used in the end; null: there is none. */
  readonly path: 'direct' | 'relay' | null;
  readonly endpoint: string | null;
  /** From the first packet. Null: never. */
  readonly firstAnswerMs: number | null;
  readonly directMs: number | null;
  /** Packets after the first answer, and how many of them were not answered. */
  readonly sent: number;
  readonly lost: number;
  /** What the daemon says of it. */
  readonly causes: readonly string[];
}

/** Direct where only a port that was guessed right makes it so is more than is asked for. */
export function wasPredicted({ expected, path }: PairMeasurement): boolean {
  return path === 'direct' && expected.path === 'relay' && expected.prediction !== null;
}

export function asExpected(pair: PairMeasurement): boolean {
  return pair.connected && (pair.path === pair.expected.path || wasPredicted(pair));
}

/** `a` begins. */
export async function measurePair(a: WarrenSite, b: WarrenSite): Promise<PairMeasurement> {
  const expected = expectation(a.site, b.site);
  await Promise.all([flush(a, b), flush(b, a)]);
  const started = performance.now();
  const traffic = new Traffic(a, b);
  const watch = new PathWatch(a, b, started);
  const limitMs = expected.path === 'direct' ? DIRECT_LIMIT_MS : RELAY_WATCH_MS;
  await until('a direct path, or the end', limitMs + 1000, () => {
    const passedMs = performance.now() - started;
    const enough = watch.directMs === null ? limitMs : watch.directMs + AFTERWARDS_MS;
    return passedMs >= enough;
  });
  watch.stop();
  const { firstAnswerMs, sent, lost } = await traffic.stop();
  const why = await report(a, b);
  await Promise.all([flush(a, b), flush(b, a)]);
  return {
    a: a.site.name,
    b: b.site.name,
    expected,
    connected: firstAnswerMs !== null,
    path: firstAnswerMs === null ? null : (why?.path?.kind ?? null),
    endpoint: why?.path?.endpoint ?? null,
    firstAnswerMs,
    directMs: watch.directMs,
    sent,
    lost,
    causes: why?.causes ?? [],
  };
}

async function flush(at: WarrenSite, peer: WarrenSite): Promise<void> {
  const body = { peer: peer.ipv4 };
  await ask({ socket: at.machine.socket, method: 'POST', path: '/v1/peers/flush', body });
}

/** Null where the daemon cannot say yet. */
async function report(at: WarrenSite, peer: WarrenSite): Promise<WhyReport | null> {
  const path = `/v1/why?peer=${encodeURIComponent(peer.ipv4)}`;
  return await ask<WhyReport>({ socket: at.machine.socket, method: 'GET', path }).catch(() => null);
}

/** The daemon's pings, until it is stopped. */
class PathWatch {
  directMs: number | null = null;
  readonly #stopped = new AbortController();

  constructor(at: WarrenSite, peer: WarrenSite, started: number) {
    const body: PingRequest = { peer: peer.ipv4, untilDirect: false, count: 0, intervalMs: EVERY_MS, timeoutMs: 1000 };
    const request = { socket: at.machine.socket, method: 'POST', path: '/v1/ping', body } as const;
    const take = (line: PingLine): void => {
      if (line.type !== 'reply' || line.path.kind !== 'direct' || this.directMs !== null) return;
      this.directMs = performance.now() - started;
    };
    follow<PingLine>(request, take, this.#stopped.signal).catch(() => {
      // A daemon that has no path says so at the end of its patience; the traffic shows it, too.
    });
  }

  stop(): void {
    this.#stopped.abort();
  }
}

/** `ping` inside the tunnel. */
class Traffic {
  readonly #child: ReturnType<WarrenSite['machine']['host']['start']>;
  readonly #startedWallMs = Date.now();
  #text = '';

  constructor(from: WarrenSite, to: WarrenSite) {
    this.#child = from.machine.host.start(['ping', '-n', '-D', '-i', `${EVERY_MS / 1000}`, to.ipv4]);
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#text += text;
    });
  }

  async stop(): Promise<{ firstAnswerMs: number | null; sent: number; lost: number }> {
    this.#child.kill('SIGINT');
    await until('ping sums up', 5_000, () => /packets transmitted/.test(this.#text) && this.#child.exitCode !== null);
    const answers = [...this.#text.matchAll(/^\[(\d+\.\d+)\] \d+ bytes from .* icmp_seq=(\d+) /gm)];
    const [first] = answers;
    if (first === undefined) return { firstAnswerMs: null, sent: 0, lost: 0 };
    const sequences = new Set(answers.map((answer) => Number(answer[2])));
    const [from, to] = [Math.min(...sequences), Math.max(...sequences)];
    return {
      firstAnswerMs: Math.max(0, Number(first[1]) * 1000 - this.#startedWallMs),
      sent: to - from + 1,
      lost: to - from + 1 - sequences.size,
    };
  }
}
