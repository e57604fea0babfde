// A relay and nodes that use it under virtual time: WireGuard engines over reference planes in a simulated network. The nodes here are the
// least that speaks to a relay: a session with it, a slot, and peers at relayed endpoints. What a relay is told of the network, a
// test says itself.

import { fromBase64, toBase64, toHex } from '../../../src/base/bytes.ts';
import { type Instant, NEVER, type WallTime } from '../../../src/base/instant.ts';
import type { Endpoint, IpAddress, IpPrefix } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import { relayedEndpoint } from '../../../src/base/relayed.ts';
import { nodeProvider } from '../../../src/crypto/node.ts';
import type { MemoryDataPlane } from '../../../src/dataplane/dataplane.ts';
import { createReferencePlane } from '../../../src/dataplane/reference/plane.ts';
import { decodeFrame, encodePing, encodeRelayAllocate, type Frame } from '../../../src/mesh/frames.ts';
import type { NetmapNode, NetmapOp } from '../../../src/protocol/netmap.ts';
import { RELAY_TAG } from '../../../src/protocol/reach.ts';
import type { NodeId, NodeName, PublicKeyText } from '../../../src/protocol/values.ts';
import { LIMITS_DEFAULT, RelayEngine, type RelayEngineLimits } from '../../../src/relay/engine/relay-engine.ts';
import { EventQueue } from '../../../src/sim/event-queue.ts';
import { type Datagram, Network } from '../../../src/sim/network.ts';
import { makePacket, readPacket } from '../../../src/sim/packets.ts';
import { Engine } from '../../../src/wireguard/engine.ts';
import type { Peer } from '../../../src/wireguard/peer.ts';
import { EPOCH, NETWORK } from '../mesh/mesh-world.ts';

export const RELAY_ENDPOINT = '192.0.2.1:7370' as Endpoint;
const RELAY_ID = 1_000;
const RELAY_NUMBER = 1;

interface Wakeable {
  handleWake(now: Instant): boolean;
  nextDeadline(): Instant;
}

/** One machine: a plane at an address, and an engine that is run as the plane's owner would. */
class Machine {
  readonly world: RelayWorld;
  readonly plane: MemoryDataPlane;
  endpoint: Endpoint;
  wakes = 0;
  readonly #tun: (packet: Uint8Array) => void;
  #engine: Wakeable | null = null;
  #timerAt: Instant = NEVER;

  constructor(world: RelayWorld, endpoint: Endpoint, tun: (packet: Uint8Array) => void) {
    this.world = world;
    this.endpoint = endpoint;
    this.#tun = tun;
    this.plane = createReferencePlane({ crypto: nodeProvider });
    this.plane.io.setNow(world.now);
    this.attach();
  }

  owns(engine: Wakeable): void {
    this.#engine = engine;
  }

  attach(): void {
    this.world.network.attach(this.endpoint, ({ bytes, source }) => {
      this.plane.io.setNow(this.world.now);
      this.plane.io.udpInput(bytes, source, this.endpoint);
      this.run();
    });
  }

  move(endpoint: Endpoint): void {
    this.world.network.detach(this.endpoint);
    this.endpoint = endpoint;
    this.attach();
  }

  run(): void {
    const engine = this.#engine;
    if (engine === null) return;
    const { now } = this.world;
    this.plane.io.setNow(now);
    this.wakes++;
    while (engine.handleWake(now)) this.#flush();
    this.#flush();
    const next = engine.nextDeadline();
    if (next === this.#timerAt) return;
    this.#timerAt = next;
    if (next === NEVER) return;
    this.world.schedule(Math.max(0, next - now), () => {
      if (this.#timerAt !== next || this.#engine !== engine) return;
      this.#timerAt = NEVER;
      this.run();
    });
  }

  stop(): void {
    this.#engine = null;
    this.#timerAt = NEVER;
    this.world.network.detach(this.endpoint);
    this.plane.close();
  }

  #flush(): void {
    for (const { datagram, destination } of this.plane.io.takeUdpOutput()) {
      this.world.network.send({ bytes: datagram, source: this.endpoint, destination });
    }
    for (const packet of this.plane.io.takeTunOutput()) this.#tun(packet);
  }
}

export class RelayNode {
  readonly world: RelayWorld;
  readonly id: number;
  readonly machine: Machine;
  readonly engine: Engine;
  readonly privateKey: Uint8Array;
  readonly arrivals: number[] = [];
  readonly frames: Frame[] = [];
  slot: Uint8Array | null = null;
  readonly #relay: Peer;

