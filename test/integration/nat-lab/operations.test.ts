// What can be done to a place of the lab: its mappings move, are forgotten or run out, a direction or a path is cut, packets get lost,
// late or are too big. Plain UDP sockets and ping; no Warren.

import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SHORT_MAPPING_TIMEOUT_MS } from '../../../src/sim/nat/kinds.ts';
import { CAN_RUN } from '../../interop/lib/subject.ts';
import { pass } from '../../interop/lib/wait.ts';
import { Reflector } from './lib/discover.ts';
import { NatLab } from './lib/nat-lab.ts';
import type { Site } from './lib/site.ts';
import { type At, UdpAgent, type UdpSocket } from './lib/udp-agent.ts';

const ARRIVES_WITHIN_MS = 2000;
/** Whole seconds are what connection tracking counts in. */
const QUICK_TIMEOUT_MS = 1000;

describe.skipIf(!CAN_RUN)('what can be done to the places of the NAT lab', () => {
  let lab: NatLab;
  let reflector: Reflector;
  let home: Site;
  let outside: Site;
  let homeAgent: UdpAgent;
  let outsideAgent: UdpAgent;

  beforeAll(async () => {
    lab = await NatLab.open('natops');
    reflector = await Reflector.start(lab);
    home = await lab.site('home', 'portRestricted');
    outside = await lab.site('outside', 'public');
    homeAgent = await UdpAgent.start(home.host);
    outsideAgent = await UdpAgent.start(outside.host);
  });
  afterAll(async () => {
    await lab?.close();
  });

  /** A socket at home and one outside, each of which has heard the other. `at`: the one at home, from outside. */
  async function flow(agent = homeAgent): Promise<{ inner: UdpSocket; outer: UdpSocket; at: At; to: At }> {
    const [inner, outer] = [await agent.open(), await outsideAgent.open()];
    const to = { address: outside.publicAddress ?? '', port: outer.port };
    await inner.send(to, 'out');
    const at = (await outer.arrival(ARRIVES_WITHIN_MS, () => true))?.from;
    if (at === undefined) throw new Error('nothing came out');
    return { inner, outer, at, to };
  }

  /** Whether a datagram sent to `at` now comes in; decided by one that surely does, on the way over the third party. */
  async function comesIn(outer: UdpSocket, inner: UdpSocket, at: At): Promise<boolean> {
    const text = `in ${Math.random()}`;
    await outer.send(at, text);
    await reflector.settle(inner);
    return inner.arrivals.some((arrival) => arrival.text === text);
  }

  test('after a rebind the old endpoint is dead and another one is seen', async () => {
    for (const what of ['ports', 'address'] as const) {
      const { inner, outer, at, to } = await flow();
      expect(await comesIn(outer, inner, at)).toBe(true);
      await home.rebind(what);
      expect(await comesIn(outer, inner, at)).toBe(false);
      await inner.send(to, 'again');
      const next = (await outer.arrival(ARRIVES_WITHIN_MS, ({ text }) => text === 'again'))?.from;
      expect(next).not.toEqual(at);
      expect(next?.address === at.address).toBe(what === 'ports');
      expect(next?.address).toBe(home.publicAddress);
    }
  });

  test('a rebind moves a flow that goes on meanwhile, too', async () => {
    const { inner, outer, at, to } = await flow();
    const rebound = home.rebind('ports').then(() => 'done' as const);
    let [state, sent]: ['going on' | 'done', number] = ['going on', 0];
    while (state === 'going on') {
      await inner.send(to, `meanwhile ${sent++}`);
      state = await Promise.race([rebound, 'going on' as const]);
    }
    expect(sent).toBeGreaterThan(5);
    await inner.send(to, 'afterwards');
    const after = (await outer.arrival(ARRIVES_WITHIN_MS, ({ text }) => text === 'afterwards'))?.from;
    expect(after?.address).toBe(at.address);
    expect(after?.port).not.toBe(at.port);
  });

  test('after a reboot nothing comes in until something went out', async () => {
    const { inner, outer, at, to } = await flow();
    await home.reboot();
    expect(await comesIn(outer, inner, at)).toBe(false);
    await inner.send(to, 'again');
    const again = await outer.arrival(ARRIVES_WITHIN_MS, ({ text }) => text === 'again');
    expect(await comesIn(outer, inner, again?.from ?? at)).toBe(true);
  });

  test('a mapping runs out without traffic, and lasts with it', async () => {
    const quick = await lab.site('quick', 'addressRestricted', { mappingTimeoutMs: QUICK_TIMEOUT_MS });
    const agent = await UdpAgent.start(quick.host);
    const [idle, busy] = [await flow(agent), await flow(agent)];
    for (let i = 0; i < 8; i++) {
      await pass(QUICK_TIMEOUT_MS / 4);
      await busy.inner.send(busy.to, 'still here');
    }
    expect(await comesIn(idle.outer, idle.inner, idle.at)).toBe(false);
    expect(await comesIn(busy.outer, busy.inner, busy.at)).toBe(true);
  });

  test('a place of short mappings keeps them for half a minute', async () => {
    const { gateway } = await lab.site('short', 'shortMapping');
    const names = ['udp_timeout', 'udp_timeout_stream'].map((name) => `net.netfilter.nf_conntrack_${name}`);
    const values = (await gateway.host.must(['sysctl', '-n', ...names])).trim().split('\n').map(Number);
    expect(values).toEqual(names.map(() => SHORT_MAPPING_TIMEOUT_MS / 1000));
  });

  test('one direction, one path or the way to the third party is cut, and mended', async () => {
    const { inner, outer, at, to } = await flow();
    const goesOut = async (): Promise<boolean> => {
      const text = `out ${Math.random()}`;
      await inner.send(to, text);
      await reflector.settle(outer);
      return outer.arrivals.some((arrival) => arrival.text === text);
    };
    const both = async () => ({ out: await goesOut(), in: await comesIn(outer, inner, at) });
    expect(await both()).toEqual({ out: true, in: true });
    await lab.drop(outside, home);
    expect(await both()).toEqual({ out: true, in: false });
    await lab.mend(home, outside);
    expect(await both()).toEqual({ out: true, in: true });
    await lab.cut(home, outside);
    expect(await both()).toEqual({ out: false, in: false });
    await lab.mend();
    await lab.cut(home, 'controller', { protocol: 'udp' });
    expect(await reflector.where(inner)).toBeNull();
    const tcp = { address: reflector.at(4).address, port: reflector.tcpPorts[0], limitMs: ARRIVES_WITHIN_MS };
    expect(await homeAgent.call('connectTcp', tcp)).toBe('connected');
    await lab.mend();
    await home.plug(false);
    expect(await reflector.where(inner)).toBeNull();
    await home.plug(true);
    expect(await reflector.where(inner)).not.toBeNull();
  });

  test('packets get lost in the measure that was asked for', async () => {
    const { inner, outer, to } = await flow();
    await lab.drop(home, outside, { lossPercent: 50 });
    const before = outer.arrivals.length;
    for (let i = 0; i < 400; i++) await inner.send(to, 'maybe');
    await reflector.settle(outer);
    await lab.mend();
    // Half of 400, give or take six standard deviations.
    expect(outer.arrivals.length - before).toBeGreaterThan(140);
    expect(outer.arrivals.length - before).toBeLessThan(260);
  });

  /** Payload bytes with IP and ICMP headers in front. `fragment`: may be cut up on the way. */
  async function ping(site: Site, address: string, packetBytes: number): Promise<string> {
    const size = `${packetBytes - 28}`;
    const { code, stdout, stderr } = await site.host.run([
      'ping',
      '-n',
      '-c',
      '1',
      '-W',
      '0.5',
      '-M',
      'do',
      '-s',
      size,
      address,
    ]);
    if (code === 0) return 'answered';
    return /Frag needed|message too long/i.test(stdout + stderr) ? 'too big' : 'silence';
  }

  test('a narrow link says what fits, unless it is a black hole', async () => {
    const [server] = lab.controllerAddresses.ipv4;
    const narrow = await lab.site('narrow', 'portRestricted', { mtu: 1280 });
    expect([await ping(narrow, server, 1280), await ping(narrow, server, 1281)]).toEqual(['answered', 'too big']);
    const hole = await lab.site('hole', 'portRestricted', { mtu: 1300, icmpBlackHole: true });
    expect([await ping(hole, server, 1300), await ping(hole, server, 1301)]).toEqual(['answered', 'silence']);
    expect([await ping(home, server, 1500), await ping(home, server, 1501)]).toEqual(['answered', 'too big']);
  });

  test('the far side of a narrow link is told, or not, as well', async () => {
    const told = await lab.site('told', 'public', { mtu: 1320 });
    const untold = await lab.site('untold', 'public', { mtu: 1340, icmpBlackHole: true });
    const to = (site: Site, bytes: number) => ping(outside, site.first.ipv4 ?? '', bytes);
    expect([await to(told, 1320), await to(told, 1400)]).toEqual(['answered', 'too big']);
    expect([await to(untold, 1340), await to(untold, 1400)]).toEqual(['answered', 'silence']);
  });

  test('large packets pass between places with large links', async () => {
    const [one, other] = [
      await lab.site('jumbo', 'public', { mtu: 9000 }),
      await lab.site('jumbo2', 'public', { mtu: 9000 }),
    ];
    expect(await ping(one, other.first.ipv4 ?? '', 9000)).toBe('answered');
    expect(await ping(one, outside.first.ipv4 ?? '', 9000)).toBe('too big');
  });

  test('a slow line is slow in both directions', async () => {
    const slow = await lab.site('slow', 'portRestricted', { delayMs: 40 });
    const agent = await UdpAgent.start(slow.host);
    const socket = await agent.open();
    await reflector.mustWhere(socket);
    const started = performance.now();
    await reflector.mustWhere(socket);
    const tookMs = performance.now() - started;
    expect(tookMs).toBeGreaterThan(78);
    expect(tookMs).toBeLessThan(400);
    const tcp = { address: reflector.at(4).address, port: reflector.tcpPorts[0], limitMs: ARRIVES_WITHIN_MS };
    expect(await agent.call('connectTcp', tcp)).toBe('connected');
  });

  test('nothing is left when a lab is closed', async () => {
    const other = await NatLab.open('natgone');
    const site = await other.site('a', 'carrierCone', { delayMs: 1 });
    await UdpAgent.start(site.host);
    const there = (): number => namespaces().filter((name) => name.startsWith(`wrn-natgone-${process.pid}-`)).length;
    expect(there()).toBeGreaterThan(4);
    await other.close();
    expect(there()).toBe(0);
  });
});

function namespaces(): readonly string[] {
  return execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }).split('\n');
}
