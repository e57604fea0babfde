// A unix socket in the file system that only one process serves: a stale one is replaced, a live one refused, made under a hidden
// name and renamed so that it never exists without a listener, removed at the end if it still is ours. Used for the local
// API; who may connect is the mode and group of its file.

import { chmodSync, chownSync, lstatSync, readFileSync, renameSync, rmSync, type Stats, statSync } from 'node:fs';
import type { Server } from 'node:net';
import { dirname, join } from 'node:path';
import { makeDirectories } from '../../service/directories.ts';
import { errorCode, errorMessage, StartError } from '../../service/start-error.ts';
import { answers } from '../../service/unix-probe.ts';

/** sockaddr_un's sun_path without its end; the hidden name has to fit too. */
export const SOCKET_PATH_BYTES_MAX = 107;
const BACKLOG = 128;

export interface UnixListenerOptions {
  readonly path: string;
  /** Its members may connect too, when it exists. */
  readonly group: string | null;
}

export interface UnixListener {
  readonly path: string;
  /** Removes the file if it is still ours. The server is closed by whoever made it. */
  remove(): void;
}

/** `server` listens on `path` when it resolves. Rejects with a StartError. */
export async function listenOnPath(server: Server, options: UnixListenerOptions): Promise<UnixListener> {
  const { path } = options;
  const hidden = join(dirname(path), `.w${process.pid.toString(36)}`);
  const longest = Math.max(Buffer.byteLength(path), Buffer.byteLength(hidden));
  if (longest > SOCKET_PATH_BYTES_MAX) {
    throw cannotListen(
      path,
      `a socket's path has at most ${SOCKET_PATH_BYTES_MAX} bytes, and this has ${longest}`,
      'choose a shorter one with --socket PATH',
    );
  }
  try {
    ensureDirectory(dirname(path));
    await refuseUnlessFree(path);
    rmSync(hidden, { force: true });
    await listenForOwner(server, hidden);
    openToGroup(hidden, options.group);
    const file = lstatSync(hidden);
    renameSync(hidden, path);
    return { path, remove: () => removeIfSame(path, file) };
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw cannotListen(path, errorMessage(error), adviceFor(error, path));
  }
}

/** Read and write for the owner alone, from the first moment on. Binding happens within the call, before the umask is back. */
function listenForOwner(server: Server, path: string): Promise<void> {
  const umask = process.umask(0o177);
  try {
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ path, backlog: BACKLOG }, () => {
        server.off('error', reject);
        resolve();
      });
    });
  } finally {
    process.umask(umask);
  }
}

function openToGroup(path: string, group: string | null): void {
  const gid = group === null ? null : groupId(group);
  if (gid === null) return;
  try {
    chownSync(path, -1, gid);
    chmodSync(path, 0o660);
  } catch (error) {
    // Without root the owner must be in the group; it stays for the owner alone then.
    if (errorCode(error) !== 'EPERM') throw error;
  }
}

/** The group's number from /etc/group, or null: Node has no getgrnam. */
export function groupId(name: string, file = '/etc/group'): number | null {
  let text = '';
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return null;
  }
  for (const line of text.split('\n')) {
    const [entry, , gid] = line.split(':');
    if (entry === name && gid !== undefined && /^\d{1,10}$/.test(gid)) return Number(gid);
  }
  return null;
}

async function refuseUnlessFree(path: string): Promise<void> {
  const file = lstatOrNull(path);
  if (file === null) return;
  if (!file.isSocket()) {
    throw cannotListen(path, 'a file that is not a socket has that name', `look at it, then: rm ${path}`);
  }
  if (await answers(path)) {
    throw cannotListen(
      path,
      'another daemon answers on it',
      'stop that one first, or give this one a --socket and a --state of its own',
    );
  }
}

/** Others than its user must not be able to put a socket of their own in the place of ours. */
function ensureDirectory(directory: string): void {
  makeDirectories(directory, 0o755);
  const { mode, uid } = statSync(directory);
  const trusted = uid === 0 || uid === process.geteuid?.();
  if (trusted && ((mode & 0o022) === 0 || (mode & 0o1000) !== 0)) return;
  throw new StartError({
    what: `cannot use the directory ${directory}`,
    why: 'others than its user may write to it, and could put a socket of their own in the place of ours',
    help: `chown root ${directory} && chmod go-w ${directory}`,
  });
}

function removeIfSame(path: string, ours: Stats): void {
  try {
    const file = lstatOrNull(path);
    if (file !== null && file.ino === ours.ino && file.dev === ours.dev) rmSync(path, { force: true });
  } catch {
    // It cannot be looked at or removed: the next start replaces it.
  }
}

export function lstatOrNull(path: string): Stats | null {
  try {
    return lstatSync(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null;
    throw error;
  }
}

function cannotListen(path: string, why: string, help: string): StartError {
  return new StartError({ what: `cannot make the socket ${path}`, why, help });
}

function adviceFor(error: unknown, path: string): string {
  switch (errorCode(error)) {
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return 'run as root, or choose a place that you may write to with --socket PATH';
    default:
      return `see that ${dirname(path)} exists and has room`;
  }
}
