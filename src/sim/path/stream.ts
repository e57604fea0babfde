// The way to a relay where UDP is blocked: datagrams that ride a WebSocket, as the node's bridge and the relay's stream server carry
// them (src/daemon/relay-bridge.ts, src/relay/stream). To each end's plane the other is an endpoint of its own loopback. In
// order and without loss while it lasts; what is sent before it is open waits, what is under way when it breaks is gone.

import { type Endpoint, formatEndpoint, type IpAddress } from '../../base/ip.ts';
import { add } from '../mesh/reached.ts';
import type { Machine } from '../nat/sites.ts';
import type { PathWorld } from './path-world.ts';

const LOOPBACK = '127.0.0.1' as IpAddress;
/** TCP, TLS and the upgrade. */
const ROUND_TRIPS_TO_OPEN = 3;
/** Of datagrams that wait for it to open. */
const OPENING_MAX = 64;
/** At a node, one for each relay, and at a relay, one for each node. */
const RELAY_PORTS = 21_000;
const NODE_PORTS = 20_000;

export function isLoopback(endpoint: Endpoint): boolean {
  return endpoint.startsWith('127.');
}

export interface StreamEnd {
  readonly machine: Machine;
  /** A datagram of the other end, which is `source` here. */
  streamed(bytes: Uint8Array, source: Endpoint, from: Machine): void;
}

export interface StreamOptions {
  readonly world: PathWorld;
  readonly node: StreamEnd;
  readonly nodeNumber: number;
  /** Null: its process is not running. */
  readonly relay: () => StreamEnd | null;
  readonly relayMachine: Machine;
  readonly relayNumber: number;
}

/** One node's bridge to one relay. */
export class Stream {
  /** What stands for the relay at the node, and for the node at the relay. */
  readonly relayEndpoint: Endpoint;
  readonly nodeEndpoint: Endpoint;
  readonly #world: PathWorld;
  readonly #node: StreamEnd;
  readonly #relay: () => StreamEnd | null;
  readonly #relayMachine: Machine;
  #state: 'closed' | 'opening' | 'open' = 'closed';
  #waiting: Uint8Array[] = [];
  /** Bumped when it breaks. */
  #incarnation = 0;
  #upAt = 0;
  #downAt = 0;

  constructor(options: StreamOptions) {
    this.#world = options.world;
    this.#node = options.node;
    this.#relay = options.relay;
    this.#relayMachine = options.relayMachine;
    this.relayEndpoint = formatEndpoint(LOOPBACK, RELAY_PORTS + options.relayNumber);
    this.nodeEndpoint = formatEndpoint(LOOPBACK, NODE_PORTS + options.nodeNumber);
  }

  #latencyMs(): number {
    return this.#node.machine.site.link.latencyMs + this.#relayMachine.site.link.latencyMs;
  }

  nodeSends(bytes: Uint8Array): void {
    if (this.#state === 'open') this.#up(bytes);
    else {
      if (this.#waiting.length < OPENING_MAX) this.#waiting.push(bytes);
      if (this.#state === 'closed') this.#open();
    }
  }

  relaySends(bytes: Uint8Array): void {
    if (this.#state !== 'open') return;
    this.#downAt = this.#later(this.#downAt, () => {
      this.#node.streamed(bytes, this.relayEndpoint, this.#relayMachine);
    });
  }

  /** The process at either end is gone, or a box on the way has forgotten it. */
  breaks(): void {
    this.#incarnation++;
    this.#state = 'closed';
    this.#waiting = [];
  }

  #open(): void {
    this.#state = 'opening';
    this.#upAt = 0;
    this.#downAt = 0;
    const incarnation = this.#incarnation;
    this.#world.schedule(ROUND_TRIPS_TO_OPEN * 2 * this.#latencyMs(), () => {
      if (incarnation !== this.#incarnation) return;
      if (this.#relay() === null) {
        this.breaks();
        return;
      }
      this.#state = 'open';
      add(this.#world.reached, 'streams.opened', 1);
      for (const bytes of this.#waiting.splice(0)) this.#up(bytes);
    });
  }

  #up(bytes: Uint8Array): void {
    this.#upAt = this.#later(this.#upAt, () => this.#relay()?.streamed(bytes, this.nodeEndpoint, this.#node.machine));
  }

  /** Not before what was sent before. */
  #later(before: number, arrives: () => void): number {
    const incarnation = this.#incarnation;
    const at = Math.max(before, this.#world.now + this.#latencyMs());
    this.#world.schedule(at - this.#world.now, () => {
      if (incarnation === this.#incarnation) arrives();
    });
    return at;
  }
}
