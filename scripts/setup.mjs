#!/usr/bin/env node
// Brings a bare clone to where a profile can run: system packages, node_modules, TypeScript, addon. Only Node's own
// modules are used here and in lib/. Each step first looks whether there is anything to do; with nothing missing the
// whole run takes a fraction of a second. `--help` tells the options.

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { addon } from './lib/addon.mjs';
import { dependencies } from './lib/dependencies.mjs';
import { root } from './lib/files.mjs';
import { PROFILES } from './lib/needs.mjs';
import { buildNewestWireguardGo } from './lib/newest-wireguard-go.mjs';
import { checkPrivilege } from './lib/privilege.mjs';
import { endChildrenOnSignals } from './lib/process.mjs';
import { Report, SetupError } from './lib/report.mjs';
import { takeLock } from './lib/setup-lock.mjs';
import { sqliteAddon } from './lib/sqlite-addon.mjs';
import { systemPackages } from './lib/system-packages.mjs';
import { typescript } from './lib/typescript.mjs';

const HELP = `usage: node scripts/setup.mjs [--for PROFILE] [--steps STEP,…] [--quiet] [--check] [--clean]

  --for PROFILE   what it is for: ${Object.keys(PROFILES).join(', ')} (default: build)
  --steps STEP,…  only these: packages, privilege, dependencies, sqlite, typescript, addon,
                  wireguard-go
  --quiet         no line when there was nothing to do
  --check         only look for missing system packages; install nothing; exit 1 when some are missing
  --clean         first remove what earlier runs built

With CI=true or WARREN_CI=true a prerequisite that is missing is a failure, otherwise what works without it goes on.
`;

const STEPS = {
  packages: (profile, report) => systemPackages(profile, report),
  privilege: (_profile, report) => checkPrivilege(report),
  dependencies: (_profile, report) => dependencies(report),
  sqlite: (_profile, report) => sqliteAddon(report),
  typescript: (_profile, report) => typescript(report),
  addon: (_profile, report) => addon(report),
  'wireguard-go': (_profile, report) => buildNewestWireguardGo(report),
};

// The test runner builds TypeScript and the addon itself, as stages with a result of their own.
const STEPS_OF = {
  build: ['packages', 'dependencies', 'sqlite', 'typescript', 'addon'],
  demo: ['packages', 'privilege', 'dependencies', 'sqlite', 'typescript', 'addon'],
  bench: ['packages', 'privilege', 'dependencies', 'sqlite', 'typescript', 'addon', 'wireguard-go'],
  test: ['packages', 'privilege', 'dependencies', 'sqlite', 'wireguard-go'],
  'nat-lab': ['packages', 'privilege', 'dependencies', 'sqlite', 'typescript', 'addon'],
};

const NODE_MINIMUM = [20, 19];

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > NODE_MINIMUM[0] || (major === NODE_MINIMUM[0] && minor >= NODE_MINIMUM[1])) return;
  throw new SetupError(`Node ${process.version} is too old`, {
    why: `Warren needs Node ${NODE_MINIMUM.join('.')} or newer`,
    next: 'install a newer Node (https://nodejs.org/en/download) and try again',
  });
}

function parse(args) {
  const options = { profile: 'build', quiet: false, check: false, clean: false, steps: null, help: false };
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (arg === '--for') options.profile = args[++i];
    else if (arg === '--steps') options.steps = (args[++i] ?? '').split(',');
    else if (arg === '--quiet') options.quiet = true;
    else if (arg === '--check') options.check = true;
    else if (arg === '--clean') options.clean = true;
    else if (arg === '--help' || arg === '-h') options.help = true;
    else return `unknown option ${arg}`;
  }
  if (!Object.hasOwn(PROFILES, options.profile)) return `--for takes one of ${Object.keys(PROFILES).join(', ')}`;
  options.steps ??= STEPS_OF[options.profile];
  const unknown = options.steps.find((step) => !Object.hasOwn(STEPS, step));
  return unknown === undefined ? options : `--steps takes ${Object.keys(STEPS).join(', ')}`;
}

async function main(options) {
  const start = performance.now();
  const report = new Report(options.profile);
  let free = () => {};
  try {
    checkNode();
    if (options.check) {
      await systemPackages(options.profile, report, { checkOnly: true });
    } else {
      free = await takeLock((pid) => report.line(`waiting for another set-up (process ${pid})`));
      if (options.clean)
        for (const name of ['dist', 'build', 'build-gyp', 'build-native'])
          rmSync(join(root, name), { recursive: true, force: true });
      for (const step of options.steps) await STEPS[step](options.profile, report);
    }
  } catch (error) {
    report.failure(error);
    return 1;
  } finally {
    free();
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(2);
  if (report.worked > 0) report.line(`ready (${seconds} s)`);
  else if (!options.quiet) report.line(`nothing to do (${seconds} s)`);
  return 0;
}

const options = parse(process.argv.slice(2));
if (typeof options === 'string') {
  process.stderr.write(`setup: ${options}\n\n${HELP}`);
  process.exitCode = 2;
} else if (options.help) {
  process.stdout.write(HELP);
} else {
  endChildrenOnSignals();
  process.exitCode = await main(options);
}
