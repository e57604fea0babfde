// A client behind a router, and servers with two addresses of each family in front of it. The router does with IPv4 what a test
// says: nothing, a firewall, a NAT that keeps ports or one that draws them. Servers are coturn's and the controller.

import { fileURLToPath } from 'node:url';
import type { NatBehaviour } from '../../../src/path/stun/behaviour.ts';
import type { StunResult } from '../../../src/path/stun/client.ts';
import { WARREN } from './engines.ts';
import { type Host, Lab } from './lab.ts';
import { hasProgram } from './shell.ts';
import { until } from './wait.ts';

const DRIVER = fileURLToPath(new URL('./stun-driver.mjs', import.meta.url));
const START_LIMIT_MS = 20_000;
const PROGRAMS = ['turnserver', 'turnutils_stunclient', 'turnutils_natdiscovery'];

export const SERVER4 = ['203.0.113.1', '203.0.113.2'] as const;
export const SERVER6 = ['2001:db8:9::1', '2001:db8:9::2'] as const;
export const CLIENT4 = '10.66.0.2';
export const CLIENT6 = '2001:db8:a::2';
/** As servers see what the router has translated. */
export const ROUTER4 = '203.0.113.254';

/** In CI its absence is a failure: set-up brings it (scripts/lib/needs.mjs). */
export const HAS_COTURN = await (async (): Promise<boolean> => {
  const there = await Promise.all(PROGRAMS.map(hasProgram));
  if (there.every(Boolean)) return true;
  if (process.env['CI'] === 'true') throw new Error('coturn is missing: node scripts/setup.mjs --for test');
  process.stderr.write('interop with coturn is skipped: the package coturn is not installed\n');
  return false;
})();

export const ROUTERS = ['plain', 'firewall', 'keepsPorts', 'drawsPorts'] as const;
export type Router = (typeof ROUTERS)[number];

const ONLY_ANSWERS = `chain forward {
  type filter hook forward priority filter; policy drop;
  ct state established accept
  iifname "inner" accept
}`;
const translated = (how: string): string => `chain out {
  type nat hook postrouting priority srcnat;
  oifname "outer" masquerade ${how}
}`;
const RULES: Readonly<Record<Router, string>> = {
  plain: '',
  firewall: ONLY_ANSWERS,
  keepsPorts: translated(''),
  drawsPorts: translated('fully-random'),
};

export interface DriverReport {
  readonly asked: { readonly local: string; readonly results: readonly StunResult[] } | null;
  readonly behaviour: NatBehaviour | null;
}

export class StunLab {
  readonly lab: Lab;
  readonly client: Host;
  readonly router: Host;
  readonly server: Host;

