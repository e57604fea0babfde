// All pairs of things, several at a time, none of which shares a member with another that is under way: what one pair does to its two
// places does not disturb the measurement of another.

/** Unordered pairs, each once. */
export function allPairs<T>(things: readonly T[]): readonly (readonly [T, T])[] {
  return things.flatMap((a, i) => things.slice(i + 1).map((b) => [a, b] as const));
}

/** Calls `work` for every pair, `jobs` at once at most; results in the order of `pairs`. The first failure ends it. */
export async function forEachPair<T, R>(
  pairs: readonly (readonly [T, T])[],
  jobs: number,
  work: (a: T, b: T) => Promise<R>,
): Promise<readonly R[]> {
  const results: R[] = new Array<R>(pairs.length);
  const waiting = new Set(pairs.keys());
  const busy = new Set<T>();
  const active = new Map<number, Promise<void>>();
  const startable = (): number | undefined =>
    [...waiting].find((at) => (pairs[at] as readonly [T, T]).every((one) => !busy.has(one)));
  while (waiting.size > 0 || active.size > 0) {
    const at = active.size < jobs ? startable() : undefined;
    if (at === undefined) {
      await Promise.race(active.values());
      continue;
    }
    const [a, b] = pairs[at] as readonly [T, T];
    waiting.delete(at);
    for (const one of [a, b]) busy.add(one);
    const run = work(a, b).then((result) => {
      results[at] = result;
      for (const one of [a, b]) busy.delete(one);
      active.delete(at);
    });
    active.set(at, run);
  }
  return results;
}
