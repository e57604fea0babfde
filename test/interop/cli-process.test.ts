// `warren-wg` and `warren wg` as processes (docs/cli.md): the return from the background, failures told by who was called, what
// the process gives up, and a control socket that somebody else made.

import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WARREN, WARREN_DROP_IN } from './lib/engines.ts';
import { type Host, Lab, SOCKET_DIRECTORY, uniqueInterfaceName } from './lib/lab.ts';
import { isAlive } from './lib/proc.ts';
import { CAN_RUN, SUBJECT } from './lib/subject.ts';
import { until } from './lib/wait.ts';

interface Ready {
  readonly interface: string;
  readonly pid: number;
  readonly socket: string;
}

describe.runIf(CAN_RUN && SUBJECT === 'warren')('the process of one interface', () => {
  let lab: Lab;
  let host: Host;

  beforeAll(async () => {
    lab = Lab.open('cliprocess');
    host = await lab.host('host');
  });

  afterAll(async () => {
    await lab.close();
  });

  function newName(): string {
    const name = uniqueInterfaceName();
    lab.owns(join(SOCKET_DIRECTORY, `${name}.sock`));
    return name;
  }

  async function startInBackground(name: string): Promise<Ready> {
    return JSON.parse(await host.must([process.execPath, WARREN_DROP_IN, '--json', name])) as Ready;
  }

  async function untilGone({ pid, socket, ...ready }: Ready): Promise<void> {
    await until(`the process of ${ready.interface} ends`, 5_000, () => !isAlive(pid) || null);
    expect(existsSync(socket)).toBe(false);
    expect(await host.hasInterface(ready.interface)).toBe(false);
  }

  it('is in the background, and ready, when the drop-in returns', async () => {
    const name = newName();
    const ready = await startInBackground(name);
    expect(ready).toMatchObject({ interface: name, socket: join(SOCKET_DIRECTORY, `${name}.sock`) });
    expect(await host.must(['wg', 'show', name, 'listen-port'])).toBe('0\n');
    expect(await host.hasInterface(name)).toBe(true);
    const status = JSON.parse(await host.must([process.execPath, WARREN, 'show', '--json', name])) as object;
    expect(status).toMatchObject({ interface: name, publicKey: null, peers: [] });
    process.kill(ready.pid, 'SIGTERM');
    await untilGone(ready);
  });

  it('keeps CAP_NET_ADMIN and, for ports below 1024, CAP_NET_BIND_SERVICE, in every thread, and dumps no core', async () => {
    const ready = await startInBackground(newName());
    const threads = readdirSync(`/proc/${ready.pid}/task`);
    expect(threads.length).toBeGreaterThan(1);
    for (const thread of threads) {
      const status = readFileSync(`/proc/${ready.pid}/task/${thread}/status`, 'latin1');
      expect(status).toMatch(/^CapEff:\s+0000000000001400$/m);
      expect(status).toMatch(/^CapPrm:\s+0000000000001400$/m);
      expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
    }
    expect(readFileSync(`/proc/${ready.pid}/limits`, 'latin1')).toMatch(/^Max core file size\s+0\s+0\s/m);
    rmSync(ready.socket);
    await untilGone(ready);
  });

  it('that cannot start has its reason told by who was called, with exit code 1', async () => {
    const ready = await startInBackground(newName());
    const second = await host.run([process.execPath, WARREN_DROP_IN, ready.interface]);
    expect(second).toMatchObject({ code: 1, stdout: '' });
    expect(second.stderr).toMatch(/^warren-wg: cannot make the interface .*\n {2}why: .*in use/);
    const foreground = await host.run([process.execPath, WARREN, 'wg', ready.interface]);
    expect(foreground).toMatchObject({ code: 1, stdout: '' });
    expect(foreground.stderr).toMatch(/^warren wg: cannot make the interface /);
    expect(isAlive(ready.pid)).toBe(true);
    process.kill(ready.pid, 'SIGINT');
    await untilGone(ready);
  });

  it('says which descriptor it cannot use', async () => {
    const command = [process.execPath, WARREN, 'wg', newName()];
    for (const name of ['WG_TUN_FD', 'WG_UAPI_FD']) {
      const result = await host.run(command, { env: { [name]: 'seven' } });
      expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining(`cannot use ${name}=seven`) });
    }
    const closed = await host.run(command, { env: { WG_UAPI_FD: '77' } });
    expect(closed).toMatchObject({ code: 1, stderr: expect.stringContaining('WG_UAPI_FD must be') });
  });

  it.each(['SIGTERM', 'the deletion of the socket'])('serves a socket that is passed in, until %s', async (end) => {
    const name = newName();
    const path = join(SOCKET_DIRECTORY, `${name}.sock`);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen({ path: `${path}.made` }, resolve));
    // Closing a server deletes the name that it was made with; the one that is passed on must outlive it.
    renameSync(`${path}.made`, path);
    const child = spawn('ip', ['netns', 'exec', host.netns, process.execPath, WARREN, 'wg', '--json', name], {
      env: { ...process.env, WG_UAPI_FD: '3', LOG_LEVEL: 'error' },
      stdio: ['ignore', 'pipe', 'inherit', descriptorOf(server)],
    });
    server.close();
    let output = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    const ready = JSON.parse(await until('it is ready', 10_000, () => /^\{.*\}\n/.exec(output)?.[0] ?? null)) as Ready;
    expect(ready.socket).toBe(path);
    await host.must(['wg', 'set', name, 'fwmark', '0x7']);
    expect(await host.must(['wg', 'show', name, 'fwmark'])).toBe('0x7\n');
    if (end === 'SIGTERM') process.kill(ready.pid, 'SIGTERM');
    else rmSync(path);
    await untilGone(ready);
    expect(await until('its exit code is known', 5_000, () => child.exitCode ?? null)).toBe(0);
  });
});

/** Node does not tell the descriptor of a server; a child gets it as one of its streams. */
function descriptorOf(server: object): number {
  const handle: unknown = Reflect.get(server, '_handle');
  const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined;
  if (typeof fd !== 'number') throw new Error('the server has no descriptor');
  return fd;
}
