// `warren show`: what WireGuard interfaces do, read from their control sockets; for people, or as JSON. Private and preshared
// keys only on request.

import {
  type CliIo,
  type Command,
  EXIT_DONE,
  EXIT_FAILED,
  type Failure,
  interfaceName,
  parseArguments,
  tellFailure,
  UsageError,
} from '../command.ts';
import {
  type InterfaceStatus,
  interfacesWithSocket,
  type PeerStatus,
  readInterface,
  SOCKET_DIRECTORY,
} from '../interface-status.ts';

const OPTIONS = { json: { type: 'boolean' }, 'show-keys': { type: 'boolean' } } as const;

export const showCommand: Command = {
  name: 'show',
  summary: 'Show WireGuard interfaces that run in user space, and their peers.',
  usage: 'show [--json] [--show-keys] [IFNAME]',
  details: `Reads ${SOCKET_DIRECTORY}/*.sock, so it shows the interfaces of any userspace
WireGuard, and not those of the kernel. Exit code: 0, 1 when an interface cannot be
read, 2 for wrong arguments.`,
  options: [
    { form: '--json', text: 'as JSON: an object for IFNAME, else an array of them' },
    { form: '--show-keys', text: 'with the private key and the preshared keys' },
    { form: '-h, --help', text: 'this help' },
  ],
  run: (args, io) => show(args, io, SOCKET_DIRECTORY),
};

/** `directory`: where the sockets are. */
export function show(args: readonly string[], io: CliIo, directory: string): Promise<number> {
  const { values, positionals } = parseArguments(args, OPTIONS);
  if (positionals.length > 1)
    throw new UsageError(`one interface or all: ${JSON.stringify(positionals[1])} is too much`);
  const print = { json: values.json === true, keys: values['show-keys'] === true };
  if (positionals.length === 1) return showOne(interfaceName(positionals[0]), print, io, directory);
  return showAll(print, io, directory);
}

interface Print {
  readonly json: boolean;
  readonly keys: boolean;
}

async function showOne(name: string, print: Print, io: CliIo, directory: string): Promise<number> {
  try {
    const status = await readInterface(name, directory);
    io.out(print.json ? `${JSON.stringify(toJson(status, print.keys))}\n` : toText(status, print.keys, Date.now()));
    return EXIT_DONE;
  } catch (error) {
    return tellFailure(io, 'warren show', explain(name, error, directory));
  }
}

/** Sockets that nobody answers on are left out: their owner died. */
async function showAll(print: Print, io: CliIo, directory: string): Promise<number> {
  const statuses: InterfaceStatus[] = [];
  let code = EXIT_DONE;
  try {
    for (const name of interfacesWithSocket(directory)) {
      try {
        statuses.push(await readInterface(name, directory));
      } catch (error) {
        if (isCode(error, 'ECONNREFUSED', 'ENOENT')) continue;
        code = tellFailure(io, 'warren show', explain(name, error, directory));
      }
    }
  } catch (error) {
    return tellFailure(io, 'warren show', explain(null, error, directory));
  }
  if (print.json) io.out(`${JSON.stringify(statuses.map((status) => toJson(status, print.keys)))}\n`);
  else io.out(statuses.map((status) => toText(status, print.keys, Date.now())).join('\n'));
  if (statuses.length === 0 && code !== EXIT_FAILED && !print.json)
    io.error('no userspace WireGuard interface is up\n');
  return code;
}

function isCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}

function explain(name: string | null, error: unknown, directory: string): Failure {
  const what = name === null ? `cannot list ${directory}` : `cannot read the interface ${name}`;
  if (isCode(error, 'ENOENT')) {
    return { what, why: `there is no ${directory}/${name}.sock`, help: `start it with: warren wg ${name}` };
  }
  if (isCode(error, 'ECONNREFUSED')) {
    return { what, why: 'its socket is left over: nobody answers', help: `start it again with: warren wg ${name}` };
  }
  if (isCode(error, 'EACCES', 'EPERM')) {
    return { what, why: 'control sockets are for their owner alone', help: 'run it as root' };
  }
  return { what, why: error instanceof Error ? error.message : String(error), help: 'see the log of its process' };
}

function toJson(status: InterfaceStatus, keys: boolean): object {
  const { privateKey, peers, ...device } = status;
  return {
    ...device,
    ...(keys ? { privateKey } : {}),
    peers: peers.map(({ presharedKey, latestHandshake, ...peer }) => ({
      ...peer,
      latestHandshake: latestHandshake === null ? null : new Date(latestHandshake).toISOString(),
      ...(keys ? { presharedKey } : { hasPresharedKey: presharedKey !== null }),
    })),
  };
}

function toText(status: InterfaceStatus, keys: boolean, nowMs: number): string {
  const lines = [
    status.interface,
    `  public key: ${status.publicKey ?? 'none yet'}`,
    ...(keys && status.privateKey !== null ? [`  private key: ${status.privateKey}`] : []),
    ...(status.listenPort === 0 ? [] : [`  port: ${status.listenPort}`]),
    ...(status.fwmark === 0 ? [] : [`  fwmark: 0x${status.fwmark.toString(16)}`]),
    ...status.peers.flatMap((peer) => ['', ...peerLines(peer, keys, nowMs)]),
  ];
  return `${lines.join('\n')}\n`;
}

function peerLines(peer: PeerStatus, keys: boolean, nowMs: number): string[] {
  const preshared = peer.presharedKey === null ? [] : [`    preshared key: ${keys ? peer.presharedKey : '(hidden)'}`];
  const keepalive = peer.persistentKeepaliveSeconds;
  return [
    `  peer ${peer.publicKey}`,
    ...preshared,
    `    endpoint: ${peer.endpoint ?? 'unknown'}`,
    `    allowed IPs: ${peer.allowedIps.length === 0 ? 'none' : peer.allowedIps.join(', ')}`,
    `    latest handshake: ${peer.latestHandshake === null ? 'never' : ago(nowMs - peer.latestHandshake)}`,
    `    received ${bytes(peer.rxBytes)}, sent ${bytes(peer.txBytes)}`,
    ...(keepalive === 0 ? [] : [`    keepalive: every ${keepalive} s`]),
  ];
}

/** The two largest units: `2 h 5 min ago`. */
export function ago(ms: number): string {
  if (ms < 0) return 'in the future: the clock was set back';
  const seconds = Math.floor(ms / 1000);
  const units = [
    ['d', Math.floor(seconds / 86_400)],
    ['h', Math.floor(seconds / 3600) % 24],
    ['min', Math.floor(seconds / 60) % 60],
    ['s', seconds % 60],
  ] as const;
  const first = units.findIndex(([, count]) => count > 0);
  if (first < 0) return 'now';
  const shown = units.slice(first, first + 2).filter(([, count]) => count > 0);
  return `${shown.map(([unit, count]) => `${count} ${unit}`).join(' ')} ago`;
}

export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}
