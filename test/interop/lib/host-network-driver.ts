// The other end of host-network-driver.mjs: calls into a process that lives in a namespace, and the changes that it tells.

import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { HostAddress, HostRoute, NetworkOutcome } from '../../../src/daemon/mesh/host-network.ts';
import type { Collision } from '../../../src/daemon/os/collisions.ts';
import type { HostChange } from '../../../src/daemon/os/host-network.ts';
import type { Host } from './lab.ts';
import { until } from './wait.ts';

const SCRIPT = fileURLToPath(new URL('./host-network-driver.mjs', import.meta.url));

interface Methods {
  setAddresses(ifname: string, addresses: readonly string[]): NetworkOutcome;
  setRoutes(ifname: string, prefixes: readonly string[]): NetworkOutcome;
  setMtu(ifname: string, mtu: number): NetworkOutcome;
  setUp(ifname: string, up: boolean): NetworkOutcome;
  setSegments(ifname: string, segments: number): NetworkOutcome;
  removeInterface(ifname: string): NetworkOutcome;
  addresses(): readonly HostAddress[];
  routes(): readonly HostRoute[];
  collisions(prefixes: readonly string[], own: string | null): readonly Collision[];
  resyncs(): number;
  stall(ms: number): string;
  listAgainAndAgain(times: number, expected: readonly string[]): number;
  timed(method: string, ...args: readonly unknown[]): { readonly ms: number; readonly value: unknown };
}

export class HostNetworkDriver {
  readonly #child: ChildProcess;
  readonly #answers = new Map<number, (value: unknown) => void>();
  readonly changes: { readonly change: HostChange; readonly atMs: number }[] = [];
  #pid = 0;
  #id = 0;
  #errors = '';
  #exit: number | null = null;

  private constructor(child: ChildProcess) {
    this.#child = child;
    if (child.stdout === null || child.stderr === null) throw new Error('the driver has no output');
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text;
    });
    child.once('exit', (code) => {
      this.#exit = code ?? -1;
    });
    createInterface({ input: child.stdout }).on('line', (line) => this.#take(JSON.parse(line)));
  }

  /** `prefix`: a command that runs the driver, to take something away from it. */
  static async start(host: Host, options: object = {}, prefix: readonly string[] = []): Promise<HostNetworkDriver> {
    const command = [...prefix, process.execPath, SCRIPT, JSON.stringify(options)];
    const driver = new HostNetworkDriver(host.start(command, { stdin: 'pipe' }));
    await until('the driver is ready', 20_000, () => driver.#pid !== 0 || driver.#failed());
    return driver;
  }

  get pid(): number {
    return this.#pid;
  }

  async call<M extends keyof Methods>(method: M, ...args: Parameters<Methods[M]>): Promise<ReturnType<Methods[M]>> {
    const id = ++this.#id;
    let answer: { readonly value: unknown } | null = null;
    this.#answers.set(id, (value) => {
      answer = { value };
    });
    this.#child.stdin?.write(`${JSON.stringify({ id, method, args })}\n`);
    await until(`${method} is answered`, 60_000, () => answer !== null || this.#failed());
    return (answer as unknown as { readonly value: unknown }).value as ReturnType<Methods[M]>;
  }

  /** Waits for changes that `wanted` accepts, taken together from now on, and gives when the last of them was told. */
  async changed(wanted: (changes: readonly HostChange[]) => boolean, from: number): Promise<number> {
    const since = (): typeof this.changes => this.changes.slice(from);
    await until('the change is told', 10_000, () => wanted(since().map((one) => one.change)) || this.#failed());
    return since().at(-1)?.atMs ?? 0;
  }

  /** Lets go of everything; resolves with the exit code. */
  async end(): Promise<number> {
    this.#child.stdin?.end();
    await until('the driver ends', 10_000, () => this.#exit !== null);
    return this.#exit ?? -1;
  }

  #failed(): false {
    if (this.#exit !== null) throw new Error(`the driver ended with ${this.#exit}: ${this.#errors}`);
    return false;
  }

  #take(line: { ready?: number; id?: number; value?: unknown; change?: HostChange; atMs?: number }): void {
    if (line.ready !== undefined) this.#pid = line.ready;
    else if (line.change !== undefined) this.changes.push({ change: line.change, atMs: line.atMs ?? 0 });
    else this.#answers.get(line.id ?? 0)?.(line.value);
  }
}
