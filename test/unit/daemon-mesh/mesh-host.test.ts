// A daemon as a person meets it through `up`, `down`, `logout` and `status`: with a machine's network, a controller and a device in
// memory. Over real interfaces: test/interop/mesh.test.ts.

import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { IpAddress, IpPrefix } from '../../../src/base/ip.ts';
import type { UpLine } from '../../../src/protocol/local-api.ts';
import { until } from '../daemon-fixtures.ts';
import { address, joinLink, NETWORK, netmapNode, OTHER_CONTROLLER_KEY, SECRET, Upping, World } from './fakes.ts';

let world: World;
const self = netmapNode(1, 'laptop');
const desk = netmapNode(2, 'desk');

beforeEach(async () => {
  world = new World();
  await world.open();
});

afterEach(() => world.close());

const nodeFile = (): string => joinPath(world.directory, 'node.json');
const remembered = (): Record<string, unknown> =>
  JSON.parse(readFileSync(nodeFile(), 'utf8')) as Record<string, unknown>;

/** Joined, with addresses, one peer. */
async function join(others = [desk]): Promise<void> {
  const before = world.controls.length;
  const upping = new Upping(world.host, { joinLink: joinLink() });
  await until(() => world.controls.length > before && world.control.started !== null);
  world.control.admit(self, others);
  await upping.done;
  expect(upping.last?.type).toBe('done');
}

function problemOf(line: UpLine | undefined): unknown {
  return line?.type === 'error' ? line.problem : line;
}

describe('a daemon without a network', () => {
  it('waits, and makes neither key nor interface', () => {
    expect(world.status()).toMatchObject({ state: 'unconfigured', problem: null, peers: [], network: null });
    expect(world.status().self).toMatchObject({ publicKey: null, interface: null, addresses: [] });
    expect(world.planes).toHaveLength(0);
    expect(existsSync(nodeFile())).toBe(false);
  });

  it('says at `up` how to get a join link', async () => {
    await expect(new Upping(world.host).done).rejects.toMatchObject({
      problem: { code: 'notConfigured', help: expect.stringContaining('warren keys create') },
    });
  });

  it('is down already at `down`, and has nothing to leave at `logout`', async () => {
    await world.host.down();
    expect(world.status().state).toBe('unconfigured');
    await expect(world.host.logout()).rejects.toMatchObject({ problem: { code: 'notConfigured' } });
  });
});

