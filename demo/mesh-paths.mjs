// The demo's steps that are about paths: what NATs the machines are behind, how two behind NATs come from the relay to a direct path, what is
// left to the relay and why, and a direct path that is cut and mended. Each gives what it saw, and fails when that is not as told.

import { NATS } from './internet.mjs';
import { DemoError, until } from './stage.mjs';
import { SteadyPing } from './steady-ping.mjs';

const DIRECT_LIMIT_MS = 15_000;
const RELAY_LIMIT_MS = 15_000;
/** Pings that have to come through after a change, and before one. */
const PINGS_AFTERWARDS = 40;

const TOLD_LIMIT_MS = 15_000;
/** Until every other path has been tried for long enough. */
const WHY_LIMIT_MS = 15_000;

const MAPPING_WORDS = {
  none: 'no NAT',
  independent: 'a NAT that keeps its port',
  varies: 'another port for each destination',
};

/** Where both are behind NATs, one of which lets nobody know its port, only the relay is left. */
export function expectedPath(a, b) {
  if (a.router === null || b.router === null || a.router === b.router) return 'direct';
  return [a, b].some(({ router }) => router.nat === NATS.variesPort) ? 'relay' : 'direct';
}

async function pathTo(world, from, to) {
  const { peers } = await world.status(from);
  return peers.find(({ name }) => name === to.name)?.path ?? null;
}

/** Seen from both ends. When it does not come, the error says what both know of it. */
async function expectPath(world, a, b, kind, limitMs) {
  try {
    for (const [from, to] of [
      [a, b],
      [b, a],
    ]) {
      const what = `${from.name} reaches ${to.name} ${kind === 'direct' ? 'directly' : 'over the relay'}`;
      await until(what, limitMs, async () => (await pathTo(world, from, to))?.kind === kind);
    }
  } catch (error) {
    if (!(error instanceof DemoError)) throw error;
    throw new DemoError(`${error.message}\n${await bothWhys(world, a, b)}`);
  }
}

/** `warren why --json` of both ends. */
export async function bothWhys(world, a, b) {
  return [await world.why(a, b), await world.why(b, a)].map((report) => JSON.stringify(report)).join('\n');
}

/** What each machine finds out about the network in front of it. In the end all know of all by which relay they are reached. */
export async function netchecks(world, machines) {
  for (const machine of machines) {
    await until(`${machine.name} has a relay`, TOLD_LIMIT_MS, async () => {
      return (await world.status(machine)).relays.some(({ home }) => home);
    });
  }
  const reports = await Promise.all(machines.map((machine) => world.netcheck(machine)));
  const groups = new Map();
  for (const [i, machine] of machines.entries()) {
    const { mapping } = reports[i];
    const expected = machine.router?.nat.mapping ?? 'none';
    if (mapping !== expected) throw new DemoError(`${machine.name} takes its NAT for ${mapping}; it is ${expected}`);
    groups.set(mapping, [...(groups.get(mapping) ?? []), machine.name]);
  }
  for (const from of machines) {
    for (const to of machines) if (from !== to) await knowsRelayOf(world, from, to);
  }
  const detail = [...groups].map(([mapping, names]) => `${names.join(', ')}: ${MAPPING_WORDS[mapping]}`).join('; ');
  return { value: Object.fromEntries(machines.map(({ name }, i) => [name, reports[i].mapping])), detail };
}

async function knowsRelayOf(world, from, to) {
  await until(`${from.name} knows how ${to.name} is reached by relay`, TOLD_LIMIT_MS, async () => {
    return (await world.why(from, to)).candidates.some(({ kind }) => kind === 'relay');
  });
}

