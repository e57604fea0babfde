// Warren in the NAT lab: a controller with its relay on the third party's host, and a daemon at every site, joined once. The
// controller is known by a name with addresses of both families, and listens at the port that even the most closed place lets TCP to.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SITE_KINDS, type SiteKind } from '../../../../src/sim/nat/kinds.ts';
import { WARREN } from '../../../interop/lib/engines.ts';
import { MeshMachine, Program } from '../../../interop/lib/mesh.ts';
import { must, run } from '../../../interop/lib/shell.ts';
import { until } from '../../../interop/lib/wait.ts';
import { CONTROLLER_ADDRESSES } from './address-plan.ts';
import { NatLab } from './nat-lab.ts';
import type { Site } from './site.ts';
import { PEOPLED } from './world.ts';

const CONTROLLER_NAME = 'controller.natlab';
const CONTROLLER_PORT = 443;
const START_LIMIT_MS = 30_000;
const JOIN_LIMIT_MS = 60_000;
/** Daemons that start or join at once. */
const AT_ONCE = 4;

export interface WarrenSite {
  readonly site: Site;
  readonly machine: MeshMachine;
  /** Inside the mesh. */
  readonly ipv4: string;
}

export interface WarrenOptions {
  readonly twins?: boolean;
  /** One way, of every site's link. */
  readonly delayMs?: number;
  /** More for every daemon, and for the controller. */
  readonly daemonArguments?: readonly string[];
  readonly controllerArguments?: readonly string[];
}

export class WarrenWorld {
  readonly lab: NatLab;
  readonly members: readonly WarrenSite[];
  readonly controller: Program;
  readonly #directory: string;

  private constructor(lab: NatLab, members: readonly WarrenSite[], controller: Program, directory: string) {
    this.lab = lab;
    this.members = members;
    this.controller = controller;
    this.#directory = directory;
  }

  /** Resolves when every daemon is in the mesh. */
  static async open(name: string, kinds = SITE_KINDS, options: WarrenOptions = {}): Promise<WarrenWorld> {
    const lab = await NatLab.open(name);
    const directory = mkdtempSync(join(tmpdir(), `wrn-${name}-${process.pid}-mesh-`));
    try {
      const prefix = knowing(lab);
      const controller = await startController(lab, directory, prefix, options.controllerArguments ?? []);
      const link = await must([
        process.execPath,
        WARREN,
        'keys',
        'create',
        '--reusable',
        '--data',
        join(directory, 'ctl'),
      ]);
      const names = kinds.flatMap((kind) =>
        (options.twins === true ? [kind, `${kind}2`] : [kind]).map((of) => [of, kind]),
      );
      const members = await severally(names as [string, SiteKind][], async ([siteName, kind]) => {
        const hosts = PEOPLED.includes(kind) ? 2 : 1;
        const site = await lab.site(siteName, kind, {
          hosts,
          ...(options.delayMs ? { delayMs: options.delayMs } : {}),
        });
        const machine = new MeshMachine(
          siteName,
          site.host,
          directory,
          site.first.ipv4 ?? '',
          options.daemonArguments ?? [],
        );
        machine.prefix = prefix;
        await machine.start();
        await machine.must(
          'up',
          '--join',
          link.trim(),
          '--hostname',
          siteName.toLowerCase(),
          '--timeout',
          `${JOIN_LIMIT_MS / 1000}`,
        );
        const [ipv4] = await machine.addresses();
        return { site, machine, ipv4 };
      });
      return new WarrenWorld(lab, members, controller, directory);
    } catch (error) {
      await lab.close();
      rmSync(directory, { recursive: true, force: true });
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.lab.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** A command that shows the next one a file of hosts with the controller's name in it, and nobody else. */
function knowing(lab: NatLab): readonly string[] {
  const addresses = [CONTROLLER_ADDRESSES.ipv4[0], CONTROLLER_ADDRESSES.ipv6[0]];
  const lines = ['127.0.0.1 localhost', ...addresses.map((address) => `${address} ${CONTROLLER_NAME}`)];
  const hosts = lab.lab.file('hosts', `${lines.join('\n')}\n`);
  return ['unshare', '-m', 'sh', '-c', 'mount --bind "$0" /etc/hosts && exec "$@"', hosts];
}

async function startController(
  lab: NatLab,
  directory: string,
  prefix: readonly string[],
  more: readonly string[],
): Promise<Program> {
  const data = join(directory, 'ctl');
  const url = `http://${CONTROLLER_NAME}:${CONTROLLER_PORT}`;
  const command = ['controller', '--data', data, '--listen', `[::]:${CONTROLLER_PORT}`, '--url', url, ...more];
  const controller = new Program(lab.controllerHost, command, { LOG_LEVEL: 'debug' }, prefix);
  await until('the controller answers', START_LIMIT_MS, async () => {
    if (!controller.alive) throw new Error(`the controller ended: ${controller.errors}`);
    return (await run([process.execPath, WARREN, 'nodes', 'list', '--json', '--data', data])).code === 0;
  });
  return controller;
}

async function severally<T, R>(things: readonly T[], work: (thing: T) => Promise<R>): Promise<readonly R[]> {
  const results: R[] = new Array<R>(things.length);
  const waiting = things.entries();
  const worker = async (): Promise<void> => {
    for (const [at, thing] of waiting) results[at] = await work(thing);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return results;
}
