// `kill -9` of the controller's process, again and again on one network, under registrations and administration. Whatever was
// acknowledged (a welcome, an answer) is there after the next start, nothing is there by half, and members that were told
// something are never ahead of what is stored.

import { expect, onTestFinished } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import type { NodeView } from '../../../src/protocol/admin-api.ts';
import { administer, temporaryDirectory } from './controller-process.ts';
import { type Joining, joining, Member } from './member.ts';
import { all, PromisesKept } from './promises-kept.ts';
import { WarmController } from './warm-controller.ts';

const VETERANS = 8;
/** A life ends after so many answers at most, or after this time. */
const ANSWERS_MAX = 24;
const LOAD_MS_MAX = 400;
const SEED = 20_261;

/** One network through all its controllers' lives. */
class Loop {
  readonly database: string | null;
  readonly directory = temporaryDirectory();
  readonly kept = new PromisesKept();
  readonly prng = new Prng(SEED);
  readonly veterans: Member[] = [];
  /** Joined with a key for one: these are not removed, so that the key's uses can be counted. */
  readonly lasting = new Set<number>();
  link: Joining | null = null;
  /** Counts lives; work of an earlier one stops. */
  life = 0;
  newcomers = 0;

  constructor(database: string | null) {
    this.database = database;
  }

  settings(port: number) {
    return {
      dataDirectory: this.directory,
      database: this.database,
      listen: { host: '127.0.0.1', port },
      url: null,
      certificate: null,
      network: null,
      metricsListen: null,
      requireApproval: null,
      version: 'test',
    };
  }

  alive(life: number): boolean {
    return this.life === life;
  }

  /** Machines join one after the other, some with a key of their own. */
  async join(life: number): Promise<void> {
    while (this.alive(life)) {
      const single = this.prng.chance(0.3);
      const link = single ? await this.singleUse() : this.link;
      if (link === null) return;
      const member = new Member(`machine-${++this.newcomers}`);
      const welcomed = await member.join(link).then(
        () => true,
        () => member.welcome !== null,
      );
      if (welcomed) {
        this.kept.welcomed(member);
        if (single) this.lasting.add(member.welcome?.self.id as number);
      } else this.kept.unanswered++;
      member.close();
      if (!welcomed) return;
    }
  }

  async singleUse(): Promise<Joining | null> {
    const answer = await this.ask('POST', '/keys', { reusable: false });
    if (answer?.status !== 201) return null;
    const { id, joinLink } = answer.body as { id: string; joinLink: string };
    this.kept.keys.add(id);
    return joining(joinLink);
  }

  /** An administrator renames and removes. */
  async administer(life: number): Promise<void> {
    while (this.alive(life)) {
      const nodes = [...this.kept.nodes.values()].filter(
        ({ id, names }) => names.size === 1 && !this.kept.removed.has(id) && !this.kept.perhapsRemoved.has(id),
      );
      if (nodes.length <= VETERANS) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        continue;
      }
      const node = this.prng.pick(nodes);
      const { id, names } = node;
      const veteran = this.veterans.some(({ welcome }) => welcome?.self.id === id);
      if (this.prng.chance(0.3) && !veteran && !this.lasting.has(id)) {
        this.kept.perhapsRemoved.add(id);
        const answer = await this.ask('DELETE', `/nodes/${id}`);
        if (answer === null) return;
        expect(answer.status).toBe(200);
        this.kept.perhapsRemoved.delete(id);
        this.kept.removed.add(id);
      } else {
        const name = `renamed-${this.prng.nextU32().toString(36)}`;
        names.add(name);
        const answer = await this.ask('PATCH', `/nodes/${id}`, { name });
        if (answer === null) return;
        expect(answer.status).toBe(200);
        node.names = new Set([name]);
      }
    }
  }

  /** Resolves at any moment between two answers, after `count` of them. */
  async answered(count: number): Promise<void> {
    const target = this.kept.acknowledged + count;
    const end = performance.now() + LOAD_MS_MAX;
    while (this.kept.acknowledged < target && performance.now() < end) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    await new Promise((resolve) => setTimeout(resolve, this.prng.nextInt(0, 3)));
  }

  /** Null when the controller died before it answered. */
  async ask(method: string, path: string, body?: unknown) {
    try {
      const answer = await administer(this.directory, method, path, body);
      this.kept.acknowledged++;
      return answer;
    } catch {
      this.kept.unanswered++;
      return null;
    }
  }
}

