// One node of the path simulation: the real mesh engine over a plane in memory, the real control client, STUN from the tunnel's
// socket, and a machine on the simulated ground. It does what the daemon's shell does. Leaves out interfaces, files, key
// rotation and being locked out, which the simulation of meshes has (src/sim/mesh).

import { toBase64, toHex } from '../../base/bytes.ts';
import { type Instant, NEVER, type WallTime } from '../../base/instant.ts';
import type { Endpoint, IpAddress } from '../../base/ip.ts';
import type { Prng } from '../../base/prng.ts';
import type { MemoryDataPlane } from '../../dataplane/dataplane.ts';
import { type CloseReason, ControlClient, type ControlOutputs } from '../../mesh/control-client.ts';
import { MeshEngine } from '../../mesh/mesh-engine.ts';
import type { SavedNetmap } from '../../mesh/netmap.ts';
import type { ControllerMessage, PunchRequest } from '../../protocol/control.ts';
import { RELAY_TAG, type Reach } from '../../protocol/reach.ts';
import type { Candidate, NodeId, PublicKeyText } from '../../protocol/values.ts';
import type { ControlStream } from '../mesh/control-stream.ts';
import { addCounters } from '../mesh/reached.ts';
import { WALL_EPOCH_MS } from '../mesh/wall.ts';
import type { Datagram, Machine } from '../nat/sites.ts';
import { makePacket } from '../packets.ts';
import { endpointsOf } from './outside.ts';
import type { Member, PathWorld } from './path-world.ts';
import { isLoopback, type Stream, type StreamEnd } from './stream.ts';
import { Whereabouts } from './whereabouts.ts';

export const TUNNEL_PORT = 51_820;
/** No packet of this simulation is larger: what is, is a ping that asks for the MTU, and may not be fragmented. */
const DATA_BYTES_MAX = 500;

export interface PathNodeEvents {
  /** A packet came out of the tunnel, in a datagram that the machine `carrier` had sent. */
  received(node: PathNode, packet: Uint8Array, carrier: Machine | null): void;
  /** A datagram leaves by the bridge to a relay. */
  streams(node: PathNode, datagram: Datagram): void;
  /** A process begins: it remembers nothing of what it has answered. */
  started(node: PathNode): void;
}

/** What a node that lies tells instead of the truth; the identity for all others. */
export interface Lies {
  candidates(candidates: readonly Candidate[]): readonly Candidate[];
  punch(request: PunchRequest): PunchRequest;
}

export const HONEST: Lies = { candidates: (candidates) => candidates, punch: (request) => request };

export interface PathNodeOptions {
  readonly name: string;
  readonly machine: Machine;
  /** Of STUN. */
  readonly servers: readonly Endpoint[];
  /** A way to the relay by WebSocket; null: it offers none. */
  readonly openStream: (node: PathNode, relay: NodeId) => Stream | null;
  readonly lies?: Lies;
}

/** The process. */
interface Running {
  readonly plane: MemoryDataPlane;
  readonly mesh: MeshEngine;
  readonly client: ControlClient;
  readonly whereabouts: Whereabouts;
  stream: ControlStream | null;
  number: number;
  /** Ways to relays by WebSocket, by what stands for the relay; only where UDP is blocked. */
  readonly bridges: Map<Endpoint, Stream>;
}

export class PathNode implements Member, StreamEnd {
  readonly name: string;
  readonly machine: Machine;
  readonly publicKey: PublicKeyText;
  readonly publicKeyHex: string;
  controllerCutUntil = 0;
  running: Running | null = null;
  /** Wake-ups of the mesh engine: an idle node's must not grow. */
  wakes = 0;
  readonly #options: PathNodeOptions;
  readonly #events: PathNodeEvents;
  readonly #world: PathWorld;
  readonly #prng: Prng;
  readonly #secret = new Uint8Array(32);
  #saved: SavedNetmap | null = null;
  #incarnation = 0;
  #timerAt: Instant = NEVER;
  #whereaboutsDiffer = false;
  #carrier: Machine | null = null;
  readonly #bridged = new Set<NodeId>();

