// Chaos on the ground and among those who stand on it: boxes rebind and reboot, ways die in one direction or both, links turn bad,
// relays, controllers and nodes go and come back, machines move. One drawn act at a time; `heal` undoes what does not end by
// itself and makes everybody present again, wherever they are by then.

import type { Instant } from '../../base/instant.ts';
import type { NatBox } from '../nat/nat-box.ts';
import type { Machine, Site } from '../nat/sites.ts';
import type { Cast } from './cast.ts';
import type { Flow } from './flows.ts';
import { directRoundTripMs } from './outside.ts';
import type { PathNode } from './path-node.ts';
import type { PathWorld } from './path-world.ts';

/** A way that is dead: from one machine to another directly, whatever family or network. */
interface Cut {
  readonly from: Machine;
  readonly to: Machine;
  readonly until: Instant;
}

export class PathChaos {
  readonly #cast: Cast;
  readonly #world: PathWorld;
  #cuts: Cut[] = [];
  #flows: Flow[] = [];
  /** Links as they were, and the slowest that they have been. */
  readonly #links = new Map<Site, { readonly latencyMs: number; worstMs: number }>();

  constructor(cast: Cast) {
    this.#cast = cast;
    this.#world = cast.world;
    cast.world.topology.blocked = ({ from, to }) => this.#isCut(from, to);
  }

  /** One drawn act. */
  act(): void {
    const { prng } = this.#world;
    const draw = prng.nextInt(0, 99);
    if (draw < 34) this.#traffic();
    else if (draw < 44) this.#rebind();
    else if (draw < 51) this.#rebootBox();
    else if (draw < 65) this.#cut();
    else if (draw < 73) this.#weather();
    else if (draw < 80) this.#relayDies();
    else if (draw < 87) this.#controllerAway();
    else if (draw < 94) this.#nodeRestarts();
    else this.#machineMoves();
  }

  // — traffic —

  #traffic(): void {
    const { prng } = this.#world;
    const [one, other] = prng.pick(this.#cast.pairs);
    const [a, b] = prng.chance(0.5) ? [one, other] : [other, one];
    const intervalMs = prng.pick([20, 100, 500]);
    const forMs = intervalMs * prng.nextInt(1, 15);
    this.#world.tell(`${a.name} > ${b.name}: a packet each ${intervalMs} ms for ${forMs} ms`);
    const flow = this.#cast.flows.start(a, b, intervalMs);
    this.#flows.push(flow);
    this.#world.schedule(forMs, () => this.#cast.flows.stop(flow));
  }

  // — boxes —

  #pickBox(): { site: Site; box: NatBox } | null {
    const { prng } = this.#world;
    const site = prng.pick(this.#cast.sites);
    const boxes = [...site.boxes[4], ...site.boxes[6]];
    return boxes.length === 0 ? null : { site, box: prng.pick(boxes) };
  }

