// What an idle mesh says on the wire: every node has its home at one relay and nobody has anything to say. Counted by nft in each
// node's namespace, by protocol, address and port: so nothing that is sent can hide.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ask } from '../../src/cli/local-client.ts';
import type { Status } from '../../src/protocol/local-api.ts';
import { applyRuleset } from '../../test/integration/nat-lab/lib/network-tools.ts';
import { WARREN } from '../../test/interop/lib/engines.ts';
import { type Host, Lab } from '../../test/interop/lib/lab.ts';
import { MeshMachine, Program } from '../../test/interop/lib/mesh.ts';
import { must } from '../../test/interop/lib/shell.ts';
import { pass, until } from '../../test/interop/lib/wait.ts';
import { figure, type SectionResult } from './figures.ts';
import type { Bench } from './section.ts';

const NODES = 12;
const CONTROLLER = '10.9.0.1';
const PORT = 7_370;
const SECONDS = 60;
const QUICK_SECONDS = 25;
/** What a start brings with it (STUN, port mappings, neighbours) is over by then. */
const SETTLE_MS = 30_000;
const LIMIT_MS = 60_000;
const KEEPALIVE_S = 25;

interface Count {
  readonly node: string;
  readonly way: 'out' | 'in';
  readonly protocol: string;
  readonly address: string;
  /** Of the other end, for a node's own connections. */
  readonly port: number;
  readonly packets: number;
  readonly bytes: number;
}

const SETS = [
  {
    name: 'out4',
    type: 'ipv4_addr',
    hook: 'output',
    match: 'oifname "eth0" meta nfproto ipv4',
    key: 'ip daddr',
    port: 'dport',
  },
  {
    name: 'in4',
    type: 'ipv4_addr',
    hook: 'input',
    match: 'iifname "eth0" meta nfproto ipv4',
    key: 'ip saddr',
    port: 'sport',
  },
  {
    name: 'out6',
    type: 'ipv6_addr',
    hook: 'output',
    match: 'oifname "eth0" meta nfproto ipv6',
    key: 'ip6 daddr',
    port: 'dport',
  },
  {
    name: 'in6',
    type: 'ipv6_addr',
    hook: 'input',
    match: 'iifname "eth0" meta nfproto ipv6',
    key: 'ip6 saddr',
    port: 'sport',
  },
] as const;
const COUNTED_MAX = 4_096;

async function startCounting(host: Host): Promise<void> {
  const lines = SETS.flatMap(({ name, type, hook, match, key, port }) => [
    `set ${name} {`,
    `  type ${type} . inet_proto . inet_service`,
    `  flags dynamic; size ${COUNTED_MAX}`,
    '  counter',
    '}',
    `chain count-${name} {`,
    `  type filter hook ${hook} priority 0`,
    `  ${match} update @${name} { ${key} . meta l4proto . th ${port} }`,
    '}',
  ]);
  await applyRuleset(host, ['table inet idle {', ...lines, '}'].join('\n'));
}

interface NftElement {
  readonly elem: {
    readonly val: { readonly concat: readonly [string, string, number] };
    readonly counter: { packets: number; bytes: number };
  };
}

interface NftSet {
  readonly set: { readonly name: string; readonly elem?: readonly NftElement[] };
}

async function counted(host: Host, node: string): Promise<Count[]> {
  const text = await host.must(['nft', '-j', '-n', 'list', 'sets', 'table', 'inet', 'idle']);
  const { nftables } = JSON.parse(text) as { nftables: readonly (NftSet | object)[] };
  const sets = nftables.filter((entry): entry is NftSet => 'set' in entry);
  return sets.flatMap(({ set: { name, elem = [] } }) =>
    elem.map(({ elem: { val, counter } }): Count => {
      const [address, protocol, port] = val.concat;
      const way = name.startsWith('out') ? 'out' : 'in';
      return { node, way, protocol: `${protocol}`, address, port: Number(port), ...counter };
    }),
  );
}

const UDP = ['udp', '17'];
const TCP = ['tcp', '6'];
const isRelay = ({ address, protocol, port }: Count): boolean =>
  address === CONTROLLER && UDP.includes(protocol) && port === PORT;
const isControl = ({ address, protocol, port }: Count): boolean =>
  address === CONTROLLER && TCP.includes(protocol) && port === PORT;

