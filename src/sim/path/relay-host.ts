// One relay of the path simulation: the real relay engine over a plane in memory, the real control client, and a machine in a data
// centre. What the relay process does (src/relay) but for its sockets, its WebSocket and its files.

import { toBase64 } from '../../base/bytes.ts';
import { type Instant, NEVER, type WallTime } from '../../base/instant.ts';
import type { Endpoint } from '../../base/ip.ts';
import type { Prng } from '../../base/prng.ts';
import type { MemoryDataPlane } from '../../dataplane/dataplane.ts';
import { type CloseReason, ControlClient } from '../../mesh/control-client.ts';
import type { SavedNetmap } from '../../mesh/netmap.ts';
import type { ControllerMessage } from '../../protocol/control.ts';
import type { Candidate, NodeId, PublicKeyText } from '../../protocol/values.ts';
import { RelayEngine } from '../../relay/engine/relay-engine.ts';
import type { ControlStream } from '../mesh/control-stream.ts';
import { addCounters } from '../mesh/reached.ts';
import { WALL_EPOCH_MS } from '../mesh/wall.ts';
import type { Datagram, Machine } from '../nat/sites.ts';
import { endpointsOf } from './outside.ts';
import type { Member, PathWorld } from './path-world.ts';
import { isLoopback, Stream, type StreamEnd } from './stream.ts';

export const RELAY_PORT = 51_821;
const SECRET_BYTES = 32;
/** What is larger is a ping that asks for the MTU, which a relay does not fragment either. */
const PROBE_BYTES_MIN = 500;

/** What a relay that misbehaves makes of what it would send; null: nothing. */
export type Tampering = (datagram: Uint8Array) => Uint8Array | null;

interface Running {
  readonly plane: MemoryDataPlane;
  readonly engine: RelayEngine;
  readonly client: ControlClient;
  stream: ControlStream | null;
  number: number;
}

export interface RelayEvents {
  /** Before it is handed over. */
  arrived(relay: RelayHost, datagram: Datagram, from: Machine): void;
  /** A datagram leaves by the WebSocket of a node. */
  streams(relay: RelayHost, datagram: Datagram): void;
}

export class RelayHost implements Member, StreamEnd {
  readonly name: string;
  readonly machine: Machine;
  readonly publicKey: PublicKeyText;
  controllerCutUntil = 0;
  running: Running | null = null;
  tampers: Tampering | null = null;
  /** What outlives the process. */
  #saved: SavedNetmap | null = null;
  readonly #events: RelayEvents;
  readonly #world: PathWorld;
  readonly #prng: Prng;
  readonly #secret = new Uint8Array(32);
  readonly #slotSecret = new Uint8Array(SECRET_BYTES);
  /** By what stands for the node here. */
  readonly #streams = new Map<Endpoint, Stream>();
  #incarnation = 0;
  #timerAt: Instant = NEVER;

