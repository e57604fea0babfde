// A machine, another one and a gateway on one network, and the internet behind the gateway, which translates IPv4, lets nobody in who
// was not asked, and may run miniupnpd. The addresses outside belong to real networks, because miniupnpd refuses all that are set
// apart for documentation; nothing leaves the namespaces, which have no way out.

import type { ChildProcess } from 'node:child_process';
import { type Host, Lab } from './lab.ts';
import { hasProgram } from './shell.ts';
import { until } from './wait.ts';

export const GATEWAY4 = '192.168.77.1';
export const NODE4 = '192.168.77.2';
export const OTHER4 = '192.168.77.3';
export const OUTER4 = '11.0.0.1';
export const OUTSIDE4 = '11.0.0.2';
export const GATEWAY6 = '2001:db8:77::1';
export const NODE6 = '2001:db8:77::2';
export const OUTSIDE6 = '2001:db8:99::2';

/** In CI its absence is a failure: set-up brings it (scripts/lib/needs.mjs). */
export const HAS_MINIUPNPD = await (async (): Promise<boolean> => {
  const there = await Promise.all(['miniupnpd', 'nft'].map(hasProgram));
  if (there.every(Boolean)) return true;
  if (process.env['CI'] === 'true') throw new Error('miniupnpd or nft is missing: node scripts/setup.mjs --for test');
  process.stderr.write('interop with miniupnpd is skipped: install the packages miniupnpd-nftables and nftables\n');
  return false;
})();

const RULES = `table inet filter {
  chain miniupnpd { }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
  chain mute { }
  chain input { type filter hook input priority filter; jump mute; }
  chain forward {
    type filter hook forward priority filter; policy drop;
    jump miniupnpd
    iifname "lan" accept
    ct state established accept
  }
  chain prerouting { type nat hook prerouting priority dstnat; jump prerouting_miniupnpd; }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    jump postrouting_miniupnpd
    meta nfproto ipv4 oifname "wan" masquerade
  }
}
`;

export interface DaemonSettings {
  /** PCP and NAT-PMP are one switch of miniupnpd. */
  readonly natPmp: boolean;
  readonly upnp: boolean;
  /** Further lines of its configuration. */
  readonly more?: readonly string[];
  /** Who may map what: lines of its configuration. */
  readonly rules?: readonly string[];
}

const ALL_MAY = [`allow 1024-65535 192.168.77.0/24 1024-65535`];

export class PortmapLab {
  readonly lab: Lab;
  readonly node: Host;
  readonly other: Host;
  readonly gateway: Host;
  readonly outside: Host;
  #daemon: ChildProcess | null = null;
  #log = '';
  #starts = 0;

  private constructor(lab: Lab, hosts: readonly [Host, Host, Host, Host]) {
    this.lab = lab;
    [this.node, this.other, this.gateway, this.outside] = hosts;
  }

