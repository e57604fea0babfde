// The WireGuard implementations that tests and bench put against each other, started in the foreground inside a host's
// namespace and ended by pid. "Newest wireguard-go" is built from the Go module proxy into node_modules/.cache where Go is
// present; where it is not, Debian's takes its place and `label` says so.

import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Host, SOCKET_DIRECTORY, uniqueInterfaceName } from './lab.ts';
import { cpuSeconds, isAlive, mainThreadRuns, rssMegabytes, threadCount, voluntarySwitches } from './proc.ts';
import { hasProgram, run } from './shell.ts';
import { until } from './wait.ts';

/** Found by walking up, because the bench runs a compiled copy from another folder. */
function findRepository(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, 'package-lock.json'))) {
    const parent = dirname(directory);
    if (parent === directory) throw new Error('not inside a checkout of warren');
    directory = parent;
  }
  return directory;
}

export const REPOSITORY = findRepository();
export const WARREN = join(REPOSITORY, 'bin/warren');
export const WARREN_DROP_IN = join(REPOSITORY, 'bin/warren-wg');

export type Implementation = 'warren' | 'wireguard-go' | 'wireguard-go-latest';

const NEWEST_DIRECTORY = join(REPOSITORY, 'node_modules/.cache/warren-interop');
const NEWEST_BINARY = join(NEWEST_DIRECTORY, 'wireguard-go');
const NEWEST_VERSION_FILE = join(NEWEST_DIRECTORY, 'version');
const NEWEST_MODULE = 'golang.zx2c4.com/wireguard';
const BUILD_LIMIT_MS = 240_000;

