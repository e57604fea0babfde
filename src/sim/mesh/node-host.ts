// One machine of the simulated mesh: the real mesh engine over a plane in memory, the real control client, a disk that
// survives the process, and an address in the network, perhaps behind a firewall that lets in what was asked for. It does
// what the daemon's shell does; what it leaves out are interfaces and files.

import { toBase64, toHex } from '../../base/bytes.ts';
import { type Instant, NEVER, type WallTime } from '../../base/instant.ts';
import { type Endpoint, endpointParts, type IpAddress } from '../../base/ip.ts';
import type { Prng } from '../../base/prng.ts';
import type { CryptoProvider } from '../../crypto/provider.ts';
import type { MemoryDataPlane } from '../../dataplane/dataplane.ts';
import { type CloseReason, ControlClient, type ControlOutputs } from '../../mesh/control-client.ts';
import { MeshEngine } from '../../mesh/mesh-engine.ts';
import type { NetmapChange, SavedNetmap } from '../../mesh/netmap.ts';
import type { ControllerMessage, Delta, Punch, Snapshot, Welcome } from '../../protocol/control.ts';
import type { Candidate, PublicKeyText } from '../../protocol/values.ts';
import type { Datagram, Network, Scheduler } from '../network.ts';
import { makePacket } from '../packets.ts';
import type { ControlStream, NodeEnd } from './control-stream.ts';
import { add, addCounters, type Reached } from './reached.ts';
import { WALL_EPOCH_MS } from './wall.ts';

/** Fatal errors after which the daemon leaves the network at once. */
const LOCKED_OUT: readonly string[] = ['unregistered', 'nodeExpired', 'nodeDisabled', 'nodeRemoved'];
const LISTEN_PORT = 51_820;
/** A firewall forgets whom it let out after this. */
const FIREWALL_MS = 120_000;

export interface KeyPair {
  readonly secret: Uint8Array;
  readonly publicKey: PublicKeyText;
}

/** What outlives the process. */
interface Disk {
  current: KeyPair;
  next: KeyPair | null;
  saved: SavedNetmap | null;
  /** The one written before: what a machine has that lost its last writes. */
  older: SavedNetmap | null;
  stampsUntil: WallTime | null;
}

export interface NodeHostOptions {
  readonly name: string;
  readonly endpoint: Endpoint;
  readonly crypto: CryptoProvider;
  readonly makePlane: () => MemoryDataPlane;
  /** Lets in only what answers. */
  readonly firewall: boolean;
  /** Whether it tells the address of its interface, or leaves it to the controller to see it. */
  readonly tellsAddress: boolean;
}

export interface NodeEvents {
  /** Opens a connection to the controller; `opened` or `closed` follows. */
  connect(host: NodeHost, number: number, key: KeyPair): ControlStream | null;
  /** A process begins: it remembers nothing of what it has answered. */
  started(host: NodeHost): void;
  received(host: NodeHost, packet: Uint8Array): void;
  /** Around every application of what the controller said. */
  beforeNetmap(host: NodeHost): void;
  afterNetmap(host: NodeHost, changes: readonly NetmapChange[]): void;
  resynced(host: NodeHost, reason: string): void;
  readonly reached: Reached;
}

/** The process. */
interface Running {
  readonly plane: MemoryDataPlane;
  readonly mesh: MeshEngine;
  readonly client: ControlClient;
  stream: ControlStream | null;
  number: number;
  resync: boolean;
}

export class NodeHost implements NodeEnd {
  readonly name: string;
  readonly firewall: boolean;
  readonly publicKeys: PublicKeyText[] = [];
  readonly publicKeysHex = new Set<string>();
  endpoint: Endpoint;
  wallOffsetMs = 0;
  /** The controller cannot be reached from here until then. */
  controllerCutUntil = 0;
  running: Running | null = null;
  lockedOut = false;
  /** Wake-ups of the mesh engine: an idle node's must not grow. */
  wakes = 0;
  readonly disk: Disk;
  readonly #options: NodeHostOptions;
  readonly #events: NodeEvents;
  readonly #scheduler: Scheduler;
  readonly #network: Network;
  readonly #prng: Prng;
  readonly #sentTo = new Map<Endpoint, Instant>();
  /** In memory, while the disk is behind. */
  #current: KeyPair | null = null;
  #nextKey: KeyPair | null = null;
  #incarnation = 0;
  #meshTimerAt: Instant = NEVER;
  #clientTimerAt: Instant = NEVER;
  #savePending = false;
  /** Told already. */
  #resynced = false;

