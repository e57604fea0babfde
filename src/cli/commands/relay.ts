// `warren relay`: a relay of the network as a process in the foreground, for nodes that do not reach one another directly. The process itself
// is src/relay/relay-main.ts, loaded only here.

import { canonicalUrl } from '../../protocol/join-link.ts';
import { RELAY_PORT_DEFAULT, RELAY_STATE_DIR_DEFAULT } from '../../protocol/paths.ts';
import { byteAmount } from '../byte-amount.ts';
import {
  type CliIo,
  type Command,
  EXIT_DONE,
  parseArguments,
  tellFailure,
  UsageError,
  wholeNumber,
} from '../command.ts';
import { LINK_FILE_HELP, LINK_FILE_PROBLEM, LinkFileError, readJoinLink } from '../join-link-input.ts';
import { packageVersion } from '../package-version.ts';

const RATE_DEFAULT_MBIT = 1_000;
const RATE_MAX_MBIT = 1_000_000;
const BYTES_PER_MBIT = 125_000;
const MEMBERS_MAX = 1_000_000;
const DRAIN_DEFAULT_S = 10;
const DRAIN_MAX_S = 3_600;

const OPTIONS = {
  join: { type: 'string' },
  'join-file': { type: 'string' },
  state: { type: 'string' },
  port: { type: 'string' },
  public: { type: 'string', multiple: true },
  rate: { type: 'string' },
  quota: { type: 'string' },
  'members-max': { type: 'string' },
  listen: { type: 'string' },
  'tls-cert': { type: 'string' },
  'tls-key': { type: 'string' },
  url: { type: 'string' },
  metrics: { type: 'string' },
  drain: { type: 'string' },
  json: { type: 'boolean' },
} as const;

export const relayCommand: Command = {
  name: 'relay',
  summary: 'Run a relay: for nodes that do not reach one another directly.',
  usage: 'relay [--join LINK] [OPTION …]',
  details: `Stays in the foreground until SIGINT or SIGTERM; then it tells its nodes to move, waits for
that, and ends. It forwards ciphertext of members of the network and sees nothing of it.
Needs no privilege. A controller has one inside already, unless --no-relay.

The join link comes from the controller: warren keys create --tag relay. SIGUSR1 prints who
uses it as a line of JSON on standard error; SIGHUP reads the certificate again.

Environment: LOG_LEVEL (silent, error, info, debug), NOTIFY_SOCKET (systemd).

Exit code: 0 when it ended as asked, 1 when it failed, 2 for wrong arguments.`,
  options: [
    { form: '--join LINK', text: 'join with this link; - reads it from standard input' },
    { form: '--join-file FILE', text: 'join with the link in this file' },
    { form: '--state DIR', text: `keys and what is remembered (default ${RELAY_STATE_DIR_DEFAULT})` },
    { form: '--port N', text: `UDP port (default ${RELAY_PORT_DEFAULT})` },
    { form: '--public ADDR[:PORT]', text: 'where nodes reach it; several times (default: interfaces)' },
    { form: '--rate MBIT', text: `of one node, a second; 0 = no limit (default ${RATE_DEFAULT_MBIT})` },
    { form: '--quota BYTES', text: 'of one node, a day, as in 20G (default: none)' },
    { form: '--members-max N', text: 'nodes that it relays for at the same time' },
    { form: '--listen ADDR:PORT', text: 'WebSocket, for nodes whose UDP is blocked (default: none)' },
    { form: '--tls-cert F, --tls-key F', text: 'with HTTPS and this certificate, PEM' },
    { form: '--url URL', text: 'where nodes reach --listen (default: a guess)' },
    { form: '--metrics ADDR:PORT', text: 'Prometheus metrics (default: none)' },
    { form: '--drain S', text: `wait so long for nodes to move (default ${DRAIN_DEFAULT_S})` },
    { form: '--json', text: 'print port, url, listening, metrics, controller as JSON when ready' },
    { form: '-h, --help', text: 'this help' },
  ],
  run,
};

async function run(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, OPTIONS);
  if (positionals.length > 0) {
    const [word] = positionals;
    const isLink = word?.startsWith('warren://') === true;
    throw new UsageError(isLink ? 'a join link comes after --join' : `${JSON.stringify(word)} is too much`);
  }
  if (values.join !== undefined && values['join-file'] !== undefined) {
    throw new UsageError('either --join or --join-file');
  }
  const rate = wholeNumber('rate', values.rate, 0, RATE_MAX_MBIT);
  const drain = wholeNumber('drain', values.drain, 0, DRAIN_MAX_S) ?? DRAIN_DEFAULT_S;
  const relay = await import('../../relay/relay-main.ts');
  const address = (option: 'listen' | 'metrics') => {
    const text = values[option];
    if (text === undefined) return null;
    const parsed = relay.readListen(text);
    if (parsed !== null) return parsed;
    throw new UsageError(`--${option} wants ADDR:PORT, [ADDR6]:PORT or :PORT, not ${JSON.stringify(text)}`);
  };
  const settings = {
    stateDirectory: values.state ?? RELAY_STATE_DIR_DEFAULT,
    port: wholeNumber('port', values.port, 0, 65_535) ?? RELAY_PORT_DEFAULT,
    publicAddresses: (values.public ?? []).map((text) => {
      const parsed = relay.readPublicAddress(text);
      if (parsed !== null) return parsed;
      throw new UsageError(`--public wants ADDR, ADDR:PORT or [ADDR6]:PORT, not ${JSON.stringify(text)}`);
    }),
    bytesPerSecond: rate === null ? null : rate * BYTES_PER_MBIT,
    bytesPerDay: byteAmount('quota', values.quota),
    membersMax: wholeNumber('members-max', values['members-max'], 1, MEMBERS_MAX),
    listen: address('listen'),
    certificate: certificateFiles(values['tls-cert'], values['tls-key'], values.listen),
    url: publicUrl(values.url, values.listen),
    metricsListen: address('metrics'),
    drainMs: drain * 1000,
    version: packageVersion(),
  };
  let joinLink: string | null;
  try {
    joinLink = await readJoinLink(values.join, values['join-file'], 'warren relay');
  } catch (error) {
    if (!(error instanceof LinkFileError)) throw error;
    return tellFailure(io, 'warren relay', { what: LINK_FILE_PROBLEM, why: error.message, help: LINK_FILE_HELP });
  }
  const outcome = await relay.runRelay({ ...settings, joinLink }, io.env, (ready) => {
    if (values.json === true) io.out(`${JSON.stringify(ready)}\n`);
    else io.error(`relaying on UDP port ${ready.port}: ${ready.controller}\n`);
  });
  return outcome.kind === 'ended' ? EXIT_DONE : tellFailure(io, 'warren relay', outcome.failure);
}

function certificateFiles(
  cert: string | undefined,
  key: string | undefined,
  listen: string | undefined,
): { cert: string; key: string } | null {
  if (cert === undefined && key === undefined) return null;
  if (cert === undefined || key === undefined) throw new UsageError('--tls-cert and --tls-key go together');
  if (listen === undefined) throw new UsageError('--tls-cert is for --listen');
  return { cert, key };
}

function publicUrl(given: string | undefined, listen: string | undefined): string | null {
  if (given === undefined) return null;
  const url = canonicalUrl(given);
  if (url === null) throw new UsageError(`--url wants http://HOST:PORT or https://HOST, not ${JSON.stringify(given)}`);
  if (listen === undefined) throw new UsageError('--url is where nodes reach --listen, which is not there');
  return url;
}
