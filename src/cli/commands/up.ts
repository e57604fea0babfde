// `warren up`: joins a network, or connects again to the one that the daemon knows. Returns when there are addresses, or says
// what is in the way; progress on standard error while it waits.

import { setTimeout as sleep } from 'node:timers/promises';
import { printable } from '../../base/printable.ts';
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
import { LINK_FILE_HELP, LINK_FILE_PROBLEM, LinkFileError, readJoinLink } from '../join-link-input.ts';
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
    const joinLink = await readLink(values.join, values['join-file']);
    const body: UpRequest = { joinLink, hostname: values.hostname ?? null, timeoutMs: timeout * 1000 };
    const socket = socketPath(values.socket, io.env);
    const patienceMs = Math.min(DAEMON_START_MS, timeout * 1000);
    return onceDaemonRuns(io, patienceMs, json, () => connect(io, socket, body, json));
  });
}

function readLink(join: string | undefined, file: string | undefined): Promise<string | null> {
  return readJoinLink(join, file, 'warren up').catch((error: unknown) => {
    if (!(error instanceof LinkFileError)) throw error;
    const { message: why } = error;
    throw new LocalError({ code: 'badJoinLink', message: LINK_FILE_PROBLEM, why, help: LINK_FILE_HELP });
  });
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
