// `warren controller`: the coordination of a mesh as a process in the foreground. The process itself is
// src/controller/controller-main.ts, loaded only here. On its first start it prints a join link, alone on standard output.

import type { ControllerStarted, StartCompanion } from '../../controller/controller-main.ts';
import { CONTROLLER_PORT_DEFAULT, canonicalUrl } from '../../protocol/join-link.ts';
import { DATA_DIR_DEFAULT, RELAY_PORT_DEFAULT } from '../../protocol/paths.ts';
import {
  type CliIo,
  type Command,
  EXIT_DONE,
  parseArguments,
  tellFailure,
  UsageError,
  wholeNumber,
} from '../command.ts';
import { dataDirectory } from '../data-directory.ts';
import { packageVersion } from '../package-version.ts';
import { controllerApprovalCommand } from './controller-approval.ts';
import { controllerBackupCommand } from './controller-backup.ts';
import { controllerRestoreCommand } from './controller-restore.ts';
import { controllerShowCommand } from './controller-show.ts';

const OPTIONS = {
  data: { type: 'string' },
  listen: { type: 'string' },
  url: { type: 'string' },
  'tls-cert': { type: 'string' },
  'tls-key': { type: 'string' },
  network: { type: 'string' },
  'metrics-listen': { type: 'string' },
  stun: { type: 'string' },
  'stun-alternate': { type: 'string' },
  'require-approval': { type: 'boolean' },
  database: { type: 'string' },
  'no-relay': { type: 'boolean' },
  'relay-port': { type: 'string' },
  'relay-public': { type: 'string' },
  json: { type: 'boolean' },
} as const;

export const controllerCommand: Command = {
  name: 'controller',
  summary: 'Run the controller of a mesh: who is in it, and where.',
  usage: 'controller [OPTION …]',
  details: `Stays in the foreground until SIGINT or SIGTERM. The first start makes keys and database and
prints a join link, alone on standard output; warren keys create makes more. Machines reach
it under --url, on plain HTTP too: what is inside has keys of its own. SIGHUP reads the
certificate again.

Environment: LOG_LEVEL (silent, error, info, debug), NOTIFY_SOCKET (systemd),
WARREN_DATABASE (as --database, for a URL with a password).

Exit code: 0 when it ended as asked, 1 when it failed, 2 for wrong arguments.`,
  options: [
    { form: '--data DIR', text: `its files (default ${DATA_DIR_DEFAULT})` },
    { form: '--listen ADDR:PORT', text: `default [::]:${CONTROLLER_PORT_DEFAULT}, both families; port 0 = any` },
    { form: '--url URL', text: 'where machines reach it (default: an address of this one)' },
    { form: '--tls-cert F, --tls-key F', text: 'serve HTTPS with this certificate, PEM' },
    { form: '--network CIDR4,CIDR6', text: 'addresses of the mesh, at the first start' },
    { form: '--require-approval', text: 'new machines wait for: warren nodes approve' },
    { form: '--metrics-listen ADDR:PORT', text: 'Prometheus metrics (default: none)' },
    { form: '--stun ADDR:PORT|off', text: 'answer STUN there (default :3478) and on the next port' },
    { form: '--stun-alternate ADDR', text: 'a second address of this machine, for RFC 5780' },
    { form: '--no-relay', text: 'without the relay that runs inside' },
    { form: '--relay-port N', text: `its UDP port (default ${RELAY_PORT_DEFAULT})` },
    { form: '--relay-public ADDR[:PORT]', text: "where nodes reach it (default: --url's address)" },
    { form: '--database URL', text: 'postgres://… instead of a file in DIR' },
    { form: '--json', text: 'print url, publicKey, network, joinLink … as JSON when ready' },
    { form: '-h, --help', text: 'this help' },
  ],
  subcommands: [controllerShowCommand, controllerApprovalCommand, controllerBackupCommand, controllerRestoreCommand],
  run,
};

