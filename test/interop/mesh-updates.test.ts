// What an update does to a live peer (docs/mesh.md), row by row, on real interfaces: from the administrator's command to the
// session. "A session is left alone" is shown by its handshake, which stays the one that it was.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PeerStatus } from '../../src/protocol/local-api.ts';
import { MeshLab, type MeshMachine } from './lib/mesh.ts';
import { CAN_RUN } from './lib/subject.ts';

/** From the command to the effect on another machine. */
const TOLD_MS = 2_000;
const SOON_MS = 10_000;

describe.skipIf(!CAN_RUN)('what an update does to a live peer', () => {
  let mesh: MeshLab;
  let ada: MeshMachine;
  let bob: MeshMachine;

  beforeAll(async () => {
    mesh = await MeshLab.open('meshupd', ['ada', 'bob', 'cat']);
    ada = mesh.machine('ada');
    bob = mesh.machine('bob');
    const link = await mesh.link();
    for (const machine of [ada, bob]) await machine.must('up', '--join', link, '--hostname', machine.name);
    await ada.reaches((await bob.addresses())[0]);
  });
  afterAll(() => mesh?.close());

  const peer = async (name: string): Promise<PeerStatus | undefined> =>
    (await ada.status()).peers.find((one) => one.name === name);
  const untilPeer = async (name: string, what: string, holds: (one: PeerStatus) => boolean): Promise<PeerStatus> => {
    const status = await ada.untilStatus(`${name}: ${what}`, TOLD_MS, ({ peers }) =>
      peers.some((one) => one.name === name && holds(one)),
    );
    return status.peers.find((one) => one.name === name) as PeerStatus;
  };
  /** Who has been talking, with the handshake of the session that must outlive the update. */
  const talking = async (): Promise<string> => {
    await ada.reaches((await bob.addresses())[0]);
    const { state, lastHandshake } = (await peer('bob')) as PeerStatus;
    expect(state).toBe('established');
    return lastHandshake ?? '';
  };

  it('added: an idle peer, and nothing of the others is touched', async () => {
    const handshake = await talking();
    await mesh.machine('cat').must('up', '--join', await mesh.link('--pre-approved'), '--hostname', 'cat');
    expect(await untilPeer('cat', 'is there', () => true)).toMatchObject({
      state: 'idle',
      rxBytes: 0,
      txBytes: 0,
      lastHandshake: null,
    });
    expect(await peer('bob')).toMatchObject({ state: 'established', lastHandshake: handshake });
  });

  it('renamed and tagged: shown, and nothing else', async () => {
    const handshake = await talking();
    await mesh.mustAdminister('nodes', 'rename', 'bob', 'robert');
    await mesh.mustAdminister('nodes', 'tag', 'robert', 'server');
    expect(await untilPeer('robert', 'has its tag', ({ tags }) => tags.includes('server'))).toMatchObject({
      state: 'established',
      lastHandshake: handshake,
    });
    expect((await bob.status()).self).toMatchObject({ name: 'robert', tags: ['server'] });
    await mesh.mustAdminister('nodes', 'rename', 'robert', 'bob');
    await untilPeer('bob', 'has its name back', () => true);
  });

  it('addresses changed: the interface and the allowed-ips follow, the session goes on', async () => {
    const handshake = await talking();
    const [old4, old6] = await bob.addresses();
    const next4 = old4.replace(/\d+$/, '77');
    await mesh.mustAdminister('nodes', 'address', 'bob', next4);
    await untilPeer('bob', 'has its new address', ({ addresses }) => addresses[0] === next4);
    await ada.reaches(next4, TOLD_MS);
    await ada.reaches(old6, TOLD_MS);
    expect(await peer('bob')).toMatchObject({ state: 'established', lastHandshake: handshake });
    const own = await bob.host.must(['ip', '-4', 'address', 'show', 'dev', 'warren0']);
    expect(own).toContain(next4);
    expect(own).not.toContain(`${old4}/`);
    expect((await ada.host.run(['ping', '-n', '-c', '1', '-W', '0.5', old4])).code).not.toBe(0);
    await mesh.mustAdminister('nodes', 'address', 'bob', old4);
    await ada.reaches(old4, TOLD_MS);
  });

  it('candidates changed: the session is left alone', async () => {
    const handshake = await talking();
    await bob.host.addAddress('eth0', '10.9.0.99/24');
    await untilPeer('bob', 'tells another address', ({ candidates }) =>
      candidates.some(({ endpoint }) => endpoint.startsWith('10.9.0.99:')),
    );
    await ada.reaches((await bob.addresses())[0]);
    expect(await peer('bob')).toMatchObject({ state: 'established', lastHandshake: handshake });
  });

  it('presence: shown, and ends no session', async () => {
    const handshake = await talking();
    // Only the way to the controller is cut; the one between the two stays.
    await bob.host.must(['ip', 'route', 'add', 'blackhole', '10.9.0.1/32']);
    await mesh.controllerHost.must(['ip', 'route', 'add', 'blackhole', `${bob.outer4}/32`]);
    await mesh.controllerHost.must(['ip', 'route', 'add', 'blackhole', '10.9.0.99/32']);
    await ada.untilStatus('bob is shown as offline', 120_000, ({ peers }) =>
      peers.some(({ name, online }) => name === 'bob' && !online),
    );
    await ada.reaches((await bob.addresses())[0]);
    const after = (await peer('bob')) as PeerStatus;
    expect(after.state).toBe('established');
    // Renewed in its time, perhaps; never begun anew from nothing.
    expect(Date.parse(after.lastHandshake ?? '')).toBeGreaterThanOrEqual(Date.parse(handshake));
    await bob.host.must(['ip', 'route', 'del', 'blackhole', '10.9.0.1/32']);
    await mesh.controllerHost.must(['ip', 'route', 'del', 'blackhole', `${bob.outer4}/32`]);
    await mesh.controllerHost.must(['ip', 'route', 'del', 'blackhole', '10.9.0.99/32']);
    await bob.untilStatus('connected again', 90_000, ({ controller }) => controller.state === 'connected');
  });

  it('key changed: the old peer is gone at once, the new one is reached', async () => {
    const [before] = (await ada.status()).peers;
    const publicKey = (await bob.must('rotate-key')).trim();
    expect(publicKey).not.toBe(before?.publicKey);
    await untilPeer('bob', 'has its new key', (one) => one.publicKey === publicKey);
    expect((await bob.status()).self.publicKey).toBe(publicKey);
    await ada.reaches((await bob.addresses())[0], TOLD_MS);
    await bob.restart();
    await bob.untilStatus('connected with the new key', SOON_MS, ({ controller }) => controller.state === 'connected');
    expect((await bob.status()).self.publicKey).toBe(publicKey);
    await ada.reaches((await bob.addresses())[0], SOON_MS);
  });

  it.each([
    ['disabled', ['disable', 'bob'], 'nodeDisabled'],
    ['expired', ['expire', 'bob'], 'nodeExpired'],
    ['removed', ['remove', 'bob'], 'nodeRemoved'],
  ] as const)('%s: the session is destroyed at once, on both ends', async (_what, command, code) => {
    await mesh.administer('nodes', 'enable', 'bob');
    await bob.must('up', '--join', await mesh.link(), '--hostname', 'bob');
    const [bobs] = await bob.addresses();
    const [adas] = await ada.addresses();
    await ada.reaches(bobs, SOON_MS);
    await mesh.mustAdminister('nodes', ...command);
    await ada.untilStatus('bob is gone', TOLD_MS, ({ peers }) => peers.every(({ name }) => name !== 'bob'));
    await bob.untilStatus(
      'it knows why',
      TOLD_MS,
      ({ state, problem }) => state === 'failed' && problem?.code === code,
    );
    expect((await bob.status()).peers).toEqual([]);
    expect((await ada.host.run(['ping', '-n', '-c', '1', '-W', '0.5', bobs])).code).not.toBe(0);
    expect((await bob.host.run(['ping', '-n', '-c', '1', '-W', '0.5', adas])).code).not.toBe(0);
  });
});
