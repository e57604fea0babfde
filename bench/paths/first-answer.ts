// The first packet to an idle peer that is reached by a relay alone: how long until it is answered, beside the round trip by that relay. Two
// public places that the internet does not connect, a delay on each link, and the relay inside the controller, which has none.

import { figure, inRounds, type SectionResult, type Target } from './figures.ts';
import { kindOf, makeIdle } from './local.ts';
import type { PathNode } from './path-node.ts';
import { delayed, PathWorld } from './path-world.ts';
import type { Bench } from './section.ts';

/** Beyond two round trips: what both ends and the relay may take for themselves. */
const ALLOWANCE_MS = 30;
const TARGETS: readonly Target[] = [{ of: 'p95', atMost: ALLOWANCE_MS }];
const PINGS_AFTER = 6;

interface Round {
  readonly firstMs: number;
  /** By the relay, median of those after. */
  readonly roundTripMs: number;
}

async function measure(a: PathNode, b: PathNode): Promise<Round> {
  await makeIdle(a, b);
  const command = ['ping', '-n', '-c', `${1 + PINGS_AFTER}`, '-i', '0.25', '-W', '5', b.ipv4];
  const { stdout } = await a.host.run(command, { timeoutMs: 20_000 });
  const times = new Map(
    [...stdout.matchAll(/icmp_seq=(\d+) .*time=([\d.]+) ms/g)].map((m) => [Number(m[1]), Number(m[2])]),
  );
  const firstMs = times.get(1);
  const after = [...times].filter(([sequence]) => sequence > 1).map(([, ms]) => ms);
  const roundTripMs = after.sort((x, y) => x - y)[Math.floor(after.length / 2)];
  if (firstMs === undefined || roundTripMs === undefined) throw new Error(`not answered:\n${stdout}`);
  const kind = await kindOf(a, b);
  if (kind !== 'relay') throw new Error(`the path is ${kind ?? 'none'}, and not by the relay`);
  return { firstMs, roundTripMs };
}

export async function firstAnswer({ rounds, delayMs, debug, say, diagnose }: Bench): Promise<SectionResult> {
  const world = await PathWorld.open('pbfirst', { relay: true, debug });
  try {
    const [one, other] = [
      await world.lab.site('one', 'public', delayed(delayMs)),
      await world.lab.site('other', 'public', delayed(delayMs)),
    ];
    const [a, b] = [await world.node('alice', one), await world.node('bob', other)];
    await world.lab.cut(one, other);
    await world.untilHome([a, b]);
    const outcomes = await inRounds(
      rounds,
      say,
      async (round) => {
        const result = await measure(a, b);
        const late = result.firstMs > 2 * result.roundTripMs + ALLOWANCE_MS;
        if (late) await diagnose(`first-answer-${round}`, [a, b], result);
        return result;
      },
      ({ firstMs, roundTripMs }) => `first ${firstMs.toFixed(1)} ms, then ${roundTripMs.toFixed(1)} ms`,
    );
    const beyond = ({ firstMs, roundTripMs }: Round): number => firstMs - 2 * roundTripMs;
    return {
      section: 'first answer of an idle peer, by a relay',
      notes: [`${delayMs} ms on each of the two links, one way; 64-byte echoes through the TUN`],
      figures: [
        figure('first echo', 'ms', outcomes, ({ firstMs }) => firstMs, { digits: 1 }),
        figure('round trip by the relay right after', 'ms', outcomes, ({ roundTripMs }) => roundTripMs, { digits: 1 }),
        figure('first echo beyond two round trips', 'ms', outcomes, beyond, { targets: TARGETS, digits: 1 }),
      ],
      rounds: outcomes,
    };
  } finally {
    await world.close();
  }
}
