// The stock tools drive the interface: wg set, setconf, addconf, syncconf, show and showconf; wg-quick with the drop-in, default
// routes and firewall mark included; and every way to end it leaves nothing behind. (Checklist 24, 30–32, 40–45.)

import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine, WARREN_DROP_IN } from './lib/engines.ts';
import { type Host, Lab, SOCKET_DIRECTORY, uniqueInterfaceName } from './lib/lab.ts';
import { answers, iperf3, PacketCounter, ping, untilAnswers } from './lib/measure.ts';
import { Pair } from './lib/pair.ts';
import { CAN_RUN, SUBJECT } from './lib/subject.ts';
import { until } from './lib/wait.ts';
import { type Keys, makeKeys, makePresharedKey, secretFile, wgConfigure, wgDump, wgSet } from './lib/wg.ts';

function peerSection(keys: Keys, ...lines: readonly string[]): string {
  return ['[Peer]', `PublicKey = ${keys.publicKey}`, ...lines, ''].join('\n');
}

describe.skipIf(!CAN_RUN)(`wg drives ${SUBJECT}:`, () => {
  let lab: Lab;
  let engine: Engine;
  const own = makeKeys();
  const [a, b, c] = [makeKeys(), makeKeys(), makeKeys()];
  const presharedKey = makePresharedKey();
  const interfaceSection = `[Interface]\nPrivateKey = ${own.privateKey}\nListenPort = 41000\nFwMark = 0x20\n`;

  beforeAll(async () => {
    lab = Lab.open('wgtool');
    engine = await Engine.start(await lab.host('x'), SUBJECT);
  });
  afterAll(() => lab?.close());

  it('set stores every setting and show gives it back', async () => {
    await wgSet(engine, 'private-key', secretFile(engine, own.privateKey), 'listen-port', '41000', 'fwmark', '0x20');
    const settings = [
      'preshared-key',
      secretFile(engine, presharedKey),
      'endpoint',
      '[fd09::2]:999',
      'persistent-keepalive',
      '25',
    ];
    await wgSet(engine, 'peer', a.publicKey, ...settings, 'allowed-ips', '10.0.0.5/32,192.168.7.9/24,fd00::5/64');
    const dump = await wgDump(engine);
    expect(dump).toMatchObject({
      privateKey: own.privateKey,
      publicKey: own.publicKey,
      listenPort: 41_000,
      fwmark: '0x20',
    });
    expect(dump.peers).toHaveLength(1);
    expect(dump.peers[0]).toMatchObject({
      publicKey: a.publicKey,
      presharedKey,
      endpoint: '[fd09::2]:999',
      persistentKeepalive: 25,
      latestHandshake: 0,
    });
    expect(new Set(dump.peers[0]?.allowedIps)).toEqual(new Set(['10.0.0.5/32', '192.168.7.0/24', 'fd00::/64']));
    expect((await engine.host.must(['wg', 'show', 'interfaces'])).split(/\s+/)).toContain(engine.interfaceName);
  });

  it('setconf replaces everything, and what showconf prints sets it up again', async () => {
    await wgConfigure(
      engine,
      'setconf',
      `${interfaceSection}${peerSection(b, 'AllowedIPs = 10.1.0.0/16, fd01::/32', 'Endpoint = 10.9.9.9:7')}`,
    );
    const before = await wgDump(engine);
    expect(before.peers.map(({ publicKey }) => publicKey)).toEqual([b.publicKey]);
    const shown = await engine.host.must(['wg', 'showconf', engine.interfaceName]);
    await wgConfigure(engine, 'setconf', '');
    expect(await wgDump(engine)).toMatchObject({ privateKey: null, peers: [] });
    await wgConfigure(engine, 'setconf', shown);
    expect(await wgDump(engine)).toEqual(before);
  });

  it('addconf adds, and a prefix given to one peer is taken from the other', async () => {
    await wgConfigure(engine, 'addconf', peerSection(c, 'AllowedIPs = 10.1.0.0/16, 10.2.0.0/16'));
    const { peers } = await wgDump(engine);
    expect(peers.find(({ publicKey }) => publicKey === b.publicKey)?.allowedIps).toEqual(['fd01::/32']);
    expect(new Set(peers.find(({ publicKey }) => publicKey === c.publicKey)?.allowedIps)).toEqual(
      new Set(['10.1.0.0/16', '10.2.0.0/16']),
    );
    await wgSet(engine, 'peer', c.publicKey, 'remove');
    const [left] = (await wgDump(engine)).peers;
    expect(left?.allowedIps).toEqual(['fd01::/32']);
  });

  it('syncconf brings in what is new, takes out what is gone and leaves the rest alone', async () => {
    await wgConfigure(
      engine,
      'syncconf',
      `${interfaceSection}${peerSection(a, 'AllowedIPs = 10.3.0.0/16')}${peerSection(b, 'AllowedIPs = fd01::/32', 'Endpoint = 10.9.9.9:7')}`,
    );
    expect(new Set((await wgDump(engine)).peers.map(({ publicKey }) => publicKey))).toEqual(
      new Set([a.publicKey, b.publicKey]),
    );
    await wgConfigure(engine, 'syncconf', `${interfaceSection}${peerSection(a, 'AllowedIPs = 10.4.0.0/16')}`);
    const { peers } = await wgDump(engine);
    expect(peers.map(({ publicKey, allowedIps }) => ({ publicKey, allowedIps }))).toEqual([
      { publicKey: a.publicKey, allowedIps: ['10.4.0.0/16'] },
    ]);
  });

  it('set clears what is cleared: preshared key, keepalive, mark, allowed-ips', async () => {
    await wgSet(
      engine,
      'fwmark',
      'off',
      'peer',
      a.publicKey,
      'preshared-key',
      secretFile(engine, presharedKey),
      'persistent-keepalive',
      '9',
    );
    await wgSet(
      engine,
      'peer',
      a.publicKey,
      'preshared-key',
      '/dev/null',
      'persistent-keepalive',
      'off',
      'allowed-ips',
      '',
    );
    const dump = await wgDump(engine);
    expect(dump.fwmark).toBe('off');
    expect(dump.peers[0]).toMatchObject({ presharedKey: null, persistentKeepalive: 0, allowedIps: [] });
  });

  it('says why a taken port cannot be had, and keeps the old one', async () => {
    const other = await Engine.start(engine.host, SUBJECT);
    await wgSet(other, 'listen-port', '42000');
    const refused = await engine.host.run(['wg', 'set', engine.interfaceName, 'listen-port', '42000']);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toMatch(/Address already in use/);
    await other.stop();
  });

  it('takes its own public key as a peer without a word and without effect', async () => {
    await wgSet(engine, 'private-key', secretFile(engine, own.privateKey));
    await wgSet(engine, 'peer', own.publicKey, 'allowed-ips', '10.9.9.9/32');
    expect((await wgDump(engine)).peers.map(({ publicKey }) => publicKey)).not.toContain(own.publicKey);
  });
});

