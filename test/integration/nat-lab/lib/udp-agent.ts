// The other end of udp-agent.mjs: UDP sockets in a namespace, for a test that has none of its own there.

import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { REPOSITORY } from '../../../interop/lib/engines.ts';
import type { Host } from '../../../interop/lib/lab.ts';

const SCRIPT = join(REPOSITORY, 'test/integration/nat-lab/lib/udp-agent.mjs');
const CALL_LIMIT_MS = 20_000;

export interface At {
  readonly address: string;
  readonly port: number;
}

export interface Arrival {
  readonly from: At;
  readonly text: string;
}

type Told =
  | { readonly ready: number }
  | { readonly id: number; readonly value: unknown }
  | ({ readonly socket: number } & Arrival);

export interface OpenOptions {
  readonly family?: 4 | 6;
  readonly address?: string;
  readonly port?: number;
}

export class UdpAgent {
  readonly host: Host;
  readonly #child: ChildProcess;
  readonly #calls = new Map<number, (value: unknown) => void>();
  readonly #sockets = new Map<number, UdpSocket>();
  #id = 0;
  #errors = '';

  private constructor(host: Host) {
    this.host = host;
    this.#child = host.start([process.execPath, SCRIPT], { stdin: 'pipe' });
    if (this.#child.stdout === null || this.#child.stderr === null) throw new Error('the agent has no output');
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-4096);
    });
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#take(JSON.parse(line) as Told));
  }

  static async start(host: Host): Promise<UdpAgent> {
    const agent = new UdpAgent(host);
    await agent.#answer(0, 'the agent starts');
    return agent;
  }

  async open(options: OpenOptions = {}): Promise<UdpSocket> {
    const { family = 4, address = family === 6 ? '::' : '0.0.0.0', port = 0 } = options;
    const made = await this.call<{ socket: number; port: number }>('open', { family, address, port });
    const socket = new UdpSocket(this, made.socket, made.port, family);
    this.#sockets.set(made.socket, socket);
    return socket;
  }

  forget(socket: number): void {
    this.#sockets.delete(socket);
  }

  call<T>(method: string, ...args: readonly unknown[]): Promise<T> {
    const id = ++this.#id;
    const answer = this.#answer(id, method);
    this.#child.stdin?.write(`${JSON.stringify({ id, method, args })}\n`);
    return answer as Promise<T>;
  }

  #answer(id: number, what: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`not within ${CALL_LIMIT_MS} ms: ${what}\n${this.#errors}`)),
        CALL_LIMIT_MS,
      );
      this.#calls.set(id, (value) => {
        clearTimeout(timer);
        resolve(value);
      });
    });
  }

  #take(told: Told): void {
    if ('socket' in told) {
      this.#sockets.get(told.socket)?.took(told);
      return;
    }
    const id = 'ready' in told ? 0 : told.id;
    this.#calls.get(id)?.('ready' in told ? told.ready : told.value);
    this.#calls.delete(id);
  }
}

export class UdpSocket {
  readonly agent: UdpAgent;
  readonly port: number;
  readonly family: 4 | 6;
  /** All that has arrived, in order. */
  readonly arrivals: Arrival[] = [];
  readonly #name: number;
  readonly #waiting = new Set<() => void>();

  constructor(agent: UdpAgent, name: number, port: number, family: 4 | 6) {
    this.agent = agent;
    this.#name = name;
    this.port = port;
    this.family = family;
  }

  /** Null, or the error code of the send. */
  send(to: At, text: string): Promise<string | null> {
    return this.agent.call('send', this.#name, to, text);
  }

  async close(): Promise<void> {
    await this.agent.call('close', this.#name);
    this.agent.forget(this.#name);
  }

  took(arrival: Arrival): void {
    this.arrivals.push({ from: arrival.from, text: arrival.text });
    for (const look of this.#waiting) look();
  }

  /** The first datagram, past ones included, that `wanted` accepts; null when none came within the time. */
  arrival(limitMs: number, wanted: (arrival: Arrival) => boolean): Promise<Arrival | null> {
    const already = this.arrivals.find(wanted);
    if (already !== undefined) return Promise.resolve(already);
    return new Promise((resolve) => {
      const done = (arrival: Arrival | null): void => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve(arrival);
      };
      const look = (): void => {
        const found = this.arrivals.find(wanted);
        if (found !== undefined) done(found);
      };
      const timer = setTimeout(() => done(null), limitMs);
      this.#waiting.add(look);
    });
  }
}
