// From the first packet to an idle peer until its path is a direct one, and what a steady flow loses by the change: behind two NATs,
// behind one of them, and on one LAN. When the path changed is taken from the daemons' own histories (`warren why`).

import { pass, until } from '../../test/interop/lib/wait.ts';
import { type Figure, figure, inRounds, type SectionResult, type Target } from './figures.ts';
import { FLOW_INTERVAL_MS, Flow } from './flow.ts';
import { type Losses, longestGap, losses, senderLateMs, sumOfLosses } from './flow-result.ts';
import { activeSince, kindOf, makeIdle, why } from './local.ts';
import type { PathNode } from './path-node.ts';
import { delayed, PathWorld } from './path-world.ts';
import type { Bench } from './section.ts';

const DIRECT_LIMIT_MS = 15_000;
const LOOK_EVERY_MS = 50;
/** After the change: what is lost by it is lost by then. */
const AFTERWARDS_MS = 1_500;
const TIME: readonly Target[] = [
  { of: 'median', atMost: 1_000 },
  { of: 'p95', atMost: 3_000 },
];
const NONE: readonly Target[] = [{ of: 'worst', atMost: 0 }];

interface Round {
  readonly firstArrivalMs: number;
  /** Of whoever sent first, and of both. From the first packet. */
  readonly directMs: number;
  readonly bothDirectMs: number;
  readonly losses: Losses;
  readonly longestGapMs: number;
  readonly senderLateMs: number;
}

/** When it was first seen to be direct, ms since the epoch. */
async function untilDirect(a: PathNode, b: PathNode): Promise<number> {
  let seen = 0;
  await until(`${a.name} reaches ${b.name} directly`, DIRECT_LIMIT_MS, async () => {
    if ((await kindOf(a, b)) === 'direct') {
      seen = Date.now();
      return true;
    }
    await pass(LOOK_EVERY_MS);
    return false;
  });
  return seen;
}

/** As NATs do with peers that were idle for long: what let in each the other's packets has run out, and the mappings for the relay have not. */
async function forgetEachOther(a: PathNode, b: PathNode): Promise<void> {
  for (const [one, other] of [
    [a, b],
    [b, a],
  ] as const) {
    const address = other.site.publicAddress;
    for (const { host } of one.site.gateways) {
      // Ends with 1 when there was nothing.
      for (const which of ['--orig-dst', '--orig-src']) {
        await host.run(['conntrack', '-D', '-p', 'udp', which, address ?? '']);
      }
    }
  }
}

async function measure(program: string, a: PathNode, b: PathNode): Promise<Round> {
  await makeIdle(a, b);
  await forgetEachOther(a, b);
  const flow = await Flow.start(program, a, b);
  let seen: [number, number] | null = null;
  try {
    seen = await Promise.all([untilDirect(a, b), untilDirect(b, a)]);
    await pass(AFTERWARDS_MS);
  } finally {
    if (seen === null) await flow.stop();
  }
  const reports = await Promise.all([why(a, b), why(b, a)]);
  const { there, back } = await flow.stop();
  const startedMs = (there.sent[0]?.[1] ?? 0) / 1_000;
  const first = there.arrived[0];
  if (first === undefined) throw new Error('nothing of the flow arrived');
  // What the history has lost was seen a little later by us.
  const at = reports.map((report, i) => activeSince(report, 'direct', Math.floor(startedMs)) ?? (seen[i] as number));
  const [ours, theirs] = at as [number, number];
  return {
    firstArrivalMs: first[1] / 1_000 - startedMs,
    directMs: ours - startedMs,
    bothDirectMs: Math.max(ours, theirs) - startedMs,
    losses: sumOfLosses([losses(there), losses(back)]),
    longestGapMs: Math.max(...[there, back].map((way) => longestGap(way, (way.arrived[0]?.[1] ?? 0) / 1_000).ms)),
    senderLateMs: Math.max(senderLateMs(there, FLOW_INTERVAL_MS), senderLateMs(back, FLOW_INTERVAL_MS)),
  };
}

function show({
  directMs,
  bothDirectMs,
  losses: { lost, reordered },
  longestGapMs,
  senderLateMs: late,
}: Round): string {
  const times = `direct after ${directMs.toFixed(0)} ms, both ${bothDirectMs.toFixed(0)} ms`;
  return `${times}; lost ${lost}, reordered ${reordered}, longest gap ${longestGapMs.toFixed(0)} ms (sender late by ${late.toFixed(0)})`;
}

interface Pair {
  readonly label: string;
  readonly a: PathNode;
  readonly b: PathNode;
}

async function places(world: PathWorld, delayMs: number): Promise<readonly Pair[]> {
  const { lab } = world;
  const home = await lab.site('home', 'portRestricted', delayed(delayMs));
  const other = await lab.site('other', 'portRestricted', delayed(delayMs));
  const open = await lab.site('open', 'public', delayed(delayMs));
  const shared = await lab.site('shared', 'lanNoHairpin', { ...delayed(delayMs), hosts: 2 });
  const alice = await world.node('alice', home);
  const bob = await world.node('bob', other);
  const carol = await world.node('carol', open);
  const [dave, erin] = [await world.node('dave', shared), await world.node('erin', shared, 1)];
  await world.untilHome([alice, bob, carol, dave, erin]);
  return [
    { label: 'NAT to NAT, port-restricted', a: alice, b: bob },
    { label: 'NAT to public', a: alice, b: carol },
    { label: 'public to NAT', a: carol, b: bob },
    { label: 'two of one LAN behind one NAT', a: dave, b: erin },
  ];
}

export async function direct({ rounds, delayMs, debug, flow, say, diagnose }: Bench): Promise<SectionResult> {
  const world = await PathWorld.open('pbdirect', { relay: true, debug });
  try {
    const figures: Figure[] = [];
    const details: object[] = [];
    for (const { label, a, b } of await places(world, delayMs)) {
      say(`${label}\n`);
      const work = async (round: number): Promise<Round> => {
        const result = await measure(flow, a, b).catch(async (error: unknown) => {
          await diagnose(`direct-${a.name}-${b.name}-${round}`, [a, b], String(error));
          throw error;
        });
        if (result.losses.lost > 0 || result.directMs > 3_000)
          await diagnose(`direct-${a.name}-${b.name}-${round}`, [a, b], result);
        return result;
      };
      const outcomes = await inRounds(rounds, say, work, show);
      figures.push(
        figure(`${label}: first packet arrives`, 'ms', outcomes, ({ firstArrivalMs }) => firstArrivalMs),
        figure(`${label}: direct`, 'ms', outcomes, ({ directMs }) => directMs, { targets: TIME }),
        figure(`${label}: direct at both ends`, 'ms', outcomes, ({ bothDirectMs }) => bothDirectMs),
        figure(`${label}: lost`, 'packets', outcomes, ({ losses: { lost } }) => lost, { targets: NONE }),
        figure(`${label}: reordered`, 'packets', outcomes, ({ losses: { reordered } }) => reordered, { targets: NONE }),
        figure(`${label}: longest gap`, 'ms', outcomes, ({ longestGapMs }) => longestGapMs),
      );
      details.push({ label, outcomes });
    }
    return {
      section: 'a direct path from the first packet on',
      notes: [
        `${delayMs} ms on each link, one way; a datagram per ${FLOW_INTERVAL_MS} ms each way, from the first packet until ${AFTERWARDS_MS / 1_000} s after both ends are direct`,
      ],
      figures,
      rounds: details,
    };
  } finally {
    await world.close();
  }
}
