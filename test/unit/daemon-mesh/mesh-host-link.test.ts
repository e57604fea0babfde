// `up` with a join link on a machine that is a member already: it is done when the controller has answered, and not before.

import { readFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { UpLine } from '../../../src/protocol/local-api.ts';
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

async function join(): Promise<void> {
  const upping = new Upping(world.host, { joinLink: joinLink() });
  await until(() => world.controls.length > 0 && world.control.started !== null);
  world.control.admit(self, [desk]);
  await upping.done;
}

function problemOf(line: UpLine | undefined): unknown {
  return line?.type === 'error' ? line.problem : line;
}

describe('`up` with a link for the same controller', () => {
  /** A member that was started again while its controller is away. */
  async function alone(): Promise<void> {
    await join();
    await world.restart();
    await until(() => world.control.started !== null && world.status().state === 'up');
    world.control.unreachable();
  }

  it('waits until the controller answers, and offers it the secret of the link', async () => {
    await alone();
    const planes = world.planes.length;
    const upping = new Upping(world.host, { joinLink: joinLink() });
    await until(() => world.control.started?.authKey === SECRET);
    expect(world.control.started).toMatchObject({ resume: { seq: 1 } });
    world.control.unreachable();
    expect(upping.lines.map(({ type }) => type)).not.toContain('done');
    expect(upping.lines).toContainEqual({
      type: 'progress',
      step: 'backoff',
      message: 'nobody listens there; trying again',
    });
    world.control.admit(self, [desk]);
    await upping.done;
    expect(upping.last?.type).toBe('done');
    // The tunnel, and what goes through it, was left alone.
    expect([world.planes.length, world.controls.length]).toEqual([planes, 2]);
    await until(() => readFileSync(joinPath(world.directory, 'node.json'), 'utf8').includes('"authKey": null'));
  });

  it('fails in the end, because the link has not been used; `up` without one is done', async () => {
    await alone();
    const upping = new Upping(world.host, { joinLink: joinLink(), timeoutMs: 50 });
    await until(() => world.control.started?.authKey === SECRET);
    world.control.unreachable();
    await upping.done;
    expect(problemOf(upping.last)).toEqual({
      code: 'controllerUnreachable',
      message: 'the join link has not been used: the controller has not answered',
      why: 'nobody listens there',
      help: expect.stringContaining('warren up without --join connects with what is saved'),
    });
    expect(world.status().state).toBe('up');
    const without = new Upping(world.host);
    await without.done;
    expect(without.last?.type).toBe('done');
  });

  it('that never gets an answer says what it waited for', async () => {
    await alone();
    const upping = new Upping(world.host, { joinLink: joinLink(), timeoutMs: 50 });
    await upping.done;
    expect(problemOf(upping.last)).toMatchObject({
      code: 'timeout',
      message: expect.stringContaining('has not been used'),
      why: 'connecting to the controller',
    });
  });

  it('lets the machine in again when the controller has forgotten it meanwhile', async () => {
    await alone();
    const upping = new Upping(world.host, { joinLink: joinLink() });
    await until(() => world.control.started?.authKey === SECRET);
    world.control.admit(netmapNode(7, 'laptop'), [desk]);
    await upping.done;
    expect(upping.last).toMatchObject({ type: 'done', status: { self: { id: 7 } } });
  });

  it('is told at once when the controller refuses the link, or is another one', async () => {
    await alone();
    const refused = new Upping(world.host, { joinLink: joinLink() });
    await until(() => world.control.started?.authKey === SECRET);
    world.control.refuses('authKeyUsed');
    await refused.done;
    expect(problemOf(refused.last)).toMatchObject({ code: 'authKeyUsed' });
    const again = new Upping(world.host, { joinLink: joinLink() });
    await until(() => world.controls.length === 3 && world.control.started !== null);
    world.control.unreachable('keyMismatch', 'it has another key');
    await again.done;
    expect(problemOf(again.last)).toMatchObject({ code: 'controllerKeyMismatch' });
  });

  it('is done at once while the controller is there, and says that the link is not needed', async () => {
    await join();
    const upping = new Upping(world.host, { joinLink: joinLink() });
    await upping.done;
    expect(upping.lines.map((line) => (line.type === 'progress' ? line.message : line.type))).toEqual([
      'a member of this network already: the link is not needed',
      'done',
    ]);
    expect(world.controls).toHaveLength(1);
  });
});
