// The daemon's hands and eyes on a real kernel: what it sets is what `ip` shows, what others set is what it hears of, in
// network namespaces with veth pairs and TUN devices.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { HostChange } from '../../src/daemon/os/host-network.ts';
import { HostNetworkDriver } from './lib/host-network-driver.ts';
import { type Host, Lab } from './lib/lab.ts';
import { mainThreadRuns, voluntarySwitches } from './lib/proc.ts';
import { pass, until } from './lib/wait.ts';

/** What the project promises between an event and its recovery. */
const RECOVERY_MS = 2000;

interface IpAddressShown {
  readonly ifname: string;
  readonly mtu: number;
  readonly flags: readonly string[];
  readonly addr_info: readonly {
    readonly local: string;
    readonly prefixlen: number;
    readonly scope: string;
    readonly tentative?: boolean;
    readonly noprefixroute?: boolean;
  }[];
}

interface IpRouteShown {
  readonly dst: string;
  readonly dev?: string;
  readonly protocol?: string;
}

let lab: Lab;
let host: Host;
let driver: HostNetworkDriver;
let names = 0;

beforeAll(() => {
  lab = Lab.open('hostnet');
});
afterAll(async () => {
  await lab.close();
});

/** A host with `ours`, the interface that is configured, and `eth0`, which is somebody else's; both have the other end here too. */
beforeEach(async () => {
  host = await lab.host(`h${names++}`);
  for (const name of ['ours', 'eth0']) {
    await host.must(['ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', `${name}x`]);
    await host.must(['ip', 'link', 'set', `${name}x`, 'up']);
  }
  await host.must(['ip', 'link', 'set', 'eth0', 'up']);
  driver = await HostNetworkDriver.start(host);
});
afterEach(async () => {
  expect(await driver.end()).toBe(0);
});

async function shown(device: string): Promise<IpAddressShown> {
  const list = JSON.parse(await host.must(['ip', '-j', 'address', 'show', 'dev', device])) as IpAddressShown[];
  return list[0] as IpAddressShown;
}

/** Global addresses with their prefix lengths. */
async function globals(device: string): Promise<string[]> {
  const { addr_info } = await shown(device);
  return addr_info.filter((one) => one.scope === 'global').map((one) => `${one.local}/${one.prefixlen}`);
}

async function routesShown(device: string): Promise<string[]> {
  const lists = await Promise.all(
    ['-4', '-6'].map(async (family) =>
      JSON.parse(await host.must(['ip', '-j', family, 'route', 'show', 'dev', device])),
    ),
  );
  return (lists.flat() as IpRouteShown[])
    .filter((route) => !route.dst.startsWith('fe80::'))
    .map((route) => `${route.dst} ${route.protocol ?? 'boot'}`);
}

/** No address is being checked, and nothing is waiting to be told. */
async function quiet(): Promise<void> {
  await until('all is quiet', 15_000, async () => {
    const seen = driver.changes.length;
    const usable = (await driver.call('addresses')).every((one) => !one.tentative);
    // Longer than a change is held back.
    await pass(300);
    return usable && driver.changes.length === seen;
  });
}

/** Runs many `ip` commands in one process. */
async function batch(lines: readonly string[]): Promise<void> {
  await host.must(['ip', '-batch', lab.file(`batch-${names++}`, `${lines.join('\n')}\n`)], { timeoutMs: 60_000 });
}

