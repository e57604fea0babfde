// The bench: interleaved rounds in which every engine gets the same two hosts, the same cable and the same MTU, one after
// the other, in an order that turns from round to round. docs/benchmarks.md explains the method.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Implementation, implementationLabel, REPOSITORY } from '../test/interop/lib/engines.ts';
import { Lab } from '../test/interop/lib/lab.ts';
import { untilAnswers } from '../test/interop/lib/measure.ts';
import { Pair } from '../test/interop/lib/pair.ts';
import { hasProgram, run } from '../test/interop/lib/shell.ts';
import { describeMachine } from './machine.ts';
import { type BenchOptions, parseOptions, USAGE } from './options.ts';
import { compare, comparisonText, machineText, type Series } from './report.ts';
import { measure, type Sample } from './workloads.ts';

const EXIT_USAGE = 2;
/** Outer IPv6, UDP and WireGuard. */
const TUNNEL_OVERHEAD = 80;

function say(text: string): void {
  process.stderr.write(text);
}

/** The compiled udp_blast, or null without a C compiler. */
async function buildBlaster(): Promise<string | null> {
  if (!(await hasProgram('cc'))) return null;
  const source = join(REPOSITORY, 'bench/udp_blast.c');
  const binary = join(REPOSITORY, 'node_modules/.cache/warren-bench/udp_blast');
  if (existsSync(binary) && statSync(binary).mtimeMs > statSync(source).mtimeMs) return binary;
  mkdirSync(dirname(binary), { recursive: true });
  execFileSync('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', binary, source], { stdio: 'inherit' });
  return binary;
}

async function measureOnce(
  implementation: Implementation,
  options: BenchOptions,
  blaster: string | null,
): Promise<Sample> {
  const lab = Lab.open('bench');
  try {
    const pair = await Pair.open(lab, {
      left: implementation,
      right: implementation,
      tunnelMtu: options.mtu,
      linkMtu: options.mtu + TUNNEL_OVERHEAD,
    });
    await pair.meetBoth();
    await untilAnswers(pair.left.host, pair.right.inner4, 5_000);
    return await measure(pair, options, blaster);
  } finally {
    await lab.close();
  }
}

interface Entrant {
  readonly implementation: Implementation;
  readonly label: string;
  readonly samples: Sample[];
}

async function runRounds(entrants: readonly Entrant[], options: BenchOptions, blaster: string | null): Promise<void> {
  for (let round = 0; round < options.rounds; round++) {
    // Turned, so that no engine always comes after the same neighbour or first on a cool machine.
    const order = entrants.map((_, index) => entrants[(index + round) % entrants.length] as Entrant);
    for (const entrant of order) {
      say(`round ${round + 1}/${options.rounds}  ${entrant.label} … `);
      const sample = await measureOnce(entrant.implementation, options, blaster);
      entrant.samples.push(sample);
      say(`TCP ${sample.tcp1?.toFixed(2)} / ${sample.tcp4?.toFixed(2)} Gbit/s, ${sample.cpu1?.toFixed(2)} s/GByte`);
      say(`${sample.pps64 === undefined ? '' : `, ${sample.pps64.toFixed(0)} kpps`}\n`);
    }
  }
}

/** Gives the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  let options: BenchOptions | null;
  try {
    options = parseOptions(args);
  } catch (error) {
    say(`bench: ${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    return EXIT_USAGE;
  }
  if (options === null) {
    process.stdout.write(USAGE);
    return 0;
  }
  if ((await run(['ip', 'netns', 'add', 'wrn-probe-bench'])).code !== 0) {
    say('bench: network namespaces need root; run it with sudo, or inside: unshare -Urnm\n');
    return 1;
  }
  await run(['ip', 'netns', 'del', 'wrn-probe-bench']);
  if (!(await hasProgram('iperf3'))) {
    say('bench: iperf3 is missing; install it with: apt-get install iperf3\n');
    return 1;
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

  const blaster = await buildBlaster();
  if (blaster === null) say('no C compiler (cc): 64-byte packets are left out\n');
  const machine = await describeMachine();
  say(`${machineText(machine)}\n\n`);
  const entrants: Entrant[] = [];
  for (const implementation of [options.subject, ...options.peers]) {
    entrants.push({ implementation, label: await implementationLabel(implementation), samples: [] });
  }
  await runRounds(entrants, options, blaster);

  const [subject, ...peers]: readonly Series[] = entrants;
  if (subject === undefined) throw new Error('nothing was measured');
  const comparisons = compare(subject, peers);
  if (options.json)
    process.stdout.write(`${JSON.stringify({ machine, options, engines: entrants, comparisons }, null, 2)}\n`);
  else process.stdout.write(`${machineText(machine)}\n${comparisonText(subject, comparisons)}\n`);
  return 0;
}
