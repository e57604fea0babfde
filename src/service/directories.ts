// Makes a directory and those above it. Not mkdir's `recursive`: that never returns for a path below one that takes no
// directories and says so as "no such file" (/proc/x).

import { mkdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { errorCode } from './start-error.ts';

/** `mode` is for those that are made. Throws a system error. */
export function makeDirectories(path: string, mode: number): void {
  const whole = resolve(path);
  if (exists(whole)) return;
  const above = dirname(whole);
  if (above !== whole) makeDirectories(above, mode);
  try {
    mkdirSync(whole, { mode });
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error;
  }
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
