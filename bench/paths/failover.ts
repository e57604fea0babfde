// What a steady flow feels when its path dies: for each event the longest time without an arrival, of both directions. Two homes behind
// port-restricted NATs, and two relays that stand alone, one of them further away.

import { pass, until } from '../../test/interop/lib/wait.ts';
import { EVENTS, type FailoverEvent, type Places } from './failover-events.ts';
import { type Figure, figure, inRounds, type SectionResult, type Target } from './figures.ts';
import { FLOW_INTERVAL_MS, Flow } from './flow.ts';
import { type Both, type Gap, type Losses, longestGap, losses, senderLateMs, sumOfLosses } from './flow-result.ts';
import { makeIdle, untilBothBy } from './local.ts';
import type { PathNode } from './path-node.ts';
import { delayed, PathWorld } from './path-world.ts';
import type { Bench } from './section.ts';

const SETTLED_LIMIT_MS = 30_000;
/** Between the last path that was found and the event. */
const SETTLE_MS = 2_000;
/** After the event; whatever is not mended by then is told as that. */
const WATCH_MS = 8_000;
/** Of the nearer relay's link beyond the others': the two are told apart by it. */
const FURTHER_MS = 10;
/** Beyond this it is worth a look. */
const UNUSUAL_MS = 1_000;
const TARGETS: readonly Target[] = [
  { of: 'median', atMost: 1_000 },
  { of: 'worst', atMost: 2_500 },
];

interface Round {
  readonly there: Gap;
  readonly back: Gap;
  readonly losses: Losses;
  readonly senderLateMs: number;
}

function worse({ there, back }: Round): Gap {
  return there.ms > back.ms ? there : back;
}

async function measure(program: string, event: FailoverEvent, places: Places): Promise<Round> {
  const { a, b } = places;
  let flow: Flow | null = null;
  let both: Both | null = null;
  let atMs = 0;
  try {
    await event.prepare(places);
    await makeIdle(a, b);
    const running = await Flow.start(program, a, b);
    flow = running;
    await until('the flow is answered', SETTLED_LIMIT_MS, () => running.answered);
    await untilBothBy(event.path, a, b, SETTLED_LIMIT_MS);
    await pass(SETTLE_MS);
    atMs = Date.now();
    await event.strike(places);
    await pass(WATCH_MS);
    await event.check?.(places);
  } finally {
    both = (await flow?.stop()) ?? null;
  }
  if (both === null) throw new Error('there was no flow');
  const { there, back } = both;
  return {
    there: longestGap(there, atMs),
    back: longestGap(back, atMs),
    losses: sumOfLosses([losses(there), losses(back)]),
    senderLateMs: Math.max(senderLateMs(there, FLOW_INTERVAL_MS), senderLateMs(back, FLOW_INTERVAL_MS)),
  };
}

function show(round: Round): string {
  const text = ({ ms, over }: Gap): string => `${ms.toFixed(0)} ms${over ? '' : ' and not over'}`;
  const { lost, reordered } = round.losses;
  return `longest gap there ${text(round.there)}, back ${text(round.back)}; lost ${lost}, reordered ${reordered} (sender late by ${round.senderLateMs.toFixed(0)} ms)`;
}

async function open(world: PathWorld, delayMs: number): Promise<Places> {
  const { lab } = world;
  const home = await lab.site('home', 'portRestricted', delayed(delayMs));
  const other = await lab.site('other', 'portRestricted', delayed(delayMs));
  const near = await lab.site('near', 'public');
  const far = await lab.site('far', 'public', { delayMs: FURTHER_MS });
  const relays = [await world.relay('near', near), await world.relay('far', far)];
  const a = await world.node('alice', home);
  const b = await world.node('bob', other);
  await world.untilHome([a, b]);
  return { world, a, b, relays };
}

export async function failover({ rounds, delayMs, debug, flow, say, diagnose, only }: Bench): Promise<SectionResult> {
  const world = await PathWorld.open('pbfail', { relay: false, debug });
  try {
    const places = await open(world, delayMs);
    const nodes: readonly [PathNode, PathNode] = [places.a, places.b];
    const figures: Figure[] = [];
    const details: object[] = [];
    for (const event of EVENTS.filter(({ name }) => only.length === 0 || only.includes(name))) {
      say(`${event.label}\n`);
      const work = async (round: number): Promise<Round> => {
        const name = `failover-${event.name}-${round}`;
        try {
          const result = await measure(flow, event, places);
          if (!worse(result).over || worse(result).ms > UNUSUAL_MS) await diagnose(name, nodes, result);
          return result;
        } catch (error) {
          await diagnose(name, nodes, String(error));
          throw error;
        } finally {
          await event.mend(places);
        }
      };
      const outcomes = await inRounds(rounds, say, work, show);
      const gap = (round: Round): number => (worse(round).over ? worse(round).ms : Number.POSITIVE_INFINITY);
      figures.push(
        figure(`${event.label}: longest gap`, 'ms', outcomes, gap, { targets: TARGETS }),
        figure(`${event.label}: lost, both ways`, 'packets', outcomes, ({ losses: { lost } }) => lost),
      );
      details.push({ event: event.name, outcomes });
    }
    return {
      section: 'failover',
      notes: [
        `${delayMs} ms on the link of each home, one way, ${FURTHER_MS} ms on that of the further relay; a datagram per ${FLOW_INTERVAL_MS} ms each way; watched for ${WATCH_MS / 1_000} s`,
      ],
      figures,
      rounds: details,
    };
  } finally {
    await world.close();
  }
}
