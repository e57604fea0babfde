// What a command of the command line is, and what all share: arguments by node:util's parseArgs, help made from one
// description, exit codes, and failures told as what, why and what to do. Commands are in commands/, one file each.

import { type ParseArgsConfig, parseArgs } from 'node:util';
import { nearNames } from '../base/near-names.ts';

/** Done. */
export const EXIT_DONE = 0;
/** It could not be done; standard error says why. */
export const EXIT_FAILED = 1;
/** The command was not understood; nothing was done. */
export const EXIT_USAGE = 2;

/** How a command reaches the outside. */
export interface CliIo {
  readonly env: NodeJS.ProcessEnv;
  /** What the person typed, without `node` and the program's path. */
  readonly argv: readonly string[];
  readonly out: (text: string) => void;
  readonly error: (text: string) => void;
  /** A person watches standard error. */
  readonly interactive: boolean;
}

export interface OptionHelp {
  /** As a person types it: `--mtu N`. */
  readonly form: string;
  readonly text: string;
}

export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** What comes after the command's name. */
  readonly usage: string;
  /** Paragraphs that the list of options does not say. */
  readonly details: string;
  readonly options: readonly OptionHelp[];
  /** A group: the word after the command's name chooses one; `run` has what is left (`controller backup`, `controller`). */
  readonly subcommands?: readonly Command[];
  /** `args`: what came after the command's name. Gives the exit code; throws UsageError. */
  readonly run: (args: readonly string[], io: CliIo) => number | Promise<number>;
}

export interface Failure {
  readonly what: string;
  readonly why: string;
  /** Null when `why` says it. */
  readonly help: string | null;
}

/** Wrong arguments: told with a pointer to the help, exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

type Options = NonNullable<ParseArgsConfig['options']>;

/** parseArgs, strict, with positional arguments; what it finds wrong becomes a UsageError. */
export function parseArguments<const T extends Options>(
  args: readonly string[],
  options: T,
): ReturnType<typeof parseArgs<{ args: string[]; options: T; allowPositionals: true; strict: true }>> {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (!(error instanceof Error) || !code.startsWith('ERR_PARSE_ARGS')) throw error;
    // Node's own sentence, without its second one about how to write positional arguments with a dash.
    throw new UsageError((error.message.split('. ')[0] ?? error.message).replace(/\.$/, ''));
  }
}

/** A whole number of an option, or `fallback` when it was not given. */
export function wholeNumber(name: string, value: string | undefined, low: number, high: number): number | null {
  if (value === undefined) return null;
  const number = /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN;
  if (number >= low && number <= high) return number;
  throw new UsageError(`--${name} wants a whole number from ${low} to ${high}, not ${JSON.stringify(value)}`);
}

/** The kernel's rules for interface names, and those of wg-quick, which leave out what shells and paths would misread. */
export function interfaceName(value: string | undefined): string {
  if (value === undefined) throw new UsageError('the name of the interface is missing');
  if (value.length > 15) throw new UsageError(`interface names have at most 15 characters: ${JSON.stringify(value)}`);
  if (!/^[a-zA-Z0-9_=+.-]+$/.test(value) || value === '.' || value === '..') {
    throw new UsageError(`interface names consist of letters, digits and _=+.-: ${JSON.stringify(value)}`);
  }
  return value;
}

export function tellFailure(io: CliIo, program: string, failure: Failure): number {
  const advice = failure.help === null ? '' : `  do:  ${failure.help}\n`;
  io.error(`${program}: ${failure.what}\n  why: ${failure.why}\n${advice}`);
  return EXIT_FAILED;
}

export function helpText(program: string, command: Command): string {
  const width = Math.max(...command.options.map(({ form }) => form.length)) + 2;
  const options = command.options.map(({ form, text }) => `  ${form.padEnd(width)}${text}\n`).join('');
  const list = commandList(command.subcommands ?? []);
  const commands = list === '' ? '' : `commands:\n${list}\n`;
  return `${command.summary}\n\nusage: ${program} ${command.usage}\n\n${command.details}\n\n${commands}options:\n${options}`;
}

/** One line each, names aligned. */
export function commandList(commands: readonly Command[]): string {
  const width = Math.max(...commands.map(({ name }) => name.length + 3));
  return commands.map(({ name, summary }) => `  ${name.padEnd(width)}${summary}\n`).join('');
}

/** A command that only holds others: `warren keys create`. */
export function commandGroup(group: Omit<Command, 'usage' | 'options' | 'run'>): Command {
  const names = (group.subcommands ?? []).map(({ name }) => name);
  return {
    ...group,
    usage: `${group.name} COMMAND [OPTION …] [ARGUMENT …]`,
    options: [{ form: '-h, --help', text: 'this help; after COMMAND, the help of that' }],
    run: ([word]) => {
      const which = `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`;
      if (word === undefined) throw new UsageError(`say what to do with ${group.name}: ${which}`);
      const kind = word.startsWith('-') ? 'option' : 'command';
      throw new UsageError(`${group.name} has no ${kind} ${JSON.stringify(word)}${didYouMean(word, names)}`);
    },
  };
}

/**
 * The subcommand that `args` choose, and what is left for it. Options may stand before it (`controller --data DIR backup`);
 * which of them take a value is in their help. Null when `args` choose none.
 */
export function chooseSubcommand(
  command: Command,
  args: readonly string[],
): { readonly subcommand: Command; readonly rest: readonly string[] } | null {
  const { subcommands = [] } = command;
  if (subcommands.length === 0) return null;
  const forms = [command, ...subcommands].flatMap(({ options }) => options.map(({ form }) => form));
  for (let at = 0; at < args.length; at++) {
    const word = args[at] as string;
    if (word === '--') return null;
    if (word.startsWith('-')) {
      const takesValue = forms.some((form) => form.split(', ').some((one) => one.startsWith(`${word} `)));
      if (takesValue) at++;
      continue;
    }
    const subcommand = subcommands.find(({ name }) => name === word);
    return subcommand === undefined ? null : { subcommand, rest: args.toSpliced(at, 1) };
  }
  return null;
}

/** `: did you mean "list"?`, or nothing. */
export function didYouMean(word: string, names: readonly string[]): string {
  const [near] = nearNames(word, names, 1);
  return near === undefined ? '' : `: did you mean ${JSON.stringify(near)}?`;
}