  constructor(world: RelayWorld, id: number, endpoint: Endpoint) {
    this.world = world;
    this.id = id;
    this.privateKey = world.drawKey();
    this.machine = new Machine(world, endpoint, (packet) => {
      const info = readPacket(packet);
      if (info !== null) this.arrivals.push(info.sequence);
    });
    this.engine = new Engine({
      plane: this.machine.plane,
      crypto: nodeProvider,
      random: (out) => world.prng.fill(out),
      wallClock: () => world.wall,
      extension: {
        initiationSent: () => false,
        attemptGivenUp: () => undefined,
        sessionWorks: () => undefined,
        peerChanged: () => undefined,
        frame: (_peer, bytes) => this.#hear(bytes),
        nextDeadline: () => NEVER,
        expire: () => undefined,
      },
    });
    this.engine.setPrivateKey(this.privateKey, world.now);
    this.engine.linkUp(world.now);
    this.#relay = this.addPeer(world.relay.publicKey);
    this.engine.setEndpoint(this.#relay, RELAY_ENDPOINT, world.now);
    this.machine.plane.setRelay(RELAY_NUMBER, RELAY_ENDPOINT);
    this.machine.owns(this.engine);
  }

  #hear(bytes: Uint8Array): void {
    const frame = decodeFrame(bytes);
    this.frames.push(frame);
    if (frame.kind === 'relaySlot') this.slot = frame.slot;
  }

  get publicKey(): PublicKeyText {
    return toBase64(nodeProvider.importPrivateKey(this.privateKey).publicKey) as PublicKeyText;
  }

  get address(): IpAddress {
    return `100.64.0.${this.id}` as IpAddress;
  }

  record(over: Partial<NetmapNode> = {}): NetmapNode {
    return {
      id: this.id as NodeId,
      name: `node-${this.id}` as NodeName,
      publicKey: this.publicKey,
      address4: this.address,
      address6: `fd77::${this.id}` as IpAddress,
      tags: [],
      candidates: [],
      online: true,
      ...over,
    };
  }

  addPeer(key: PublicKeyText): Peer {
    const peer = this.engine.addPeer(toHex(fromBase64(key, 32) as Uint8Array), this.world.now);
    if (peer === undefined) throw new Error('it cannot be a peer');
    return peer;
  }

  act(change: (now: Instant) => void): void {
    this.machine.plane.io.setNow(this.world.now);
    change(this.world.now);
    this.machine.run();
  }

