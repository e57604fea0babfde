// The relay as it runs: real sockets, a real controller beside it, native forwarding. That it joins by itself and is found, forwards over UDP
// and over WebSocket, keeps its keys and slots over restarts, serves without its controller, and goes without leaving anybody behind.

import { EventEmitter } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import type { Endpoint } from '../../../src/base/ip.ts';
import { RelayBridge } from '../../../src/daemon/relay-bridge.ts';
import { parseJoinLink } from '../../../src/protocol/join-link.ts';
import { RelayHost, type RelaySettings } from '../../../src/relay/relay-host.ts';
import { type RelayArguments, type RelayReady, runRelay } from '../../../src/relay/relay-main.ts';
import { createRelayPlane } from '../../../src/relay/relay-plane.ts';
import { createLog } from '../../../src/service/log.ts';
import { type HostLab, hostLab, LabNode, temporaryDirectory } from './host-lab.ts';
import { until } from './stream-lab.ts';

const LIMIT_MS = 60_000;
const udp = (lab: HostLab): Endpoint => `127.0.0.1:${lab.relay?.port}` as Endpoint;

async function node(name: string, lab: HostLab, key?: Uint8Array): Promise<LabNode> {
  return await new LabNode(name, lab.joinLink, key).joined();
}

/** An auth key's link, as `warren keys create --tag relay` makes one. */
async function relayLink(lab: HostLab, tags = ['relay']): Promise<string> {
  let link = '';
  await lab.controller.accompany(async (inside) => {
    link = await inside.joinLink(tags);
    return null;
  });
  return link;
}

describe('the relay inside a controller', { timeout: LIMIT_MS }, () => {
  test('joins by itself, is told to machines, and forwards between two that do not reach one another', async () => {
    const lab = await hostLab({ metrics: true });
    expect(lab.errors).toEqual([]);
    const [alice, bob] = [await node('alice', lab), await node('bob', lab)];
    const [relay] = alice.relays();
    expect(relay).toMatchObject({ name: 'relay', tags: ['relay'], online: true, address4: '100.95.255.254' });
    expect(alice.netmap.self?.address4).toBe('100.80.0.2');
    expect(relay?.reach).toMatchObject({ home: null, url: lab.controller.started.url });
    for (const one of [alice, bob]) await one.allocate(relay as never, udp(lab));
    await alice.reaches(bob);
    await bob.reaches(alice, 815);
    const metrics = await lab.relay?.metrics();
    expect(Number(/^warren_relay_forwarded_packets_total (\d+)$/m.exec(metrics ?? '')?.[1])).toBeGreaterThanOrEqual(6);
    expect(metrics).toMatch(/^warren_relay_slots 2$/m);
    // With those of the controller, on one address.
    const listening = lab.controller.started.metrics;
    const text = await (await fetch(`http://127.0.0.1:${listening?.port}/metrics`)).text();
    expect(text).toMatch(/^warren_connections 3$/m);
    expect(text).toMatch(/^warren_relay_slots 2$/m);
  });

  test('carries the same over a WebSocket on the controller’s port', async () => {
    const lab = await hostLab();
    const [alice, bob] = [await node('alice', lab), await node('bob', lab)];
    const [relay] = alice.relays();
    const bridge = await RelayBridge.open({
      url: relay?.reach?.url as string,
      planePort: alice.engine.listenPort(),
    });
    onTestFinished(() => bridge.close());
    await alice.allocate(relay as never, bridge.endpoint);
    await bob.allocate(relay as never, udp(lab));
    await alice.reaches(bob);
    await bob.reaches(alice, 2);
    expect(bridge.status).toMatchObject({ state: 'open', dropped: 0 });
    expect(await lab.relay?.metrics()).toMatch(/^warren_relay_streams 1$/m);
  });

  test('forgets a machine at once when it is removed', async () => {
    const lab = await hostLab();
    const alice = await node('alice', lab);
    const [relay] = alice.relays();
    await alice.allocate(relay as never, udp(lab));
    expect(await lab.relay?.metrics()).toMatch(/^warren_relay_slots 1$/m);
    await remove(lab, alice.id);
    const slots = async (): Promise<string> => (await lab.relay?.metrics()) ?? '';
    let text = await slots();
    await until('it is gone', () => {
      slots().then((now) => {
        text = now;
      });
      return /^warren_relay_slots 0$/m.test(text) && /^warren_relay_members 0$/m.test(text);
    });
  });

  test('is the same after a restart: no other member, the same slots', async () => {
    const first = await hostLab();
    const alice = await node('alice', first);
    const [relay] = alice.relays();
    await alice.allocate(relay as never, udp(first));
    const before = toHex(alice.slot as Uint8Array);
    const { port } = first.controller.started.listening;
    const relayPort = first.relay?.port as number;
    await first.stop();
    const second = await hostLab({ directory: first.directory, port, relayPort }, first.joinLink);
    expect(second.errors).toEqual([]);
    expect(second.relay?.port).toBe(relayPort);
    alice.forget(relay as never);
    await alice.allocate(relay as never, udp(second));
    expect(toHex(alice.slot as Uint8Array)).toBe(before);
    expect(alice.relays().map(({ id }) => id)).toEqual([relay?.id]);
  });

  test('joins anew when an administrator has removed it', async () => {
    const first = await hostLab();
    const alice = await node('alice', first);
    const [relay] = alice.relays();
    await remove(first, relay?.id as number);
    await until('it comes back as another member', () => alice.relays().some(({ id }) => id !== relay?.id));
    expect(alice.relays()).toHaveLength(1);
    // The same key, and so the same slots.
    expect(alice.relays()[0]?.publicKey).toBe(relay?.publicKey);
  });

  test('does without when its port is taken, and says so', async () => {
    const first = await hostLab();
    const second = await hostLab({ relayPort: first.relay?.port as number });
    expect(second.relay).toBeNull();
    expect(second.errors.join('')).toMatch(
      /runs without a relay .*cannot open UDP port \d+: it is in use.*--relay-port/,
    );
    // Machines join all the same.
    const alice = new LabNode('alice', second.joinLink);
    await until('it is in', () => alice.netmap.self !== null);
  });

  test('keeps what is secret to itself', async () => {
    const lab = await hostLab();
    const directory = join(lab.directory, 'relay');
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    const file = join(directory, 'relay.json');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    await until('the auth key is forgotten', () => JSON.parse(readFileSync(file, 'utf8')).authKey === null);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ joined: true });
  });
});

