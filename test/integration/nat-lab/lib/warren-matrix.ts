// All pairs of places with a daemon at each: whether they meet, by which path beside the one that RFC 4787 permits, how soon, and what
// it cost. Measured a few pairs at a time and printed as a table.

import type { SiteKind } from '../../../../src/sim/nat/kinds.ts';
import { allPairs, forEachPair } from './pairs.ts';
import { spread, table, triangle } from './tables.ts';
import { asExpected, measurePair, type PairMeasurement, wasPredicted } from './warren-pair.ts';
import { type WarrenOptions, WarrenWorld } from './warren-world.ts';

export interface MatrixOptions extends WarrenOptions {
  readonly jobs: number;
  /** Told as each pair is done. */
  readonly onPair?: (pair: PairMeasurement, done: number, all: number) => void;
}

export interface WarrenMatrix {
  readonly names: readonly string[];
  readonly pairs: readonly PairMeasurement[];
}

export async function warrenMatrix(
  name: string,
  kinds: readonly SiteKind[],
  options: MatrixOptions,
): Promise<WarrenMatrix> {
  const world = await WarrenWorld.open(name, kinds, options);
  try {
    const pairs = allPairs(world.members);
    let done = 0;
    const measured = await forEachPair(pairs, options.jobs, async (a, b) => {
      const pair = await measurePair(a, b);
      options.onPair?.(pair, ++done, pairs.length);
      return pair;
    });
    return { names: world.members.map(({ site }) => site.name), pairs: measured };
  } finally {
    await world.close();
  }
}

/** `D` direct, `P` direct by a predicted port, `r` by relay, `–` not at all; `!`: RFC 4787 has it otherwise. */
function mark(pair: PairMeasurement | undefined): string {
  if (pair === undefined) return '·';
  if (wasPredicted(pair)) return 'P';
  const path = pair.path === 'direct' ? 'D' : pair.path === 'relay' ? 'r' : '–';
  return `${path}${asExpected(pair) ? '' : '!'}`;
}

export function printWarren({ names, pairs }: WarrenMatrix): string {
  const cell = (row: number, column: number): string =>
    mark(pairs.find(({ a, b }) => a === names[column] && b === names[row]));
  const wrong = pairs.filter((pair) => !asExpected(pair));
  const some = (values: readonly (number | null)[]): readonly number[] => values.filter((value) => value !== null);
  const promoted = pairs.filter(({ directMs }) => directMs !== null);
  const lost = (of: readonly PairMeasurement[]): string =>
    `${of.reduce((sum, pair) => sum + pair.lost, 0)} of ${of.reduce((sum, pair) => sum + pair.sent, 0)} packets`;
  const lines = [
    'How daemons at two places meet (D direct, P by a predicted port, r by relay, – not at all; !: RFC 4787 has it otherwise):\n',
    triangle(names, cell),
    '',
    `first answer   ${spread(some(pairs.map(({ firstAnswerMs }) => firstAnswerMs)))}`,
    `direct         ${spread(some(pairs.map(({ directMs }) => directMs)))}`,
    `lost after the first answer: ${lost(promoted)} where a direct path took over, ${lost(pairs.filter(({ directMs }) => directMs === null))} elsewhere`,
    `${pairs.length} pairs, ${wrong.length} not as expected`,
  ];
  if (wrong.length > 0) {
    const rows = wrong.map(({ a, b, expected, path, causes }) => {
      const prediction = expected.path === 'relay' ? (expected.prediction ?? '') : '';
      return [a, b, expected.path, prediction, path ?? 'none', causes.join(' ')];
    });
    lines.push('', table(['from', 'to', 'expected', 'predictable', 'found', 'causes'], rows));
  }
  return lines.join('\n');
}