  constructor(options: NodeHostOptions, events: NodeEvents, scheduler: Scheduler, network: Network, prng: Prng) {
    this.name = options.name;
    this.firewall = options.firewall;
    this.endpoint = options.endpoint;
    this.#options = options;
    this.#events = events;
    this.#scheduler = scheduler;
    this.#network = network;
    this.#prng = prng;
    this.disk = { current: this.#drawKeyPair(), next: null, saved: null, older: null, stampsUntil: null };
  }

  get mesh(): MeshEngine | null {
    return this.running?.mesh ?? null;
  }

  get client(): ControlClient | null {
    return this.running?.client ?? null;
  }

  get isConnected(): boolean {
    return this.client?.status().state === 'connected';
  }

  /** Whether it could prove the key now. */
  holdsKey(publicKey: PublicKeyText): boolean {
    const { current, next } = this.disk;
    return [current, next, this.#current, this.#nextKey].some((key) => key?.publicKey === publicKey);
  }

  #drawKeyPair(): KeyPair {
    const secret = new Uint8Array(32);
    this.#prng.fill(secret);
    const key = this.#options.crypto.importPrivateKey(secret).publicKey;
    const publicKey = toBase64(key) as PublicKeyText;
    this.publicKeys.push(publicKey);
    this.publicKeysHex.add(toHex(key));
    return { secret, publicKey };
  }

  // — the process —

  start(authKey: string | null): void {
    if (this.running !== null) return;
    const { now } = this.#scheduler;
    const { crypto, makePlane } = this.#options;
    const plane = makePlane();
    plane.io.setNow(now);
    const random = (out: Uint8Array): void => this.#prng.fill(out);
    const wallClock = (): WallTime => (WALL_EPOCH_MS + this.#scheduler.now + this.wallOffsetMs) as WallTime;
    const { disk } = this;
    const mesh = new MeshEngine({
      plane,
      crypto,
      random,
      wallClock,
      stamps: {
        until: disk.stampsUntil,
        keep: (until) => {
          disk.stampsUntil = until;
        },
      },
      outputs: {
        punch: (request) => this.client?.punch(request),
        pong: () => undefined,
        changed: () => undefined,
        observed: () => undefined,
      },
    });
    const client = new ControlClient({
      random,
      wallClock,
      outputs: this.#outputs(),
      software: 'simulated',
      os: 'simulated',
    });
    this.running = { plane, mesh, client, stream: null, number: 0, resync: false };
    this.#meshTimerAt = NEVER;
    this.#clientTimerAt = NEVER;
    this.#savePending = false;
    this.lockedOut = false;
    this.#events.started(this);
    mesh.setIdentity(this.disk.current.secret, now);
    mesh.setListenPort(LISTEN_PORT, now);
    mesh.linkUp(now);
    this.#network.attach(this.endpoint, (datagram) => this.#arrived(datagram));
    const { saved } = disk;
    if (saved !== null) this.#applied(() => mesh.restore(saved, now));
    this.#tellCandidates(now);
    this.#startClient(authKey);
  }

  #startClient(authKey: string | null): void {
    const { disk } = this;
    this.client?.start(
      {
        hostname: `${this.name}.example`,
        authKey,
        resume: this.mesh?.netmap.position ?? null,
        nextKey: disk.next?.publicKey ?? null,
      },
      this.#scheduler.now,
    );
    this.settle();
  }

  /** `warren up --join` on a daemon that runs. */
  join(authKey: string | null): void {
    if (this.running === null) {
      this.start(authKey);
      return;
    }
    this.lockedOut = false;
    this.#startClient(authKey);
  }

  /** The process, or (`silently`) the whole machine, is gone without a word. */
  crash(silently: boolean): void {
    const stream = this.running?.stream;
    if (silently) stream?.fallsSilent(false);
    else stream?.nodeDies();
    this.#end();
  }

  /** `warren down`, `warren logout`, or the end of the daemon. */
  stop(goodbye: 'down' | 'logout' | null): void {
    if (this.running === null) return;
    this.client?.stop(goodbye, this.#scheduler.now);
    this.running.stream?.nodeCloses();
    this.#end();
    if (goodbye !== 'logout') return;
    this.disk.current = this.#drawKeyPair();
    this.disk.next = null;
    this.disk.saved = null;
    this.disk.older = null;
  }

  #end(): void {
    if (this.running === null) return;
    this.count();
    const { mesh, plane } = this.running;
    mesh.close(this.#scheduler.now);
    plane.close();
    this.running = null;
    this.#current = null;
    this.#nextKey = null;
    this.#incarnation++;
    this.#network.detach(this.endpoint);
  }

  /** Adds up what the process has met; at its end, or at that of the run. */
  count(): void {
    if (this.mesh !== null) addCounters(this.#events.reached, 'mesh', this.mesh.counters.counts);
  }

  stepClock(byMs: number): void {
    this.wallOffsetMs += byMs;
  }

  // — the network —

  /** Takes another address; the daemon notices a moment later. */
  move(endpoint: Endpoint, noticedAfterMs: number): void {
    this.#network.detach(this.endpoint);
    this.endpoint = endpoint;
    this.#sentTo.clear();
    if (this.running === null) return;
    this.#network.attach(endpoint, (datagram) => this.#arrived(datagram));
    this.running.stream?.fallsSilent(false);
    this.#later(noticedAfterMs, () => this.networkChanged());
  }

  /** What the daemon does when the kernel tells of other addresses or routes. */
  networkChanged(): void {
    if (this.running === null) return;
    const { now } = this.#scheduler;
    this.#tellCandidates(now);
    this.running.mesh.networkChanged(now);
    this.running.client.networkChanged(now);
    this.settle();
  }

  #tellCandidates(now: Instant): void {
    const own: Candidate[] = this.#options.tellsAddress ? [{ kind: 'host', endpoint: this.endpoint }] : [];
    this.mesh?.setLocalCandidates(own, now);
    this.client?.setCandidates(own, LISTEN_PORT, now);
  }

  get address(): IpAddress {
    return endpointParts(this.endpoint).address;
  }

  #arrived(datagram: Datagram): void {
    if (this.running === null) return;
    const { now } = this.#scheduler;
    if (this.firewall && now - (this.#sentTo.get(datagram.source) ?? Number.NEGATIVE_INFINITY) > FIREWALL_MS) return;
    this.running.plane.io.setNow(now);
    this.running.plane.io.udpInput(datagram.bytes, datagram.source, this.endpoint);
    this.settle();
  }

  /** An attacker's datagram, past the firewall. */
  inject(bytes: Uint8Array, source: Endpoint): void {
    if (this.running === null) return;
    this.running.plane.io.setNow(this.#scheduler.now);
    this.running.plane.io.udpInput(bytes, source, this.endpoint);
    this.settle();
  }

  /** One inner packet of this machine's. */
  send(source: IpAddress, destination: IpAddress, sequence: number, payloadBytes: number): void {
    if (this.running === null) return;
    this.running.plane.io.setNow(this.#scheduler.now);
    this.running.plane.io.tunInput(makePacket(source, destination, sequence, payloadBytes));
    this.settle();
  }

  // — keys —

  /** False while another rotation runs, or without a connection. */
  rotateKey(): boolean {
    if (this.running === null || this.disk.next !== null) return false;
    const next = this.#drawKeyPair();
    this.#nextKey = next;
    const began = this.running.client.rotateKey(next.publicKey, this.#scheduler.now);
    this.settle();
    return began;
  }

  #keyOf(which: 'current' | 'next'): KeyPair {
    if (which === 'current') return this.#current ?? this.disk.current;
    return this.#nextKey ?? this.disk.next ?? this.disk.current;
  }

  #keySwitched(publicKey: PublicKeyText): void {
    const next = [this.#nextKey, this.disk.next].find((key) => key?.publicKey === publicKey);
    if (next === undefined || next === null || this.running === null) return;
    this.#current = next;
    this.#nextKey = null;
    add(this.#events.reached, 'client.keysSwitched', 1);
    this.running.mesh.setIdentity(next.secret, this.#scheduler.now);
    this.#later(this.#prng.nextInt(1, 500), () => {
      this.disk.current = next;
      this.disk.next = null;
    });
  }

  // — what the client wants —

  #outputs(): ControlOutputs {
    const incarnation = this.#incarnation;
    const ours = (): Running | null => (incarnation === this.#incarnation ? this.running : null);
    return {
      connect: (number, which) => {
        const running = ours();
        if (running === null) return;
        running.number = number;
        running.stream?.nodeCloses();
        running.stream = this.#events.connect(this, number, this.#keyOf(which));
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
      welcome: (message) => this.#welcomed(message),
      snapshot: (message) => this.#snapshot(message),
      delta: (message) => this.#delta(message),
      punch: (message) => this.#punch(message),
      persistNextKey: (publicKey) => {
        this.#later(this.#prng.nextInt(1, 500), () => {
          this.disk.next = this.#nextKey;
          this.client?.nextKeyPersisted(publicKey, this.#scheduler.now);
          this.settle();
        });
      },
      keySwitched: (publicKey) => this.#keySwitched(publicKey),
      nextKeyRefused: () => {
        this.#nextKey = null;
        this.#later(this.#prng.nextInt(1, 500), () => {
          this.disk.next = null;
        });
      },
      changed: () => this.#clientChanged(),
    };
  }

  #welcomed(message: Welcome): void {
    this.lockedOut = false;
    this.#applied(() => this.mesh?.setSelf(message.self, message.network, this.#scheduler.now) ?? []);
  }

  #snapshot(message: Snapshot): void {
    this.#applied(() => this.mesh?.applySnapshot(message, this.#scheduler.now) ?? []);
    this.#saveLater();
  }

  #delta(message: Delta): void {
    const { running } = this;
    if (running === null) return;
    this.#applied(() => {
      const result = running.mesh.applyDelta(message, this.#scheduler.now);
      if (result.kind === 'applied') return result.changes;
      running.resync = true;
      this.#resynced = true;
      this.#events.resynced(this, result.reason);
      return [];
    });
    this.#saveLater();
  }

  #punch(message: Punch): void {
    this.mesh?.handlePunch(message, this.#scheduler.now);
  }

  #applied(apply: () => readonly NetmapChange[]): void {
    this.running?.plane.io.setNow(this.#scheduler.now);
    this.#events.beforeNetmap(this);
    const changes = apply();
    this.#events.afterNetmap(this, changes);
  }

  #saveLater(): void {
    if (this.#savePending) return;
    this.#savePending = true;
    this.#later(this.#prng.nextInt(50, 3_000), () => {
      this.#savePending = false;
      const saved = this.mesh?.netmap.save() ?? null;
      if (this.lockedOut || saved === null) return;
      this.disk.older = this.disk.saved;
      this.disk.saved = saved;
    });
  }

  #clientChanged(): void {
    const { running } = this;
    const { lastError, problem } = running?.client.status() ?? { lastError: null, problem: null };
    const resyncs = lastError?.code === 'resync';
    if (resyncs && !this.#resynced) this.#events.resynced(this, 'a gap');
    this.#resynced = resyncs;
    if (running === null || problem === null || this.lockedOut || !LOCKED_OUT.includes(problem.code)) return;
    this.lockedOut = true;
    this.disk.saved = null;
    this.disk.older = null;
    this.#applied(() => running.mesh.clear(this.#scheduler.now));
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

  /** No connection came of it. */
  unreachable(number: number): void {
    if (this.running === null || this.running.number !== number || this.running.stream !== null) return;
    const reason: CloseReason = { code: 'unreachable', message: 'the controller cannot be reached' };
    this.running.client.closed(number, reason, this.#scheduler.now);
    this.settle();
  }

  #ofStream(stream: ControlStream, act: (running: Running, now: Instant) => void): void {
    const { running } = this;
    if (running === null || running.stream !== stream) return;
    act(running, this.#scheduler.now);
    this.settle();
  }

  // — turns —

  #later(delayMs: number, act: () => void): void {
    const incarnation = this.#incarnation;
    this.#scheduler.schedule(delayMs, () => {
      if (incarnation === this.#incarnation && this.running !== null) act();
    });
  }

  /** Runs engine and client until they have nothing left, sends what came out, and sets the timers. */
  settle(): void {
    const { running } = this;
    if (running === null) return;
    const { now } = this.#scheduler;
    running.plane.io.setNow(now);
    while (running.mesh.handleWake(now)) this.#flush(running);
    this.#flush(running);
    if (running.resync) {
      running.resync = false;
      running.client.resync(now);
    }
    this.#setTimers(running);
  }

  #flush({ plane }: Running): void {
    const { now } = this.#scheduler;
    for (const { datagram, destination } of plane.io.takeUdpOutput()) {
      this.#sentTo.set(destination, now);
      this.#network.send({ bytes: datagram, source: this.endpoint, destination });
    }
    for (const packet of plane.io.takeTunOutput()) this.#events.received(this, packet);
  }

  #setTimers({ mesh, client }: Running): void {
    const meshAt = mesh.nextDeadline();
    if (meshAt !== this.#meshTimerAt) {
      this.#meshTimerAt = meshAt;
      this.#at(meshAt, () => {
        if (this.#meshTimerAt !== meshAt) return;
        this.#meshTimerAt = NEVER;
        this.wakes++;
        this.settle();
      });
    }
    const clientAt = client.nextDeadline();
    if (clientAt === this.#clientTimerAt) return;
    this.#clientTimerAt = clientAt;
    this.#at(clientAt, () => {
      if (this.#clientTimerAt !== clientAt || this.running === null) return;
      this.#clientTimerAt = NEVER;
      this.running.client.handleDeadline(this.#scheduler.now);
      this.settle();
    });
  }

  #at(instant: Instant, act: () => void): void {
    if (instant !== NEVER) this.#later(Math.max(0, instant - this.#scheduler.now), act);
  }
}
