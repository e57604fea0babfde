// The controller under measurement, and the commands of a person, as processes.

import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { WARREN } from '../../test/interop/lib/engines.ts';
import type { Host } from '../../test/interop/lib/lab.ts';
import { rssMegabytes } from '../../test/interop/lib/proc.ts';
import { until } from '../../test/interop/lib/wait.ts';

export const PORT = 7370;
const START_LIMIT_MS = 60_000;

export class Controller {
  readonly host: Host;
  readonly address: string;
  readonly data: string;
  #child: ChildProcess | null = null;
  #log = '';

  constructor(host: Host, address: string, data: string) {
    this.host = host;
    this.address = address;
    this.data = data;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  rssMegabytes(): number {
    return rssMegabytes(this.pid);
  }

  /** Resolves when it serves. */
  async start(): Promise<void> {
    const options = [
      '--no-relay',
      '--data',
      this.data,
      '--listen',
      `0.0.0.0:${PORT}`,
      '--url',
      `http://${this.address}:${PORT}`,
    ];
    const child = this.host.start([process.execPath, WARREN, 'controller', ...options]);
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#log = (this.#log + text).slice(-4_000);
      });
    }
    this.#log = '';
    await until('the controller serves', START_LIMIT_MS, () => {
      if (child.exitCode !== null) throw new Error(`the controller did not start:\n${this.#log}`);
      return this.#log.includes('the controller is at');
    });
  }

  async kill(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill(signal);
    await gone;
  }

  run(args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    return this.host.run([process.execPath, WARREN, ...args, '--data', this.data], { timeoutMs: 60_000 });
  }

  async joinLink(): Promise<string> {
    const { code, stdout, stderr } = await this.run(['keys', 'create', '--reusable', '--expires', '24h']);
    if (code !== 0) throw new Error(`no join link: ${stderr}`);
    return stdout.trim();
  }
}

/** Where the compiled bench is. */
export function compiled(name: string): string {
  return join(import.meta.dirname, name);
}