  static async open(name: string): Promise<StunLab> {
    const lab = Lab.open(name);
    try {
      const [client, router, server] = [await lab.host('client'), await lab.host('router'), await lab.host('server')];
      await lab.link(
        { host: client, device: 'eth0', addresses: [`${CLIENT4}/24`, `${CLIENT6}/64`] },
        { host: router, device: 'inner', addresses: ['10.66.0.1/24', '2001:db8:a::1/64'] },
      );
      await lab.link(
        { host: router, device: 'outer', addresses: [`${ROUTER4}/24`, '2001:db8:9::fe/64'] },
        {
          host: server,
          device: 'eth0',
          addresses: [...SERVER4.map((a) => `${a}/24`), ...SERVER6.map((a) => `${a}/64`)],
        },
      );
      for (const key of ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']) {
        await router.must(['sysctl', '-q', '-w', key]);
      }
      await client.must(['ip', 'route', 'add', 'default', 'via', '10.66.0.1']);
      await client.must(['ip', '-6', 'route', 'add', 'default', 'via', '2001:db8:a::1']);
      await server.must(['ip', 'route', 'add', '10.66.0.0/24', 'via', ROUTER4]);
      await server.must(['ip', '-6', 'route', 'add', '2001:db8:a::/64', 'via', '2001:db8:9::fe']);
      return new StunLab(lab, client, router, server);
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  private constructor(lab: Lab, client: Host, router: Host, server: Host) {
    this.lab = lab;
    this.client = client;
    this.router = router;
    this.server = server;
  }

  /** What comes from now on goes this way; who asks does so from a socket of its own. */
  async route(how: Router): Promise<void> {
    const rules = `table ip way\ndelete table ip way\ntable ip way {\n${RULES[how]}\n}\n`;
    await this.router.must(['nft', '-f', this.lab.file(`router-${how}.nft`, rules)]);
  }

  /** Resolves once it listens on both ports of every address. */
  async startCoturn(): Promise<void> {
    const listening = [...SERVER4, ...SERVER6].flatMap((address) => ['-L', address]);
    const quiet = ['--no-cli', '--no-tls', '--no-dtls', '--no-tcp', '--no-stdout-log', '--log-file=/dev/null'];
    const files = [`--pidfile=${this.lab.file('turn.pid', '')}`, `--userdb=${this.lab.file('turn.db', '')}`];
    const config = ['-c', this.lab.file('turnserver.conf', '')];
    const child = this.server.start(['turnserver', '-S', ...config, ...listening, ...quiet, ...files]);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    await until('coturn listens on its addresses', START_LIMIT_MS, async () => {
      if (child.exitCode !== null) throw new Error(`turnserver ended: ${output}`);
      return await this.#listens([...SERVER4, ...SERVER6], [3_478, 3_479]);
    });
  }

  /** A controller as a person starts it. Gives what it prints when it is ready, and its errors as they come. */
  async startController(name: string, ...args: readonly string[]): Promise<{ ready: ReadyLine; errors: () => string }> {
    const data = this.lab.file(`${name}.used`, '').replace(/\.used$/, '');
    const command = [
      'controller',
      '--data',
      data,
      '--listen',
      '127.0.0.1:0',
      '--metrics-listen',
      '127.0.0.1:0',
      '--no-relay',
      '--json',
    ];
    const child = this.server.start([process.execPath, WARREN, ...command, ...args]);
    let [output, errors] = ['', ''];
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      errors += text;
    });
    await until('the controller is ready', START_LIMIT_MS, () => {
      if (child.exitCode !== null) throw new Error(`the controller ended: ${errors}`);
      return output.includes('\n');
    });
    return { ready: JSON.parse(output) as ReadyLine, errors: () => errors };
  }

  /** Of `warren_stun_events_total`, by event. */
  async stunEvents({ metrics }: ReadyLine): Promise<ReadonlyMap<string, number>> {
    const script = 'fetch(process.argv[1]).then((answer) => answer.text()).then((text) => process.stdout.write(text))';
    const text = await this.server.must([process.execPath, '-e', script, `http://${metrics}/metrics`]);
    const samples = text.matchAll(/^warren_stun_events_total\{event="(\w+)"\} (\d+)$/gm);
    return new Map([...samples].map(([, event, count]) => [event as string, Number(count)]));
  }

  /** Our client, in the client's namespace. */
  async drive(address: string, servers: readonly string[], discover: string | null): Promise<DriverReport> {
    const command = [process.execPath, DRIVER, JSON.stringify({ address, servers, discover })];
    return JSON.parse(await this.client.must(command, { timeoutMs: 60_000 })) as DriverReport;
  }

  close(): Promise<void> {
    return this.lab.close();
  }

  async #listens(addresses: readonly string[], ports: readonly number[]): Promise<boolean> {
    const bound = await this.server.must(['ss', '-lunH']);
    return addresses.every((address) =>
      ports.every((port) => bound.includes(` ${address.includes(':') ? `[${address}]` : address}:${port} `)),
    );
  }
}

export interface ReadyLine {
  readonly metrics: string;
  readonly stunPorts: readonly number[];
}
