// The reference data plane: docs/dataplane.md in plain TypeScript and in memory. The oracle that the native plane is held
// against, and the plane of the engine's tests and of the simulator. Clear rather than fast; no threads, no sockets, no
// TUN: the further sides are the arrays behind `io`, and time is what `io.setNow` said last.

import { assert } from '../../base/assert.ts';
import { ascii } from '../../base/bytes.ts';
import { type Instant, NEVER } from '../../base/instant.ts';
import type { Endpoint, IpPrefix } from '../../base/ip.ts';
import { isRelayed, RELAY_SLOT_BYTES, RELAYS_MAX } from '../../base/relayed.ts';
import type { CryptoProvider } from '../../crypto/provider.ts';
import {
  type BindResult,
  DescriptorKind,
  type DropReason,
  type FrameSent,
  type KeypairConfig,
  type LocalIndex,
  type MemoryDataPlane,
  type MemoryIo,
  NO_PEER,
  Notify,
  type PeerSlot,
  RecordField,
  type RelayLimits,
  type SocketConfig,
  type Total,
} from '../dataplane.ts';
import { DescriptorTable } from './descriptor-table.ts';
import { followSource, fromNetwork, stampReceipt } from './inbound.ts';
import { keypairFrom, maySend } from './keypairs.ts';
import {
  canReach,
  dropStaged,
  flushStaged,
  fromTunnel,
  sendAuthenticated,
  sendFrameTo,
  sendKeepaliveOrFrame,
} from './outbound.ts';
import { isReachable, newPeer, newState, type Peer, type PlaneState, retireKeypairs, writeUdp } from './state.ts';

/** Most that one `poll` takes. */
export const POLL_MAX = 256;
const FRAME_BYTES_MAX = 1500;
/** What `bind` with port 0 gives: there is no one to share ports with. */
const ANY_PORT = 51_820;

export interface ReferencePlaneOptions {
  readonly crypto: CryptoProvider;
  readonly peersMax?: number;
  readonly mtu?: number;
  readonly slabSlots?: number;
  /** Called, within the call that caused it, when something is pending; once until `poll`. It must not call back. */
  readonly onWake?: () => void;
}

export function createReferencePlane(options: ReferencePlaneOptions): MemoryDataPlane {
  return new ReferencePlane(options);
}

class ReferencePlane implements MemoryDataPlane {
  readonly io: MemoryIo;
  readonly #table = new DescriptorTable(POLL_MAX);
  readonly descriptors = this.#table.words;
  readonly descriptorTimes = this.#table.times;
  readonly slab: Uint8Array;
  readonly slabSlots: number;
  readonly #peersMax: number;
  readonly #state: PlaneState;
  readonly #freeSlots: PeerSlot[] = [];
  #backlog = 0;
  #polled = 0;
  #closed = false;