interface Program {
  readonly label: string;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

// Since 2022 wireguard-go only warns where the kernel has WireGuard; foreground keeps the pid that we started.
const GO_ENVIRONMENT = { WG_PROCESS_FOREGROUND: '1', LOG_LEVEL: 'error' };

async function buildNewest(): Promise<boolean> {
  if (existsSync(NEWEST_BINARY)) return true;
  if (!(await hasProgram('go'))) return false;
  mkdirSync(NEWEST_DIRECTORY, { recursive: true });
  const lock = join(NEWEST_DIRECTORY, 'lock');
  const locked = await until('the build of the newest wireguard-go by another worker', BUILD_LIMIT_MS, () => {
    if (existsSync(NEWEST_BINARY)) return 'theirs' as const;
    try {
      mkdirSync(lock);
      return 'ours' as const;
    } catch {
      // A lock older than any build belongs to a process that was killed.
      if (existsSync(lock) && Date.now() - statSync(lock).mtimeMs > BUILD_LIMIT_MS)
        rmSync(lock, { recursive: true, force: true });
      return null;
    }
  });
  if (locked === 'theirs') return true;
  try {
    const bin = join(NEWEST_DIRECTORY, `build-${process.pid}`);
    const built = await run(['go', 'install', `${NEWEST_MODULE}@latest`], {
      env: { GOBIN: bin },
      timeoutMs: BUILD_LIMIT_MS,
    });
    if (built.code !== 0) return false;
    const info = await run(['go', 'version', '-m', join(bin, 'wireguard')]);
    writeFileSync(NEWEST_VERSION_FILE, /\bmod\s+\S+\s+(\S+)/.exec(info.stdout)?.[1] ?? 'unknown');
    renameSync(join(bin, 'wireguard'), NEWEST_BINARY);
    rmSync(bin, { recursive: true, force: true });
    return true;
  } finally {
    rmdirSync(lock);
  }
}

async function debianVersion(): Promise<string> {
  const { stdout } = await run(['wireguard-go', '--version']);
  return /v[\w.]+/.exec(stdout)?.[0] ?? 'of unknown version';
}

async function resolveProgram(implementation: Implementation): Promise<Program> {
  switch (implementation) {
    case 'warren':
      return { label: 'warren', command: [process.execPath, WARREN, 'wg'], env: { LOG_LEVEL: 'error' } };
    case 'wireguard-go':
      return {
        label: `wireguard-go ${await debianVersion()} (Debian)`,
        command: ['wireguard-go'],
        env: GO_ENVIRONMENT,
      };
    case 'wireguard-go-latest': {
      if (!(await buildNewest())) {
        return {
          label: `wireguard-go ${await debianVersion()} (Debian, in place of the newest: no Go here)`,
          command: ['wireguard-go'],
          env: GO_ENVIRONMENT,
        };
      }
      const version = readFileSync(NEWEST_VERSION_FILE, 'utf8');
      return { label: `wireguard-go ${version}`, command: [NEWEST_BINARY], env: GO_ENVIRONMENT };
    }
  }
}

const programs = new Map<Implementation, Promise<Program>>();

function program(implementation: Implementation): Promise<Program> {
  const known = programs.get(implementation);
  if (known !== undefined) return known;
  const resolved = resolveProgram(implementation);
  programs.set(implementation, resolved);
  return resolved;
}

/** Name and version for reports. */
export async function implementationLabel(implementation: Implementation): Promise<string> {
  return (await program(implementation)).label;
}

export interface EngineOptions {
  readonly interfaceName?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** MTU set once the interface is there; absent = the engine's own choice. */
  readonly mtu?: number;
}

function socketPathOf(interfaceName: string): string {
  return join(SOCKET_DIRECTORY, `${interfaceName}.sock`);
}

/** Tells a new socket from one that was there before under the same name; null when there is none. */
function socketIdentity(interfaceName: string): string | null {
  const stat = statSync(socketPathOf(interfaceName), { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? null : `${stat.ino}:${stat.ctimeNs}`;
}

/** One running engine: one interface in one host. */
export class Engine {
  readonly host: Host;
  readonly implementation: Implementation;
  readonly interfaceName: string;
  readonly #child: ChildProcess;
  #output = '';
  #ended: { code: number | null; signal: NodeJS.Signals | null } | null = null;

  private constructor(host: Host, implementation: Implementation, interfaceName: string, child: ChildProcess) {
    this.host = host;
    this.implementation = implementation;
    this.interfaceName = interfaceName;
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output = (this.#output + text).slice(-16_384);
      });
    }
    child.once('exit', (code, signal) => {
      this.#ended = { code, signal };
    });
  }

  /** Resolves once the interface is up and its control socket answers. */
  static async start(host: Host, implementation: Implementation, options: EngineOptions = {}): Promise<Engine> {
    const { command, env } = await program(implementation);
    const interfaceName = options.interfaceName ?? uniqueInterfaceName();
    host.lab.owns(socketPathOf(interfaceName));
    const stale = socketIdentity(interfaceName);
    const child = host.start([...command, interfaceName], { env: { ...env, ...options.env } });
    const engine = new Engine(host, implementation, interfaceName, child);
    await until(`${implementation} answers on ${interfaceName}`, 15_000, async () => {
      if (engine.ended !== null) throw new Error(`${implementation} ended at its start: ${engine.output}`);
      const socket = socketIdentity(interfaceName);
      return socket !== null && socket !== stale && (await host.run(['wg', 'show', interfaceName])).code === 0;
    });
    if (options.mtu !== undefined) await host.must(['ip', 'link', 'set', interfaceName, 'mtu', `${options.mtu}`]);
    await host.must(['ip', 'link', 'set', interfaceName, 'up']);
    return engine;
  }

  get socketPath(): string {
    return socketPathOf(this.interfaceName);
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('the engine never started');
    return this.#child.pid;
  }

  /** What it printed last; for messages of failing tests. */
  get output(): string {
    return this.#output;
  }

  /** How it ended, or null while it runs. */
  get ended(): { code: number | null; signal: NodeJS.Signals | null } | null {
    return this.#ended;
  }

  get alive(): boolean {
    return this.#ended === null && isAlive(this.pid);
  }

  cpuSeconds(): number {
    return cpuSeconds(this.pid);
  }

  rssMegabytes(): number {
    return rssMegabytes(this.pid);
  }

  threadCount(): number {
    return threadCount(this.pid);
  }

  voluntarySwitches(): number {
    return voluntarySwitches(this.pid);
  }

  mainThreadRuns(): number {
    return mainThreadRuns(this.pid);
  }

  signal(name: NodeJS.Signals): void {
    process.kill(this.pid, name);
  }

  /** Waits for the end of the process; throws when it goes on. */
  untilEnded(deadlineMs: number): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    return until(`${this.implementation} on ${this.interfaceName} ends`, deadlineMs, () => this.#ended);
  }

  /** As a crash: no clean-up by the engine. The kernel removes the interface with the last descriptor. */
  async crash(): Promise<void> {
    this.signal('SIGKILL');
    await this.untilEnded(5_000);
    await until(
      `${this.interfaceName} is gone`,
      5_000,
      async () => !(await this.host.hasInterface(this.interfaceName)),
    );
  }

  async stop(): Promise<void> {
    if (this.#ended !== null) return;
    this.signal('SIGTERM');
    await this.untilEnded(5_000);
  }
}
