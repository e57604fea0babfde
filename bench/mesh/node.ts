// A machine with a daemon, as a person has it: started by its command, joined by its command.

import type { ChildProcess } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Status } from '../../src/protocol/local-api.ts';
import { WARREN } from '../../test/interop/lib/engines.ts';
import type { Host } from '../../test/interop/lib/lab.ts';
import { until } from '../../test/interop/lib/wait.ts';

const START_LIMIT_MS = 20_000;

export class Node {
  readonly host: Host;
  readonly name: string;
  readonly #socket: string;
  readonly #state: string;
  #child: ChildProcess | null = null;
  #log = '';

  constructor(host: Host, name: string, directory: string) {
    this.host = host;
    this.name = name;
    this.#state = join(directory, name);
    this.#socket = join(directory, `${name}.sock`);
    mkdirSync(this.#state, { recursive: true, mode: 0o700 });
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  async start(): Promise<void> {
    const options = ['--state', this.#state, '--socket', this.#socket, '--tun', 'warren0'];
    const child = this.host.start([process.execPath, WARREN, 'daemon', ...options]);
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#log = (this.#log + text).slice(-4_000);
      });
    }
    await until(`the daemon of ${this.name}`, START_LIMIT_MS, async () => {
      if (child.exitCode !== null) throw new Error(`the daemon did not start:\n${this.#log}`);
      return (await this.run(['status', '--json'])).code === 0;
    });
  }

  run(args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    return this.host.run([process.execPath, WARREN, ...args, '--socket', this.#socket], { timeoutMs: 120_000 });
  }

  async must(args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(args);
    if (code !== 0) throw new Error(`warren ${args.join(' ')} on ${this.name}: ${stderr || stdout}`);
    return stdout;
  }

  async status(): Promise<Status> {
    return JSON.parse(await this.must(['status', '--json'])) as Status;
  }
}
