// One or more planes driven in step by a seeded script, and what the script knows of them: logical peers (each plane has its
// own slot for one), the remote halves of sessions, messages held back for later. Every observation is compared with the
// first plane's. Left out: what planes may number as they like (slots, slab offsets, handles) and calls of the kernel.

import { isDeepStrictEqual } from 'node:util';
import { ascii, concat, toHex, writeU32le, writeU64le } from '../../src/base/bytes.ts';
import type { Instant } from '../../src/base/instant.ts';
import type { Endpoint } from '../../src/base/ip.ts';
import { Prng } from '../../src/base/prng.ts';
import { nodeProvider } from '../../src/crypto/node.ts';
import {
  type KeypairConfig,
  type LocalIndex,
  type MemoryDataPlane,
  NO_PEER,
  type PeerSlot,
  RECORD_FIELDS,
} from '../../src/dataplane/dataplane.ts';
import { decodeDescriptor, LOCAL_V4, LOCAL_V6, PORT, START } from './lab.ts';

const crypto = nodeProvider;
const NOTHING = new Uint8Array(0);
export const PUBLIC_KEYS = [new Uint8Array(32).fill(7), new Uint8Array(32).fill(9)] as const;

/** Slots of one logical peer, one per plane. */
export interface ScriptPeer {
  readonly id: number;
  readonly slots: readonly PeerSlot[];
}

/** The remote half of a keypair, kept also after the plane has forgotten it. */
export interface ScriptSession {
  readonly peer: ScriptPeer;
  readonly config: KeypairConfig;
  counter: bigint;
}

export class World {
  readonly planes: readonly MemoryDataPlane[];
  readonly random: Prng;
  readonly peers: ScriptPeer[] = [];
  readonly sessions: ScriptSession[] = [];
  /** Messages that were built and not delivered, or delivered and may be again. */
  readonly held: { datagram: Uint8Array; source: Endpoint }[] = [];
  /** Indexes that were expected at some time and have no keypair. */
  expected: LocalIndex[] = [];
  /** Kinds of descriptors that came up, for coverage. */
  readonly kindsSeen = new Set<number>();
  now = START as Instant;
  publicKey: Uint8Array | null = PUBLIC_KEYS[0];
  #ids = 0;
  #index = 1;
  #story = 'start';
  #happening = '';

  constructor(planes: readonly MemoryDataPlane[], seed: number) {
    this.planes = planes;
    this.random = new Prng(seed);
    this.all((plane) => {
      plane.io.setNow(this.now);
      plane.setPublicKey(this.publicKey);
      return plane.bind({ port: PORT, fwmark: 0 });
    });
  }

  /** What the present step is doing, for the message of a failure. */
  tell(story: string): void {
    this.#story = story;
    this.#happening = '';
  }

  /** Does the same to every plane; the results must be the same. Returns the first plane's. */
  all<T>(action: (plane: MemoryDataPlane, number: number) => T): T {
    const results = this.planes.map(action);
    for (const [i, result] of results.entries()) this.same(`result on plane ${i}`, result, results[0]);
    return results[0] as T;
  }

  /** As `all`, for a call about one peer. */
  onPeer<T>(peer: ScriptPeer, action: (plane: MemoryDataPlane, slot: PeerSlot) => T): T {
    return this.all((plane, i) => action(plane, peer.slots[i] as PeerSlot));
  }

  same(what: string, actual: unknown, expected: unknown): void {
    if (isDeepStrictEqual(actual, expected)) return;
    throw new Error(
      `${this.#story}: ${what}\n  last input:  ${this.#happening}\n  first plane: ${show(expected)}\n  this plane:  ${show(actual)}`,
    );
  }

  // — peers and sessions —

