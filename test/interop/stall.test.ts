// JavaScript decides, native carries: with the event loop of one end, and then of both, blocked for five seconds an established
// tunnel goes on at full speed and loses nothing, and packets of an established session never wake JavaScript.

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REPOSITORY } from './lib/engines.ts';
import { Lab } from './lib/lab.ts';
import { BackgroundPing, iperf3, untilAnswers } from './lib/measure.ts';
import { Pair, type Side } from './lib/pair.ts';
import { CAN_RUN, SUBJECT } from './lib/subject.ts';
import { pass, until } from './lib/wait.ts';

const HOOK = join(REPOSITORY, 'test/interop/lib/block-loop.cjs');
const BEFORE_S = 3;
const BLOCK_S = 5;

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
    { who: 'both ends', blocked: ['left', 'right'] },
  ];
  it.each(CASES)(
    'keeps its speed and every packet while the event loop of $who is blocked for 5 s',
    async ({ blocked }) => {
      const { left, right } = pair;
      const sides: readonly Side[] = blocked.map((name) => pair[name]);
      const echoes = new BackgroundPing(left.host, right.inner6, { intervalSeconds: 0.02, waitSeconds: 2 });
      const transfer = iperf3(left.host, right.host, right.inner4, {
        seconds: BEFORE_S + BLOCK_S + 1,
        intervalSeconds: 0.5,
      });
      await until('the transfer has begun', 3_000, () => echoes.answered > 10);
      await pass(BEFORE_S * 1_000);
      for (const side of sides) side.engine.signal('SIGUSR2');
      await until('the loops are blocked', 1_000, () =>
        sides.every(({ engine }) => /loop blocked/.test(engine.output)),
      );
      // Its control socket is served by the event loop: silence there proves that the loop is really blocked.
      const asked = await left.host.run(['timeout', '1', 'wg', 'show', left.engine.interfaceName]);
      expect(asked.code).toBe(124);
      const { intervals } = await transfer;
      await until('the loops are free', BLOCK_S * 1_000, () =>
        sides.every(({ engine }) => /loop free/.test(engine.output)),
      );
      const { sent, received } = await echoes.finish();
      expect(received).toBeGreaterThanOrEqual(sent - 1);

      const rate = (from: number, to: number): number => {
        const within = intervals.filter(({ start, end }) => start >= from - 0.01 && end <= to + 0.01);
        return within.reduce((sum, { bitsPerSecond }) => sum + bitsPerSecond, 0) / within.length;
      };
      // The first half second belongs to TCP's slow start.
      const before = rate(0.5, BEFORE_S);
      const during = rate(BEFORE_S + 1, BEFORE_S + BLOCK_S - 0.5);
      expect(during / before).toBeGreaterThanOrEqual(0.8);
    },
    40_000,
  );
});
