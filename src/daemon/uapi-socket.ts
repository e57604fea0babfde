// The control socket /var/run/wireguard/IFNAME.sock (https://www.wireguard.com/xplatform/): made for its owner alone, a stale one
// replaced, a live one refused, watched for deletion, removed at the end. Clients are uapi-client.ts. No timer runs while
// nobody is connected.
//
// The socket listens under a hidden name before it is renamed to its own: `wg` deletes a socket that refuses it, so
// there must be no moment in which the name exists and nobody listens.

import {
  type FSWatcher,
  fstatSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  watch,
} from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname, isAbsolute, join } from 'node:path';
import type { Instant } from '../base/instant.ts';
import { errorCode, errorMessage, StartError } from '../service/start-error.ts';
import { UapiClient, type UapiClientOptions } from './uapi-client.ts';

export const UAPI_DIRECTORY = '/var/run/wireguard';
/** `wg` opens one connection per command; more than this at once is a leak somewhere. */
export const UAPI_CLIENTS_MAX = 64;
export const UAPI_IDLE_LIMIT_MS = 60_000;
const BACKLOG = 128;

export interface UapiSocketOptions<P> extends Omit<UapiClientOptions<P>, 'idleLimitMs'> {
  readonly ifname: string;
  /** Where the socket is made; UAPI_DIRECTORY unless a test says otherwise. */
  readonly directory?: string;
  /** A listening socket made by someone else (WG_UAPI_FD); ours from now on. */
  readonly listenFd?: number;
  readonly clientsMax?: number;
  readonly idleLimitMs?: number;
  /** The socket's file was deleted or replaced: the end of the interface is wanted. Called once. */
  readonly onDeleted: () => void;
}

export class UapiSocket<P> {
  readonly #options: UapiSocketOptions<P>;
  readonly #server: Server;
  readonly #clients = new Set<UapiClient<P>>();
  #watcher: FSWatcher | null = null;
  #path: string;
  /** The inode that is ours; null when the socket has no file. */
  #file: Stats | null = null;
  #closed = false;

  /** Listens when it returns. Throws StartError. */
  static async open<P>(options: UapiSocketOptions<P>): Promise<UapiSocket<P>> {
    const directory = options.directory ?? UAPI_DIRECTORY;
    const path = join(directory, `${options.ifname}.sock`);
    const server = createServer({ allowHalfOpen: true });
    const socket = new UapiSocket(options, server, path);
    try {
      if (options.listenFd !== undefined) await socket.#adopt(options.listenFd);
      else await socket.#create(directory);
      socket.#watch();
    } catch (error) {
      socket.closeNow();
      throw error instanceof StartError ? error : cannotListen(path, errorMessage(error), adviceFor(error, path));
    }
    return socket;
  }

