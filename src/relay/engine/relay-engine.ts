// A relay, without sockets: a WireGuard engine whose peers are the members of the network, over a plane without a TUN. A member that
// proves its key by a session is given a slot, and the plane forwards for it from then on; nothing that is forwarded comes here.
// The relay itself begins nothing: no handshake, no frame but answers and the word that it drains. docs/relay.md, docs/paths.md.

import { fromBase64 } from '../../base/bytes.ts';
import { after, elapsedMs, type Instant, latest, NEVER, type WallTime } from '../../base/instant.ts';
import type { Endpoint } from '../../base/ip.ts';
import type { RandomSource } from '../../base/prng.ts';
import type { CryptoProvider } from '../../crypto/provider.ts';
import { type DataPlane, RecordField } from '../../dataplane/dataplane.ts';
import {
  decodeFrame,
  encodePong,
  encodeRelayDraining,
  encodeRelayRefused,
  encodeRelaySlot,
  type RelayRefusal,
} from '../../mesh/frames.ts';
import { type DeltaResult, Netmap, type NetmapChange, type SavedNetmap } from '../../mesh/netmap.ts';
import type { Delta, Snapshot } from '../../protocol/control.ts';
import type { NetmapNode, Network } from '../../protocol/netmap.ts';
import { Engine } from '../../wireguard/engine.ts';
import type { EngineExtension } from '../../wireguard/extension.ts';
import type { MessageSource } from '../../wireguard/message-source.ts';
import type { Peer } from '../../wireguard/peer.ts';
import { DailyUsage } from './daily-usage.ts';
import { type Member, Members } from './members.ts';
import { RelayCounters } from './relay-counters.ts';
import { Slots } from './slots.ts';

/** As many as both planes hold unless told otherwise. */
export const PEERS_MAX = 65_536;
/** Frames of one member that are answered: so many at once, and then at this rate. */
export const FRAMES_BURST = 32;
export const FRAMES_PER_SECOND = 16;
/** What a member may send at once beyond its rate, as a share of a second, but at least a few GSO runs. */
export const BURST_SECONDS = 0.1;
export const BURST_BYTES_MIN = 262_144;
/**
 * A slot whose member has authenticated nothing for so long is taken back: its address may be somebody else's by now. Longer than
 * REJECT_AFTER_TIME, within which whoever wants to be reached has renewed its session.
 */
export const SILENT_SLOT_MS = 240_000;
/** How often that is looked at while there are slots, and how often quotas are. */
export const SWEEP_MS = 60_000;
export const QUOTA_SWEEP_MS = 5_000;

export interface RelayEngineLimits {
  /** Of what one member sends through us; Infinity = no limit. */
  readonly bytesPerSecond: number;
  /** Likewise on one day (UTC); Infinity = no limit. */
  readonly bytesPerDay: number;
  /** Members that have a slot at the same time. */
  readonly slotsMax: number;
}

export const LIMITS_DEFAULT: RelayEngineLimits = {
  bytesPerSecond: 125_000_000,
  bytesPerDay: Number.POSITIVE_INFINITY,
  slotsMax: PEERS_MAX,
};

export interface RelayEngineOptions {
  /** Without a TUN. */
  readonly plane: DataPlane;
  readonly crypto: CryptoProvider;
  readonly random: RandomSource;
  readonly wallClock: () => WallTime;
  /** SLOT_SECRET_BYTES, copied. */
  readonly slotSecret: Uint8Array;
  readonly limits?: RelayEngineLimits;
  /** What the plane holds; default PEERS_MAX. */
  readonly peersMax?: number;
}

export interface RelayMemberStatus {
  readonly node: NetmapNode;
  /** Where it was heard from last. */
  readonly endpoint: Endpoint | null;
  readonly slot: boolean;
  /** Forwarded from it, and to it; relayed datagrams with their header. */
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly rxPackets: number;
  /** 0 without a quota. */
  readonly usedToday: number;
}

export interface RelayStatus {
  readonly members: number;
  readonly sessions: number;
  readonly slots: number;
  readonly draining: boolean;
}

export class RelayEngine {
  readonly engine: Engine;
  readonly netmap = new Netmap();
  readonly counters = new RelayCounters();
  readonly usage: DailyUsage;
  readonly #plane: DataPlane;
  readonly #limits: RelayEngineLimits;
  readonly #wallClock: () => WallTime;
  readonly #members: Members;
  readonly #slots: Slots<Member>;
  #sweepAt: Instant = NEVER;
  #draining = false;
  #bindErrno: string | null = null;