async function remove(lab: HostLab, id: number): Promise<void> {
  const path = join(lab.directory, 'admin.sock');
  const { request } = await import('node:http');
  await new Promise<void>((resolve, reject) => {
    const asked = request({ socketPath: path, method: 'DELETE', path: `/api/v1/nodes/${id}` }, (response) => {
      response.resume();
      response.on('end', () => (response.statusCode === 200 ? resolve() : reject(new Error(`${response.statusCode}`))));
    });
    asked.on('error', reject);
    asked.end();
  });
}

describe('a relay by itself', { timeout: LIMIT_MS }, () => {
  const settings = (over: Partial<RelaySettings>): RelaySettings => ({
    stateDirectory: temporaryDirectory(),
    port: 0,
    joinLink: null,
    controller: null,
    publicAddresses: [],
    tellInterfaces: true,
    url: null,
    hostname: 'relay-alone',
    limits: { bytesPerSecond: 1e8, bytesPerDay: Number.POSITIVE_INFINITY, slotsMax: 100 },
    version: 'test',
    ...over,
  });
  const start = (given: RelaySettings): Promise<RelayHost> =>
    RelayHost.start({ settings: given, createPlane: createRelayPlane, log: createLog('silent') });

  test('serves who it knew while the controller is away', async () => {
    const lab = await hostLab();
    const link = await relayLink(lab);
    const given = settings({ joinLink: link });
    const first = await start(given);
    const alice = await node('alice', lab);
    await until('it knows alice', () => first.engine.status().members === 1);
    await until('alice knows it', () => alice.relays().length === 2);
    const record = alice.relays().find(({ name }) => name === 'relay-alone');
    await alice.allocate(record as never, `127.0.0.1:${first.port}` as Endpoint);
    const before = toHex(alice.slot as Uint8Array);
    await first.close();
    await lab.stop();
    const second = await start({ ...given, joinLink: null });
    onTestFinished(() => second.close());
    expect(second.engine.status().members).toBe(1);
    alice.forget(record as never);
    await alice.allocate(record as never, `127.0.0.1:${second.port}` as Endpoint);
    expect(toHex(alice.slot as Uint8Array)).toBe(before);
  });

  test('is refused with what to do: no membership, a bad link, another network, a directory in use', async () => {
    const lab = await hostLab();
    await expect(start(settings({}))).rejects.toMatchObject({ what: 'the relay belongs to no network' });
    const parsed = parseJoinLink(lab.joinLink);
    const secret = parsed.ok ? (parsed.link.authKey as string) : '';
    const wrong = lab.joinLink.replace(secret, 'A'.repeat(secret.length));
    await expect(start(settings({ joinLink: wrong }))).rejects.toMatchObject({
      what: 'the controller does not let the relay in',
    });
    const given = settings({ joinLink: await relayLink(lab) });
    const relay = await start(given);
    onTestFinished(() => relay.close());
    await expect(start({ ...given, joinLink: null })).rejects.toMatchObject({ why: 'another relay uses it' });
    await relay.close();
    const other = await hostLab();
    await expect(start({ ...given, joinLink: await relayLink(other) })).rejects.toMatchObject({
      what: 'the relay is a member of another network',
    });
    writeFileSync(join(given.stateDirectory, 'relay.json'), '{"format":1');
    await expect(start(given)).rejects.toMatchObject({ what: expect.stringMatching(/^cannot read .*relay\.json$/) });
  });

  test('as a process tells its nodes to move, waits for them as long as it was told, and ends', async () => {
    const lab = await hostLab();
    const alice = await node('alice', lab);
    const signals = new EventEmitter();
    let ready: RelayReady | null = null;
    const given: RelayArguments = {
      stateDirectory: temporaryDirectory(),
      port: 0,
      joinLink: await relayLink(lab),
      publicAddresses: [],
      bytesPerSecond: null,
      bytesPerDay: 1e12,
      membersMax: 10,
      listen: { host: '127.0.0.1', port: 0 },
      certificate: null,
      url: 'http://127.0.0.1:1',
      metricsListen: { host: '127.0.0.1', port: 0 },
      drainMs: 1_500,
      version: 'test',
    };
    const running = runRelay(
      given,
      { LOG_LEVEL: 'silent' },
      (told) => {
        ready = told;
      },
      signals,
    );
    await until('it is ready', () => ready !== null);
    const { port, listening, metrics } = ready as unknown as RelayReady;
    await until('alice knows of it', () => alice.relays().length === 2);
    const record = alice.relays().find(({ name }) => name !== 'relay');
    expect(record?.reach?.url).toBe('http://127.0.0.1:1');
    // Over its own listener.
    const bridge = await RelayBridge.open({ url: `http://${listening}`, planePort: alice.engine.listenPort() });
    onTestFinished(() => bridge.close());
    await alice.allocate(record as never, bridge.endpoint);
    expect(await (await fetch(`http://${metrics}/metrics`)).text()).toMatch(/^warren_relay_streams 1$/m);
    expect((await fetch(`http://${listening}/`)).status).toBe(404);
    // And, so that it is waited for, as its home.
    alice.tellHome({ relay: record?.id as never, slot: toHex(alice.slot as Uint8Array) });
    await until('all know of it', () => alice.netmap.self?.reach?.home?.relay === record?.id);
    alice.forget(record as never);
    await alice.allocate(record as never, `127.0.0.1:${port}` as Endpoint);
    const began = performance.now();
    signals.emit('SIGTERM');
    await until('alice is told', () => alice.frames.some(({ frame }) => frame.kind === 'relayDraining'));
    expect(await running).toEqual({ kind: 'ended', signal: 'SIGTERM' });
    expect(performance.now() - began).toBeGreaterThan(1_400);
    await until('it is off', () => alice.relays().find(({ id }) => id === record?.id)?.online === false);
  });

  test.each([true, false])(
    'ends at once when there is nobody to tell, or nowhere to go: another relay %s',
    async (other) => {
      const lab = await hostLab({ withRelay: other });
      const relay = await start(settings({ joinLink: await relayLink(lab) }));
      if (!other) {
        const alice = await node('alice', lab);
        await alice.allocate(alice.relays()[0] as never, `127.0.0.1:${relay.port}` as Endpoint);
      }
      const began = performance.now();
      await relay.drain(30_000);
      await relay.close();
      expect(performance.now() - began).toBeLessThan(5_000);
    },
  );
});
