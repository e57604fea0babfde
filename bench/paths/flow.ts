// A steady flow between two hosts, both ways: flow.c at either end. One begins, the other answers from the first datagram on.

import type { ChildProcess } from 'node:child_process';
import type { Host } from '../../test/interop/lib/lab.ts';
import { until } from '../../test/interop/lib/wait.ts';
import { type Both, directions, type FlowEnd } from './flow-result.ts';

export const FLOW_INTERVAL_MS = 10;
const START_LIMIT_MS = 10_000;
const END_LIMIT_MS = 10_000;

let port = 9_100;

export interface FlowPlace {
  readonly host: Host;
  /** Inside the mesh. */
  readonly ipv4: string;
}

class FlowProgram {
  readonly #child: ChildProcess;
  #text = '';

  constructor(program: string, host: Host, arguments_: readonly string[]) {
    this.#child = host.start([program, ...arguments_]);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#text += text;
      });
    }
  }

  async says(word: string, limitMs: number): Promise<void> {
    await until(`a flow says "${word}"`, limitMs, () => {
      if (this.#child.exitCode !== null) throw new Error(`a flow ended: ${this.#text}`);
      return this.#text.includes(`${word}\n`);
    });
  }

  get answered(): boolean {
    return this.#text.includes('answered\n');
  }

  end(): void {
    this.#child.kill('SIGTERM');
  }

  async result(): Promise<FlowEnd> {
    await until('a flow tells what it saw', END_LIMIT_MS, () => this.#text.includes('}\n'));
    return JSON.parse(this.#text.slice(this.#text.indexOf('{'))) as FlowEnd;
  }
}

export class Flow {
  readonly #begins: FlowProgram;
  readonly #answers: FlowProgram;

  private constructor(begins: FlowProgram, answers: FlowProgram) {
    this.#begins = begins;
    this.#answers = answers;
  }

  /** `program`: flow.c, compiled. Resolves once the first datagram leaves. */
  static async start(program: string, from: FlowPlace, to: FlowPlace): Promise<Flow> {
    const rest = [`${port++}`, `${FLOW_INTERVAL_MS * 1_000}`];
    const answers = new FlowProgram(program, to.host, [from.ipv4, ...rest, 'answer']);
    await answers.says('ready', START_LIMIT_MS);
    const begins = new FlowProgram(program, from.host, [to.ipv4, ...rest, 'begin']);
    await begins.says('ready', START_LIMIT_MS);
    return new Flow(begins, answers);
  }

  /** Both ends have heard the other. */
  get answered(): boolean {
    return this.#begins.answered && this.#answers.answered;
  }

  async stop(): Promise<Both> {
    this.#begins.end();
    this.#answers.end();
    const [begins, answers] = await Promise.all([this.#begins.result(), this.#answers.result()]);
    return directions(begins, answers);
  }
}
