// Mesh engines under virtual time: nodes with any number of addresses in a simulated network, and a controller that is
// nothing but a delay: a test says what each node is told and when. Punches go over it as long as it is there.

import { toBase64 } from '../../../src/base/bytes.ts';
import { type Instant, NEVER, type WallTime } from '../../../src/base/instant.ts';
import { type Endpoint, endpointParts, formatEndpoint, type IpAddress, type IpPrefix } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import { nodeProvider } from '../../../src/crypto/node.ts';
import type { MemoryDataPlane } from '../../../src/dataplane/dataplane.ts';
import { createReferencePlane } from '../../../src/dataplane/reference/plane.ts';
import { MeshEngine, type Pong } from '../../../src/mesh/mesh-engine.ts';
import type { PunchRequest } from '../../../src/protocol/control.ts';
import type { Network as MeshNetwork, NetmapNode, NetmapOp } from '../../../src/protocol/netmap.ts';
import type { Home } from '../../../src/protocol/reach.ts';
import type { Candidate, NodeId, NodeName, PublicKeyText } from '../../../src/protocol/values.ts';
import { EventQueue } from '../../../src/sim/event-queue.ts';
import { type Datagram, Network } from '../../../src/sim/network.ts';
import { makePacket, readPacket } from '../../../src/sim/packets.ts';
import type { StampMemory } from '../../../src/wireguard/tai64n.ts';

export const EPOCH = 'AAAAAAAAAAAAAAAA';
export const NETWORK: MeshNetwork = {
  name: 'test',
  prefix4: '100.64.0.0/10' as IpPrefix,
  prefix6: 'fd77::/64' as IpPrefix,
};

export type Wire = 'initiation' | 'response' | 'keepalive' | 'ping' | 'pong' | 'data' | 'indication' | 'other';

/** No probe is due any more: nothing has had data for 30 s. */
const SETTLED_MS = 35_000;

export interface LogEntry {
  readonly at: number;
  readonly from: string;
  readonly to: Endpoint;
  readonly kind: Wire;
}

/** By their lengths: what the tests send is longer. */
/** Longer than anything that the tests send: a ping that looks how large a packet may be. */
const PADDED_MIN = 500;
const TRANSPORT: Readonly<Record<number, Wire>> = { 32: 'keepalive', 48: 'ping', 64: 'pong' };

function wireKind({ bytes }: Datagram): Wire {
  if (bytes[0] === 1) return 'initiation';
  if (bytes[0] === 2) return 'response';
  if (bytes[0] === 4) return bytes.length > PADDED_MIN ? 'ping' : (TRANSPORT[bytes.length] ?? 'data');
  return bytes[0] === 0 && bytes[1] === 0x11 && bytes.length === 20 ? 'indication' : 'other';
}

export interface Arrival {
  readonly at: number;
  readonly sequence: number;
  readonly source: IpAddress;
}

export class MeshNode {
  readonly world: MeshWorld;
  readonly name: string;
  readonly id: NodeId;
  endpoints: Endpoint[];
  /** Where datagrams come from unless the plane says otherwise; null: the first of its family. */
  leavesFrom: Endpoint | null = null;
  privateKey: Uint8Array;
  plane: MemoryDataPlane;
  mesh: MeshEngine;
  /** Position in the world's history of operations. */
  seq = 0;
  /** By how much its wall clock is ahead. */
  wallOffsetMs = 0;
  /** What outlives a restart, beside the key. */
  stamps: StampMemory | null = null;
  wakes = 0;
  changes = 0;
  readonly arrivals: Arrival[] = [];
  readonly pongs: Pong[] = [];
  readonly punches: { readonly at: number; readonly request: PunchRequest }[] = [];
  readonly seen: { readonly id: NodeId; readonly endpoint: Endpoint }[] = [];
  readonly homes: { readonly at: number; readonly home: Home | null }[] = [];
  readonly #prng: Prng;
  #timerAt: Instant = NEVER;
  #incarnation = 0;

  constructor(world: MeshWorld, name: string, id: number, endpoints: readonly Endpoint[]) {
    this.world = world;
    this.name = name;
    this.id = id as NodeId;
    this.endpoints = [...endpoints];
    this.#prng = world.prng.fork();
    this.privateKey = this.drawKey();
    this.plane = this.#makePlane();
    this.mesh = this.#makeMesh();
    this.attach();
  }

  drawKey(): Uint8Array {
    const key = new Uint8Array(32);
    this.#prng.fill(key);
    return key;
  }