describe('joining', () => {
  it('is done when the interface has its addresses and routes', async () => {
    await join();
    const own = world.network.own.get('warren0');
    expect(own).toMatchObject({
      up: true,
      addresses: ['100.64.0.1', 'fd00:77::1'],
      routes: [NETWORK.prefix4, NETWORK.prefix6],
    });
    expect(world.status()).toMatchObject({
      version: '1.2.3',
      state: 'up',
      problem: null,
      self: { name: 'laptop', addresses: ['100.64.0.1', 'fd00:77::1'], interface: 'warren0', listenPort: 51_820 },
      network: NETWORK,
      controller: { state: 'connected', url: 'http://192.0.2.1:7370', seq: 1, lastError: null },
      peers: [
        { name: 'desk', addresses: ['100.64.0.2', 'fd00:77::2'], state: 'idle', path: null, lastHandshake: null },
      ],
    });
  });

  it('tells step by step what it waits for, each once', async () => {
    const upping = new Upping(world.host, { joinLink: joinLink() });
    await until(() => world.controls.length > 0 && world.control.started !== null);
    world.control.step('registering', 'registering with the controller');
    world.control.step('pending', 'waiting for an administrator');
    world.control.step('pending', 'waiting for an administrator');
    expect(world.status().state).toBe('waiting');
    world.control.admit(self);
    await upping.done;
    const steps = upping.lines.map((line) => (line.type === 'progress' ? line.message : line.type));
    expect(steps.slice(0, 3)).toEqual([
      'connecting to the controller',
      'registering with the controller',
      'waiting for an administrator',
    ]);
    expect(steps.at(-1)).toBe('done');
    expect(new Set(steps).size).toBe(steps.length);
  });

  it('has its key on the disk, for its user alone, before the controller hears of it', async () => {
    const upping = new Upping(world.host, { joinLink: joinLink() });
    await until(() => world.controls.length > 0);
    expect(remembered()).toMatchObject({ wanted: 'up', joined: false, authKey: SECRET });
    expect(statSync(nodeFile()).mode & 0o777).toBe(0o600);
    const secret = world.control.settings.privateKey('current');
    expect(remembered()['privateKey']).toBe(Buffer.from(secret).toString('base64'));
    upping.leave();
    await upping.done;
  });

  it('forgets the secret of the link once it is let in, and never shows it or the private key', async () => {
    await join();
    await until(() => remembered()['authKey'] === null);
    expect(remembered()).toMatchObject({ joined: true });
    const shown = JSON.stringify(world.status()) + world.logged.join('');
    expect(shown).not.toContain(SECRET);
    expect(shown).not.toContain(String(remembered()['privateKey']));
  });

  it('registers with the addresses of the machine and the port of the tunnel', async () => {
    const upping = new Upping(world.host, { joinLink: joinLink(), hostname: 'kitchen' });
    await until(() => world.controls.length > 0 && world.control.started !== null);
    expect(world.control.candidates).toEqual([{ kind: 'host', endpoint: '192.0.2.10:51820' }]);
    expect(world.control).toMatchObject({
      listenPort: 51_820,
      started: { hostname: 'kitchen', authKey: SECRET, resume: null, nextKey: null },
    });
    upping.leave();
    await upping.done;
  });

  it.each([
    ['text that is none', 'hello'],
    ['a link that is cut off', joinLink().slice(0, 40)],
  ])('refuses %s, without the secret in the words', async (_what, link) => {
    await expect(new Upping(world.host, { joinLink: link }).done).rejects.toMatchObject({
      problem: { code: 'badJoinLink' },
    });
    expect(existsSync(nodeFile())).toBe(false);
  });

  it('refuses a link without a secret', async () => {
    await expect(new Upping(world.host, { joinLink: joinLink({ authKey: null }) }).done).rejects.toMatchObject({
      problem: { code: 'badJoinLink', message: 'this join link lets nobody in' },
    });
  });

  it('refuses a link of another network until it has left the one that it is in', async () => {
    await join();
    const other = joinLink({ key: OTHER_CONTROLLER_KEY });
    await expect(new Upping(world.host, { joinLink: other }).done).rejects.toMatchObject({
      problem: { code: 'badJoinLink', help: expect.stringContaining('warren logout') },
    });
    expect(world.status().state).toBe('up');
  });

  it('takes another link as long as none has let it in', async () => {
    const first = new Upping(world.host, { joinLink: joinLink() });
    await until(() => world.controls.length > 0 && world.control.started !== null);
    world.control.unreachable('keyMismatch', 'another key');
    await first.done;
    expect(problemOf(first.last)).toMatchObject({ code: 'controllerKeyMismatch' });
    const second = new Upping(world.host, { joinLink: joinLink({ key: OTHER_CONTROLLER_KEY }) });
    await until(() => world.controls.length === 2 && world.control.started !== null);
    expect(world.control.settings.controllerKey).toBe(OTHER_CONTROLLER_KEY);
    world.control.admit(self);
    await second.done;
    expect(second.last?.type).toBe('done');
  });
});

