// In which order the remotes of a peer are probed, and which of those that are not known to work is taken when the one in use is
// lost. Pure comparison; those that work are compared by choose.ts.

import type { PathSet } from './path-set.ts';
import type { Remote } from './remote.ts';

/** The active one first, then what is likeliest to answer: when the budget is short the others wait. */
export function inOrder(set: PathSet): Remote[] {
  const rank = (remote: Remote): number => {
    if (remote === set.active) return 0;
    if (remote.isRelayed) return 1;
    if (remote.state === 'works' || remote.sameLink) return 2;
    return remote.state === 'failed' ? 4 : 3;
  };
  return set.all().sort((a, b) => rank(a) - rank(b));
}

/** Of two that are not known to work: a relay before the rest, one that was told before one that was only seen, the shorter one. */
export function isSurer(a: Remote, b: Remote): boolean {
  if (a.isRelayed !== b.isRelayed) return a.isRelayed;
  if (a.told !== b.told) return a.told;
  return (a.rttMs ?? Number.POSITIVE_INFINITY) < (b.rttMs ?? Number.POSITIVE_INFINITY);
}
