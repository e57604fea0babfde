// A controller and its relay in this process, over real sockets on the loopback, and nodes that use it: members by the control channel, with
// a WireGuard engine over a native data plane that has no TUN. What two of them have to say to each other are pings.

import { getRandomValues, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { fromBase64, toBase64, toHex } from '../../../src/base/bytes.ts';
import { NEVER, type WallTime } from '../../../src/base/instant.ts';
import type { Endpoint } from '../../../src/base/ip.ts';
import { relayedEndpoint } from '../../../src/base/relayed.ts';
import { Controller, type ControllerSettings } from '../../../src/controller/controller.ts';
import { nodeProvider } from '../../../src/crypto/node.ts';
import { createNativePlane, type LiveNativePlane } from '../../../src/dataplane/native/native-plane.ts';
import { MeshControl } from '../../../src/link/mesh-control.ts';
import { decodeFrame, encodePing, encodePong, encodeRelayAllocate, type Frame } from '../../../src/mesh/frames.ts';
import { Netmap } from '../../../src/mesh/netmap.ts';
import { parseJoinLink } from '../../../src/protocol/join-link.ts';
import type { NetmapNode } from '../../../src/protocol/netmap.ts';
import { type Home, RELAY_TAG } from '../../../src/protocol/reach.ts';
import { type InnerRelay, startInnerRelay } from '../../../src/relay/inner-main.ts';
import { createLog } from '../../../src/service/log.ts';
import { Engine } from '../../../src/wireguard/engine.ts';
import type { Peer } from '../../../src/wireguard/peer.ts';
import { until } from './stream-lab.ts';

const RELAY_NUMBER = 1;

export function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'warren-relay-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

export interface HostLab {
  readonly directory: string;
  readonly controller: Controller;
  readonly relay: InnerRelay | null;
  /** For machines, reusable. */
  readonly joinLink: string;
  readonly errors: string[];
  /** Stops it once, however often it is asked. */
  stop(): Promise<void>;
}

export interface LabOptions {
  readonly directory?: string;
  readonly relayPort?: number;
  /** Of TCP; 0 = any. */
  readonly port?: number;
  readonly metrics?: boolean;
  /** False: a controller alone. */
  readonly withRelay?: boolean;
}

/** A controller with a relay inside; `joinLink` is of its first start. */
export async function hostLab(options: LabOptions = {}, joinLink: string | null = null): Promise<HostLab> {
  const directory = options.directory ?? temporaryDirectory();
  const errors: string[] = [];
  const log = createLog('error', (line) => errors.push(line));
  const settings: ControllerSettings = {
    dataDirectory: directory,
    database: null,
    listen: { host: '127.0.0.1', port: options.port ?? 0 },
    listenGiven: true,
    url: null,
    certificate: null,
    network: null,
    metricsListen: options.metrics === true ? { host: '127.0.0.1', port: 0 } : null,
    requireApproval: null,
    version: 'test',
  };
  const controller = await Controller.start(settings, log);
  let relay: InnerRelay | null = null;
  await controller.accompany(async (inside) => {
    const inner = { dataDirectory: directory, port: options.relayPort ?? 0, publicAddress: null, version: 'test' };
    relay = options.withRelay === false ? null : await startInnerRelay(inner, inside);
    return relay;
  });
  let stopping: Promise<void> | null = null;
  const stop = (): Promise<void> => {
    stopping ??= controller.stop();
    return stopping;
  };
  onTestFinished(stop);
  return { directory, controller, relay, joinLink: controller.started.joinLink ?? joinLink ?? '', errors, stop };
}

export class LabNode {
  readonly name: string;
  readonly privateKey: Uint8Array;
  readonly plane: LiveNativePlane;
  readonly engine: Engine;
  readonly netmap = new Netmap();
  readonly frames: { readonly peer: Peer; readonly frame: Frame }[] = [];
  slot: Uint8Array | null = null;
  readonly #control: MeshControl;
  #scheduled: NodeJS.Immediate | null = null;
  #closed = false;

  constructor(name: string, link: string, privateKey: Uint8Array = randomBytes(32)) {
    this.name = name;
    this.privateKey = privateKey;
    const opened = createNativePlane({ tun: 'none', onWake: () => this.#schedule() });
    if (!opened.ok) throw new Error(opened.message);
    this.plane = opened.plane;
    this.engine = this.#makeEngine();
    const now = this.plane.now();
    this.engine.setPrivateKey(privateKey, now);
    this.engine.linkUp(now);
    const parsed = parseJoinLink(link);
    if (!parsed.ok) throw new Error(parsed.reason);
    this.#control = this.#join(parsed.link);
    onTestFinished(() => this.close());
  }

  #makeEngine(): Engine {
    return new Engine({
      plane: this.plane,
      crypto: nodeProvider,
      random: (out) => {
        getRandomValues(out);
      },
      wallClock: () => Date.now() as WallTime,
      extension: {
        initiationSent: () => false,
        attemptGivenUp: () => undefined,
        sessionWorks: () => undefined,
        peerChanged: () => undefined,
        frame: (peer, bytes, source) => {
          const frame = decodeFrame(bytes);
          this.frames.push({ peer, frame });
          if (frame.kind === 'relaySlot') this.slot = frame.slot;
          if (frame.kind !== 'ping') return;
          this.plane.sendFrame(peer.slot, encodePong(frame.txid, source.address, source.port), this.plane.now());
        },
        nextDeadline: () => NEVER,
        expire: () => undefined,
      },
    });
  }

  #join({ url, controllerKey, authKey }: { url: string; controllerKey: string; authKey: string | null }): MeshControl {
    const ignore = (): void => undefined;
    const control = new MeshControl(
      {
        url,
        controllerKey,
        privateKey: () => new Uint8Array(this.privateKey),
        events: {
          welcome: ({ self, network }) => this.netmap.setSelf(self, network),
          snapshot: (message) => this.netmap.applySnapshot(message),
          delta: (message) => this.netmap.applyDelta(message),
          punch: ignore,
          persistNextKey: ignore,
          keySwitched: ignore,
          nextKeyRefused: ignore,
          changed: ignore,
        },
      },
      'warren test',
    );
    control.start({ hostname: this.name, authKey, resume: null, nextKey: null });
    return control;
  }

  get id(): number {
    return this.netmap.self?.id ?? 0;
  }

  get publicKey(): string {
    return toBase64(nodeProvider.importPrivateKey(this.privateKey).publicKey);
  }

  /** What a node tells the others of its home. */
  tellHome(home: Home): void {
    this.#control.setReach({ home, mapping: 'unknown', udp: 'unknown', url: null });
    this.#control.setCandidates([], this.engine.listenPort());
  }

  relays(): NetmapNode[] {
    return [...this.netmap.nodes()].filter(({ tags }) => tags.includes(RELAY_TAG));
  }

  /** Knows of a relay that is there. */
  async joined(): Promise<this> {
    await until(`${this.name} knows of a relay`, () =>
      this.relays().some(({ online, reach }) => online && reach != null),
    );
    return this;
  }

  peer(publicKey: string): Peer {
    const hex = toHex(fromBase64(publicKey, 32) as Uint8Array);
    const peer = this.engine.addPeer(hex, this.plane.now());
    if (peer === undefined) throw new Error('it cannot be a peer');
    return peer;
  }

  /** Asks the relay at `endpoint` for a slot, until it answers. */
  async allocate(relay: NetmapNode, endpoint: Endpoint): Promise<void> {
    const peer = this.peer(relay.publicKey);
    this.engine.setEndpoint(peer, endpoint, this.plane.now());
    this.plane.setRelay(RELAY_NUMBER, endpoint);
    this.slot = null;
    this.engine.begin(peer, this.plane.now());
    await until(`${this.name} has a session with the relay`, () => this.plane.canSend(peer.slot, this.plane.now()));
    this.plane.sendFrame(peer.slot, encodeRelayAllocate(1), this.plane.now());
    await until(`${this.name} has a slot`, () => this.slot !== null);
  }

  /** Forgets its session with the relay, as a node that restarts does. */
  forget(relay: NetmapNode): void {
    this.engine.flush(this.peer(relay.publicKey), this.plane.now());
  }

  /** `other` is a peer at the relay. */
  meet(other: LabNode): Peer {
    const peer = this.peer(other.publicKey);
    this.engine.setEndpoint(peer, relayedEndpoint(RELAY_NUMBER, other.slot as Uint8Array), this.plane.now());
    return peer;
  }

  /** A session with the peer, and a ping that is answered. */
  async reaches(other: LabNode, txid = 4711): Promise<void> {
    const peer = this.meet(other);
    other.meet(this);
    this.engine.begin(peer, this.plane.now());
    await until(`${this.name} has a session with ${other.name}`, () => this.plane.canSend(peer.slot, this.plane.now()));
    this.plane.sendFrame(peer.slot, encodePing(txid, 1_000), this.plane.now());
    await until(`${other.name} answers`, () =>
      this.frames.some((one) => one.peer === peer && one.frame.kind === 'pong' && one.frame.txid === txid),
    );
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#control.stop(null).catch(() => undefined);
    if (this.#scheduled !== null) clearImmediate(this.#scheduled);
    this.engine.close(this.plane.now());
    this.plane.close();
  }

  #schedule(): void {
    if (this.#closed) return;
    this.#scheduled ??= setImmediate(() => {
      this.#scheduled = null;
      if (!this.#closed && this.engine.handleWake(this.plane.now())) this.#schedule();
    });
  }
}
