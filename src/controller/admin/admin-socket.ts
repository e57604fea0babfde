// The admin socket DATA_DIR/admin.sock: HTTP for whoever may open it, which is its owner alone (0600, from its first moment).
// A stale one is replaced, a live one refused, a file that is no socket left alone. It listens under a hidden name before it
// is renamed to its own: no moment in which the name exists and nobody listens.

import { lstatSync, renameSync, rmSync, type Stats } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { basename, dirname, join } from 'node:path';
import type { AdminHandler } from './handler.ts';

export const SOCKET_CLIENTS_MAX = 64;
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;
const KEEP_ALIVE_MS = 5_000;
/** How often the two are looked at; Node's own is 30 s. */
const TIMEOUT_CHECK_MS = 1_000;
/** Bytes of `sun_path` (unix(7)), with the NUL at its end and the letters that the hidden name has more. */
export const SOCKET_PATH_BYTES_MAX = 100;
const CLOSE_GRACE_MS = 1_000;

/** Why there is no socket: what, why and what to do, for a person. */
export class AdminSocketError extends Error {
  override readonly name = 'AdminSocketError';
  readonly what: string;
  readonly why: string;
  readonly help: string;

  constructor(path: string, why: string, help: string) {
    super(`cannot make the admin socket ${path}: ${why}`);
    this.what = `cannot make the admin socket ${path}`;
    this.why = why;
    this.help = help;
  }
}

export interface AdminSocket {
  readonly path: string;
  /** Removes the file, lets answers finish for a moment, and closes. Idempotent. */
  close(): Promise<void>;
}

/** Listens when it resolves. The directory must be the owner's. Rejects with AdminSocketError. */
export async function openAdminSocket(path: string, handler: AdminHandler): Promise<AdminSocket> {
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) {
    const why = `the path of a socket has at most ${SOCKET_PATH_BYTES_MAX} bytes`;
    throw new AdminSocketError(path, why, 'choose a data directory with a shorter path');
  }
  const server = createServer({ connectionsCheckingInterval: TIMEOUT_CHECK_MS }, (request, response) =>
    handler(request, response, 'socket'),
  );
  server.maxConnections = SOCKET_CLIENTS_MAX;
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  try {
    await refuseUnlessFree(path);
    const file = await listenHidden(server, path);
    return new OpenSocket(server, path, file);
  } catch (error) {
    server.close();
    if (error instanceof AdminSocketError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new AdminSocketError(path, why, `see that ${dirname(path)} exists and belongs to the user of the controller`);
  }
}

class OpenSocket implements AdminSocket {
  readonly path: string;
  readonly #server: Server;
  readonly #file: Stats;
  #closed: Promise<void> | null = null;

  constructor(server: Server, path: string, file: Stats) {
    this.#server = server;
    this.path = path;
    this.#file = file;
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  #close(): Promise<void> {
    const file = lstatOrNull(this.path);
    if (file !== null && file.ino === this.#file.ino && file.dev === this.#file.dev) rmSync(this.path, { force: true });
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#server.closeAllConnections(), CLOSE_GRACE_MS);
      this.#server.close(() => {
        clearTimeout(timer);
        resolve();
      });
      this.#server.closeIdleConnections();
    });
  }
}

async function refuseUnlessFree(path: string): Promise<void> {
  const file = lstatOrNull(path);
  if (file === null) return;
  if (!file.isSocket()) {
    throw new AdminSocketError(path, 'a file that is not a socket has that name', `look at it, then: rm ${path}`);
  }
  if (await answers(path)) {
    const help = 'stop that controller first, or give this one another data directory';
    throw new AdminSocketError(path, 'another controller answers on it', help);
  }
}

async function listenHidden(server: Server, path: string): Promise<Stats> {
  const hidden = join(dirname(path), `.${basename(path)}.${process.pid}`);
  rmSync(hidden, { force: true });
  // Read and write for the owner, from the first moment on. Binding happens within the call.
  const umask = process.umask(0o177);
  let listening: Promise<void>;
  try {
    listening = listen(server, hidden);
  } finally {
    process.umask(umask);
  }
  await listening;
  const file = lstatSync(hidden);
  renameSync(hidden, path);
  return file;
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Any doubt (no permission, a full backlog) counts as yes. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect({ path });
    const tell = (answer: boolean): void => {
      probe.destroy();
      resolve(answer);
    };
    probe.once('connect', () => tell(true));
    probe.once('error', (error) => tell(!isCode(error, 'ECONNREFUSED', 'ENOENT')));
  });
}

function lstatOrNull(path: string): Stats | null {
  return lstatSync(path, { throwIfNoEntry: false }) ?? null;
}

function isCode(error: Error, ...codes: string[]): boolean {
  return 'code' in error && codes.includes(String(error.code));
}