  static async open(name: string): Promise<PortmapLab> {
    const lab = Lab.open(name);
    try {
      const node = await lab.host('node');
      const other = await lab.host('other');
      const gateway = await lab.host('gateway');
      const outside = await lab.host('outside');
      await lab.bridge('lan', [
        { host: node, device: 'eth0', addresses: [`${NODE4}/24`, `${NODE6}/64`] },
        { host: other, device: 'eth0', addresses: [`${OTHER4}/24`] },
        { host: gateway, device: 'lan', addresses: [`${GATEWAY4}/24`, `${GATEWAY6}/64`] },
      ]);
      await lab.link(
        { host: gateway, device: 'wan', addresses: [`${OUTER4}/24`, '2001:db8:99::1/64'] },
        { host: outside, device: 'eth0', addresses: [`${OUTSIDE4}/24`, `${OUTSIDE6}/64`] },
      );
      await gateway.must(['sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']);
      for (const host of [node, other]) await host.must(['ip', 'route', 'add', 'default', 'via', GATEWAY4]);
      await node.must(['ip', '-6', 'route', 'add', 'default', 'via', GATEWAY6]);
      await outside.must(['ip', '-6', 'route', 'add', 'default', 'via', '2001:db8:99::1']);
      await gateway.must(['nft', '-f', lab.file('gateway.nft', RULES)]);
      return new PortmapLab(lab, [node, other, gateway, outside]);
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  async startDaemon(settings: DaemonSettings): Promise<void> {
    const yesNo = (value: boolean): string => (value ? 'yes' : 'no');
    const lines = [
      'ext_ifname=wan',
      'ext_ifname6=wan',
      'listening_ip=lan',
      `enable_natpmp=${yesNo(settings.natPmp)}`,
      `enable_upnp=${yesNo(settings.upnp)}`,
      'secure_mode=yes',
      'notify_interval=3600',
      'min_lifetime=60',
      'uuid=00000000-0000-4000-8000-000000000001',
      ...(settings.more ?? []),
      ...(settings.rules ?? ALL_MAY),
      'deny 0-65535 0.0.0.0/0 0-65535',
    ];
    const config = this.lab.file('miniupnpd.conf', `${lines.join('\n')}\n`);
    // One of its own each time: it takes the number in one that is there for another that runs.
    const pidFile = `${config}.${++this.#starts}.pid`;
    this.#log = '';
    const child = this.gateway.start(['miniupnpd', '-d', '-f', config, '-P', pidFile]);
    this.#daemon = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#log = (this.#log + text).slice(-100_000);
      });
    }
    const ready = settings.natPmp ? 'Listening for NAT-PMP/PCP' : 'HTTP listening on port';
    await until('miniupnpd is ready', 10_000, () => {
      if (child.exitCode !== null) throw new Error(`miniupnpd ended with ${child.exitCode}: ${this.#log}`);
      return this.#log.includes(ready);
    });
  }

  /** As a reboot: its rules are gone with it. */
  async stopDaemon(): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = null;
    if (daemon === null) return;
    daemon.kill('SIGKILL');
    await until('miniupnpd has ended', 5_000, () => daemon.exitCode !== null || daemon.signalCode !== null);
    for (const chain of ['miniupnpd', 'prerouting_miniupnpd', 'postrouting_miniupnpd']) {
      await this.gateway.must(['nft', 'flush', 'chain', 'inet', 'filter', chain]);
    }
  }

  /** What of the last run of miniupnpd may tell why something failed. */
  get log(): string {
    return this.#log;
  }

  /** Datagrams of this version do not reach the server: 2 is PCP, 0 is NAT-PMP. */
  async mute(version: 0 | 2): Promise<void> {
    await this.gateway.must([
      'nft',
      'add',
      'rule',
      'inet',
      'filter',
      'mute',
      'udp',
      'dport',
      '5351',
      '@th,64,8',
      `${version}`,
      'drop',
    ]);
  }

  /** The mappings of IPv4, as the kernel does them: `UDP port of the gateway → where`. */
  async translations(): Promise<string[]> {
    const rules = await this.gateway.must(['nft', 'list', 'chain', 'inet', 'filter', 'prerouting_miniupnpd']);
    return [...rules.matchAll(/dport (\d+) dnat ip to (\S+)/g)].map(([, port, to]) => `${port} → ${to}`);
  }

  /** Holes in the firewall for IPv6. */
  async holes(): Promise<number> {
    const rules = await this.gateway.must(['nft', 'list', 'chain', 'inet', 'filter', 'miniupnpd']);
    return [...rules.matchAll(/@nh,192,128 0x20010db8/g)].length;
  }

  /** One datagram from the internet. */
  async sendFromOutside(to: string, port: number, text: string): Promise<void> {
    const code = `const [to, port, text] = process.argv.slice(1);
      const socket = require('node:dgram').createSocket(to.includes(':') ? 'udp6' : 'udp4');
      socket.send(text, Number(port), to, () => socket.close());`;
    await this.outside.must([process.execPath, '-e', code, to, `${port}`, text]);
  }

  close(): Promise<void> {
    return this.lab.close();
  }
}
