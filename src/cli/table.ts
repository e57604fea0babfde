// Aligned columns for people, two spaces between them, no lines. Cells hold what others have chosen (names, descriptions):
// control characters are taken out, so that no cell can move the cursor or pass for a row.

import { printable } from '../base/printable.ts';

export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const clean = [header, ...rows].map((row) => row.map(printable));
  const widths = header.map((_, column) => clean.reduce((width, row) => Math.max(width, lengthOf(row[column])), 0));
  const lines = clean.map((row) =>
    row
      .map((cell, column) => `${cell}${' '.repeat((widths[column] as number) - lengthOf(cell))}`)
      .join('  ')
      .trimEnd(),
  );
  return `${lines.join('\n')}\n`;
}

/** `name: value` lines, values aligned. */
export function fields(pairs: readonly (readonly [string, string])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length)) + 2;
  return pairs.map(([name, value]) => `${`${name}:`.padEnd(width)}${printable(value)}\n`).join('');
}

/** In code points. */
function lengthOf(text: string | undefined): number {
  return text === undefined ? 0 : [...text].length;
}
