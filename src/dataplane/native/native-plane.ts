// DataPlane over the addon: turns endpoints, prefixes and configurations into the shared scratch memory and calls native/.
// Every decision and every packet is native's; here are only types, views and names. Live: createNativePlane, in memory:
// memory-plane.ts.

import { assert } from '../../base/assert.ts';
import type { Instant } from '../../base/instant.ts';
import type { Endpoint, IpPrefix } from '../../base/ip.ts';
import { isRelayed, RELAY_SLOT_BYTES, RELAYS_MAX } from '../../base/relayed.ts';
import {
  type BindResult,
  type DataPlane,
  DROP_REASONS,
  type DropReason,
  type FrameSent,
  type KeypairConfig,
  type LocalIndex,
  type PeerSlot,
  RECORD_CHUNK_PEERS,
  RECORD_FIELDS,
  type RelayLimits,
  type SocketConfig,
  TOTALS,
  type Total,
} from '../dataplane.ts';
import {
  loadAddon,
  type NativeAddon,
  type NativeLiveOptions,
  type NativePlaneObject,
  type NativeStatus,
} from './addon.ts';
import { errnoName, explainOpen, explainSockets } from './explain.ts';
import { Scratch } from './scratch.ts';

export const PEERS_MAX_DEFAULT = 65_536;
export const SLAB_SLOTS_DEFAULT = 1024;
export const MTU_DEFAULT = 1420;
/** By the numbers of FrameSent in native/dataplane/plane.h. */
const FRAME_SENT: readonly FrameSent[] = ['sent', 'noKeypair', 'tooBig', 'failed'];

/** What both kinds of native plane are. */
export class NativeDataPlane implements DataPlane {
  readonly descriptors: Uint32Array;
  readonly descriptorTimes: Float64Array;
  readonly slab: Uint8Array;
  readonly slabSlots: number;
  protected readonly native: NativePlaneObject;
  protected readonly scratch: Scratch;
  readonly #recordChunks: Float64Array[] = [];
  #unreleased = 0;

  constructor(native: NativePlaneObject, slabSlots: number) {
    this.native = native;
    this.scratch = new Scratch(native.scratchMemory());
    const descriptors = native.descriptorMemory();
    this.descriptors = new Uint32Array(descriptors);
    this.descriptorTimes = new Float64Array(descriptors);
    this.slab = new Uint8Array(native.slabMemory());
    this.slabSlots = slabSlots;
  }

  now(): Instant {
    return this.native.now() as Instant;
  }

  // — device —

  setPublicKey(publicKey: Uint8Array | null): void {
    this.native.setPublicKey(publicKey);
  }

  bind(config: SocketConfig): BindResult {
    const port = this.native.bind(config.port, config.fwmark);
    return port < 0 ? { ok: false, errno: errnoName(-port) } : { ok: true, port };
  }

  unbind(): void {
    this.native.unbind();
  }

  setFwmark(fwmark: number): void {
    this.native.setFwmark(fwmark);
  }

  setDeadline(at: Instant): void {
    this.native.setDeadline(at);
  }

  setRelay(relay: number, endpoint: Endpoint | null): void {
    assert(Number.isInteger(relay) && relay >= 1 && relay <= RELAYS_MAX, 'relays are numbered 1 … RELAYS_MAX');
    assert(endpoint === null || !isRelayed(endpoint), 'a relay is not behind a relay');
    this.scratch.writeFirst(endpoint);
    this.native.setRelay(relay);
  }

  // — peers —

  addPeer(options: { readonly roaming: boolean }): PeerSlot {
    return this.native.addPeer(options.roaming) as PeerSlot;
  }

  removePeer(peer: PeerSlot): void {
    this.native.removePeer(peer);
  }

  setEndpoint(peer: PeerSlot, endpoint: Endpoint | null): void {
    this.scratch.writeFirst(endpoint);
    this.native.setEndpoint(peer);
  }

  endpoint(peer: PeerSlot): Endpoint | null {
    this.native.endpoint(peer);
    return this.scratch.readFirst();
  }

  clearSource(peer: PeerSlot): void {
    this.native.clearSource(peer);
  }

  setPathMtu(peer: PeerSlot, mtu: number): void {
    assert(Number.isInteger(mtu) && mtu >= 0, 'an MTU is a number of bytes');
    this.native.setPathMtu(peer, mtu);
  }

