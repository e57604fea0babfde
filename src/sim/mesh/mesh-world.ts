// The simulated mesh: virtual time, one network, one controller, any number of machines, and the connections between them.
// Everything that happens is an event; a run is a function of its seed.

import { ascii } from '../../base/bytes.ts';
import type { Instant } from '../../base/instant.ts';
import { type Endpoint, formatEndpoint, type IpAddress, type IpPrefix } from '../../base/ip.ts';
import { Prng } from '../../base/prng.ts';
import { HOST_MIN, hostMax } from '../../controller/state/addresses.ts';
import type { ConnectionId } from '../../controller/state/commands.ts';
import type { Settings } from '../../controller/state/model.ts';
import type { CoreLimits } from '../../controller/state/options.ts';
import type { CryptoProvider } from '../../crypto/provider.ts';
import type { MemoryDataPlane } from '../../dataplane/dataplane.ts';
import { Digest } from '../digest.ts';
import { EventQueue } from '../event-queue.ts';
import { Network, type Scheduler } from '../network.ts';
import { Committed } from './committed.ts';
import { type ControlConditions, ControlStream } from './control-stream.ts';
import { ControllerHost, STORED_OPS_MAX } from './controller-host.ts';
import { type KeyPair, NodeHost } from './node-host.ts';
import { addCounters, type Reached } from './reached.ts';
import { Traffic } from './traffic.ts';

export interface MeshWorldOptions {
  readonly seed: number;
  readonly crypto: CryptoProvider;
  readonly sha256: (data: Uint8Array) => Uint8Array;
  readonly makePlane: () => MemoryDataPlane;
  /** How many machines there will be at the end. */
  readonly machines: number;
}

export const GOOD_CONTROL: Readonly<ControlConditions> = { latencyMs: 10, jitterMs: 2, writeMs: 1 };

/** An arbitrary start, so that no rule works by accident because time begins at zero. */
const START = 1_000_000 as Instant;
const PING_INTERVAL_MS = 20_000;
const PORT = 51_820;
const VIOLATIONS_MAX = 10;

export class MeshWorld implements Scheduler {
  readonly prng: Prng;
  readonly network: Network;
  readonly controller: ControllerHost;
  readonly hosts: NodeHost[] = [];
  readonly committed: Committed;
  readonly traffic: Traffic;
  readonly digest = new Digest();
  readonly limits: Partial<CoreLimits> & Pick<CoreLimits, 'loggedOpsMax' | 'ownMessagesMax'>;
  control: ControlConditions = { ...GOOD_CONTROL };
  readonly counts = { connections: 0, controlMessages: 0, resyncs: 0 };
  readonly reached: Reached = {};
  /** What happened, in words, with its instant: the story of a failed run. */
  readonly story: string[] = [];
  readonly #violations: string[] = [];
  readonly #options: MeshWorldOptions;
  readonly #events = new EventQueue();
  #now: Instant = START;
  #moves = 0;

