// One set-up at a time in one checkout: two of them would remove node_modules and dist under each other. The lock is a
// file that names the process holding it, so a lock whose holder is gone is taken over.

import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stateDir } from './files.mjs';

const WAIT_MS = 250;

function holder(lock) {
  try {
    return Number(readFileSync(lock, 'utf8'));
  } catch {
    return 0;
  }
}

function alive(pid) {
  if (!(pid > 0)) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Waits for the lock; `waiting(pid)` is called once when another process holds it. Returns the function that frees it. */
export async function takeLock(waiting, lock = join(stateDir, 'lock')) {
  mkdirSync(dirname(lock), { recursive: true });
  // Linked into place, so that the file never exists without its content.
  const mine = `${lock}.${process.pid}`;
  writeFileSync(mine, String(process.pid));
  let told = false;
  try {
    for (;;) {
      try {
        linkSync(mine, lock);
        break;
      } catch (error) {
        if (error.code !== 'EEXIST') throw error;
      }
      const pid = holder(lock);
      if (!alive(pid)) {
        if (pid === holder(lock)) rmSync(lock, { force: true });
        continue;
      }
      if (!told) waiting(pid);
      told = true;
      await sleep(WAIT_MS);
    }
  } finally {
    rmSync(mine, { force: true });
  }
  const free = () => {
    if (holder(lock) === process.pid) rmSync(lock, { force: true });
  };
  process.once('exit', free);
  return free;
}
