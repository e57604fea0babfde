// Step 2 of set-up: node_modules agrees with package-lock.json. A stamp inside node_modules holds the lockfile's hash;
// without it npm's own record (node_modules/.package-lock.json) is compared, so that an `npm ci` by hand also counts.

import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { hashOf, readStamp, root, writeStamp } from './files.mjs';
import { run } from './process.mjs';
import { logFor, SetupError } from './report.mjs';

const LOCKFILE = join(root, 'package-lock.json');
const STAMP = join(root, 'node_modules', '.warren-lock-hash');
const INSTALLED = join(root, 'node_modules', '.package-lock.json');

/** Whether every package of the lockfile is there in that version. Optional ones are for other platforms, perhaps. */
export function agrees(lock, installed) {
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (path === '' || entry.optional === true || entry.devOptional === true) continue;
    const have = installed.packages[path];
    if (have === undefined || have.version !== entry.version || have.integrity !== entry.integrity) return false;
  }
  return Object.keys(installed.packages).every((path) => path in lock.packages);
}

function installedByHand() {
  if (!existsSync(INSTALLED)) return false;
  return agrees(JSON.parse(readFileSync(LOCKFILE, 'utf8')), JSON.parse(readFileSync(INSTALLED, 'utf8')));
}

export async function dependencies(report) {
  const wanted = hashOf(LOCKFILE);
  if (readStamp(STAMP) === wanted) return;
  if (installedByHand()) {
    writeStamp(STAMP, wanted);
    return;
  }
  const log = logFor('npm');
  rmSync(log, { force: true });
  // Scripts stay off: none of the packages needs one, and npm would run node-gyp for a repository with a binding.gyp.
  const args = ['ci', '--include=dev', '--include=optional', '--ignore-scripts', '--no-audit', '--no-fund'];
  // Under `npm run` this very npm is used again; otherwise the one on the PATH.
  const npm = process.env.npm_execpath;
  const viaNode = npm !== undefined && /npm-cli\.[cm]?js$/.test(npm);
  const { code } = await report.step('installing dependencies from the lockfile (npm ci)', async () => {
    const result = await run(viaNode ? process.execPath : 'npm', viaNode ? [npm, ...args] : args, { cwd: root, log });
    if (result.code !== 0) {
      throw new SetupError('npm ci did not succeed', {
        log,
        why:
          result.code === 127
            ? 'npm is not on the PATH'
            : "the lines above are npm's; most often the package registry cannot be reached",
        next:
          result.code === 127
            ? 'install npm, then try again'
            : '`npm ping` and `npm config get registry` show what npm talks to; then try again',
      });
    }
    return result;
  });
  if (code === 0) writeStamp(STAMP, wanted);
}
