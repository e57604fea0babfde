// The other end of portmap-driver.mjs: a process behind a gateway that has a port mapped.

import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { PortMapProtocol, PortMapping, PortMapStatus } from '../../../src/daemon/portmap/port-mapper.ts';
import type { Host } from './lab.ts';
import { until } from './wait.ts';

const SCRIPT = fileURLToPath(new URL('./portmap-driver.mjs', import.meta.url));

export interface PortmapState {
  readonly mappings: readonly PortMapping[];
  readonly status: readonly PortMapStatus[];
  /** By the clock of `expiresAt`. */
  readonly now: number;
}

interface Methods {
  port(): number;
  request(): void;
  state(): PortmapState;
  ignored(): number;
  received(): readonly { readonly text: string; readonly from: string }[];
  skip(ms: number): void;
  sleep(ms: number): void;
  /** How long it took. */
  stop(): number;
}

export class PortmapDriver {
  readonly #child: ChildProcess;
  readonly #answers = new Map<number, (value: unknown) => void>();
  #ready = false;
  #id = 0;
  #errors = '';
  #exit: number | null = null;
  /** What it told without being asked, the newest last. */
  readonly told: PortmapState[] = [];
  port = 0;

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

  /** `port`: of its socket; 0 chooses one. */
  static async start(host: Host, port = 0): Promise<PortmapDriver> {
    const driver = new PortmapDriver(host.start([process.execPath, SCRIPT, `${port}`], { stdin: 'pipe' }));
    await until('the driver is ready', 20_000, () => driver.#ready || driver.#failed());
    driver.port = await driver.call('port');
    return driver;
  }

  async call<M extends keyof Methods>(method: M, ...args: Parameters<Methods[M]>): Promise<ReturnType<Methods[M]>> {
    const id = ++this.#id;
    let answer: { readonly value: unknown } | null = null;
    this.#answers.set(id, (value) => {
      answer = { value };
    });
    this.#child.stdin?.write(`${JSON.stringify({ id, method, args })}\n`);
    await until(`${method} is answered`, 20_000, () => answer !== null || this.#failed());
    return (answer as unknown as { readonly value: unknown }).value as ReturnType<Methods[M]>;
  }

  /** Waits until there is a mapping by `protocol` and gives it. */
  async mapped(protocol: PortMapProtocol, ipv6 = false, limitMs = 10_000): Promise<PortMapping> {
    try {
      return await until(`a mapping by ${protocol}`, limitMs, async () => {
        const { mappings } = await this.call('state');
        return mappings.find((one) => one.protocol === protocol && one.endpoint.startsWith('[') === ipv6);
      });
    } catch (error) {
      const { status } = await this.call('state');
      throw new Error(`${error instanceof Error ? error.message : error}: ${JSON.stringify(status)}`);
    }
  }

  /** Of IPv4, settled: nothing is being tried. */
  async settled(): Promise<readonly PortMapStatus[]> {
    return await until('nothing is being tried', 20_000, async () => {
      const { status } = await this.call('state');
      const ours = status.filter(({ gateway }) => gateway?.includes(':') !== true);
      return ours.length > 0 && ours.every(({ state, why }) => state !== 'trying' && why !== 'not asked yet') && ours;
    });
  }

  async end(): Promise<void> {
    this.#child.stdin?.end();
    await until('the driver ends', 10_000, () => this.#exit !== null);
    if (this.#exit !== 0) throw new Error(`the driver ended with ${this.#exit}: ${this.#errors}`);
  }

  #failed(): false {
    if (this.#exit !== null) throw new Error(`the driver ended with ${this.#exit}: ${this.#errors}`);
    return false;
  }

  #take(line: { ready?: number; id?: number; value?: unknown; state?: PortmapState; error?: string }): void {
    if (line.ready !== undefined) this.#ready = true;
    else if (line.state !== undefined) this.told.push(line.state);
    else if (line.error !== undefined) this.#errors += `${line.error}\n`;
    else this.#answers.get(line.id ?? 0)?.(line.value);
  }
}
