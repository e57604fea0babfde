// Relays with real daemons: two machines on one switch whose firewalls let nothing through between them reach one another by the relay inside the
// controller, or by one that stands alone, unprivileged; and one that is stopped moves them to the other.

import { chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WARREN } from './lib/engines.ts';
import type { Host } from './lib/lab.ts';
import { MeshLab, type MeshMachine, Program } from './lib/mesh.ts';
import { run } from './lib/shell.ts';
import { CAN_RUN } from './lib/subject.ts';
import { until } from './lib/wait.ts';

const RELAY_PORT = 7371;
/** Of no user here. */
const NOBODY = 65_534;

/** Nothing of the other machine comes in, by either family. */
async function divide(a: MeshMachine, b: MeshMachine): Promise<void> {
  for (const [one, other] of [
    [a, b],
    [b, a],
  ] as const) {
    const last = other.outer4.split('.').at(-1);
    const rules = `table inet divided { chain input { type filter hook input priority 0;
      ip saddr ${other.outer4} drop; ip6 saddr fd09::${last} drop; }; }`;
    await one.host.must(['nft', rules]);
  }
}

async function path(machine: MeshMachine, name: string): Promise<string | null> {
  const { peers } = await machine.status();
  return peers.find((peer) => peer.name === name)?.path?.kind ?? null;
}

