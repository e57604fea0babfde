// Relays in the tests' world: the relay's own engine over a plane in memory, at addresses of its own; and firewalls in front of nodes,
// which let in what was asked for, or nothing but what comes from relays.

import { fromBase64, toBase64 } from '../../../src/base/bytes.ts';
import { type Instant, NEVER, type WallTime } from '../../../src/base/instant.ts';
import { type Endpoint, endpointParts, formatEndpoint, type IpAddress } from '../../../src/base/ip.ts';
import { nodeProvider } from '../../../src/crypto/node.ts';
import type { MemoryDataPlane } from '../../../src/dataplane/dataplane.ts';
import { createReferencePlane } from '../../../src/dataplane/reference/plane.ts';
import type { Snapshot } from '../../../src/protocol/control.ts';
import type { NetmapNode } from '../../../src/protocol/netmap.ts';
import { type Home, RELAY_TAG } from '../../../src/protocol/reach.ts';
import type { NodeId, NodeName, PublicKeyText } from '../../../src/protocol/values.ts';
import { RelayEngine } from '../../../src/relay/engine/relay-engine.ts';
import type { Datagram } from '../../../src/sim/network.ts';
import { EPOCH, type MeshNode, type MeshWorld, NETWORK } from './mesh-world.ts';

const PORT = 7_370;

export class RelayNode {
  readonly world: MeshWorld;
  readonly name: string;
  readonly id: NodeId;
  readonly endpoints: Endpoint[];
  readonly privateKey = new Uint8Array(32);
  readonly #slotSecret = new Uint8Array(32);
  plane: MemoryDataPlane;
  engine: RelayEngine;
  running = true;
  #timerAt: Instant = NEVER;
  #incarnation = 0;

  constructor(world: MeshWorld, n: number, addresses = 1) {
    this.world = world;
    this.name = `relay${n}`;
    this.id = (100 + n) as NodeId;
    this.endpoints = ['203.0.113', '198.18.0']
      .slice(0, addresses)
      .map((prefix) => formatEndpoint(`${prefix}.${200 + n}` as IpAddress, PORT));
    world.prng.fill(this.privateKey);
    world.prng.fill(this.#slotSecret);
    this.plane = this.#makePlane();
    this.engine = this.#makeEngine();
    for (const endpoint of this.endpoints) {
      world.network.attach(endpoint, (datagram) => this.#arrived(datagram, endpoint));
    }
  }

  #makePlane(): MemoryDataPlane {
    const plane = createReferencePlane({ crypto: nodeProvider });
    plane.io.setNow(this.world.now);
    return plane;
  }

  #makeEngine(): RelayEngine {
    const { world } = this;
    const engine = new RelayEngine({
      plane: this.plane,
      crypto: nodeProvider,
      random: (out) => world.prng.fill(out),
      wallClock: () => (1_700_000_000_000 + world.now) as WallTime,
      slotSecret: this.#slotSecret,
    });
    engine.setIdentity(this.privateKey, world.now);
    engine.linkUp(PORT, world.now);
    return engine;
  }

  record(over: Partial<NetmapNode> = {}): NetmapNode {
    return {
      id: this.id,
      name: this.name as NodeName,
      publicKey: toBase64(nodeProvider.importPrivateKey(this.privateKey).publicKey) as PublicKeyText,
      address4: `100.64.1.${this.id - 100}` as IpAddress,
      address6: `fd77::1:${this.id - 100}` as IpAddress,
      tags: [RELAY_TAG],
      candidates: this.endpoints.map((endpoint) => ({ kind: 'host', endpoint })),
      reach: null,
      online: true,
      ...over,
    };
  }

  /** Tells the relay who is a member. */
  tell(nodes: readonly NetmapNode[]): void {
    this.plane.io.setNow(this.world.now);
    this.engine.setSelf(this.record(), NETWORK, this.world.now);
    const snapshot: Snapshot = { type: 'snapshot', epoch: EPOCH, seq: 0, network: NETWORK, nodes: [...nodes] };
    this.engine.applySnapshot(snapshot, this.world.now);
    this.run();
  }

  /** The process is gone without a word. */
  stop(): void {
    this.running = false;
    this.#incarnation++;
    this.#timerAt = NEVER;
    this.engine.close(this.world.now);
    this.plane.close();
  }

