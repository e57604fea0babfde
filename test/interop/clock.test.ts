// A clock that is stepped and a machine that sleeps, under a real daemon with real traffic: its clocks alone are moved, and it is told
// as the kernel tells it (lib/stepped-clock.c). What is tested where, and what cannot be here: docs/decisions/0042-clocks-under-test.md.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MeshLab, type MeshMachine } from './lib/mesh.ts';
import { aheadBy, buildSteppedClock, freeze, SteppedClock, thaw } from './lib/stepped-clock.ts';
import { CAN_RUN } from './lib/subject.ts';
import { pass, until } from './lib/wait.ts';

/** What the requirement promises after a suspend or a step. */
const RECOVERED_MS = 2_000;
const SOON_MS = 10_000;
const HOUR_MS = 3_600_000;
const YEAR_MS = 365 * 24 * HOUR_MS;
/** Between two echoes of a stream. */
const ECHO_MS = 20;

interface Jump {
  readonly slept: number;
  readonly stepped: number;
}

/** Echoes all the time; tells when they were answered. */
class Echoes {
  readonly answeredAt: number[] = [];
  readonly #end: () => void;

  constructor(from: MeshMachine, address: string) {
    const child = from.host.start(['ping', '-n', '-i', String(ECHO_MS / 1000), '-W', '1', address]);
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      for (const _ of text.matchAll(/time=/g)) this.answeredAt.push(performance.now());
    });
    this.#end = () => child.kill('SIGINT');
  }

  async flow(): Promise<void> {
    const before = this.answeredAt.length;
    await until('echoes are answered', RECOVERED_MS, () => this.answeredAt.length > before + 5);
  }

  /** The longest time without an answer, since `from`. */
  longestGap(from: number): number {
    const times = [from, ...this.answeredAt.filter((at) => at > from), performance.now()];
    return Math.max(...times.slice(1).map((at, i) => at - (times[i] as number)));
  }

  end(): void {
    this.#end();
  }
}

