// `warren ping PEER`: asks a peer inside the tunnel whether it is there, says how long that took and over which path. The first
// one makes the session where there is none, and its time includes that.

import type { PathStatus, PingLine, PingRequest } from '../../protocol/local-api.ts';
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
  SOCKET_OPTION_HELP,
  socketPath,
  withDaemon,
} from '../local-client.ts';

const COUNT_DEFAULT = 4;
const COUNT_UNTIL_DIRECT = 60;
const COUNT_MAX = 1_000_000;

const OPTIONS = {
  ...LOCAL_OPTIONS,
  count: { type: 'string', short: 'c' },
  interval: { type: 'string', short: 'i' },
  wait: { type: 'string', short: 'w' },
  'until-direct': { type: 'boolean' },
} as const;

export const pingCommand: Command = {
  name: 'ping',
  summary: 'Ask a peer inside the tunnel whether it is there.',
  usage: 'ping PEER [OPTION …]',
  details: `PEER: a name, an address, a public key or an id. Says for every answer how long it took and
over which path it came. Exit code: 0 when one was answered (with --until-direct: by a direct
path), 1 when none was, 2 for wrong arguments.`,
  options: [
    { form: '-c, --count N', text: `stop after N (default ${COUNT_DEFAULT}; 0 = go on until interrupted)` },
    { form: '-i, --interval S', text: 'seconds between two (default 1)' },
    { form: '-w, --wait S', text: 'seconds to wait for an answer (default 5)' },
    { form: '--until-direct', text: 'end with the first answer by a direct path; without --count, up to 60' },
    { form: '--json', text: 'a JSON object a line' },
    SOCKET_OPTION_HELP,
    HELP_OPTION_HELP,
  ],
  run,
};

/** Seconds with a fraction, as milliseconds. */
function milliseconds(name: string, value: string | undefined, lowS: number, highS: number, fallback: number): number {
  if (value === undefined) return fallback;
  const seconds = /^\d{1,9}(?:\.\d{1,6})?$/.test(value) ? Number(value) : Number.NaN;
  if (seconds >= lowS && seconds <= highS) return Math.round(seconds * 1000);
  throw new UsageError(`--${name} wants seconds from ${lowS} to ${highS}, not ${JSON.stringify(value)}`);
}

function run(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, OPTIONS);
  const [peer, excess] = positionals;
  if (peer === undefined) throw new UsageError('name the peer');
  if (excess !== undefined) throw new UsageError(`one peer at a time: ${JSON.stringify(excess)} is too much`);
  const untilDirect = values['until-direct'] === true;
  const body: PingRequest = {
    peer,
    untilDirect,
    count: wholeNumber('count', values.count, 0, COUNT_MAX) ?? (untilDirect ? COUNT_UNTIL_DIRECT : COUNT_DEFAULT),
    intervalMs: milliseconds('interval', values.interval, 0.01, 3600, 1000),
    timeoutMs: milliseconds('wait', values.wait, 0.01, 600, 5000),
  };
  const json = values.json === true;
  const socket = socketPath(values.socket, io.env);
  return withDaemon(io, 'ping', json, () => ping(io, socket, body, json));
}

async function ping(io: CliIo, socket: string, body: PingRequest, json: boolean): Promise<number> {
  const tally = new Tally();
  const interrupted = new AbortController();
  const onInterrupt = (): void => interrupted.abort();
  process.once('SIGINT', onInterrupt);
  try {
    const request = { socket, method: 'POST', path: '/v1/ping', body } as const;
    await follow<PingLine>(request, (line) => tell(io, body.peer, line, tally, json), interrupted.signal);
  } finally {
    process.off('SIGINT', onInterrupt);
  }
  // The daemon's own summary comes when all are done; a person who interrupts it wants one too.
  if (interrupted.signal.aborted) tell(io, body.peer, tally.summary(body.peer), tally, json);
  const reached = body.untilDirect ? tally.direct : tally.received;
  return reached > 0 ? EXIT_DONE : EXIT_FAILED;
}

function tell(io: CliIo, peer: string, line: PingLine, tally: Tally, json: boolean): void {
  if (line.type === 'error') throw new LocalError(line.problem);
  tally.count(line);
  if (json) io.out(`${JSON.stringify(line)}\n`);
  else io.out(lineText(peer, line));
}

function lineText(peer: string, line: Exclude<PingLine, { type: 'error' }>): string {
  switch (line.type) {
    case 'reply':
      return `answer from ${peer}: ${line.sequence} after ${line.ms.toFixed(2)} ms, ${pathText(line.path)}\n`;
    case 'lost':
      return `no answer from ${peer}: ${line.sequence}, ${line.reason}\n`;
    case 'done': {
      const { minMs, avgMs, maxMs } = line;
      const times =
        minMs === null || avgMs === null || maxMs === null
          ? ''
          : `; min ${minMs.toFixed(2)}, avg ${avgMs.toFixed(2)}, max ${maxMs.toFixed(2)} ms`;
      return `${line.peer}: ${line.sent} sent, ${line.received} answered${times}\n`;
    }
    default:
      return '';
  }
}

export function pathText(path: PathStatus): string {
  return path.relay == null ? `${path.kind} ${path.endpoint}` : `${path.kind} ${path.relay} ${path.endpoint}`;
}

/** What was answered so far. */
class Tally {
  sent = 0;
  received = 0;
  direct = 0;
  #sum = 0;
  #min = Number.POSITIVE_INFINITY;
  #max = 0;

  count(line: PingLine): void {
    if (line.type === 'reply') {
      this.sent++;
      this.received++;
      if (line.path.kind === 'direct') this.direct++;
      this.#sum += line.ms;
      this.#min = Math.min(this.#min, line.ms);
      this.#max = Math.max(this.#max, line.ms);
    } else if (line.type === 'lost') {
      this.sent++;
    }
  }

  summary(peer: string): PingLine & { type: 'done' } {
    const { sent, received } = this;
    if (received === 0) return { type: 'done', peer, sent, received, minMs: null, avgMs: null, maxMs: null };
    const avgMs = this.#sum / received;
    return { type: 'done', peer, sent, received, minMs: this.#min, avgMs, maxMs: this.#max };
  }
}
