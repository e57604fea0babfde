// Step of set-up: better-sqlite3's native part, which `npm ci` leaves out because install scripts stay off
// (dependencies.mjs). Its authors' build for this Node is fetched; where that cannot be had it is compiled, with the headers
// beside Node when they are of this version. What was built is kept in build-setup/, so that another `npm ci` costs nothing.

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { nodePrefix } from './addon.mjs';
import { readStamp, root, signature, stateDir, writeStamp } from './files.mjs';
import { run } from './process.mjs';
import { logFor, SetupError } from './report.mjs';

const FETCH_LIMIT_SECONDS = 60;
const BUILD_LIMIT_SECONDS = 1800;

/** The places of one installation; tests give another. */
export function sqlitePlaces({ modules = join(root, 'node_modules'), state = stateDir } = {}) {
  const directory = join(modules, 'better-sqlite3');
  const { version } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
  const name = `better-sqlite3-${version}-${process.versions.modules}-${process.arch}`;
  return {
    directory,
    modules,
    addon: join(directory, 'build', 'Release', 'better_sqlite3.node'),
    kept: join(state, 'sqlite', `${name}.node`),
    stamp: join(state, 'sqlite-addon'),
  };
}

/** Of the file that is there, in this Node. */
function stampOf({ addon }) {
  return signature([addon], process.version, process.arch);
}

/** In a process of its own: one that does not fit may end it. */
function loads({ directory }) {
  const program = `new (require(${JSON.stringify(directory)}))(':memory:').close()`;
  return spawnSync(process.execPath, ['-e', program], { stdio: 'ignore', timeout: 30_000 }).status === 0;
}

/** `ways`: what is tried in turn, `{ what, work(places, log) }`; given by tests. */
export async function sqliteAddon(report, { places = sqlitePlaces(), ways = WAYS } = {}) {
  const { addon, stamp, kept } = places;
  if (existsSync(addon) && readStamp(stamp) === stampOf(places)) return;
  if (!existsSync(addon) && existsSync(kept)) copyInto(kept, addon);
  if (!existsSync(addon) || !loads(places)) {
    const log = logFor('sqlite');
    rmSync(log, { force: true });
    rmSync(kept, { force: true });
    await obtain(report, places, ways, log);
  }
  if (!existsSync(kept)) copyInto(addon, kept);
  writeStamp(stamp, stampOf(places));
}

async function obtain(report, places, ways, log) {
  for (const { what, work } of ways) {
    const isThere = await report.step(what, async () => {
      await work(places, log);
      return existsSync(places.addon) && loads(places);
    });
    if (isThere) return;
    report.line('  that did not bring it');
  }
  throw new SetupError("SQLite's native part (better-sqlite3) can neither be fetched nor compiled", {
    log,
    why: nodePrefix('v8.h') === null ? "Node's headers are not beside it" : 'the lines above are those of node-gyp',
    next: 'g++, make, python3 and the headers of this Node (include/node, in its tarball or package) let it compile; a way to github.com lets it be fetched',
  });
}

const WAYS = [
  { what: 'fetching SQLite for this Node', work: fetchBuild },
  { what: 'compiling SQLite (a minute or two)', work: compile },
];

/** Ends at once without a network. */
async function fetchBuild({ directory, modules }, log) {
  if (process.env.WARREN_BUILD_FROM_SOURCE === '1') return;
  const tool = join(modules, 'prebuild-install', 'bin.js');
  await run(process.execPath, [tool], { cwd: directory, log, limitSeconds: FETCH_LIMIT_SECONDS });
}

async function compile({ directory, modules }, log) {
  const prefix = nodePrefix('v8.h');
  // With headers at hand, what the user's npm settings say about them must not lead elsewhere; without, it may help.
  const isOurs = ([name]) => prefix === null || !/^npm_(config|package_config)_/i.test(name);
  const env = Object.fromEntries(Object.entries(process.env).filter(isOurs));
  const args = ['rebuild', '--release', '--loglevel=warn', `--jobs=${process.env.WARREN_JOBS ?? 'max'}`];
  if (prefix !== null) args.push(`--nodedir=${prefix}`);
  const tool = join(modules, 'node-gyp', 'bin', 'node-gyp.js');
  await run(process.execPath, [tool, ...args], { cwd: directory, env, log, limitSeconds: BUILD_LIMIT_SECONDS });
}

/** Under its name only when it is whole. */
function copyInto(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  const temporary = `${to}.${process.pid}`;
  copyFileSync(from, temporary);
  renameSync(temporary, to);
}
