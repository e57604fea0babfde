// A daemon whose machine was removed, has expired or was disabled: what a person is told, what is kept, and how it comes back.
// The controller is one in memory; what a controller does is in test/unit/controller-state.

import { existsSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { until } from '../daemon-fixtures.ts';
import { joinLink, netmapNode, SECRET, Upping, World } from './fakes.ts';

let world: World;
const self = netmapNode(1, 'laptop');
const desk = netmapNode(2, 'desk');

beforeEach(async () => {
  world = new World();
  await world.open();
});

afterEach(() => world.close());

/** Joined, with addresses, one peer. */
async function join(others = [desk]): Promise<void> {
  const before = world.controls.length;
  const upping = new Upping(world.host, { joinLink: joinLink() });
  await until(() => world.controls.length > before && world.control.started !== null);
  world.control.admit(self, others);
  await upping.done;
  expect(upping.last?.type).toBe('done');
}

describe('being locked out', () => {
  it.each(['nodeRemoved', 'nodeExpired', 'nodeDisabled', 'unregistered'] as const)(
    '%s: peers, addresses and the netmap on disk go at once',
    async (code) => {
      await join();
      await world.host.down();
      const upping = new Upping(world.host);
      await until(() => world.controls.length === 2 && world.control.started !== null);
      world.control.admit(self, [desk]);
      await upping.done;
      expect(existsSync(joinPath(world.directory, 'netmap.sealed'))).toBe(true);
      world.control.refuses(code);
      expect(world.status()).toMatchObject({ state: 'failed', problem: { code }, peers: [] });
      await until(() => world.network.own.get('warren0')?.addresses.length === 0);
      await until(() => !existsSync(joinPath(world.directory, 'netmap.sealed')));
      await world.restart();
      expect(world.status().peers).toEqual([]);
    },
  );

  it('is one problem: the controller that says so can be reached', async () => {
    await join();
    world.control.refuses('nodeDisabled');
    expect(world.status()).toMatchObject({ problem: { code: 'nodeDisabled' }, warnings: [] });
  });

  it('ends by itself when the controller lets the machine in again', async () => {
    await join();
    world.control.refuses('nodeDisabled');
    await until(() => world.network.own.get('warren0')?.addresses.length === 0);
    world.control.admit(self, [desk]);
    await until(() => world.status().state === 'up');
    expect(world.status()).toMatchObject({ problem: null, self: { addresses: [self.address4, self.address6] } });
    expect(world.status().peers).toHaveLength(1);
    await until(() => world.network.own.get('warren0')?.addresses.length === 2);
    await until(() => existsSync(joinPath(world.directory, 'netmap.sealed')));
  });

  it('ends with a new link', async () => {
    await join();
    world.control.refuses('nodeExpired');
    const upping = new Upping(world.host, { joinLink: joinLink() });
    await until(() => world.controls.length === 2 && world.control.started !== null);
    expect(world.control.started).toMatchObject({ authKey: SECRET, resume: null });
    world.control.admit(self, [desk]);
    await upping.done;
    expect(upping.last?.type).toBe('done');
  });

  it('a controller that is too new ends nothing that works', async () => {
    await join();
    world.control.refuses('versionTooOld');
    expect(world.status()).toMatchObject({
      state: 'up',
      problem: { code: 'versionTooOld' },
      peers: [{ name: 'desk' }],
    });
  });
});
