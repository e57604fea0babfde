// The machines of the mesh's demo: a router between three networks, a controller and four nodes, each a network namespace
// named `wrn-demo-<pid>-NAME`. State and sockets are in one temporary directory. `dispose` removes everything at once.

import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DemoError, must, until } from './stage.mjs';

const WARREN = join(dirname(fileURLToPath(import.meta.url)), '../bin/warren');
const CONTROLLER_PORT = 7370;
const START_LIMIT_MS = 15_000;
const JOIN_LINK = /^warren:\/\/\S+$/m;

export class MeshWorld {
  #children = new Set();
  #namespaces = [];
  #directory = mkdtempSync(join(tmpdir(), `wrn-demo-${process.pid}-`));
  #router;

  constructor() {
    this.#router = this.#namespace('router');
    for (const family of ['ipv4.ip_forward', 'ipv6.conf.all.forwarding']) {
      this.#in(this.#router, ['sysctl', '-qw', `net.${family}=1`]);
    }
  }

  /** A network behind the router: 10.77.N.0/24 and fd77:N::/64. */
  addNetwork(number) {
    const bridge = `net${number}`;
    this.#in(this.#router, ['ip', 'link', 'add', bridge, 'type', 'bridge']);
    this.#in(this.#router, ['ip', 'address', 'add', `10.77.${number}.1/24`, 'dev', bridge]);
    this.#in(this.#router, ['ip', 'address', 'add', `fd77:${number}::1/64`, 'dev', bridge, 'nodad']);
    this.#in(this.#router, ['ip', 'link', 'set', bridge, 'up']);
    return number;
  }

  /** A machine on that network, with a default route over the router. */
  addMachine(name, network, host) {
    const netns = this.#namespace(name);
    const machine = {
      name,
      netns,
      network,
      address: `10.77.${network}.${host}`,
      state: join(this.#directory, name),
      socket: join(this.#directory, `${name}.sock`),
      device: 'warren0',
      child: null,
      log: '',
    };
    const port = `${name}0`.slice(0, 15);
    this.#in(this.#router, ['ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns]);
    this.#in(this.#router, ['ip', 'link', 'set', port, 'master', `net${network}`, 'up']);
    this.inside(machine, ['ip', 'link', 'set', 'eth0', 'up']);
    this.inside(machine, ['ip', 'address', 'add', `${machine.address}/24`, 'dev', 'eth0']);
    this.inside(machine, ['ip', 'address', 'add', `fd77:${network}::${host}/64`, 'dev', 'eth0', 'nodad']);
    this.inside(machine, ['ip', 'route', 'add', 'default', 'via', `10.77.${network}.1`]);
    this.inside(machine, ['ip', '-6', 'route', 'add', 'default', 'via', `fd77:${network}::1`]);
    mkdirSync(machine.state, { mode: 0o700 });
    return machine;
  }

  inside(machine, command) {
    return this.#in(machine.netns, command);
  }

  /** Runs a command of ours on the machine; what it printed on stdout. */
  warren(machine, ...args) {
    return this.inside(machine, [process.execPath, WARREN, ...args]);
  }

  /** As `warren`, for what takes long: several may run at once. */
  async warrenAsync(machine, ...args) {
    const child = this.start(machine, [process.execPath, WARREN, ...args]);
    let out = '';
    let error = '';
    child.stdout.on('data', (text) => {
      out += text;
    });
    child.stderr.on('data', (text) => {
      error += text;
    });
    const code = await new Promise((resolve) => child.once('close', resolve));
    return { code, out, error };
  }

  /** Resolves when it serves; to its join link when it is its first start. */
  async startController(machine, { first }) {
    const url = `http://${machine.address}:${CONTROLLER_PORT}`;
    const listen = `0.0.0.0:${CONTROLLER_PORT}`;
    machine.log = '';
    machine.out = '';
    machine.child = this.start(machine, [
      process.execPath,
      WARREN,
      'controller',
      '--data',
      machine.state,
      '--listen',
      listen,
      '--url',
      url,
    ]);
    this.#listen(machine);
    await until('the controller', START_LIMIT_MS, () => {
      this.#alive(machine, 'the controller');
      return first ? JOIN_LINK.test(machine.out) : /the controller is at/.test(machine.log);
    });
    return JOIN_LINK.exec(machine.out)?.[0] ?? null;
  }

  async startDaemon(machine) {
    const options = ['--state', machine.state, '--socket', machine.socket, '--tun', machine.device];
    machine.child = this.start(machine, [process.execPath, WARREN, 'daemon', ...options]);
    this.#listen(machine);
    await until(`the daemon of ${machine.name}`, START_LIMIT_MS, () => {
      this.#alive(machine, `the daemon of ${machine.name}`);
      return spawnSync(process.execPath, [WARREN, 'status', '--json', '--socket', machine.socket]).status === 0;
    });
  }

  status(machine) {
    return JSON.parse(must([process.execPath, WARREN, 'status', '--json', '--socket', machine.socket]));
  }

  start(machine, command) {
    const child = spawn('ip', ['netns', 'exec', machine.netns, ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    child.stdout.setEncoding('utf8');
    child.stderr.setEncoding('utf8');
    return child;
  }

  dispose() {
    for (const child of this.#children) child.kill('SIGKILL');
    this.#children.clear();
    for (const netns of this.#namespaces.splice(0).reverse()) {
      const { stdout } = spawnSync('ip', ['netns', 'pids', netns], { encoding: 'utf8' });
      for (const pid of (stdout ?? '').split('\n').filter(Boolean)) {
        try {
          process.kill(Number(pid), 'SIGKILL');
        } catch {
          // It has ended by itself in between.
        }
      }
      spawnSync('ip', ['netns', 'del', netns]);
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #namespace(name) {
    const netns = `wrn-demo-${process.pid}-${name}`;
    must(['ip', 'netns', 'add', netns]);
    this.#namespaces.push(netns);
    this.#in(netns, ['ip', 'link', 'set', 'lo', 'up']);
    return netns;
  }

  #in(netns, command) {
    return must(['ip', 'netns', 'exec', netns, ...command]);
  }

  #listen(machine) {
    machine.child.stdout.on('data', (text) => {
      machine.out = (machine.out ?? '') + text;
    });
    machine.child.stderr.on('data', (text) => {
      machine.log += text;
    });
  }

  #alive(machine, what) {
    if (machine.child.exitCode === null) return;
    throw new DemoError(`${what} did not start:\n${machine.log.trim()}`);
  }
}
