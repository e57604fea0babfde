// `warren controller --database postgres://…` as a process, on a PostgreSQL server of our own: members join and come back, the
// controller is killed, a second one is refused, and the server goes away under it.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { CLUSTER_PASSWORD, Cluster, whyNoCluster } from '../store/lib/cluster.ts';
import { CuttingProxy } from '../store/lib/cutting-proxy.ts';
import { administer, ControllerProcess, temporaryDirectory } from './lib/controller-process.ts';
import { killAgainAndAgain } from './lib/kill-loop.ts';
import { type Joining, joining, Member } from './lib/member.ts';

const WHY_NOT = whyNoCluster();
if (WHY_NOT !== null) process.stderr.write(`${WHY_NOT}\n`);

const ANY_PORT = '127.0.0.1:0';
const LIVES = 20;
/** A controller that has to go is gone in this time. */
const END_MS = 10_000;

describe.skipIf(WHY_NOT !== null)(`a controller on PostgreSQL${WHY_NOT === null ? '' : `: ${WHY_NOT}`}`, () => {
  let cluster: Cluster;
  let database: string;
  let url: string;

  beforeAll(async () => {
    cluster = await Cluster.start();
  });
  afterAll(() => cluster?.remove());
  beforeEach(async () => {
    database = await cluster.createDatabase();
    url = cluster.url(database);
  });

  /** The URL holds a password, so it is not an argument. */
  async function begin(database: string, listen = ANY_PORT, directory = join(temporaryDirectory(), 'data')) {
    const args = ['--data', directory, '--listen', listen];
    return { directory, ...(await ControllerProcess.ready(args, { WARREN_DATABASE: database })) };
  }

  const failing = (database: string) =>
    new ControllerProcess(['--data', join(temporaryDirectory(), 'data'), '--listen', ANY_PORT], {
      WARREN_DATABASE: database,
    }).exited;

  const refusedWith = (member: Member, code: string) => (): boolean =>
    member.messages.some((message) => message.type === 'error' && message.code === code);

  /** Tries as a daemon does, again and again. */
  async function joinsInTime(member: Member, link: Joining): Promise<void> {
    await expect
      .poll(
        () =>
          member.join(link).then(
            () => 'joined',
            () => 'refused',
          ),
        { timeout: END_MS, interval: 50 },
      )
      .toBe('joined');
  }

  const health = async (at: string): Promise<number> => (await fetch(`${at}/healthz`)).status;

  test('members join, and resume at the next controller without a snapshot; nothing of it is in the data directory', async () => {
    const first = await begin(url);
    const link = joining(first.ready.joinLink);
    const alice = await new Member('alice').join(link);
    const bob = await new Member('bob').join(link);
    await alice.until(() => alice.nodes.size === 2);
    expect(existsSync(join(first.directory, 'warren.db'))).toBe(false);
    const backup = await administer(first.directory, 'POST', '/backup', { path: '/tmp/never' });
    expect(JSON.stringify(backup)).toContain('pg_dump');
    const exit = await first.process.stop();
    expect(exit).toMatchObject({ code: 0, error: '' });

    // Another data directory, as on another machine: all that counts is in the database.
    const second = await begin(url, first.ready.listening);
    expect(second.ready).toMatchObject({
      publicKey: first.ready.publicKey,
      joinLink: null,
      network: first.ready.network,
    });
    await alice.join({ ...link, authKey: null });
    await bob.join({ ...link, authKey: null });
    expect([alice.snapshots, bob.snapshots]).toEqual([1, 1]);
    await new Member('carol').join(link);
    await alice.until(() => alice.nodes.size === 3);
  });

  test(`${LIVES} lives, each ended by kill -9`, { timeout: 120_000 }, () => killAgainAndAgain(LIVES, url));

  test('a second one on the same database is refused, and gets its turn when the first one is gone', async () => {
    const first = await begin(url);
    const exit = await failing(url);
    expect(exit).toMatchObject({ code: 1, out: '' });
    expect(exit.error).toMatch(
      /^warren controller: postgres:\/\/\S+ is in use\n {2}why: warren controller, process \d+ on .* has it\n {2}do: {2}one controller at a time .*\n$/,
    );
    expect(exit.error).toContain(`process ${first.process.child.pid} `);
    expect(exit.error).not.toContain(encodeURIComponent(CLUSTER_PASSWORD));
    // The first has not noticed.
    const alice = await new Member('alice').join(joining(first.ready.joinLink));
    const waiting = begin(url, first.ready.listening);
    await first.process.kill();
    const second = await waiting;
    await alice.join({ ...joining(first.ready.joinLink), authKey: null });
    expect([second.ready.publicKey, alice.snapshots]).toEqual([first.ready.publicKey, 1]);
  });

  test('the server is away: changes are refused and told, nothing else; all is well when it is back', async () => {
    const own = await Cluster.start();
    onTestFinished(() => own.remove());
    const { directory, process: controller, ready } = await begin(own.url('postgres'));
    const link = joining(ready.joinLink);
    const alice = await new Member('alice').join(link);
    expect(await health(ready.url)).toBe(200);
    await own.stopServer('immediate');

    const bob = new Member('bob');
    bob.connect(link);
    await bob.until(refusedWith(bob, 'internal'));
    expect(bob.welcome).toBeNull();
    const key = await administer(directory, 'POST', '/keys', {});
    expect(key).toMatchObject({ status: 503, body: { error: { code: 'internal' } } });
    expect(await health(ready.url)).toBe(503);
    // Who needs no change is served: the network goes on.
    expect(alice.closed).toBeNull();
    await alice.join(link);
    expect(alice.snapshots).toBe(1);
    // Once, with what to do.
    const told = controller.error.trimEnd().split('\n');
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(
      /^error the database takes no changes; .* why="postgres:\/\/.* cannot be reached: .*" do="see whether .*"$/,
    );
    expect(told[0]).not.toContain(encodeURIComponent(CLUSTER_PASSWORD));

    await own.startServer();
    await joinsInTime(bob, link);
    expect(await health(ready.url)).toBe(200);
    await alice.until(() => alice.nodes.size === 2);
    expect(await controller.stop()).toMatchObject({ code: 0 });
  });

  test('it ends when it is told to while the server is away', async () => {
    const own = await Cluster.start();
    onTestFinished(() => own.remove());
    const { process: controller, ready } = await begin(own.url('postgres'));
    const alice = await new Member('alice').join(joining(ready.joinLink));
    await own.stopServer('immediate');
    const begun = performance.now();
    expect(await controller.stop()).toMatchObject({ code: 0 });
    expect(performance.now() - begun).toBeLessThan(END_MS);
    await alice.until(refusedWith(alice, 'goingAway'));
    // And it does not begin without the server.
    const exit = await failing(own.url('postgres'));
    expect(exit).toMatchObject({
      code: 1,
      error: expect.stringMatching(/cannot be reached\n {2}why: .+\n {2}do: .+\n$/),
    });
  });

  test('the server goes in the middle of a commit and stays away: nobody is told anything, and it ends with what to do', async () => {
    const between = mkdtempSync('/tmp/warren-pg-proxy-');
    onTestFinished(() => rmSync(between, { recursive: true, force: true }));
    const proxy = await CuttingProxy.start(between, cluster.directory);
    onTestFinished(() => proxy.close());
    const { process: controller, ready } = await begin(url.replace(cluster.directory, between));
    const link = joining(ready.joinLink);
    const alice = await new Member('alice').join(link);
    proxy.cutNext('after commit, and for good');
    const bob = new Member('bob');
    bob.connect(link);
    const exit = await controller.exited;
    expect(exit.code).toBe(1);
    expect(exit.error).toMatch(
      /\nwarren controller: it is not known whether .*\n {2}why: .*\n {2}do: {2}when the server is back, .*\n$/,
    );
    expect([bob.welcome, alice.nodes.size]).toEqual([null, 1]);
    await alice.until(refusedWith(alice, 'goingAway'));

    // The change was made, as it happens, and the next controller knows it.
    const next = await begin(url, ready.listening);
    await bob.join(link);
    expect(bob.nodes.size).toBe(2);
    expect(bob.messages.filter(({ type }) => type === 'welcome')).toHaveLength(1);
    const { body } = await administer(next.directory, 'GET', '/nodes');
    expect((body as unknown[]).length).toBe(2);
  });

  test('somebody else has written: it ends with that, and what it was about to say is not said', async () => {
    const { process: controller, ready } = await begin(url);
    const link = joining(ready.joinLink);
    const alice = await new Member('alice').join(link);
    await cluster.query('update warren.writer set generation = generation + 1', database);
    const bob = new Member('bob');
    bob.connect(link);
    const exit = await controller.exited;
    expect(exit.code).toBe(1);
    expect(exit.error).toMatch(
      /\nwarren controller: the change was not stored\n {2}why: another controller has written to .*\n {2}do: {2}run one controller .*\n$/,
    );
    expect([bob.welcome, alice.nodes.size]).toEqual([null, 1]);
    await begin(url, ready.listening);
    await alice.join(link);
    expect(alice.nodes.size).toBe(1);
  });
});
