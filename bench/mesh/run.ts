// `npm run bench:mesh`: what the mesh costs and how fast it is, on real processes in network namespaces. docs/benchmarks.md
// says how each figure is taken.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Lab } from '../../test/interop/lib/lab.ts';
import { describeMachine } from '../machine.ts';
import { machineText } from '../report.ts';
import { Controller } from './controller.ts';
import { type ControllerScale, Fleet, measureController } from './controller-scale.ts';
import { type DaemonScale, measureDaemon } from './daemon-scale.ts';
import { type FirstPing, measureFirstPing } from './first-ping.ts';
import { Node } from './node.ts';

const USAGE = `usage: npm run bench:mesh -- [--nodes N] [--rounds N] [--changes N] [--only first-ping|controller] [--json]

  --nodes N     nodes of the large network (default 10000)
  --rounds N    rounds of the first ping (default 10)
  --changes N   changes that are timed to all nodes (default 10)
  --only WHAT   one part
  --json        the result as JSON on standard output; progress stays on standard error
`;

interface MeshResult {
  readonly machine: Awaited<ReturnType<typeof describeMachine>>;
  readonly firstPing: readonly FirstPing[];
  readonly controller: ControllerScale | null;
  readonly daemon: DaemonScale | null;
}

const say = (text: string): void => {
  process.stderr.write(text);
};

async function largeNetwork(nodes: number, changes: number, directory: string) {
  const lab = Lab.open('meshbench');
  let fleet: Fleet | null = null;
  try {
    const centre = await lab.host('controller');
    const machine = await lab.host('node');
    await centre.must(['ip', 'link', 'set', 'lo', 'up']);
    await lab.bridge('lan', [
      { host: centre, device: 'eth0', addresses: ['10.99.0.1/24'] },
      { host: machine, device: 'eth0', addresses: ['10.99.0.2/24'] },
    ]);
    const controller = new Controller(centre, '10.99.0.1', join(directory, 'controller'));
    await controller.start();
    fleet = new Fleet(centre.netns);
    const scale = await measureController(controller, fleet, nodes, changes, say);
    const node = new Node(machine, 'real', directory);
    const daemon = await measureDaemon(node, await controller.joinLink(), nodes);
    await fleet.ask({ kind: 'stop' }, 'stopped');
    return { scale, daemon };
  } finally {
    fleet?.kill();
    await lab.close();
  }
}

export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      nodes: { type: 'string', default: '10000' },
      rounds: { type: 'string', default: '10' },
      changes: { type: 'string', default: '10' },
      only: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const machine = await describeMachine();
  say(`${machineText(machine)}\n`);
  const directory = mkdtempSync(join(tmpdir(), `wrn-meshbench-${process.pid}-`));
  const firstPing: FirstPing[] = [];
  let controller: ControllerScale | null = null;
  let daemon: DaemonScale | null = null;
  try {
    if (values.only !== 'controller') {
      for (let round = 0; round < Number(values.rounds); round++) {
        const lab = Lab.open('firstping');
        try {
          const result = await measureFirstPing(lab, round, directory);
          firstPing.push(result);
          say(`round ${round + 1}: first ping ${result.bothNewMs.map((ms) => ms.toFixed(0)).join(' ')} ms\n`);
        } finally {
          await lab.close();
        }
      }
    }
    if (values.only !== 'first-ping') {
      ({ scale: controller, daemon } = await largeNetwork(Number(values.nodes), Number(values.changes), directory));
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  const result: MeshResult = { machine, firstPing, controller, daemon };
  process.stdout.write(values.json ? `${JSON.stringify(result, null, 2)}\n` : report(result));
  return 0;
}

function report({ machine, firstPing, controller, daemon }: MeshResult): string {
  const lines = [machineText(machine), ''];
  const row = (what: string, figure: string): void => {
    lines.push(`${what.padEnd(58)} ${figure}`);
  };
  if (firstPing.length > 0) {
    row(
      '`warren up` to the first answered ping, both nodes new',
      range(
        firstPing.flatMap((round) => round.bothNewMs),
        'ms',
      ),
    );
    row(
      '`warren up` alone',
      range(
        firstPing.flatMap((round) => round.upMs),
        'ms',
      ),
    );
    const idle = firstPing.flatMap((round) => round.idleMs);
    row(
      'first packet to an idle peer, round trip',
      range(
        idle.map(({ first }) => first),
        'ms',
      ),
    );
    row(
      'the next one',
      range(
        idle.map(({ next }) => next),
        'ms',
      ),
    );
  }
  if (controller !== null) {
    const { changeMs, restart, rssMegabytes } = controller;
    row(`joins, ${controller.nodes} nodes`, `${controller.joinsPerSecond.toFixed(0)}/s`);
    row(
      "one node's change reaches all: median, p99, worst",
      `${[changeMs.median, changeMs.p99, changeMs.max].map((ms) => ms.toFixed(0)).join(', ')} ms`,
    );
    row('controller killed: all resumed after', `${restart.seconds.toFixed(1)} s`);
    row('  bytes per node: mean, worst', `${restart.bytesPerNode.toFixed(0)}, ${restart.worstBytes}`);
    row(
      'memory of the controller: joined, after the restart',
      `${rssMegabytes.joined.toFixed(0)}, ${rssMegabytes.afterRestart.toFixed(0)} MB`,
    );
    if (controller.failures.length > 0) row('failures', controller.failures.join('; '));
  }
  if (daemon !== null) {
    row(`a daemon among ${daemon.peers} nodes: memory`, `${daemon.rssMegabytes.toFixed(0)} MB`);
    row('  CPU while idle, wake-ups', `${daemon.idleCpuPercent.toFixed(2)} %, ${daemon.wakeUpsPerSecond.toFixed(1)}/s`);
    row('  `warren up` there', `${daemon.upMs.toFixed(0)} ms`);
  }
  return `${lines.join('\n')}\n`;
}

/** median (min … max) */
function range(values: readonly number[], unit: string): string {
  const sorted = [...values].sort((a, b) => a - b);
  const text = (value: number | undefined): string => (value === undefined ? '-' : value.toFixed(value < 10 ? 2 : 0));
  return `${text(sorted[Math.floor(sorted.length / 2)])} ${unit} (${text(sorted[0])} … ${text(sorted.at(-1))})`;
}
