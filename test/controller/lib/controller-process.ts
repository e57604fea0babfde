// The controller as its own process, as a person starts it (bin/warren, built), in a data directory and on a port of its own.
// Ended with the test that began it, whatever happens.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';

const WARREN = fileURLToPath(new URL('../../../bin/warren', import.meta.url));
const START_LIMIT_MS = 20_000;

export interface Ready {
  readonly url: string;
  readonly listening: string;
  readonly metrics: string | null;
  readonly stunPorts: readonly number[];
  readonly publicKey: string;
  readonly network: { readonly prefix4: string; readonly prefix6: string };
  readonly joinLink: string | null;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
  readonly out: string;
  readonly error: string;
}

/** A directory that is gone when the test is over. */
export function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'warren-controller-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

export class ControllerProcess {
  readonly child: ChildProcess;
  readonly exited: Promise<Exit>;
  out = '';
  error = '';

  /** `around`: a command that becomes what follows it, as `prlimit …` and `unshare …` do. */
  constructor(args: readonly string[], env: NodeJS.ProcessEnv = {}, around: readonly string[] = []) {
    // A STUN server of its own: the default port is one for the whole machine.
    const own = ['--stun', '127.0.0.1:0'];
    const [program = '', ...rest] = [...around, process.execPath, WARREN, 'controller', '--no-relay', ...own, ...args];
    this.child = spawn(program, rest, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    this.child.stdout?.on('data', (data: Buffer) => {
      this.out += data.toString();
    });
    this.child.stderr?.on('data', (data: Buffer) => {
      this.error += data.toString();
    });
    this.exited = new Promise((resolve) => {
      this.child.on('close', (code, signal) => resolve({ code, signal, out: this.out, error: this.error }));
    });
  }

  /** Starts with --json and resolves when nodes can join. */
  static async ready(
    args: readonly string[],
    env: NodeJS.ProcessEnv = {},
    around: readonly string[] = [],
  ): Promise<{ process: ControllerProcess; ready: Ready }> {
    const controller = new ControllerProcess([...args, '--json'], env, around);
    onTestFinished(() => controller.kill());
    return { process: controller, ready: await controller.line() };
  }

  /** Its first line, as JSON. */
  line(): Promise<Ready> {
    return new Promise((resolve, reject) => {
      const limit = setTimeout(() => reject(new Error(`it is not ready: ${this.error}`)), START_LIMIT_MS);
      const look = (): void => {
        const end = this.out.indexOf('\n');
        if (end < 0) return;
        clearTimeout(limit);
        this.child.stdout?.off('data', look);
        resolve(JSON.parse(this.out.slice(0, end)) as Ready);
      };
      this.child.stdout?.on('data', look);
      look();
      this.exited.then((exit) => {
        clearTimeout(limit);
        reject(new Error(`it ended before it was ready: ${JSON.stringify(exit)}`));
      });
    });
  }

  /** kill -9, and gone when it resolves. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
  }

  async stop(signal: 'SIGTERM' | 'SIGINT' = 'SIGTERM'): Promise<Exit> {
    this.child.kill(signal);
    return await this.exited;
  }
}

export interface HttpAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** Over the admin socket of a data directory. Rejects when the connection breaks before the answer is whole. */
export function administer(directory: string, method: string, path: string, body?: unknown): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? '' : JSON.stringify(body);
    const headers =
      text === '' ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
    const call = request({ socketPath: join(directory, 'admin.sock'), method, path: `/api/v1${path}`, headers });
    call.on('error', reject);
    call.on('response', (response) => {
      let received = '';
      response.setEncoding('utf8');
      response.on('data', (piece: string) => {
        received += piece;
      });
      response.on('error', reject);
      response.on('close', () => {
        if (!response.complete) reject(new Error('the answer was cut off'));
        else resolve({ status: response.statusCode ?? 0, body: received === '' ? null : JSON.parse(received) });
      });
    });
    call.end(text);
  });
}
