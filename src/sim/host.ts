// A simulated host: one engine over one in-memory plane, an endpoint in the simulated network, and a TUN whose packets
// are kept. It does what the daemon's shell does: hand over what arrives, run the engine when the plane wakes it or a
// deadline comes, and send what comes out.

import { toHex } from '../base/bytes.ts';
import { type Instant, NEVER, type WallTime } from '../base/instant.ts';
import type { Endpoint, IpAddress } from '../base/ip.ts';
import type { Prng } from '../base/prng.ts';
import type { CryptoProvider } from '../crypto/provider.ts';
import type { MemoryDataPlane } from '../dataplane/dataplane.ts';
import { Engine } from '../wireguard/engine.ts';
import type { Peer } from '../wireguard/peer.ts';
import type { Network, Scheduler } from './network.ts';
import { makePacket, readPacket } from './packets.ts';

export interface HostOptions {
  readonly name: string;
  readonly endpoint: Endpoint;
  readonly addresses: readonly IpAddress[];
  readonly crypto: CryptoProvider;
  /** Makes the plane; called again at a reboot. */
  readonly makePlane: () => MemoryDataPlane;
  readonly idleTimeoutMs?: number;
}

export interface ReceivedPacket {
  readonly at: Instant;
  readonly packet: Uint8Array;
}

/** Milliseconds since the epoch at simulated instant 0; any plausible date will do. */
const WALL_EPOCH_MS = 1_700_000_000_000;

export class Host {
  readonly name: string;
  readonly addresses: readonly IpAddress[];
  readonly #options: HostOptions;
  readonly #scheduler: Scheduler;
  readonly #network: Network;
  readonly #prng: Prng;
  engine: Engine;
  plane: MemoryDataPlane;
  endpoint: Endpoint;
  privateKey: Uint8Array;
  publicKeyHex: string;
  /** Every public key that the host has had, the present one last. */
  readonly publicKeys: string[] = [];
  /** Added to the wall clock: clock steps. */
  wallOffsetMs = 0;
  /** The largest wall offset that the host has ever had: stamps that peers have seen come from it. */
  highestWallOffsetMs = 0;
  /** Packets that came out of the tunnel, in order. */
  readonly received: ReceivedPacket[] = [];
  /** How often the engine was woken: an idle host's must not grow. */
  wakes = 0;
  #timerAt: Instant = NEVER;
  /** Bumped at reboots, so that what was scheduled for the engine before does nothing. */
  #incarnation = 0;

  constructor(options: HostOptions, scheduler: Scheduler, network: Network, prng: Prng) {
    this.name = options.name;
    this.addresses = options.addresses;
    this.endpoint = options.endpoint;
    this.#options = options;
    this.#scheduler = scheduler;
    this.#network = network;
    this.#prng = prng;
    this.privateKey = this.#drawKey();
    this.publicKeyHex = toHex(options.crypto.importPrivateKey(this.privateKey).publicKey);
    this.publicKeys.push(this.publicKeyHex);
    this.plane = options.makePlane();
    this.engine = this.#start();
  }