  constructor(options: ReferencePlaneOptions) {
    this.#peersMax = options.peersMax ?? 65_536;
    const state = newState({
      crypto: options.crypto,
      mtu: options.mtu ?? 1420,
      slabSlots: options.slabSlots ?? 1024,
      onWake: options.onWake ?? (() => {}),
    });
    this.#state = state;
    this.slab = state.slab.bytes;
    this.slabSlots = state.slab.slots;
    this.io = {
      setNow: (now) => this.#setNow(now),
      setMtu: (mtu) => this.#setMtu(mtu),
      tunInput: (packet) => {
        if (!this.#closed) fromTunnel(state, packet);
      },
      udpInput: (bytes, source, local) => {
        if (state.port !== 0) fromNetwork(state, { bytes, source, local });
      },
      takeTunOutput: () => state.tunOutput.splice(0),
      takeUdpOutput: () => state.udpOutput.splice(0),
    };
  }

  get backlog(): number {
    return this.#backlog;
  }

  now(): Instant {
    return this.#state.now;
  }

  // — device —

  setPublicKey(publicKey: Uint8Array | null): void {
    const { crypto } = this.#state;
    this.#state.mac1Key = publicKey === null ? null : crypto.hash(ascii('mac1----'), publicKey);
  }

  bind(config: SocketConfig): BindResult {
    assert(!this.#closed, 'a closed plane is not bound');
    this.#state.port = config.port === 0 ? ANY_PORT : config.port;
    return { ok: true, port: this.#state.port };
  }

  unbind(): void {
    this.#state.port = 0;
  }

  setFwmark(_fwmark: number): void {}

  setDeadline(at: Instant): void {
    this.#state.events.withdrawDeadline();
    this.#state.deadline = at;
    this.#checkDeadline();
  }

  setRelay(relay: number, endpoint: Endpoint | null): void {
    assert(Number.isInteger(relay) && relay >= 1 && relay <= RELAYS_MAX, 'relays are numbered 1 … RELAYS_MAX');
    assert(endpoint === null || !isRelayed(endpoint), 'a relay is not behind a relay');
    this.#state.relays[relay] = endpoint ?? undefined;
  }

  #setNow(now: Instant): void {
    this.#state.now = now;
    this.#checkDeadline();
  }

  #checkDeadline(): void {
    const state = this.#state;
    if (this.#closed || state.now < state.deadline) return;
    state.deadline = NEVER;
    state.events.raiseDeadline();
  }

  #setMtu(mtu: number): void {
    if (mtu === this.#state.mtu) return;
    this.#state.mtu = mtu;
    this.#state.events.raiseMtu(mtu);
  }

  // — peers —

  addPeer(options: { readonly roaming: boolean }): PeerSlot {
    const { peers } = this.#state;
    const slot = this.#freeSlots.pop() ?? peers.length;
    assert(slot < this.#peersMax, 'there are at most peersMax peers');
    peers[slot] = newPeer(this.#state, slot as PeerSlot, options.roaming);
    return slot as PeerSlot;
  }

  removePeer(slot: PeerSlot): void {
    const peer = this.#peer(slot);
    const state = this.#state;
    this.clearKeypairs(slot);
    dropStaged(state, peer, false, state.now);
    for (const index of peer.expected) state.indexes.delete(index);
    state.allowedIps.removeAll(peer);
    state.slab.removePeer(slot);
    state.events.removePeer(peer.news);
    state.relayTable.remove(peer);
    state.peers[slot] = undefined;
    this.#freeSlots.push(slot);
  }

  setEndpoint(slot: PeerSlot, endpoint: Endpoint | null): void {
    const peer = this.#peer(slot);
    peer.endpoint = endpoint;
    peer.source = null;
    peer.roamedTold = null;
    this.#state.relayTable.follow(peer);
  }

  endpoint(slot: PeerSlot): Endpoint | null {
    return this.#peer(slot).endpoint;
  }

  clearSource(slot: PeerSlot): void {
    this.#peer(slot).source = null;
  }

  setPathMtu(slot: PeerSlot, mtu: number): void {
    assert(Number.isInteger(mtu) && mtu >= 0, 'an MTU is a number of bytes');
    this.#peer(slot).pathMtu = mtu;
  }

  setRelaySlot(slot: PeerSlot, relaySlot: Uint8Array | null, limits: RelayLimits): void {
    const peer = this.#peer(slot);
    if (relaySlot === null) {
      this.#state.relayTable.remove(peer);
      return;
    }
    const wellFormed = relaySlot.length === RELAY_SLOT_BYTES && relaySlot.some((byte) => byte !== 0);
    assert(wellFormed, 'a relay slot has 8 bytes, not all zero');
    this.#state.relayTable.set(peer, relaySlot, limits, this.#state.now);
  }

  insertAllowedIp(slot: PeerSlot, prefix: IpPrefix): void {
    this.#state.allowedIps.insert(prefix, this.#peer(slot));
  }

  removeAllowedIp(slot: PeerSlot, prefix: IpPrefix): void {
    this.#state.allowedIps.remove(prefix, this.#peer(slot));
  }

  record(slot: PeerSlot): { readonly view: Float64Array; readonly offset: number } {
    const { view, offset } = this.#peer(slot).record;
    return { view, offset };
  }

  // — sessions —

  expectIndex(index: LocalIndex, slot: PeerSlot): boolean {
    const peer = this.#peer(slot);
    if (this.#state.indexes.has(index)) return false;
    this.#state.indexes.set(index, { peer, keypair: null });
    peer.expected.add(index);
    return true;
  }

  forgetIndex(index: LocalIndex): void {
    const owner = this.#state.indexes.get(index);
    if (owner === undefined || owner.keypair !== null) return;
    owner.peer.expected.delete(index);
    this.#state.indexes.delete(index);
  }

  installKeypair(slot: PeerSlot, config: KeypairConfig): void {
    const state = this.#state;
    const peer = this.#peer(slot);
    const owner = state.indexes.get(config.localIndex);
    assert(owner === undefined || (owner.peer === peer && owner.keypair === null), "a keypair's index is its own");
    const keypair = keypairFrom(config);
    const displaced =
      config.role === 'initiator'
        ? peer.keypairs.installAsInitiator(keypair)
        : peer.keypairs.installAsResponder(keypair);
    retireKeypairs(state, peer, displaced);
    peer.expected.delete(config.localIndex);
    state.indexes.set(config.localIndex, { peer, keypair });
    peer.news.armed |= Notify.rekeyOnSend | Notify.rekeyOnReceive;
    if (state.events.withdraw(peer.news, DescriptorKind.sessionWanted)) peer.news.armed |= Notify.sessionWanted;
  }

  expireSending(slot: PeerSlot): void {
    const { current, next } = this.#peer(slot).keypairs;
    if (current !== null) current.receiveOnly = true;
    if (next !== null) next.receiveOnly = true;
  }

  clearKeypairs(slot: PeerSlot): void {
    const peer = this.#peer(slot);
    retireKeypairs(this.#state, peer, peer.keypairs.clear());
  }

  canSend(slot: PeerSlot, now: Instant): boolean {
    const peer = this.#peer(slot);
    if (peer.endpoint === null || !isReachable(this.#state, peer.endpoint)) return false;
    return maySend(peer.keypairs.current, now);
  }

  flushStaged(slot: PeerSlot, now: Instant): number {
    return flushStaged(this.#state, this.#peer(slot), now);
  }

  dropStaged(slot: PeerSlot, options: { readonly unreachable: boolean }, now: Instant): number {
    return dropStaged(this.#state, this.#peer(slot), options.unreachable, now);
  }

  sendKeepalive(slot: PeerSlot, now: Instant): boolean {
    return sendKeepaliveOrFrame(this.#state, this.#peer(slot), null, now);
  }

  sendFrame(slot: PeerSlot, frame: Uint8Array, now: Instant): boolean {
    assert(isWellFormed(frame), 'a frame begins with a zero nibble and has at most 1,500 bytes');
    return sendKeepaliveOrFrame(this.#state, this.#peer(slot), frame, now);
  }

  sendFrameTo(
    slot: PeerSlot,
    frame: Uint8Array,
    endpoint: Endpoint,
    _options: { readonly dontFragment: boolean },
    now: Instant,
  ): FrameSent {
    assert(isWellFormed(frame), 'a frame begins with a zero nibble and has at most 1,500 bytes');
    return sendFrameTo(this.#state, this.#peer(slot), frame, endpoint, now);
  }

  // — control datagrams —

  sendHandshake(slot: PeerSlot, message: Uint8Array, now: Instant): boolean {
    const peer = this.#peer(slot);
    if (peer.endpoint === null || !canReach(this.#state, peer)) return false;
    sendAuthenticated(this.#state, peer, peer.endpoint, message.slice(), now);
    return true;
  }

  sendTo(endpoint: Endpoint, datagram: Uint8Array): boolean {
    if (this.#state.port === 0 || !isReachable(this.#state, endpoint)) return false;
    writeUdp(this.#state, datagram.slice(), endpoint, null);
    return true;
  }

  reply(handle: number, datagram: Uint8Array): boolean {
    const item = this.#state.slab.item(handle);
    if (this.#state.port === 0 || item === undefined || !isReachable(this.#state, item.source)) return false;
    writeUdp(this.#state, datagram.slice(), item.source, item.local);
    return true;
  }

  authenticated(slot: PeerSlot, handle: number, now: Instant): void {
    const peer = this.#peer(slot);
    const item = this.#state.slab.item(handle);
    if (item === undefined) return;
    stampReceipt(peer, item.length, now);
    followSource(this.#state, peer, item.source, item.local);
  }

  // — what comes up —

  poll(now: Instant): number {
    assert(this.#polled === 0, 'what was polled is released before the next poll');
    const { events, slab, totals, wakeUp } = this.#state;
    wakeUp.outstanding = false;
    this.#backlog = slab.waiting;
    let count = 0;
    for (const { kind, peer, source, receivedAt, offset, length, slot } of slab.take(POLL_MAX)) {
      const content = { offset, length, handle: slot, value: 0, value2: 0 };
      this.#table.write(count++, { kind, peer, source, time: receivedAt, ...content });
    }
    totals.controlDelivered += count;
    while (count < POLL_MAX) {
      const event = events.take();
      if (event === undefined) break;
      const content = { offset: 0, length: 0, handle: 0 };
      this.#table.write(count++, { ...event, peer: event.peer ?? NO_PEER, time: now, ...content });
      totals.eventsDelivered++;
    }
    this.#polled = count;
    return count;
  }

  release(count: number): void {
    assert(count <= this.#polled, 'only what was polled is released');
    this.#polled -= count;
    // Datagrams stand before events, so they are the first to be released.
    this.#state.slab.release(count);
  }

  rearm(slot: PeerSlot, notifications: number, now: Instant): void {
    const peer = this.#peer(slot);
    const { events } = this.#state;
    const { news, record } = peer;
    news.armed |= notifications;
    if (
      (notifications & Notify.sessionWanted) !== 0 &&
      peer.staging.length > 0 &&
      !maySend(peer.keypairs.current, now)
    ) {
      events.notify(news, Notify.sessionWanted, DescriptorKind.sessionWanted);
    }
    if ((notifications & Notify.answerOwed) !== 0 && record.get(RecordField.answerOwedSince) !== 0) {
      events.notify(news, Notify.answerOwed, DescriptorKind.answerOwed);
    }
    if ((notifications & Notify.answerAwaited) !== 0 && record.get(RecordField.answerAwaitedSince) !== 0) {
      events.notify(news, Notify.answerAwaited, DescriptorKind.answerAwaited);
    }
  }

  drops(): Record<DropReason, number> {
    return { ...this.#state.drops };
  }

  totals(): Record<Total, number> {
    return { ...this.#state.totals };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.unbind();
    for (const peer of [...this.#state.peers]) if (peer !== undefined) this.removePeer(peer.slot);
    this.#state.slab.wipe();
  }

  #peer(slot: PeerSlot): Peer {
    const peer = this.#state.peers[slot];
    assert(peer !== undefined, `peer ${slot} exists`);
    return peer;
  }
}

function isWellFormed(frame: Uint8Array): boolean {
  const first = frame[0];
  return first !== undefined && first >> 4 === 0 && frame.length <= FRAME_BYTES_MAX;
}
