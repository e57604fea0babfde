// `npm run bench` and, with `mesh` or `paths` as the first word, `npm run bench:mesh` or `bench:paths`: compiles the bench, which shares its laboratory with the interop tests, and runs it. Plain JavaScript
// so that every supported Node can start it; everything else is in run.ts and beside it.

import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const output = join(here, '../node_modules/.cache/warren-bench/js');

let compiler;
try {
  compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc');
} catch {
  process.stderr.write('bench: the dependencies are not installed; run: npm ci\n');
  process.exit(1);
}
mkdirSync(output, { recursive: true });
writeFileSync(join(output, 'package.json'), '{ "type": "module" }\n');
execFileSync(process.execPath, [compiler, '-p', join(here, 'tsconfig.json')], {
  stdio: ['ignore', 'inherit', 'inherit'],
});

const args = process.argv.slice(2);
const folder = ['mesh', 'paths'].find((name) => name === args[0]);
const which = folder === undefined ? 'bench/run.js' : `bench/${folder}/run.js`;
const { main } = await import(pathToFileURL(join(output, which)).href);
process.exit(await main(folder === undefined ? args : args.slice(1)));
