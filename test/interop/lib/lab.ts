// A laboratory: network namespaces, links and processes of one test, named `wrn-<test>-<pid>-<host>` and removed when it
// closes, when the test process exits, and, for a process that was killed, by the next one that opens a laboratory.
// Only processes inside namespaces that were made here are ended, each by its pid.

import { type ChildProcess, execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isAlive } from './proc.ts';
import { must, type RunOptions, type RunResult, run, start } from './shell.ts';
import { until } from './wait.ts';

const PREFIX = 'wrn-';
/** Where userspace WireGuards keep their sockets; shared by all namespaces, hence interface names that are unique. */
export const SOCKET_DIRECTORY = '/var/run/wireguard';

let interfacesNamed = 0;

/** An interface name no other host of this machine uses (sockets of all namespaces share one directory). */
export function uniqueInterfaceName(): string {
  return `wr${process.pid.toString(36)}x${interfacesNamed++}`;
}

export class Host {
  readonly lab: Lab;
  readonly netns: string;

  constructor(lab: Lab, netns: string) {
    this.lab = lab;
    this.netns = netns;
  }

  run(command: readonly string[], options: Omit<RunOptions, 'netns'> = {}): Promise<RunResult> {
    return run(command, { ...options, netns: this.netns });
  }

  must(command: readonly string[], options: Omit<RunOptions, 'netns'> = {}): Promise<string> {
    return must(command, { ...options, netns: this.netns });
  }

  /** A child that lives until it ends or the laboratory closes. */
  start(command: readonly string[], options: Omit<RunOptions, 'netns'> = {}): ChildProcess {
    return start(command, { ...options, netns: this.netns });
  }

  /** Without duplicate address detection, so that the address is usable at once. */
  async addAddress(device: string, address: string): Promise<void> {
    const noDad = address.includes(':') ? ['nodad'] : [];
    await this.must(['ip', 'address', 'add', address, 'dev', device, ...noDad]);
  }

  async deleteAddress(device: string, address: string): Promise<void> {
    await this.must(['ip', 'address', 'del', address, 'dev', device]);
  }

  /** Processes that run in this namespace. */
  pids(): number[] {
    return namespacePids(this.netns).filter(isAlive);
  }

  async hasInterface(name: string): Promise<boolean> {
    return (await this.run(['ip', 'link', 'show', 'dev', name])).code === 0;
  }
}

export interface LinkEnd {
  readonly host: Host;
  readonly device: string;
  readonly addresses: readonly string[];
}

export class Lab {
  readonly name: string;
  readonly #hosts: Host[] = [];
  readonly #sockets: string[] = [];
  readonly #directory: string;
  #closed = false;

  private constructor(name: string) {
    this.name = name;
    this.#directory = mkdtempSync(join(tmpdir(), `${PREFIX}${name}-${process.pid}-`));
  }

  /** `name`: lower-case letters and digits; unique among the laboratories open in this process. */
  static open(name: string): Lab {
    if (!/^[a-z0-9]{1,24}$/.test(name)) throw new Error(`not a laboratory name: ${name}`);
    sweepDeadTests();
    const lab = new Lab(name);
    openLabs.add(lab);
    return lab;
  }

  async host(name: string): Promise<Host> {
    const netns = `${PREFIX}${this.name}-${process.pid}-${name}`;
    await must(['ip', 'netns', 'add', netns]);
    const host = new Host(this, netns);
    this.#hosts.push(host);
    await host.must(['ip', 'link', 'set', 'lo', 'up']);
    return host;
  }

  /** A virtual cable between two hosts. */
  async link(a: LinkEnd, b: LinkEnd, mtu = 1500): Promise<void> {
    await a.host.must([
      'ip',
      'link',
      'add',
      a.device,
      'mtu',
      `${mtu}`,
      'type',
      'veth',
      'peer',
      'name',
      b.device,
      'mtu',
      `${mtu}`,
      'netns',
      b.host.netns,
    ]);
    for (const end of [a, b]) {
      for (const address of end.addresses) await end.host.addAddress(end.device, address);
      await end.host.must(['ip', 'link', 'set', end.device, 'up']);
    }
  }

  /** A switch: a host with a bridge to which every end is wired. Gives the host that holds the bridge. */
  async bridge(name: string, ends: readonly LinkEnd[], mtu = 1500): Promise<Host> {
    const hub = await this.host(name);
    await hub.must(['ip', 'link', 'add', 'br0', 'type', 'bridge']);
    await hub.must(['ip', 'link', 'set', 'br0', 'mtu', `${mtu}`, 'up']);
    for (const [index, end] of ends.entries()) {
      await this.link(end, { host: hub, device: `port${index}`, addresses: [] }, mtu);
      await hub.must(['ip', 'link', 'set', `port${index}`, 'master', 'br0']);
    }
    return hub;
  }

  /** A private file (0600) that goes with the laboratory: keys and configurations never appear on a command line. */
  file(name: string, content: string): string {
    const path = join(this.#directory, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  }

  /** Where a file of this name would be that goes with the laboratory. */
  path(name: string): string {
    return join(this.#directory, name);
  }

  /** Names a control socket that an engine which was killed would leave behind. */
  owns(socketPath: string): void {
    this.#sockets.push(socketPath);
  }

  /** Ends what runs in the namespaces, removes them and all files. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    for (const host of this.#hosts) {
      killAll(namespacePids(host.netns));
      await until(`no process is left in ${host.netns}`, 5_000, () =>
        namespacePids(host.netns).every((pid) => !isAlive(pid)),
      );
    }
    this.closeNow();
  }

  /** As `close`, without waiting: for the exit of the test process. */
  closeNow(): void {
    if (this.#closed) return;
    this.#closed = true;
    openLabs.delete(this);
    for (const host of this.#hosts) removeNamespace(host.netns);
    for (const path of this.#sockets) rmSync(path, { force: true });
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

const openLabs = new Set<Lab>();

process.once('exit', () => {
  for (const lab of openLabs) lab.closeNow();
});

function namespacePids(netns: string): number[] {
  try {
    const text = execFileSync('ip', ['netns', 'pids', netns], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return text.split('\n').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function killAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended by itself in between.
    }
  }
}

function removeNamespace(netns: string): void {
  killAll(namespacePids(netns));
  try {
    execFileSync('ip', ['netns', 'del', netns], { stdio: 'ignore' });
  } catch {
    // Already gone.
  }
}

/** Sockets of engines whose test is gone; the interface name tells its process. */
function sweepSockets(): void {
  if (!existsSync(SOCKET_DIRECTORY)) return;
  for (const name of readdirSync(SOCKET_DIRECTORY)) {
    const match = /^wr([0-9a-z]+)x\d+\.sock$/.exec(name);
    if (match === null || isAlive(Number.parseInt(match[1] as string, 36))) continue;
    rmSync(join(SOCKET_DIRECTORY, name), { force: true });
  }
}

let swept = false;

/** Removes what tests left behind whose process is gone. */
function sweepDeadTests(): void {
  if (swept) return;
  swept = true;
  const list = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' });
  for (const line of list.split('\n')) {
    const netns = line.split(' ')[0] ?? '';
    const match = /^wrn-[a-z0-9]+-(\d+)-/.exec(netns);
    if (match === null || isAlive(Number(match[1]))) continue;
    removeNamespace(netns);
  }
  for (const entry of readdirSync(tmpdir())) {
    const match = /^wrn-[a-z0-9]+-(\d+)-/.exec(entry);
    if (match === null || isAlive(Number(match[1]))) continue;
    rmSync(join(tmpdir(), entry), { recursive: true, force: true });
  }
  sweepSockets();
}
