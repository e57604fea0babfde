// Step 3 of set-up: src/ → dist/ with tsc, skipped when no source has changed. Output whose source is gone is removed,
// and when output is missing tsc's incremental record is dropped, because tsc does not look at what it wrote.

import { existsSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { hashOf, readStamp, root, signature, stateDir, walk, writeStamp } from './files.mjs';
import { run } from './process.mjs';
import { logFor, SetupError } from './report.mjs';

const SOURCE = join(root, 'src');
const OUTPUT = join(root, 'dist');
const RECORD = join(root, 'node_modules', '.cache', 'tsc', 'build.tsbuildinfo');
const STAMP = join(stateDir, 'typescript');
const CONFIGS = ['tsconfig.base.json', 'tsconfig.json', 'package-lock.json'].map((name) => join(root, name));

const isSource = (path) => /\.ts$/.test(path) && !/\.d\.ts$/.test(path);
const outputOf = (path) => join(OUTPUT, relative(SOURCE, path).replace(/\.ts$/, '.js'));

export async function typescript(report) {
  const sources = walk(SOURCE);
  const wanted = signature(sources, hashOf(...CONFIGS));
  const outputs = new Set(sources.filter(isSource).map(outputOf));
  const present = walk(OUTPUT);
  const complete = [...outputs].every((path) => existsSync(path));
  if (complete && readStamp(STAMP) === wanted) return;
  if (!complete) rmSync(RECORD, { force: true });

  const log = logFor('typescript');
  rmSync(log, { force: true });
  await report.step('compiling TypeScript', async () => {
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const { code } = await run(process.execPath, [tsc, '-p', join(root, 'tsconfig.json')], { cwd: root, log });
    if (code !== 0) {
      throw new SetupError('the TypeScript sources do not compile', {
        log,
        why: "the lines above are the compiler's",
        next: 'npm run types',
      });
    }
  });
  for (const path of present) if (path.endsWith('.js') && !outputs.has(path)) rmSync(path, { force: true });
  writeStamp(STAMP, wanted);
}
