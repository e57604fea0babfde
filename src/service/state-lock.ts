// One process per state directory: a unix socket in it on which its process listens. A crash leaves a socket on which nobody does,
// which the next start replaces. Unlike a file with a process number it cannot be mistaken across containers or after a reboot.

import { closeSync, linkSync, openSync, renameSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { errorCode, StartError } from './start-error.ts';
import { answers } from './unix-probe.ts';

/** Others may start at the same moment; each round one of them wins. */
const ROUNDS_MAX = 16;

export interface StateLock {
  release(): void;
}

export interface LockKind {
  /** `daemon`; the socket is `daemon.lock`. */
  readonly name: string;
  /** What to do about it. */
  readonly help: string;
}

/** Rejects with a StartError when another has it, with a system error when the directory does not take it. */
export async function lockDirectory(directory: string, kind: LockKind): Promise<StateLock> {
  const lockName = `${kind.name}.lock`;
  // Named through the descriptor: the directory's own path may be longer than a socket's may be.
  const fd = openSync(directory, 'r');
  const at = (name: string): string => `/proc/self/fd/${fd}/${name}`;
  const hidden = at(`.lock-${process.pid}`);
  const server = createServer((socket) => socket.destroy());
  server.unref();
  try {
    rmSync(hidden, { force: true });
    await listen(server, hidden);
    for (let round = 0; round < ROUNDS_MAX; round++) {
      if (linked(hidden, at(lockName))) {
        rmSync(hidden, { force: true });
        return { release: () => release(server, at(lockName), fd) };
      }
      if (await answers(at(lockName))) break;
      await clearStale(at(lockName), at(`.stale-${process.pid}`));
    }
  } catch (error) {
    abandon(server, hidden, fd);
    throw error;
  }
  abandon(server, hidden, fd);
  throw new StartError({
    what: `cannot use the state directory ${directory}`,
    why: `another ${kind.name} uses it`,
    help: kind.help,
  });
}

function listen(server: Server, path: string): Promise<void> {
  const umask = process.umask(0o177);
  try {
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ path }, () => {
        server.off('error', reject);
        resolve();
      });
    });
  } finally {
    process.umask(umask);
  }
}

/** A link is made by one process alone, however many try. */
function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false;
    throw error;
  }
}

/** Moved away before it is looked at again: what another process has put there since is put back. */
async function clearStale(lock: string, aside: string): Promise<void> {
  try {
    renameSync(lock, aside);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return;
    throw error;
  }
  if (await answers(aside)) linked(aside, lock);
  rmSync(aside, { force: true });
}

function release(server: Server, lock: string, fd: number): void {
  rmSync(lock, { force: true });
  server.close();
  closeSync(fd);
}

function abandon(server: Server, hidden: string, fd: number): void {
  rmSync(hidden, { force: true });
  server.close();
  closeSync(fd);
}