  constructor(options: RelayEngineOptions) {
    const { plane, crypto, random, wallClock } = options;
    this.#plane = plane;
    this.#limits = options.limits ?? LIMITS_DEFAULT;
    this.#wallClock = wallClock;
    this.usage = new DailyUsage(this.#limits.bytesPerDay);
    this.#slots = new Slots(crypto, options.slotSecret);
    this.engine = new Engine({
      plane,
      crypto,
      random,
      wallClock,
      onBindFailed: (errno) => {
        this.#bindErrno = errno;
      },
      extension: this.#extension(),
    });
    this.#members = new Members(
      this.engine,
      {
        leaving: (member) => this.#release(member),
        skipped: () => this.counters.count('membersSkipped'),
      },
      options.peersMax ?? PEERS_MAX,
    );
  }

  #extension(): EngineExtension {
    return {
      initiationSent: () => false,
      attemptGivenUp: () => undefined,
      sessionWorks: () => undefined,
      peerChanged: (peer) => this.#peerChanged(peer),
      frame: (peer, frame, source, receivedAt) => this.#handleFrame(peer, frame, source, receivedAt),
      nextDeadline: () => this.#sweepAt,
      expire: (now) => {
        if (this.#sweepAt <= now) this.#sweep(now);
      },
    };
  }

  // — device —

  /** 32 bytes, borrowed. Before the first member. */
  setIdentity(privateKey: Uint8Array, now: Instant): void {
    this.engine.setPrivateKey(privateKey, now);
  }

  /** Opens the sockets; 0 = any port. The errno name, or null when it worked. */
  linkUp(port: number, now: Instant): string | null {
    const errno = this.engine.setListenPort(port, now);
    if (errno !== null) return errno;
    this.engine.linkUp(now);
    return this.engine.running ? null : (this.#bindErrno ?? 'EINVAL');
  }

  handleWake(now: Instant): boolean {
    return this.engine.handleWake(now);
  }

  nextDeadline(): Instant {
    return this.engine.nextDeadline();
  }

  // — the netmap —

  /** Who we are, from `welcome`; before the first snapshot. */
  setSelf(self: NetmapNode, network: Network, now: Instant): void {
    this.#apply(this.netmap.setSelf(self, network), now);
  }

  applySnapshot(snapshot: Snapshot, now: Instant): void {
    this.#apply(this.netmap.applySnapshot(snapshot), now);
  }

  /** `resync`: nothing was applied; tell the control client. */
  applyDelta(delta: Delta, now: Instant): DeltaResult {
    const result = this.netmap.applyDelta(delta);
    if (result.kind === 'applied') this.#apply(result.changes, now);
    return result;
  }

  /** The netmap that was on disk. */
  restore(saved: SavedNetmap, now: Instant): void {
    this.#apply(this.netmap.restore(saved), now);
  }

  /** We are no member any more: nobody is served. */
  clear(now: Instant): void {
    this.#apply(this.netmap.clear(), now);
  }

  #apply(changes: readonly NetmapChange[], now: Instant): void {
    this.#members.apply(changes, now);
    this.engine.deadlineChanged();
  }

  // — what members say —

