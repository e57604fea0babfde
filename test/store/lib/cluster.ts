// A PostgreSQL server of our own for the tests: a new cluster in a temporary directory, a unix socket in there and no TCP.
// The server is told by the kernel when we die, however that happens, and stops. It refuses to be root, so as root it runs
// as `postgres` (or `nobody`). Nothing of the system's own server is used or touched.

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

const START_TIMEOUT_MS = 30_000;
const DATABASE = 'postgres';
export const CLUSTER_USER = 'warren_test';
export const CLUSTER_PASSWORD = 'p@ss/w:rd';

/** Where Debian keeps the server's programs, newest version first; then the PATH. */
function binaries(): string | null {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const places = [
    ...versions.map((version) => join(debian, version, 'bin')),
    ...(process.env['PATH'] ?? '').split(delimiter),
  ];
  return places.find((place) => existsSync(join(place, 'initdb')) && existsSync(join(place, 'postgres'))) ?? null;
}

interface User {
  readonly uid: number;
  readonly gid: number;
}

function serverUser(): User | null {
  if (process.geteuid?.() !== 0) return null;
  for (const name of ['postgres', 'nobody']) {
    const line = spawnSync('getent', ['passwd', name], { encoding: 'utf8' }).stdout;
    const [, , uid, gid] = line.split(':');
    if (uid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  }
  return null;
}

/** Null when a server can be started; otherwise why not. In CI that is a failure and not a reason to leave tests out. */
export function whyNoCluster(): string | null {
  if (binaries() !== null) return null;
  const why = 'PostgreSQL is not installed (Debian: apt-get install postgresql): the store is not tested on it';
  if (process.env['CI'] === 'true' || process.env['WARREN_CI'] === 'true') throw new Error(why);
  return why;
}

export class Cluster {
  readonly directory: string;
  readonly #bin: string;
  readonly #user: User | null;
  #server: ChildProcess | null = null;
  #databases = 0;
  #output = '';

  private constructor(directory: string, bin: string, user: User | null) {
    this.directory = directory;
    this.#bin = bin;
    this.#user = user;
  }

  static async start(): Promise<Cluster> {
    const bin = binaries();
    if (bin === null) throw new Error('no initdb');
    // A short path: a socket's name may have 107 characters.
    const directory = mkdtempSync('/tmp/warren-pg-');
    const cluster = new Cluster(directory, bin, serverUser());
    try {
      cluster.#initialize();
      await cluster.startServer();
      return cluster;
    } catch (error) {
      await cluster.remove();
      throw new Error(`no PostgreSQL server: ${String(error)}\n${cluster.#output}`);
    }
  }

  #initialize(): void {
    if (this.#user !== null) chownSync(this.directory, this.#user.uid, this.#user.gid);
    const args = ['-D', this.#data, '-U', CLUSTER_USER, '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'];
    const { command, options } = this.#as(join(this.#bin, 'initdb'), args);
    execFileSync(command[0] as string, command.slice(1), { ...options, stdio: 'pipe' });
  }

  get #data(): string {
    return join(this.directory, 'data');
  }

  #as(program: string, args: readonly string[]) {
    const user = this.#user;
    const become = user === null ? [] : [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups'];
    return {
      command: ['setpriv', '--pdeathsig=QUIT', ...become, program, ...args],
      options: { cwd: this.directory, env: { ...process.env, LC_ALL: 'C' } },
    };
  }

  async startServer(): Promise<void> {
    const settings = {
      listen_addresses: '',
      unix_socket_directories: this.directory,
      fsync: 'off',
      max_connections: '40',
      shared_buffers: '16MB',
    };
    const args = ['-D', this.#data, ...Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`])];
    const { command, options } = this.#as(join(this.#bin, 'postgres'), args);
    const server = spawn(command[0] as string, command.slice(1), { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#server = server;
    for (const stream of [server.stdout, server.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#output = (this.#output + text).slice(-8192);
      });
    }
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (!(await this.#answers())) {
      if (server.exitCode !== null || performance.now() > deadline) throw new Error('it does not answer');
      await sleep(50);
    }
  }

  async #answers(): Promise<boolean> {
    const client = new pg.Client(this.url(DATABASE));
    try {
      await client.connect();
      return true;
    } catch {
      return false;
    } finally {
      await client.end().catch(() => {});
    }
  }

  /** With a password, which the server does not ask for: no message may show it. */
  url(database: string, user = CLUSTER_USER): string {
    return `postgres://${user}:${encodeURIComponent(CLUSTER_PASSWORD)}@/${database}?host=${this.directory}`;
  }

  async createDatabase(): Promise<string> {
    const name = `d${++this.#databases}`;
    await this.query(`create database ${name}`);
    return name;
  }

  async dropDatabase(name: string): Promise<void> {
    await this.query(`drop database ${name} with (force)`);
  }

  async query(text: string, database = DATABASE): Promise<pg.QueryResult> {
    const client = new pg.Client(this.url(database));
    await client.connect();
    try {
      return await client.query(text);
    } finally {
      await client.end();
    }
  }

  /** `immediate`: as in a crash. */
  async stopServer(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null || server.exitCode !== null || server.signalCode !== null) return;
    const ended = new Promise((resolve) => server.once('exit', resolve));
    server.kill(mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
    await ended;
  }

  async remove(): Promise<void> {
    await this.stopServer('immediate');
    rmSync(this.directory, { recursive: true, force: true });
  }
}
