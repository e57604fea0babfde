// A session outlives REKEY_AFTER_TIME (120 s): while a ping runs, a new keypair takes over and not one echo is lost. All
// pairs run side by side, with the subject as the initiator (who renews) and as the responder. Beside them: an idle
// pair that must stay silent all the while. (Paper §6.2; checklist 13–15, 18.)

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lab } from './lib/lab.ts';
import { BackgroundPing, PacketCounter, ping, untilAnswers } from './lib/measure.ts';
import { Pair } from './lib/pair.ts';
import { CAN_RUN, PEERS, SUBJECT } from './lib/subject.ts';
import { pass } from './lib/wait.ts';
import { onlyPeer } from './lib/wg.ts';

const REKEY_AFTER_S = 120;
const WATCH_S = 132;
const FIRST_ANSWER_MS = 3_000;
const LIMIT_MS = (WATCH_S + 40) * 1_000;

const CASES = PEERS.flatMap((peer, index) =>
  (['left', 'right'] as const).map((initiator) => ({
    peer,
    initiator,
    role: initiator === 'left' ? 'initiator' : 'responder',
    lab: `rekey${index}${initiator[0]}`,
  })),
);

describe.skipIf(!CAN_RUN).concurrent.each(CASES)(
  `${SUBJECT} as the $role with $peer`,
  ({ peer, initiator, lab: name }) => {
    let lab: Lab;
    let pair: Pair;

    beforeAll(async () => {
      lab = Lab.open(name);
      pair = await Pair.open(lab, { left: SUBJECT, right: peer });
    }, 300_000);
    afterAll(() => lab?.close());

    it(
      'renews the session after two minutes without losing a packet',
      async () => {
        const from = pair[initiator];
        const to = pair.other(from);
        await pair.meetFrom(from);
        await untilAnswers(from.host, to.inner4, FIRST_ANSWER_MS);
        const first = (await onlyPeer(from.engine)).latestHandshake;
        const there = new BackgroundPing(from.host, to.inner4, { intervalSeconds: 0.05, waitSeconds: 2 });
        const back = new BackgroundPing(to.host, from.inner6, { intervalSeconds: 0.05, waitSeconds: 2 });
        await pass(WATCH_S * 1_000);
        // The last echo may still be on its way when the ping is asked to end.
        for (const { sent, received } of [await there.finish(), await back.finish()]) {
          expect(sent).toBeGreaterThan(WATCH_S * 15);
          expect(received).toBeGreaterThanOrEqual(sent - 1);
        }
        for (const side of [from, to]) {
          const { latestHandshake } = await onlyPeer(side.engine);
          expect(latestHandshake - first).toBeGreaterThanOrEqual(REKEY_AFTER_S - 1);
          expect(latestHandshake - first).toBeLessThanOrEqual(REKEY_AFTER_S + 6);
        }
      },
      LIMIT_MS,
    );
  },
);

describe.skipIf(!CAN_RUN).concurrent(`${SUBJECT} without traffic`, () => {
  let lab: Lab;
  let pair: Pair;

  beforeAll(async () => {
    lab = Lab.open('silent');
    pair = await Pair.open(lab, { left: SUBJECT, right: SUBJECT });
  }, 300_000);
  afterAll(() => lab?.close());

  it(
    'sends nothing once the last keepalive is out, not even to renew',
    async () => {
      await pair.meetBoth();
      await untilAnswers(pair.left.host, pair.right.inner4, FIRST_ANSWER_MS);
      expect((await ping(pair.left.host, pair.right.inner4, { count: 3 })).received).toBe(3);
      // KEEPALIVE_TIMEOUT: the end that received last says so once.
      await pass(12_000);
      const outgoing = await Promise.all(
        [pair.left, pair.right].map((side) => PacketCounter.open(side.host, 'output', 'meta l4proto udp')),
      );
      await pass((REKEY_AFTER_S - 2) * 1_000);
      expect(await Promise.all(outgoing.map((counter) => counter.packets()))).toEqual([0, 0]);
    },
    LIMIT_MS,
  );
});
