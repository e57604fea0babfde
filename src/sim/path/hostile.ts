// Those who mean harm: an outsider who replays, forges sources, STUN answers and relayed datagrams; a member that lies about its
// addresses, sends punches, pongs and slots that nobody asked for; a relay that drops, alters, repeats and misdirects. What they do
// must change no path of others; the checks are the same as in runs without them.

import { fromBase64, toHex } from '../../base/bytes.ts';
import { elapsedMs, type Instant } from '../../base/instant.ts';
import { type Endpoint, formatEndpoint, type IpAddress } from '../../base/ip.ts';
import type { Prng } from '../../base/prng.ts';
import { RELAY_HEADER_BYTES, RELAY_MESSAGE_TYPE } from '../../base/relayed.ts';
import { encodePong, encodeRelaySlot } from '../../mesh/frames.ts';
import { encodeSuccess, looksLikeStun } from '../../path/stun/message.ts';
import { STUN_HEADER_BYTES, TRANSACTION_ID_BYTES } from '../../path/stun/numbers.ts';
import type { PunchRequest } from '../../protocol/control.ts';
import { CANDIDATES_MAX, type Candidate } from '../../protocol/values.ts';
import type { Datagram, Machine } from '../nat/sites.ts';
import { type Lies, type PathNode, TUNNEL_PORT } from './path-node.ts';
import type { PathWorld } from './path-world.ts';
import type { RelayHost, Tampering } from './relay-host.ts';

export const HOSTILITIES = ['none', 'outsider', 'member', 'relay'] as const;
export type Hostility = (typeof HOSTILITIES)[number];

const CAPTURED_MAX = 64;
/** By then the original has arrived, if it does. */
const ARRIVED_MS = 1_000;
/** Of one act. */
const FORGERIES = 12;
const TRANSPORT = 4;
const OWN_PORT = 6_666;
/** Of the packets that cross the internet. */
const OVERTAKEN = 0.03;

/** Whom it is after. */
export interface Targets {
  readonly world: PathWorld;
  readonly nodes: readonly PathNode[];
  readonly relays: readonly RelayHost[];
  readonly stunServers: readonly Endpoint[];
}

/** Sees what crosses the internet, and sends from a place where nobody checks sources. */
export class Outsider {
  readonly #targets: Targets;
  readonly #machine: Machine;
  readonly #prng: Prng;
  readonly #captured: { readonly datagram: Datagram; readonly to: Endpoint; readonly at: Instant }[] = [];