  #drawKey(): Uint8Array {
    const key = new Uint8Array(32);
    this.#prng.fill(key);
    return key;
  }

  #start(): Engine {
    this.plane.io.setNow(this.#scheduler.now);
    const engine = new Engine({
      plane: this.plane,
      crypto: this.#options.crypto,
      random: (out) => this.#prng.fill(out),
      wallClock: () => (WALL_EPOCH_MS + this.#scheduler.now + this.wallOffsetMs) as WallTime,
      ...(this.#options.idleTimeoutMs === undefined ? {} : { idleTimeoutMs: this.#options.idleTimeoutMs }),
    });
    engine.setPrivateKey(this.privateKey, this.#scheduler.now);
    engine.linkUp(this.#scheduler.now);
    this.#network.attach(this.endpoint, (datagram) => {
      this.plane.io.setNow(this.#scheduler.now);
      this.plane.io.udpInput(datagram.bytes, datagram.source, this.endpoint);
      this.run();
    });
    return engine;
  }

  /**
   * Loses all state but configuration that the caller applies again: `engine` is a new one without peers. A machine that
   * boots with a clock behind what it has shown its peers is locked out until the clock catches up (paper §5.1); that is
   * the protocol's and not simulated.
   */
  reboot(): void {
    this.wallOffsetMs = this.highestWallOffsetMs;
    this.#incarnation++;
    this.#timerAt = NEVER;
    this.engine.close(this.#scheduler.now);
    this.plane.close();
    this.#network.detach(this.endpoint);
    this.plane = this.#options.makePlane();
    this.engine = this.#start();
  }

  /** Moves the wall clock, forwards or backwards; the monotonic clock does not notice. */
  stepClock(byMs: number): void {
    this.wallOffsetMs += byMs;
    this.highestWallOffsetMs = Math.max(this.highestWallOffsetMs, this.wallOffsetMs);
  }

  /** Takes another address in the network; nobody is told. */
  move(endpoint: Endpoint): void {
    this.#network.detach(this.endpoint);
    this.endpoint = endpoint;
    this.#network.attach(endpoint, (datagram) => {
      this.plane.io.setNow(this.#scheduler.now);
      this.plane.io.udpInput(datagram.bytes, datagram.source, this.endpoint);
      this.run();
    });
  }

  /** Replaces the private key; peers have to be told the new public key. */
  changeKey(): void {
    this.privateKey = this.#drawKey();
    this.publicKeyHex = toHex(this.#options.crypto.importPrivateKey(this.privateKey).publicKey);
    this.publicKeys.push(this.publicKeyHex);
    this.configure((engine, now) => engine.setPrivateKey(this.privateKey, now));
  }

  /** Makes `other` a peer that routes all its tunnel addresses. */
  addPeer(
    other: Host,
    options: { endpoint?: boolean; keepaliveSeconds?: number; presharedKey?: Uint8Array } = {},
  ): Peer {
    const now = this.#scheduler.now;
    const peer = this.engine.addPeer(other.publicKeyHex, now);
    if (peer === undefined) throw new Error(`${other.name} has ${this.name}'s own key`);
    if (options.presharedKey !== undefined) this.engine.setPresharedKey(peer, options.presharedKey);
    if (options.endpoint !== false) this.engine.setEndpoint(peer, other.endpoint, now);
    for (const address of other.addresses) {
      this.engine.addAllowedIp(peer, `${address}/${address.includes(':') ? 128 : 32}` as never);
    }
    this.engine.setPersistentKeepalive(peer, options.keepaliveSeconds ?? 0, now);
    this.configure((engine) => engine.configured(peer, now));
    return peer;
  }

  peerOf(other: Host): Peer {
    const peer = this.engine.peer(other.publicKeyHex);
    if (peer === undefined) throw new Error(`${this.name} has no peer ${other.name}`);
    return peer;
  }

  /** Changes the engine and sends what that gives rise to. */
  configure(change: (engine: Engine, now: Instant) => void): void {
    this.plane.io.setNow(this.#scheduler.now);
    change(this.engine, this.#scheduler.now);
    this.run();
  }

  /** One inner packet of the local host to an address of `other`'s. */
  send(other: Host, sequence: number, options: { family?: 4 | 6; payloadBytes?: number } = {}): void {
    const six = options.family === 6;
    const pick = (host: Host): IpAddress => {
      const address = host.addresses.find((candidate) => candidate.includes(':') === six);
      if (address === undefined) throw new Error(`${host.name} has no IPv${six ? 6 : 4} address`);
      return address;
    };
    this.plane.io.setNow(this.#scheduler.now);
    this.plane.io.tunInput(makePacket(pick(this), pick(other), sequence, options.payloadBytes));
    this.run();
  }

  /** Sequence numbers of what came from `other`, in order of arrival. */
  sequencesFrom(other: Host): number[] {
    const sequences: number[] = [];
    for (const { packet } of this.received) {
      const info = readPacket(packet);
      if (info !== null && other.addresses.includes(info.source)) sequences.push(info.sequence);
    }
    return sequences;
  }

  /** Runs the engine until it has nothing left, sends what came out, and sets the next timer. */
  run(): void {
    const now = this.#scheduler.now;
    this.plane.io.setNow(now);
    this.wakes++;
    while (this.engine.handleWake(now)) this.#flush();
    this.#flush();
    this.#setTimer();
  }

  #flush(): void {
    for (const { datagram, destination } of this.plane.io.takeUdpOutput()) {
      this.#network.send({ bytes: datagram, source: this.endpoint, destination });
    }
    for (const packet of this.plane.io.takeTunOutput()) this.received.push({ at: this.#scheduler.now, packet });
  }

  #setTimer(): void {
    const next = this.engine.nextDeadline();
    if (next === this.#timerAt) return;
    this.#timerAt = next;
    if (next === NEVER) return;
    const incarnation = this.#incarnation;
    this.#scheduler.schedule(Math.max(0, next - this.#scheduler.now), () => {
      if (incarnation !== this.#incarnation || this.#timerAt !== next) return;
      this.#timerAt = NEVER;
      this.run();
    });
  }
}