/** `database`: a URL of PostgreSQL, or null for SQLite. Prints what it did. */
export async function killAgainAndAgain(lives: number, database: string | null): Promise<void> {
  const loop = new Loop(database);
  const { kept, prng } = loop;
  const begun = performance.now();
  let next = new WarmController();
  onTestFinished(() => next.kill());
  let port = 0;
  let url = '';
  let killedInStart = 0;

  for (let life = 1; life <= lives; life++) {
    const controller = next;
    next = new WarmController();
    onTestFinished(() => controller.kill());
    loop.life = life;
    const starting = controller.begin(loop.settings(port));
    if (life > 1 && prng.chance(0.15)) {
      const timer = setTimeout(() => controller.kill(), prng.nextInt(0, 60));
      onTestFinished(() => clearTimeout(timer));
      killedInStart++;
      await controller.exited;
      expect(controller.error).toBe('');
      continue;
    }
    const started = await starting;
    if (started === null) throw new Error(`life ${life} did not begin: ${controller.error}`);
    if (life === 1) {
      url = started.url;
      port = Number(url.split(':').at(-1));
      loop.link = joining(started.joinLink);
      for (let i = 0; i < VETERANS; i++) loop.veterans.push(new Member(`veteran-${i}`));
    }
    expect(started.url).toBe(url);

    // All come back at once, and are who they were.
    const back = loop.veterans.map((veteran) => veteran.join(loop.link as Joining).then(() => kept.welcomed(veteran)));
    await kept.verify(loop.directory);
    await Promise.all(back);

    const joins = Array.from({ length: 6 }, () => loop.join(life));
    const load = [...joins, loop.administer(life), loop.administer(life)];
    await loop.answered(prng.nextInt(0, ANSWERS_MAX));
    controller.kill();
    loop.life = 0;
    await controller.exited;
    await Promise.all(load);
    kept.seqTold = Math.max(kept.seqTold, ...loop.veterans.map(({ position }) => position?.seq ?? 0));
    expect(controller.error).toBe('');
  }

  // A last life: everything together, and the members' netmaps are the controller's.
  const last = next;
  next = new WarmController();
  onTestFinished(() => last.kill());
  if ((await last.begin(loop.settings(port))) === null) throw new Error(`the last one did not begin: ${last.error}`);
  await kept.verify(loop.directory);
  const audit = await kept.verifyAudit(loop.directory);
  const fresh = await new Member('fresh').join(loop.link as Joining);
  await Promise.all(loop.veterans.map((veteran) => veteran.join(loop.link as Joining)));
  const nodes = await all<NodeView>(loop.directory, '/nodes', ({ id }) => id);
  const expected = new Map(nodes.map(({ id, name, addresses }) => [id as number, `${name} ${addresses}`]));
  for (const member of [fresh, ...loop.veterans]) {
    await member.until(() => member.nodes.size === expected.size);
    const seen = [...member.nodes.values()].map(
      ({ id, name, address4, address6 }) => [id as number, `${name} ${address4},${address6}`] as const,
    );
    expect(new Map(seen.sort(([a], [b]) => a - b))).toEqual(expected);
  }

  // The loop did what it is for.
  expect(kept.acknowledged).toBeGreaterThan(lives * 5);
  expect(kept.unanswered).toBeGreaterThan(lives / 4);
  const seconds = ((performance.now() - begun) / 1000).toFixed(0);
  process.stdout.write(
    `${lives} kills (${killedInStart} during the start) in ${seconds} s: ${kept.acknowledged} acknowledged, ` +
      `${kept.unanswered} unanswered, ${nodes.length} nodes, ${kept.removed.size} removed, ${audit} audit records\n`,
  );
}
