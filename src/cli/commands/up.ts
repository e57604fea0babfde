// `warren up`: joins a network, or connects again to the one that the daemon knows. Returns when there are addresses, or says
// what is in the way; progress on standard error while it waits.

import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { printable } from '../../base/printable.ts';
import { parseJoinLink } from '../../protocol/join-link.ts';
import type { Status, UpLine, UpRequest } from '../../protocol/local-api.ts';
import {
  type CliIo,
  type Command,
  EXIT_DONE,
  EXIT_FAILED,
  parseArguments,
  UsageError,
  wholeNumber,
} from '../command.ts';
import {
  follow,
  HELP_OPTION_HELP,
  LOCAL_OPTIONS,
  LocalError,
  problemText,
  SOCKET_OPTION_HELP,
  socketPath,
  withDaemon,
} from '../local-client.ts';

const TIMEOUT_DEFAULT_S = 60;
const TIMEOUT_MAX_S = 3600;
/** A join link is at most 2,048 characters; more of a file is not read for one. */
const LINK_FILE_BYTES_MAX = 16_384;
/** `warren daemon & warren up`: a daemon that was started a moment ago has no socket yet. */
const DAEMON_START_MS = 5_000;
const DAEMON_POLL_MS = 50;

const OPTIONS = {
  ...LOCAL_OPTIONS,
  join: { type: 'string' },
  'join-file': { type: 'string' },
  hostname: { type: 'string' },
  timeout: { type: 'string' },
} as const;

export const upCommand: Command = {
  name: 'up',
  summary: 'Connect this machine; --join LINK joins a network first.',
  usage: 'up [--join LINK] [OPTION …]',
  details: `A join link comes from the network's controller: warren keys create. Without one it
connects to the network that this machine belongs to already, with the controller away too.
With one it waits until the controller has answered. Prints the addresses, one a line, IPv4
first. What is in the way is told after --timeout seconds at the latest; the daemon goes on
trying.

Exit code: 0 connected, 1 not (yet), 2 for wrong arguments.`,
  options: [
    { form: '--join LINK', text: 'join with this link; - reads it from standard input' },
    { form: '--join-file FILE', text: 'join with the link in this file' },
    { form: '--hostname NAME', text: 'what this machine is called (default: its own name)' },
    { form: '--timeout SECONDS', text: `wait this long at most (default ${TIMEOUT_DEFAULT_S})` },
    { form: '--json', text: 'print the status as JSON when connected, errors as JSON too' },
    SOCKET_OPTION_HELP,
    HELP_OPTION_HELP,
  ],
  run,
};

function run(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, OPTIONS);
  if (positionals.length > 0) {
    const [word] = positionals;
    const hint = word?.startsWith('warren://') === true ? ': a join link comes after --join' : ' is too much';
    throw new UsageError(hint.startsWith(':') ? `up takes no argument${hint}` : `${JSON.stringify(word)}${hint}`);
  }
  if (values.join !== undefined && values['join-file'] !== undefined) {
    throw new UsageError('either --join or --join-file');
  }
  const timeout = wholeNumber('timeout', values.timeout, 0, TIMEOUT_MAX_S) ?? TIMEOUT_DEFAULT_S;
  const json = values.json === true;
  return withDaemon(io, 'up', json, async () => {
    const joinLink = checkedLink(await readLink(values.join, values['join-file']));
    const body: UpRequest = { joinLink, hostname: values.hostname ?? null, timeoutMs: timeout * 1000 };
    const socket = socketPath(values.socket, io.env);
    const patienceMs = Math.min(DAEMON_START_MS, timeout * 1000);
    return onceDaemonRuns(io, patienceMs, json, () => connect(io, socket, body, json));
  });
}

/** The secret of a link in the arguments is hidden from other users of the machine as soon as it is read. */
async function readLink(join: string | undefined, file: string | undefined): Promise<string | null> {
  if (join === '-') return firstLine(await readStandardInput());
  if (join !== undefined) {
    process.title = 'warren up';
    return join;
  }
  if (file === undefined) return null;
  try {
    return firstLine((await readFile(file)).subarray(0, LINK_FILE_BYTES_MAX).toString('utf8'));
  } catch (error) {
    throw new LocalError({
      code: 'badJoinLink',
      message: 'the file with the join link cannot be read',
      why: error instanceof Error ? error.message : String(error),
      help: 'name a file that you may read, or give the link on standard input: --join -',
    });
  }
}

/** A text that is no link is wrong usage, wherever it was read. It may hold most of a secret and is not repeated. */
function checkedLink(text: string | null): string | null {
  const parsed = text === null ? null : parseJoinLink(text);
  if (parsed === null || parsed.ok) return text;
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

/** Does `work`; again while the daemon is not there yet, for `limitMs`. What is wrong otherwise is told at once. */
async function onceDaemonRuns(io: CliIo, limitMs: number, json: boolean, work: () => Promise<number>): Promise<number> {
  const until = Date.now() + limitMs;
  for (let told = json; ; told = true) {
    try {
      return await work();
    } catch (error) {
      const absent = error instanceof LocalError && error.problem.code === 'daemonNotRunning';
      if (!absent || Date.now() >= until) throw error;
    }
    if (!told) io.error('waiting for the daemon to start\n');
    await sleep(DAEMON_POLL_MS);
  }
}

async function connect(io: CliIo, socket: string, body: UpRequest, json: boolean): Promise<number> {
  let status: Status | null = null;
  await follow<UpLine>({ socket, method: 'POST', path: '/v1/up', body }, (line) => {
    switch (line.type) {
      case 'progress':
        if (!json) io.error(`${printable(line.message)}\n`);
        break;
      case 'done':
        status = line.status;
        break;
      case 'error':
        throw new LocalError(line.problem);
      default:
        // A newer daemon knows more kinds of lines.
        break;
    }
  });
  return tellConnected(io, status, json);
}

function tellConnected(io: CliIo, status: Status | null, json: boolean): number {
  if (status === null) {
    io.error('warren up: the daemon ended before it was connected\n');
    return EXIT_FAILED;
  }
  if (json) {
    io.out(`${JSON.stringify(status)}\n`);
    return EXIT_DONE;
  }
  for (const warning of status.warnings) io.error(`warning: ${problemText(warning)}`);
  io.error(
    `connected to ${printable(status.network?.name ?? 'the network')} as ${status.self.name ?? 'a node without a name'}\n`,
  );
  io.out(status.self.addresses.map((address) => `${address}\n`).join(''));
  return EXIT_DONE;
}
