// What has to hold once everything is well again. Every pair with traffic communicates, by a relay if need be; then directly, if and
// only if its places permit it. Then trials under steady traffic: a path or a relay dies and packets flow again in time; a
// session begins, with or without the controller, is promoted, and nothing is lost. At last silence.

import { MTU_DEFAULT } from '../../mesh/mesh-engine.ts';
import type { Cast, Pair } from './cast.ts';
import type { Flow } from './flows.ts';
import { carries, permitted, relayedRoundTripMs } from './outside.ts';
import type { PathChaos } from './path-chaos.ts';
import { PathNode } from './path-node.ts';
import type { PathWorld } from './path-world.ts';
import type { RelayHost } from './relay-host.ts';

/** Until all are connected and know each other; the longest is a connection that died in silence (three pings). */
const GATHER_MS = 90_000;
/** Until packets flow both ways between all that talk. */
const COMMUNICATE_MS = 20_000;
/** Until a direct path has been found where one is permitted. */
const DIRECT_MS = 70_000;
const LOOK_MS = 500;

/** Of a steady flow; with a relay dead it lasts longer, and need not be as dense. */
const INTERVAL_MS = 50;
const RELAYED_INTERVAL_MS = 250;
/** A path that dies under traffic: what flows before, and until when it has to flow again. */
const BEFORE_MS = 1_000;
const FLOWS_AGAIN_MS = 2_500;
/** That holds for round trips up to the first; each end may wait for three of longer ones, twice (docs/paths.md, rules 5 and 6). */
const USUAL_ROUND_TRIP_MS = 100;
const ROUND_TRIPS_WAITED = 12;
/** The trial goes on for as long after that, so that a second silence would be seen. */
const AFTER_MS = 1_500;
/** A direct path that works again is found by itself: probes are twice as far apart each time, up to a minute. */
const RETURN_MS = 65_000;
/** The same of a relay that dies: whoever used it has to find another, and to tell that to the others. */
const RELAY_DEAD_MS = 12_000;
const RELAY_FLOWS_AGAIN_MS = 6_000;
/** A session begins, is used over the relay, and promoted. */
const PROMOTION_MS = 4_000;

/** Until the largest packet of a path has been found, under little traffic; and how much less than it is good enough. */
const MTU_MS = 40_000;
const MTU_STEP_BYTES = 96;

/** Those that mean harm are at it under traffic. */
const DISTURBED_MS = 3_000;
const HARM_EACH_MS = 250;

/** Peers without data send a keepalive, are probed no more, and then nothing happens. */
const QUIET_AFTER_MS = 45_000;
const QUIET_FOR_MS = 60_000;

/** Pairs that ended up on a direct path and on a relayed one, how often each trial was made, and the longest silences in ms. */
export interface TrialCounts {
  direct: number;
  relayed: number;
  disturbed: number;
  mtus: number;
  deaths: number;
  relayDeaths: number;
  promotions: number;
  quiet: number;
  longestSilenceMs: number;
  longestRelaySilenceMs: number;
}

export class PathTrials {
  readonly #cast: Cast;
  readonly #world: PathWorld;
  readonly #chaos: PathChaos;
  readonly counts: TrialCounts = {
    direct: 0,
    relayed: 0,
    deaths: 0,
    relayDeaths: 0,
    promotions: 0,
    disturbed: 0,
    mtus: 0,
    quiet: 0,
    longestSilenceMs: 0,
    longestRelaySilenceMs: 0,
  };

  constructor(cast: Cast, chaos: PathChaos) {
    this.#cast = cast;
    this.#world = cast.world;
    this.#chaos = chaos;
  }

  /** Whether everybody is connected, has the netmap of all, and has the place at a relay that the others are told of. */
  gather(): boolean {
    const { members, relays } = this.#cast;
    const here = (member: Cast['members'][number]): boolean =>
      member.isReachable &&
      (sizeOf(member) ?? 0) + 1 === members.length &&
      (!(member instanceof PathNode) || hasHome(member, relays));
    for (let waited = 0; waited < GATHER_MS; waited += LOOK_MS) {
      if (members.every(here)) return true;
      this.#run(LOOK_MS);
    }
    const missing = members.filter((member) => !here(member)).map(({ name }) => name);
    this.#world.violated(`after ${GATHER_MS / 1000} s not everybody is there: ${missing.join(', ')}`);
    return false;
  }