  constructor(targets: Targets, machine: Machine) {
    this.#targets = targets;
    this.#machine = machine;
    this.#prng = targets.world.prng.fork();
    targets.world.topology.eavesdroppers.push((from, datagram) => this.#overhears(from, datagram));
  }

  #overhears(from: Machine, datagram: Datagram): void {
    if (from === this.#machine) return;
    this.#overtakes(datagram);
    const entry = { datagram, to: datagram.destination, at: this.#targets.world.now };
    if (this.#captured.length < CAPTURED_MAX) this.#captured.push(entry);
    else if (this.#prng.chance(0.05)) this.#captured[this.#prng.nextInt(0, CAPTURED_MAX - 1)] = entry;
  }

  /** Takes the place of a packet between nodes: it arrives first, from here. What a relay makes of that is WireGuard's way (paper §6.5). */
  #overtakes(datagram: Datagram): void {
    const { bytes, destination } = datagram;
    if (bytes[0] !== TRANSPORT || !this.#prng.chance(OVERTAKEN)) return;
    if (this.#targets.relays.some(({ endpoints }) => endpoints.includes(destination))) return;
    const own = this.#machine.localEndpoint(OWN_PORT, destination);
    if (own !== null) this.#send(own, destination, bytes);
  }

  act(): void {
    for (let i = 0; i < FORGERIES; i++) {
      const draw = this.#prng.nextInt(0, 3);
      if (draw === 0) this.#replay();
      else if (draw === 1) this.#forgeStun();
      else if (draw === 2) this.#forgeRelayed();
      else this.#imitateRelay();
    }
  }

  get #own(): Endpoint {
    return formatEndpoint(this.#machine.addresses[4] as IpAddress, OWN_PORT);
  }

  /** What was sent before, to where it went or elsewhere, from where it came or from here, perhaps altered. */
  #replay(): void {
    if (this.#captured.length === 0) return;
    const { datagram, to, at } = this.#prng.pick(this.#captured);
    // Whoever is on the way and faster can take a packet's place, and be taken for where its sender is (paper §6.5).
    if (elapsedMs(at, this.#targets.world.now) < ARRIVED_MS) return;
    const bytes = datagram.bytes.slice();
    if (this.#prng.chance(0.3) && bytes.length > 0)
      bytes[this.#prng.nextInt(0, bytes.length - 1)] = this.#prng.nextInt(0, 255);
    const source = this.#prng.chance(0.5) ? datagram.source : this.#own;
    this.#send(source, this.#prng.chance(0.7) ? to : this.#someEndpoint(), bytes);
  }

  /** An answer as if from the server: to a question that was not asked, or to one that was overheard. */
  #forgeStun(): void {
    const id = new Uint8Array(TRANSACTION_ID_BYTES);
    this.#prng.fill(id);
    const asked = this.#captured.find(({ datagram }) => looksLikeStun(datagram.bytes));
    if (asked === undefined || this.#prng.chance(0.5)) {
      const server = this.#prng.pick(this.#targets.stunServers);
      this.#send(server, this.#someEndpoint(), encodeSuccess(id, { xorMapped: this.#own }));
      return;
    }
    id.set(asked.datagram.bytes.subarray(STUN_HEADER_BYTES - TRANSACTION_ID_BYTES, STUN_HEADER_BYTES));
    this.#send(asked.to, asked.datagram.source, encodeSuccess(id, { xorMapped: this.#own }));
  }

  /** To a relay, for somebody's slot, from somebody who has proved nothing there. */
  #forgeRelayed(): void {
    const relayed = this.#captured.find(({ datagram }) => datagram.bytes[0] === RELAY_MESSAGE_TYPE);
    const bytes = relayed?.datagram.bytes.slice() ?? this.#relayedNoise();
    this.#send(this.#own, this.#prng.pick(this.#prng.pick(this.#targets.relays).endpoints), bytes);
  }

  /** To a node, as if forwarded by a relay. */
  #imitateRelay(): void {
    const relay = this.#prng.pick(this.#targets.relays).endpoints[0] as Endpoint;
    this.#send(this.#prng.chance(0.5) ? relay : this.#own, this.#someEndpoint(), this.#relayedNoise());
  }

  #relayedNoise(): Uint8Array {
    const inner = this.#captured.length === 0 ? new Uint8Array(32) : this.#prng.pick(this.#captured).datagram.bytes;
    const bytes = new Uint8Array(RELAY_HEADER_BYTES + inner.length);
    bytes[0] = RELAY_MESSAGE_TYPE;
    bytes[RELAY_HEADER_BYTES - 1] = this.#prng.nextInt(1, 255);
    bytes.set(inner, RELAY_HEADER_BYTES);
    return bytes;
  }

  /** Where a box or a machine of somebody's is, as far as can be seen from outside. */
  #someEndpoint(): Endpoint {
    const seen = this.#captured.length === 0 ? undefined : this.#prng.pick(this.#captured).datagram;
    const node = this.#prng.pick(this.#targets.nodes);
    const address = node.machine.site.boxes[4].at(-1)?.external ?? node.machine.addresses[4];
    if (seen !== undefined && this.#prng.chance(0.5)) return seen.destination;
    return address === null ? this.#own : formatEndpoint(address, TUNNEL_PORT);
  }

  #send(source: Endpoint, destination: Endpoint, bytes: Uint8Array): void {
    if (source.startsWith('[') !== destination.startsWith('[')) return;
    this.#machine.forge({ bytes, source, destination, dontFragment: false });
  }
}

/** A member whose word is worth nothing. */
export class Liar implements Lies {
  readonly #world: PathWorld;
  readonly #prng: Prng;
  /** The others' addresses, once there is somebody who knows them. */
  victims: readonly PathNode[] = [];

  constructor(world: PathWorld) {
    this.#world = world;
    this.#prng = world.prng.fork();
  }

  /** Its own, and those of others, as if they were its own. */
  candidates(own: readonly Candidate[]): readonly Candidate[] {
    return [...this.#stolen(), ...own].slice(0, CANDIDATES_MAX);
  }

  punch(request: PunchRequest): PunchRequest {
    return { ...request, candidates: [...this.#stolen()] };
  }

  #stolen(): Candidate[] {
    const stolen: Candidate[] = [];
    for (const { machine } of this.victims) {
      const address = machine.site.boxes[4].at(-1)?.external ?? machine.addresses[4];
      if (address !== null) stolen.push({ kind: 'reflexive', endpoint: formatEndpoint(address, TUNNEL_PORT) });
    }
    return stolen.slice(0, CANDIDATES_MAX / 2);
  }

  /** Says what nobody asked for, over every session that it has and over the controller. */
  act(self: PathNode): void {
    const { running } = self;
    if (running === null) return;
    const { now } = this.#world;
    for (const { id, publicKey } of running.mesh.netmap.nodes()) {
      const peer = running.mesh.engine.peer(toHex(fromBase64(publicKey, 32) ?? new Uint8Array()));
      const txid = this.#prng.nextU32();
      if (peer !== undefined) {
        running.plane.sendFrame(peer.slot, encodePong(txid, new Uint8Array([203, 0, 113, 1]), 4_242), now);
        running.plane.sendFrame(peer.slot, encodeRelaySlot(txid, new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8])), now);
      }
      const candidates = this.#stolen();
      running.client.punch({ type: 'punch', to: id, txid, reply: this.#prng.chance(0.5), candidates, reach: null });
      // Sometimes it begins a session, so that there is one to lie over.
      if (this.#prng.chance(0.3)) running.mesh.ping(id, now);
    }
    self.settle();
  }
}

/** What such a relay makes of each datagram that it would send. */
export function tampering(prng: Prng): Tampering {
  let kept: Uint8Array | null = null;
  return (datagram) => {
    if (datagram[0] !== RELAY_MESSAGE_TYPE || prng.chance(0.5)) return datagram;
    if (prng.chance(0.4)) return null;
    const bytes = datagram.slice();
    const draw = prng.nextInt(0, 2);
    if (draw === 0) bytes[prng.nextInt(RELAY_HEADER_BYTES, bytes.length - 1)] = prng.nextInt(0, 255);
    // Another's slot: as if somebody else had sent it.
    else if (draw === 1) prng.fill(bytes.subarray(4, RELAY_HEADER_BYTES));
    else if (kept !== null) return kept;
    kept = datagram.slice();
    return bytes;
  };
}