  #handleFrame(peer: Peer, bytes: Uint8Array, source: MessageSource, now: Instant): void {
    const member = this.#members.of(peer);
    if (member === undefined) return;
    if (!takeToken(member, now)) {
      this.counters.count('framesLimited');
      return;
    }
    const frame = decodeFrame(bytes);
    switch (frame.kind) {
      case 'ping':
        if (this.#plane.sendFrame(peer.slot, encodePong(frame.txid, source.address, source.port), now)) {
          this.counters.count('pingsAnswered');
        }
        break;
      case 'relayAllocate':
        this.#allocate(member, peer, frame.txid, now);
        break;
      case 'malformed':
        this.counters.count('framesMalformed');
        break;
      default:
        this.counters.count('framesUnknown');
        break;
    }
  }

  #allocate(member: Member, peer: Peer, txid: number, now: Instant): void {
    const slot = this.#draining ? 'draining' : this.#slotFor(member);
    if (typeof slot === 'string') {
      this.#refuse(peer, txid, slot, now);
      return;
    }
    const { bytesPerSecond } = this.#limits;
    const burstBytes = Math.max(BURST_BYTES_MIN, bytesPerSecond * BURST_SECONDS);
    this.#plane.setRelaySlot(peer.slot, slot, { bytesPerSecond, burstBytes });
    member.slot = slot;
    member.slotSince ??= now;
    if (this.#sweepAt === NEVER) this.#sweepAt = after(now, this.#sweepMs());
    this.counters.count('allocations');
    this.#plane.sendFrame(peer.slot, encodeRelaySlot(txid, slot), now);
  }

  #slotFor(member: Member): Uint8Array | 'full' {
    if (member.slot !== null) return member.slot;
    const key = fromBase64(member.node.publicKey, 32);
    const full = this.#slots.size >= this.#limits.slotsMax;
    if (key === null || full || this.usage.exceeded(member.node.publicKey, this.#wallClock())) return 'full';
    return this.#slots.take(key, member) ?? 'full';
  }

  #refuse(peer: Peer, txid: number, reason: Exclude<RelayRefusal, 'unknown'>, now: Instant): void {
    this.counters.count('allocationsRefused');
    this.#plane.sendFrame(peer.slot, encodeRelayRefused(txid, reason), now);
  }

  /** Whose session is over has no slot: nobody answers at its address. */
  #peerChanged(peer: Peer): void {
    if (peer.session !== null) return;
    const member = this.#members.of(peer);
    if (member !== undefined) this.#release(member);
  }

  #release(member: Member): void {
    const { slot, peer } = member;
    if (slot === null) return;
    this.#charge(member);
    this.#slots.release(slot, member);
    member.slot = null;
    member.slotSince = null;
    if (peer !== null) this.#plane.setRelaySlot(peer.slot, null, NO_LIMITS);
    this.counters.count('slotsReleased');
  }

  // — what is looked at now and then —

  #sweepMs(): number {
    return this.usage.limited ? QUOTA_SWEEP_MS : SWEEP_MS;
  }

  /** As long as there are slots. */
  #sweep(now: Instant): void {
    for (const member of this.#members.all()) {
      const { peer, slot, slotSince } = member;
      if (peer === null || slot === null || slotSince === null) continue;
      this.#charge(member);
      const heard = latest(slotSince, peer.recordedInstant(RecordField.lastAuthenticatedReceive));
      if (elapsedMs(heard, now) >= SILENT_SLOT_MS) this.#release(member);
      else if (this.usage.exceeded(member.node.publicKey, this.#wallClock())) {
        this.counters.count('quotasExceeded');
        this.#release(member);
        this.#refuse(peer, 0, 'full', now);
      }
    }
    this.#sweepAt = this.#slots.size === 0 ? NEVER : after(now, this.#sweepMs());
  }

  #charge(member: Member): void {
    if (member.peer === null) return;
    const bytes = member.peer.recorded(RecordField.relayRxBytes);
    this.usage.add(member.node.publicKey, bytes - member.charged, this.#wallClock());
    member.charged = bytes;
  }

  // — the end —

  /** Tells whoever has a session that we stop in `seconds`; new slots are refused from now on. Gives how many were told. */
  drain(seconds: number, now: Instant): number {
    this.#draining = true;
    let told = 0;
    const frame = encodeRelayDraining(0, seconds);
    for (const { peer } of this.#members.all()) {
      if (peer === null || peer.session === null) continue;
      if (this.#plane.sendFrame(peer.slot, frame, now)) told++;
    }
    return told;
  }

  /** Members that still name us as their home, or for whom something was forwarded since this was last asked. */
  stillUsed(): number {
    const self = this.netmap.self?.id;
    let used = 0;
    for (const member of this.#members.all()) {
      const { peer, slot, node } = member;
      if (peer === null || slot === null) continue;
      const bytes = peer.recorded(RecordField.relayRxBytes) + peer.recorded(RecordField.relayTxBytes);
      if (bytes !== member.seen || (self !== undefined && node.reach?.home?.relay === self)) used++;
      member.seen = bytes;
    }
    return used;
  }

  /** Stops everything and zeroes all keys. The plane is closed by whoever made it. */
  close(now: Instant): void {
    this.#members.apply(this.netmap.clear(), now);
    this.engine.close(now);
    this.#slots.wipe();
  }

  // — what a person asks —

  status(): RelayStatus {
    let sessions = 0;
    for (const { peer } of this.#members.all()) if (peer !== null && peer.session !== null) sessions++;
    return { members: this.#members.size, sessions, slots: this.#slots.size, draining: this.#draining };
  }

  /** Those that have a session. */
  *memberStatuses(): IterableIterator<RelayMemberStatus> {
    const wall = this.#wallClock();
    for (const member of this.#members.all()) {
      const { peer, node, slot } = member;
      if (peer === null || peer.session === null) continue;
      this.#charge(member);
      yield {
        node,
        endpoint: peer.endpoint,
        slot: slot !== null,
        rxBytes: peer.recorded(RecordField.relayRxBytes),
        txBytes: peer.recorded(RecordField.relayTxBytes),
        rxPackets: peer.recorded(RecordField.relayRxPackets),
        usedToday: this.usage.of(node.publicKey, wall),
      };
    }
  }
}

const NO_LIMITS = { bytesPerSecond: 0, burstBytes: 0 } as const;

function takeToken(member: Member, now: Instant): boolean {
  const tokens = member.tokens ?? { left: FRAMES_BURST, at: now };
  const earned = (Math.max(0, elapsedMs(tokens.at, now)) * FRAMES_PER_SECOND) / 1000;
  tokens.left = Math.min(FRAMES_BURST, tokens.left + earned);
  tokens.at = now;
  member.tokens = tokens;
  if (tokens.left < 1) return false;
  tokens.left--;
  return true;
}
