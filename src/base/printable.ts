// Text of others that people will see: a name of a machine, an error of a controller. What could move a terminal's cursor, turn
// the direction of writing, or hide is made a blank; a line stays a line. JSON escapes only some of it, so not at the output alone.

/** Controls (C0, C1, DEL), invisible and bidirectional formatting, line and paragraph separators, halves of surrogate pairs. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]+/gu;

export function printable(text: string): string {
  return text.replaceAll(UNPRINTABLE, ' ');
}
