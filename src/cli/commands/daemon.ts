// `warren daemon`: this machine as a node of a mesh, in the foreground. It starts and waits without a network; `warren up` joins
// one. The process itself is src/daemon/daemon-main.ts, loaded only here.

import { SOCKET_PATH_DEFAULT, STATE_DIR_DEFAULT } from '../../protocol/paths.ts';
import {
  type CliIo,
  type Command,
  EXIT_DONE,
  interfaceName,
  parseArguments,
  tellFailure,
  UsageError,
  wholeNumber,
} from '../command.ts';
import { packageVersion } from '../package-version.ts';

const TUN_DEFAULT = 'warren0';
const IDLE_TIMEOUT_DEFAULT_S = 300;
const IDLE_TIMEOUT_MAX_S = 31_536_000;

const OPTIONS = {
  state: { type: 'string' },
  socket: { type: 'string' },
  tun: { type: 'string' },
  port: { type: 'string' },
  'no-port-mapping': { type: 'boolean' },
  'idle-timeout': { type: 'string' },
  json: { type: 'boolean' },
} as const;

export const daemonCommand: Command = {
  name: 'daemon',
  summary: 'Run this machine as a node of a mesh; warren up connects it.',
  usage: 'daemon [OPTION …]',
  details: `Stays in the foreground until SIGINT or SIGTERM, and removes its interface then. Connects by
itself when it was connected before. Needs CAP_NET_ADMIN. Several run on one machine with
--state, --socket and --tun of their own.

Environment: LOG_LEVEL (silent, error, debug), NOTIFY_SOCKET (systemd).

Exit code: 0 when it ended as asked, 1 when it failed, 2 for wrong arguments.`,
  options: [
    { form: '--state DIR', text: `keys and what is remembered (default ${STATE_DIR_DEFAULT})` },
    { form: '--socket PATH', text: `where commands ask it (default ${SOCKET_PATH_DEFAULT})` },
    { form: '--tun NAME', text: `the interface to make (default ${TUN_DEFAULT})` },
    { form: '--port N', text: 'UDP port; 0 = a random one that is kept (default)' },
    { form: '--no-port-mapping', text: 'never ask a gateway (PCP, NAT-PMP, UPnP) to map the port' },
    { form: '--idle-timeout S', text: `close sessions without data; 0 = never (default ${IDLE_TIMEOUT_DEFAULT_S})` },
    { form: '--json', text: 'print socket, state and pid as JSON when ready' },
    { form: '-h, --help', text: 'this help' },
  ],
  run,
};

async function run(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, OPTIONS);
  if (positionals.length > 0) throw new UsageError(`daemon takes no argument: ${JSON.stringify(positionals[0])}`);
  const idleSeconds =
    wholeNumber('idle-timeout', values['idle-timeout'], 0, IDLE_TIMEOUT_MAX_S) ?? IDLE_TIMEOUT_DEFAULT_S;
  const settings = {
    version: packageVersion(),
    stateDirectory: values.state ?? STATE_DIR_DEFAULT,
    socketPath: values.socket ?? socketFromEnvironment(io.env) ?? SOCKET_PATH_DEFAULT,
    ifname: interfaceName(values.tun ?? TUN_DEFAULT),
    port: wholeNumber('port', values.port, 0, 65_535) ?? 0,
    mapPorts: values['no-port-mapping'] !== true,
    idleTimeoutMs: idleSeconds === 0 ? Number.POSITIVE_INFINITY : idleSeconds * 1000,
  };
  const process = await import('../../daemon/daemon-main.ts');
  const outcome = await process.runDaemon(settings, io.env, (ready) => {
    if (values.json === true) io.out(`${JSON.stringify(ready)}\n`);
    else if (io.interactive) io.error(`listening on ${ready.socket}: warren up connects, Ctrl-C ends\n`);
  });
  return outcome.kind === 'ended' ? EXIT_DONE : tellFailure(io, 'warren daemon', outcome.failure);
}

function socketFromEnvironment(env: NodeJS.ProcessEnv): string | null {
  const path = env['WARREN_SOCKET'];
  return path === undefined || path === '' ? null : path;
}
