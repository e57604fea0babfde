// Which of the known names somebody may have meant: few typing errors away (edit distance in which two swapped letters count
// as one), or beginning with what was typed. For error messages; bounded, so that it may be given any text and any number of
// names.

/** Longer words are not compared: nobody mistypes them, they paste them. */
const COMPARED_LENGTH_MAX = 64;
/** Of more names the first are looked at: an error message must not hold up a controller. */
const NAMES_COMPARED_MAX = 10_000;
const DISTANCE_MAX = 3;

/** At most `countMax` of `names`, the nearest first. */
export function nearNames(word: string, names: Iterable<string>, countMax: number): string[] {
  if (word.length === 0 || word.length > COMPARED_LENGTH_MAX) return [];
  const wanted = word.toLowerCase();
  /** By distance, each in the order of the names. */
  const near: string[][] = Array.from({ length: DISTANCE_MAX + 1 }, () => []);
  let compared = 0;
  for (const name of names) {
    if (++compared > NAMES_COMPARED_MAX) break;
    const found = near[distanceOf(wanted, name)];
    if (found !== undefined && found.length < countMax) found.push(name);
  }
  return near.flat().slice(0, countMax);
}

/** More than DISTANCE_MAX when they are too far apart to be meant. */
function distanceOf(word: string, name: string): number {
  if (word.length >= 2 && name.startsWith(word)) return 1;
  const distanceMax = Math.min(DISTANCE_MAX, Math.floor((word.length + 1) / 3));
  if (name.length > COMPARED_LENGTH_MAX || Math.abs(name.length - word.length) > distanceMax) return DISTANCE_MAX + 1;
  const distance = editDistance(word, name.toLowerCase(), distanceMax);
  return distance <= distanceMax ? distance : DISTANCE_MAX + 1;
}

/** Three rows of the table, used again and again. */
const ROWS = [0, 1, 2].map(() => new Uint8Array(COMPARED_LENGTH_MAX + 2));

/** Optimal string alignment: insertions, deletions, replacements and swaps of neighbours. More than `max` ends it early. */
function editDistance(a: string, b: string, max: number): number {
  let [beforeLast, last, row] = ROWS as [Uint8Array, Uint8Array, Uint8Array];
  let leastBefore = 0;
  for (let j = 0; j <= b.length; j++) last[j] = j;
  for (let i = 1; i <= a.length; i++) {
    // Cells further from the diagonal than `max` are more than `max`.
    const from = Math.max(1, i - max);
    const to = Math.min(b.length, i + max);
    row.fill(max + 1, 0, b.length + 1);
    if (from === 1) row[0] = i;
    let least = at(row, 0);
    for (let j = from; j <= to; j++) {
      const replaced = at(last, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let best = Math.min(replaced, at(last, j) + 1, at(row, j - 1) + 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) best = Math.min(best, at(beforeLast, j - 2) + 1);
      row[j] = best;
      least = Math.min(least, best);
    }
    // A swap reaches back two rows: only two that are above the limit end it.
    if (least > max && leastBefore > max) return max + 1;
    leastBefore = least;
    [beforeLast, last, row] = [last, row, beforeLast];
  }
  return at(last, b.length);
}

function at(row: Uint8Array, index: number): number {
  return row[index] as number;
}