describe.skipIf(!CAN_RUN)(`${SUBJECT} changes while it runs:`, () => {
  let lab: Lab;
  let pair: Pair;

  beforeAll(async () => {
    lab = Lab.open('live');
    pair = await Pair.open(lab, { left: SUBJECT, right: 'wireguard-go' });
    await pair.meetBoth();
    await untilAnswers(pair.left.host, pair.right.inner4, 3_000);
  });
  afterAll(() => lab?.close());

  it('syncconf of the running configuration keeps the session and its counters', async () => {
    const { left, right } = pair;
    const before = await wgDump(left.engine);
    await wgConfigure(left.engine, 'syncconf', await left.host.must(['wg', 'showconf', left.engine.interfaceName]));
    const after = await wgDump(left.engine);
    expect(after.peers[0]?.latestHandshake).toBe(before.peers[0]?.latestHandshake);
    expect(after.peers[0]?.rxBytes).toBeGreaterThanOrEqual(before.peers[0]?.rxBytes ?? 0);
    expect((await ping(left.host, right.inner4, { count: 3 })).received).toBe(3);
  });

  it('a removed peer is cut off at once, with its data on the way', async () => {
    const { left, right } = pair;
    const transfer = iperf3(right.host, left.host, left.inner4, { seconds: 2 }).catch(() => null);
    await until('data flows', 2_000, async () => ((await wgDump(left.engine)).peers[0]?.rxBytes ?? 0) > 1_000_000);
    await wgSet(left.engine, 'peer', right.keys.publicKey, 'remove');
    const silent = await PacketCounter.open(left.host, 'output', `udp sport ${left.port}`);
    expect(await answers(right.host, left.inner4)).toBe(false);
    expect(await silent.packets()).toBe(0);
    await silent.close();
    await pair.meetBoth();
    await untilAnswers(left.host, right.inner4, 3_000);
    await transfer;
  }, 40_000);

  it('a link that goes down closes its port and forgets its sessions; up again, the next packet begins a new one', async () => {
    const { left, right } = pair;
    const { interfaceName } = left.engine;
    const sockets = () => left.host.must(['ss', '-Hulnp', `sport = :${left.port}`]);
    const route = (await left.host.must(['ip', 'route', 'show', 'dev', interfaceName])).trim().split('\n');
    expect(await sockets()).not.toBe('');
    const before = (await wgDump(left.engine)).peers[0];
    await left.host.must(['ip', 'link', 'set', interfaceName, 'down']);
    await until('the port is closed', 2_000, async () => (await sockets()) === '');
    const received = (await wgDump(left.engine)).peers[0]?.rxBytes;
    expect(await answers(right.host, left.inner4)).toBe(false);
    expect((await wgDump(left.engine)).peers[0]?.rxBytes).toBe(received);
    await left.host.must(['ip', 'link', 'set', interfaceName, 'up']);
    for (const line of route)
      await left.host.must(['ip', 'route', 'replace', ...line.split(/\s+/), 'dev', interfaceName]);
    await untilAnswers(left.host, right.inner4, 7_000);
    expect((await wgDump(left.engine)).peers[0]?.latestHandshake).toBeGreaterThanOrEqual(before?.latestHandshake ?? 0);
    expect((await wgDump(left.engine)).listenPort).toBe(left.port);
  });

  it('a new private key on both ends makes a new session at once', async () => {
    const { left, right } = pair;
    const next = makeKeys();
    await wgSet(right.engine, 'peer', left.keys.publicKey, 'remove');
    await wgSet(right.engine, 'peer', next.publicKey, 'allowed-ips', left.inner4);
    await wgSet(left.engine, 'private-key', secretFile(left.engine, next.privateKey));
    await untilAnswers(left.host, right.inner4, 7_000);
    expect((await wgDump(right.engine)).peers[0]?.rxBytes).toBeGreaterThan(0);
  });
});

