#!/usr/bin/env node
// Builds the addon through node-gyp (binding.gyp), into build-gyp/ so that cmake-js's build/ stays as it is. node-gyp
// always builds below its working directory, so that one holds links to the sources. Headers are never downloaded.
// `--node-api-headers` takes those of the npm package even where Node came with its own.

import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { nodeDirectory } from './lib/addon.mjs';
import { root } from './lib/files.mjs';
import { endChildrenOnSignals, run } from './lib/process.mjs';

const LINKED = ['binding.gyp', 'package.json', 'native'];

endChildrenOnSignals();
const directory = join(root, 'build-gyp');
rmSync(directory, { recursive: true, force: true });
mkdirSync(directory, { recursive: true });
for (const name of LINKED) symlinkSync(join('..', name), join(directory, name));

const headers = nodeDirectory({ preferPackage: process.argv.includes('--node-api-headers') });
process.stdout.write(`headers: ${headers}\n`);
const gyp = join(root, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
const args = [gyp, 'rebuild', '--release', '--loglevel=warn', `--nodedir=${headers}`, `--jobs=${process.env.WARREN_JOBS ?? 2}`];
// What the user's npm settings say about headers and builds must not lead elsewhere.
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_(config|package_config)_/i.test(name)));
const { code } = await run(process.execPath, args, { cwd: directory, env });
process.exitCode = code;
