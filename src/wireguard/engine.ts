// The WireGuard device: peers, our key and the link, put together from attempts, answers, sessions and timers. Sans-IO:
// everything from outside is passed in (the plane, time, entropy, the wall clock). The host calls `handleWake` when the plane
// wakes it and `close` at the end; the control socket configures it through UapiDevice. Nothing here runs per packet.

import { toHex } from '../base/bytes.ts';
import { earliest, type Instant, NEVER, type WallTime } from '../base/instant.ts';
import { type Endpoint, formatAddress, formatEndpoint, type IpPrefix } from '../base/ip.ts';
import type { RandomSource } from '../base/prng.ts';
import type { CryptoProvider, SymmetricKey } from '../crypto/provider.ts';
import {
  type DataPlane,
  DESCRIPTOR_WORDS,
  DescriptorKind,
  LinkChange,
  NO_PEER,
  Notify,
  RecordField,
} from '../dataplane/dataplane.ts';
import { AllowedIps } from './allowed-ips.ts';
import { Answers } from './answers.ts';
import { Attempts } from './attempts.ts';
import type { EngineContext } from './context.ts';
import { EngineCounters } from './counters.ts';
import { Deadlines } from './deadlines.ts';
import { type EndpointHooks, type EngineExtension, UNKNOWN_ENDPOINT } from './extension.ts';
import { LoadMonitor } from './load.ts';
import { resetHandshakes } from './memory.ts';
import type { MessageSource } from './message-source.ts';
import { classify, MessageType } from './messages.ts';
import { Peer, type PeerTimers } from './peer.ts';
import { Sessions } from './sessions.ts';
import { type StampMemory, TimestampSource } from './tai64n.ts';
import { Timers } from './timers.ts';
import type { UapiDevice, UapiPeerStatus } from './uapi/device.ts';

export interface EngineOptions {
  readonly plane: DataPlane;
  readonly crypto: CryptoProvider;
  readonly random: RandomSource;
  readonly wallClock: () => WallTime;
  /** A session without real data for this long is closed; Infinity (the default) = never. */
  readonly idleTimeoutMs?: number;
  /** The link went up or down, was deleted, or its MTU changed. */
  readonly onLink?: (change: number, mtu: number) => void;
  /** The sockets could not be opened when the link came up; the errno name. */
  readonly onBindFailed?: (errno: string) => void;
  /** How far stamps have got in the runs before this one; without it they begin with the clock. */
  readonly stamps?: StampMemory;
  /** The mesh's part; without it the engine is a stock WireGuard. */
  readonly extension?: EngineExtension;
}

const ZERO_KEY_HEX = '0'.repeat(64);

export class Engine implements UapiDevice<Peer> {
  readonly counters = new EngineCounters();
  readonly #context: EngineContext;
  readonly #options: EngineOptions;
  /** Who says where peers are, if they do not roam. */
  readonly #endpoints: EndpointHooks | null;
  readonly #stamps: TimestampSource;
  readonly #sessions: Sessions;
  readonly #attempts: Attempts;
  readonly #answers: Answers;
  readonly #timers: Timers;
  readonly #load: LoadMonitor;
  readonly #allowedIps = new AllowedIps<Peer>();
  readonly #peers = new Map<string, Peer>();
  readonly #peersBySlot: (Peer | undefined)[] = [];
  readonly #descriptorBytes: Uint8Array;
  #privateKey: Uint8Array | null = null;
  #listenPort = 0;
  #fwmark = 0;
  #underLoad = false;
  #deadline: Instant = NEVER;