describe('what is in the way', () => {
  it.each(['authKeyInvalid', 'authKeyExpired', 'authKeyUsed', 'authKeyRevoked', 'addressesExhausted'] as const)(
    '%s is told at once, in the words of the controller',
    async (code) => {
      const upping = new Upping(world.host, { joinLink: joinLink() });
      await until(() => world.controls.length > 0 && world.control.started !== null);
      world.control.refuses(code, `the controller says ${code}`, 'ask for another');
      await upping.done;
      expect(problemOf(upping.last)).toEqual({
        code,
        message: `the controller says ${code}`,
        why: null,
        help: 'ask for another',
      });
      expect(world.status()).toMatchObject({ state: 'failed', problem: { code } });
    },
  );

  it('a controller that cannot be reached is told when the time is over, and the daemon goes on', async () => {
    const upping = new Upping(world.host, { joinLink: joinLink(), timeoutMs: 50 });
    await until(() => world.controls.length > 0 && world.control.started !== null);
    world.control.unreachable();
    await upping.done;
    expect(problemOf(upping.last)).toMatchObject({ code: 'controllerUnreachable', why: 'nobody listens there' });
    expect(world.status()).toMatchObject({ state: 'starting', warnings: [{ code: 'controllerUnreachable' }] });
    world.control.admit(self);
    await until(() => world.status().state === 'up');
    expect(world.status().warnings).toEqual([]);
  });

  it('waiting for approval is what it says when the time is over', async () => {
    const upping = new Upping(world.host, { joinLink: joinLink(), timeoutMs: 50 });
    await until(() => world.controls.length > 0 && world.control.started !== null);
    world.control.step('pending', 'waiting for an administrator');
    await upping.done;
    expect(problemOf(upping.last)).toMatchObject({ code: 'timeout', why: 'waiting for an administrator' });
  });

  it('a controller with another key is told at once', async () => {
    const upping = new Upping(world.host, { joinLink: joinLink() });
    await until(() => world.controls.length > 0 && world.control.started !== null);
    world.control.unreachable('keyMismatch', 'it has another key');
    await upping.done;
    expect(problemOf(upping.last)).toMatchObject({ code: 'controllerKeyMismatch', why: 'it has another key' });
  });

  it('an address range that is in use is found before anything is configured', async () => {
    world.network.others.push(address('eth1', '100.64.7.7/24', { ifindex: 3 }));
    const upping = new Upping(world.host, { joinLink: joinLink() });
    await until(() => world.controls.length > 0 && world.control.started !== null);
    world.control.admit(self);
    await upping.done;
    expect(problemOf(upping.last)).toMatchObject({
      code: 'prefixCollision',
      message: expect.stringContaining('100.64.0.0/10'),
      why: expect.stringContaining('eth1 has the address 100.64.7.7/24'),
      help: expect.stringContaining('--network'),
    });
    expect(world.network.own.get('warren0')).toMatchObject({ addresses: [], routes: [] });
    expect(world.status()).toMatchObject({ state: 'failed', problem: { code: 'prefixCollision' } });
  });

  it.each([
    ['all of IPv4', { prefix4: '0.0.0.0/0' }, {}, '0.0.0.0/0'],
    ['half of it', { prefix4: '128.0.0.0/1' }, {}, '128.0.0.0/1'],
    ['the loopback', { prefix4: '127.0.0.0/8' }, {}, '127.0.0.0/8'],
    ["the world's IPv6", { prefix6: '2000::/3' }, {}, '2000::/3'],
    ["somebody else's address", {}, { address4: '198.51.100.53' }, '198.51.100.53'],
  ])('a controller that says the network is %s changes nothing here', async (_what, range, ours, named) => {
    const upping = new Upping(world.host, { joinLink: joinLink() });
    await until(() => world.controls.length > 0 && world.control.started !== null);
    const network = { ...NETWORK, ...(range as { readonly prefix4: IpPrefix }) };
    world.control.admit({ ...self, ...(ours as { readonly address4: IpAddress }) }, [], network);
    await upping.done;
    const problem = problemOf(upping.last);
    expect(problem).toMatchObject({ code: 'networkUnfit', help: expect.stringContaining('logout') });
    expect(JSON.stringify(problem)).toContain(named);
    expect(world.network.configurations).toBe(0);
    expect(world.network.own.get('warren0')).toMatchObject({ addresses: [], routes: [] });
  });

  it('a range that is free again is taken without anybody asking', async () => {
    world.network.otherRoutes = [{ prefix: '100.64.0.0/16' as IpPrefix, ifname: 'tun7', ifindex: 7, gateway: null }];
    const upping = new Upping(world.host, { joinLink: joinLink() });
    await until(() => world.controls.length > 0 && world.control.started !== null);
    world.control.admit(self);
    await upping.done;
    expect(problemOf(upping.last)).toMatchObject({ code: 'prefixCollision', why: expect.stringContaining('tun7') });
    world.network.otherRoutes = [];
    world.network.changed();
    await until(() => world.status().state === 'up');
    expect(world.status().problem).toBeNull();
  });

  it('no device, and it is tried again while it is wanted', async () => {
    world.tunProblem = { code: 'tunUnavailable', message: 'no device', why: 'there is none', help: null };
    await expect(new Upping(world.host, { joinLink: joinLink() }).done).rejects.toMatchObject({
      problem: { code: 'tunUnavailable' },
    });
    expect(world.status()).toMatchObject({ state: 'failed', problem: { code: 'tunUnavailable' } });
    world.tunProblem = null;
    const upping = new Upping(world.host);
    await until(() => world.controls.length > 0 && world.control.started !== null);
    expect(world.control.started?.authKey).toBe(SECRET);
    world.control.admit(self);
    await upping.done;
    expect(upping.last?.type).toBe('done');
  });

  it('a port that a person chose and another program has', async () => {
    world.port = 4500;
    world.takenPorts.add(4500);
    await world.restart();
    await expect(new Upping(world.host, { joinLink: joinLink() }).done).rejects.toMatchObject({
      problem: { code: 'portInUse', message: 'UDP port 4500 is in use' },
    });
    expect(world.plane.closed).toBe(true);
  });

  it('an interface that cannot be configured for want of a capability', async () => {
    world.network.failing.set('setAddresses', 'EPERM');
    const upping = new Upping(world.host, { joinLink: joinLink() });
    await until(() => world.controls.length > 0 && world.control.started !== null);
    world.control.admit(self);
    await upping.done;
    expect(problemOf(upping.last)).toMatchObject({
      code: 'permission',
      help: expect.stringContaining('CAP_NET_ADMIN'),
    });
  });

  it('a machine without IPv6 is a member over IPv4, and says so', async () => {
    world.network.withoutIpv6 = true;
    await join();
    expect(world.network.own.get('warren0')).toMatchObject({ addresses: ['100.64.0.1'], routes: [NETWORK.prefix4] });
    await until(() => world.status().warnings.length > 0);
    expect(world.status()).toMatchObject({ state: 'up', problem: null, warnings: [{ code: 'ipv6Unavailable' }] });
    // What cannot be had is not missed either.
    const { configurations } = world.network;
    world.network.others = [];
    world.network.changed();
    await until(() => world.control.candidates.length === 0);
    expect(world.status().state).toBe('up');
    expect(world.network.configurations).toBe(configurations);
  });

  it('a clock that is off is a warning', async () => {
    await join();
    world.control.says({ clockSkewMs: -3_600_000 });
    expect(world.status()).toMatchObject({
      state: 'up',
      warnings: [{ code: 'clockOff', message: expect.stringContaining('60 minutes behind'), help: expect.any(String) }],
    });
    world.control.says({ clockSkewMs: 120_000 });
    expect(world.status().warnings).toEqual([]);
  });

  it('a clock that is stepped is a warning at once, until it is right again or the controller tells its time', async () => {
    await join();
    world.jumpClock({ sleptMs: 0, steppedMs: 3_600_000 });
    expect(world.status().warnings).toMatchObject([
      { code: 'clockOff', message: expect.stringContaining('60 minutes ahead') },
    ]);
    world.jumpClock({ sleptMs: 0, steppedMs: -3_600_000 });
    expect(world.status().warnings).toEqual([]);
    world.control.says({ clockSkewMs: -3_600_000 });
    world.jumpClock({ sleptMs: 0, steppedMs: 3_600_000 });
    expect(world.status().warnings).toEqual([]);
    world.jumpClock({ sleptMs: 60_000, steppedMs: -3_600_000 });
    world.control.says({ clockSkewMs: null });
    world.control.admit(self, [desk]);
    expect(world.status().warnings).toEqual([]);
  });

  it('a client that goes does not stop the daemon', async () => {
    const upping = new Upping(world.host, { joinLink: joinLink() });
    await until(() => world.controls.length > 0 && world.control.started !== null);
    upping.leave();
    await upping.done;
    world.control.admit(self);
    await until(() => world.status().state === 'up');
  });
});

