// `npm run bench:paths`: how paths are found, kept and left, and what a relay carries, on real processes in network namespaces.
// docs/benchmarks.md says how each figure is taken.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasProgram, run } from '../../test/interop/lib/shell.ts';
import { describeMachine } from '../machine.ts';
import { machineText } from '../report.ts';
import { compileC } from './compiled.ts';
import { direct } from './direct.ts';
import { failover } from './failover.ts';
import { missed, type SectionResult, sectionText } from './figures.ts';
import { firstAnswer } from './first-answer.ts';
import { idle } from './idle.ts';
import { why } from './local.ts';
import { type PathOptions, parseOptions, type SectionName, USAGE, UsageProblem } from './options.ts';
import type { PathNode } from './path-node.ts';
import { relayLoad } from './relay-load.ts';
import { relaySlots } from './relay-slots.ts';
import { type Bench, within } from './section.ts';

const EXIT_USAGE = 2;
const PROGRAMS = ['ip', 'nft', 'conntrack', 'ethtool', 'ping', 'iperf3', 'cc', 'python3'];

interface Section {
  readonly measure: (bench: Bench) => Promise<SectionResult>;
  readonly rounds: number;
  readonly quickRounds: number;
  /** More than it takes on a machine that is busy with other things. */
  readonly limitMs: (rounds: number) => number;
}

const MINUTE = 60_000;
const SECTIONS: Readonly<Record<SectionName, Section>> = {
  'first-answer': {
    measure: firstAnswer,
    rounds: 20,
    quickRounds: 5,
    limitMs: (rounds) => 5 * MINUTE + rounds * 30_000,
  },
  direct: { measure: direct, rounds: 20, quickRounds: 3, limitMs: (rounds) => 5 * MINUTE + 4 * rounds * 45_000 },
  failover: { measure: failover, rounds: 5, quickRounds: 2, limitMs: (rounds) => 5 * MINUTE + 6 * rounds * 150_000 },
  relay: { measure: relayLoad, rounds: 5, quickRounds: 1, limitMs: (rounds) => 45 * MINUTE + rounds * 6 * MINUTE },
  slots: { measure: relaySlots, rounds: 1, quickRounds: 1, limitMs: (rounds) => rounds * 30 * MINUTE },
  idle: { measure: idle, rounds: 1, quickRounds: 1, limitMs: () => 15 * MINUTE },
};

function say(text: string): void {
  process.stderr.write(text);
}

/** Null when everything is there. */
async function whatIsMissing(): Promise<string | null> {
  if ((await run(['ip', 'netns', 'add', 'wrn-probe-paths'])).code !== 0) {
    return 'network namespaces need root; run it with sudo, or inside: unshare -Urnm';
  }
  await run(['ip', 'netns', 'del', 'wrn-probe-paths']);
  for (const program of PROGRAMS) {
    if (!(await hasProgram(program))) return `${program} is missing; run: node scripts/setup.mjs --for bench`;
  }
  return null;
}

/** What the daemons say of a round that missed its target, as files. */
function keeper(directory: string | null): Bench['diagnose'] {
  if (directory === null) return async () => {};
  mkdirSync(directory, { recursive: true });
  return async (name: string, nodes: readonly [PathNode, PathNode], about: unknown) => {
    const [a, b] = nodes;
    const reports = await Promise.allSettled([why(a, b), why(b, a)]);
    const logs = nodes.map(({ machine }) => machine.program?.errors ?? '');
    writeFileSync(join(directory, `${name}.json`), `${JSON.stringify({ about, reports, logs }, null, 2)}\n`);
  };
}

async function measureAll(options: PathOptions): Promise<{ results: SectionResult[]; failures: string[] }> {
  const [results, failures]: [SectionResult[], string[]] = [[], []];
  const flow = compileC('bench/paths/flow.c');
  const diagnose = keeper(options.diagnose);
  for (const name of options.sections) {
    const section = SECTIONS[name];
    const rounds = options.rounds ?? (options.quick ? section.quickRounds : section.rounds);
    const { delayMs, quick, debug, parts: only } = options;
    say(`${name}\n`);
    try {
      const work = section.measure({ rounds, delayMs, debug, quick, only, flow, say, diagnose });
      results.push(await within(name, section.limitMs(rounds), work));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      failures.push(`${name}: ${why}`);
      say(`${name} failed: ${why}\n`);
    }
  }
  return { results, failures };
}

/** Gives the exit code: 1 when a section could not be measured. */
export async function main(args: readonly string[]): Promise<number> {
  let options: PathOptions | null;
  try {
    options = parseOptions(args);
  } catch (error) {
    if (!(error instanceof UsageProblem)) throw error;
    say(`bench:paths: ${error.message}\n\n${USAGE}`);
    return EXIT_USAGE;
  }
  if (options === null) {
    process.stdout.write(USAGE);
    return 0;
  }
  const missing = await whatIsMissing();
  if (missing !== null) {
    say(`bench:paths: ${missing}\n`);
    return 1;
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
  const machine = await describeMachine();
  say(`${machineText(machine)}\n\n`);
  const { results, failures } = await measureAll(options);
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ machine, options, results, failures }, null, 2)}\n`);
  } else {
    const lines = [machineText(machine), ...results.map(sectionText), ''];
    if (failures.length > 0) lines.push('not measured:', ...failures.map((failure) => `  ${failure}`), '');
    const count = missed(results).length;
    if (count > 0) lines.push(`${count} targets were missed`, '');
    process.stdout.write(lines.join('\n'));
  }
  return failures.length === 0 ? 0 : 1;
}
