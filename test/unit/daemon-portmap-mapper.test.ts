// The port mapper with real sockets: gateways are UDP servers on addresses of the loopback, and the kernel's routes are made up. What
// needs a network with a multicast group and a real gateway is test/interop/portmap.test.ts.

import { randomFillSync } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { afterEach, describe, expect, test } from 'vitest';
import type { Instant } from '../../src/base/instant.ts';
import type { IpAddress, IpPrefix } from '../../src/base/ip.ts';
import { createLog } from '../../src/daemon/log.ts';
import type { HostAddress, HostRoute } from '../../src/daemon/mesh/host-network.ts';
import { HostPortMapper } from '../../src/daemon/portmap/host-port-mapper.ts';
import { SERVER_PORT } from '../../src/path/portmap/pcp.ts';
import { until } from '../interop/lib/wait.ts';
import { FakeGateway } from './path/portmap-rig.ts';

const now = (): Instant => performance.now() as Instant;
/** Addresses of loopback that no other test of this machine uses at the same time. */
const NET = `127.${100 + (process.pid % 100)}.${(process.pid >> 8) & 255}`;

/** The kernel's word: one interface with an address and a default route, or nothing. */
class FakeNetwork {
  gateway: string | null = `${NET}.1`;
  local = `${NET}.2`;
  reads = 0;

  addresses(): Promise<readonly HostAddress[]> {
    this.reads++;
    const flags = {
      up: true,
      loopback: false,
      scope: 'global',
      tentative: false,
      deprecated: false,
      temporary: false,
    } as const;
    return Promise.resolve([
      { ifname: 'eth0', ifindex: 1, address: this.local as IpAddress, prefixLength: 24, ...flags },
    ]);
  }

  routes(): Promise<readonly HostRoute[]> {
    if (this.gateway === null) return Promise.resolve([]);
    const gateway = this.gateway as IpAddress;
    return Promise.resolve([{ prefix: '0.0.0.0/0' as IpPrefix, ifname: 'eth0', ifindex: 1, gateway }]);
  }
}

const ends: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

function mapper(network: FakeNetwork): HostPortMapper {
  const made = new HostPortMapper({
    ifname: () => 'warren0',
    network,
    now,
    random: (out) => {
      randomFillSync(out);
    },
    log: createLog('silent'),
  });
  ends.push(() => made.stop());
  return made;
}

/** A gateway at an address of loopback that speaks PCP. */
async function gatewayAt(address: string): Promise<FakeGateway> {
  const gateway = new FakeGateway();
  gateway.pcp = 'on';
  const socket: Socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(SERVER_PORT, address, resolve));
  ends.push(() => new Promise<void>((resolve) => socket.close(() => resolve())));
  socket.on('message', (bytes, from) => {
    const answer = gateway.server(bytes, now());
    if (answer instanceof Uint8Array) socket.send(answer, from.port, from.address);
  });
  return gateway;
}