  setRelaySlot(peer: PeerSlot, slot: Uint8Array | null, limits: RelayLimits): void {
    const wellFormed = slot === null || (slot.length === RELAY_SLOT_BYTES && slot.some((byte) => byte !== 0));
    assert(wellFormed, 'a relay slot has 8 bytes, not all zero');
    this.native.setRelaySlot(peer, slot, limits.bytesPerSecond, limits.burstBytes);
  }

  insertAllowedIp(peer: PeerSlot, prefix: IpPrefix): void {
    const ipv6 = prefix.includes(':');
    this.native.insertAllowedIp(peer, ipv6, this.scratch.writePrefix(prefix, ipv6));
  }

  removeAllowedIp(peer: PeerSlot, prefix: IpPrefix): void {
    const ipv6 = prefix.includes(':');
    this.native.removeAllowedIp(peer, ipv6, this.scratch.writePrefix(prefix, ipv6));
  }

  record(peer: PeerSlot): { readonly view: Float64Array; readonly offset: number } {
    const index = Math.floor(peer / RECORD_CHUNK_PEERS);
    let view = this.#recordChunks[index];
    if (view === undefined) {
      view = new Float64Array(this.native.recordChunk(index));
      this.#recordChunks[index] = view;
    }
    return { view, offset: (peer % RECORD_CHUNK_PEERS) * RECORD_FIELDS };
  }

  // — sessions —

  expectIndex(index: LocalIndex, peer: PeerSlot): boolean {
    return this.native.expectIndex(index, peer);
  }

  forgetIndex(index: LocalIndex): void {
    this.native.forgetIndex(index);
  }

  installKeypair(peer: PeerSlot, keypair: KeypairConfig): void {
    this.scratch.writeLimits({ firstSendCounter: 0n, ...keypair });
    const { localIndex, remoteIndex, sendKey, receiveKey, role } = keypair;
    this.native.installKeypair(peer, localIndex, remoteIndex, sendKey, receiveKey, role === 'initiator');
  }

  expireSending(peer: PeerSlot): void {
    this.native.expireSending(peer);
  }

  clearKeypairs(peer: PeerSlot): void {
    this.native.clearKeypairs(peer);
  }

  canSend(peer: PeerSlot, now: Instant): boolean {
    return this.native.canSend(peer, now);
  }

  flushStaged(peer: PeerSlot, now: Instant): number {
    return this.native.flushStaged(peer, now);
  }

  dropStaged(peer: PeerSlot, options: { readonly unreachable: boolean }, now: Instant): number {
    return this.native.dropStaged(peer, options.unreachable, now);
  }

  sendKeepalive(peer: PeerSlot, now: Instant): boolean {
    return this.native.sendKeepalive(peer, now);
  }

  sendFrame(peer: PeerSlot, frame: Uint8Array, now: Instant): boolean {
    return this.native.sendFrame(peer, frame, now);
  }

  sendFrameTo(
    peer: PeerSlot,
    frame: Uint8Array,
    endpoint: Endpoint,
    options: { readonly dontFragment: boolean },
    now: Instant,
  ): FrameSent {
    this.scratch.writeFirst(endpoint);
    return FRAME_SENT[this.native.sendFrameTo(peer, frame, options.dontFragment, now)] as FrameSent;
  }

  // — control datagrams —

  sendHandshake(peer: PeerSlot, message: Uint8Array, now: Instant): boolean {
    return this.native.sendHandshake(peer, message, now);
  }

  sendTo(endpoint: Endpoint, datagram: Uint8Array): boolean {
    this.scratch.writeFirst(endpoint);
    return this.native.sendTo(datagram);
  }

  reply(handle: number, datagram: Uint8Array): boolean {
    return this.native.reply(handle, datagram);
  }

  authenticated(peer: PeerSlot, handle: number, now: Instant): void {
    this.native.authenticated(peer, handle, now);
  }

  // — what comes up —