  /** A session with the relay; what `say` does once it is there is the test's. */
  join(): void {
    this.act((now) => this.engine.begin(this.#relay, now));
    this.world.run(100);
  }

  say(frame: Uint8Array): void {
    this.act((now) => this.machine.plane.sendFrame(this.#relay.slot, frame, now));
    this.world.run(100);
  }

  ping(txid = 7, bytes = 8): void {
    this.say(encodePing(txid, bytes));
  }

  /** A session and a slot. */
  allocate(txid = 1): void {
    if (this.#relay.session === null) this.join();
    this.say(encodeRelayAllocate(txid));
  }

  /** `other` is reached over the relay from now on. */
  meet(other: RelayNode): Peer {
    if (other.slot === null) throw new Error('it has no slot');
    const peer = this.addPeer(other.publicKey);
    this.engine.addAllowedIp(peer, `${other.address}/32` as IpPrefix);
    this.engine.setEndpoint(peer, relayedEndpoint(RELAY_NUMBER, other.slot), this.world.now);
    return peer;
  }

  send(other: RelayNode, sequence: number, payloadBytes = 64): void {
    this.act(() => this.machine.plane.io.tunInput(makePacket(this.address, other.address, sequence, payloadBytes)));
  }
}

export class RelayUnderTest {
  readonly world: RelayWorld;
  readonly privateKey: Uint8Array;
  readonly slotSecret: Uint8Array;
  readonly limits: RelayEngineLimits;
  machine: Machine;
  engine: RelayEngine;
  #seq = 0;

  constructor(world: RelayWorld, limits: Partial<RelayEngineLimits>) {
    this.world = world;
    this.privateKey = world.drawKey();
    this.slotSecret = world.drawKey();
    this.limits = { ...LIMITS_DEFAULT, ...limits };
    this.machine = new Machine(world, RELAY_ENDPOINT, () => {
      throw new Error('a relay has no tunnel');
    });
    this.engine = this.#make();
  }

  #make(): RelayEngine {
    const { world } = this;
    const engine = new RelayEngine({
      plane: this.machine.plane,
      crypto: nodeProvider,
      random: (out) => world.prng.fill(out),
      wallClock: () => world.wall,
      slotSecret: this.slotSecret,
      limits: this.limits,
    });
    engine.setIdentity(this.privateKey, world.now);
    engine.linkUp(7370, world.now);
    this.machine.owns(engine);
    return engine;
  }

  /** A new process with the same keys; it has to be told the netmap again. */
  restart(): void {
    this.engine.close(this.world.now);
    this.machine.stop();
    this.machine = new Machine(this.world, RELAY_ENDPOINT, () => undefined);
    this.engine = this.#make();
  }

  get publicKey(): PublicKeyText {
    return toBase64(nodeProvider.importPrivateKey(this.privateKey).publicKey) as PublicKeyText;
  }

  record(): NetmapNode {
    return {
      id: RELAY_ID as NodeId,
      name: 'relay' as NodeName,
      publicKey: this.publicKey,
      address4: '100.127.0.1' as IpAddress,
      address6: 'fd77::ffff' as IpAddress,
      tags: [RELAY_TAG],
      candidates: [],
      online: true,
    };
  }

  act<T>(change: (engine: RelayEngine, now: Instant) => T): T {
    this.machine.plane.io.setNow(this.world.now);
    const result = change(this.engine, this.world.now);
    this.machine.run();
    return result;
  }

  tell(nodes: readonly NetmapNode[]): void {
    this.act((engine, now) => {
      engine.setSelf(this.record(), NETWORK, now);
      const all = [this.record(), ...nodes];
      engine.applySnapshot({ type: 'snapshot', epoch: EPOCH, seq: this.#seq, network: NETWORK, nodes: all }, now);
    });
  }

  delta(...ops: NetmapOp[]): void {
    const from = this.#seq;
    this.#seq += ops.length;
    const result = this.act((engine, now) =>
      engine.applyDelta({ type: 'delta', from, seq: this.#seq, ops, ack: false }, now),
    );
    if (result.kind !== 'applied') throw new Error(`the delta did not apply: ${result.reason}`);
  }
}

export class RelayWorld {
  readonly prng: Prng;
  readonly network: Network;
  readonly relay: RelayUnderTest;
  readonly nodes: RelayNode[] = [];
  /** What left the relay, in order. */
  readonly fromRelay: Datagram[] = [];
  readonly toRelay: Datagram[] = [];
  readonly #events = new EventQueue();
  #now = 1_000_000 as Instant;

  constructor(seed = 1, limits: Partial<RelayEngineLimits> = {}) {
    this.prng = new Prng(seed);
    this.network = new Network(this, this.prng.fork());
    this.network.taps.push((datagram) => {
      if (datagram.source === RELAY_ENDPOINT) this.fromRelay.push(datagram);
      if (datagram.destination === RELAY_ENDPOINT) this.toRelay.push(datagram);
    });
    this.relay = new RelayUnderTest(this, limits);
  }

  get now(): Instant {
    return this.#now;
  }

  get wall(): WallTime {
    return (1_700_006_400_000 + this.#now) as WallTime;
  }

  drawKey(): Uint8Array {
    const key = new Uint8Array(32);
    this.prng.fill(key);
    return key;
  }

  addNode(): RelayNode {
    const id = this.nodes.length + 1;
    const node = new RelayNode(this, id, `198.51.100.${id}:51820` as Endpoint);
    this.nodes.push(node);
    return node;
  }

  tellAll(): void {
    this.relay.tell(this.nodes.map((node) => node.record()));
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

  /** From anywhere, as anybody. */
  inject(bytes: Uint8Array, source: Endpoint): void {
    this.network.send({ bytes, source, destination: RELAY_ENDPOINT });
  }
}

/** A relay and two nodes that have slots there and reach each other over it. */
export function relayedPair(
  limits: Partial<RelayEngineLimits> = {},
  seed = 1,
): { world: RelayWorld; relay: RelayUnderTest; alice: RelayNode; bob: RelayNode } {
  const world = new RelayWorld(seed, limits);
  const alice = world.addNode();
  const bob = world.addNode();
  world.tellAll();
  alice.allocate();
  bob.allocate();
  alice.meet(bob);
  bob.meet(alice);
  return { world, relay: world.relay, alice, bob };
}
