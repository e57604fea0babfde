// `npm run sim -- --seeds N [--seed S] [--minutes M] [--json]`: many simulated runs, one per seed, shared among the cores;
// `npm run sim:mesh` runs meshes, with a controller, instead of engines alone, and `npm run sim:paths` meshes on a ground of NATs with
// relays. A failure prints its seed, the commit and the way to replay it; a replay gives the same digest. The only file of this
// room that is not pure.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { nobleProvider } from '../crypto/noble.ts';
import { nodeProvider } from '../crypto/node.ts';
import type { CryptoProvider } from '../crypto/provider.ts';
import { createReferencePlane } from '../dataplane/reference/plane.ts';
import { type MeshRunResult, simulateMesh } from './mesh/mesh-run.ts';
import { type PathRunResult, simulatePaths } from './path/path-run.ts';
import { type RunResult, simulate } from './run.ts';
import { standInProvider } from './stand-in-crypto.ts';

const USAGE = `usage: npm run sim -- [--seeds N] [--seed S] [--minutes M] [--crypto node|noble|stand-in] [--jobs J] [--story] [--json]
       npm run sim:mesh -- the same, and [--nodes K]
       npm run sim:paths -- as the first
  --seeds N    runs this many seeds (default 100), from S on
  --seed S     the first seed (default 1); alone, the only one
  --minutes M  virtual minutes of chaos in each run (default 4; of a mesh 5, of paths 0.3)
  --nodes K    as many machines in each mesh (default: drawn from the seed)
  --crypto     node (default) or noble, the reference, which give the same digests; or stand-in (default of paths), which is none
  --story      prints what happened in each run
  --json       prints the results as JSON
`;

type Kind = 'engines' | 'mesh' | 'paths';
type Result = RunResult | MeshRunResult | PathRunResult;

interface Job {
  readonly kind: Kind;
  readonly first: number;
  readonly count: number;
  readonly step: number;
  readonly minutes: number;
  readonly nodes: number | null;
  readonly crypto: string;
}

const MINUTES: Readonly<Record<Kind, string>> = { engines: '4', mesh: '5', paths: '0.3' };
/** Many small worlds: their planes are made more often than their slabs are filled. */
const SLAB_SLOTS: Readonly<Record<Kind, number>> = { engines: 256, mesh: 256, paths: 48 };
const SCRIPTS: Readonly<Record<Kind, string>> = { engines: 'sim', mesh: 'sim:mesh', paths: 'sim:paths' };

const PROVIDERS: Readonly<Record<string, CryptoProvider>> = {
  node: nodeProvider,
  noble: nobleProvider,
  'stand-in': standInProvider,
};
/** What paths do does not depend on how strong the cryptography is, and most of their cost would be that. */
const CRYPTO: Readonly<Record<Kind, string>> = { engines: 'node', mesh: 'node', paths: 'stand-in' };

function runOne(seed: number, job: Job): Result {
  const crypto = PROVIDERS[job.crypto] ?? nodeProvider;
  const { minutes, nodes } = job;
  const makePlane = () => createReferencePlane({ crypto, slabSlots: SLAB_SLOTS[job.kind] });
  const sha256 = (data: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(data).digest());
  try {
    if (job.kind === 'mesh') return simulateMesh({ seed, minutes, nodes, crypto, sha256, makePlane });
    if (job.kind === 'paths') return simulatePaths({ seed, minutes, crypto, sha256, makePlane });
    return simulate({ seed, minutes, crypto, makePlane });
  } catch (error) {
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
    const nothing = { hosts: 0, story: [], digest: '', datagrams: 0, packetsDelivered: 0, handshakes: 0 };
    return { seed, violations: [`threw: ${what}`], ...nothing };
  }
}

function work(job: Job, report: (result: Result) => void): void {
  for (let i = 0; i < job.count; i += job.step) report(runOne(job.first + i, job));
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short=12', 'HEAD'], {
      cwd: import.meta.dirname,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return 'unknown';
  }
}

function positive(text: string, name: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  process.stderr.write(`sim: --${name} wants a positive number, not "${text}"\n${USAGE}`);
  process.exit(2);
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      mesh: { type: 'boolean', default: false },
      paths: { type: 'boolean', default: false },
      seeds: { type: 'string' },
      seed: { type: 'string' },
      minutes: { type: 'string' },
      nodes: { type: 'string' },
      crypto: { type: 'string' },
      jobs: { type: 'string' },
      story: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const kind: Kind = values.paths ? 'paths' : values.mesh ? 'mesh' : 'engines';
  const count = Math.floor(positive(values.seeds ?? (values.seed === undefined ? '100' : '1'), 'seeds'));
  const first = Math.floor(positive(values.seed ?? '1', 'seed'));
  const minutes = positive(values.minutes ?? MINUTES[kind], 'minutes');
  const nodes = values.nodes === undefined ? null : Math.floor(positive(values.nodes, 'nodes'));
  const jobs = Math.min(count, Math.floor(positive(values.jobs ?? String(availableParallelism()), 'jobs')));
  const started = performance.now();
  const results: Result[] = [];
  const note = (result: Result): void => {
    results.push(result);
    if (process.stderr.isTTY) process.stderr.write(`\r${results.length}/${count} seeds`);
  };
  const crypto = values.crypto ?? CRYPTO[kind];
  const job = { kind, count, minutes, nodes, crypto };
  if (jobs === 1) work({ ...job, first, step: 1 }, note);
  else
    await Promise.all(
      Array.from({ length: jobs }, (_, i) =>
        inWorker({ ...job, first: first + i, count: count - i, step: jobs }, note),
      ),
    );
  if (process.stderr.isTTY) process.stderr.write('\r');
  results.sort((a, b) => a.seed - b.seed);
  const { json, story } = values;
  return print(results, { kind, json, story, crypto, minutes, nodes, seconds: (performance.now() - started) / 1000 });
}

