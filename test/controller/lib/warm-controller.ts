// Controllers for a loop of kills: the next process is loading while the present one works.

import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { ControllerArguments } from '../../../src/controller/controller-main.ts';

const SCRIPT = fileURLToPath(new URL('./warm-controller.mjs', import.meta.url));

export class WarmController {
  readonly #child: ChildProcess;
  readonly exited: Promise<void>;
  #out = '';
  error = '';

  constructor() {
    this.#child = spawn(process.execPath, [SCRIPT], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stdout?.on('data', (data: Buffer) => {
      this.#out += data.toString();
    });
    this.#child.stderr?.on('data', (data: Buffer) => {
      this.error += data.toString();
    });
    this.#child.stdin?.on('error', () => undefined);
    this.exited = new Promise((resolve) => {
      this.#child.on('close', () => resolve());
    });
  }

  /** Begins; resolves with its first line once nodes can join, with null when it ended before (it was killed). */
  async begin(settings: ControllerArguments): Promise<{ url: string; joinLink: string | null } | null> {
    this.#child.stdin?.write(`${JSON.stringify(settings)}\n`);
    const line = new Promise<void>((resolve) => {
      const look = (): void => {
        if (this.#out.includes('\n')) resolve();
        else this.#child.stdout?.once('data', look);
      };
      look();
    });
    await Promise.race([line, this.exited]);
    const end = this.#out.indexOf('\n');
    return end < 0 ? null : (JSON.parse(this.#out.slice(0, end)) as { url: string; joinLink: string | null });
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}