describe('our interface', () => {
  it('gets exactly the addresses that it should have, usable at once', async () => {
    await driver.call('setUp', 'ours', true);
    expect(await driver.call('setAddresses', 'ours', ['100.64.0.1', 'fd77::1'])).toBeNull();
    const { addr_info, flags } = await shown('ours');
    expect(flags).toContain('UP');
    expect(await globals('ours')).toEqual(['100.64.0.1/32', 'fd77::1/128']);
    for (const one of addr_info.filter(({ scope }) => scope === 'global')) {
      expect(one).toMatchObject({ noprefixroute: true });
      expect(one.tentative).toBeUndefined();
    }
    expect(await routesShown('ours')).toEqual([]);
    await host.must(['ping', '-c1', '-W2', '-I', 'fd77::1', 'fd77::1']);

    // Renumbered: the new one is there, the old one and a stranger are not, the link-local one is the kernel's.
    const linkLocal = addr_info.filter(({ scope }) => scope === 'link').map(({ local }) => local);
    await host.must(['ip', 'address', 'add', '192.0.2.7/24', 'dev', 'ours']);
    expect(await driver.call('setAddresses', 'ours', ['100.64.0.2', 'fd77::1'])).toBeNull();
    expect(await globals('ours')).toEqual(['100.64.0.2/32', 'fd77::1/128']);
    expect((await shown('ours')).addr_info.filter(({ scope }) => scope === 'link').map(({ local }) => local)).toEqual(
      linkLocal,
    );
    expect(await driver.call('setAddresses', 'ours', [])).toBeNull();
    expect(await globals('ours')).toEqual([]);
  });

  it('gets exactly the routes that are ours, and keeps those of others', async () => {
    await driver.call('setUp', 'ours', true);
    await host.must(['ip', 'route', 'add', '198.51.100.0/24', 'dev', 'ours']);
    expect(await driver.call('setRoutes', 'ours', ['100.64.0.0/10', 'fd77::/48', '198.51.100.0/24'])).toBeNull();
    expect(await routesShown('ours')).toEqual(['100.64.0.0/10 87', '198.51.100.0/24 boot', 'fd77::/48 87']);
    expect(await driver.call('setRoutes', 'ours', ['100.65.0.0/16'])).toBeNull();
    expect(await routesShown('ours')).toEqual(['100.65.0.0/16 87', '198.51.100.0/24 boot']);
    expect(await driver.call('setRoutes', 'ours', [])).toBeNull();
    expect(await routesShown('ours')).toEqual(['198.51.100.0/24 boot']);
  });

  it("never takes another interface's route", async () => {
    await driver.call('setUp', 'ours', true);
    await host.must(['ip', 'route', 'add', '100.64.0.0/10', 'dev', 'eth0']);
    expect(await driver.call('setRoutes', 'ours', ['100.64.0.0/10', '100.65.0.0/16'])).toMatchObject({
      errno: 'EEXIST',
      step: expect.stringContaining('100.64.0.0/10 through ours'),
    });
    expect(await routesShown('eth0')).toEqual(['100.64.0.0/10 boot']);
    // One that fails does not keep the others away.
    expect(await routesShown('ours')).toEqual(['100.65.0.0/16 87']);
  });

  it('is set up and down, its MTU and segments are set', async () => {
    expect(await driver.call('setMtu', 'ours', 1380)).toBeNull();
    expect(await driver.call('setUp', 'ours', true)).toBeNull();
    expect(await shown('ours')).toMatchObject({ mtu: 1380, flags: expect.arrayContaining(['UP']) });
    expect(await driver.call('setSegments', 'ours', 45)).toBeNull();
    expect(await host.must(['ip', '-d', 'link', 'show', 'ours'])).toContain('gso_max_segs 45');
    expect(await driver.call('setUp', 'ours', false)).toBeNull();
    expect((await shown('ours')).flags).not.toContain('UP');
  });

  it('that is not there, or refuses, is told with the step', async () => {
    for (const outcome of [
      await driver.call('setUp', 'nowhere', true),
      await driver.call('setAddresses', 'nowhere', ['100.64.0.1']),
      await driver.call('setRoutes', 'a name that none has', []),
    ]) {
      expect(outcome).toMatchObject({ errno: 'ENODEV', step: expect.stringContaining('find the interface') });
    }
    expect(await driver.call('setMtu', 'ours', 100_000_000)).toEqual({
      errno: 'EINVAL',
      step: expect.stringContaining('set the MTU of ours to 100000000'),
    });
    expect(await driver.call('setRoutes', 'ours', ['100.64.0.0/10'])).toMatchObject({ errno: 'ENETDOWN' });
  });

  it.each([
    ['of the interface', 'net.ipv6.conf.ours.disable_ipv6'],
    ['of the host', 'net.ipv6.conf.all.disable_ipv6'],
  ])('works with IPv4 alone when the IPv6 %s is switched off', async (_where, setting) => {
    await host.must(['sysctl', '-qw', `${setting}=1`]);
    expect(await driver.call('setUp', 'ours', true)).toBeNull();
    expect(await driver.call('setAddresses', 'ours', ['fd77::1', '100.64.0.1'])).toBeNull();
    expect(await driver.call('setRoutes', 'ours', ['fd77::/48', '100.64.0.0/10'])).toBeNull();
    expect(await globals('ours')).toEqual(['100.64.0.1/32']);
    expect(await routesShown('ours')).toEqual(['100.64.0.0/10 87']);
  });

  it('cannot be configured without the capability, and that is told', async () => {
    const poor = await HostNetworkDriver.start(host, {}, ['setpriv', '--bounding-set', '-net_admin']);
    expect(await poor.call('setUp', 'ours', true)).toEqual({ errno: 'EPERM', step: 'set ours up' });
    expect(await poor.call('setAddresses', 'ours', ['100.64.0.1'])).toMatchObject({
      errno: 'EPERM',
      step: expect.stringContaining('add the address 100.64.0.1/32 to ours'),
    });
    // Looking is free.
    expect(await poor.call('addresses')).not.toEqual([]);
    expect(await poor.end()).toBe(0);
  });

  it('goes when a crash left it, and only then', async () => {
    await host.must(['ip', 'tuntap', 'add', 'left0', 'mode', 'tun']);
    expect(await driver.call('removeInterface', 'left0')).toBeNull();
    expect(await host.hasInterface('left0')).toBe(false);
    expect(await driver.call('removeInterface', 'left0')).toBeNull();
    expect(await driver.call('removeInterface', 'eth0')).toMatchObject({ errno: 'EEXIST' });
    expect(await host.hasInterface('eth0')).toBe(true);
  });
});