/** The answers to `warren ping --until-direct`, each with the time since the first was asked. `onAsked`: the daemon has been told. */
async function untilDirect(world, from, to, onAsked = () => {}) {
  const started = performance.now();
  const replies = [];
  await world.pingUntilDirect(from, to, DIRECT_LIMIT_MS, {
    onAsked,
    onLine: (line) => {
      if (line.type === 'reply')
        replies.push({ kind: line.path.kind, ms: line.ms, afterMs: performance.now() - started });
    },
  });
  const direct = replies.find(({ kind }) => kind === 'direct');
  if (direct !== undefined) return { first: replies[0], direct };
  throw new DemoError(`no direct path from ${from.name} to ${to.name}:\n${await bothWhys(world, from, to)}`);
}

/** Somebody on a public address needs no help of anybody. */
export async function reachPublic(world, from, to) {
  const { first, direct } = await untilDirect(world, from, to);
  return { firstMs: first.ms, firstPath: first.kind, directMs: direct.afterMs };
}

/**
 * Two behind NATs that have never spoken: `warren ping` says by which path its answers come, beside a steady ping. The relay is as a
 * rule the first to lead there; nothing waits for it when it is not.
 */
export async function firstContact(world, from, to) {
  const counter = world.internet.count(from.router, to.router);
  let begun;
  const { first, direct } = await untilDirect(world, from, to, () => {
    // Not before the daemon has begun with its own ping, which is to be the first.
    begun = world.status(from).then(() => new SteadyPing(world, from, to.addresses[0]));
  });
  const steady = await begun;
  await expectPath(world, from, to, 'direct', DIRECT_LIMIT_MS);
  await answersMore(steady);
  const { sent, lost } = await steady.stop();
  if (lost > 0) throw new DemoError(`${lost} of ${sent} pings were lost on the way to the direct path`);
  const directly = counter.read();
  if (directly < PINGS_AFTERWARDS) throw new DemoError(`only ${directly} packets passed between the two routers`);
  return { firstMs: first.ms, firstPath: first.kind, directMs: direct.afterMs, sent, lost };
}

async function answersMore(steady) {
  const seen = steady.answers.length;
  await until(
    `${PINGS_AFTERWARDS} more pings answered`,
    RELAY_LIMIT_MS,
    () => steady.answers.length >= seen + PINGS_AFTERWARDS,
  );
}

/** What passes directly is dropped from some moment on. Resolves to how to mend it, too. */
export async function cut(world, from, to) {
  const steady = new SteadyPing(world, from, to.addresses[0]);
  await answersMore(steady);
  const mend = world.internet.cut(from.router, to.router);
  await expectPath(world, from, to, 'relay', RELAY_LIMIT_MS);
  await answersMore(steady);
  const { sent, lost, gapMs } = await steady.stop();
  if (lost === 0) throw new DemoError('the way was cut, and no ping was lost');
  return { value: { sent, lost, gapMs }, mend };
}

export async function mended(world, from, to, mend) {
  const steady = new SteadyPing(world, from, to.addresses[0]);
  await answersMore(steady);
  mend();
  const started = performance.now();
  await expectPath(world, from, to, 'direct', DIRECT_LIMIT_MS);
  const directMs = performance.now() - started;
  await answersMore(steady);
  const { sent, lost } = await steady.stop();
  if (lost > 0) throw new DemoError(`${lost} of ${sent} pings were lost on the way back to the direct path`);
  return { directMs, sent, lost };
}

/** Of two that only a relay joins: `from` has tried the rest, and says what keeps it from them. */
export function relayedAndWhy(world, from, to) {
  return until(`${from.name} knows why ${to.name} is relayed`, WHY_LIMIT_MS, async () => {
    const report = await world.why(from, to);
    if (report.path?.kind !== 'relay') throw new DemoError(`${to.name} is not relayed: ${JSON.stringify(report)}`);
    return report.causes.length > 0 ? report : null;
  });
}

/** The relay was away: `from` reaches `to` again, and knows by which path. */
export async function relayedAgain(world, from, to, limitMs) {
  await until(`${to.name} is reached again`, limitMs, async () => {
    const options = ['-c', '1', '-w', '0.5', '--socket', from.socket];
    const { code } = await world.warrenAsync(from, 'ping', to.name, ...options);
    return code === 0 && (await pathTo(world, from, to))?.kind === 'relay';
  });
}
