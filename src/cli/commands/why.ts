// `warren why PEER`: the path to a peer, every other one with what became of it, and what would mend those that do not
// work. The causes are a fixed list (src/protocol/causes.ts); docs/why.md tells what each means.

import type { PathCause } from '../../protocol/causes.ts';
import type { RemoteReport, WhyReport } from '../../protocol/path-report.ts';
import { type CliIo, type Command, EXIT_DONE, parseArguments, UsageError } from '../command.ts';
import { ask, HELP_OPTION_HELP, LOCAL_OPTIONS, SOCKET_OPTION_HELP, socketPath, withDaemon } from '../local-client.ts';
import { table } from '../table.ts';
import { ago } from './show.ts';

const OPTIONS = { ...LOCAL_OPTIONS, history: { type: 'boolean' } } as const;

export const whyCommand: Command = {
  name: 'why',
  summary: 'Tell why a peer is reached the way it is: relayed, direct, or not at all.',
  usage: 'why PEER [OPTION …]',
  details: `PEER: a name, an address, a public key or an id. Shows the path in use, every other one that
was tried with the cause why it is not used, and what would mend it. Exit code: 0 when the daemon
answers, 1 when it does not, 2 for wrong arguments.`,
  options: [
    { form: '--history', text: 'what happened to each path, with times' },
    { form: '--json', text: 'as JSON, history included' },
    SOCKET_OPTION_HELP,
    HELP_OPTION_HELP,
  ],
  run,
};

function run(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, OPTIONS);
  const [peer, excess] = positionals;
  if (peer === undefined) throw new UsageError('name the peer');
  if (excess !== undefined) throw new UsageError(`one peer at a time: ${JSON.stringify(excess)} is too much`);
  const json = values.json === true;
  const socket = socketPath(values.socket, io.env);
  return withDaemon(io, 'why', json, async () => {
    const path = `/v1/why?peer=${encodeURIComponent(peer)}`;
    const report = await ask<WhyReport>({ socket, method: 'GET', path });
    io.out(json ? `${JSON.stringify(report)}\n` : whyText(report, values.history === true, Date.now()));
    return EXIT_DONE;
  });
}

/** In words for a person; the list is src/protocol/causes.ts. */
export const CAUSE_TEXT: Record<PathCause, string> = {
  untested: 'not tried yet',
  works: 'works',
  noCandidate: 'the peer tells no such address',
  noFamily: 'this machine has no address of that family',
  elsewhere: 'a private address of another network',
  mappingVaries: 'both NATs give another port for each destination',
  filtered: 'a firewall or NAT drops what comes in',
  udpBlocked: 'UDP does not leave this network, or the peer’s',
  oneWay: 'works one way only: the peer’s packets come, ours do not arrive',
  mtuBlackHole: 'large packets get lost on the way',
  hairpin: 'both are behind one NAT that does not turn packets round',
  policy: 'not allowed by the network’s policy',
  clock: 'a clock is off',
  keyExpired: 'a key has expired',
  peerOffline: 'the peer is not connected',
  noRelay: 'no relay is reachable',
  relayRefused: 'the relay refused',
  silent: 'fell silent',
  worse: 'works; another is faster',
};

/** `nowMs`: wall clock, for ages. */
export function whyText(report: WhyReport, history: boolean, nowMs: number): string {
  const { peer, path, summary, advice, candidates } = report;
  const lines = [`${peer.name}: ${summary}`];
  if (path !== null) {
    const via = path.relay === null ? '' : ` (${path.relay})`;
    const since = path.since === null ? '' : `, since ${ago(nowMs - Date.parse(path.since)).replace(/ ago$/, '')}`;
    const mtu = path.mtu === null ? '' : `, MTU ${path.mtu}`;
    lines.push(`  path: ${path.kind} ${path.endpoint}${via}${rttText(path.rttMs)}${mtu}${since}`);
  }
  if (candidates.length > 0) lines.push('', ...candidateTable(candidates, history, nowMs));
  if (advice.length > 0) lines.push('', ...advice.map((line) => `do: ${line}`));
  return `${lines.join('\n')}\n`;
}

function candidateTable(candidates: readonly RemoteReport[], history: boolean, nowMs: number): string[] {
  const rows = candidates.map(({ kind, local, remote, state, cause, rttMs }) => [
    kind,
    local ?? '-',
    remote,
    state,
    rttMs === null ? '-' : `${rttMs.toFixed(1)} ms`,
    CAUSE_TEXT[cause] ?? cause,
  ]);
  const [header = '', ...told] = table(['KIND', 'FROM', 'TO', 'STATE', 'RTT', 'WHY'], rows).trimEnd().split('\n');
  if (!history) return [header, ...told];
  return [
    header,
    ...told.flatMap((line, i) => [
      line,
      ...(candidates[i]?.history ?? []).map(
        ({ at, state, cause, rttMs }) =>
          `    ${ago(nowMs - Date.parse(at))}: ${state}, ${CAUSE_TEXT[cause] ?? cause}${rttText(rttMs)}`,
      ),
    ]),
  ];
}

function rttText(rttMs: number | null): string {
  return rttMs === null ? '' : `, ${rttMs.toFixed(1)} ms`;
}