describe('down', () => {
  it('removes the interface, tells the controller, and is remembered', async () => {
    await join();
    await world.host.down();
    expect(world.plane.closed).toBe(true);
    expect(world.control.stopped).toBe('down');
    expect(world.network.own.has('warren0')).toBe(false);
    expect(world.network.watched).toBe(false);
    expect(world.status()).toMatchObject({ state: 'down', peers: [], self: { interface: null } });
    await world.restart();
    expect(world.status().state).toBe('down');
    expect(world.controls).toHaveLength(1);
  });

  it('is undone by `up` without a link', async () => {
    await join();
    await world.host.down();
    const upping = new Upping(world.host);
    await until(() => world.controls.length === 2 && world.control.started !== null);
    expect(world.control.started).toMatchObject({ authKey: null, resume: { seq: 1 } });
    world.control.admit(self, [desk]);
    await upping.done;
    expect(upping.last?.type).toBe('done');
  });
});

describe('logout', () => {
  it('tells the controller, destroys key and netmap, and keeps the port', async () => {
    await join();
    await world.host.down();
    const upping = new Upping(world.host);
    await until(() => world.controls.length === 2 && world.control.started !== null);
    world.control.admit(self, [desk]);
    await upping.done;
    await world.host.logout();
    expect(world.control.stopped).toBe('logout');
    expect(existsSync(nodeFile())).toBe(false);
    expect(existsSync(joinPath(world.directory, 'netmap.sealed'))).toBe(false);
    expect(existsSync(joinPath(world.directory, 'settings.json'))).toBe(true);
    expect(world.status()).toMatchObject({ state: 'unconfigured', self: { publicKey: null } });
  });

  it('leaves with another key than it comes back with', async () => {
    await join();
    const first = world.status().self.publicKey;
    await world.host.logout();
    await join();
    expect(world.status().self.publicKey).not.toBe(first);
  });

  it('looks for the controller when the node is down, so that it hears of it', async () => {
    await join();
    await world.host.down();
    const leaving = world.host.logout();
    await until(() => world.controls.length === 2 && world.control.started !== null);
    world.control.admit(self);
    await leaving;
    expect(world.control.stopped).toBe('logout');
  });

  it('does not wait for a controller that is away', async () => {
    await join();
    world.control.unreachable();
    await world.host.logout();
    expect(existsSync(nodeFile())).toBe(false);
  });
});