  /** With those that mean harm at it. */
  #run(ms: number): void {
    this.#cast.harm();
    this.#world.run(ms);
  }

  get #failed(): boolean {
    return this.#cast.violations.length > 0;
  }

  run(): void {
    const { prng } = this.#world;
    // Not all of them each time: more seeds are worth more than longer runs.
    const trials = [
      () => this.#communicate(),
      () => this.#direct(),
      () => this.#undisturbed(),
      () => prng.chance(0.3) && this.#largest(),
      () => prng.chance(0.6) && this.#pathDies(),
      () => prng.chance(0.6) && this.#relayDies(),
      () => prng.chance(0.6) && this.#promotion(),
      () => prng.chance(0.4) && this.#quiet(),
    ];
    for (const trial of trials) if (!this.#failed) trial();
  }

  // — who reaches whom, and how —

  #communicate(): void {
    const { flows, pairs, hostility } = this.#cast;
    if (hostility === 'relay') return;
    flows.forgetWays();
    const talks = ([a, b]: Pair): boolean => flows.way(a, b) !== null && flows.way(b, a) !== null;
    for (const [a, b] of this.#until(pairs, talks, COMMUNICATE_MS))
      this.#world.violated(`${a.name} and ${b.name} do not communicate within ${COMMUNICATE_MS / 1000} s`);
  }

  #direct(): void {
    const { flows, pairs } = this.#cast;
    flows.forgetWays();
    const able = pairs.filter(([a, b]) => permitted(a.machine, b.machine).path === 'direct');
    for (const [a, b] of this.#until(able, (pair) => this.#isDirect(pair), DIRECT_MS)) {
      this.#world.violated(`${a.name} and ${b.name} have no direct path, which their places permit`);
    }
    for (const pair of pairs) {
      const verdict = permitted(pair[0].machine, pair[1].machine);
      const impossible = verdict.path === 'relay' && verdict.prediction === null;
      if (impossible && (flows.way(...pair) === 'direct' || flows.way(pair[1], pair[0]) === 'direct'))
        this.#world.violated(
          `${pair[0].name} and ${pair[1].name} have a direct path, which their places do not permit`,
        );
      if (this.#isDirect(pair)) this.counts.direct++;
      else this.counts.relayed++;
    }
  }

  #isDirect([a, b]: Pair): boolean {
    const { flows } = this.#cast;
    return flows.way(a, b) === 'direct' && flows.way(b, a) === 'direct';
  }

  /** Lets those pairs send for whom `done` does not hold; gives those for whom it does not in time. */
  #until(pairs: readonly Pair[], done: (pair: Pair) => boolean, limitMs: number): readonly Pair[] {
    let waiting: readonly Pair[] = pairs;
    for (let waited = 0; waited < limitMs && waiting.length > 0; waited += LOOK_MS) {
      for (const [a, b] of waiting) {
        this.#cast.flows.send(a, b);
        this.#cast.flows.send(b, a);
      }
      this.#run(LOOK_MS);
      waiting = waiting.filter((pair) => !done(pair));
    }
    return waiting;
  }

  /** Every path of a pair knows how large a packet it carries; never more than it does. */
  #largest(): void {
    const { pairs, hostility } = this.#cast;
    if (pairs.length === 0 || hostility === 'relay') return;
    const pair = this.#world.prng.pick(pairs);
    const wrong = (): string[] =>
      [this.#mtuOf(pair[0], pair[1]), this.#mtuOf(pair[1], pair[0])].filter((what) => what !== '');
    this.#until([pair], () => wrong().length === 0, MTU_MS);
    for (const what of wrong()) this.#world.violated(what);
    this.counts.mtus++;
  }

  /** What is wrong with what one believes of the way to the other; empty: nothing. */
  #mtuOf(from: PathNode, to: PathNode): string {
    const active = to.id === null ? null : (from.mesh?.pathReport(to.id, this.#world.now)?.active ?? null);
    if (active === null) return `${from.name} has no path to ${to.name}`;
    const relay = this.#cast.relays.find(({ id }) => active.relay !== null && id === active.relay);
    // A stream carries anything.
    if (active.kind === 'relay' && (from.isBridged || to.isBridged)) return '';
    const { surely, atMost } = carries(from.machine, to.machine, relay?.machine ?? null);
    const { mtu } = active;
    const what = `${from.name} takes ${mtu ?? 'nothing'} for the largest packet to ${to.name}, which is ${surely} to ${atMost}`;
    return mtu === null || mtu > atMost || mtu < Math.min(MTU_DEFAULT, surely) - MTU_STEP_BYTES ? what : '';
  }

  // — under steady traffic —

  #steady([a, b]: Pair, intervalMs: number): readonly [Flow, Flow] {
    const { flows } = this.#cast;
    return [flows.start(a, b, intervalMs), flows.start(b, a, intervalMs)];
  }

  /** Whatever those do that mean harm, a pair stays on its path, and loses nothing. */
  #undisturbed(): void {
    const { flows, pairs, hostility } = this.#cast;
    const able = hostility === 'relay' ? pairs.filter((pair) => this.#isDirect(pair)) : pairs;
    if (hostility === 'none' || able.length === 0) return;
    const pair = this.#world.prng.pick(able);
    const wasDirect = this.#isDirect(pair);
    const steady = this.#steady(pair, INTERVAL_MS);
    for (let ms = 0; ms < DISTURBED_MS; ms += HARM_EACH_MS) this.#run(HARM_EACH_MS);
    for (const flow of steady) flows.stop(flow);
    this.#run(this.#longestRoundTripMs(pair));
    for (const { from, to, lost, relayed } of steady) {
      if (lost > 0) this.#world.violated(`${from.name} > ${to.name}: ${lost} were lost to the ${hostility}`);
      if (wasDirect && relayed > 0)
        this.#world.violated(`${from.name} > ${to.name}: ${relayed} went by relay because of the ${hostility}`);
    }
    this.counts.disturbed++;
  }

  #longestRoundTripMs([a, b]: Pair): number {
    const relays = this.#cast.relays.map(({ machine }) => machine);
    return relayedRoundTripMs(a.machine, b.machine, relays);
  }

  /** The path that is used dies in one direction or both. */
  #pathDies(): void {
    const { prng } = this.#world;
    const direct = this.#cast.pairs.filter((pair) => this.#isDirect(pair));
    if (direct.length === 0 || this.#cast.hostility === 'relay') return;
    const [a, b] = prng.pick(direct);
    const both = prng.chance(0.5);
    const steady = this.#steady([a, b], INTERVAL_MS);
    this.#run(BEFORE_MS);
    this.#world.tell(
      `the direct way from ${a.name} to ${b.name} dies under traffic, ${both ? 'both ways' : 'one way'}`,
    );
    const longerMs = Math.max(0, this.#chaos.worstRoundTripMs(a.machine, b.machine) - USUAL_ROUND_TRIP_MS);
    const limitMs = FLOWS_AGAIN_MS + ROUND_TRIPS_WAITED * longerMs;
    const diesFor = limitMs + AFTER_MS;
    this.#chaos.cut(a.machine, b.machine, diesFor);
    if (both) this.#chaos.cut(b.machine, a.machine, diesFor);
    const silenceMs = this.#flowAgain(steady, diesFor, limitMs, 'the path');
    this.counts.longestSilenceMs = Math.max(this.counts.longestSilenceMs, silenceMs);
    this.counts.deaths++;
    this.#chaos.mend();
    if (this.#failed || !prng.chance(0.5)) return;
    // Nobody says that the way is there again.
    this.#cast.flows.forgetWays();
    if (this.#until([[a, b]], (pair) => this.#isDirect(pair), RETURN_MS).length > 0)
      this.#world.violated(
        `${a.name} and ${b.name} are not on their direct path again, ${RETURN_MS / 1000} s after it was mended`,
      );
  }

  /** Ends the flows after a while; the longest silence in it. */
  #flowAgain(steady: readonly Flow[], forMs: number, limitMs: number, what: string): number {
    for (const flow of steady) flow.longestSilenceMs = 0;
    this.#run(forMs);
    let longestMs = 0;
    for (const flow of steady) {
      this.#cast.flows.stop(flow);
      const silenceMs = Math.max(flow.longestSilenceMs, this.#world.now - flow.lastArrivalAt);
      longestMs = Math.max(longestMs, silenceMs);
      if (silenceMs <= limitMs) continue;
      this.#world.violated(
        `${flow.from.name} > ${flow.to.name}: nothing for ${silenceMs.toFixed(0)} ms after ${what} died under traffic`,
      );
    }
    return longestMs;
  }

  /** The relay that carries the packets dies, and there is another. */
  #relayDies(): void {
    const { prng } = this.#world;
    const { pairs, relays, hostility } = this.#cast;
    const relayed = pairs.filter((pair) => permitted(pair[0].machine, pair[1].machine).path === 'relay');
    if (relayed.length === 0 || relays.length < 2 || hostility === 'relay') return;
    const steady = this.#steady(prng.pick(relayed), RELAYED_INTERVAL_MS);
    this.#run(BEFORE_MS);
    const carrier = prng.pick(steady).carrier;
    const relay = relays.find(({ machine }) => machine === carrier);
    if (relay !== undefined) {
      this.#world.tell(`${relay.name} dies under traffic from ${steady[0].from.name} to ${steady[0].to.name}`);
      relay.crash();
      const silenceMs = this.#flowAgain(steady, RELAY_DEAD_MS, RELAY_FLOWS_AGAIN_MS, relay.name);
      this.counts.longestRelaySilenceMs = Math.max(this.counts.longestRelaySilenceMs, silenceMs);
      this.counts.relayDeaths++;
      relay.start(null);
    }
    for (const flow of steady) this.#cast.flows.stop(flow);
  }

  /** A session begins anew under traffic; nothing of it is lost, and nothing overtakes by more than a round trip. */
  #promotion(): void {
    const { pairs, hostility, flows } = this.#cast;
    if (pairs.length === 0 || hostility === 'relay') return;
    const { prng, controller } = this.#world;
    const pair = prng.pick(pairs);
    // What it takes is known: the controller need not be there.
    const alone = prng.chance(0.3);
    if (alone) controller.kill(false);
    for (const [one, other] of [pair, [pair[1], pair[0]] as const]) forget(one, other, this.#world);
    this.#run(LOOK_MS);
    this.#world.tell(
      `${pair[0].name} and ${pair[1].name} begin anew under traffic${alone ? ', without the controller' : ''}`,
    );
    const steady = this.#steady(pair, INTERVAL_MS);
    this.#run(PROMOTION_MS);
    for (const flow of steady) flows.stop(flow);
    const limitMs = this.#longestRoundTripMs(pair);
    this.#run(limitMs + LOOK_MS);
    for (const { from, to, lost, overtakenMs } of steady) {
      const what = `${from.name} > ${to.name}, from the first packet on`;
      // Before a path is proved packets go where the newest came from: to whoever is faster on the way, for a round trip.
      if (lost > 0 && hostility !== 'outsider') this.#world.violated(`${what}: ${lost} were lost`);
      if (overtakenMs > limitMs)
        this.#world.violated(`${what}: one came ${overtakenMs.toFixed(0)} ms after one that was sent later`);
    }
    this.counts.promotions++;
    controller.start();
  }

  // — silence —

  /** Between nodes nothing is sent, directly or by relay; what they tell relays and servers of themselves is no matter of peers. */
  #quiet(): void {
    if (this.#cast.hostility !== 'none') return;
    this.#run(QUIET_AFTER_MS);
    const { toNodes, relayed } = this.#cast.counts;
    this.#run(QUIET_FOR_MS);
    this.counts.quiet++;
    if (this.#cast.counts.toNodes !== toNodes) this.#world.violated('idle nodes sent to one another');
    if (this.#cast.counts.relayed !== relayed) this.#world.violated('idle nodes sent to one another by relay');
  }
}

function hasHome({ mesh, id }: PathNode, relays: readonly RelayHost[]): boolean {
  const home = mesh?.home ?? null;
  const relay = relays.find((one) => home !== null && one.id === home.relay);
  for (const { node, slot } of relay?.running?.engine.memberStatuses() ?? []) if (node.id === id) return slot;
  return false;
}

function sizeOf(member: Cast['members'][number]): number | undefined {
  return 'mesh' in member ? member.mesh?.netmap.size : member.running?.engine.netmap.size;
}

/** Ends the session on one side. */
function forget(node: PathNode, other: PathNode, world: PathWorld): void {
  if (other.id === null) return;
  node.mesh?.flushPeer(other.id, world.now);
  node.settle();
}
