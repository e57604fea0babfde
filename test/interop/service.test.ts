// The services as systemd starts them, without systemd: the command line of each unit, with the capabilities that the unit leaves it
// and somebody who listens on NOTIFY_SOCKET. Each says that it is ready, that it is alive, and that it stops.

import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Unit } from '../lib/units.ts';
import { WARREN } from './lib/engines.ts';
import { type Host, Lab, SOCKET_DIRECTORY, uniqueInterfaceName } from './lib/lab.ts';
import { isAlive } from './lib/proc.ts';
import { CAN_RUN } from './lib/subject.ts';
import { until } from './lib/wait.ts';

/** A service manager as far as sd_notify(3) goes: prints each datagram as a line. Node has no unix datagrams. */
const MANAGER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1] if sys.argv[1][0] != '@' else '\\0' + sys.argv[1][1:])
print('listening', flush=True)
while True: print(s.recv(4096).decode().replace('\\n', ' | '), flush=True)
`;

class Manager {
  readonly path: string;
  readonly #child: ChildProcess;
  #heard = '';

  private constructor(path: string, child: ChildProcess) {
    this.path = path;
    this.#child = child;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#heard += text;
    });
  }

  static async start(host: Host, path: string): Promise<Manager> {
    const manager = new Manager(path, host.start(['python3', '-c', MANAGER, path]));
    await until('the manager listens', 10_000, () => manager.#heard.includes('listening\n'));
    return manager;
  }

  get heard(): readonly string[] {
    return this.#heard.split('\n').slice(1, -1);
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}

describe.runIf(CAN_RUN)('a service', () => {
  let lab: Lab;
  let host: Host;
  let directory: string;

  beforeAll(async () => {
    lab = Lab.open('service');
    host = await lab.host('host');
    directory = mkdtempSync(join(tmpdir(), 'warren-service-'));
  });
  afterAll(async () => {
    await lab.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const wgName = uniqueInterfaceName();
  const SERVICES = [
    {
      file: 'warren-daemon.service',
      args: () => ['--state', join(directory, 'state'), '--socket', join(directory, 'warren.sock'), '--tun', 'svc0'],
      abstract: false,
      there: () => existsSync(join(directory, 'warren.sock')),
    },
    {
      file: 'warren-controller.service',
      // A port that takes the capability.
      args: () => ['--data', join(directory, 'controller'), '--listen', '127.0.0.1:443'],
      abstract: true,
      there: () => existsSync(join(directory, 'controller', 'admin.sock')),
    },
    {
      file: 'warren-wg@.service',
      args: () => [],
      abstract: false,
      there: () => existsSync(join(SOCKET_DIRECTORY, `${wgName}.sock`)),
    },
  ];

  it.each(SERVICES)('works with what its unit leaves it, and tells its manager: $file', async (service) => {
    const unit = new Unit(service.file);
    lab.owns(join(SOCKET_DIRECTORY, `${wgName}.sock`));
    const name = join(directory, `${service.file}.notify`);
    const manager = await Manager.start(host, service.abstract ? `@${name}` : name);
    const [program, ...words] = unit.one('ExecStart').replaceAll('%i', wgName).split(' ');
    expect(program).toBe('warren');
    const kept = unit.one('CapabilityBoundingSet').split(' ');
    const bounding = kept.map((capability) => `+${capability.replace('CAP_', '').toLowerCase()}`);
    const child = host.start(
      ['setpriv', '--no-new-privs', '--bounding-set', ['-all', ...bounding].join(',')].concat(
        process.execPath,
        WARREN,
        words,
        service.args(),
      ),
      { env: { NOTIFY_SOCKET: manager.path, WATCHDOG_USEC: '1000000', LOG_LEVEL: 'error' } },
    );
    let errors = '';
    let exit: number | null = null;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      errors += text;
    });
    child.once('exit', (code) => {
      exit = code ?? -1;
    });

    const told = (state: string): boolean => {
      if (exit !== null && state !== 'STOPPING=1') throw new Error(`it ended with ${exit}: ${errors}`);
      return manager.heard.some((line) => line.startsWith(state));
    };
    await until('it is ready', 30_000, () => told('READY=1'));
    expect(service.there()).toBe(true);
    await until('it is alive', 10_000, () => told('WATCHDOG=1'));
    const pid = child.pid ?? 0;
    expect(isAlive(pid)).toBe(true);
    const effective = /^CapEff:\t([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';
    expect(BigInt(`0x${effective}`) & ~CAPABILITIES).toBe(0n);

    child.kill('SIGTERM');
    await until('it stops', 20_000, () => exit !== null);
    await until('it told so', 5000, () => told('STOPPING=1'));
    expect(exit).toBe(0);
    // Nothing that it wanted was refused.
    expect(errors.split('\n').filter((line) => line.startsWith('error '))).toEqual([]);
    expect(service.there()).toBe(false);
    const order = manager.heard.map((line) => line.split(/[ =]/)[0]).filter((word) => word !== 'WATCHDOG');
    expect(order[0]).toBe('READY');
    expect(order.at(-1)).toBe('STOPPING');
    manager.stop();
  });
});

/** CAP_NET_ADMIN and CAP_NET_BIND_SERVICE, by number. */
const CAPABILITIES = (1n << 12n) | (1n << 10n);