  private constructor(options: UapiSocketOptions<P>, server: Server, path: string) {
    this.#options = options;
    this.#server = server;
    this.#path = path;
    server.on('connection', (client) => this.#accept(client));
  }

  /** Removes the file, puts every client out and stops listening; at once. Idempotent. */
  closeNow(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watcher?.close();
    this.#unlink();
    for (const client of this.#clients) client.destroy();
    this.#server.close();
  }

  get path(): string {
    return this.#path;
  }

  get clientCount(): number {
    return this.#clients.size;
  }

  // — making it —

  async #create(directory: string): Promise<void> {
    ensureDirectory(directory);
    await this.#refuseUnlessFree();
    const hidden = join(directory, `.${this.#options.ifname}.${process.pid}`);
    rmSync(hidden, { force: true });
    // Read and write for the owner, from the first moment on. Binding happens within the call.
    const umask = process.umask(0o177);
    let listening: Promise<void>;
    try {
      listening = listen(this.#server, { path: hidden, backlog: BACKLOG });
    } finally {
      process.umask(umask);
    }
    await listening;
    const file = lstatSync(hidden);
    renameSync(hidden, this.#path);
    this.#file = file;
  }

  async #refuseUnlessFree(): Promise<void> {
    const file = lstatOrNull(this.#path);
    if (file === null) return;
    if (!file.isSocket()) {
      throw cannotListen(this.#path, 'a file that is not a socket has that name', `look at it, then: rm ${this.#path}`);
    }
    if (await answers(this.#path)) {
      throw cannotListen(
        this.#path,
        'another process answers on it',
        `stop that one first (whoever deletes ${this.#path} ends it), or use another interface name`,
      );
    }
  }

  async #adopt(fd: number): Promise<void> {
    const path = boundPath(fd);
    await listen(this.#server, { fd });
    if (path !== null) this.#path = path;
    const file = lstatOrNull(this.#path);
    if (file?.isSocket() === true) this.#file = file;
  }

  // — its file —

  #watch(): void {
    if (this.#file === null) return;
    this.#watcher = watch(dirname(this.#path), { persistent: false }, () => this.#checkFile());
    this.#watcher.on('error', (error) => {
      this.#options.log.error('cannot watch the control socket for deletion', { path: this.#path, why: error.message });
    });
    this.#checkFile();
  }

  #fileIsOurs(): boolean {
    const file = lstatOrNull(this.#path);
    return file !== null && this.#file !== null && file.ino === this.#file.ino && file.dev === this.#file.dev;
  }

  #checkFile(): void {
    if (this.#closed || this.#file === null || this.#fileIsOurs()) return;
    this.#file = null;
    this.#options.onDeleted();
  }

  #unlink(): void {
    if (this.#file === null || !this.#fileIsOurs()) return;
    this.#file = null;
    try {
      rmSync(this.#path, { force: true });
    } catch (error) {
      this.#options.log.error('cannot remove the control socket', { path: this.#path, why: errorMessage(error) });
    }
  }

  // — its clients —

  #accept(socket: Socket): void {
    if (this.#closed) {
      socket.destroy();
      return;
    }
    if (this.#clients.size >= (this.#options.clientsMax ?? UAPI_CLIENTS_MAX)) this.#putOutIdlest();
    const idleLimitMs = this.#options.idleLimitMs ?? UAPI_IDLE_LIMIT_MS;
    const client = new UapiClient(socket, { ...this.#options, idleLimitMs });
    this.#clients.add(client);
    socket.once('close', () => this.#clients.delete(client));
  }

  #putOutIdlest(): void {
    let idlest: UapiClient<P> | null = null;
    let since: Instant | null = null;
    for (const client of this.#clients) {
      if (since !== null && client.lastActive >= since) continue;
      idlest = client;
      since = client.lastActive;
    }
    if (idlest === null) return;
    idlest.destroy();
    this.#clients.delete(idlest);
  }
}

function listen(server: Server, where: { path: string; backlog: number } | { fd: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** The path that a socket made by someone else is bound to; null when it has none or it belongs to another network namespace. */
function boundPath(fd: number): string | null {
  const { ino } = fstatSync(fd);
  for (const line of readFileSync('/proc/self/net/unix', 'latin1').split('\n')) {
    const [inode, path] = line.split(/\s+/).slice(6);
    if (inode === String(ino) && path !== undefined && isAbsolute(path)) return path;
  }
  return null;
}

/** Makes it for its owner alone where it is missing; one that others may write to is no place for a control socket. */
function ensureDirectory(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const { mode, uid } = statSync(directory);
  if ((mode & 0o022) === 0 && (uid === 0 || uid === process.geteuid?.())) return;
  throw new StartError({
    what: `cannot use the directory ${directory}`,
    why: 'others than its user may write to it, and could put a socket of their own in the place of ours',
    help: `chown root ${directory} && chmod go-w ${directory}`,
  });
}

function lstatOrNull(path: string): Stats | null {
  try {
    return lstatSync(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null;
    throw error;
  }
}

/** Whether someone listens on the socket. Any doubt (no permission, a full backlog) counts as yes. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect({ path });
    const tell = (answer: boolean): void => {
      probe.destroy();
      resolve(answer);
    };
    probe.once('connect', () => tell(true));
    probe.once('error', (error) => tell(!['ECONNREFUSED', 'ENOENT'].includes(errorCode(error) ?? '')));
  });
}

function cannotListen(path: string, why: string, help: string): StartError {
  return new StartError({ what: `cannot make the control socket ${path}`, why, help });
}

function adviceFor(error: unknown, path: string): string {
  switch (errorCode(error)) {
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return `run as root; without root, in namespaces of your own with a tmpfs on ${dirname(dirname(path))}`;
    case 'EINVAL':
    case 'EBADF':
    case 'ENOTSOCK':
      return 'WG_UAPI_FD must be the number of an open UNIX socket that listens';
    default:
      return `see that ${dirname(path)} exists and has room`;
  }
}
