// What the lab prints: columns that line up, and a triangle of pairs. Text in, text out.

/** `rows` of cells under `head`; columns as wide as they have to be. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  return [line(head), line(widths.map((width) => '─'.repeat(width))), ...rows.map(line)].join('\n');
}

/** Rows and columns are the same things; every pair has one cell, below the diagonal. Columns are numbered. */
export function triangle(names: readonly string[], cell: (row: number, column: number) => string): string {
  const labels = names.map((name, i) => `${i + 1} ${name}`);
  const head = ['', ...names.map((_, i) => `${i + 1}`)];
  const rows = labels.map((label, row) => [label, ...names.slice(0, row + 1).map((_, column) => cell(row, column))]);
  return table(head, rows);
}

/** Median, 95th of a hundred, and the largest; dashes for nothing. */
export function spread(values: readonly number[]): string {
  if (values.length === 0) return '–';
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): string => `${Math.round(sorted[Math.floor(share * (sorted.length - 1))] ?? 0)}`;
  return `median ${at(0.5)}, p95 ${at(0.95)}, max ${at(1)} ms (${values.length})`;
}