  /** A new process with the same key and secret. */
  restart(nodes: readonly NetmapNode[]): void {
    if (this.running) this.stop();
    this.plane = this.#makePlane();
    this.engine = this.#makeEngine();
    this.running = true;
    this.tell(nodes);
  }

  drain(seconds: number): void {
    this.plane.io.setNow(this.world.now);
    this.engine.drain(seconds, this.world.now);
    this.run();
  }

  /** Datagrams that it has forwarded. */
  get forwarded(): number {
    return this.plane.totals().relayPackets;
  }

  #arrived(datagram: Datagram, local: Endpoint): void {
    if (!this.running) return;
    this.plane.io.setNow(this.world.now);
    this.plane.io.udpInput(datagram.bytes, datagram.source, local);
    this.run();
  }

  run(): void {
    const { now } = this.world;
    this.plane.io.setNow(now);
    while (this.engine.handleWake(now)) this.#flush();
    this.#flush();
    const next = this.engine.nextDeadline();
    if (next === this.#timerAt) return;
    this.#timerAt = next;
    if (next === NEVER) return;
    const incarnation = this.#incarnation;
    this.world.schedule(Math.max(0, next - now), () => {
      if (incarnation !== this.#incarnation || this.#timerAt !== next) return;
      this.#timerAt = NEVER;
      this.run();
    });
  }

  #flush(): void {
    for (const { datagram, destination, source } of this.plane.io.takeUdpOutput()) {
      const from = source ?? (this.endpoints[0] as Endpoint);
      this.world.network.send({ bytes: datagram, source: from, destination });
    }
  }
}

/** Relays 1 … n, and everyone told of everyone, homes included as soon as they are known. */
export class RelayedWorld {
  readonly world: MeshWorld;
  readonly relays: RelayNode[];
  /** Nodes whose word of their home does not reach the others. */
  readonly unheard = new Set<MeshNode>();

  constructor(world: MeshWorld, relays: number, addresses = 1) {
    this.world = world;
    this.relays = Array.from({ length: relays }, (_, i) => new RelayNode(world, i + 1, addresses));
    world.onHome = (node, home) => this.#told(node, home);
  }

  records(): NetmapNode[] {
    return [...this.world.nodes.map((node) => this.recordOf(node)), ...this.relays.map((relay) => relay.record())];
  }

  recordOf(node: MeshNode): NetmapNode {
    const home = this.unheard.has(node) ? null : (node.homes.at(-1)?.home ?? null);
    return node.record({ reach: home === null ? null : { home, mapping: 'unknown', udp: 'works', url: null } });
  }

  tellAll(): void {
    for (const relay of this.relays) if (relay.running) relay.tell(this.records());
    for (const node of this.world.nodes) node.snapshot(this.records());
  }

  #told(node: MeshNode, _home: Home | null): void {
    if (this.unheard.has(node)) return;
    this.world.schedule(2 * this.world.controllerLegMs, () => {
      const { id, candidates, reach } = this.recordOf(node);
      for (const other of this.world.nodes) {
        if (other !== node && other.mesh.netmap.node(id) !== undefined) {
          other.delta({ op: 'candidates', id, candidates, reach: reach ?? null });
        }
      }
    });
  }
}

/** Nothing but relayed datagrams passes between nodes: every direct one is lost. */
export function onlyRelays(world: MeshWorld, relays: readonly RelayNode[]): void {
  const places = new Set(relays.flatMap(({ endpoints }) => endpoints));
  world.network.blocked = ({ source, destination }) => !places.has(source) && !places.has(destination);
}

/** In front of the nodes: each lets in of the others' only what comes from an address and port that it has sent to. */
export function firewalled(world: MeshWorld, ...nodes: readonly MeshNode[]): void {
  const opened = new Set<string>();
  world.network.taps.push(({ source, destination }) => opened.add(`${source} ${destination}`));
  const before = world.network.blocked;
  world.network.blocked = (datagram) => {
    const { source, destination } = datagram;
    if (before(datagram)) return true;
    const guarded = [source, destination].every((end) => nodes.some(({ endpoints }) => endpoints.includes(end)));
    return guarded && !opened.has(`${destination} ${source}`);
  };
}

export const addressOf = (endpoint: Endpoint): IpAddress => endpointParts(endpoint).address;
export const slotBytes = (home: Home): Uint8Array =>
  fromBase64(Buffer.from(home.slot, 'hex').toString('base64'), 8) ?? new Uint8Array(8);
