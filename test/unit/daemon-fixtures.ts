// Shared by the daemon's tests: a directory of its own that goes with the test, a log that remembers, a clock, a wait for a
// condition, and a client of the control socket that reads as much as it is told to.

import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Instant } from '../../src/base/instant.ts';
import { createLog, type Log } from '../../src/daemon/log.ts';

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'warren-uapi-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export function rememberingLog(): { log: Log; lines: string[] } {
  const lines: string[] = [];
  return { lines, log: createLog('debug', (line) => lines.push(line)) };
}

export function now(): Instant {
  return performance.now() as Instant;
}

/** Resolves once `condition` holds; the test's own time limit ends it otherwise. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

export class Client {
  readonly socket: Socket;
  received = '';
  closed = false;

  constructor(path: string) {
    this.socket = connect({ path, allowHalfOpen: true });
    this.socket.setEncoding('latin1');
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => {
      this.closed = true;
    });
    this.socket.on('end', () => {
      this.closed = true;
    });
    onTestFinished(() => {
      this.socket.destroy();
    });
  }

  /** From now on what comes is kept in `received`. */
  read(): this {
    this.socket.on('data', (text) => {
      this.received += String(text);
    });
    return this;
  }

  send(text: string): this {
    this.socket.write(text, 'latin1');
    return this;
  }

  /** How many replies have come. */
  get replies(): string[] {
    return this.received.match(/errno=-?\d+\n\n/g) ?? [];
  }
}

/** One request on a connection of its own; gives back the whole answer. */
export async function ask(path: string, request: string): Promise<string> {
  const client = new Client(path).read().send(request);
  await until(() => client.replies.length > 0);
  client.socket.destroy();
  return client.received;
}
