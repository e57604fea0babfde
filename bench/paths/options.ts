// The command line of `npm run bench:paths`. What does not parse is answered with a sentence and the usage, never with a default.

import { parseArgs } from 'node:util';
import { EVENT_NAMES } from './failover-events.ts';

export const SECTION_NAMES = ['first-answer', 'direct', 'failover', 'relay', 'slots', 'idle'] as const;
export type SectionName = (typeof SECTION_NAMES)[number];

export interface PathOptions {
  readonly sections: readonly SectionName[];
  /** Parts of a section; empty: all. */
  readonly parts: readonly string[];
  /** Null: each section's own. */
  readonly rounds: number | null;
  readonly delayMs: number;
  readonly quick: boolean;
  readonly json: boolean;
  readonly debug: boolean;
  /** A directory. */
  readonly diagnose: string | null;
}

const DELAY_DEFAULT_MS = 20;

export const USAGE = `usage: npm run bench:paths -- [options]

  --only WHAT[,WHAT]  ${SECTION_NAMES.join(', ')}
  --events A,B        of failover alone these: ${EVENT_NAMES.join(', ')}
  --rounds N          rounds of each section (default: its own)
  --quick             few and short rounds: a look, not a result
  --delay MS          of a link, one way (default ${DELAY_DEFAULT_MS}; 0 = none)
  --diagnose DIR      daemons log everything; of each round that misses its target they say why in a file there
  --json              the result as JSON on standard output; progress stays on standard error
  --help
`;

export class UsageProblem extends Error {}

function names<Name extends string>(option: string, text: string | undefined, known: readonly Name[]): readonly Name[] {
  if (text === undefined) return [];
  return text.split(',').map((word) => {
    const found = known.find((name) => name === word);
    if (found === undefined)
      throw new UsageProblem(`--${option}: there is no ${word} (there are: ${known.join(', ')})`);
    return found;
  });
}

function integer(option: string, text: string, low: number, high: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < low || value > high)
    throw new UsageProblem(`--${option} takes a number from ${low} to ${high}, not ${text}`);
  return value;
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        only: { type: 'string' },
        events: { type: 'string' },
        rounds: { type: 'string' },
        quick: { type: 'boolean', default: false },
        delay: { type: 'string', default: `${DELAY_DEFAULT_MS}` },
        diagnose: { type: 'string' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageProblem(error instanceof Error ? error.message : String(error));
  }
}

/** Null: help is wanted. Throws a UsageProblem. */
export function parseOptions(args: readonly string[]): PathOptions | null {
  const values = parsed(args);
  if (values.help) return null;
  const chosen = names('only', values.only, SECTION_NAMES);
  return {
    sections: chosen.length === 0 ? SECTION_NAMES : chosen,
    parts: names('events', values.events, EVENT_NAMES),
    rounds: values.rounds === undefined ? null : integer('rounds', values.rounds, 1, 1_000),
    delayMs: integer('delay', values.delay, 0, 2_000),
    quick: values.quick,
    json: values.json,
    debug: values.diagnose !== undefined,
    diagnose: values.diagnose ?? null,
  };
}