describe.skipIf(!CAN_RUN)('clocks', () => {
  let mesh: MeshLab;
  let ada: MeshMachine;
  let bob: MeshMachine;
  let adasClock: SteppedClock;
  let bobsClock: SteppedClock;
  let adas: string;
  let bobs: string;
  let library: string;

  beforeAll(async () => {
    mesh = await MeshLab.open('clock', ['ada', 'bob']);
    library = await buildSteppedClock(mesh.lab);
    ada = mesh.machine('ada');
    bob = mesh.machine('bob');
    adasClock = await SteppedClock.make(mesh.lab, library, 'ada');
    bobsClock = await SteppedClock.make(mesh.lab, library, 'bob');
    ada.environment = adasClock.environment;
    bob.environment = bobsClock.environment;
    for (const machine of mesh.machines) await machine.restart();
    await mesh.joinAll();
    [adas] = await ada.addresses();
    [bobs] = await bob.addresses();
  });
  afterAll(async () => {
    adasClock?.close();
    bobsClock?.close();
    await mesh?.close();
  });

  function jumps(machine: MeshMachine): Jump[] {
    const told = machine.program?.errors.matchAll(/^debug the clock has jumped slept=(-?\d+) stepped=(-?\d+)$/gm) ?? [];
    return [...told].map(([, slept, stepped]) => ({ slept: Number(slept), stepped: Number(stepped) }));
  }

  async function noticed(machine: MeshMachine, before: number, jump: Jump): Promise<void> {
    const seen = await until('the daemon has noticed', RECOVERED_MS, () => jumps(machine)[before]);
    expect(Math.abs(seen.slept - jump.slept)).toBeLessThan(2_000);
    expect(Math.abs(seen.stepped - jump.stepped)).toBeLessThan(1_000);
  }

  const clockWarning = async (machine: MeshMachine): Promise<string | null> =>
    (await machine.status()).warnings.find(({ code }) => code === 'clockOff')?.message ?? null;

  describe('the wall clock is stepped', () => {
    it.each([
      ['an hour ahead', HOUR_MS, '60 minutes ahead of'],
      ['an hour back', -HOUR_MS, null],
      ['an hour back once more', -HOUR_MS, '60 minutes behind'],
      ['right again', HOUR_MS, null],
      ['a year ahead', YEAR_MS, '525600 minutes ahead of'],
      ['a year back', -YEAR_MS, null],
    ])('%s: sessions go on, new ones begin, and it is told', async (_what, realtimeMs, warning) => {
      await bob.reaches(adas);
      await ada.reaches(bobs);
      const before = jumps(bob).length;
      const echoes = new Echoes(ada, bobs);
      await echoes.flow();
      const at = performance.now();
      bobsClock.step({ realtimeMs });
      await noticed(bob, before, { slept: 0, stepped: realtimeMs });
      expect((await clockWarning(bob))?.includes(warning ?? '-') ?? null).toBe(warning === null ? null : true);
      // Long enough that a session which was lost would show.
      await pass(RECOVERED_MS + at - performance.now());
      await echoes.flow();
      echoes.end();
      expect(echoes.longestGap(at)).toBeLessThan(RECOVERED_MS / 2);
      // Sessions of which neither end is left, from either side.
      for (const [from, to, address] of [
        [bob, ada, adas],
        [ada, bob, bobs],
      ] as const) {
        await bob.must('peers flush', 'ada');
        await ada.must('peers flush', 'bob');
        await from.reaches(address, RECOVERED_MS);
        expect((await to.status()).peers[0]?.state).toBe('established');
      }
    });
  });

  describe('the machine sleeps', () => {
    /** `meanwhile`: what happens to it while it sleeps. */
    async function sleeps(ms: number, forAll: boolean, meanwhile: () => Promise<unknown>): Promise<void> {
      await bob.reaches(adas);
      await ada.reaches(bobs);
      const before = jumps(bob).length;
      const pid = bob.program?.pid as number;
      await freeze(pid);
      // Waits in the FIFO until it wakes, as the clocks are read then.
      bobsClock.step({ realtimeMs: ms, boottimeMs: ms });
      if (forAll) adasClock.pass(ms);
      await meanwhile();
      thaw(pid);
      const at = performance.now();
      await Promise.all([bob.reaches(adas, RECOVERED_MS), ada.reaches(bobs, RECOVERED_MS)]);
      expect(performance.now() - at).toBeLessThan(RECOVERED_MS);
      await noticed(bob, before, { slept: ms, stepped: 0 });
      expect(await clockWarning(bob)).toBeNull();
      await bob.untilStatus('it is with the controller', SOON_MS, ({ controller }) => controller.state === 'connected');
    }

    it.each([
      ['for a minute', 60_000, true],
      ['for three minutes: its keys are too old', 190_000, true],
      ['for an hour', HOUR_MS, true],
      ['for an hour, which was a moment to the others', HOUR_MS, false],
    ])('%s: both ends reach one another within two seconds of waking', async (_what, ms, forAll) => {
      await sleeps(ms, forAll, () => pass(500));
    });

    it('and wakes in another network', async () => {
      await sleeps(HOUR_MS, true, async () => {
        await bob.host.deleteAddress('eth0', '10.9.0.3/24');
        await bob.host.deleteAddress('eth0', 'fd09::3/64');
        await bob.host.addAddress('eth0', '10.9.0.33/24');
      });
      await ada.untilStatus('the others know where', SOON_MS, ({ peers }) =>
        (peers[0]?.candidates ?? []).some(({ endpoint }) => endpoint.startsWith('10.9.0.33:')),
      );
    });
  });

  it('a machine that starts with its clock a year back is answered at once, by those who have heard from it', async () => {
    await bob.reaches(adas);
    await until('what it needs is on its disk', SOON_MS, () =>
      ['netmap.sealed', 'stamps.json'].every((name) => existsSync(join(bob.state, name))),
    );
    // So that nobody tells the others to begin from their side.
    await mesh.stopController();
    for (const offMs of [-YEAR_MS, -YEAR_MS - HOUR_MS, 0]) {
      bob.environment = aheadBy(library, offMs);
      await bob.restart('SIGKILL');
      await bob.reaches(adas, RECOVERED_MS);
      await ada.reaches(bobs, RECOVERED_MS);
    }
  });
});
