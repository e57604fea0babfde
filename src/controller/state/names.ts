// Names of nodes: the first label of what the machine calls itself, made into one DNS label, and told apart by -2, -3 …
// Names that people choose are checked by the schema alone.

import { NAME_LENGTH_MAX, type NodeName } from '../../protocol/values.ts';
import type { StateView } from './state-view.ts';

const NAMELESS = 'node';
/** Suffixes that are looked at one by one; behind them the search takes larger steps. */
const NEAR = 16;

/** Lower case letters, digits and hyphens; `node` when nothing is left, or when the name means every machine itself. */
export function nameBase(hostname: string): string {
  const label = (hostname.split('.', 1)[0] as string).toLowerCase();
  const base = label
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, NAME_LENGTH_MAX)
    .replace(/^-+|-+$/g, '');
  return base === '' || base === 'localhost' ? NAMELESS : base;
}

/**
 * A name that no node has. With many of the same hostname not necessarily the lowest: after the first few the numbers are
 * doubled until one is free, and halved back, so that ten thousand clones take fourteen looks each and not ten thousand.
 */
export function uniqueName(hostname: string, view: StateView): NodeName {
  const base = nameBase(hostname);
  const isFree = (suffix: number): boolean => view.nodeByName(numbered(base, suffix)) === undefined;
  let taken = 0;
  while (taken < NEAR) {
    if (isFree(taken + 1)) return numbered(base, taken + 1);
    taken++;
  }
  let free = 2 * taken;
  while (!isFree(free)) {
    taken = free;
    free *= 2;
  }
  while (free - taken > 1) {
    const middle = (taken + free) >> 1;
    if (isFree(middle)) free = middle;
    else taken = middle;
  }
  return numbered(base, free);
}

/** Whether `name` was made of `hostname`, and not by a person. */
export function isMadeFrom(name: NodeName, hostname: string): boolean {
  const base = nameBase(hostname);
  const suffix = /-(\d+)$/.exec(name);
  return name === base || (suffix !== null && name === numbered(base, Number(suffix[1])));
}

function numbered(base: string, suffix: number): NodeName {
  if (suffix === 1) return base as NodeName;
  const tail = `-${suffix}`;
  return `${base.slice(0, NAME_LENGTH_MAX - tail.length).replace(/-+$/, '')}${tail}` as NodeName;
}