describe.skipIf(!CAN_RUN)(`wg-quick with ${SUBJECT} in WG_QUICK_USERSPACE_IMPLEMENTATION`, () => {
  let lab: Lab;
  let home: Host;
  let exit: Host;
  let exitEngine: Engine;
  const keys = makeKeys();
  const exitKeys = makeKeys();
  const name = uniqueInterfaceName();
  const env = { WG_QUICK_USERSPACE_IMPLEMENTATION: SUBJECT === 'warren' ? WARREN_DROP_IN : 'wireguard-go' };

  beforeAll(async () => {
    lab = Lab.open('quick');
    home = await lab.host('home');
    exit = await lab.host('exit');
    await lab.link(
      { host: home, device: 'eth0', addresses: ['10.9.0.1/24', 'fd09::1/64'] },
      { host: exit, device: 'eth0', addresses: ['10.9.0.2/24', 'fd09::2/64'] },
    );
    // The endpoint and a host of the internet stand behind the default route, so only the mark keeps the tunnel's own
    // datagrams out of the tunnel.
    for (const address of ['203.0.113.9/32', '198.51.100.7/32', '2001:db8::7/128'])
      await exit.addAddress('lo', address);
    await home.must(['ip', 'route', 'add', 'default', 'via', '10.9.0.2']);
    await home.must(['ip', '-6', 'route', 'add', 'default', 'via', 'fd09::2']);
    exitEngine = await Engine.start(exit, 'wireguard-go');
    await wgSet(exitEngine, 'private-key', secretFile(exitEngine, exitKeys.privateKey), 'listen-port', '51820');
    await wgSet(exitEngine, 'peer', keys.publicKey, 'allowed-ips', '10.100.0.1/32,fd00:100::1/128');
    await exit.must(['ip', 'route', 'add', '10.100.0.1/32', 'dev', exitEngine.interfaceName]);
    await exit.must(['ip', '-6', 'route', 'add', 'fd00:100::1/128', 'dev', exitEngine.interfaceName]);
  });
  afterAll(() => lab?.close());

  it('up makes everything go through the tunnel, and down leaves nothing', async () => {
    const note = lab.file('note', '');
    const lines = [
      '[Interface]',
      `PrivateKey = ${keys.privateKey}`,
      'Address = 10.100.0.1/32, fd00:100::1/128',
      `PostUp = echo up %i >> ${note}`,
      `PostDown = echo down %i >> ${note}`,
      '[Peer]',
      `PublicKey = ${exitKeys.publicKey}`,
      'Endpoint = 203.0.113.9:51820',
      'AllowedIPs = 0.0.0.0/0, ::/0',
    ];
    const path = lab.file(`${name}.conf`, `${lines.join('\n')}\n`);
    const before = await home.must(['ip', 'rule', 'list']);

    await home.must(['wg-quick', 'up', path], { env });
    expect(readFileSync(note, 'utf8')).toBe(`up ${name}\n`);
    expect((await home.must(['wg', 'show', name, 'fwmark'])).trim()).toBe('0xca6c');
    const plain = await PacketCounter.open(
      home,
      'output',
      'oifname eth0 meta l4proto { icmp, ipv6-icmp } ip daddr 198.51.100.7',
    );
    await untilAnswers(home, '198.51.100.7', 5_000);
    expect((await ping(home, '2001:db8::7', { count: 3 })).received).toBe(3);
    expect(await plain.packets()).toBe(0);
    await plain.close();

    await home.must(['wg-quick', 'down', path], { env });
    expect(readFileSync(note, 'utf8')).toBe(`up ${name}\ndown ${name}\n`);
    expect(await home.hasInterface(name)).toBe(false);
    expect(await home.must(['ip', 'rule', 'list'])).toBe(before);
    await until('the engine in the background has ended', 5_000, () => home.pids().length === 0);
    expect(existsSync(`${SOCKET_DIRECTORY}/${name}.sock`)).toBe(false);
  }, 30_000);
});

