// A mesh as its people use it: a controller and three machines on one switch, real interfaces, joined by links and asked by name.
// What each update does to a live peer: mesh-updates.test.ts. What is in the way: mesh-problems.test.ts.

import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PingLine } from '../../src/protocol/local-api.ts';
import { MeshLab, type MeshMachine } from './lib/mesh.ts';
import { CAN_RUN } from './lib/subject.ts';
import { until } from './lib/wait.ts';

/** What the requirement promises after a change of the network. */
const RECOVERED_MS = 2_000;
/** For whatever has no promised time: the machine may be busy with other tests. */
const SOON_MS = 10_000;

describe.skipIf(!CAN_RUN)('a mesh of three machines', () => {
  let mesh: MeshLab;
  let ada: MeshMachine;
  let bob: MeshMachine;
  let cat: MeshMachine;

  beforeAll(async () => {
    mesh = await MeshLab.open('mesh', ['ada', 'bob', 'cat']);
    ada = mesh.machine('ada');
    bob = mesh.machine('bob');
    cat = mesh.machine('cat');
  });
  afterAll(() => mesh?.close());

  it('makes no interface and no key before anybody joins', async () => {
    expect(await ada.status()).toMatchObject({ state: 'unconfigured', self: { interface: null, publicKey: null } });
    expect(await ada.host.hasInterface('warren0')).toBe(false);
    expect(statSync(ada.socket).mode & 0o007).toBe(0);
    expect(statSync(ada.state).mode & 0o777).toBe(0o700);
  });

  it('joins by one command each, which gives the addresses, IPv4 first', async () => {
    const link = await mesh.link();
    const seen = new Set<string>();
    for (const machine of mesh.machines) {
      const { code, stdout, stderr } = await machine.warren('up', '--join', link, '--hostname', machine.name);
      expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining(`as ${machine.name}`) });
      expect(stdout).toMatch(/^\d+\.\d+\.\d+\.\d+\n[0-9a-f:]+\n$/);
      expect(await machine.must('ip')).toBe(stdout);
      for (const address of stdout.trim().split('\n')) seen.add(address);
    }
    expect(seen.size).toBe(6);
  });

  it('takes the link from standard input and from a file, so that it is in nobody’s list of processes', async () => {
    const link = await mesh.link();
    const file = mesh.lab.file('link', `${link}\n`);
    const { code, stderr } = await ada.warren('up', '--join-file', file);
    // A member already, and it says so.
    expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining('the link is not needed') });
    expect(await ada.must('ip', 'bob')).toBe(await bob.must('ip'));
  });

  it('reaches every machine from every other, by both families', async () => {
    for (const from of mesh.machines) {
      for (const to of mesh.machines.filter((machine) => machine !== from)) {
        for (const address of await to.addresses()) await from.reaches(address);
      }
    }
  });

  it('pings by name, and says over which path', async () => {
    const lines = (await ada.must('ping', 'bob', '-c', '3', '-i', '0.05', '--json'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as PingLine);
    expect(lines.map(({ type }) => type)).toEqual(['reply', 'reply', 'reply', 'done']);
    const { listenPort } = (await bob.status()).self;
    // One of the addresses on the switch; which one, the race decides.
    const port = String(listenPort);
    for (const line of lines) {
      if (line.type !== 'reply') continue;
      expect(line.path.kind).toBe('direct');
      expect([`10.9.0.3:${port}`, `[fd09::3]:${port}`]).toContain(line.path.endpoint);
    }
    expect(lines.at(-1)).toMatchObject({ peer: 'bob', sent: 3, received: 3 });
  });

  it('shows what is, for programs and for people', async () => {
    const status = await ada.status();
    expect(status).toMatchObject({
      state: 'up',
      problem: null,
      warnings: [],
      self: { name: 'ada', interface: 'warren0' },
      controller: { state: 'connected', url: 'http://10.9.0.1:7370', lastError: null },
    });
    expect(status.self.addresses).toEqual(await ada.addresses());
    expect(status.peers.map(({ name }) => name)).toEqual(['bob', 'cat']);
    const peer = status.peers.find(({ name }) => name === 'bob');
    expect(peer).toMatchObject({ state: 'established', online: true, path: { kind: 'direct' }, reason: null });
    expect(peer?.rxBytes).toBeGreaterThan(0);
    expect(peer?.txBytes).toBeGreaterThan(0);
    expect(Date.parse(peer?.lastHandshake ?? '')).toBeGreaterThan(Date.now() - 120_000);
    const text = await ada.must('status');
    expect(text).toMatch(/^ada: connected$/m);
    expect(text).toMatch(/^bob +100\.\S+ +established +direct /m);
  });

  it('tells the peer by name, address, id and key alike', async () => {
    const [peer] = (await ada.status()).peers;
    for (const name of [peer?.name, ...(peer?.addresses ?? []), String(peer?.id), peer?.publicKey]) {
      expect(await ada.must('ip', name ?? '')).toBe(await bob.must('ip'));
    }
    expect(await ada.problem('ip', 'bobb')).toMatchObject({ code: 'unknownPeer', why: expect.stringContaining('bob') });
  });

  it('watches: another status at each change', async () => {
    const watching = cat.host.start([
      process.execPath,
      ...['bin/warren', 'status', '--watch', '--json', '--socket', cat.socket],
    ]);
    let seen = '';
    watching.stdout?.setEncoding('utf8').on('data', (text: string) => {
      seen += text;
    });
    const online = (): unknown[] =>
      seen
        .split('\n')
        .slice(0, -1)
        .map((line) => (JSON.parse(line) as { peers: { name: string; online: boolean }[] }).peers)
        .map((peers) => peers.find(({ name }) => name === 'bob')?.online);
    await until('the first status', SOON_MS, () => online().length > 0);
    await bob.must('down');
    await until('the change', SOON_MS, () => online().at(-1) === false);
    await bob.must('up');
    await until('the change back', SOON_MS, () => online().at(-1) === true);
    process.kill(watching.pid as number, 'SIGINT');
    await until('it ends when it is interrupted', SOON_MS, () => watching.exitCode === 0);
  });

  it('closes a session on request, and the next packet makes another', async () => {
    const [address] = await bob.addresses();
    await ada.reaches(address);
    expect(JSON.parse(await ada.must('peers flush', 'bob', '--json'))).toEqual({ name: 'bob', closed: true });
    expect((await ada.status()).peers.find(({ name }) => name === 'bob')).toMatchObject({ state: 'idle', path: null });
    await ada.reaches(address);
    expect((await ada.status()).peers.find(({ name }) => name === 'bob')?.state).toBe('established');
  });

  describe('down', () => {
    it('takes the interface away, with its routes and rules, and stays out over a restart', async () => {
      const before = await routesOf(cat);
      expect(before).toContain('warren0');
      await cat.must('down');
      expect(await cat.host.hasInterface('warren0')).toBe(false);
      expect(await routesOf(cat)).not.toContain('warren0');
      await ada.untilStatus('cat is offline', RECOVERED_MS, ({ peers }) => peers[1]?.online === false);
      await cat.restart();
      expect((await cat.status()).state).toBe('down');
      expect(await cat.problem('ping', 'ada')).toMatchObject({ help: expect.stringContaining('warren up') });
    });

    it('is undone by `up`, with the same addresses and port', async () => {
      const [address] = (await ada.must('ip', 'cat')).split('\n');
      const { listenPort } = JSON.parse(readFileSync(join(cat.state, 'settings.json'), 'utf8')) as {
        listenPort: number;
      };
      expect((await cat.must('up')).split('\n')[0]).toBe(address);
      expect((await cat.status()).self.listenPort).toBe(listenPort);
      await ada.reaches(address ?? '');
    });
  });

  describe('the controller is away', () => {
    let link: string;

    beforeAll(async () => {
      link = await mesh.link();
    });

    it('traffic flows on, new sessions begin, and a machine that restarts connects from its own disk', async () => {
      for (const machine of mesh.machines) {
        await until(`${machine.name} has its netmap on disk`, SOON_MS, () =>
          existsSync(join(machine.state, 'netmap.sealed')),
        );
      }
      const [bobs] = await bob.addresses();
      const [cats] = await cat.addresses();
      await ada.reaches(bobs);
      await mesh.stopController();
      await ada.reaches(bobs);
      await ada.must('peers flush', 'bob');
      await ada.reaches(bobs);
      await bob.restart('SIGKILL');
      await bob.reaches(cats, SOON_MS);
      await ada.reaches(bobs, SOON_MS);
      const status = await bob.status();
      expect(status).toMatchObject({ state: 'up', controller: { seq: expect.any(Number) } });
      expect(status.controller.state).not.toBe('connected');
      // The netmap names everybody; nobody who does not have the key of the node reads it.
      expect(readFileSync(join(bob.state, 'netmap.sealed')).includes('cat')).toBe(false);
    });

    it('`up` and `status` say so', async () => {
      await bob.untilStatus('the controller is offline', SOON_MS, ({ warnings }) => warnings.length > 0);
      const { code, stderr } = await bob.warren('up');
      expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining('cannot be reached') });
    });

    it('`up --join` does not say that it joined, and what is connected stays so', async () => {
      const [cats] = await cat.addresses();
      await bob.reaches(cats);
      expect(await bob.problem('up', '--join', link, '--hostname', 'bob', '--timeout', '1')).toMatchObject({
        code: expect.stringMatching(/controllerUnreachable|timeout/),
        message: expect.stringContaining('the join link has not been used'),
        why: expect.any(String),
        help: expect.stringContaining('warren up without --join'),
      });
      await bob.reaches(cats);
      expect((await bob.status()).state).toBe('up');
    });

    it('`up --join` waits for it, and is done when it is there', async () => {
      const joining = bob.warren('up', '--join', link, '--hostname', 'bob', '--timeout', '60');
      // It has tried before the controller is there.
      await bob.untilStatus('it tries', SOON_MS, ({ controller }) => controller.lastError !== null);
      await mesh.startController();
      const { code, stdout } = await joining;
      expect({ code, stdout }).toEqual({ code: 0, stdout: `${(await bob.addresses()).join('\n')}\n` });
      expect((await bob.status()).controller.state).toBe('connected');
    });

    it('all come back to it by themselves', async () => {
      for (const machine of mesh.machines) {
        await machine.untilStatus('connected again', 60_000, ({ controller }) => controller.state === 'connected');
      }
    });
  });

  describe('the network under it changes', () => {
    it('an address is replaced', async () => {
      const [bobs] = await bob.addresses();
      await ada.reaches(bobs);
      await bob.host.deleteAddress('eth0', '10.9.0.3/24');
      await bob.host.deleteAddress('eth0', 'fd09::3/64');
      await bob.host.addAddress('eth0', '10.9.0.33/24');
      await ada.reaches(bobs, RECOVERED_MS);
      await bob.untilStatus('it tells its new address', RECOVERED_MS, ({ self }) =>
        self.candidates.some(({ endpoint }) => endpoint.startsWith('10.9.0.33:')),
      );
      await ada.untilStatus('others hear of it', SOON_MS, ({ peers }) =>
        (peers[0]?.candidates ?? []).some(({ endpoint }) => endpoint.startsWith('10.9.0.33:')),
      );
      await bob.host.deleteAddress('eth0', '10.9.0.33/24');
      await bob.host.addAddress('eth0', '10.9.0.3/24');
      await bob.host.addAddress('eth0', 'fd09::3/64');
      await ada.reaches(bobs, RECOVERED_MS);
    });

    it('the cable is out and in again', async () => {
      const [bobs] = await bob.addresses();
      await bob.host.must(['ip', 'link', 'set', 'eth0', 'down']);
      await bob.host.must(['ip', 'link', 'set', 'eth0', 'up']);
      await bob.host.addAddress('eth0', 'fd09::3/64');
      await bob.reaches((await ada.addresses())[0], RECOVERED_MS);
      await ada.reaches(bobs, RECOVERED_MS);
    });

    it('the tunnel interface is deleted', async () => {
      const [bobs, bobs6] = await bob.addresses();
      await bob.host.must(['ip', 'link', 'del', 'warren0']);
      await bob.reaches((await ada.addresses())[0], RECOVERED_MS);
      await ada.reaches(bobs, RECOVERED_MS);
      await ada.reaches(bobs6, RECOVERED_MS);
    });

    it('the tunnel interface is set down', async () => {
      const [bobs, bobs6] = await bob.addresses();
      await bob.host.must(['ip', 'link', 'set', 'warren0', 'down']);
      await ada.reaches(bobs, RECOVERED_MS);
      await ada.reaches(bobs6, RECOVERED_MS);
    });

    it('the routes of the tunnel are deleted', async () => {
      const [bobs, bobs6] = await bob.addresses();
      await bob.host.must(['ip', 'route', 'flush', 'dev', 'warren0']);
      await ada.reaches(bobs, RECOVERED_MS);
      await bob.host.must(['ip', '-6', 'route', 'flush', 'dev', 'warren0']);
      await ada.reaches(bobs6, RECOVERED_MS);
    });

    it('the addresses of the tunnel are flushed', async () => {
      const [bobs] = await bob.addresses();
      await bob.host.must(['ip', 'address', 'flush', 'dev', 'warren0', 'scope', 'global']);
      await ada.reaches(bobs, RECOVERED_MS);
    });
  });

  it('a crash leaves nothing that the next start does not mend', async () => {
    const [cats] = await cat.addresses();
    await cat.stop('SIGKILL');
    expect(existsSync(cat.socket)).toBe(true);
    expect(await cat.host.hasInterface('warren0')).toBe(false);
    await cat.start();
    await ada.reaches(cats, SOON_MS);
  });

  it('a crash that costs the netmap on disk too is noticed by those who had a session with the machine', async () => {
    const [cats] = await cat.addresses();
    await ada.reaches(cats);
    await cat.stop('SIGKILL');
    rmSync(join(cat.state, 'netmap.sealed'));
    await cat.start();
    await ada.reaches(cats, SOON_MS);
  });

  it('stops at SIGTERM with code 0, and leaves neither interface nor socket', async () => {
    expect(await cat.stop()).toBe(0);
    expect(await cat.host.hasInterface('warren0')).toBe(false);
    expect(existsSync(cat.socket)).toBe(false);
    await cat.start();
    await cat.untilStatus('it is up again', SOON_MS, ({ state }) => state === 'up');
  });

  it('keeps CAP_NET_ADMIN and CAP_NET_BIND_SERVICE alone', () => {
    const status = readFileSync(`/proc/${cat.program?.pid}/status`, 'utf8');
    expect(/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1]).toBe('0000000000001400');
  });

  it('a machine that is removed reaches nobody, and nobody reaches it', async () => {
    const [cats] = await cat.addresses();
    const [adas] = await ada.addresses();
    await ada.reaches(cats);
    await mesh.mustAdminister('nodes', 'remove', 'cat');
    await ada.untilStatus('cat is gone', RECOVERED_MS, ({ peers }) => peers.every(({ name }) => name !== 'cat'));
    const status = await cat.untilStatus('it knows', RECOVERED_MS, ({ state }) => state === 'failed');
    expect(status).toMatchObject({ peers: [], problem: { help: expect.any(String) } });
    expect((await ada.host.run(['ping', '-n', '-c', '1', '-W', '1', cats])).code).not.toBe(0);
    expect((await cat.host.run(['ping', '-n', '-c', '1', '-W', '1', adas])).code).not.toBe(0);
    expect(existsSync(join(cat.state, 'netmap.sealed'))).toBe(false);
    await cat.restart();
    await cat.untilStatus('it is refused again', SOON_MS, ({ state }) => state === 'failed');
  });

  it('leaves for good at `logout`, and the others hear of it', async () => {
    await bob.must('logout');
    expect(await bob.status()).toMatchObject({ state: 'unconfigured', self: { publicKey: null } });
    expect(existsSync(join(bob.state, 'node.json'))).toBe(false);
    await ada.untilStatus('bob is gone', RECOVERED_MS, ({ peers }) => peers.every(({ name }) => name !== 'bob'));
  });
});

async function routesOf(machine: MeshMachine): Promise<string> {
  const [four, six] = await Promise.all([
    machine.host.must(['ip', '-4', 'route']),
    machine.host.must(['ip', '-6', 'route']),
  ]);
  return four + six;
}
