// Step 4 of set-up: the native addon by `npm run build:native` (cmake-js), skipped when no source, build file or header
// package has changed. Also where Node's headers are looked for: never downloaded, because that host is often out of
// reach. cmake-js takes those of the npm package node-api-headers; node-gyp wants a whole directory, see nodeDirectory.

import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { hashOf, readStamp, root, signature, stateDir, walk, writeStamp } from './files.mjs';
import { run } from './process.mjs';
import { logFor, SetupError } from './report.mjs';

const STAMP = join(stateDir, 'addon');
const NOT_IN_ADDON = ['/test', '/fuzz'];

/** Compiled addons below a build directory. */
export function addonsBelow(directory) {
  const isNoise = (path) => path.includes('/CMakeFiles') || path.includes('/obj.target');
  return walk(directory, (path) => !isNoise(path)).filter((path) => path.endsWith('.node'));
}

export async function addon(report) {
  const sources = walk(join(root, 'native'), (path) => !NOT_IN_ADDON.includes(path));
  const settings = [process.version, process.arch, process.env.CXX ?? '', process.env.CXXFLAGS ?? ''];
  const wanted = signature(
    [join(root, 'CMakeLists.txt'), ...sources],
    hashOf(join(root, 'package.json'), join(root, 'package-lock.json')),
    ...settings,
  );
  if (readStamp(STAMP) === wanted && addonsBelow(join(root, 'build')).length > 0) return;
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  if (scripts['build:native'] === undefined) {
    throw new SetupError('there is no addon to build', {
      why: 'package.json has no script build:native',
      next: 'restore it: git checkout package.json',
    });
  }

  const log = logFor('addon');
  rmSync(log, { force: true });
  // make, unlike ninja, would use one core.
  const jobs = process.env.WARREN_JOBS ?? String(availableParallelism());
  const env = { CMAKE_BUILD_PARALLEL_LEVEL: jobs, ...process.env };
  await report.step('building the native addon', async () => {
    const { code } = await run('npm', ['run', '--silent', 'build:native'], { cwd: root, env, log });
    if (code !== 0) {
      throw new SetupError('the native addon does not build', {
        log,
        why: 'the lines above are those of cmake-js and the compiler',
        next: 'npm run build:native shows all of it; rm -rf build starts afresh',
      });
    }
  });
  writeStamp(STAMP, wanted);
}

/** Where Node was installed, when the headers there are of this very Node and `wanted` is among them; otherwise null. */
export function nodePrefix(wanted = 'node_api.h') {
  const own = dirname(dirname(process.execPath));
  return [...new Set([own, '/usr', '/usr/local'])].find((prefix) => hasHeaders(prefix, wanted)) ?? null;
}

function hasHeaders(prefix, wanted) {
  const header = join(prefix, 'include', 'node', 'node_version.h');
  if (!existsSync(header) || !existsSync(join(prefix, 'include', 'node', wanted))) return false;
  const text = readFileSync(header, 'utf8');
  const part = (name) => new RegExp(`^#define NODE_${name}_VERSION (\\d+)`, 'm').exec(text)?.[1];
  return `v${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}` === process.version;
}

/**
 * A directory for node-gyp's --nodedir: the one Node was installed into, when the headers there are of this Node;
 * otherwise one made from node-api-headers, which is all that an addon needs that uses nothing but Node-API.
 */
export function nodeDirectory({ preferPackage = false } = {}) {
  const prefix = preferPackage ? null : nodePrefix();
  if (prefix !== null) return prefix;
  const { include_dir: source } = createRequire(join(root, 'package.json'))('node-api-headers');
  const directory = join(stateDir, 'node-api');
  const include = join(directory, 'include', 'node');
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(include, { recursive: true });
  cpSync(source, include, { recursive: true });
  // node-gyp reads these two: what Node was configured with, and the settings common to every addon.
  writeFileSync(
    join(include, 'config.gypi'),
    JSON.stringify({ target_defaults: {}, variables: process.config.variables }),
  );
  writeFileSync(join(include, 'common.gypi'), `${JSON.stringify(COMMON_GYPI, null, 2)}\n`);
  return directory;
}

const COMMON_GYPI = {
  target_defaults: {
    default_configuration: 'Release',
    cflags: ['-pthread', '-fPIC'],
    ldflags: ['-pthread'],
    configurations: {
      Debug: { cflags: ['-g', '-O0'] },
      Release: { cflags: ['-O3', '-fno-omit-frame-pointer'] },
    },
  },
};