describe.skipIf(!CAN_RUN)(`${SUBJECT} ends`, () => {
  let lab: Lab;
  let pair: Pair;

  beforeAll(async () => {
    lab = Lab.open('ends');
    pair = await Pair.open(lab, { left: SUBJECT, right: 'wireguard-go' });
  });
  afterAll(() => lab?.close());

  const ENDINGS: readonly { how: string; end: (engine: Engine) => unknown }[] = [
    { how: 'SIGTERM', end: (engine) => engine.signal('SIGTERM') },
    { how: 'SIGINT', end: (engine) => engine.signal('SIGINT') },
    { how: 'the deletion of its link', end: (engine) => engine.host.must(['ip', 'link', 'del', engine.interfaceName]) },
    { how: 'the deletion of its socket', end: (engine) => rmSync(engine.socketPath) },
  ];
  it.each(ENDINGS)('cleanly at $how, with a session up, and leaves nothing', async ({ end }) => {
    const { left, right } = pair;
    await pair.meetBoth();
    await untilAnswers(left.host, right.inner4, 3_000);
    const { engine } = left;
    await end(engine);
    expect(await engine.untilEnded(3_000)).toEqual({ code: 0, signal: null });
    expect(await left.host.hasInterface(engine.interfaceName)).toBe(false);
    expect(existsSync(engine.socketPath)).toBe(false);
    expect(left.host.pids()).toEqual([]);
    left.engine = await Engine.start(left.host, SUBJECT);
    await wgSet(
      left.engine,
      'listen-port',
      `${left.port}`,
      'private-key',
      secretFile(left.engine, left.keys.privateKey),
    );
    await left.host.addAddress(left.engine.interfaceName, `${left.inner4}/24`);
  });

  it('by a crash, and its stale socket is replaced at the next start', async () => {
    const { interfaceName, socketPath } = pair.left.engine;
    await pair.left.engine.crash();
    expect(existsSync(socketPath)).toBe(true);
    pair.left.engine = await Engine.start(pair.left.host, SUBJECT, { interfaceName });
    expect((await wgDump(pair.left.engine)).peers).toEqual([]);
  });

  it('not, when a second one is started for the same interface: that one is refused', async () => {
    const { engine, host } = pair.left;
    await expect(Engine.start(host, SUBJECT, { interfaceName: engine.interfaceName })).rejects.toThrow(
      /ended at its start/,
    );
    expect(engine.alive).toBe(true);
    expect((await wgDump(engine)).peers).toEqual([]);
  });

  it('having let nobody but root near its socket', () => {
    expect(statSync(pair.left.engine.socketPath).mode & 0o077).toBe(0);
  });
});
