// The repository's places, and cheap answers to "has anything changed since": signatures of file trees by path, size and
// modification time, and stamps that remember them. Everything that set-up remembers lives in build-setup/, which may be
// deleted at any time; the stamp of node_modules lives inside it and goes with it.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const stateDir = join(root, 'build-setup');
export const logDir = join(stateDir, 'logs');

export const inCi = process.env.CI === 'true' || process.env.WARREN_CI === 'true';

/**
 * Every file below `dir` (absolute paths, sorted); a directory that does not exist has none. `keep` is asked for each file
 * and directory by its path below `dir`, which begins with a slash.
 */
export function walk(dir, keep = () => true) {
  const found = [];
  const visit = (at) => {
    let entries;
    try {
      entries = readdirSync(at, { withFileTypes: true });
    } catch (error) {
      if (error.code === 'ENOENT') return;
      throw error;
    }
    for (const entry of entries) {
      const path = join(at, entry.name);
      if (!keep(path.slice(dir.length))) continue;
      if (entry.isDirectory()) visit(path);
      else found.push(path);
    }
  };
  visit(dir);
  return found.sort();
}

/** Changes when any of the files changes, comes or goes. Contents are not read. */
export function signature(files, ...extra) {
  const hash = createHash('sha256');
  for (const file of files) {
    const stat = statSync(file, { throwIfNoEntry: false });
    hash.update(`${relative(root, file)}\0${stat === undefined ? 'none' : `${stat.size} ${stat.mtimeMs}`}\n`);
  }
  for (const value of extra) hash.update(`${value}\0`);
  return hash.digest('hex');
}

export function hashOf(...files) {
  const hash = createHash('sha256');
  for (const file of files) hash.update(readFileSync(file));
  return hash.digest('hex');
}

export function readStamp(file) {
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : '';
}

export function writeStamp(file, value) {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${value}\n`);
}
