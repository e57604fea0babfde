// A device under pressure: floods answered with cookies while a real peer gets through, a hub with ten peers, every
// MTU from 1280 to jumbo, and inner sources that lie. (Paper §5.3, §5.4.7; checklist 22–24, 27, 33–39.)

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine, type Implementation } from './lib/engines.ts';
import { Flood } from './lib/flood.ts';
import { type Host, Lab } from './lib/lab.ts';
import { answers, iperf3, PacketCounter, ping, untilAnswers } from './lib/measure.ts';
import { Pair } from './lib/pair.ts';
import { CAN_RUN, SUBJECT } from './lib/subject.ts';
import { makeKeys, type onlyPeer, secretFile, wgDump, wgSet } from './lib/wg.ts';

const FIRST_ANSWER_MS = 3_000;
const TUNNEL_PORT = 51_821;

interface Node {
  readonly host: Host;
  readonly engine: Engine;
  readonly publicKey: string;
}

/** An engine with a key and a port, its inner address given; it has no peers. */
async function node(host: Host, implementation: Implementation, inner: string): Promise<Node> {
  const keys = makeKeys();
  const engine = await Engine.start(host, implementation);
  await wgSet(engine, 'listen-port', `${TUNNEL_PORT}`, 'private-key', secretFile(engine, keys.privateKey));
  await host.addAddress(engine.interfaceName, inner);
  return { host, engine, publicKey: keys.publicKey };
}

describe.skipIf(!CAN_RUN).each([
  { victim: SUBJECT, friend: 'wireguard-go' as Implementation, lab: 'cookies0' },
  { victim: 'wireguard-go' as Implementation, friend: SUBJECT, lab: 'cookies1' },
])('$victim, flooded with initiations that have a good mac1,', ({ victim, friend, lab: name }) => {
  let lab: Lab;
  afterAll(() => lab?.close());

  it(`answers with cookies and lets ${friend} through`, async () => {
    lab = Lab.open(name);
    const hosts = {
      victim: await lab.host('victim'),
      friend: await lab.host('friend'),
      crowd: await lab.host('crowd'),
    };
    const sources = Array.from({ length: 64 }, (_, index) => `10.9.1.${index + 1}`);
    await lab.bridge('hub', [
      { host: hosts.victim, device: 'eth0', addresses: ['10.9.0.1/16'] },
      { host: hosts.friend, device: 'eth0', addresses: ['10.9.0.2/16'] },
      { host: hosts.crowd, device: 'eth0', addresses: sources.map((address) => `${address}/16`) },
    ]);
    const target = await node(hosts.victim, victim, '10.100.0.1/24');
    const visitor = await node(hosts.friend, friend, '10.100.0.2/24');
    await wgSet(target.engine, 'peer', visitor.publicKey, 'allowed-ips', '10.100.0.2/32');
    await wgSet(
      visitor.engine,
      'peer',
      target.publicKey,
      'allowed-ips',
      '10.100.0.1/32',
      'endpoint',
      `10.9.0.1:${TUNNEL_PORT}`,
    );

    const flood = await Flood.start(
      hosts.crowd,
      { address: '10.9.0.1', port: TUNNEL_PORT, publicKey: target.publicKey },
      sources,
    );
    // A cookie costs one round of REKEY_TIMEOUT (5 s), and the flood may drown an initiation or two in the socket's buffer.
    await untilAnswers(hosts.friend, '10.100.0.1', 22_000);
    // The session holds while the flood goes on. What another implementation drops of it is not ours to judge.
    const { received } = await ping(hosts.friend, '10.100.0.1', { count: 10, waitSeconds: 2 });
    expect(received).toBeGreaterThanOrEqual(victim === SUBJECT ? 9 : 5);
    const { sent, cookieReplies } = await flood.stop();
    expect(sent).toBeGreaterThan(1_000);
    expect(cookieReplies).toBeGreaterThan(0);
    // The flood itself got no further: no peer but the real one has a session.
    expect((await wgDump(target.engine)).peers).toHaveLength(1);
    expect(await answers(hosts.friend, '10.100.0.1')).toBe(true);
  }, 60_000);
});

describe.skipIf(!CAN_RUN)(`${SUBJECT} as a hub`, () => {
  let lab: Lab;
  afterAll(() => lab?.close());

  it('serves ten peers of three implementations, which reach one another through it', async () => {
    lab = Lab.open('star');
    const kinds: readonly Implementation[] = ['wireguard-go', 'wireguard-go-latest', SUBJECT];
    const hub = await lab.host('center');
    const spokes = await Promise.all(Array.from({ length: 10 }, (_, index) => lab.host(`spoke${index}`)));
    await lab.bridge('switch', [
      { host: hub, device: 'eth0', addresses: ['10.9.0.100/24'] },
      ...spokes.map((host, index) => ({ host, device: 'eth0', addresses: [`10.9.0.${index + 1}/24`] })),
    ]);
    await hub.must(['sysctl', '-qw', 'net.ipv4.ip_forward=1']);
    const center = await node(hub, SUBJECT, '10.100.0.100/24');
    const nodes: Node[] = [];
    for (const [index, host] of spokes.entries()) {
      const spoke = await node(host, kinds[index % kinds.length] as Implementation, `10.100.0.${index + 1}/24`);
      await wgSet(center.engine, 'peer', spoke.publicKey, 'allowed-ips', `10.100.0.${index + 1}/32`);
      await wgSet(
        spoke.engine,
        'peer',
        center.publicKey,
        'allowed-ips',
        '10.100.0.0/24',
        'endpoint',
        `10.9.0.100:${TUNNEL_PORT}`,
      );
      nodes.push(spoke);
    }
    await Promise.all(nodes.map(({ host }) => untilAnswers(host, '10.100.0.100', 5_000)));
    const around = nodes.map(({ host }, index) => ping(host, `10.100.0.${((index + 1) % 10) + 1}`, { count: 10 }));
    expect((await Promise.all(around)).map(({ received }) => received)).toEqual(Array(10).fill(10));
    const { peers } = await wgDump(center.engine);
    expect(peers).toHaveLength(10);
    expect(new Set(peers.map(({ endpoint }) => endpoint))).toEqual(
      new Set(spokes.map((_, index) => `10.9.0.${index + 1}:${TUNNEL_PORT}`)),
    );
  }, 60_000);
});