  constructor(options: EngineOptions) {
    const { plane, crypto, random, wallClock } = options;
    this.#options = options;
    this.#endpoints = options.extension?.endpoints ?? null;
    this.#context = {
      plane,
      crypto,
      random,
      wallClock,
      deadlines: new Deadlines<PeerTimers>(),
      counters: this.counters,
      idleTimeoutMs: options.idleTimeoutMs ?? Number.POSITIVE_INFINITY,
      extension: options.extension ?? null,
      identity: null,
      running: false,
    };
    this.#stamps = new TimestampSource(options.stamps);
    this.#sessions = new Sessions(this.#context);
    this.#attempts = new Attempts(this.#context, this.#sessions, this.#stamps);
    this.#answers = new Answers(this.#context, this.#sessions);
    this.#timers = new Timers(this.#context, this.#attempts, this.#sessions);
    this.#load = new LoadMonitor(plane.slabSlots);
    this.#descriptorBytes = new Uint8Array(
      plane.descriptors.buffer,
      plane.descriptors.byteOffset,
      plane.descriptors.byteLength,
    );
  }

  // — what comes up —

  /** Handles one batch of what the plane has, then what is due. True when there is more: call again soon. */
  handleWake(now: Instant): boolean {
    const { plane } = this.#context;
    const count = plane.poll(now);
    this.#underLoad = this.#load.underLoad(plane.backlog, now);
    for (let i = 0; i < count; i++) this.#handleDescriptor(i * DESCRIPTOR_WORDS, now);
    plane.release(count);
    this.#timers.expire(now);
    this.#context.extension?.expire(now);
    this.#setDeadline();
    return count > 0;
  }

  #handleDescriptor(at: number, now: Instant): void {
    const words = this.#context.plane.descriptors;
    const kind = words[at] as DescriptorKind;
    const slot = words[at + 1] as number;
    const peer = slot === NO_PEER ? undefined : this.#peersBySlot[slot];
    if (kind === DescriptorKind.handshake) this.#handleHandshake(at, peer, now);
    else if (kind === DescriptorKind.stun) this.#handleStun(at);
    else if (kind === DescriptorKind.link) this.#handleLink(words[at + 12] as number, words[at + 13] as number, now);
    else if (peer !== undefined) this.#handlePeerEvent(kind, peer, at, now);
  }

  #handlePeerEvent(kind: DescriptorKind, peer: Peer, at: number, now: Instant): void {
    switch (kind) {
      case DescriptorKind.sessionWanted:
        // A session may have been made since the event was raised; then there is only the queue to send.
        if (this.#context.plane.canSend(peer.slot, now)) {
          this.#context.plane.flushStaged(peer.slot, now);
          this.#context.plane.rearm(peer.slot, Notify.sessionWanted, now);
        } else this.#attempts.begin(peer, now);
        break;
      case DescriptorKind.keypairConfirmed: {
        const localIndex = this.#context.plane.descriptors[at + 12] as number;
        if (this.#sessions.confirmed(peer, localIndex, now)) this.#attempts.end(peer);
        break;
      }
      case DescriptorKind.roamed:
        if (this.#endpoints === null) this.#endpointMoved(peer, now);
        else this.#endpoints.packetFrom(peer, this.#sourceEndpoint(at), now);
        break;
      case DescriptorKind.answerOwed:
        this.#timers.answerOwed(peer, now);
        break;
      case DescriptorKind.answerAwaited:
        this.#timers.answerAwaited(peer, now);
        this.#endpoints?.answerAwaited(peer, now);
        break;
      case DescriptorKind.rekeyWanted:
        this.#attempts.begin(peer, now);
        break;
      case DescriptorKind.frame:
        this.#handleFrame(peer, at);
        break;
      case DescriptorKind.sendFailed:
        // Counted by the plane.
        this.#endpoints?.sendFailed(peer, this.#context.plane.descriptors[at + 12] as number, now);
        break;
      default:
        break;
    }
  }

  #handleFrame(peer: Peer, at: number): void {
    const { plane, extension } = this.#context;
    if (extension === null) return;
    const offset = plane.descriptors[at + 2] as number;
    const frame = plane.slab.subarray(offset, offset + (plane.descriptors[at + 3] as number));
    const receivedAt = plane.descriptorTimes[(at + 14) / 2] as Instant;
    extension.frame(peer, frame, this.#messageSource(at), receivedAt);
  }

  /** What answers a question of ours; what only opens a firewall has done so by having come. */
  #handleStun(at: number): void {
    const { plane, extension } = this.#context;
    if (extension?.stun === undefined) return;
    const offset = plane.descriptors[at + 2] as number;
    const datagram = plane.slab.subarray(offset, offset + (plane.descriptors[at + 3] as number));
    const receivedAt = plane.descriptorTimes[(at + 14) / 2] as Instant;
    extension.stun(datagram, this.#messageSource(at), receivedAt);
  }

  #handleHandshake(at: number, owner: Peer | undefined, now: Instant): void {
    const { plane } = this.#context;
    const words = plane.descriptors;
    const offset = words[at + 2] as number;
    const message = plane.slab.subarray(offset, offset + (words[at + 3] as number));
    const source = this.#messageSource(at);
    const type = classify(message);
    if (type === MessageType.cookieReply) {
      if (owner !== undefined) this.#answers.handleCookieReply(owner, message, now);
      else this.counters.drop('unexpectedCookie');
      return;
    }
    if (type !== MessageType.initiation && type !== MessageType.response) {
      this.counters.drop('malformed');
      return;
    }
    if (!this.#answers.served(message, source, this.#underLoad, now)) return;
    const accepted = (peer: Peer): void => {
      plane.authenticated(peer.slot, source.handle, now);
      this.#handshakeAccepted(peer, at, now);
    };
    if (type === MessageType.initiation) {
      this.#answers.handleInitiation(message, now, {
        find: (hex) => this.#peers.get(hex),
        accepted,
        send: (peer, response) =>
          this.#endpoints?.sendResponse(peer, response, source, now) ?? plane.sendHandshake(peer.slot, response, now),
      });
    } else if (owner !== undefined) {
      this.#attempts.handleResponse(owner, message, () => accepted(owner), now);
    } else {
      this.counters.drop('unexpectedResponse');
    }
  }

  #addressBytes(at: number): Uint8Array {
    const start = 4 * (at + 8);
    const length = this.#context.plane.descriptors[at + 4] === 4 ? 4 : 16;
    return this.#descriptorBytes.subarray(start, start + length);
  }

  #messageSource(at: number): MessageSource {
    const words = this.#context.plane.descriptors;
    return { address: this.#addressBytes(at), port: words[at + 5] as number, handle: words[at + 7] as number };
  }

  #sourceEndpoint(at: number): Endpoint {
    const words = this.#context.plane.descriptors;
    return formatEndpoint(formatAddress(this.#addressBytes(at)), words[at + 5] as number, words[at + 6] as number);
  }

  #handshakeAccepted(peer: Peer, at: number, now: Instant): void {
    if (this.#endpoints === null) {
      this.#endpointMoved(peer, now);
      return;
    }
    const known = peer.endpoint;
    this.#endpoints.handshakeFrom(peer, this.#sourceEndpoint(at), now);
    if (known === null && peer.endpoint !== null) this.#timers.endpointLearned(peer, now);
  }

  /** The plane is asked, not the descriptor: the peer may have moved on, or been given another endpoint, since. */
  #endpointMoved(peer: Peer, now: Instant): void {
    const known = peer.endpoint;
    const endpoint = this.#context.plane.endpoint(peer.slot);
    peer.endpoint = endpoint === UNKNOWN_ENDPOINT ? null : endpoint;
    if (known === null) this.#timers.endpointLearned(peer, now);
  }

  // — the link —

  #handleLink(change: number, mtu: number, now: Instant): void {
    if (change === LinkChange.up) this.linkUp(now);
    else if (change === LinkChange.down) this.linkDown(now);
    this.#options.onLink?.(change, mtu);
  }

  /** Opens the sockets and begins what waits: persistent keepalives. */
  linkUp(now: Instant): void {
    if (this.#context.running) return;
    const bound = this.#context.plane.bind({ port: this.#listenPort, fwmark: this.#fwmark });
    if (!bound.ok) {
      this.#options.onBindFailed?.(bound.errno);
      return;
    }
    this.#listenPort = bound.port;
    this.#context.running = true;
    for (const peer of this.#peers.values()) {
      if (peer.persistentKeepaliveSeconds > 0) this.#timers.persistentKeepaliveChanged(peer, now);
      else if (peer.staged > 0) this.#attempts.begin(peer, now);
    }
    this.#setDeadline();
  }

  /** Closes the sockets and every session, as the kernel's device does (checklist 32). */
  linkDown(now: Instant): void {
    if (!this.#context.running) return;
    this.#context.running = false;
    for (const peer of this.#peers.values()) this.#quiesce(peer, now);
    this.#context.plane.unbind();
    this.#setDeadline();
  }

  get running(): boolean {
    return this.#context.running;
  }

  /** The earliest deadline of any peer; NEVER while all are idle. */
  nextDeadline(): Instant {
    const { deadlines, extension } = this.#context;
    return extension === null ? deadlines.next() : earliest(deadlines.next(), extension.nextDeadline());
  }

  /** To be called after a change of the extension's deadline outside `handleWake`. */
  deadlineChanged(): void {
    this.#setDeadline();
  }

  #setDeadline(): void {
    const next = this.nextDeadline();
    if (next === this.#deadline && next === NEVER) return;
    this.#deadline = next;
    this.#context.plane.setDeadline(next);
  }

  /** Ends whatever is alive of the peer; its configuration and its greatest accepted stamp stay. */
  #quiesce(peer: Peer, now: Instant): void {
    this.#attempts.end(peer);
    if (peer.session !== null) this.#sessions.close(peer, now);
    if (peer.staged > 0) this.#context.plane.dropStaged(peer.slot, { unreachable: false }, now);
    this.#context.plane.rearm(peer.slot, Notify.sessionWanted, now);
    if (peer.timers !== null) {
      peer.timers.clear();
      this.#context.deadlines.remove(peer.timers);
    }
    if (peer.memory !== null) resetHandshakes(this.#context, peer.memory);
  }

  /** Stops everything and zeroes all keys. The plane is closed by whoever made it. */
  close(now: Instant): void {
    this.linkDown(now);
    this.removeAllPeers(now);
    this.setPrivateKey(null, now);
  }

  // — configuration: UapiDevice —

  privateKeyHex(): string | null {
    return this.#privateKey === null ? null : toHex(this.#privateKey);
  }

  listenPort(): number {
    return this.#listenPort;
  }

  fwmark(): number {
    return this.#fwmark;
  }

  /** Safe with handshakes in flight: they start over with the new key; sessions send no more with the old (checklist 11). */
  setPrivateKey(key: Uint8Array | null, now: Instant): void {
    const { crypto, plane } = this.#context;
    const old = this.#context.identity;
    const next = key === null || key.every((byte) => byte === 0) ? null : crypto.importPrivateKey(key);
    if (next !== null && old !== null && toHex(next.publicKey) === old.publicKeyHex) {
      next.wipe();
      return;
    }
    if (this.#privateKey !== null) crypto.wipe(this.#privateKey);
    this.#privateKey = next === null || key === null ? null : clamped(key);
    this.#context.identity = next === null ? null : { key: next, publicKeyHex: toHex(next.publicKey) };
    plane.setPublicKey(next?.publicKey ?? null);
    this.#answers.identityChanged(next?.publicKey ?? null);
    const ourselves = this.#peers.get(this.#context.identity?.publicKeyHex ?? '');
    if (ourselves !== undefined) this.removePeer(ourselves, now);
    for (const peer of this.#peers.values()) this.#identityChanged(peer, now);
    old?.key.wipe();
    this.#setDeadline();
  }

  #identityChanged(peer: Peer, now: Instant): void {
    if (peer.memory !== null) resetHandshakes(this.#context, peer.memory);
    this.#sessions.expireSending(peer);
    if (this.#context.identity === null) {
      this.#attempts.end(peer);
      this.#context.plane.rearm(peer.slot, Notify.sessionWanted, now);
    } else if (peer.attempt !== null || peer.session !== null || peer.staged > 0) this.#attempts.restart(peer, now);
    else if (peer.persistentKeepaliveSeconds > 0) this.#timers.persistentKeepaliveChanged(peer, now);
  }

  setListenPort(port: number, _now: Instant): string | null {
    const { plane } = this.#context;
    if (port === this.#listenPort && this.#context.running) return null;
    const bound = plane.bind({ port, fwmark: this.#fwmark });
    if (!bound.ok) {
      // The sockets that served until now are opened again: a bad port must not silence the device.
      if (this.#context.running) plane.bind({ port: this.#listenPort, fwmark: this.#fwmark });
      return bound.errno;
    }
    this.#listenPort = this.#context.running ? bound.port : port;
    if (!this.#context.running) plane.unbind();
    else for (const peer of this.#peers.values()) if (peer.memory !== null) plane.clearSource(peer.slot);
    return null;
  }

  setFwmark(fwmark: number, _now: Instant): void {
    this.#fwmark = fwmark;
    this.#context.plane.setFwmark(fwmark);
  }

  get peerCount(): number {
    return this.#peers.size;
  }

  peers(): IterableIterator<Peer> {
    return this.#peers.values();
  }

  peer(publicKeyHex: string): Peer | undefined {
    return this.#peers.get(publicKeyHex);
  }

  addPeer(publicKeyHex: string, _now: Instant): Peer | undefined {
    if (publicKeyHex === this.#context.identity?.publicKeyHex) return undefined;
    const existing = this.#peers.get(publicKeyHex);
    if (existing !== undefined) return existing;
    const slot = this.#context.plane.addPeer({ roaming: this.#endpoints === null });
    const peer = new Peer(publicKeyHex, slot, this.#context.plane.record(slot));
    this.#peers.set(publicKeyHex, peer);
    this.#peersBySlot[slot] = peer;
    if (this.#context.extension !== null) this.#context.plane.setEndpoint(slot, UNKNOWN_ENDPOINT);
    return peer;
  }

  /** Immediate and complete, at any moment: nothing of the peer outlives the call. */
  removePeer(peer: Peer, now: Instant): void {
    if (peer.stopped) return;
    peer.stopped = true;
    this.#quiesce(peer, now);
    if (peer.presharedKey !== null) this.#context.crypto.wipe(peer.presharedKey);
    if (peer.memory !== null) this.#stamps.retire(peer.memory.sentStamp);
    peer.memory?.cookies.wipe();
    this.#allowedIps.removeAll(peer);
    this.#context.plane.removePeer(peer.slot);
    this.#peers.delete(peer.publicKeyHex);
    this.#peersBySlot[peer.slot] = undefined;
    this.#setDeadline();
  }

  removeAllPeers(now: Instant): void {
    for (const peer of [...this.#peers.values()]) this.removePeer(peer, now);
  }

  /** The live session stays; the next handshake uses it (checklist 12). */
  setPresharedKey(peer: Peer, key: Uint8Array | null): void {
    if (peer.presharedKey !== null) this.#context.crypto.wipe(peer.presharedKey);
    const unset = key === null || key.every((byte) => byte === 0);
    // Not slice(): of a Buffer that would be a view of the caller's memory.
    peer.presharedKey = unset ? null : (new Uint8Array(key) as SymmetricKey);
  }

  /** Null only with an extension: it is not known, and packets wait until something shows where the peer is. */
  setEndpoint(peer: Peer, endpoint: Endpoint | null, _now: Instant): void {
    // A keepalive that could not go anywhere until now is due at once.
    if (peer.endpoint === null && peer.persistentKeepaliveSeconds > 0) peer.persistentKeepaliveChanged = true;
    peer.endpoint = endpoint;
    this.#context.plane.setEndpoint(peer.slot, endpoint ?? this.#unknownEndpoint());
  }

  #unknownEndpoint(): Endpoint | null {
    return this.#context.extension === null ? null : UNKNOWN_ENDPOINT;
  }

  /** A session is wanted; one that works is renewed. Does nothing while the link is down. */
  begin(peer: Peer, now: Instant): void {
    this.#attempts.begin(peer, now);
    this.#setDeadline();
  }

  /** With an extension: the running attempt's next initiation need not wait for REKEY_TIMEOUT. */
  hurry(peer: Peer, now: Instant): void {
    this.#attempts.hurry(peer, now);
    this.#setDeadline();
  }

  /** Ends attempt and session and drops what is staged; the peer waits for the next packet as if it had just been added. */
  flush(peer: Peer, now: Instant): void {
    this.#quiesce(peer, now);
    this.#setDeadline();
  }

  setPersistentKeepalive(peer: Peer, seconds: number, _now: Instant): void {
    if (seconds === peer.persistentKeepaliveSeconds) return;
    peer.persistentKeepaliveSeconds = seconds;
    peer.persistentKeepaliveChanged = true;
  }

  addAllowedIp(peer: Peer, prefix: IpPrefix): void {
    this.#allowedIps.insert(prefix, peer);
    this.#context.plane.insertAllowedIp(peer.slot, prefix);
  }

  removeAllowedIp(peer: Peer, prefix: IpPrefix): void {
    if (this.#allowedIps.remove(prefix, peer)) this.#context.plane.removeAllowedIp(peer.slot, prefix);
  }

  removeAllAllowedIps(peer: Peer): void {
    for (const prefix of this.#allowedIps.prefixesOf(peer)) this.removeAllowedIp(peer, prefix);
  }

  allowedIpsOf(peer: Peer): Iterable<IpPrefix> {
    return this.#allowedIps.prefixesOf(peer);
  }

  configured(peer: Peer, now: Instant): void {
    if (peer.stopped || !peer.persistentKeepaliveChanged) return;
    peer.persistentKeepaliveChanged = false;
    this.#timers.persistentKeepaliveChanged(peer, now);
    this.#setDeadline();
  }

  *peerStatuses(): Iterable<UapiPeerStatus> {
    for (const peer of this.#peers.values()) yield this.status(peer);
  }

  status(peer: Peer): UapiPeerStatus {
    return {
      publicKeyHex: peer.publicKeyHex,
      presharedKeyHex: peer.presharedKey === null ? ZERO_KEY_HEX : toHex(peer.presharedKey),
      endpoint: peer.endpoint,
      persistentKeepaliveSeconds: peer.persistentKeepaliveSeconds,
      rxBytes: peer.recorded(RecordField.rxBytes),
      txBytes: peer.recorded(RecordField.txBytes),
      lastHandshake: peer.lastHandshake,
      allowedIps: this.#allowedIps.prefixesOf(peer),
    };
  }
}

/** RFC 7748 §5: how a private key is used, and shown. */
function clamped(key: Uint8Array): Uint8Array {
  const copy = new Uint8Array(key);
  copy[0] = (copy[0] as number) & 248;
  copy[31] = ((copy[31] as number) & 127) | 64;
  return copy;
}