  poll(now: Instant): number {
    assert(this.#unreleased === 0, 'what was polled is released before the next poll');
    this.#unreleased = this.native.poll(now);
    return this.#unreleased;
  }

  get backlog(): number {
    return this.native.backlog();
  }

  release(count: number): void {
    assert(count <= this.#unreleased, 'only what was polled is released');
    this.#unreleased -= count;
    this.native.release(count);
  }

  rearm(peer: PeerSlot, notifications: number, now: Instant): void {
    this.native.rearm(peer, notifications, now);
  }

  drops(): Record<DropReason, number> {
    this.native.counters();
    return named(DROP_REASONS, this.scratch.counters, 0);
  }

  totals(): Record<Total, number> {
    this.native.counters();
    return named(TOTALS, this.scratch.counters, DROP_REASONS.length);
  }

  close(): void {
    this.native.close();
  }
}

function named<Name extends string>(names: readonly Name[], values: Float64Array, from: number): Record<Name, number> {
  return Object.fromEntries(names.map((name, i) => [name, values[from + i]])) as Record<Name, number>;
}

// — live —

export type NativePlaneConfig = CommonConfig & (TunConfig | NoTunConfig);

interface CommonConfig {
  /** Threads, each with sockets and (with a TUN) a TUN queue of its own. */
  readonly queues?: number;
  readonly peersMax?: number;
  readonly slabSlots?: number;
  /** Called from the event loop when something is pending; once until `poll`. */
  readonly onWake: () => void;
  /** False: go without the kernel's offloads, to measure or to rule them out. */
  readonly udpOffloads?: boolean;
}

interface TunConfig {
  readonly tun?: 'device';
  /** A pattern like `wg%d` is allowed; the plane says what it became. */
  readonly ifname: string;
  readonly mtu?: number;
  /** An open TUN descriptor to adopt instead (WG_TUN_FD); closed with the plane, also when opening fails. */
  readonly tunFd?: number;
  readonly tunOffloads?: boolean;
}

/**
 * A relay: no interface and so no privilege, the link always up (told once, at the start). What peers send into the tunnel has nowhere
 * to go and is dropped; sessions, frames and relayed datagrams are as ever.
 */
interface NoTunConfig {
  readonly tun: 'none';
}

/** A live plane: what an interface of this machine and its sockets do, beside DataPlane. */
export class LiveNativePlane extends NativeDataPlane {
  readonly #addon: NativeAddon;

  constructor(addon: NativeAddon, native: NativePlaneObject, slabSlots: number) {
    super(native, slabSlots);
    this.#addon = addon;
  }

  /** The interface's name, its kernel features, the cipher in use; after `close` as it was. */
  status(): NativeStatus {
    return this.native.status();
  }

  /** Whether an open plane keeps the process alive (it does unless told otherwise). */
  holdLoop(hold: boolean): void {
    this.native.holdLoop(hold);
  }

  /** All threads of the process keep CAP_NET_ADMIN and CAP_NET_BIND_SERVICE at most, for good. Null, or what failed. */
  dropPrivileges(): string | null {
    return outcome(this.#addon.dropPrivileges());
  }

  /** No core dump, no ptrace by the same user. Null, or what failed. */
  disableCoreDumps(): string | null {
    return outcome(this.#addon.disableCoreDumps());
  }

  /** Lets all session keys be locked into memory; before `dropPrivileges`. Null, or what failed. */
  raiseMemlockLimit(): string | null {
    return outcome(this.#addon.raiseMemlockLimit());
  }
}

function outcome(failure: { readonly code: number; readonly step: string } | null): string | null {
  return failure === null ? null : `${failure.step}: ${errnoName(failure.code)}`;
}

export type NativePlaneResult =
  | { readonly ok: true; readonly plane: LiveNativePlane }
  | { readonly ok: false; readonly errno: string; readonly message: string };

/** Opens the interface and starts its threads; nothing is received before `bind`. */
export function createNativePlane(config: NativePlaneConfig): NativePlaneResult {
  const loading = loadAddon();
  if (!loading.ok) return { ok: false, errno: 'ENOEXEC', message: loading.message };
  const slabSlots = config.slabSlots ?? SLAB_SLOTS_DEFAULT;
  const opened = loading.addon.openLive(
    {
      ...tunOptions(config),
      queues: config.queues ?? 1,
      udpOffloads: config.udpOffloads ?? true,
      peersMax: config.peersMax ?? PEERS_MAX_DEFAULT,
      slabSlots,
    },
    config.onWake,
  );
  if ('code' in opened) {
    const message = config.tun === 'none' ? explainSockets(opened) : explainOpen(config.ifname, opened);
    return { ok: false, errno: errnoName(opened.code), message };
  }
  return { ok: true, plane: new LiveNativePlane(loading.addon, opened, slabSlots) };
}

function tunOptions(
  config: NativePlaneConfig,
): Pick<NativeLiveOptions, 'tun' | 'ifname' | 'mtu' | 'tunFd' | 'tunOffloads'> {
  if (config.tun === 'none') return { tun: false, ifname: '', mtu: MTU_DEFAULT, tunFd: -1, tunOffloads: false };
  const { ifname, mtu = MTU_DEFAULT, tunFd = -1, tunOffloads = true } = config;
  return { tun: true, ifname, mtu, tunFd, tunOffloads };
}
