// The two hosts of the tunnel's demo: network namespaces `wrn-demo-<pid>-a` and `-b` with one cable, the engines in them, and the
// measuring tools. Everything made here is removed by `dispose`, which is synchronous so that it also works at exit.

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DemoError, must, until } from './stage.mjs';

const WARREN = join(dirname(fileURLToPath(import.meta.url)), '../bin/warren');
const SOCKET_DIRECTORY = '/var/run/wireguard';
const ENGINES = {
  warren: { command: [process.execPath, WARREN, 'wg'], env: { LOG_LEVEL: 'error' } },
  'wireguard-go': { command: ['wireguard-go'], env: { WG_PROCESS_FOREGROUND: '1', LOG_LEVEL: 'error' } },
};

export class World {
  #children = new Set();
  #namespaces = [];
  #sockets = [];
  #directory = null;

  /** One host with a device `eth0` that is not wired yet. `number`: 1 or 2. */
  addHost(letter, number, engine) {
    const netns = `wrn-demo-${process.pid}-${letter}`;
    must(['ip', 'netns', 'add', netns]);
    this.#namespaces.push(netns);
    const host = {
      letter,
      netns,
      engine,
      device: `wr${process.pid.toString(36)}d${letter}`,
      outer: `192.0.2.${number}`,
      inner: `10.44.0.${number}`,
      inner6: `fd44::${number}`,
      port: 51_820,
      child: null,
      log: '',
    };
    this.inside(host, ['ip', 'link', 'set', 'lo', 'up']);
    return host;
  }

  wire(a, b) {
    const peer = ['peer', 'name', 'eth0', 'netns', b.netns];
    this.inside(a, ['ip', 'link', 'add', 'eth0', 'type', 'veth', ...peer]);
    for (const host of [a, b]) {
      this.inside(host, ['ip', 'address', 'add', `${host.outer}/24`, 'dev', 'eth0']);
      this.inside(host, ['ip', 'link', 'set', 'eth0', 'up']);
    }
  }

  inside(host, command) {
    return must(['ip', 'netns', 'exec', host.netns, ...command]);
  }

  start(host, command, env = {}) {
    const child = spawn('ip', ['netns', 'exec', host.netns, ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    child.stdout.setEncoding('utf8');
    child.stderr.setEncoding('utf8');
    return child;
  }

  /** A file that only we can read, for keys and configurations. */
  file(name, content) {
    this.#directory ??= mkdtempSync(join(tmpdir(), `wrn-demo-${process.pid}-`));
    const path = join(this.#directory, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  }

  makeKeys(host) {
    host.privateKey = must(['wg', 'genkey']).trim();
    host.publicKey = must(['wg', 'pubkey'], { input: host.privateKey }).trim();
  }

  /** Resolves when the engine answers on its control socket. */
  async startEngine(host) {
    const { command, env } = ENGINES[host.engine];
    const socket = join(SOCKET_DIRECTORY, `${host.device}.sock`);
    this.#sockets.push(socket);
    host.child = this.start(host, [...command, host.device], env);
    for (const stream of [host.child.stdout, host.child.stderr]) {
      stream.on('data', (text) => {
        host.log += text;
      });
    }
    await until(`${host.engine} on host ${host.letter}`, 15_000, () => {
      if (host.child.exitCode !== null) throw new DemoError(`${host.engine} did not start:\n${host.log.trim()}`);
      return (
        existsSync(socket) && spawnSync('ip', ['netns', 'exec', host.netns, 'wg', 'show', host.device]).status === 0
      );
    });
  }

  configure(host, other) {
    const configuration = [
      '[Interface]',
      `PrivateKey = ${host.privateKey}`,
      `ListenPort = ${host.port}`,
      '[Peer]',
      `PublicKey = ${other.publicKey}`,
      `Endpoint = ${other.outer}:${other.port}`,
      `AllowedIPs = ${other.inner}/32, ${other.inner6}/128`,
    ].join('\n');
    this.inside(host, ['wg', 'setconf', host.device, this.file(`${host.letter}.conf`, `${configuration}\n`)]);
    this.inside(host, ['ip', 'address', 'add', `${host.inner}/24`, 'dev', host.device]);
    this.inside(host, ['ip', 'address', 'add', `${host.inner6}/64`, 'dev', host.device, 'nodad']);
    this.inside(host, ['ip', 'link', 'set', host.device, 'up']);
  }

  /** Counts on host `host`'s cable: our UDP, and every other IP packet. */
  watchCable(host) {
    const rules = [
      'table inet demo {',
      'counter sealed {}',
      'counter other {}',
      'chain out {',
      'type filter hook output priority 0;',
      `oifname eth0 udp sport ${host.port} udp dport ${host.port} counter name sealed accept`,
      'oifname eth0 meta l4proto != ipv6-icmp counter name other accept',
      '}',
      '}',
    ];
    this.inside(host, ['nft', '-f', this.file('cable.nft', `${rules.join('\n')}\n`)]);
  }

  cableCounts(host) {
    const read = (name) => {
      const text = this.inside(host, ['nft', 'list', 'counter', 'inet', 'demo', name]);
      return Number(/packets (\d+)/.exec(text)?.[1]);
    };
    return { sealed: read('sealed'), other: read('other') };
  }

  /** Bytes and packets of the tunnel as `wg` and the kernel see it. */
  counters(host) {
    const peer = this.inside(host, ['wg', 'show', host.device, 'dump']).trimEnd().split('\n')[1]?.split('\t') ?? [];
    const link = JSON.parse(this.inside(host, ['ip', '-j', '-s', 'link', 'show', 'dev', host.device]))[0].stats64;
    return {
      rxBytes: Number(peer[5]),
      txBytes: Number(peer[6]),
      latestHandshake: Number(peer[4]),
      tunnelPackets: link.rx.packets + link.tx.packets,
    };
  }

  /** The thread that runs JavaScript: CPU time and how often it has been put on a CPU. Null for other engines. */
  javascriptThread(host) {
    if (host.engine !== 'warren') return null;
    const pid = host.child.pid;
    const [nanoseconds, , runs] = readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8')
      .trim()
      .split(' ')
      .map(Number);
    return { milliseconds: nanoseconds / 1e6, wakeUps: runs };
  }

  dispose() {
    for (const child of this.#children) child.kill('SIGKILL');
    this.#children.clear();
    for (const netns of this.#namespaces.splice(0)) {
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
    for (const socket of this.#sockets.splice(0)) rmSync(socket, { force: true });
    if (this.#directory !== null) rmSync(this.#directory, { recursive: true, force: true });
    this.#directory = null;
  }
}