describe('the host', () => {
  it('shows its addresses with what matters about them', async () => {
    await host.addAddress('eth0', '192.0.2.1/24');
    await host.addAddress('eth0', '2001:db8::1/64');
    await host.must(['ip', 'address', 'add', '2001:db8::2/64', 'dev', 'eth0', 'preferred_lft', '0', 'nodad']);
    // Duplicate address detection of a minute, so that one address is certain to be in the middle of it.
    await host.must(['sysctl', '-qw', 'net.ipv6.conf.eth0.dad_transmits=60']);
    await host.must(['ip', 'address', 'add', '2001:db8::3/64', 'dev', 'eth0']);
    const addresses = await driver.call('addresses');
    const find = (address: string): unknown => addresses.find((one) => one.address === address);
    const usual = { ifname: 'eth0', up: true, loopback: false, scope: 'global', tentative: false, temporary: false };
    expect(find('192.0.2.1')).toMatchObject({ ...usual, prefixLength: 24, deprecated: false });
    expect(find('2001:db8::1')).toMatchObject({ ...usual, prefixLength: 64, deprecated: false });
    expect(find('2001:db8::2')).toMatchObject({ ...usual, deprecated: true });
    expect(find('127.0.0.1')).toMatchObject({ ifname: 'lo', loopback: true, scope: 'host' });
    expect(find('2001:db8::3')).toMatchObject({ ...usual, tentative: true });
  });

  it('shows the routes of its main table', async () => {
    await host.addAddress('eth0', '192.0.2.1/24');
    await host.must(['ip', 'route', 'add', 'default', 'via', '192.0.2.9']);
    await host.must(['ip', 'route', 'add', 'blackhole', '10.0.0.0/8']);
    await host.must(['ip', 'route', 'add', '203.0.113.0/24', 'via', '192.0.2.9', 'table', '7']);
    const routes = await driver.call('routes');
    const ofIpv4 = routes.filter((route) => !route.prefix.includes(':'));
    expect(ofIpv4).toEqual([
      { prefix: '0.0.0.0/0', gateway: '192.0.2.9', ifname: 'eth0', ifindex: expect.any(Number) },
      { prefix: '10.0.0.0/8', gateway: null, ifname: null, ifindex: null },
      { prefix: '192.0.2.0/24', gateway: null, ifname: 'eth0', ifindex: expect.any(Number) },
    ]);
    expect(routes).toContainEqual(expect.objectContaining({ prefix: 'fe80::/64', ifname: 'eth0' }));
  });

  it('shows who uses a range already, before anything is set', async () => {
    await host.addAddress('eth0', '100.64.9.1/24');
    await host.must(['ip', 'route', 'add', 'default', 'via', '100.64.9.9']);
    await host.must(['ip', 'route', 'add', 'fd77:0:0:5::/64', 'dev', 'eth0']);
    await driver.call('setUp', 'ours', true);
    await driver.call('setAddresses', 'ours', ['100.64.0.1', 'fd77::1']);
    await driver.call('setRoutes', 'ours', ['100.65.0.0/16', 'fd77::/48']);
    expect(await driver.call('collisions', ['100.64.0.0/10', 'fd77::/48'], 'ours')).toEqual([
      { prefix: '100.64.0.0/10', kind: 'address', what: '100.64.9.1/24', ifname: 'eth0' },
      { prefix: 'fd77::/48', kind: 'route', what: 'fd77:0:0:5::/64', ifname: 'eth0' },
    ]);
    expect(await driver.call('collisions', ['10.0.0.0/8', 'fd78::/48'], 'ours')).toEqual([]);
  });

  it('is listed whole with a thousand addresses', async () => {
    const addresses = Array.from({ length: 1000 }, (_, i) => `10.9.${i >> 8}.${i & 255}`);
    await batch(addresses.map((address) => `address add ${address}/32 dev eth0`));
    const { ms, value } = await driver.call('timed', 'addresses');
    const listed = new Set((value as { address: string }[]).map((one) => one.address));
    expect(addresses.every((address) => listed.has(address))).toBe(true);
    expect(ms).toBeLessThan(RECOVERY_MS);
  });

  it('is listed whole while it changes', async () => {
    const lasting = Array.from({ length: 60 }, (_, i) => `10.9.0.${i + 1}`);
    await batch(lasting.map((address) => `address add ${address}/32 dev eth0`));
    const churn = Array.from(
      { length: 3000 },
      (_, i) => `address ${i % 2 === 0 ? 'add' : 'del'} 10.8.0.1/32 dev oursx`,
    );
    const [, missing] = await Promise.all([batch(churn), driver.call('listAgainAndAgain', 300, lasting)]);
    expect(missing).toBe(0);
  });
});

