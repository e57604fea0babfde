// JavaScript decides, native carries: with the event loop of one end, and then of both, blocked for five
// seconds an established tunnel goes on at full speed and loses nothing, and its packets never wake JavaScript.

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Engine, REPOSITORY } from './lib/engines.ts';
import { Lab } from './lib/lab.ts';
import { BackgroundPing, iperf3, untilAnswers } from './lib/measure.ts';
import { Pair, type Side } from './lib/pair.ts';
import { CAN_RUN, SUBJECT } from './lib/subject.ts';
import { pass, until } from './lib/wait.ts';

const HOOK = join(REPOSITORY, 'test/interop/lib/block-loop.cjs');
const BEFORE_S = 3;
const BLOCK_S = 5;

function count(engine: Engine, words: string): number {
  return engine.output.split(words).length - 1;
}

describe.skipIf(!CAN_RUN || SUBJECT !== 'warren')('an established tunnel of warren', () => {
  let lab: Lab;
  let pair: Pair;

  beforeAll(async () => {
    lab = Lab.open('stall');
    pair = await Pair.open(lab, { left: SUBJECT, right: SUBJECT, env: { NODE_OPTIONS: `--require=${HOOK}` } });
    await pair.meetBoth();
    await untilAnswers(pair.left.host, pair.right.inner4, 3_000);
  });
  afterAll(() => lab?.close());

  const CASES: readonly { who: string; blocked: readonly ('left' | 'right')[] }[] = [
    { who: 'the sender', blocked: ['left'] },
    { who: 'the receiver', blocked: ['right'] },
    { who: 'both ends', blocked: ['left', 'right'] },
  ];
  it.each(CASES)(
    'keeps its speed and every packet while the event loop of $who is blocked for 5 s',
    // Other tests run beside this one: a comparison that they disturbed is made again.
    { timeout: 40_000, retry: 2 },
    async ({ blocked }) => {
      const { left, right } = pair;
      const sides: readonly Side[] = blocked.map((name) => pair[name]);
      const blocksBefore = sides.map(({ engine }) => count(engine, 'loop free'));
      const echoes = new BackgroundPing(left.host, right.inner6, { intervalSeconds: 0.02, waitSeconds: 2 });
      const transfer = iperf3(left.host, right.host, right.inner4, {
        seconds: BEFORE_S + BLOCK_S + 1,
        intervalSeconds: 0.5,
      });
      await until('the transfer has begun', 3_000, () => echoes.answered > 10);
      await pass(BEFORE_S * 1_000);
      for (const side of sides) side.engine.signal('SIGUSR2');
      await until('the loops are blocked', 1_000, () =>
        sides.every(({ engine }, index) => count(engine, 'loop blocked') > (blocksBefore[index] ?? 0)),
      );
      // Its control socket is served by the event loop: silence there proves that the loop is really blocked.
      const asked = await sides[0]?.host.run(['timeout', '1', 'wg', 'show', sides[0].engine.interfaceName]);
      expect(asked?.code).toBe(124);
      const { intervals } = await transfer;
      await until('the loops are free', BLOCK_S * 1_000, () =>
        sides.every(({ engine }, index) => count(engine, 'loop free') > (blocksBefore[index] ?? 0)),
      );
      const { sent, received } = await echoes.finish();
      expect(received).toBeGreaterThanOrEqual(sent - 1);

      // Medians of the half seconds: one in which the machine was busy elsewhere must not decide.
      const rate = (from: number, to: number): number => {
        const within = intervals.filter(({ start, end }) => start >= from - 0.01 && end <= to + 0.01);
        const rates = within.map(({ bitsPerSecond }) => bitsPerSecond).sort((a, b) => a - b);
        return rates[Math.floor(rates.length / 2)] ?? 0;
      };
      // The first half second belongs to TCP's slow start.
      const before = rate(0.5, BEFORE_S);
      const during = rate(BEFORE_S + 1, BEFORE_S + BLOCK_S - 0.5);
      expect(during / before).toBeGreaterThanOrEqual(0.8);
    },
  );

  it('wakes JavaScript a handful of times, not once per packet, to carry a gigabyte and more', async () => {
    const { left, right } = pair;
    const wakeUps = (): number => [left, right].reduce((sum, { engine }) => sum + engine.mainThreadRuns(), 0);
    const before = wakeUps();
    const { bytes } = await iperf3(left.host, right.host, right.inner4, { bytes: 1_200_000_000 });
    // Some 800,000 packets. What does wake it: the keepalive timers of the two ends, and wg itself.
    expect(bytes).toBeGreaterThan(1_000_000_000);
    expect(wakeUps() - before).toBeLessThan(100);
  }, 60_000);
});
