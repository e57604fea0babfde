#!/usr/bin/env node
// Applies lib/house-rules.mjs to every source file of the repository (TypeScript, scripts, C++) and prints what it finds.
// A tree without any source is no pass. `--root DIR` checks another tree.

import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { root as repository, walk } from './lib/files.mjs';
import { problems } from './lib/house-rules.mjs';

const ROOMS = ['src', 'native', 'test', 'bench', 'demo', 'scripts', 'bin'];
const SOURCE = /\.(ts|mjs|cjs|js|cc|h)$/;
const NOT_OURS = /\/(node_modules|build|build-[^/]*|corpus|fixtures)(\/|$)/;

const at = process.argv.indexOf('--root');
const root = at < 0 ? repository : process.argv[at + 1];
let files = 0;
let count = 0;
for (const room of ROOMS) {
  for (const file of walk(join(root, room), (path) => !NOT_OURS.test(path))) {
    if (!SOURCE.test(file)) continue;
    files++;
    const path = relative(root, file);
    for (const [line, what] of problems(path, readFileSync(file, 'utf8'))) {
      count++;
      process.stdout.write(`${path}:${line}: ${what}\n`);
    }
  }
}
process.stdout.write(`check-sources: ${count} problem${count === 1 ? '' : 's'} in ${files} files\n`);
process.exitCode = count === 0 && files > 0 ? 0 : 1;