describe.skipIf(!CAN_RUN)(`${SUBJECT} and wireguard-go on a cable of 9080 bytes`, () => {
  let lab: Lab;
  let pair: Pair;

  beforeAll(async () => {
    lab = Lab.open('mtu');
    pair = await Pair.open(lab, { left: SUBJECT, right: 'wireguard-go', linkMtu: 9_080 });
    await pair.meetBoth({ outer: 6 });
    await untilAnswers(pair.left.host, pair.right.inner4, FIRST_ANSWER_MS);
  });
  afterAll(() => lab?.close());

  // 80 bytes of outer IPv6, UDP and WireGuard: each MTU fills the cable to its last byte, so padding past it would show.
  it.each([1_280, 1_420, 8_920, 9_000])(
    'carry packets of exactly the tunnel MTU %i, changed while it runs',
    async (mtu) => {
      const { left, right } = pair;
      for (const side of [left, right]) {
        await side.host.must(['ip', 'link', 'set', side.device, 'mtu', `${mtu + 80}`]);
        await side.host.must(['ip', 'link', 'set', side.engine.interfaceName, 'mtu', `${mtu}`]);
      }
      for (const [from, to] of [
        [left, right],
        [right, left],
      ] as const) {
        const whole = { count: 3, dontFragment: true };
        expect((await ping(from.host, to.inner4, { ...whole, size: mtu - 28 })).received).toBe(3);
        expect((await ping(from.host, to.inner6, { ...whole, size: mtu - 48 })).received).toBe(3);
        const tcp = await iperf3(from.host, to.host, to.inner4, { bytes: 8_000_000 });
        expect(tcp.bytesSent).toBeGreaterThanOrEqual(8_000_000);
        expect(tcp.bytes).toBeGreaterThan(1_000_000);
        // Fragments of a larger packet must pass as well.
        expect((await ping(from.host, to.inner4, { count: 3, size: mtu + 700 })).received).toBe(3);
      }
    },
  );
});

describe.skipIf(!CAN_RUN)(`${SUBJECT}, sent inner packets with a false source,`, () => {
  let lab: Lab;
  let pair: Pair;

  beforeAll(async () => {
    lab = Lab.open('spoof');
    pair = await Pair.open(lab, { left: SUBJECT, right: 'wireguard-go' });
    await pair.meetBoth();
    await untilAnswers(pair.left.host, pair.right.inner4, FIRST_ANSWER_MS);
  });
  afterAll(() => lab?.close());

  it.each([
    { what: 'that routes to another peer', source: '10.66.0.1', owned: true },
    { what: 'that routes to nobody', source: '10.66.0.2', owned: false },
    { what: 'of another peer, IPv6', source: 'fd66::1', owned: true },
    { what: 'of nobody, IPv6', source: 'fd66::2', owned: false },
  ])('drops a source $what', async ({ source, owned }) => {
    const { left, right } = pair;
    const family6 = source.includes(':');
    const bits = family6 ? 128 : 32;
    if (owned) await wgSet(left.engine, 'peer', makeKeys().publicKey, 'allowed-ips', `${source}/${bits}`);
    await right.host.addAddress(right.engine.interfaceName, `${source}/${bits}`);
    const arrived = await PacketCounter.open(left.host, 'input', `${family6 ? 'ip6' : 'ip'} saddr ${source}`);
    const target = family6 ? left.inner6 : left.inner4;
    const before = (await peerOf(left.engine, right.keys.publicKey)).rxBytes;
    expect((await ping(right.host, target, { count: 4, source, intervalSeconds: 0.02 })).received).toBe(0);
    // They did reach the device: its receive counter rose by four messages of 128 (IPv4) or 144 (IPv6) bytes.
    expect((await peerOf(left.engine, right.keys.publicKey)).rxBytes - before).toBeGreaterThanOrEqual(4 * 128);
    expect(await arrived.packets()).toBe(0);
    expect((await ping(right.host, target, { count: 4 })).received).toBe(4);
  });
});

async function peerOf(engine: Engine, publicKey: string): ReturnType<typeof onlyPeer> {
  const found = (await wgDump(engine)).peers.find((peer) => peer.publicKey === publicKey);
  if (found === undefined) throw new Error('the peer is not there');
  return found;
}
