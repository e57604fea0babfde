// Which of the known names somebody may have meant: few typing errors away (edit distance in which two swapped letters count
// as one), or beginning with what was typed. For error messages; bounded, so that it may be given any text.

/** Longer words are not compared: nobody mistypes them, they paste them. */
const COMPARED_LENGTH_MAX = 64;

/** At most `countMax` of `names`, the nearest first. */
export function nearNames(word: string, names: Iterable<string>, countMax: number): string[] {
  if (word.length === 0 || word.length > COMPARED_LENGTH_MAX) return [];
  const near: { readonly name: string; readonly distance: number }[] = [];
  for (const name of names) {
    const distance = distanceOf(word, name);
    if (distance !== null) near.push({ name, distance });
  }
  near.sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1));
  return near.slice(0, countMax).map(({ name }) => name);
}

/** Null when they are too far apart to be meant. */
function distanceOf(word: string, name: string): number | null {
  if (word.length >= 2 && name.startsWith(word)) return 1;
  const distanceMax = Math.min(3, Math.floor((word.length + 1) / 3));
  if (name.length > COMPARED_LENGTH_MAX || Math.abs(name.length - word.length) > distanceMax) return null;
  const distance = editDistance(word.toLowerCase(), name.toLowerCase());
  return distance <= distanceMax ? distance : null;
}

/** Optimal string alignment: insertions, deletions, replacements and swaps of neighbours. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = at(last, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let best = Math.min(replaced, at(last, j) + 1, at(row, j - 1) + 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) best = Math.min(best, at(beforeLast, j - 2) + 1);
      row.push(best);
    }
    beforeLast = last;
    last = row;
  }
  return at(last, b.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] as number;
}