  constructor(options: MeshWorldOptions) {
    this.#options = options;
    this.prng = new Prng(options.seed);
    this.network = new Network(this, this.prng.fork());
    const violated = (what: string): void => {
      if (this.#violations.length < VIOLATIONS_MAX) this.#violations.push(`${this.#time()} ${what}`);
    };
    this.committed = new Committed(violated);
    this.traffic = new Traffic(violated);
    this.limits = drawLimits(this.prng);
    this.controller = new ControllerHost(
      {
        settings: drawSettings(this.prng, options.machines),
        limits: this.limits,
        sha256: options.sha256,
        reached: this.reached,
        onOutput: (output) => this.committed.told(output),
      },
      this,
      this.prng.fork(),
    );
    this.controller.store.onDurable = (changes) => this.committed.durable(changes);
    this.network.taps.push((datagram) => {
      this.digest.add(this.#now, datagram.bytes);
      this.traffic.checkWire(datagram);
    });
  }

  get now(): Instant {
    return this.#now;
  }

  get violations(): readonly string[] {
    return [...this.#violations, ...this.traffic.wire.violations];
  }

  /** How many nodes the range of addresses holds. */
  get capacity(): number {
    return hostMax(this.controller.store.settings) - HOST_MIN + 1;
  }

  tell(what: string): void {
    this.story.push(`${this.#time()} ${what}`);
  }

  violated(what: string): void {
    if (this.#violations.length < VIOLATIONS_MAX) this.#violations.push(`${this.#time()} ${what}`);
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
      this.#events.take()?.run();
    }
    return true;
  }

  // — machines —

  /** Machine number n is at 192.0.2.n:51820, and nowhere in the mesh yet. */
  addHost(): NodeHost {
    const number = this.hosts.length + 1;
    const name = `host${number}`;
    const host = new NodeHost(
      {
        name,
        endpoint: formatEndpoint(`192.0.2.${number}` as IpAddress, PORT),
        crypto: this.#options.crypto,
        makePlane: this.#options.makePlane,
        firewall: this.prng.chance(0.4),
        tellsAddress: this.prng.chance(0.6),
      },
      {
        connect: (from, connection, key) => this.#connect(from, connection, key),
        started: (at) => this.traffic.wire.noteForgotten(at),
        received: (at, packet) => this.traffic.received(at, packet),
        beforeNetmap: (at) => this.traffic.beforeNetmap(at),
        afterNetmap: (at, changes) => this.traffic.afterNetmap(at, changes),
        reached: this.reached,
        resynced: (at, reason) => {
          // A controller that is whole and streams that keep their order give no reason for one.
          this.counts.resyncs++;
          this.violated(`${at.name} asks for a resync: ${reason}`);
        },
      },
      this,
      this.network,
      this.prng.fork(),
    );
    this.traffic.owns(host.endpoint, host);
    this.hosts.push(host);
    return host;
  }

  /** An address that nobody has had. */
  newEndpoint(host: NodeHost): Endpoint {
    const number = ++this.#moves;
    const endpoint = formatEndpoint(`203.0.${(number >> 8) & 255}.${number & 255}` as IpAddress, PORT);
    this.traffic.owns(endpoint, host);
    return endpoint;
  }

  // — connections to the controller —

  #connect(host: NodeHost, number: number, key: KeyPair): ControlStream | null {
    const { latencyMs } = this.control;
    if (host.controllerCutUntil > this.#now) {
      // Sometimes the network says so, sometimes nobody does.
      if (this.prng.chance(0.5)) this.schedule(latencyMs, () => host.unreachable(number));
      return null;
    }
    if (!this.controller.running) {
      this.schedule(2 * latencyMs, () => host.unreachable(number));
      return null;
    }
    return new ControlStream({
      id: ++this.counts.connections as ConnectionId,
      publicKey: key.publicKey,
      remoteAddress: host.address,
      conditions: () => this.control,
      pingIntervalMs: PING_INTERVAL_MS,
      node: host,
      controller: this.controller,
      scheduler: this,
      prng: this.prng.fork(),
      tap: (text) => {
        this.counts.controlMessages++;
        this.digest.add(this.#now, ascii(text));
      },
    });
  }

  /** At the end of the run. */
  countAll(): void {
    this.controller.count();
    for (const host of this.hosts) host.count();
    addCounters(this.reached, 'store', this.controller.store.counts);
    addCounters(this.reached, 'told', this.committed.counts);
  }

  // — what must hold at every moment —

  check(): void {
    for (const host of this.hosts) this.traffic.checkLimits(host);
    const { ownMessagesMax } = this.limits;
    for (const stream of this.controller.streams()) {
      // One error may follow what is allowed.
      if (stream.queued > ownMessagesMax + 2) this.violated(`${stream.queued} messages wait for one connection`);
      if (stream.netmapsQueued > 1) this.violated(`${stream.netmapsQueued} netmap messages wait for one connection`);
    }
    if (this.controller.store.log.length > STORED_OPS_MAX)
      this.violated('the log of operations is longer than allowed');
  }
}

/** Small enough that a run meets them. */
function drawLimits(prng: Prng): MeshWorld['limits'] {
  return {
    loggedOpsMax: prng.pick([16, 64, 4_096]),
    deltaOpsMax: prng.pick([8, 10_000]),
    snapshotLagMin: prng.pick([2, 64]),
    fanOutCostMs: prng.pick([0.05, 10]),
    ephemeralMs: prng.pick([20_000, 60_000]),
    restartGraceMs: prng.pick([30_000, 90_000]),
    offlineGraceMs: prng.pick([2_000, 10_000]),
    pingIntervalMs: PING_INTERVAL_MS,
    ownMessagesMax: prng.pick([32, 128]),
    punchesQueuedMax: prng.pick([4, 64]),
    punchBurst: prng.pick([2, 5]),
    candidatesBurst: prng.pick([3, 10]),
  };
}

function drawSettings(prng: Prng, machines: number): Settings {
  return {
    networkName: 'simulated',
    prefix4: prng.pick(['10.77.0.0/16', tightRange(machines)]) as IpPrefix,
    prefix6: 'fd77::/64' as IpPrefix,
    requireApproval: prng.chance(0.2),
    epoch: 'simulated_epoch0',
    nextNodeId: 1,
    nextHost: 2,
    nextAuditId: 1,
  };
}

/** With room for half of the machines, or a few more. */
function tightRange(machines: number): string {
  let length = 29;
  while (2 ** (32 - length) - 3 < machines / 2) length--;
  return `10.77.0.0/${length}`;
}