  constructor(name: string, machine: Machine, events: RelayEvents, world: PathWorld) {
    this.name = name;
    this.machine = machine;
    this.#events = events;
    this.#world = world;
    this.#prng = world.prng.fork();
    this.#prng.fill(this.#secret);
    this.#prng.fill(this.#slotSecret);
    this.publicKey = toBase64(world.options.crypto.importPrivateKey(this.#secret).publicKey) as PublicKeyText;
  }

  get id(): NodeId | null {
    return this.running?.engine.netmap.self?.id ?? null;
  }

  get isConnected(): boolean {
    return this.running?.client.status().state === 'connected';
  }

  get isReachable(): boolean {
    return this.isConnected && this.running?.stream?.isSilent === false;
  }

  get endpoints(): Endpoint[] {
    return endpointsOf(this.machine, RELAY_PORT);
  }

  start(authKey: string | null): void {
    if (this.running !== null) return;
    const { now, options } = this.#world;
    const random = (out: Uint8Array): void => this.#prng.fill(out);
    const wallClock = (): WallTime => (WALL_EPOCH_MS + this.#world.now) as WallTime;
    const plane = options.makePlane();
    plane.io.setNow(now);
    const { crypto } = options;
    const engine = new RelayEngine({ plane, crypto, random, wallClock, slotSecret: this.#slotSecret });
    const client = new ControlClient({
      random,
      wallClock,
      software: 'simulated',
      os: 'simulated',
      outputs: {
        connect: (number) => {
          if (this.running === null) return;
          this.running.number = number;
          this.running.stream?.nodeCloses();
          this.running.stream = this.#world.connect(this, number, this.publicKey);
        },
        close: (number) => {
          if (this.running?.number !== number) return;
          this.running.stream?.nodeCloses();
          this.running.stream = null;
        },
        send: (_number, message) => this.running?.stream?.nodeSends(message),
        probe: () => this.running?.stream?.nodePings(),
        welcome: (message) => engine.setSelf(message.self, message.network, this.#world.now),
        snapshot: (message) => engine.applySnapshot(message, this.#world.now),
        delta: (message) => {
          if (engine.applyDelta(message, this.#world.now).kind === 'resync')
            this.#world.violated(`${this.name} asks for a resync`);
        },
        punch: () => undefined,
        persistNextKey: () => undefined,
        keySwitched: () => undefined,
        nextKeyRefused: () => undefined,
        changed: () => undefined,
      },
    });
    this.running = { plane, engine, client, stream: null, number: 0 };
    this.#timerAt = NEVER;
    engine.setIdentity(this.#secret, now);
    engine.linkUp(RELAY_PORT, now);
    if (this.#saved !== null) engine.restore(this.#saved, now);
    this.machine.open(RELAY_PORT, (datagram, from) => this.#arrived(datagram, from));
    const candidates = this.endpoints.map((endpoint): Candidate => ({ kind: 'host', endpoint }));
    client.setCandidates(candidates, RELAY_PORT, now);
    client.setReach({ home: null, mapping: 'none', udp: 'works', url: `https://${this.name}.example` }, now);
    client.start({ hostname: this.name, authKey, resume: engine.netmap.position, nextKey: null }, now);
    this.#settle();
  }

  crash(): void {
    if (this.running === null) return;
    const { stream, engine, plane } = this.running;
    addCounters(this.#world.reached, 'relay', engine.counters.counts);
    this.#saved = engine.netmap.save();
    stream?.nodeDies();
    engine.close(this.#world.now);
    plane.close();
    for (const stream of this.#streams.values()) stream.breaks();
    this.running = null;
    this.#incarnation++;
    this.machine.close(RELAY_PORT);
  }

  finish(): void {
    if (this.running !== null) addCounters(this.#world.reached, 'relay', this.running.engine.counters.counts);
  }

  /** The node's way here by WebSocket; one for each node. */
  openStream(node: StreamEnd, nodeNumber: number, relayNumber: number): Stream {
    const stream = new Stream({
      world: this.#world,
      node,
      nodeNumber,
      relay: () => (this.running === null ? null : this),
      relayMachine: this.machine,
      relayNumber,
    });
    this.#streams.set(stream.nodeEndpoint, stream);
    return stream;
  }

  streamed(bytes: Uint8Array, source: Endpoint, from: Machine): void {
    this.#arrived({ bytes, source, destination: source, dontFragment: false }, from);
  }

  #arrived(datagram: Datagram, from: Machine): void {
    if (this.running === null) return;
    this.#events.arrived(this, datagram, from);
    this.running.plane.io.setNow(this.#world.now);
    this.running.plane.io.udpInput(datagram.bytes, datagram.source, datagram.destination);
    this.#settle();
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
    this.#settle();
  }

  #ofStream(stream: ControlStream, act: (running: Running, now: Instant) => void): void {
    if (this.running === null || this.running.stream !== stream) return;
    act(this.running, this.#world.now);
    this.#settle();
  }

  // — turns —

  #settle(): void {
    const { running } = this;
    if (running === null) return;
    const { now } = this.#world;
    running.plane.io.setNow(now);
    while (running.engine.handleWake(now)) this.#flush(running);
    this.#flush(running);
    this.#setTimer(running);
  }

  #flush({ plane }: Running): void {
    for (const { datagram, destination } of plane.io.takeUdpOutput()) {
      const bytes = this.tampers === null ? datagram : this.tampers(datagram);
      if (bytes === null) continue;
      if (!isLoopback(destination)) {
        this.machine.send(RELAY_PORT, destination, bytes, bytes.length > PROBE_BYTES_MIN);
        continue;
      }
      this.#events.streams(this, { bytes, source: destination, destination, dontFragment: false });
      this.#streams.get(destination)?.relaySends(bytes);
    }
  }

  #setTimer({ engine, client }: Running): void {
    const next = Math.min(engine.nextDeadline(), client.nextDeadline()) as Instant;
    if (next === this.#timerAt) return;
    this.#timerAt = next;
    if (next === NEVER) return;
    const incarnation = this.#incarnation;
    this.#world.schedule(Math.max(0, next - this.#world.now), () => {
      if (incarnation !== this.#incarnation || this.#timerAt !== next || this.running === null) return;
      this.#timerAt = NEVER;
      const { now } = this.#world;
      if (this.running.client.nextDeadline() <= now) this.running.client.handleDeadline(now);
      this.#settle();
    });
  }
}