function inWorker(job: Job, note: (result: Result) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: job });
    worker.on('message', note);
    worker.on('error', reject);
    worker.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`a worker ended with ${code}`))));
  });
}

interface PrintOptions {
  readonly kind: Kind;
  readonly json: boolean;
  readonly story: boolean;
  readonly minutes: number;
  readonly nodes: number | null;
  readonly crypto: string;
  readonly seconds: number;
}

function print(results: readonly Result[], options: PrintOptions): number {
  const failed = results.filter((result) => result.violations.length > 0);
  if (options.json) {
    const shown = results.map((result) => (options.story ? result : { ...result, story: undefined }));
    process.stdout.write(
      `${JSON.stringify({ commit: commit(), minutes: options.minutes, results: shown }, null, 2)}\n`,
    );
    return failed.length === 0 ? 0 : 1;
  }
  for (const result of results) {
    if (options.story || failed.includes(result)) {
      process.stdout.write(`seed ${result.seed}: ${result.hosts} hosts, digest ${result.digest}\n`);
      for (const line of options.story ? result.story : result.story.slice(-12)) process.stdout.write(`  ${line}\n`);
    }
    for (const violation of result.violations) process.stdout.write(`  VIOLATED ${violation}\n`);
    if (result.violations.length > 0) process.stdout.write(`  ${replay(result.seed, options)}\n`);
  }
  const single = results.length === 1 ? `, digest ${results[0]?.digest}` : '';
  process.stdout.write(
    `${results.length} seeds in ${options.seconds.toFixed(1)} s: ${summary(results)}${single}\n` +
      `${results.length - failed.length} passed, ${failed.length} failed\n`,
  );
  return failed.length === 0 ? 0 : 1;
}

function replay(seed: number, { kind, minutes, nodes, crypto }: PrintOptions): string {
  const script = SCRIPTS[kind];
  const more = `${nodes === null ? '' : ` --nodes ${nodes}`}${crypto === CRYPTO[kind] ? '' : ` --crypto ${crypto}`}`;
  return `replay, at commit ${commit()}: npm run ${script} -- --seed ${seed} --minutes ${minutes}${more} --story`;
}

function summary(results: readonly Result[]): string {
  const sum = (of: (result: Result) => number): number => results.reduce((total, result) => total + of(result), 0);
  const common = `${sum((r) => r.datagrams)} datagrams, ${sum((r) => r.packetsDelivered)} packets delivered`;
  const paths = results.filter((result): result is PathRunResult => 'trials' in result);
  if (paths.length > 0) {
    const all = (of: (path: PathRunResult) => number): number => paths.reduce((before, path) => before + of(path), 0);
    const most = (of: (path: PathRunResult) => number): number => Math.max(...paths.map(of));
    return (
      `${common}, ${all((r) => r.hosts)} nodes, ${all((r) => r.controlMessages)} control messages, ` +
      `${all((r) => r.trials.direct)} pairs direct, ${all((r) => r.trials.relayed)} relayed, ` +
      `${all((r) => r.trials.deaths)} paths and ${all((r) => r.trials.relayDeaths)} relays that died under traffic ` +
      `(silence of at most ${most((r) => r.trials.longestSilenceMs).toFixed(0)} and ` +
      `${most((r) => r.trials.longestRelaySilenceMs).toFixed(0)} ms), ${all((r) => r.trials.promotions)} promoted`
    );
  }
  const meshes = results.filter((result): result is MeshRunResult => 'transactions' in result);
  if (meshes.length === 0) return `${common}, ${sum((r) => ('handshakes' in r ? r.handshakes : 0))} responses`;
  const total = (of: (mesh: MeshRunResult) => number): number => meshes.reduce((before, mesh) => before + of(mesh), 0);
  const longest = (of: (mesh: MeshRunResult) => number | null): number => Math.max(...meshes.map((r) => of(r) ?? 0));
  return (
    `${common}, ${total((r) => r.hosts)} machines, ${total((r) => r.controllerStarts)} starts of controllers, ` +
    `${total((r) => r.transactions)} transactions, ${total((r) => r.controlMessages)} control messages, ` +
    `${total((r) => r.resyncs)} resyncs; whole again within ${(longest((r) => r.settledMs) / 1000).toFixed(0)} s, ` +
    `first packet after silence within ${longest((r) => r.firstPacketMs).toFixed(0)} ms`
  );
}

if (isMainThread) {
  process.exitCode = await main();
} else {
  work(workerData as Job, (result) => parentPort?.postMessage(result));
}
