// What a run has met: counters of every process that ran, added up when it ends. A simulation that no longer reaches a rule
// does not hold it to anything; the tests look at these sums.

import type { Counters } from '../../controller/state/counters.ts';

export type Reached = Record<string, number>;

export function add(reached: Reached, what: string, count: number): void {
  reached[what] = (reached[what] ?? 0) + count;
}

export function addCounters(
  reached: Reached,
  room: string,
  counters: Readonly<Record<string, number>> | Counters,
): void {
  for (const [name, value] of Object.entries(counters)) {
    if (typeof value === 'number') add(reached, `${room}.${name}`, value);
    else for (const [code, count] of Object.entries(value)) add(reached, `${room}.${name}.${code}`, Number(count));
  }
}

export function addAll(sum: Reached, reached: Readonly<Reached>): void {
  for (const [what, count] of Object.entries(reached)) add(sum, what, count);
}
