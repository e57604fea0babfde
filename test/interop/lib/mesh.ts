// A mesh on one switch: a controller and nodes, each in a namespace of its own, started as a person starts them and asked over
// the command line. Everything goes with the laboratory.

import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Problem, Status } from '../../../src/protocol/local-api.ts';
import { WARREN } from './engines.ts';
import { type Host, Lab } from './lab.ts';
import { isAlive } from './proc.ts';
import { type RunResult, run } from './shell.ts';
import { until } from './wait.ts';

const START_LIMIT_MS = 15_000;
const END_LIMIT_MS = 10_000;
const CONTROLLER_ADDRESS = '10.9.0.1';
const CONTROLLER_PORT = 7370;

/** A process of ours in a namespace, with all that it printed. `prefix`: a command that becomes ours, to change what it sees. */
export class Program {
  readonly #child: ChildProcess;
  output = '';
  errors = '';

  constructor(
    host: Host,
    command: readonly string[],
    env: Readonly<Record<string, string>> = {},
    prefix: readonly string[] = [],
  ) {
    this.#child = host.start([...prefix, process.execPath, WARREN, ...command], { env });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.output = (this.output + text).slice(-65_536);
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.errors = (this.errors + text).slice(-65_536);
    });
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('it never started');
    return this.#child.pid;
  }

  get alive(): boolean {
    return isAlive(this.pid);
  }

  /** Throws when it goes on. Gives its exit code. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.alive) process.kill(this.pid, signal);
    await until(`the process ends by ${signal}`, END_LIMIT_MS, () => !this.alive);
    await until(
      'its exit is known',
      END_LIMIT_MS,
      () => this.#child.exitCode !== null || this.#child.signalCode !== null,
    );
    return this.#child.exitCode;
  }
}

/** A machine with a daemon. */
export class MeshMachine {
  readonly name: string;
  readonly host: Host;
  readonly socket: string;
  readonly state: string;
  /** Of its interface on the switch. */
  readonly outer4: string;
  readonly #arguments: readonly string[];
  /** Of its daemon, from the next start on. */
  environment: Readonly<Record<string, string>> = {};
  /** As of Program. */
  prefix: readonly string[] = [];
  program: Program | null = null;

  constructor(name: string, host: Host, directory: string, outer4: string, args: readonly string[]) {
    this.name = name;
    this.host = host;
    this.socket = join(directory, `${name}.sock`);
    this.state = join(directory, name);
    this.outer4 = outer4;
    this.#arguments = args;
  }

