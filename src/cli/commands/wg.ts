// `warren wg` and the drop-in `warren-wg`: one WireGuard interface, configured over its control socket by `wg`. The process
// itself is src/daemon/wg-main.ts, loaded only here.

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

const MTU_MIN = 576;
const MTU_MAX = 65_535;
const QUEUES_MAX = 64;
const IDLE_TIMEOUT_MAX_S = 31_536_000;

const OPTIONS = {
  foreground: { type: 'boolean', short: 'f' },
  background: { type: 'boolean', short: 'b' },
  mtu: { type: 'string' },
  queues: { type: 'string' },
  'idle-timeout': { type: 'string' },
  json: { type: 'boolean' },
} as const;

const DETAILS = `Makes the TUN interface IFNAME and the control socket /var/run/wireguard/IFNAME.sock;
wg(8) and wg-quick(8) configure it like any other WireGuard. Ends on SIGINT and
SIGTERM, when the interface is deleted, and when the socket is deleted. Needs
CAP_NET_ADMIN.

Environment: LOG_LEVEL (silent, error, debug), WG_TUN_FD and WG_UAPI_FD (descriptors
to use instead of opening them), WG_PROCESS_FOREGROUND=1 (as -f).

Exit code: 0 when it ended as asked (in the background: when it is up), 1 when it
failed, 2 for wrong arguments.`;

const OPTION_HELP = [
  { form: '-f, --foreground', text: 'stay in the foreground' },
  { form: '-b, --background', text: 'return once interface and socket are there' },
  { form: '--mtu N', text: `MTU of the interface, ${MTU_MIN} to ${MTU_MAX} (default 1420)` },
  { form: '--queues N', text: `TUN queues, one thread each, 1 to ${QUEUES_MAX} (default 1)` },
  { form: '--idle-timeout SECONDS', text: 'close sessions without data; 0 = never (default)' },
  { form: '--json', text: 'print interface, pid and socket as JSON when up' },
  { form: '-h, --help', text: 'this help' },
];

function wgCommand(program: string, background: boolean): Command {
  return {
    name: 'wg',
    summary: 'Run one WireGuard interface, a drop-in for other userspace WireGuards.',
    usage: `${program === 'warren' ? 'wg ' : ''}[OPTION …] IFNAME`,
    details: `${DETAILS}\n\n${background ? 'Goes to the background unless told otherwise.' : 'Stays in the foreground unless told otherwise.'}`,
    options: OPTION_HELP,
    run: (args, io) => run(args, io, program === 'warren' ? 'warren wg' : program, background),
  };
}

/** `warren wg`: in the foreground. */
export const foregroundWgCommand = wgCommand('warren', false);
/** `warren-wg`: in the background, as wg-quick expects it. */
export const backgroundWgCommand = wgCommand('warren-wg', true);

async function run(args: readonly string[], io: CliIo, program: string, backgroundByDefault: boolean): Promise<number> {
  const { values, positionals } = parseArguments(args, OPTIONS);
  if (positionals.length > 1)
    throw new UsageError(`one interface at a time: ${JSON.stringify(positionals[1])} is too much`);
  if (values.foreground === true && values.background === true) throw new UsageError('either -f or -b');
  const idleSeconds = wholeNumber('idle-timeout', values['idle-timeout'], 0, IDLE_TIMEOUT_MAX_S) ?? 0;
  const settings = {
    ifname: interfaceName(positionals[0]),
    mtu: wholeNumber('mtu', values.mtu, MTU_MIN, MTU_MAX),
    queues: wholeNumber('queues', values.queues, 1, QUEUES_MAX) ?? 1,
    idleTimeoutMs: idleSeconds === 0 ? Number.POSITIVE_INFINITY : idleSeconds * 1000,
  };
  const json = values.json === true;
  const background =
    values.foreground !== true &&
    io.env['WG_PROCESS_FOREGROUND'] !== '1' &&
    (values.background === true || backgroundByDefault);

  const process = await import('../../daemon/wg-main.ts');
  if (background) {
    const report = await process.runInBackground(io.argv, io.env);
    if (!report.ready) return tellFailure(io, program, report.failure);
    if (json) tellReady(io, report);
    return EXIT_DONE;
  }
  const outcome = await process.runInForeground(settings, io.env, (ready) => {
    if (json) tellReady(io, ready);
    else if (io.interactive) io.error(`${ready.interface} is there: configure it with wg(8), end it with Ctrl-C\n`);
  });
  return outcome.kind === 'ended' ? EXIT_DONE : tellFailure(io, program, outcome.failure);
}

function tellReady(io: CliIo, ready: { pid: number; interface: string; socket: string }): void {
  io.out(`${JSON.stringify({ interface: ready.interface, pid: ready.pid, socket: ready.socket })}\n`);
}