async function run(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, OPTIONS);
  if (positionals.length > 0) throw new UsageError(`controller takes no argument: ${JSON.stringify(positionals[0])}`);
  const url = values.url === undefined ? null : canonicalUrl(values.url);
  if (values.url !== undefined && url === null) {
    throw new UsageError(`--url wants http://HOST:PORT or https://HOST, not ${JSON.stringify(values.url)}`);
  }
  const process = await import('../../controller/controller-main.ts');
  const address = (option: 'listen' | 'metrics-listen') => {
    const text = values[option];
    if (text === undefined) return null;
    const parsed = process.readListen(text);
    if (parsed !== null) return parsed;
    throw new UsageError(`--${option} wants ADDR:PORT, [ADDR6]:PORT or :PORT, not ${JSON.stringify(text)}`);
  };
  const stun = process.readStun(values.stun, values['stun-alternate']);
  if (stun.problem !== null) throw new UsageError(stun.problem);
  const settings = {
    dataDirectory: dataDirectory(values.data, io.env),
    database: values.database ?? databaseFromEnvironment(io.env),
    listen: address('listen'),
    url,
    certificate: certificateFiles(values['tls-cert'], values['tls-key']),
    network: values.network ?? null,
    metricsListen: address('metrics-listen'),
    stun: stun.settings,
    requireApproval: values['require-approval'] ?? null,
    version: packageVersion(),
  };
  const relay = await innerRelay(values, settings.dataDirectory);
  const onReady = (started: ControllerStarted): void => {
    const { joinLink, url: at } = started;
    if (values.json === true) {
      const network = { prefix4: started.range.prefix4, prefix6: started.range.prefix6 };
      const listening = process.formatListen(started.listening);
      const metrics = started.metrics === null ? null : process.formatListen(started.metrics);
      const { publicKey, stunPorts } = started;
      io.out(`${JSON.stringify({ url: at, listening, metrics, stunPorts, publicKey, network, joinLink })}\n`);
    } else if (joinLink === null) {
      const data = values.data === undefined ? '' : ` --data ${values.data}`;
      io.error(`the controller is at ${at}; a join link is made with: warren keys create${data}\n`);
    } else {
      io.error(`the controller is at ${at}; for 24 hours this lets machines in, with warren up --join LINK:\n`);
      io.out(`${joinLink}\n`);
    }
  };
  const outcome = await process.runController(settings, io.env, onReady, undefined, relay);
  return outcome.kind === 'ended' ? EXIT_DONE : tellFailure(io, 'warren controller', outcome.failure);
}

type RelayValues = Readonly<
  Partial<Record<'relay-port' | 'relay-public', string | undefined> & Record<'no-relay', boolean | undefined>>
>;

/** Neither of the two knows the other: they are put together here. */
async function innerRelay(values: RelayValues, directory: string): Promise<StartCompanion | null> {
  const port = wholeNumber('relay-port', values['relay-port'], 0, 65_535) ?? RELAY_PORT_DEFAULT;
  const given = values['relay-public'];
  if (values['no-relay'] === true) {
    if (values['relay-port'] === undefined && given === undefined) return null;
    throw new UsageError('--no-relay goes with neither --relay-port nor --relay-public');
  }
  const relay = await import('../../relay/inner-main.ts');
  const publicAddress = given === undefined ? null : relay.readPublicAddress(given);
  if (given !== undefined && publicAddress === null) {
    throw new UsageError(`--relay-public wants ADDR, ADDR:PORT or [ADDR6]:PORT, not ${JSON.stringify(given)}`);
  }
  const settings = { dataDirectory: directory, port, publicAddress, version: packageVersion() };
  return (inside) => relay.startInnerRelay(settings, inside);
}

function certificateFiles(cert: string | undefined, key: string | undefined): { cert: string; key: string } | null {
  if (cert === undefined && key === undefined) return null;
  if (cert === undefined || key === undefined) throw new UsageError('--tls-cert and --tls-key go together');
  return { cert, key };
}

function databaseFromEnvironment(env: NodeJS.ProcessEnv): string | null {
  const url = env['WARREN_DATABASE'];
  return url === undefined || url === '' ? null : url;
}