export async function idle({ debug, quick, say }: Bench): Promise<SectionResult> {
  const seconds = quick ? QUICK_SECONDS : SECONDS;
  const lab = Lab.open('pbidle');
  const directory = mkdtempSync(join(tmpdir(), `wrn-pbidle-${process.pid}-mesh-`));
  const env = { LOG_LEVEL: debug ? 'debug' : 'error' };
  try {
    const centre = await lab.host('ctl');
    const hosts: Host[] = [];
    const ends = [{ host: centre, device: 'eth0', addresses: [`${CONTROLLER}/24`] }];
    for (let i = 0; i < NODES; i++) {
      const host = await lab.host(`n${i}`);
      // The kernel's own, which have nothing to do with us.
      await host.must(['sysctl', '-qw', 'net.ipv6.conf.default.router_solicitations=0']);
      hosts.push(host);
      ends.push({ host, device: 'eth0', addresses: [`10.9.0.${i + 2}/24`] });
    }
    await lab.bridge('hub', ends);
    const data = join(directory, 'ctl');
    const url = `http://${CONTROLLER}:${PORT}`;
    const command = ['controller', '--data', data, '--listen', `0.0.0.0:${PORT}`, '--url', url, '--json'];
    const controller = new Program(centre, command, env);
    await until('the controller is ready', LIMIT_MS, () => {
      if (!controller.alive) throw new Error(`the controller ended: ${controller.errors}`);
      return controller.output.includes('\n');
    });
    const link = (
      await must([process.execPath, WARREN, 'keys', 'create', '--reusable', '--data', data], { timeoutMs: LIMIT_MS })
    ).trim();
    for (const [i, host] of hosts.entries()) {
      const machine = new MeshMachine(`n${i}`, host, directory, `10.9.0.${i + 2}`, []);
      machine.environment = env;
      await machine.start();
      await machine.must('up', '--join', link, '--hostname', machine.name, '--timeout', '60');
      await until(`${machine.name} has a home`, LIMIT_MS, async () => {
        const path = '/v1/status?peers=none';
        const { relays } = await ask<Status>({ socket: machine.socket, method: 'GET', path });
        return relays.some(({ home, state }) => home && state === 'established');
      });
    }
    say(`  ${NODES} nodes are in; ${SETTLE_MS / 1_000} s until they are quiet, then ${seconds} s are counted\n`);
    await pass(SETTLE_MS);
    await Promise.all(hosts.map(startCounting));
    await pass(seconds * 1_000);
    const counts = (await Promise.all(hosts.map((host, i) => counted(host, `n${i}`)))).flat();
    return resultOf(counts, seconds);
  } finally {
    await lab.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

function resultOf(counts: readonly Count[], seconds: number): SectionResult {
  const nodes = Array.from({ length: NODES }, (_, i) => `n${i}`);
  const outcomes = nodes.map((node) => {
    const own = counts.filter((count) => count.node === node);
    const sum = (which: (count: Count) => boolean): number =>
      own.filter(which).reduce((total, { packets }) => total + packets, 0);
    const round = {
      relayOut: sum((count) => isRelay(count) && count.way === 'out'),
      relayIn: sum((count) => isRelay(count) && count.way === 'in'),
      control: sum(isControl),
      other: sum((count) => !isRelay(count) && !isControl(count)),
      others: own.filter((count) => !isRelay(count) && !isControl(count)),
    };
    return { ok: true as const, round };
  });
  // As many as begin within the time, and one that was due at its edge.
  const keepalives = Math.floor(seconds / KEEPALIVE_S) + 1;
  return {
    section: `an idle mesh of ${NODES} nodes, for ${seconds} s`,
    notes: [
      'packets of one node on its link: the median and the worst are over nodes',
      `keepalives: at most ${keepalives} in the time, one per ${KEEPALIVE_S} s; a session is renewed every 120 s besides (two packets out)`,
    ],
    figures: [
      figure('to the relay', 'packets', outcomes, ({ relayOut }) => relayOut, {
        targets: [{ of: 'median', atMost: keepalives }],
      }),
      figure('from the relay', 'packets', outcomes, ({ relayIn }) => relayIn),
      figure('control connection, both ways', 'packets', outcomes, ({ control }) => control),
      figure('anything else', 'packets', outcomes, ({ other }) => other, { targets: [{ of: 'worst', atMost: 0 }] }),
    ],
    rounds: outcomes,
  };
}
