// `warren status`: what the daemon does and how each peer is reached; once, or again at each change; as text or as JSON. The
// text is for people and may change, the JSON is for programs and may only grow.

import { printable } from '../../base/printable.ts';
import type { PeerStatus, Status } from '../../protocol/local-api.ts';
import { type CliIo, type Command, EXIT_DONE, parseArguments, UsageError } from '../command.ts';
import {
  ask,
  follow,
  HELP_OPTION_HELP,
  LOCAL_OPTIONS,
  problemText,
  SOCKET_OPTION_HELP,
  socketPath,
  withDaemon,
} from '../local-client.ts';
import { table } from '../table.ts';
import { ago, bytes } from './show.ts';

const OPTIONS = { ...LOCAL_OPTIONS, watch: { type: 'boolean' } } as const;
/** Cursor home, and clear to the end of the screen after writing: no flicker. */
const HOME = '\u001b[H';
const CLEAR_LINE_END = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

export const statusCommand: Command = {
  name: 'status',
  summary: 'Show this machine, its controller, and how each peer is reached.',
  usage: 'status [PEER] [OPTION …]',
  details: `PEER: a name, an address, a public key or an id; then only that peer is shown. Exit code: 0
when the daemon answers, connected or not; 1 when it does not; 2 for wrong arguments.`,
  options: [
    { form: '--json', text: 'as JSON; with --watch an object a line' },
    { form: '--watch', text: 'show it again at each change, until interrupted' },
    SOCKET_OPTION_HELP,
    HELP_OPTION_HELP,
  ],
  run,
};

function run(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, OPTIONS);
  const [peer, excess] = positionals;
  if (excess !== undefined) throw new UsageError(`one peer or all: ${JSON.stringify(excess)} is too much`);
  const json = values.json === true;
  const socket = socketPath(values.socket, io.env);
  const query = peer === undefined ? '' : `peer=${encodeURIComponent(peer)}`;
  return withDaemon(io, 'status', json, async () => {
    if (values.watch === true) return watch(io, socket, query, json);
    const status = await ask<Status>({ socket, method: 'GET', path: `/v1/status?${query}` });
    io.out(json ? `${JSON.stringify(status)}\n` : statusText(status, Date.now()));
    return EXIT_DONE;
  });
}

async function watch(io: CliIo, socket: string, query: string, json: boolean): Promise<number> {
  const interrupted = new AbortController();
  const onInterrupt = (): void => interrupted.abort();
  process.once('SIGINT', onInterrupt);
  const screen = !json && process.stdout.isTTY === true;
  let shown = 0;
  const show = (status: Status): void => {
    const text = json ? `${JSON.stringify(status)}\n` : statusText(status, Date.now());
    if (json) io.out(text);
    else if (screen) io.out(`${HOME}${text.replaceAll('\n', `${CLEAR_LINE_END}\n`)}${CLEAR_BELOW}`);
    else io.out(shown++ === 0 ? text : `\n${text}`);
  };
  try {
    if (screen) io.out(`${HOME}${CLEAR_BELOW}`);
    await follow<Status>({ socket, method: 'GET', path: `/v1/status?watch=1&${query}` }, show, interrupted.signal);
  } finally {
    process.off('SIGINT', onInterrupt);
  }
  return EXIT_DONE;
}

// — text —

const STATES: Record<Status['state'], string> = {
  unconfigured: 'belongs to no network',
  down: 'disconnected on purpose',
  starting: 'connecting',
  waiting: 'waiting for approval',
  up: 'connected',
  failed: 'not connected',
};

/** `nowMs`: wall clock, for ages. */
export function statusText(status: Status, nowMs: number): string {
  const { self, network, controller } = status;
  const lines = [`${self.name ?? 'this machine'}: ${STATES[status.state] ?? status.state}`];
  if (self.addresses.length > 0) {
    const where = self.interface === null ? '' : ` on ${self.interface}`;
    const port = self.listenPort === null ? '' : `, port ${self.listenPort}`;
    lines.push(`  addresses: ${self.addresses.join(', ')}${where}${port}`);
  }
  if (network !== null) lines.push(`  network: ${network.name}, ${network.prefix4}, ${network.prefix6}`);
  if (controller.url !== null) {
    const since = controller.since === null ? '' : `, since ${ago(nowMs - Date.parse(controller.since))}`;
    lines.push(`  controller: ${controller.state}, ${controller.url}${since.replace(/ ago$/, '')}`);
    if (controller.lastError !== null) lines.push(`    last error: ${controller.lastError}`);
  }
  const told = (kind: string, text: string): void => {
    lines.push(...`${kind}: ${text}`.trimEnd().split('\n'));
  };
  if (status.problem !== null) told('problem', problemText(status.problem));
  for (const warning of status.warnings) told('warning', problemText(warning));
  const hint = nextStep(status);
  if (hint !== null) lines.push(`  do: ${hint}`);
  if (status.peers.length > 0) lines.push('', ...peerTable(status.peers, nowMs));
  return `${lines.join('\n')}\n`;
}

function nextStep(status: Status): string | null {
  if (status.problem !== null) return null;
  if (status.state === 'unconfigured') return 'warren up --join LINK (the controller makes links: warren keys create)';
  return status.state === 'down' ? 'warren up' : null;
}

const COLUMNS = ['PEER', 'ADDRESS', 'STATE', 'PATH', 'HANDSHAKE', 'RECEIVED', 'SENT'];

/** A row for each, and below it why there is no session although one is wanted. */
function peerTable(peers: readonly PeerStatus[], nowMs: number): string[] {
  const [header = '', ...rows] = table(
    COLUMNS,
    peers.map((peer) => row(peer, nowMs)),
  )
    .trimEnd()
    .split('\n');
  const notes = peers.map(({ reason }) => (reason === null ? [] : [`  ${printable(reason)}`]));
  return [header, ...rows.flatMap((line, i) => [line, ...(notes[i] ?? [])])];
}

function row(peer: PeerStatus, nowMs: number): string[] {
  const { name, addresses, state, online, path, lastHandshake } = peer;
  return [
    name,
    addresses[0] ?? '-',
    online || state === 'established' ? state : `${state}, offline`,
    path === null ? '-' : `${path.kind} ${path.endpoint}`,
    lastHandshake === null ? 'never' : ago(nowMs - Date.parse(lastHandshake)),
    bytes(peer.rxBytes),
    bytes(peer.txBytes),
  ];
}
