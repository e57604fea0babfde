// `warren netcheck`: what the network in front of this machine does to its packets: UDP and NAT, asked afresh, port mappings, relays.
// Leaves out single peers (`warren why`).

import type { NetcheckReport } from '../../protocol/path-report.ts';
import { type CliIo, type Command, EXIT_DONE, parseArguments, UsageError } from '../command.ts';
import { ask, HELP_OPTION_HELP, LOCAL_OPTIONS, SOCKET_OPTION_HELP, socketPath, withDaemon } from '../local-client.ts';
import { table } from '../table.ts';

export const netcheckCommand: Command = {
  name: 'netcheck',
  summary: 'Examine the network in front of this machine: UDP, NAT, port mappings, relays.',
  usage: 'netcheck [OPTION …]',
  details: `Asks the STUN servers afresh, which takes four seconds where one is silent, and says how
gateways and relays are. Exit code: 0 when the daemon answers, 1 when it does not, 2 for wrong
arguments.`,
  options: [{ form: '--json', text: 'as JSON' }, SOCKET_OPTION_HELP, HELP_OPTION_HELP],
  run,
};

function run(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, LOCAL_OPTIONS);
  const [excess] = positionals;
  if (excess !== undefined) throw new UsageError(`${JSON.stringify(excess)} is too much`);
  const json = values.json === true;
  const socket = socketPath(values.socket, io.env);
  return withDaemon(io, 'netcheck', json, async () => {
    const report = await ask<NetcheckReport>({ socket, method: 'POST', path: '/v1/netcheck', body: {} });
    io.out(json ? `${JSON.stringify(report)}\n` : netcheckText(report));
    return EXIT_DONE;
  });
}

const UDP: Record<NetcheckReport['udp'], string> = {
  works: 'works',
  blocked: 'does not leave this network',
  unknown: 'not known',
};

const MAPPING: Record<NetcheckReport['mapping'], string> = {
  none: 'no NAT',
  independent: 'a NAT that keeps one port for all destinations: direct paths to most others work',
  varies: 'a NAT that gives another port for each destination: most others behind NATs are reached by relay alone',
  unknown: 'not known',
};

export function netcheckText(report: NetcheckReport): string {
  const { udp, mapping, filtering, reflexive, interfaces, stun, relays, portMapping, advice } = report;
  const lines = [
    `UDP: ${UDP[udp] ?? udp}`,
    `NAT: ${MAPPING[mapping] ?? mapping}${filtering === 'unknown' || filtering === 'none' ? '' : `; filtering ${filtering}`}`,
    `seen from outside: ${[reflexive.ipv4, reflexive.ipv6].filter((one) => one !== null).join(', ') || 'not known'}`,
    `interfaces: ${interfaces.map(({ endpoint }) => endpoint).join(', ') || 'none'}`,
  ];
  for (const { protocol, gateway, state, external, why } of portMapping) {
    const where = gateway === null ? '' : ` at ${gateway}`;
    lines.push(`port mapping, ${protocol}${where}: ${state}${external === null ? '' : ` ${external}`}${told(why)}`);
  }
  if (stun.length > 0) {
    lines.push(
      '',
      ...rows(
        ['STUN SERVER', 'SEEN AS', 'RTT', ''],
        stun.map((one) => [one.server, one.reflexive ?? '-', rtt(one.rttMs), one.error ?? '']),
      ),
    );
  }
  if (relays.length > 0) {
    lines.push(
      '',
      ...rows(
        ['RELAY', 'STATE', 'ENDPOINT', 'RTT', ''],
        relays.map((one) => [
          one.name,
          one.state,
          one.endpoint ?? '-',
          rtt(one.rttMs),
          [one.home ? 'home' : '', one.via === 'websocket' ? 'by WebSocket' : '']
            .filter((word) => word !== '')
            .join(', '),
        ]),
      ),
    );
  }
  if (advice.length > 0) lines.push('', ...advice.map((line) => `do: ${line}`));
  return `${lines.join('\n')}\n`;
}

function rows(columns: readonly string[], cells: readonly string[][]): string[] {
  return table([...columns], cells)
    .trimEnd()
    .split('\n')
    .map((line) => line.trimEnd());
}

function rtt(rttMs: number | null): string {
  return rttMs === null ? '-' : `${rttMs.toFixed(1)} ms`;
}

function told(why: string | null): string {
  return why === null ? '' : `, ${why}`;
}
