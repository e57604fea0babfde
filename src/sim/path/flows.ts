// Packets between the nodes, each counted: who sent it to whom and when, whether and how it arrived. Holds what must be true of
// every packet at every moment: it comes out only where it was meant to, at most once, and was carried there by its sender or
// by a relay. And what is measured of steady flows: the longest silence, what was lost, how late what overtook was.

import type { Instant } from '../../base/instant.ts';
import type { Machine } from '../nat/sites.ts';
import { readPacket } from '../packets.ts';
import type { PathNode } from './path-node.ts';
import type { PathWorld } from './path-world.ts';

const PAYLOAD_BYTES = 16;

interface Sent {
  readonly from: PathNode;
  readonly to: PathNode;
  readonly flow: Flow | null;
  /** In its flow: 0, 1, 2 … */
  readonly index: number;
  readonly at: Instant;
  arrived: boolean;
}

export type Way = 'direct' | 'relayed';

/** Packets from one to another, one each interval. */
export class Flow {
  readonly from: PathNode;
  readonly to: PathNode;
  readonly intervalMs: number;
  sent = 0;
  arrivals = 0;
  /** When each arrived, by index. */
  readonly arrivedAt: (Instant | undefined)[] = [];
  readonly sentAt: Instant[] = [];
  /** Of the newest: how it came, and who brought it. */
  way: Way | null = null;
  carrier: Machine | null = null;
  /** How many came by relay. */
  relayed = 0;
  /** How long after a packet that was sent later the latest came. */
  overtakenMs = 0;
  /** Of whatever arrived. */
  longestLatencyMs = 0;
  lastArrivalAt: Instant;
  longestSilenceMs = 0;
  running = true;
  #highest = -1;

  constructor(from: PathNode, to: PathNode, intervalMs: number, now: Instant) {
    this.from = from;
    this.to = to;
    this.intervalMs = intervalMs;
    this.lastArrivalAt = now;
  }

  get lost(): number {
    return this.sent - this.arrivals;
  }

  arrived(index: number, sentAt: Instant, way: Way, now: Instant): void {
    this.arrivals++;
    if (way === 'relayed') this.relayed++;
    this.way = way;
    this.arrivedAt[index] = now;
    this.longestLatencyMs = Math.max(this.longestLatencyMs, now - sentAt);
    this.longestSilenceMs = Math.max(this.longestSilenceMs, now - this.lastArrivalAt);
    this.lastArrivalAt = now;
    if (index > this.#highest) {
      this.#highest = index;
      return;
    }
    for (let later = index + 1; later <= this.#highest; later++) {
      const at = this.arrivedAt[later];
      if (at !== undefined) this.overtakenMs = Math.max(this.overtakenMs, now - at);
    }
  }
}

export class Flows {
  readonly #world: PathWorld;
  readonly #sent: Sent[] = [];
  readonly #relays = new Set<Machine>();
  /** Whoever overhears a datagram can bring it, in time or not. */
  readonly #eavesdroppers = new Set<Machine>();
  readonly #nodes = new Map<string, PathNode>();
  /** By `from>to`: how the newest packet came. */
  readonly #ways = new Map<string, Way>();
  readonly counts = { sent: 0, delivered: 0, direct: 0, relayed: 0 };

  constructor(world: PathWorld) {
    this.#world = world;
  }

  addRelay(machine: Machine): void {
    this.#relays.add(machine);
  }

  addEavesdropper(machine: Machine): void {
    this.#eavesdroppers.add(machine);
  }

  /** One packet; false when it is not known yet who the other is. */
  send(from: PathNode, to: PathNode, flow: Flow | null = null): boolean {
    const { id } = to;
    if (id === null || from.mesh === null || from.mesh.netmap.node(id) === undefined) return false;
    const [source, destination] = [from.address(4), to.address(4)];
    if (source === null || destination === null) return false;
    const { now } = this.#world;
    this.#nodes.set(source, from);
    const index = flow?.sent ?? 0;
    const sequence = this.#sent.push({ from, to, flow, index, at: now, arrived: false }) - 1;
    if (flow !== null) {
      flow.sent++;
      flow.sentAt.push(now);
    }
    this.counts.sent++;
    from.send(source, destination, sequence, PAYLOAD_BYTES);
    return true;
  }

  /** A packet now and one each interval, until `stop`. */
  start(from: PathNode, to: PathNode, intervalMs: number): Flow {
    const flow = new Flow(from, to, intervalMs, this.#world.now);
    const tick = (): void => {
      if (!flow.running) return;
      this.send(from, to, flow);
      this.#world.schedule(intervalMs, tick);
    };
    tick();
    return flow;
  }

  stop(flow: Flow): void {
    flow.running = false;
  }

  /** How the newest packet from one to the other came; null: none has, or it is forgotten. */
  way(from: PathNode, to: PathNode): Way | null {
    return this.#ways.get(`${from.name}>${to.name}`) ?? null;
  }

  forgetWays(): void {
    this.#ways.clear();
  }

  received(node: PathNode, packet: Uint8Array, carrier: Machine | null): void {
    const info = readPacket(packet);
    if (info === null) return;
    const sent = this.#sent[info.sequence];
    const what = `${info.source} > ${info.destination} #${info.sequence}`;
    if (sent === undefined) {
      this.#world.violated(`${node.name} received ${what}, which nobody sent`);
      return;
    }
    if (sent.to !== node) this.#world.violated(`${node.name} received ${what}, meant for ${sent.to.name}`);
    if (this.#nodes.get(info.source) !== sent.from)
      this.#world.violated(`${node.name} took ${what} of ${sent.from.name} for another's`);
    if (sent.arrived) this.#world.violated(`${node.name} received ${what} twice`);
    sent.arrived = true;
    const way = this.#wayOf(sent, carrier);
    if (way === null && carrier !== null && this.#eavesdroppers.has(carrier)) {
      sent.flow?.arrived(sent.index, sent.at, sent.flow.way ?? 'direct', this.#world.now);
      return;
    }
    if (way === null) {
      this.#world.violated(`${what} of ${sent.from.name} was carried to ${node.name} by ${carrier?.name ?? 'nobody'}`);
      return;
    }
    this.counts.delivered++;
    this.counts[way]++;
    this.#ways.set(`${sent.from.name}>${node.name}`, way);
    if (sent.flow === null) return;
    sent.flow.arrived(sent.index, sent.at, way, this.#world.now);
    sent.flow.carrier = carrier;
  }

  #wayOf(sent: Sent, carrier: Machine | null): Way | null {
    if (carrier === sent.from.machine) return 'direct';
    return carrier !== null && this.#relays.has(carrier) ? 'relayed' : null;
  }
}