  #rebind(): void {
    const picked = this.#pickBox();
    if (picked === null) return;
    this.#world.tell(`a box of ${picked.site.name} rebinds`);
    picked.box.rebind();
  }

  #rebootBox(): void {
    const picked = this.#pickBox();
    if (picked === null) return;
    const { prng } = this.#world;
    const renumbered = prng.chance(0.4);
    this.#world.tell(`a box of ${picked.site.name} reboots${renumbered ? ' and has another address' : ''}`);
    this.#world.topology.rebootBox(picked.box, renumbered);
    for (const node of this.#cast.nodes) {
      const { boxes, place } = node.machine.site;
      if (!boxes[4].includes(picked.box) && !boxes[6].includes(picked.box)) continue;
      node.connectionsLost();
      // Some machines see their link go. Those with two families do here: whoever speaks to its relay and controller by IPv6 is
      // told by nobody that its IPv4 is another.
      const seesIt = place.ipv4 !== null && place.ipv6 !== null ? 1 : 0.3;
      if (prng.chance(seesIt)) this.#world.schedule(prng.nextInt(100, 2_000), () => node.networkChanged());
    }
  }

  // — ways —

  #isCut(from: Machine, to: Machine): boolean {
    const { now } = this.#world;
    return this.#cuts.some((cut) => cut.from === from && cut.to === to && now < cut.until);
  }

  cut(from: Machine, to: Machine, forMs: number): void {
    const { now } = this.#world;
    this.#cuts = this.#cuts.filter(({ until }) => now < until);
    this.#cuts.push({ from, to, until: (now + forMs) as Instant });
  }

  mend(): void {
    this.#cuts = [];
  }

  #cut(): void {
    const { prng } = this.#world;
    const { pairs, relays } = this.#cast;
    const [a, b] = prng.pick(pairs);
    const from = prng.chance(0.5) ? a : b;
    // Mostly between two that talk; sometimes towards a relay.
    const to = prng.chance(0.8) ? (from === a ? b : a) : prng.pick(relays);
    const forMs = prng.nextInt(500, 15_000);
    const both = prng.chance(0.5);
    const how = both ? 'both ways' : 'one way';
    this.#world.tell(`the way from ${from.name} to ${to.name} is dead for ${forMs} ms, ${how}`);
    this.cut(from.machine, to.machine, forMs);
    if (both) this.cut(to.machine, from.machine, forMs);
  }

  #weather(): void {
    const { prng } = this.#world;
    const site = prng.pick(this.#cast.sites);
    const { link, name } = site;
    link.jitterMs = prng.chance(0.5) ? prng.nextInt(1, 60) : 0;
    link.loss = prng.chance(0.6) ? prng.nextFloat() * 0.3 : 0;
    link.latencyMs = prng.nextInt(2, 150);
    const known = this.#links.get(site);
    if (known !== undefined) known.worstMs = Math.max(known.worstMs, link.latencyMs + link.jitterMs);
    this.#world.tell(`the link of ${name} becomes ${JSON.stringify(link)}`);
  }

  /** The longest round trip that the two have met: what they have measured of it is not forgotten at once. */
  worstRoundTripMs(a: Machine, b: Machine): number {
    const worse = ({ site }: Machine): number => (this.#links.get(site)?.worstMs ?? 0) - site.link.latencyMs;
    return directRoundTripMs(a, b) + 2 * (worse(a) + worse(b));
  }

  // — those who are there —

  #relayDies(): void {
    const { prng } = this.#world;
    const relay = prng.pick(this.#cast.relays);
    if (relay.running === null) return;
    const forMs = prng.nextInt(100, 10_000);
    this.#world.tell(`${relay.name} is away for ${forMs} ms`);
    relay.crash();
    this.#world.schedule(forMs, () => relay.start(null));
  }

  #controllerAway(): void {
    const { prng, controller } = this.#world;
    if (!controller.running) return;
    const forMs = prng.nextInt(100, 15_000);
    this.#world.tell(`the controller is away for ${forMs} ms`);
    controller.kill(prng.chance(0.3));
    this.#world.schedule(forMs, () => controller.start());
  }

  #nodeRestarts(): void {
    const { prng } = this.#world;
    const node = prng.pick(this.#cast.nodes);
    if (node.running === null) return;
    const forMs = prng.nextInt(100, 5_000);
    this.#world.tell(`${node.name} restarts, and is away for ${forMs} ms`);
    node.crash(prng.chance(0.3));
    this.#world.schedule(forMs, () => node.start(null));
  }

  #machineMoves(): void {
    const { prng } = this.#world;
    const node = prng.pick(this.#cast.nodes);
    const sites = this.#cast.sites.filter((site) => site !== node.machine.site);
    if (sites.length === 0) return;
    this.#moveTo(node, prng.pick(sites), prng.nextInt(0, 1_000));
  }

  #moveTo(node: PathNode, site: Site, noticedAfterMs: number): void {
    this.#world.tell(`${node.name} moves to ${site.name}, which it notices after ${noticedAfterMs} ms`);
    this.#world.topology.move(node.machine, site);
    node.connectionsLost();
    this.#world.schedule(noticedAfterMs, () => node.networkChanged());
  }

  // — the end of it —

  /** Before the first act. */
  begin(): void {
    for (const site of this.#cast.sites)
      this.#links.set(site, { latencyMs: site.link.latencyMs, worstMs: site.link.latencyMs });
  }

  /** Good weather, every way open, everybody running. Boxes stay as they are. */
  heal(): void {
    this.#world.tell('everything heals');
    this.mend();
    for (const flow of this.#flows) this.#cast.flows.stop(flow);
    for (const [{ link }, { latencyMs }] of this.#links) {
      link.jitterMs = 0;
      link.loss = 0;
      link.latencyMs = latencyMs;
    }
    this.#world.controller.start();
    for (const member of this.#cast.members) if (member.running === null) member.start(null);
  }
}
