// What every section gives: figures over rounds, with the targets that hold for them, and the rounds themselves for --json. As text: a
// row a figure.

import { median, percentile } from '../statistics.ts';

export interface Target {
  readonly of: 'median' | 'p95' | 'worst';
  readonly atMost: number;
}

export interface Figure {
  readonly what: string;
  readonly unit: string;
  readonly digits: number;
  readonly better: 'less' | 'more';
  /** One for each round that gave one. */
  readonly values: readonly number[];
  /** Rounds that gave none, each with why. */
  readonly failures: readonly string[];
  readonly targets: readonly Target[];
}

export interface SectionResult {
  readonly section: string;
  /** What a reader has to know of how it was measured. */
  readonly notes: readonly string[];
  readonly figures: readonly Figure[];
  /** For --json. */
  readonly rounds: readonly unknown[];
}

export type Outcome<Round> =
  | { readonly ok: true; readonly round: Round }
  | { readonly ok: false; readonly why: string };

/** Rounds one after another; one that fails is told and counted, and the next is tried. */
export async function inRounds<Round>(
  rounds: number,
  say: (text: string) => void,
  work: (round: number) => Promise<Round>,
  show: (round: Round) => string,
): Promise<readonly Outcome<Round>[]> {
  const outcomes: Outcome<Round>[] = [];
  for (let i = 0; i < rounds; i++) {
    try {
      const round = await work(i);
      outcomes.push({ ok: true, round });
      say(`  ${i + 1}/${rounds}  ${show(round)}\n`);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      outcomes.push({ ok: false, why });
      say(`  ${i + 1}/${rounds}  failed: ${why}\n`);
    }
  }
  return outcomes;
}

export interface FigureOptions {
  readonly targets?: readonly Target[];
  readonly digits?: number;
  readonly better?: 'less' | 'more';
}

/** `of`: null for a round that has none, which is a failure of it. */
export function figure<Round>(
  what: string,
  unit: string,
  outcomes: readonly Outcome<Round>[],
  of: (round: Round) => number | null,
  { targets = [], digits = 0, better = 'less' }: FigureOptions = {},
): Figure {
  const values: number[] = [];
  const failures: string[] = [];
  for (const outcome of outcomes) {
    const value = outcome.ok ? of(outcome.round) : null;
    if (value !== null) values.push(value);
    else failures.push(outcome.ok ? 'no figure' : outcome.why);
  }
  return { what, unit, digits, better, values, failures, targets };
}

/** What a figure comes to; a round that failed is worse than any value. */
function standing({ values, failures, better }: Figure, of: Target['of']): number {
  // As if less were better, and back at the end.
  const sign = better === 'less' ? 1 : -1;
  const all = [...values.map((value) => sign * value), ...failures.map(() => Number.POSITIVE_INFINITY)];
  if (of === 'median') return sign * median(all);
  return sign * (of === 'p95' ? percentile(all, 0.95) : Math.max(...all));
}

export function isMet(figure: Figure): boolean {
  return figure.targets.every(({ of, atMost }) => standing(figure, of) <= atMost);
}

/** Those that are not met: a busy machine misses some by itself. */
export function missed(results: readonly SectionResult[]): readonly Figure[] {
  return results.flatMap(({ figures }) => figures).filter((one) => one.values.length > 0 && !isMet(one));
}

function rowOf(one: Figure): readonly string[] {
  const text = (of: Target['of']): string => {
    const value = standing(one, of);
    return Number.isFinite(value) ? value.toFixed(one.digits) : 'failed';
  };
  const wanted = one.targets.map(({ of, atMost }) => `${of} ≤ ${atMost}`).join(', ');
  const verdict = one.targets.length === 0 ? '' : isMet(one) ? 'met' : 'MISSED';
  const count =
    one.failures.length === 0 ? `${one.values.length}` : `${one.values.length} + ${one.failures.length} failed`;
  return [one.what, one.unit, text('median'), text('p95'), text('worst'), count, wanted, verdict];
}

export function sectionText({ section, notes, figures }: SectionResult): string {
  const head = ['', 'unit', 'median', 'p95', 'worst', 'rounds', 'target', ''];
  const rows = [head, ...figures.map(rowOf)];
  const widths = head.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return ['', section, ...notes.map((note) => `  ${note}`), '', ...lines].join('\n');
}
