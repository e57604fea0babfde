// Questions to a daemon over its local API, without the start of a process for each: a bench that polls by commands measures those.

import { ask } from '../../src/cli/local-client.ts';
import type { Status } from '../../src/protocol/local-api.ts';
import type { WhyReport } from '../../src/protocol/path-report.ts';
import { until } from '../../test/interop/lib/wait.ts';
import type { PathNode } from './path-node.ts';

const IDLE_LIMIT_MS = 10_000;

export function why(at: PathNode, peer: PathNode): Promise<WhyReport> {
  const path = `/v1/why?peer=${encodeURIComponent(peer.ipv4)}`;
  return ask<WhyReport>({ socket: at.machine.socket, method: 'GET', path });
}

export function statusOf(at: PathNode): Promise<Status> {
  return ask<Status>({ socket: at.machine.socket, method: 'GET', path: '/v1/status?peers=none' });
}

async function flush(at: PathNode, peer: PathNode): Promise<void> {
  await ask({ socket: at.machine.socket, method: 'POST', path: '/v1/peers/flush', body: { peer: peer.ipv4 } });
}

/** Neither knows a session with the other afterwards. */
export async function makeIdle(a: PathNode, b: PathNode): Promise<void> {
  await until(`${a.name} and ${b.name} are idle`, IDLE_LIMIT_MS, async () => {
    await Promise.all([flush(a, b), flush(b, a)]);
    const states = await Promise.all([why(a, b), why(b, a)]);
    return states.every(({ peer }) => peer.state === 'idle');
  });
}

export type Kind = 'direct' | 'relay';

export async function kindOf(at: PathNode, peer: PathNode): Promise<Kind | null> {
  return (await why(at, peer)).path?.kind ?? null;
}

/** Both ends use a path of the kind. Gives when that was seen, ms since the epoch. */
export async function untilBothBy(kind: Kind, a: PathNode, b: PathNode, limitMs: number): Promise<number> {
  await until(`${a.name} and ${b.name} meet by a ${kind} path`, limitMs, async () => {
    const kinds = await Promise.all([kindOf(a, b), kindOf(b, a)]);
    return kinds.every((found) => found === kind);
  });
  return Date.now();
}

/** When a path of the kind became the active one, first after `sinceMs`; null: the daemon's history does not say. */
export function activeSince({ candidates }: WhyReport, kind: Kind, sinceMs: number): number | null {
  const times = candidates
    .filter((candidate) => (candidate.kind === 'relay') === (kind === 'relay'))
    .flatMap(({ history }) => history)
    .filter(({ state }) => state === 'active')
    .map(({ at }) => Date.parse(at))
    .filter((at) => at >= sinceMs);
  return times.length === 0 ? null : Math.min(...times);
}