describe('a restart', () => {
  it('connects by itself, and to its peers before the controller answers', async () => {
    await join();
    await world.restart();
    expect(world.controls).toHaveLength(2);
    await until(() => world.status().state === 'up');
    expect(world.control.started).toMatchObject({ resume: { seq: 1, epoch: 'e'.repeat(16) } });
    expect(world.status()).toMatchObject({ controller: { state: 'connecting', seq: 1 }, peers: [{ name: 'desk' }] });
  });

  it('keeps its random port', async () => {
    await join();
    await until(() => existsSync(joinPath(world.directory, 'settings.json')));
    writeFileSync(joinPath(world.directory, 'settings.json'), JSON.stringify({ format: 1, listenPort: 40_404 }));
    await world.restart();
    await until(() => world.status().state === 'up');
    expect(world.status().self.listenPort).toBe(40_404);
  });

  it('takes another port when somebody has the random one, and keeps that', async () => {
    await join();
    await until(() => existsSync(joinPath(world.directory, 'settings.json')));
    writeFileSync(joinPath(world.directory, 'settings.json'), JSON.stringify({ format: 1, listenPort: 40_404 }));
    world.takenPorts.add(40_404);
    await world.restart();
    await until(() => world.status().state === 'up');
    expect(world.status().self.listenPort).toBe(51_820);
    await until(() => readFileSync(joinPath(world.directory, 'settings.json'), 'utf8').includes('51820'));
  });

  it('`up` is done with the controller away, and says so', async () => {
    await join();
    await world.restart();
    const upping = new Upping(world.host);
    await until(() => world.control.started !== null);
    world.control.unreachable();
    await upping.done;
    expect(upping.last).toMatchObject({
      type: 'done',
      status: { state: 'up', controller: { state: 'offline' }, warnings: [{ code: 'controllerUnreachable' }] },
    });
  });

  it('does not begin on a file that it cannot read, and says which', async () => {
    await world.close();
    writeFileSync(nodeFile(), '{"format":1,');
    await expect(world.open()).rejects.toMatchObject({
      problem: { code: 'stateUnusable', message: expect.stringContaining('node.json') },
    });
    rmSync(nodeFile());
    await world.close();
    await world.open();
  });
});