describe('the mapper', () => {
  test('maps at the default gateway, and tells of it', async () => {
    const gateway = await gatewayAt(`${NET}.1`);
    const m = mapper(new FakeNetwork());
    let told = 0;
    const end = m.onChange(() => {
      told++;
    });
    m.request(51_820);
    await until('a mapping', 5_000, () => m.mappings.length > 0);
    expect(m.mappings).toMatchObject([{ endpoint: '203.0.113.9:51820', protocol: 'pcp', gateway: `${NET}.1` }]);
    expect(m.status()[0]).toMatchObject({ protocol: 'pcp', state: 'mapped', external: '203.0.113.9:51820' });
    expect([...gateway.mappings.values()]).toMatchObject([{ port: 51_820, local: `${NET}.2` }]);
    await until('it is told', 1_000, () => told > 0);
    end();
    const before = told;
    await m.stop();
    expect(told).toBe(before);
  });

  test('gives everything back when it stops', async () => {
    const gateway = await gatewayAt(`${NET}.1`);
    const m = mapper(new FakeNetwork());
    m.request(51_820);
    await until('a mapping', 5_000, () => m.mappings.length > 0);
    await m.stop();
    expect(gateway.mappings.size).toBe(0);
    expect(m.mappings).toEqual([]);
    // And is deaf from then on.
    m.request(51_820);
    await m.stop();
    expect(m.mappings).toEqual([]);
  });

  test('stops within a second although the gateway is silent', async () => {
    const gateway = await gatewayAt(`${NET}.1`);
    const m = mapper(new FakeNetwork());
    m.request(51_820);
    await until('a mapping', 5_000, () => m.mappings.length > 0);
    gateway.pcp = 'silent';
    const from = performance.now();
    await m.stop();
    expect(performance.now() - from).toBeLessThan(1_500);
  });

  test('stops at once when nothing was asked', async () => {
    const from = performance.now();
    await mapper(new FakeNetwork()).stop();
    expect(performance.now() - from).toBeLessThan(500);
  });

  test('follows the default route to another gateway, and gives the old one its mapping back', async () => {
    const [first, second] = [await gatewayAt(`${NET}.1`), await gatewayAt(`${NET}.3`)];
    const network = new FakeNetwork();
    const m = mapper(network);
    m.request(51_820);
    await until('a mapping', 5_000, () => m.mappings.length > 0);
    network.gateway = `${NET}.3`;
    second.external = '203.0.113.33' as IpAddress;
    m.request(51_820);
    await until('the other mapping', 5_000, () => m.mappings[0]?.gateway === `${NET}.3`);
    expect(m.mappings).toMatchObject([{ endpoint: '203.0.113.33:51820' }]);
    await until('the first is given back', 5_000, () => first.mappings.size === 0);
    network.gateway = null;
    m.request(51_820);
    await until('none is left', 5_000, () => m.mappings.length === 0 && second.mappings.size === 0);
  });

  test('maps another port when it is told one', async () => {
    const gateway = await gatewayAt(`${NET}.1`);
    const m = mapper(new FakeNetwork());
    m.request(51_820);
    await until('a mapping', 5_000, () => m.mappings.length > 0);
    m.request(51_821);
    await until('the other mapping', 5_000, () => m.mappings[0]?.endpoint === '203.0.113.9:51821');
    await until('the first is given back', 5_000, () => gateway.mappings.size === 1);
    expect([...gateway.mappings.keys()]).toEqual([51_821]);
  });

  test('reads the network once for many requests in a row', async () => {
    const network = new FakeNetwork();
    const m = mapper(network);
    for (let i = 0; i < 100; i++) m.request(51_820);
    await until('it was read', 5_000, () => m.status().some(({ gateway }) => gateway !== null));
    expect(network.reads).toBeLessThanOrEqual(2);
  });

  test('says that nothing listens as soon as the kernel knows', async () => {
    const m = mapper(new FakeNetwork());
    m.request(51_820);
    await until('it is known', 2_000, () => m.status().filter(({ state }) => state === 'unsupported').length >= 2);
    expect(m.status()[0]).toMatchObject({ protocol: 'pcp', why: 'nothing listens on UDP port 5351 of the gateway' });
  });

  test('says why when there is nobody to ask', async () => {
    const network = new FakeNetwork();
    const m = mapper(network);
    expect(m.status().map(({ protocol, why }) => `${protocol}: ${why}`)).toEqual([
      'pcp: not asked yet',
      'natpmp: not asked yet',
      'upnp: not asked yet',
    ]);
    network.gateway = null;
    m.request(51_820);
    await until('it is known', 2_000, () => m.status()[0]?.why === 'there is no default gateway');
    expect(m.status()).toHaveLength(3);
    network.gateway = '203.0.113.1';
    network.local = '203.0.113.2';
    m.request(51_820);
    await until('it is known', 2_000, () => m.status()[0]?.why?.startsWith('there is no NAT'));
  });

  test('does without sockets that cannot be had', async () => {
    const network = new FakeNetwork();
    // An address that this machine has not: binding fails.
    network.local = '192.168.231.2';
    network.gateway = '192.168.231.1';
    const m = mapper(network);
    m.request(51_820);
    await until('it is tried', 2_000, () => m.status()[0]?.state === 'trying');
    const from = performance.now();
    await m.stop();
    expect(performance.now() - from).toBeLessThan(1_500);
  });
});