describe.runIf(CAN_RUN)('two machines that do not reach one another', { timeout: 120_000 }, () => {
  let mesh: MeshLab;
  let alice: MeshMachine;
  let bob: MeshMachine;
  let relayHost: Host;
  let relayAddress = '';
  let directory = '';
  let bobAddress = '';
  let relay: Program | null = null;

  beforeAll(async () => {
    mesh = await MeshLab.open('relay', ['alice', 'bob', 'rel'], ['--idle-timeout', '0']);
    await mesh.controller?.end('SIGTERM');
    await mesh.startController('--relay-port', '7370');
    [alice, bob] = [mesh.machine('alice'), mesh.machine('bob')];
    const third = mesh.machine('rel');
    await third.stop();
    relayHost = third.host;
    relayAddress = third.outer4;
    directory = mkdtempSync(join(tmpdir(), 'warren-relay-'));
    chownSync(directory, NOBODY, NOBODY);
    await divide(alice, bob);
    const link = await mesh.link();
    for (const machine of [alice, bob]) await machine.must('up', '--join', link, '--hostname', machine.name);
    bobAddress = (await bob.addresses())[0];
  }, 120_000);
  afterAll(async () => {
    await mesh.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it('reach one another by the relay inside the controller', async () => {
    await alice.reaches(bobAddress, 20_000);
    expect(await path(alice, 'bob')).toBe('relay');
    expect(await path(bob, 'alice')).toBe('relay');
    const { stdout } = await alice.host.run(['ping', '-n', '-c', '50', '-i', '0.02', '-s', '1200', bobAddress]);
    expect(stdout).toMatch(/50 packets transmitted, 50 received, 0% packet loss/);
    // It is no machine to people.
    const listed = await mesh.administer('nodes', 'list', '--json');
    expect((JSON.parse(listed.stdout) as { name: string }[]).map(({ name }) => name).sort()).toEqual(['alice', 'bob']);
    const relays = await mesh.administer('nodes', 'list', '--relays', '--json');
    expect((JSON.parse(relays.stdout) as { name: string }[]).map(({ name }) => name)).toEqual(['relay']);
  });

  it('carries TCP at more than a trickle', async () => {
    const server = bob.host.start(['iperf3', '-s', '-1', '-B', bobAddress]);
    await until('iperf3 listens', 5_000, async () => {
      const { stdout } = await bob.host.run(['ss', '-ltnH', 'sport = :5201']);
      return stdout.includes('5201');
    });
    const out = await alice.host.must(['iperf3', '-c', bobAddress, '-t', '3', '-J'], { timeoutMs: 20_000 });
    server.kill('SIGKILL');
    const { end } = JSON.parse(out) as { end: { sum_received: { bits_per_second: number } } };
    expect(end.sum_received.bits_per_second).toBeGreaterThan(50e6);
  });

  it('can use one that stands alone, runs as nobody and has no privilege', async () => {
    const file = join(directory, 'link');
    writeFileSync(file, await mesh.link('--tag', 'relay'), { mode: 0o600 });
    chownSync(file, NOBODY, NOBODY);
    const command = ['relay', '--join-file', file, '--state', join(directory, 'own'), '--port', `${RELAY_PORT}`];
    const program = new Program(relayHost, [...command, '--public', relayAddress, '--json', '--drain', '20'], {}, [
      'setpriv',
      `--reuid=${NOBODY}`,
      `--regid=${NOBODY}`,
      '--clear-groups',
    ]);
    relay = program;
    await until('it is ready', 20_000, () => {
      if (!program.alive) throw new Error(`the relay ended: ${program.errors}`);
      return program.output.includes('\n');
    });
    expect(JSON.parse(program.output)).toMatchObject({ port: RELAY_PORT, controller: 'connected' });
    const status = readFileSync(`/proc/${program.pid}/status`, 'utf8');
    expect(status).toMatch(/^Uid:\t65534\t/m);
    for (const set of ['CapInh', 'CapPrm', 'CapEff']) expect(status).toMatch(new RegExp(`^${set}:\t0+$`, 'm'));
    // With the controller's gone, it is the only one.
    // Killed: one that says that it stops is not asked again for a while.
    await mesh.stopController();
    await mesh.startController('--no-relay');
    await until('they meet there', 60_000, async () => {
      process.kill(program.pid, 'SIGUSR1');
      await alice.host.run(['ping', '-n', '-c', '1', '-W', '0.5', bobAddress]);
      const last = program.errors.trim().split('\n').at(-1) ?? '';
      return last.startsWith('{') && (JSON.parse(last) as { slots: number }).slots === 2;
    });
    await alice.reaches(bobAddress, 20_000);
    expect(await path(alice, 'bob')).toBe('relay');
  });

  it('reach one another although all UDP of one is blocked', async () => {
    await mesh.stopController();
    await mesh.startController('--relay-port', '7370');
    const block =
      'table inet blocked { chain output { type filter hook output priority 0; oifname eth0 meta l4proto udp drop; }; }';
    await alice.host.must(['nft', block]);
    await alice.restart();
    await alice.untilStatus('a relay over WebSocket', 30_000, ({ relays }) =>
      relays.some(({ via }) => via === 'websocket'),
    );
    await alice.reaches(bobAddress, 30_000);
    expect(await path(alice, 'bob')).toBe('relay');
    const { stdout } = await alice.host.run(['ping', '-n', '-c', '50', '-i', '0.02', '-s', '1200', bobAddress]);
    expect(Number(/(\d+) received/.exec(stdout)?.[1])).toBeGreaterThan(45);
    await alice.host.must(['nft', 'delete', 'table', 'inet', 'blocked']);
    await alice.restart();
  });

  it('cost it nothing while they are silent', async () => {
    const pid = relay?.pid ?? 0;
    const switches = (): number => {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      return Number(/^voluntary_ctxt_switches:\t(\d+)$/m.exec(status)?.[1]);
    };
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const before = switches();
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    expect(switches() - before).toBeLessThan(40);
  });

  it('are moved to another when theirs is stopped', async () => {
    for (const machine of [alice, bob]) {
      await machine.untilStatus(
        'both relays are there',
        60_000,
        ({ relays }) =>
          relays.filter(({ state, endpoint }) => state === 'established' && endpoint !== null).length === 2,
      );
    }
    await alice.reaches(bobAddress, 20_000);
    const ours = JSON.parse(await mesh.mustAdminister('nodes', 'list', '--relays', '--json')) as { name: string }[];
    expect(ours.map(({ name }) => name)).toHaveLength(2);
    const pinging = alice.host.run(['ping', '-n', '-c', '100', '-i', '0.1', bobAddress], { timeoutMs: 30_000 });
    expect(await relay?.end('SIGTERM')).toBe(0);
    const { stdout } = await pinging;
    const received = Number(/(\d+) received/.exec(stdout)?.[1]);
    expect(received).toBeGreaterThan(80);
    await alice.reaches(bobAddress, 20_000);
    expect(await path(alice, 'bob')).toBe('relay');
  });
});

describe.runIf(CAN_RUN)('warren relay', () => {
  it('says what it needs when it belongs to no network', async () => {
    const state = mkdtempSync(join(tmpdir(), 'warren-relay-'));
    try {
      const { code, stderr } = await run([process.execPath, WARREN, 'relay', '--state', state], { timeoutMs: 30_000 });
      expect(code).toBe(1);
      expect(stderr).toMatch(
        /^warren relay: the relay belongs to no network\n {2}why: .*\n {2}do: {2}.*keys create --tag relay/,
      );
    } finally {
      rmSync(state, { recursive: true });
    }
  });
});
