// Where paths are measured: the NAT lab with a controller, daemons at its sites, and relays, all of them real processes. Leaves out
// what is done to them.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NatLab } from '../../test/integration/nat-lab/lib/nat-lab.ts';
import type { Site } from '../../test/integration/nat-lab/lib/site.ts';
import { WARREN } from '../../test/interop/lib/engines.ts';
import { MeshMachine, Program } from '../../test/interop/lib/mesh.ts';
import { must } from '../../test/interop/lib/shell.ts';
import { until } from '../../test/interop/lib/wait.ts';
import { statusOf } from './local.ts';
import type { PathNode } from './path-node.ts';

const PORT = 7_370;
const START_LIMIT_MS = 60_000;
const JOIN_LIMIT_S = 60;
const HOME_LIMIT_MS = 60_000;

export interface PathRelay {
  readonly name: string;
  readonly site: Site;
  readonly address: string;
  readonly program: Program;
  kill(): Promise<void>;
  start(): Promise<void>;
}

/** Of a site's link to the internet; 0: none beyond the kernel's own. */
export function delayed(delayMs: number): { readonly delayMs?: number } {
  return delayMs === 0 ? {} : { delayMs };
}

export interface WorldOptions {
  /** Whether there is one inside the controller. */
  readonly relay: boolean;
  /** Daemons say all that they do. */
  readonly debug: boolean;
}

export class PathWorld {
  readonly lab: NatLab;
  readonly #directory: string;
  readonly #options: WorldOptions;
  readonly #controller: Program;
  #link: string | null = null;

  private constructor(lab: NatLab, directory: string, options: WorldOptions, controller: Program) {
    this.lab = lab;
    this.#directory = directory;
    this.#options = options;
    this.#controller = controller;
  }

  /** `name`: as of a lab. */
  static async open(name: string, options: WorldOptions): Promise<PathWorld> {
    const lab = await NatLab.open(name);
    const directory = mkdtempSync(join(tmpdir(), `wrn-${name}-${process.pid}-mesh-`));
    try {
      const [address] = lab.controllerAddresses.ipv4;
      const places = ['--data', join(directory, 'ctl'), '--listen', `0.0.0.0:${PORT}`];
      const told = ['--url', `http://${address}:${PORT}`, '--json', ...(options.relay ? [] : ['--no-relay'])];
      const controller = new Program(lab.controllerHost, ['controller', ...places, ...told], logLevel(options));
      await ready('the controller', controller);
      return new PathWorld(lab, directory, options, controller);
    } catch (error) {
      await lab.close();
      rmSync(directory, { recursive: true, force: true });
      throw error;
    }
  }

  get controller(): Program {
    return this.#controller;
  }

  /** A daemon on host number `index` of the site; in the mesh, and with a home where there is a relay, when it resolves. */
  async node(name: string, site: Site, index = 0): Promise<PathNode> {
    const at = site.hosts[index];
    if (at === undefined) throw new Error(`${site.name} has no host ${index}`);
    const machine = new MeshMachine(name, at.host, this.#directory, at.ipv4 ?? '', ['--idle-timeout', '0']);
    machine.environment = logLevel(this.#options);
    await machine.start();
    this.#link ??= await this.#joinLink('--reusable');
    await machine.must('up', '--join', this.#link, '--hostname', name, '--timeout', `${JOIN_LIMIT_S}`);
    const [ipv4] = await machine.addresses();
    return { name, site, host: at.host, machine, ipv4 };
  }

  /** Every one of them may be reached by a relay. */
  async untilHome(nodes: readonly PathNode[]): Promise<void> {
    for (const node of nodes) {
      await until(`${node.name} has a home`, HOME_LIMIT_MS, async () => {
        const { relays } = await statusOf(node);
        return relays.some(({ home, state }) => home && state === 'established');
      });
    }
  }

  /** A relay that stands alone, at a public site. */
  async relay(name: string, site: Site): Promise<PathRelay> {
    const address = site.first.ipv4;
    if (address === null) throw new Error(`${site.name} has no IPv4 address`);
    const link = this.lab.lab.file(`${name}.link`, await this.#joinLink('--tag', 'relay'));
    const command = ['relay', '--join-file', link, '--state', join(this.#directory, name), '--port', `${PORT}`];
    const launch = async (): Promise<Program> => {
      const program = new Program(site.host, [...command, '--public', address, '--json'], logLevel(this.#options));
      await ready(`the relay ${name}`, program);
      return program;
    };
    let program = await launch();
    return {
      name,
      site,
      address,
      get program() {
        return program;
      },
      async kill() {
        await program.end('SIGKILL');
      },
      async start() {
        program = await launch();
      },
    };
  }

  async #joinLink(...options: readonly string[]): Promise<string> {
    const command = [process.execPath, WARREN, 'keys', 'create', ...options, '--data', join(this.#directory, 'ctl')];
    return (await must(command, { timeoutMs: START_LIMIT_MS })).trim();
  }

  async close(): Promise<void> {
    await this.lab.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

function logLevel({ debug }: WorldOptions): Readonly<Record<string, string>> {
  return { LOG_LEVEL: debug ? 'debug' : 'error' };
}

async function ready(what: string, program: Program): Promise<void> {
  await until(`${what} is ready`, START_LIMIT_MS, () => {
    if (!program.alive) throw new Error(`${what} ended: ${program.errors}`);
    return program.output.includes('\n');
  });
}