describe('a change', () => {
  const told = (kind: keyof HostChange) => (changes: readonly HostChange[]) =>
    changes.some((change) => change[kind] && change.others);

  it.each([
    ['a new address', 'addresses', ['ip', 'address', 'add', '192.0.2.5/24', 'dev', 'eth0']],
    ['an address that goes', 'addresses', ['ip', 'address', 'del', '192.0.2.1/24', 'dev', 'eth0']],
    ['a new IPv6 address', 'addresses', ['ip', 'address', 'add', '2001:db8::9/64', 'dev', 'eth0', 'nodad']],
    ['a link that goes down', 'links', ['ip', 'link', 'set', 'eth0', 'down']],
    ['a cable that is pulled', 'links', ['ip', 'link', 'set', 'eth0x', 'down']],
    ['a new link', 'links', ['ip', 'link', 'add', 'eth1', 'type', 'veth', 'peer', 'name', 'eth1x']],
    ['a link that is deleted', 'links', ['ip', 'link', 'del', 'eth0']],
    ['another default route', 'defaultRoute', ['ip', 'route', 'replace', 'default', 'via', '192.0.2.8']],
    ['a default route that goes', 'defaultRoute', ['ip', 'route', 'del', 'default']],
  ] as const)('is told in time: %s', async (_what, kind, command) => {
    await host.addAddress('eth0', '192.0.2.1/24');
    await host.must(['ip', 'route', 'add', 'default', 'via', '192.0.2.9']);
    await driver.changed(told('defaultRoute'), 0);
    await quiet();
    const before = driver.changes.length;
    const at = Date.now();
    await host.must(command);
    expect((await driver.changed(told(kind), before)) - at).toBeLessThan(RECOVERY_MS);
  });

  it('is not one when nothing that matters is different', async () => {
    await host.addAddress('eth0', '192.0.2.1/24');
    await quiet();
    const before = driver.changes.length;
    await host.must(['ip', 'route', 'add', '198.51.100.0/24', 'via', '192.0.2.9']);
    await host.must([
      'ip',
      'address',
      'change',
      '192.0.2.1/24',
      'dev',
      'eth0',
      'valid_lft',
      '1000',
      'preferred_lft',
      '900',
    ]);
    await host.must(['ip', 'link', 'set', 'eth0', 'txqueuelen', '7']);
    // Changes are told in order: had the others been changes they were told before or with it.
    await host.must(['ip', 'link', 'add', 'mark', 'type', 'veth', 'peer', 'name', 'markx']);
    await driver.changed(told('links'), before);
    expect(driver.changes.slice(before).every(({ change }) => !change.addresses && !change.defaultRoute)).toBe(true);
    expect(driver.changes.length - before).toBe(1);
  });

  it('of our own interface is told as such', async () => {
    await quiet();
    const before = driver.changes.length;
    await driver.call('setAddresses', 'ours', ['100.64.0.1']);
    await driver.changed((changes) => changes.some((change) => change.addresses), before);
    expect(driver.changes.slice(before).every(({ change }) => !change.others)).toBe(true);
  });

  it('that comes in a burst is told in few words', async () => {
    await quiet();
    const before = driver.changes.length;
    const burst = Array.from({ length: 500 }, (_, i) => `address add 10.7.${i >> 8}.${i & 255}/32 dev eth0`);
    await batch(burst);
    await driver.changed(told('addresses'), before);
    await quiet();
    expect(driver.changes.length - before).toBeLessThan(20);
  });

  it('that was lost is found again', async () => {
    const small = await HostNetworkDriver.start(host, { eventBufferBytes: 1 });
    expect(await small.call('resyncs')).toBe(0);
    const before = small.changes.length;
    const stalled = small.call('stall', 1500);
    // Far more than the buffer holds; the last of them is among the lost.
    await batch(Array.from({ length: 300 }, (_, i) => `address add 10.6.${i >> 8}.${i & 255}/32 dev eth0`));
    await stalled;
    await small.changed(told('addresses'), before);
    expect(await small.call('resyncs')).toBeGreaterThan(0);
    // And hearing goes on.
    const later = small.changes.length;
    await host.must(['ip', 'link', 'set', 'eth0', 'down']);
    await small.changed(told('links'), later);
    expect(await small.end()).toBe(0);
  });
});

describe('a quiet host', () => {
  it('wakes nobody', async () => {
    await quiet();
    // A while after its start V8 collects garbage once. After that: ten seconds in which no thread of the process runs.
    await until('nobody is woken for ten seconds', 60_000, async () => {
      const [runs, switches] = [mainThreadRuns(driver.pid), voluntarySwitches(driver.pid)];
      await pass(10_000);
      return mainThreadRuns(driver.pid) === runs && voluntarySwitches(driver.pid) === switches;
    });
  });
});
