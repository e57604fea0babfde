// The bench's result: per metric each engine's min, median and max over the rounds, and the ratio subject ÷ peer, taken
// within each round (whose runs are minutes apart at most) before the median is. As text and as JSON.

import type { Machine } from './machine.ts';
import { median, type Spread, spread } from './statistics.ts';
import { METRICS, type Metric, type MetricName, type Sample } from './workloads.ts';

/** All rounds of one engine, in order. */
export interface Series {
  readonly label: string;
  readonly samples: readonly Sample[];
}

const BUSY_LOAD = 0.5;

export interface Comparison {
  readonly peer: string;
  readonly metric: MetricName;
  readonly unit: string;
  readonly better: 'more' | 'less';
  readonly subject: Spread;
  readonly other: Spread;
  /** Subject ÷ peer, one for each round. */
  readonly ratios: readonly number[];
  readonly ratio: number;
}

function compareMetric(metric: Metric, subject: Series, peer: Series): Comparison | null {
  const own: number[] = [];
  const others: number[] = [];
  for (const [round, sample] of subject.samples.entries()) {
    const a = sample[metric.name];
    const b = peer.samples[round]?.[metric.name];
    if (a === undefined || b === undefined) continue;
    own.push(a);
    others.push(b);
  }
  if (own.length === 0) return null;
  const ratios = own.map((value, round) => value / (others[round] as number));
  return {
    peer: peer.label,
    metric: metric.name,
    unit: metric.unit,
    better: metric.better,
    subject: spread(own),
    other: spread(others),
    ratios,
    ratio: median(ratios),
  };
}

export function compare(subject: Series, peers: readonly Series[]): Comparison[] {
  return peers.flatMap((peer) =>
    METRICS.map((metric) => compareMetric(metric, subject, peer)).filter((comparison) => comparison !== null),
  );
}

function span({ min, median: middle, max }: Spread, digits: number): string {
  return `${middle.toFixed(digits)} (${min.toFixed(digits)} … ${max.toFixed(digits)})`;
}

export function machineText(machine: Machine): string {
  const tier = machine.aeadTier === null ? '' : `, AEAD tier ${machine.aeadTier}`;
  const busy =
    machine.loadBefore > BUSY_LOAD
      ? [`the machine was busy before (load ${machine.loadBefore.toFixed(1)}): expect noise`]
      : [];
  return [
    `${machine.cores} × ${machine.cpu}, ${machine.memoryGigabytes} GB, Linux ${machine.kernel}`,
    `Node ${machine.node}, iperf3 ${machine.iperf3}${machine.warren === null ? '' : `, warren ${machine.warren}`}${tier}`,
    ...busy,
  ].join('\n');
}

export function comparisonText(subject: Series, comparisons: readonly Comparison[]): string {
  const lines: string[] = [];
  for (const peer of new Set(comparisons.map((comparison) => comparison.peer))) {
    lines.push('', `${subject.label}  against  ${peer}`, '');
    const rows = comparisons
      .filter((comparison) => comparison.peer === peer)
      .map((comparison) => {
        const metric = METRICS.find(({ name }) => name === comparison.metric) as Metric;
        return [
          metric.label,
          metric.unit,
          span(comparison.subject, metric.digits),
          span(comparison.other, metric.digits),
          `× ${comparison.ratio.toFixed(2)}`,
          comparison.ratios.map((ratio) => ratio.toFixed(2)).join(' '),
        ];
      });
    lines.push(
      ...table([
        ['', 'unit', 'subject: median (min … max)', 'peer: median (min … max)', 'ratio', 'per round'],
        ...rows,
      ]),
    );
  }
  const javascript = subject.samples.flatMap(({ javascriptMsPerGigabyte: ms }) => (ms === undefined ? [] : [ms]));
  if (javascript.length > 0) {
    lines.push('', `JavaScript threads of both ends: ${span(spread(javascript), 2)} ms of CPU per GByte of TCP`);
  }
  return lines.join('\n');
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