  addPeer(roaming: boolean): ScriptPeer {
    const peer = { id: this.#ids++, slots: this.planes.map((plane) => plane.addPeer({ roaming })) };
    this.peers.push(peer);
    return peer;
  }

  removePeer(peer: ScriptPeer): void {
    for (const [i, plane] of this.planes.entries()) plane.removePeer(peer.slots[i] as PeerSlot);
    this.peers.splice(this.peers.indexOf(peer), 1);
  }

  nextIndex(): LocalIndex {
    return this.#index++ as LocalIndex;
  }

  bytes(length: number): Uint8Array {
    const out = new Uint8Array(length);
    this.random.fill(out);
    return out;
  }

  install(peer: ScriptPeer, config: KeypairConfig): ScriptSession {
    this.onPeer(peer, (plane, slot) => plane.installKeypair(slot, config));
    const session = { peer, config, counter: 0n };
    this.sessions.push(session);
    if (this.sessions.length > 24) this.sessions.shift();
    return session;
  }

  seal(session: ScriptSession, plaintext: Uint8Array, counter: bigint = session.counter++): Uint8Array {
    const header = new Uint8Array(16);
    writeU32le(header, 0, 4);
    writeU32le(header, 4, session.config.localIndex);
    writeU64le(header, 8, counter);
    return concat(header, crypto.seal(session.config.receiveKey, counter, plaintext, NOTHING));
  }

  withMac1(message: Uint8Array): Uint8Array {
    const key = crypto.hash(ascii('mac1----'), this.publicKey ?? PUBLIC_KEYS[0]);
    const mac1At = message.length - 32;
    message.set(crypto.mac(key, message.subarray(0, mac1At)), mac1At);
    return message;
  }

  receive(datagram: Uint8Array, source: Endpoint, local?: Endpoint): void {
    const to = local ?? (source.startsWith('[') ? LOCAL_V6 : LOCAL_V4);
    this.#happening = `datagram ${toHex(datagram)} from ${source}`;
    for (const plane of this.planes) plane.io.udpInput(datagram, source, to);
  }

  tunnel(packet: Uint8Array): void {
    this.#happening = `packet ${toHex(packet)}`;
    for (const plane of this.planes) plane.io.tunInput(packet);
  }

  // — observations —

  /** What has left since: the same bytes in the same order from every plane. */
  compareOutputs(): void {
    this.all((plane) => plane.io.takeTunOutput().map(toHex));
    this.all((plane) =>
      plane.io.takeUdpOutput().map(({ datagram, destination, source }) => [toHex(datagram), destination, source]),
    );
  }

  /** Polls; `about` may use the handle of each descriptor on each plane before it is released. */
  poll(about: (number: number, handles: readonly number[], kind: number) => void): void {
    const count = this.all((plane) => plane.poll(this.now));
    this.all((plane) => plane.backlog);
    for (let number = 0; number < count; number++) {
      const seen = this.planes.map((plane) => decodeDescriptor(plane, number));
      for (const [i, { handle: _, ...descriptor }] of seen.entries()) {
        const { handle: __, ...first } = seen[0] as (typeof seen)[0];
        const plain = (d: typeof descriptor, plane: number): unknown => ({ ...d, peer: this.#peerId(d.peer, plane) });
        this.same(`descriptor ${number} of plane ${i}`, plain(descriptor, i), plain(first, 0));
      }
      const kind = seen[0]?.kind ?? 0;
      this.kindsSeen.add(kind);
      const handles = seen.map(({ handle }) => handle);
      about(number, handles, kind);
    }
    for (const plane of this.planes) plane.release(count);
  }

  #peerId(slot: number, plane: number): number | string {
    if (slot === NO_PEER) return 'none';
    return this.peers.find((peer) => peer.slots[plane] === slot)?.id ?? `slot ${slot} of nobody`;
  }

  compareState(): void {
    for (const peer of this.peers) {
      this.tell(`${this.#story}; state of peer ${peer.id}`);
      this.onPeer(peer, (plane, slot) => {
        const { view, offset } = plane.record(slot);
        return {
          record: [...view.subarray(offset, offset + RECORD_FIELDS)],
          endpoint: plane.endpoint(slot),
          canSend: plane.canSend(slot, this.now),
        };
      });
    }
    this.all((plane) => plane.drops());
    this.all((plane) => {
      const {
        tunReads: _,
        tunWrites: __,
        udpReceiveCalls: ___,
        udpSendCalls: ____,
        wakeUps: _____,
        ...same
      } = plane.totals();
      return same;
    });
  }
}

function show(value: unknown): string {
  const text = JSON.stringify(value, (_, part: unknown) => {
    if (typeof part === 'bigint') return `${part}n`;
    return part instanceof Uint8Array ? toHex(part) : part;
  });
  return text === undefined ? 'undefined' : text.slice(0, 4000);
}
