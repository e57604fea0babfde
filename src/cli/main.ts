// The command line: finds the command, gives help and version, and turns what goes wrong into an exit code: 0 done, 1 failed,
// 2 wrong usage (docs/cli.md). bin/warren and bin/warren-wg call `main`. Commands are in commands/, one file each.

import {
  type CliIo,
  type Command,
  chooseSubcommand,
  commandList,
  didYouMean,
  EXIT_DONE,
  EXIT_USAGE,
  helpText,
  UsageError,
} from './command.ts';
import { auditCommand } from './commands/audit.ts';
import { completionCommand } from './commands/completion.ts';
import { controllerCommand } from './commands/controller.ts';
import { daemonCommand } from './commands/daemon.ts';
import { downCommand } from './commands/down.ts';
import { ipCommand } from './commands/ip.ts';
import { keysCommand } from './commands/keys.ts';
import { logoutCommand } from './commands/logout.ts';
import { netcheckCommand } from './commands/netcheck.ts';
import { nodesCommand } from './commands/nodes.ts';
import { peersCommand } from './commands/peers.ts';
import { pingCommand } from './commands/ping.ts';
import { relayCommand } from './commands/relay.ts';
import { rotateKeyCommand } from './commands/rotate-key.ts';
import { showCommand } from './commands/show.ts';
import { statusCommand } from './commands/status.ts';
import { tokensCommand } from './commands/tokens.ts';
import { upCommand } from './commands/up.ts';
import { versionCommand } from './commands/version.ts';
import { backgroundWgCommand, foregroundWgCommand } from './commands/wg.ts';
import { whyCommand } from './commands/why.ts';
import { packageVersion } from './package-version.ts';

const COMMANDS: readonly Command[] = [
  upCommand,
  downCommand,
  statusCommand,
  ipCommand,
  pingCommand,
  whyCommand,
  netcheckCommand,
  peersCommand,
  rotateKeyCommand,
  logoutCommand,
  daemonCommand,
  controllerCommand,
  relayCommand,
  keysCommand,
  nodesCommand,
  tokensCommand,
  auditCommand,
  foregroundWgCommand,
  showCommand,
  completionCommand(() => COMMANDS),
  versionCommand,
];

/** `argv`: without `node` and the program's path. `program`: `warren` or `warren-wg`. Resolves to the exit code. */
export async function main(argv: readonly string[], program: string, io: CliIo = processIo(argv)): Promise<number> {
  try {
    if (program === 'warren-wg') return await runCommand(backgroundWgCommand, argv, program, io);
    return await runWarren(argv, io);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    io.error(`${program}: ${error.message}\n${program}: see ${helpCommandFor(argv, program)}\n`);
    return EXIT_USAGE;
  }
}

function runWarren(argv: readonly string[], io: CliIo): number | Promise<number> {
  const [first, ...rest] = argv;
  switch (first) {
    case undefined:
      io.error(overview());
      return EXIT_USAGE;
    case 'help':
      return help(rest, io);
    case '-h':
    case '--help':
      return help([], io);
    case '-V':
    case '--version':
      io.out(`warren ${packageVersion()}\n`);
      return EXIT_DONE;
    default:
      return runCommand(find(first), rest, 'warren', io);
  }
}

function runCommand(command: Command, args: readonly string[], program: string, io: CliIo): number | Promise<number> {
  const chosen = chooseSubcommand(command, args);
  if (chosen !== null) return runCommand(chosen.subcommand, chosen.rest, program, io);
  // What stands behind `--` is no option.
  const end = args.indexOf('--');
  const options = end < 0 ? args : args.slice(0, end);
  if (options.includes('--help') || options.includes('-h')) {
    io.out(helpText(program, command));
    return EXIT_DONE;
  }
  if (program === 'warren-wg' && (options.includes('--version') || options.includes('-V'))) {
    io.out(`${program} ${packageVersion()}\n`);
    return EXIT_DONE;
  }
  return command.run(args, io);
}

function help(args: readonly string[], io: CliIo): number {
  const [name, ...words] = args;
  if (name === undefined || name === '--help' || name === '-h') {
    if (words[0] !== undefined) throw new UsageError(`${JSON.stringify(words[0])} is too much`);
    io.out(overview());
    return EXIT_DONE;
  }
  let command = find(name);
  for (const word of words) {
    const subcommand = command.subcommands?.find((candidate) => candidate.name === word);
    if (subcommand === undefined) throw new UsageError(`help takes one command: ${JSON.stringify(word)} is too much`);
    command = subcommand;
  }
  io.out(helpText('warren', command));
  return EXIT_DONE;
}

function find(name: string): Command {
  const command = COMMANDS.find((candidate) => candidate.name === name);
  if (command !== undefined) return command;
  const kind = name.startsWith('-') ? 'option' : 'command';
  const names = COMMANDS.map((candidate) => candidate.name);
  throw new UsageError(`there is no ${kind} ${JSON.stringify(name)}${didYouMean(name, names)}`);
}

/** As many words of `argv` as name a command and its subcommands. */
function helpCommandFor(argv: readonly string[], program: string): string {
  const words = [program];
  const [first, ...rest] = argv;
  let command = program === 'warren' ? COMMANDS.find(({ name }) => name === first) : undefined;
  let args: readonly string[] = rest;
  while (command !== undefined) {
    words.push(command.name);
    const chosen = chooseSubcommand(command, args);
    command = chosen?.subcommand;
    args = chosen?.rest ?? [];
  }
  return `${words.join(' ')} --help`;
}

function overview(): string {
  const list = commandList(COMMANDS);
  const width = Math.max(...COMMANDS.map(({ name }) => name.length + 3));
  return `Warren: a mesh VPN that you host yourself.

usage: warren COMMAND [OPTION …] [ARGUMENT …]
       warren COMMAND --help
       warren --version

commands:
${list}  ${'help'.padEnd(width)}This list, or the help of a command.
`;
}

function processIo(argv: readonly string[]): CliIo {
  return {
    env: process.env,
    argv,
    out: (text) => {
      process.stdout.write(text);
    },
    error: (text) => {
      process.stderr.write(text);
    },
    interactive: process.stderr.isTTY === true,
  };
}