  #makePlane(): MemoryDataPlane {
    const plane = createReferencePlane({ crypto: nodeProvider });
    plane.io.setNow(this.world.now);
    return plane;
  }

  #makeMesh(): MeshEngine {
    const { world } = this;
    const mesh = new MeshEngine({
      plane: this.plane,
      crypto: nodeProvider,
      random: (out) => this.#prng.fill(out),
      wallClock: () => (1_700_000_000_000 + world.now + this.wallOffsetMs) as WallTime,
      ...(this.stamps === null ? {} : { stamps: this.stamps }),
      outputs: {
        punch: (request) => {
          this.punches.push({ at: world.now, request });
          world.carryPunch(this, request);
        },
        pong: (pong) => this.pongs.push(pong),
        changed: () => {
          this.changes++;
        },
        observed: (seen) => this.seen.push(seen),
        home: (home) => {
          this.homes.push({ at: world.now, home });
          world.onHome(this, home);
        },
      },
      ...world.engineOptions,
    });
    mesh.setIdentity(this.privateKey, world.now);
    mesh.linkUp(world.now);
    mesh.setLocalCandidates(this.candidates(), world.now);
    return mesh;
  }

  /** A new process: nothing is remembered but the key. Its netmap has to be told again. */
  restart(): void {
    this.#incarnation++;
    this.#timerAt = NEVER;
    this.mesh.close(this.world.now);
    this.plane.close();
    this.plane = this.#makePlane();
    this.mesh = this.#makeMesh();
    this.seq = 0;
  }

  get address4(): IpAddress {
    return `100.64.0.${this.id}` as IpAddress;
  }

  get address6(): IpAddress {
    return `fd77::${this.id}` as IpAddress;
  }

  publicKeyOf(privateKey: Uint8Array): PublicKeyText {
    return toBase64(nodeProvider.importPrivateKey(privateKey).publicKey) as PublicKeyText;
  }

  candidates(): Candidate[] {
    return this.endpoints.map((endpoint) => ({ kind: 'host', endpoint }));
  }

  record(over: Partial<NetmapNode> = {}): NetmapNode {
    return {
      id: this.id,
      name: this.name as NodeName,
      publicKey: this.publicKeyOf(this.privateKey),
      address4: this.address4,
      address6: this.address6,
      tags: [],
      candidates: this.candidates(),
      online: true,
      ...over,
    };
  }

  attach(): void {
    for (const endpoint of this.endpoints) {
      this.world.network.attach(endpoint, (datagram) => {
        this.plane.io.setNow(this.world.now);
        this.plane.io.udpInput(datagram.bytes, datagram.source, endpoint);
        this.run();
      });
    }
  }

  /** Takes other addresses in the network; nobody is told. */
  move(endpoints: readonly Endpoint[]): void {
    for (const endpoint of this.endpoints) this.world.network.detach(endpoint);
    this.endpoints = [...endpoints];
    this.attach();
  }

  /** Does something to the mesh engine, and what that gives rise to. */
  act<T>(change: (mesh: MeshEngine, now: Instant) => T): T {
    this.plane.io.setNow(this.world.now);
    const result = change(this.mesh, this.world.now);
    this.run();
    return result;
  }

  /** Tells the node who it is and all of the netmap: `nodes`. */
  snapshot(nodes: readonly NetmapNode[]): void {
    this.act((mesh, now) => {
      mesh.setSelf(this.record(), NETWORK, now);
      mesh.applySnapshot({ type: 'snapshot', epoch: EPOCH, seq: this.seq, network: NETWORK, nodes: [...nodes] }, now);
    });
  }

  delta(...ops: NetmapOp[]): void {
    const result = this.act((mesh, now) =>
      mesh.applyDelta({ type: 'delta', from: this.seq, seq: this.seq + ops.length, ops, ack: false }, now),
    );
    if (result.kind !== 'applied') throw new Error(`the delta did not apply: ${result.reason}`);
    this.seq += ops.length;
  }

  /** One inner packet to the node that has `other`'s address. */
  send(other: MeshNode, sequence: number, to: IpAddress = other.address4): void {
    const from = to.includes(':') ? this.address6 : this.address4;
    this.plane.io.setNow(this.world.now);
    this.plane.io.tunInput(makePacket(from, to, sequence));
    this.run();
  }

  sequencesFrom(other: MeshNode): number[] {
    const from = [other.address4, other.address6];
    return this.arrivals.filter(({ source }) => from.includes(source)).map(({ sequence }) => sequence);
  }

  stateOf(other: MeshNode): string {
    return this.mesh.status(other.id, this.world.now)?.state ?? 'none';
  }

  reasonFor(other: MeshNode): string | null {
    return this.mesh.status(other.id, this.world.now)?.reason ?? null;
  }

  /** Runs the engine until it has nothing left, sends what came out, and sets the next timer. */
  run(): void {
    const { now } = this.world;
    this.plane.io.setNow(now);
    this.wakes++;
    while (this.mesh.handleWake(now)) this.#flush();
    this.#flush();
    const next = this.mesh.nextDeadline();
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
      const from = source !== null && this.endpoints.includes(source) ? source : this.#sourceFor(destination);
      if (from !== null) this.world.network.send({ bytes: datagram, source: from, destination });
    }
    for (const packet of this.plane.io.takeTunOutput()) {
      const info = readPacket(packet);
      if (info !== null) this.arrivals.push({ at: this.world.now, sequence: info.sequence, source: info.source });
    }
  }

  /** The first address of the destination's family; none: there is no way. */
  #sourceFor(destination: Endpoint): Endpoint | null {
    if (this.leavesFrom !== null) return this.leavesFrom;
    const six = destination.startsWith('[');
    return this.endpoints.find((endpoint) => endpoint.startsWith('[') === six) ?? null;
  }
}

