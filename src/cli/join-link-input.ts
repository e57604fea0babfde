// A join link as a person gives it: as an argument, in a file, or on standard input. For every command that joins a network. The
// link holds a secret: it is hidden from the list of processes as soon as it is read, and never repeated.

import { readFile } from 'node:fs/promises';
import { parseJoinLink } from '../protocol/join-link.ts';
import { UsageError } from './command.ts';

/** A join link is at most 2,048 characters; more of a file is not read for one. */
const LINK_FILE_BYTES_MAX = 16_384;

/** The file of `--join-file` cannot be read; the message says why. */
export class LinkFileError extends Error {
  override readonly name = 'LinkFileError';
}

export const LINK_FILE_PROBLEM = 'the file with the join link cannot be read';
export const LINK_FILE_HELP = 'name a file that you may read, or give the link on standard input: --join -';

/**
 * Null when neither was given. `program`: what the list of processes shows from then on. Throws UsageError, also for a text that is no
 * link, and LinkFileError.
 */
export async function readJoinLink(
  join: string | undefined,
  file: string | undefined,
  program: string,
): Promise<string | null> {
  if (join === '-') return checkedLink(firstLine(await readStandardInput()));
  if (join !== undefined) {
    process.title = program;
    return checkedLink(join);
  }
  if (file === undefined) return null;
  let text: string;
  try {
    text = (await readFile(file)).subarray(0, LINK_FILE_BYTES_MAX).toString('utf8');
  } catch (error) {
    throw new LinkFileError(error instanceof Error ? error.message : String(error));
  }
  return checkedLink(firstLine(text));
}

/** A text that is no link is wrong usage, wherever it was read. It may hold most of a secret and is not repeated. */
function checkedLink(text: string): string {
  const parsed = parseJoinLink(text);
  if (parsed.ok) return text;
  throw new UsageError(
    `this is not a join link: ${parsed.reason}; copy the whole line that warren keys create printed, in quotes`,
  );
}

async function readStandardInput(): Promise<string> {
  let text = '';
  for await (const piece of process.stdin.setEncoding('utf8') as AsyncIterable<string>) {
    text += piece;
    if (text.length > LINK_FILE_BYTES_MAX) break;
  }
  return text;
}

function firstLine(text: string): string {
  return (
    text
      .split('\n')
      .map((line) => line.trim())
      .find((line) => line !== '') ?? ''
  );
}