  async start(): Promise<void> {
    const places = ['--state', this.state, '--socket', this.socket, '--json'];
    const env = { LOG_LEVEL: 'debug', ...this.environment };
    const program = new Program(this.host, ['daemon', ...places, ...this.#arguments], env, this.prefix);
    this.program = program;
    await until(`the daemon of ${this.name} is ready`, START_LIMIT_MS, () => {
      if (!program.alive) throw new Error(`the daemon of ${this.name} ended: ${program.errors}`);
      return program.output.includes('\n');
    });
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const code = (await this.program?.end(signal)) ?? null;
    this.program = null;
    return code;
  }

  async restart(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.stop(signal);
    await this.start();
  }

  /** One command of the person's side. */
  warren(command: string, ...args: readonly string[]): Promise<RunResult> {
    return run([process.execPath, WARREN, ...command.split(' '), ...args, '--socket', this.socket], {
      timeoutMs: 90_000,
    });
  }

  /** Throws with what the command said when it fails. */
  async must(command: string, ...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.warren(command, ...args);
    if (code !== 0) throw new Error(`warren ${command} on ${this.name} ended with ${code}: ${stderr}${stdout}`);
    return stdout;
  }

  async status(): Promise<Status> {
    return JSON.parse(await this.must('status', '--json')) as Status;
  }

  /** What a command that fails says with --json. */
  async problem(command: string, ...args: readonly string[]): Promise<Problem> {
    const { code, stderr } = await this.warren(command, ...args, '--json');
    if (code !== 1) throw new Error(`warren ${command} on ${this.name} ended with ${code}: ${stderr}`);
    return (JSON.parse(stderr) as { error: Problem }).error;
  }

  /** IPv4, IPv6. */
  async addresses(): Promise<readonly [string, string]> {
    const [four = '', six = ''] = (await this.must('ip')).trim().split('\n');
    return [four, six];
  }

  untilStatus(what: string, limitMs: number, holds: (status: Status) => boolean): Promise<Status> {
    return until(`${this.name}: ${what}`, limitMs, async () => {
      const status = await this.status();
      return holds(status) ? status : null;
    });
  }

  /** One echo is answered. */
  async reaches(address: string, limitMs = 3000): Promise<void> {
    await until(`${this.name} reaches ${address}`, limitMs, async () => {
      const { code } = await this.host.run(['ping', '-n', '-c', '1', '-W', '0.2', address]);
      return code === 0;
    });
  }
}

export class MeshLab {
  readonly lab: Lab;
  readonly machines: readonly MeshMachine[];
  readonly controllerHost: Host;
  readonly #directory: string;
  controller: Program | null = null;

  private constructor(lab: Lab, controllerHost: Host, machines: readonly MeshMachine[], directory: string) {
    this.lab = lab;
    this.controllerHost = controllerHost;
    this.machines = machines;
    this.#directory = directory;
  }

  /** Controller and daemons run; nobody has joined. `args`: more for every daemon. */
  static async open(name: string, machines: readonly string[], args: readonly string[] = []): Promise<MeshLab> {
    const lab = Lab.open(name);
    const directory = mkdtempSync(join(tmpdir(), `wrn-${name}-${process.pid}-mesh-`));
    const controllerHost = await lab.host('ctl');
    const made: MeshMachine[] = [];
    const ends = [{ host: controllerHost, device: 'eth0', addresses: [`${CONTROLLER_ADDRESS}/24`, 'fd09::1/64'] }];
    for (const [i, machine] of machines.entries()) {
      const host = await lab.host(machine);
      const outer4 = `10.9.0.${i + 2}`;
      ends.push({ host, device: 'eth0', addresses: [`${outer4}/24`, `fd09::${i + 2}/64`] });
      made.push(new MeshMachine(machine, host, directory, outer4, args));
    }
    await lab.bridge('hub', ends);
    const mesh = new MeshLab(lab, controllerHost, made, directory);
    await mesh.startController();
    await Promise.all(made.map((machine) => machine.start()));
    return mesh;
  }

  machine(name: string): MeshMachine {
    const found = this.machines.find((machine) => machine.name === name);
    if (found === undefined) throw new Error(`there is no machine ${name}`);
    return found;
  }

  get dataDirectory(): string {
    return join(this.#directory, 'controller');
  }

  async startController(...more: readonly string[]): Promise<void> {
    const controller = new Program(this.controllerHost, [
      'controller',
      '--data',
      this.dataDirectory,
      '--listen',
      `0.0.0.0:${CONTROLLER_PORT}`,
      '--url',
      `http://${CONTROLLER_ADDRESS}:${CONTROLLER_PORT}`,
      // Two nodes that should not reach one another do not; a test that wants the relay says which port.
      ...(more.some((word) => word.startsWith('--relay-')) ? [] : ['--no-relay']),
      ...more,
    ]);
    this.controller = controller;
    await until('the controller answers', START_LIMIT_MS, async () => {
      if (!controller.alive) throw new Error(`the controller ended: ${controller.errors}`);
      return (await this.administer('nodes', 'list', '--json')).code === 0;
    });
  }

  async stopController(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.controller?.end(signal);
    this.controller = null;
  }

  administer(...args: readonly string[]): Promise<RunResult> {
    return run([process.execPath, WARREN, ...args, '--data', this.dataDirectory], { timeoutMs: 30_000 });
  }

  async mustAdminister(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.administer(...args);
    if (code !== 0) throw new Error(`warren ${args.join(' ')} ended with ${code}: ${stderr}${stdout}`);
    return stdout;
  }

  /** A join link; by default for any number of machines. */
  async link(...options: readonly string[]): Promise<string> {
    return (await this.mustAdminister('keys', 'create', ...(options.length > 0 ? options : ['--reusable']))).trim();
  }

  /** All machines join. */
  async joinAll(): Promise<void> {
    const link = await this.link();
    for (const machine of this.machines) await machine.must('up', '--join', link, '--hostname', machine.name);
  }

  async close(): Promise<void> {
    await this.lab.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
