// `npm run plant`: plants each bug of planted-bugs.mjs in a copy of the sources, one at a time, and runs the simulation, the
// lifecycle tests and the conformance suite over it. Prints which noticed; ends with 1 when one went unnoticed. Takes
// minutes and is not part of the tests: it tests them. `--only TEXT` plants the bugs whose name contains TEXT; `--mesh` plants
// those of planted-mesh-bugs.mjs, over the simulation of meshes and the tests of the mesh engine and the controller's core,
// `--paths` those of planted-path-bugs.mjs, over the simulation of paths and the tests of paths and of the mesh engine.

import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { BUGS } from './planted-bugs.mjs';
import { MESH_BUGS } from './planted-mesh-bugs.mjs';
import { PATH_BUGS } from './planted-path-bugs.mjs';

const ROOT = join(import.meta.dirname, '..');
const COPIED = ['src', 'test', 'package.json', 'tsconfig.base.json', 'tsconfig.json', 'vitest.config.ts'];
const SEEDS = 60;

const simulation = (...options) => ['simulation', ['dist/sim/main.js', '--seeds', String(SEEDS), '--json', ...options]];
const tests = (name, folder) => [name, ['node_modules/vitest/vitest.mjs', 'run', '--project', 'unit', folder]];

/** Each check: a name and the command that ends with non-zero when it notices. */
const TUNNEL_CHECKS = [
  simulation(),
  tests('lifecycle', 'test/unit/lifecycle'),
  tests('conformance', 'test/conformance/reference'),
];
const MESH_CHECKS = [
  simulation('--mesh'),
  tests('mesh', 'test/unit/mesh'),
  tests('controller', 'test/unit/controller-state'),
];
const PATH_CHECKS = [simulation('--paths'), tests('paths', 'test/unit/path'), tests('mesh', 'test/unit/mesh')];

function makeCopy() {
  const copy = mkdtempSync(join(tmpdir(), 'warren-plant-'));
  for (const name of COPIED) cpSync(join(ROOT, name), join(copy, name), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  return copy;
}

function run(copy, argv) {
  const env = { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' };
  return spawnSync(process.execPath, argv, { cwd: copy, env, encoding: 'utf8', timeout: 300_000, maxBuffer: 1 << 28 });
}

function compile(copy) {
  return run(copy, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json', '--noCheck', '--incremental', 'false']);
}

/** What the check had to say: the first violation or failed test. */
function words(name, result) {
  if (name === 'simulation') {
    const { results } = JSON.parse(result.stdout);
    const failed = results.filter((one) => one.violations.length > 0);
    return `${failed.length}/${SEEDS} seeds; ${failed[0].violations[0].split('\n')[0]}`;
  }
  const output = result.stdout + result.stderr;
  const failed = new Set([...output.matchAll(/FAIL .*?\.test\.ts > (.*)/g)].map((match) => match[1]));
  return `${failed.size} tests; ${[...failed][0] ?? 'did not run'}`;
}

/** Plants one edit; gives back what takes it out again. */
function apply(copy, bug, { file, find, replace }) {
  const path = join(copy, file);
  const source = readFileSync(path, 'utf8');
  if (source.split(find).length !== 2) {
    throw new Error(
      `cannot plant "${bug.name}": its text does not stand exactly once in ${file}; mend scripts/planted-*.mjs`,
    );
  }
  writeFileSync(
    path,
    source.replace(find, () => replace),
  );
  return () => writeFileSync(path, source);
}

function plant(copy, bug, checks) {
  const undo = [];
  try {
    for (const edit of bug.edits ?? [bug]) undo.unshift(apply(copy, bug, edit));
    const compiled = compile(copy);
    if (compiled.status !== 0) throw new Error(`"${bug.name}" does not compile:\n${compiled.stdout}`);
    return checks.map(([name, argv]) => {
      const result = run(copy, argv);
      return { name, noticed: result.status !== 0, words: result.status === 0 ? '' : words(name, result) };
    });
  } finally {
    for (const takeOut of undo) takeOut();
  }
}

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    mesh: { type: 'boolean', default: false },
    paths: { type: 'boolean', default: false },
  },
});
const [bugs, checks] = values.paths
  ? [PATH_BUGS, PATH_CHECKS]
  : values.mesh
    ? [MESH_BUGS, MESH_CHECKS]
    : [BUGS, TUNNEL_CHECKS];
const copy = makeCopy();
let missed = 0;
try {
  compile(copy);
  const sane = checks.map(([name, argv]) => [name, run(copy, argv)]).filter(([, result]) => result.status !== 0);
  if (sane.length > 0) {
    const failing = sane.map(([name, result]) => `${name} (${words(name, result)})`);
    throw new Error(`without any bug ${failing.join(', ')} already fail`);
  }
  process.stdout.write('| planted | noticed by | what it said |\n|---|---|---|\n');
  for (const bug of bugs.filter(({ name }) => name.includes(values.only))) {
    const noticed = plant(copy, bug, checks).filter((check) => check.noticed);
    if (noticed.length === 0) missed++;
    const by = noticed.map(({ name }) => name).join(', ') || '**nothing**';
    process.stdout.write(
      `| ${bug.name} | ${by} | ${noticed.map((check) => `${check.name}: ${check.words}`).join('<br>')} |\n`,
    );
  }
} finally {
  rmSync(copy, { recursive: true, force: true });
}
process.exitCode = missed === 0 ? 0 : 1;