  constructor(options: PathNodeOptions, events: PathNodeEvents, world: PathWorld) {
    this.name = options.name;
    this.machine = options.machine;
    this.#options = options;
    this.#events = events;
    this.#world = world;
    this.#prng = world.prng.fork();
    this.#prng.fill(this.#secret);
    const { publicKey } = world.options.crypto.importPrivateKey(this.#secret);
    this.publicKey = toBase64(publicKey) as PublicKeyText;
    this.publicKeyHex = toHex(publicKey);
  }

  get mesh(): MeshEngine | null {
    return this.running?.mesh ?? null;
  }

  get id(): NodeId | null {
    return this.mesh?.netmap.self?.id ?? null;
  }

  get isConnected(): boolean {
    return this.running?.client.status().state === 'connected';
  }

  /** Connected, and not by a connection that is dead without its knowing. */
  get isReachable(): boolean {
    return this.isConnected && this.running?.stream?.isSilent === false;
  }

  /** Relays are reached by WebSocket. */
  get isBridged(): boolean {
    return this.#bridged.size > 0;
  }

  address(family: 4 | 6): IpAddress | null {
    const self = this.mesh?.netmap.self ?? null;
    return self === null ? null : family === 4 ? self.address4 : self.address6;
  }

  // — the process —

  /** `authKey`: of the join link, for a node that is not a member yet. */
  start(authKey: string | null): void {
    if (this.running !== null) return;
    const { now, options } = this.#world;
    const random = (out: Uint8Array): void => this.#prng.fill(out);
    const wallClock = (): WallTime => (WALL_EPOCH_MS + this.#world.now) as WallTime;
    const plane = options.makePlane();
    plane.io.setNow(now);
    const mesh = new MeshEngine({
      plane,
      crypto: options.crypto,
      random,
      wallClock,
      outputs: {
        punch: (request) => this.running?.client.punch((this.#options.lies ?? HONEST).punch(request)),
        pong: () => undefined,
        changed: () => undefined,
        stun: (datagram, source) => this.running?.whereabouts.handleDatagram(datagram, source, this.#world.now),
        observed: (seen) => this.running?.whereabouts.saw(seen),
        home: () => {
          this.#whereaboutsDiffer = true;
        },
      },
    });
    const client = new ControlClient({
      random,
      wallClock,
      outputs: this.#outputs(),
      software: 'simulated',
      os: 'simulated',
    });
    const whereabouts = new Whereabouts({
      random,
      servers: this.#options.servers,
      send: (to, datagram) => mesh.sendStun(to, datagram),
      changed: () => {
        this.#whereaboutsDiffer = true;
      },
    });
    this.running = { plane, mesh, client, whereabouts, stream: null, number: 0, bridges: new Map() };
    this.#timerAt = NEVER;
    this.#events.started(this);
    mesh.setIdentity(this.#secret, now);
    mesh.setListenPort(TUNNEL_PORT, now);
    mesh.linkUp(now);
    this.machine.open(TUNNEL_PORT, (datagram, from) => this.#arrived(datagram, from));
    if (this.#saved !== null) mesh.restore(this.#saved, now);
    this.#tellWhereabouts();
    whereabouts.networkChanged(now);
    client.start({ hostname: this.name, authKey, resume: mesh.netmap.position, nextKey: null }, now);
    this.settle();
  }

  /** The process is gone without a word; its machine closes its connections unless that is gone as well. */
  crash(silently: boolean): void {
    if (this.running === null) return;
    const { stream, mesh, plane } = this.running;
    this.#count();
    this.#saved = mesh.netmap.save();
    if (silently) stream?.fallsSilent(false);
    else stream?.nodeDies();
    mesh.close(this.#world.now);
    plane.close();
    this.#unbridge();
    this.running = null;
    this.#incarnation++;
    this.machine.close(TUNNEL_PORT);
  }

  #count(): void {
    if (this.mesh !== null) addCounters(this.#world.reached, 'mesh', this.mesh.counters.counts);
  }

  /** Adds up what the process has met; at the end of the run. */
  finish(): void {
    this.#count();
  }

  // — the network —

  /** The box in front has forgotten everything: TCP, too. Nobody notices before something is sent. */
  connectionsLost(): void {
    this.running?.stream?.fallsSilent(false);
    for (const stream of this.running?.bridges.values() ?? []) stream.breaks();
  }

  /** What the daemon does when the kernel tells of other addresses or routes. */
  networkChanged(): void {
    if (this.running === null) return;
    const { now } = this.#world;
    this.running.whereabouts.networkChanged(now);
    this.#tellWhereabouts();
    this.running.mesh.networkChanged(now);
    this.running.client.networkChanged(now);
    this.settle();
  }

  #tellWhereabouts(): void {
    if (this.running === null) return;
    const { mesh, client, whereabouts } = this.running;
    const { now } = this.#world;
    const hosts = endpointsOf(this.machine, TUNNEL_PORT);
    const candidates = whereabouts.candidates(hosts);
    const said = (this.#options.lies ?? HONEST).candidates(candidates);
    mesh.setLocalCandidates(said, now);
    client.setCandidates(said, TUNNEL_PORT, now);
    const reach = this.#reach(hosts);
    mesh.setLocalReach(reach);
    client.setReach(reach, now);
    this.#bridge();
  }

  #reach(hosts: readonly Endpoint[]): Reach | null {
    if (this.running === null) return null;
    const { whereabouts, mesh } = this.running;
    return { home: mesh.home, mapping: whereabouts.mapping(hosts), udp: whereabouts.udp, url: null };
  }

  #arrived(datagram: Datagram, from: Machine): void {
    const { running } = this;
    if (running === null) return;
    running.plane.io.setNow(this.#world.now);
    this.#carrier = from;
    running.plane.io.udpInput(datagram.bytes, datagram.source, datagram.destination);
    this.settle();
    this.#carrier = null;
  }

  /** Where no UDP gets out relays are reached by WebSocket, and by UDP again once it does. */
  #bridge(): void {
    if (this.running === null) return;
    const { mesh, whereabouts, bridges } = this.running;
    const { now } = this.#world;
    if (whereabouts.udp === 'blocked') {
      for (const { id, tags } of mesh.netmap.nodes()) {
        if (!tags.includes(RELAY_TAG) || this.#bridged.has(id)) continue;
        const stream = this.#options.openStream(this, id);
        if (stream === null) continue;
        this.#bridged.add(id);
        bridges.set(stream.relayEndpoint, stream);
        mesh.setRelayOverride(id, stream.relayEndpoint, now);
      }
    } else if (whereabouts.udp === 'works' && this.#bridged.size > 0) {
      for (const id of this.#bridged) mesh.setRelayOverride(id, null, now);
      this.#unbridge();
    }
  }

  #unbridge(): void {
    for (const stream of this.running?.bridges.values() ?? []) stream.breaks();
    this.running?.bridges.clear();
    this.#bridged.clear();
  }

  /** By the bridge to a relay. */
  streamed(bytes: Uint8Array, source: Endpoint, from: Machine): void {
    this.#arrived({ bytes, source, destination: source, dontFragment: false }, from);
  }

  /** One inner packet of this machine's. */
  send(source: IpAddress, destination: IpAddress, sequence: number, payloadBytes: number): void {
    if (this.running === null) return;
    this.running.plane.io.setNow(this.#world.now);
    this.running.plane.io.tunInput(makePacket(source, destination, sequence, payloadBytes));
    this.settle();
  }

  // — what the client wants —

  #outputs(): ControlOutputs {
    const incarnation = this.#incarnation;
    const ours = (): Running | null => (incarnation === this.#incarnation ? this.running : null);
    return {
      connect: (number) => {
        const running = ours();
        if (running === null) return;
        running.number = number;
        running.stream?.nodeCloses();
        running.stream = this.#world.connect(this, number, this.publicKey);
      },
      close: (number) => {
        const running = ours();
        if (running === null || running.number !== number) return;
        running.stream?.nodeCloses();
        running.stream = null;
      },
      send: (number, message) => {
        const running = ours();
        if (running?.number === number) running.stream?.nodeSends(message);
      },
      probe: (number) => {
        const running = ours();
        if (running?.number === number) running.stream?.nodePings();
      },
      welcome: (message) => this.mesh?.setSelf(message.self, message.network, this.#world.now),
      snapshot: (message) => {
        this.mesh?.applySnapshot(message, this.#world.now);
        this.#bridge();
      },
      delta: (message) => {
        const result = this.mesh?.applyDelta(message, this.#world.now);
        if (result !== undefined && result.kind !== 'applied') this.#world.violated(`${this.name} asks for a resync`);
        this.#bridge();
      },
      punch: (message) => this.mesh?.handlePunch(message, this.#world.now),
      persistNextKey: () => undefined,
      keySwitched: () => undefined,
      nextKeyRefused: () => undefined,
      changed: () => undefined,
    };
  }

  // — from the controller —

  opened(stream: ControlStream): void {
    this.#ofStream(stream, ({ client, number }, now) => client.opened(number, now));
  }

  message(stream: ControlStream, message: ControllerMessage): void {
    this.#ofStream(stream, ({ client, number }, now) => client.message(number, message, now));
  }

  heard(stream: ControlStream): void {
    this.#ofStream(stream, ({ client, number }, now) => client.heard(number, now));
  }

  closed(stream: ControlStream, reason: CloseReason): void {
    this.#ofStream(stream, (running, now) => {
      running.stream = null;
      running.client.closed(running.number, reason, now);
    });
  }

  unreachable(number: number): void {
    if (this.running === null || this.running.number !== number || this.running.stream !== null) return;
    const reason: CloseReason = { code: 'unreachable', message: 'the controller cannot be reached' };
    this.running.client.closed(number, reason, this.#world.now);
    this.settle();
  }

  #ofStream(stream: ControlStream, act: (running: Running, now: Instant) => void): void {
    const { running } = this;
    if (running === null || running.stream !== stream) return;
    act(running, this.#world.now);
    this.settle();
  }

  // — turns —

  /** Runs everything until it has nothing left, sends what came out, and sets the timer. */
  settle(): void {
    const { running } = this;
    if (running === null) return;
    const { now } = this.#world;
    running.plane.io.setNow(now);
    while (running.mesh.handleWake(now)) this.#flush(running);
    this.#flush(running);
    if (this.#whereaboutsDiffer) {
      this.#whereaboutsDiffer = false;
      this.#tellWhereabouts();
      this.#flush(running);
    }
    this.#setTimer(running);
  }

  #flush({ plane }: Running): void {
    for (const { datagram, destination } of plane.io.takeUdpOutput()) {
      if (isLoopback(destination)) this.#streams(destination, datagram);
      else this.machine.send(TUNNEL_PORT, destination, datagram, datagram.length > DATA_BYTES_MAX);
    }
    for (const packet of plane.io.takeTunOutput()) this.#events.received(this, packet, this.#carrier);
  }

  #streams(destination: Endpoint, bytes: Uint8Array): void {
    const stream = this.running?.bridges.get(destination);
    if (stream === undefined) return;
    this.#events.streams(this, { bytes, source: stream.nodeEndpoint, destination, dontFragment: false });
    stream.nodeSends(bytes);
  }

  #setTimer({ mesh, client, whereabouts }: Running): void {
    const next = Math.min(mesh.nextDeadline(), client.nextDeadline(), whereabouts.nextDeadline()) as Instant;
    if (next === this.#timerAt) return;
    this.#timerAt = next;
    if (next === NEVER) return;
    const incarnation = this.#incarnation;
    this.#world.schedule(Math.max(0, next - this.#world.now), () => {
      if (incarnation !== this.#incarnation || this.#timerAt !== next) return;
      this.#timerAt = NEVER;
      this.#due();
    });
  }

  #due(): void {
    const { running } = this;
    if (running === null) return;
    const { now } = this.#world;
    if (running.mesh.nextDeadline() <= now) this.wakes++;
    if (running.client.nextDeadline() <= now) running.client.handleDeadline(now);
    if (running.whereabouts.nextDeadline() <= now) running.whereabouts.handleDeadline(now);
    this.settle();
  }
}