describe('the machine’s network', () => {
  it('a new address is told to the controller, and the engine and the client hear of the change', async () => {
    await join();
    world.network.others = [address('eth0', '198.51.100.5/24')];
    world.network.changed();
    await until(() => world.control.networkChanges === 1);
    expect(world.control.candidates).toEqual([{ kind: 'host', endpoint: '198.51.100.5:51820' }]);
  });

  it('another default route is a change too, though no address is', async () => {
    await join();
    world.network.otherRoutes = [
      { prefix: '0.0.0.0/0' as IpPrefix, ifname: 'wlan0', ifindex: 4, gateway: '192.0.2.1' as IpAddress },
    ];
    world.network.changed();
    await until(() => world.control.networkChanges === 1);
  });

  it('waking up counts as a change', async () => {
    await join();
    world.jumpClock({ sleptMs: 60_000, steppedMs: 0 });
    expect(world.control.networkChanges).toBe(1);
  });

  it('a device that is deleted is made again, with its peers, addresses and routes', async () => {
    await join();
    world.plane.link('deleted');
    await until(() => world.planes.length === 2 && world.status().state === 'up');
    await until(() => world.network.own.get('warren0')?.routes.length === 2);
    expect(world.status()).toMatchObject({ self: { listenPort: 51_820 }, peers: [{ name: 'desk' }] });
    expect(world.controls).toHaveLength(1);
  });

  it('a device that is set down is put up and configured again', async () => {
    await join();
    const own = world.network.own.get('warren0');
    world.network.own.set('warren0', { addresses: own?.addresses ?? [], routes: [], up: false });
    world.plane.link('down');
    await until(() => world.network.own.get('warren0')?.up === true);
    await until(() => world.network.own.get('warren0')?.routes.length === 2);
    expect(world.planes).toHaveLength(1);
  });

  it('addresses that somebody takes off the device are put back', async () => {
    await join();
    world.network.own.set('warren0', { addresses: [], routes: [NETWORK.prefix4, NETWORK.prefix6], up: true });
    world.network.changed();
    await until(() => world.network.own.get('warren0')?.addresses.length === 2);
  });

  it('our own changes are no changes', async () => {
    await join();
    const reads = world.network.reads;
    world.network.changed();
    await until(() => world.network.reads > reads);
    // The next one is real, and the first that counts.
    world.network.others = [];
    world.network.changed();
    await until(() => world.control.candidates.length === 0);
    expect(world.control.networkChanges).toBe(1);
  });
});

describe('peers', () => {
  it('are found by name, address, public key, id, and the beginning of a name', async () => {
    await join([desk, netmapNode(3, 'printer-hall'), netmapNode(4, 'printer-attic')]);
    for (const name of ['desk', 'DESK', '100.64.0.2', 'fd00:77::2', desk.publicKey, '2', 'de']) {
      expect(world.host.status({ kind: 'one', name }).peers).toMatchObject([{ name: 'desk' }]);
    }
  });

  it('that are not there are told with the names near them', async () => {
    await join();
    expect(() => world.host.flush('dekk')).toThrow(
      expect.objectContaining({ problem: expect.objectContaining({ code: 'unknownPeer', why: 'near it: desk' }) }),
    );
  });

  it('that may be several are told one by one', async () => {
    await join([netmapNode(3, 'printer-hall'), netmapNode(4, 'printer-attic')]);
    expect(() => world.host.flush('printer')).toThrow(
      expect.objectContaining({
        problem: expect.objectContaining({ code: 'ambiguousPeer', why: expect.stringContaining('printer-attic') }),
      }),
    );
  });

  it('cannot be oneself', async () => {
    await join();
    expect(() => world.host.flush('laptop')).toThrow(
      expect.objectContaining({ problem: expect.objectContaining({ message: 'laptop is this machine' }) }),
    );
  });

  it('flushing one without a session closes nothing', async () => {
    await join();
    expect(world.host.flush('desk')).toEqual({ name: 'desk', closed: false });
  });
});
