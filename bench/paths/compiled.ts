// Small programs in C that the bench needs beside Node, compiled once and again when their source is newer.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { REPOSITORY } from '../../test/interop/lib/engines.ts';

const COMPILE_LIMIT_MS = 120_000;

/** `source`: of the repository. Gives the program; throws with what the compiler said, or that there is none. */
export function compileC(source: string): string {
  const from = join(REPOSITORY, source);
  const program = join(REPOSITORY, 'node_modules/.cache/warren-bench', basename(source, '.c'));
  if (existsSync(program) && statSync(program).mtimeMs > statSync(from).mtimeMs) return program;
  mkdirSync(dirname(program), { recursive: true });
  execFileSync('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', program, from], {
    stdio: 'inherit',
    timeout: COMPILE_LIMIT_MS,
  });
  return program;
}
