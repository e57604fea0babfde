// The machines of the mesh's demo: a controller and nodes on an internet with NATs (internet.mjs), each a network namespace named
// `wrn-demo-<pid>-NAME`, and the programs on them. State and sockets are in one temporary directory. `dispose` removes everything at once.

import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Internet } from './internet.mjs';
import { DemoError, must, until } from './stage.mjs';

const WARREN = join(dirname(fileURLToPath(import.meta.url)), '../bin/warren');
const CONTROLLER_PORT = 7370;
const START_LIMIT_MS = 30_000;
const JOIN_LINK = /^warren:\/\/\S+$/m;

export class MeshWorld {
  #children = new Set();
  #namespaces = [];
  #directory = mkdtempSync(join(tmpdir(), `wrn-demo-${process.pid}-`));
  /** Null before `openInternet`. */
  internet = null;

  openInternet() {
    this.internet = new Internet((name) => this.#namespace(name));
    return this.internet;
  }

  /** Not connected to anything yet: the internet gives it an address. */
  addMachine(name) {
    const machine = {
      name,
      netns: this.#namespace(name),
      address: null,
      state: join(this.#directory, name),
      socket: join(this.#directory, `${name}.sock`),
      device: 'warren0',
      child: null,
      log: '',
    };
    mkdirSync(machine.state, { mode: 0o700 });
    return machine;
  }

  inside(machine, command) {
    return must(['ip', 'netns', 'exec', machine.netns, ...command]);
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
      return this.status(machine).catch(() => null);
    });
  }

  /** What `warren status --json` shows, without the time that starting a program takes. */
  status(machine) {
    return this.#ask(machine, 'GET', '/v1/status');
  }

  /** What `warren why PEER --json` shows. */
  why(machine, peer) {
    return this.#ask(machine, 'GET', `/v1/why?peer=${encodeURIComponent(peer.name)}`);
  }

  /** What `warren netcheck --json` shows. */
  netcheck(machine) {
    return this.#ask(machine, 'POST', '/v1/netcheck', {});
  }

  /** What `warren ping PEER --until-direct -i 0.01 --json` says, line by line: `onLine` is called when one is there, `onAsked` before. */
  async pingUntilDirect(machine, peer, limitMs, { onAsked, onLine }) {
    const intervalMs = 10;
    const body = { peer: peer.name, untilDirect: true, count: limitMs / intervalMs, intervalMs, timeoutMs: limitMs };
    let rest = '';
    const onChunk = (chunk) => {
      const lines = `${rest}${chunk}`.split('\n');
      rest = lines.pop();
      for (const line of lines) onLine(JSON.parse(line));
    };
    await this.#call(machine, 'POST', '/v1/ping', body, { onAsked, onChunk });
  }

  start(machine, command) {
    const child = spawn('ip', ['netns', 'exec', machine.netns, ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    child.stdout.setEncoding('utf8');
    child.stderr.setEncoding('utf8');
    return child;
  }

  /** kill -9, of everything that runs there. */
  killAll(machine) {
    for (const pid of must(['ip', 'netns', 'pids', machine.netns]).trim().split('\n'))
      process.kill(Number(pid), 'SIGKILL');
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

  async #ask(machine, method, path, body) {
    return JSON.parse(await this.#call(machine, method, path, body));
  }

  /** The local API, over its socket. `onAsked`: called when the request is with the daemon; `onChunk`: with each piece of the answer. */
  #call(machine, method, path, body, { onAsked = () => {}, onChunk = () => {} } = {}) {
    return new Promise((resolve, reject) => {
      const asked = request({ socketPath: machine.socket, method, path, agent: false }, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk) => {
          text += chunk;
          if (response.statusCode === 200) onChunk(chunk);
        });
        response.once('error', reject);
        response.once('end', () => {
          if (response.statusCode === 200) resolve(text);
          else reject(new DemoError(`${machine.name} refuses ${method} ${path}: ${text.trim()}`));
        });
      });
      asked.once('error', reject);
      asked.once('finish', onAsked);
      asked.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  #namespace(name) {
    const netns = `wrn-demo-${process.pid}-${name}`;
    must(['ip', 'netns', 'add', netns]);
    this.#namespaces.push(netns);
    must(['ip', 'netns', 'exec', netns, 'ip', 'link', 'set', 'lo', 'up']);
    return netns;
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
