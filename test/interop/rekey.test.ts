// A session outlives REKEY_AFTER_TIME (120 s): while pings run both ways, a new keypair takes over and not one echo is lost.
// All pairs live through the same two minutes, with the subject as the initiator (who renews) and as the responder; beside
// them an idle pair must stay silent all the while. (Paper §6.2; checklist 13–15, 18.)

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Implementation } from './lib/engines.ts';
import { Lab } from './lib/lab.ts';
import { BackgroundPing, PacketCounter, type PingResult, ping, untilAnswers } from './lib/measure.ts';
import { Pair } from './lib/pair.ts';
import { CAN_RUN, PEERS, SUBJECT } from './lib/subject.ts';
import { pass } from './lib/wait.ts';
import { onlyPeer } from './lib/wg.ts';

const REKEY_AFTER_S = 120;
const WATCH_S = 132;
const INTERVAL_S = 0.05;
/** KEEPALIVE_TIMEOUT, after which the end that received last says so once, and some. */
const LAST_KEEPALIVE_S = 12;
const FIRST_ANSWER_MS = 3_000;
const LIMIT_MS = (WATCH_S + 120) * 1_000;

interface Watched {
  readonly peer: Implementation;
  readonly initiator: 'left' | 'right';
  readonly role: 'initiator' | 'responder';
  readonly lab: string;
}

const CASES: readonly Watched[] = PEERS.flatMap((peer, index) => [
  { peer, initiator: 'left' as const, role: 'initiator' as const, lab: `rekey${index}l` },
  { peer, initiator: 'right' as const, role: 'responder' as const, lab: `rekey${index}r` },
]);

interface Outcome {
  readonly echoes: readonly PingResult[];
  /** Seconds from the first handshake to the last one, as each end shows it. */
  readonly renewedAfter: readonly number[];
}

async function watch({ peer, initiator, lab: name }: Watched, opened: Lab[]): Promise<Outcome> {
  const lab = Lab.open(name);
  opened.push(lab);
  const pair = await Pair.open(lab, { left: SUBJECT, right: peer });
  const from = pair[initiator];
  const to = pair.other(from);
  await pair.meetFrom(from);
  await untilAnswers(from.host, to.inner4, FIRST_ANSWER_MS);
  const first = (await onlyPeer(from.engine)).latestHandshake;
  const options = { intervalSeconds: INTERVAL_S, waitSeconds: 2 };
  const there = new BackgroundPing(from.host, to.inner4, options);
  const back = new BackgroundPing(to.host, from.inner6, options);
  await pass(WATCH_S * 1_000);
  const echoes = [await there.finish(), await back.finish()];
  const last = [await onlyPeer(from.engine), await onlyPeer(to.engine)];
  return { echoes, renewedAfter: last.map(({ latestHandshake }) => latestHandshake - first) };
}

/** Datagrams that each end of an idle pair sends in the time that would renew a session. */
async function watchIdle(opened: Lab[]): Promise<readonly number[]> {
  const lab = Lab.open('rekeyidle');
  opened.push(lab);
  const pair = await Pair.open(lab, { left: SUBJECT, right: SUBJECT });
  await pair.meetBoth();
  await untilAnswers(pair.left.host, pair.right.inner4, FIRST_ANSWER_MS);
  await ping(pair.left.host, pair.right.inner4, { count: 3 });
  await pass(LAST_KEEPALIVE_S * 1_000);
  const sides = [pair.left, pair.right];
  const sent = await Promise.all(sides.map(({ host }) => PacketCounter.open(host, 'output', 'meta l4proto udp')));
  await pass((WATCH_S - LAST_KEEPALIVE_S) * 1_000);
  return Promise.all(sent.map((counter) => counter.packets()));
}

describe.skipIf(!CAN_RUN)(`over two minutes and more, ${SUBJECT}`, () => {
  const labs: Lab[] = [];
  const outcomes = new Map<Watched, PromiseSettledResult<Outcome>>();
  let idle: PromiseSettledResult<readonly number[]>;

  beforeAll(async () => {
    const watching = Promise.allSettled(CASES.map((watched) => watch(watched, labs)));
    [idle] = await Promise.allSettled([watchIdle(labs)]);
    for (const [index, outcome] of (await watching).entries()) outcomes.set(CASES[index] as Watched, outcome);
  }, LIMIT_MS);
  afterAll(async () => {
    await Promise.all(labs.map((lab) => lab.close()));
  });

  it.each(CASES)('as the $role with $peer renews the session without losing a packet', (watched) => {
    const outcome = outcomes.get(watched);
    if (outcome?.status !== 'fulfilled') throw outcome?.reason ?? new Error('it was not watched');
    for (const { sent, received } of outcome.value.echoes) {
      expect(sent).toBeGreaterThan((WATCH_S / INTERVAL_S) * 0.75);
      // The last echo may still be on its way when the ping is asked to end.
      expect(received).toBeGreaterThanOrEqual(sent - 1);
    }
    for (const seconds of outcome.value.renewedAfter) {
      expect(seconds).toBeGreaterThanOrEqual(REKEY_AFTER_S - 1);
      expect(seconds).toBeLessThanOrEqual(REKEY_AFTER_S + 6);
    }
  });

  it('without traffic sends nothing once the last keepalive is out, not even to renew', () => {
    if (idle.status !== 'fulfilled') throw idle.reason;
    expect(idle.value).toEqual([0, 0]);
  });
});
