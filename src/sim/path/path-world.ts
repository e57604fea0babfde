// The world of the path simulation: virtual time, a ground of sites and boxes, one controller, relays, nodes, and the connections
// of all of them to the controller. Everything that happens is an event; a run is a function of its seed.

import { ascii } from '../../base/bytes.ts';
import type { Instant } from '../../base/instant.ts';
import type { IpPrefix } from '../../base/ip.ts';
import { Prng } from '../../base/prng.ts';
import type { ConnectionId } from '../../controller/state/commands.ts';
import type { CryptoProvider } from '../../crypto/provider.ts';
import type { MemoryDataPlane } from '../../dataplane/dataplane.ts';
import type { PublicKeyText } from '../../protocol/values.ts';
import { Digest } from '../digest.ts';
import { EventQueue } from '../event-queue.ts';
import { type ControlConditions, ControlStream, type NodeEnd } from '../mesh/control-stream.ts';
import { ControllerHost } from '../mesh/controller-host.ts';
import type { Reached } from '../mesh/reached.ts';
import type { Place } from '../nat/kinds.ts';
import type { Machine } from '../nat/sites.ts';
import { type Scheduler, Topology } from '../nat/topology.ts';
import { outsideAddress } from './outside.ts';

export interface PathWorldOptions {
  readonly seed: number;
  readonly crypto: CryptoProvider;
  readonly sha256: (data: Uint8Array) => Uint8Array;
  readonly makePlane: () => MemoryDataPlane;
}

/** An arbitrary start, so that no rule works by accident because time begins at zero. */
const START = 1_000_000 as Instant;
const PING_INTERVAL_MS = 20_000;
const VIOLATIONS_MAX = 10;
const NOTED_BYTES = 128;
const LENGTHS = 2_048;
const CONTROL: Readonly<ControlConditions> = { latencyMs: 15, jitterMs: 5, writeMs: 1 };

/** In a data centre: no box, both families. */
export const SERVER_PLACE: Place = { ipv4: [], ipv6: [], tcpPorts: 'any' };

/** Whoever has a connection to the controller. */
export interface Member extends NodeEnd {
  readonly name: string;
  readonly machine: Machine;
  /** The controller cannot be reached from there until then. */
  controllerCutUntil: number;
  readonly isReachable: boolean;
  /** No connection came of it. */
  unreachable(number: number): void;
}

export class PathWorld implements Scheduler {
  readonly prng: Prng;
  readonly options: PathWorldOptions;
  readonly topology: Topology;
  readonly controller: ControllerHost;
  readonly digest = new Digest();
  readonly reached: Reached = {};
  readonly counts = { connections: 0, controlMessages: 0, events: 0 };
  /** What happened, in words, with its instant: the story of a failed run. */
  readonly story: string[] = [];
  readonly violations: string[] = [];
  readonly #events = new EventQueue();
  #now: Instant = START;

  constructor(options: PathWorldOptions) {
    this.options = options;
    this.prng = new Prng(options.seed);
    this.topology = new Topology(this, this.prng.fork());
    this.controller = new ControllerHost(
      {
        settings: {
          networkName: 'simulated',
          prefix4: '10.77.0.0/16' as IpPrefix,
          prefix6: 'fd77::/64' as IpPrefix,
          requireApproval: false,
          epoch: 'simulated_epoch0',
          nextNodeId: 1,
          nextHost: 2,
          nextAuditId: 1,
        },
        limits: { loggedOpsMax: 4_096, pingIntervalMs: PING_INTERVAL_MS },
        sha256: options.sha256,
        reached: this.reached,
        onOutput: () => undefined,
      },
      this,
      this.prng.fork(),
    );
    this.topology.taps.push((_from, { bytes }) => this.note(bytes));
  }

  get now(): Instant {
    return this.#now;
  }

  /** Into the digest, with its length: in the first bytes is what makes each datagram another. */
  note(bytes: Uint8Array): void {
    const noted = bytes.length > NOTED_BYTES ? bytes.subarray(0, NOTED_BYTES) : bytes;
    this.digest.add(Math.floor(this.#now) * LENGTHS + (bytes.length % LENGTHS), noted);
  }

  tell(what: string): void {
    this.story.push(`${this.#time()} ${what}`);
  }

  violated(what: string): void {
    if (this.violations.length < VIOLATIONS_MAX) this.violations.push(`${this.#time()} ${what}`);
  }

  #time(): string {
    return ((this.#now - START) / 1000).toFixed(3);
  }

  // — time —

  schedule(delayMs: number, run: () => void): void {
    this.#events.add((this.#now + delayMs) as Instant, run);
  }

  /** Runs every event up to `durationMs` from now, and leaves the clock there. */
  run(durationMs: number): void {
    this.runUntil(() => false, durationMs);
  }

  /** Runs until `condition` holds or `limitMs` have passed; whether it came to hold. */
  runUntil(condition: () => boolean, limitMs: number): boolean {
    const end = (this.#now + limitMs) as Instant;
    while (!condition()) {
      const at = this.#events.nextAt();
      if (at === null || at > end) {
        this.#now = end;
        return condition();
      }
      this.#now = at;
      this.counts.events++;
      this.#events.take()?.run();
    }
    return true;
  }

  // — connections to the controller —

  connect(member: Member, number: number, publicKey: PublicKeyText): ControlStream | null {
    if (member.controllerCutUntil > this.#now || !this.controller.running) {
      this.schedule(2 * CONTROL.latencyMs, () => member.unreachable(number));
      return null;
    }
    return new ControlStream({
      id: ++this.counts.connections as ConnectionId,
      publicKey,
      remoteAddress: outsideAddress(member.machine),
      conditions: () => CONTROL,
      pingIntervalMs: PING_INTERVAL_MS,
      node: member,
      controller: this.controller,
      scheduler: this,
      prng: this.prng.fork(),
      trusts: true,
      tap: (text) => {
        this.counts.controlMessages++;
        this.note(ascii(text));
      },
    });
  }
}
