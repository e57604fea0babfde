// `npm run nat-lab`: without an option what the lab's places do to plain UDP; with --warren how daemons of ours meet there. Prints a table,
// or with --json all that was measured. The exit code says whether everything was as RFC 4787 has it.

import { SITE_KINDS, type SiteKind } from '../../../src/sim/nat/kinds.ts';
import { printRaw, rawMatrix, unexpected } from './lib/raw-matrix.ts';
import { printWarren, warrenMatrix } from './lib/warren-matrix.ts';
import { asExpected } from './lib/warren-pair.ts';
import { openWorld } from './lib/world.ts';

const HELP = `usage: npm run nat-lab -- [--warren] [--places KIND,…] [--twins] [--delay MS] [--jobs N] [--json]

  --warren         a daemon at every place, and how each pair meets; without: plain UDP
  --places KIND,…  only these: ${SITE_KINDS.join(', ')}
  --twins          two of every place, so that there are pairs of a kind with itself
  --delay MS       one way, between each place and the internet (with --warren)
  --jobs N         pairs that are measured at once (with --warren; default 3)
  --json           everything as one object
`;

interface Options {
  warren: boolean;
  twins: boolean;
  json: boolean;
  delayMs: number;
  jobs: number;
  kinds: readonly SiteKind[];
}

class Usage extends Error {}

function parse(args: readonly string[]): Options {
  const options: Options = { warren: false, twins: false, json: false, delayMs: 0, jobs: 3, kinds: SITE_KINDS };
  const left = [...args];
  const value = (name: string): string => {
    const given = left.shift();
    if (given === undefined) throw new Usage(`${name} wants a value`);
    return given;
  };
  const whole = (name: string, min: number, max: number): number => {
    const given = value(name);
    const number = Number(given);
    if (!/^\d{1,6}$/.test(given) || number < min || number > max)
      throw new Usage(`${name} wants a number from ${min} to ${max}`);
    return number;
  };
  for (let arg = left.shift(); arg !== undefined; arg = left.shift()) {
    if (arg === '--warren') options.warren = true;
    else if (arg === '--twins') options.twins = true;
    else if (arg === '--json') options.json = true;
    else if (arg === '--delay') options.delayMs = whole(arg, 1, 2000);
    else if (arg === '--jobs') options.jobs = whole(arg, 1, 16);
    else if (arg === '--places') options.kinds = kindsOf(value(arg));
    else throw new Usage(`unknown option ${arg}`);
  }
  return options;
}

function kindsOf(text: string): readonly SiteKind[] {
  return text.split(',').map((name) => {
    const kind = SITE_KINDS.find((one) => one === name);
    if (kind === undefined) throw new Usage(`there is no place ${name}`);
    return kind;
  });
}

async function plain(options: Options): Promise<boolean> {
  const world = await openWorld('natlab', options.kinds, options);
  try {
    const matrix = await rawMatrix(world);
    process.stdout.write(options.json ? `${JSON.stringify(matrix, null, 2)}\n` : `${printRaw(matrix)}\n`);
    return unexpected(matrix).length === 0;
  } finally {
    await world.lab.close();
  }
}

async function warren(options: Options): Promise<boolean> {
  const started = performance.now();
  const matrix = await warrenMatrix('natlab', options.kinds, {
    ...options,
    onPair: (pair, done, all) => {
      const seconds = ((performance.now() - started) / 1000).toFixed(0);
      const wrong = asExpected(pair) ? '' : `, ${pair.expected.path} expected`;
      process.stderr.write(`${seconds} s  ${done}/${all}  ${pair.a} ${pair.b}: ${pair.path ?? 'none'}${wrong}\n`);
    },
  });
  process.stdout.write(options.json ? `${JSON.stringify(matrix, null, 2)}\n` : `${printWarren(matrix)}\n`);
  return matrix.pairs.every(asExpected);
}

/** Gives the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(HELP);
    return 0;
  }
  try {
    const options = parse(args);
    return (await (options.warren ? warren(options) : plain(options))) ? 0 : 1;
  } catch (error) {
    if (!(error instanceof Usage)) throw error;
    process.stderr.write(`nat-lab: ${error.message}\n\n${HELP}`);
    return 2;
  }
}
