// Which of two remotes is the better path (docs/paths.md, rule 3), with the hysteresis that keeps a peer from going to and fro
// between two that are alike. Pure comparison; only remotes that work are compared.

import type { Remote } from './remote.ts';

/** A better one takes over when its round trip is shorter by more than this part and by more than so many ms … */
export const BETTER_PART = 0.2;
export const BETTER_MIN_MS = 2;
/** … or by more than so many ms, whatever part that is. */
export const BETTER_SURELY_MS = 10;

/** What is compared. */
export type Comparable = Pick<Remote, 'rttMs' | 'sameLink' | 'isRelayed' | 'told'>;

/** Whether a round trip is shorter by so much that a change is worth it. */
export function isClearlyShorter(rttMs: number, thanMs: number): boolean {
  const gain = thanMs - rttMs;
  return gain > BETTER_SURELY_MS || (gain > BETTER_MIN_MS && gain > BETTER_PART * thanMs);
}

/** Whether `challenger` takes over from `active`. Both work. */
export function takesOver(challenger: Comparable, active: Comparable): boolean {
  if (challenger.isRelayed !== active.isRelayed) return active.isRelayed;
  // A relay that is neither's home any more is being left by both: it may be about to stop.
  if (active.isRelayed && challenger.told !== active.told) return challenger.told;
  const mine = challenger.rttMs ?? Number.POSITIVE_INFINITY;
  const theirs = active.rttMs ?? Number.POSITIVE_INFINITY;
  if (isClearlyShorter(mine, theirs)) return true;
  return challenger.sameLink && !active.sameLink && !isClearlyShorter(theirs, mine);
}

/**
 * The path to use: `active` unless others that work take over. It ends because each that takes over is clearly shorter, or is the only
 * one of its link within what is not: no two take over from each other, and no circle of them does (choose.test.ts).
 */
export function choose(remotes: readonly Remote[], active: Remote | null): Remote | null {
  const working = remotes.filter(({ state }) => state === 'works');
  let best = active !== null && active.state === 'works' ? active : (working[0] ?? null);
  for (let turns = 0; best !== null && turns < remotes.length; turns++) {
    const current: Remote = best;
    const next = working.find((remote) => remote !== current && takesOver(remote, current));
    if (next === undefined) break;
    best = next;
  }
  return best;
}