export class MeshWorld {
  readonly prng: Prng;
  readonly network: Network;
  readonly nodes: MeshNode[] = [];
  readonly log: LogEntry[] = [];
  readonly engineOptions: { idleTimeoutMs?: number; peersMax?: number };
  /** From a node to the controller, or back. */
  controllerLegMs = 10;
  controllerAway = false;
  /** Punches for which this is true are lost. */
  losesPunch: (from: MeshNode, request: PunchRequest) => boolean = () => false;
  onHome: (node: MeshNode, home: Home | null) => void = () => {};
  readonly #events = new EventQueue();
  #now = 1_000_000 as Instant;

  constructor(seed = 1, engineOptions: { idleTimeoutMs?: number; peersMax?: number } = {}) {
    this.prng = new Prng(seed);
    this.engineOptions = engineOptions;
    this.network = new Network(this, this.prng.fork());
    this.network.taps.push((datagram) => {
      const from = this.nodes.find(({ endpoints }) => endpoints.includes(datagram.source))?.name ?? '?';
      this.log.push({ at: this.#now, from, to: datagram.destination, kind: wireKind(datagram) });
    });
  }

  get now(): Instant {
    return this.#now;
  }

  /** `addresses`: how many; number n is at 192.0.2.n, 198.51.100.n, 203.0.113.n. */
  addNode(name: string, addresses = 1): MeshNode {
    const id = this.nodes.length + 1;
    const prefixes = ['192.0.2', '198.51.100', '203.0.113'];
    const endpoints = prefixes
      .slice(0, addresses)
      .map((prefix) => formatEndpoint(`${prefix}.${id}` as IpAddress, 51_820));
    const node = new MeshNode(this, name, id, endpoints);
    this.nodes.push(node);
    return node;
  }

  /** Everyone is told of everyone. */
  tellAll(): void {
    for (const node of this.nodes) {
      node.snapshot(this.nodes.map((other) => other.record()));
    }
  }

  carryPunch(from: MeshNode, request: PunchRequest): void {
    if (this.controllerAway || this.losesPunch(from, request)) return;
    this.schedule(2 * this.controllerLegMs, () => {
      const to = this.nodes.find(({ id }) => id === request.to);
      const { txid, reply, candidates, reach } = request;
      to?.act((mesh, now) => mesh.handlePunch({ type: 'punch', from: from.id, txid, reply, candidates, reach }, now));
    });
  }

  schedule(delayMs: number, run: () => void): void {
    this.#events.add((this.#now + delayMs) as Instant, run);
  }

  run(durationMs: number): void {
    const end = (this.#now + durationMs) as Instant;
    for (let at = this.#events.nextAt(); at !== null && at <= end; at = this.#events.nextAt()) {
      this.#now = at;
      this.#events.take()?.run();
    }
    this.#now = end;
  }

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

  /** `alice:initiation`, in order, since `from` (an index into the log). */
  wire(from = 0): string[] {
    return this.log.slice(from).map((entry) => `${entry.from}:${entry.kind}`);
  }

  /** As `wire`, without what paths are found with. */
  wireButProbes(from = 0): string[] {
    return this.wire(from).filter((entry) => !entry.endsWith(':ping') && !entry.endsWith(':pong'));
  }

  count(from: string, kind: Wire, since = 0): number {
    return this.log.filter((entry) => entry.from === from && entry.kind === kind && entry.at >= since).length;
  }

  /** Instants at which `from` sent this kind, each once. */
  times(from: string, kind: Wire): number[] {
    return [...new Set(this.log.filter((e) => e.from === from && e.kind === kind).map((e) => e.at))];
  }
}

/** Two nodes that know each other and are idle. */
export function meshPair(addresses = 1, seed = 1): { world: MeshWorld; alice: MeshNode; bob: MeshNode } {
  const world = new MeshWorld(seed);
  const alice = world.addNode('alice', addresses);
  const bob = world.addNode('bob', addresses);
  world.tellAll();
  return { world, alice, bob };
}

/** As `meshPair`, with a session that has carried a packet each way, and paths that have been found. What was logged is forgotten. */
export function connectedMeshPair(addresses = 1, seed = 1): { world: MeshWorld; alice: MeshNode; bob: MeshNode } {
  const pair = meshPair(addresses, seed);
  const { world, alice, bob } = pair;
  alice.send(bob, 1);
  world.run(100);
  bob.send(alice, 1);
  world.run(SETTLED_MS);
  if (alice.stateOf(bob) !== 'established' || bob.stateOf(alice) !== 'established') {
    throw new Error('the fixture could not connect its nodes');
  }
  world.log.length = 0;
  for (const node of [alice, bob]) {
    node.arrivals.length = 0;
    node.seen.length = 0;
    node.punches.length = 0;
    node.mesh.counters.counts.pongsMatched = 0;
    node.mesh.counters.counts.pingsAnswered = 0;
  }
  return pair;
}

export function portOf(endpoint: Endpoint): number {
  return endpointParts(endpoint).port;
}
