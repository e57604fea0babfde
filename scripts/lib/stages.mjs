// The stages of `npm test`, in the order of the summary. Each is one or more commands; a stage fails when one of them
// does, and a stage whose files are missing fails too. `keepGoing`: its commands do not build on one another. `alone`: it measures time or uses both cores, so nothing runs
// beside it. `last`: it prints to the terminal itself, after the summary of all others.

import { join } from 'node:path';
import { root } from './files.mjs';
import { privileged } from './privilege.mjs';

const node = process.execPath;
const tool = (...path) => [node, join(root, 'node_modules', ...path)];
const script = (name, ...args) => [node, join(root, 'scripts', name), ...args];

const biome = tool('@biomejs', 'biome', 'bin', 'biome');
const tsc = tool('typescript', 'bin', 'tsc');
const depcruise = tool('dependency-cruiser', 'bin', 'dependency-cruise.mjs');
const vitest = tool('vitest', 'vitest.mjs');
const setup = (step) => script('setup.mjs', '--for', 'test', '--steps', step, '--quiet');

const SIMULATED_SEEDS = 1000;
const SIMULATED_MESHES = 500;
const FUZZ_SECONDS = 10;

/** `limitSeconds` is for the whole stage and far above what it takes: it catches a hang. */
export const STAGES = [
  {
    name: 'lint',
    title: 'format, lint, house rules',
    keepGoing: true,
    limitSeconds: 120,
    commands: () => [
      [...biome, 'ci', '--colors=off', '--error-on-warnings', '--max-diagnostics=200', root],
      script('check-sources.mjs'),
    ],
  },
  {
    name: 'types',
    title: 'types: product, pure rooms, tests',
    keepGoing: true,
    limitSeconds: 300,
    commands: () => [setup('typescript'), [...tsc, '-p', 'tsconfig.pure.json'], [...tsc, '-p', 'tsconfig.test.json']],
  },
  {
    name: 'deps',
    title: 'which room may import which',
    limitSeconds: 120,
    commands: () => [[...depcruise, '--config', '.dependency-cruiser.cjs', 'src', 'test', 'bench']],
  },
  {
    name: 'addon-cmake',
    title: 'addon by cmake-js, loaded',
    limitSeconds: 600,
    commands: () => [setup('addon'), script('check-addon.mjs', 'build')],
  },
  {
    name: 'addon-gyp',
    title: 'addon by node-gyp, loaded',
    limitSeconds: 600,
    commands: () => [script('build-gyp.mjs'), script('check-addon.mjs', 'build-gyp/build')],
  },
  {
    name: 'native-asan',
    title: 'native tests, ASan and UBSan',
    limitSeconds: 600,
    commands: () => [script('native-tests.mjs', 'asan')],
  },
  {
    name: 'native-tsan',
    title: 'native tests, TSan',
    limitSeconds: 600,
    commands: () => [script('native-tests.mjs', 'tsan')],
  },
  {
    name: 'native-fuzz',
    title: `native fuzzing, ${FUZZ_SECONDS} s each parser`,
    limitSeconds: 600,
    commands: () => [script('native-fuzz.mjs', '--seconds', String(FUZZ_SECONDS))],
  },
  {
    name: 'store',
    title: 'the store on SQLite and PostgreSQL, killed 200 times',
    limitSeconds: 600,
    // Not inside a user namespace: there PostgreSQL finds itself root and refuses.
    commands: () => [[...vitest, 'run', '--project', 'store']],
  },
  {
    name: 'controller',
    title: 'the controller as a process, killed 200 times',
    after: ['types'],
    limitSeconds: 900,
    commands: () => [[...vitest, 'run', '--project', 'controller']],
  },
  {
    name: 'sim',
    title: `simulation, ${SIMULATED_SEEDS} seeds`,
    after: ['types'],
    limitSeconds: 900,
    commands: () => [[node, join(root, 'dist', 'sim', 'main.js'), '--seeds', String(SIMULATED_SEEDS)]],
  },
  {
    name: 'sim-mesh',
    title: `simulation of meshes, ${SIMULATED_MESHES} seeds`,
    after: ['types'],
    limitSeconds: 900,
    commands: () => [[node, join(root, 'dist', 'sim', 'main.js'), '--mesh', '--seeds', String(SIMULATED_MESHES)]],
  },
  {
    name: 'interop',
    title: 'interop in network namespaces',
    after: ['types', 'addon-cmake'],
    alone: true,
    limitSeconds: 1200,
    commands: () => [privileged([...vitest, 'run', '--project', 'interop', '--project', 'timing'])],
  },
  {
    name: 'unit',
    title: 'unit, vectors, properties, conformance, simulator',
    after: ['types', 'addon-cmake'],
    alone: true,
    last: true,
    limitSeconds: 900,
    commands: () => [privileged([...vitest, 'run', '--project', 'unit'])],
  },
];
