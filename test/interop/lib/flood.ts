// A flood of forged handshake initiations against one engine, from a host with many addresses. The sender is flood.mjs,
// which runs inside that host's namespace.

import type { ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from './engines.ts';
import type { Host } from './lab.ts';
import { until } from './wait.ts';
import { COOKIE_REPLY_TYPE, forgeInitiation, INITIATION_BYTES } from './wire.ts';

const DISTINCT_MESSAGES = 4_096;

export interface FloodResult {
  readonly sent: number;
  readonly cookieReplies: number;
}

export interface FloodTarget {
  readonly address: string;
  readonly port: number;
  readonly publicKey: string;
}

export class Flood {
  readonly #child: ChildProcess;
  #text = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#text += text;
    });
  }

  /** Resolves once datagrams are on their way. `sources`: addresses of `host`. */
  static async start(host: Host, target: FloodTarget, sources: readonly string[]): Promise<Flood> {
    const path = host.lab.file('flood.bin', '');
    writeFileSync(
      path,
      Buffer.concat(Array.from({ length: DISTINCT_MESSAGES }, () => forgeInitiation(target.publicKey))),
    );
    const script = join(REPOSITORY, 'test/interop/lib/flood.mjs');
    const flood = new Flood(
      host.start(
        [process.execPath, script, path, `${INITIATION_BYTES}`, target.address, `${target.port}`, ...sources],
        {
          stdin: 'pipe',
        },
      ),
    );
    await until('the flood begins', 10_000, () => flood.#text.includes('flooding\n'));
    return flood;
  }

  async stop(): Promise<FloodResult> {
    this.#child.stdin?.end();
    await until('the flood ends', 10_000, () => this.#child.exitCode !== null && this.#text.includes('}\n'));
    const { sent, replies } = JSON.parse(this.#text.slice(this.#text.indexOf('{'))) as {
      sent: number;
      replies: Readonly<Record<string, number>>;
    };
    return { sent, cookieReplies: replies[COOKIE_REPLY_TYPE] ?? 0 };
  }
}
