// What the parts of the reference plane share: the peers, who owns which index and prefix, the counters, and both further
// sides (TUN and network) as arrays. Plain data; the rules are in outbound.ts and inbound.ts.

import type { Instant } from '../../base/instant.ts';
import { NEVER, UNSET } from '../../base/instant.ts';
import type { Endpoint } from '../../base/ip.ts';
import { relayedParts } from '../../base/relayed.ts';
import type { CryptoProvider } from '../../crypto/provider.ts';
import { AllowedIps } from '../../wireguard/allowed-ips.ts';
import {
  DROP_REASONS,
  type DropReason,
  type LocalIndex,
  type PeerSlot,
  RECORD_CHUNK_PEERS,
  RECORD_FIELDS,
  RecordField,
  TOTALS,
  type Total,
} from '../dataplane.ts';
import { ControlSlab } from './control-slab.ts';
import { Events, PeerNews } from './events.ts';
import { type Keypair, Keypairs } from './keypairs.ts';
import { RelayTable, relayedDatagram } from './relays.ts';
import { SourceLimiter } from './source-limiter.ts';
import { Staging } from './staging.ts';

/** The peer's shared record, by field. */
export class PeerRecord {
  readonly view: Float64Array;
  readonly offset: number;

  constructor(view: Float64Array, offset: number) {
    this.view = view;
    this.offset = offset;
  }

  get(field: number): number {
    return this.view[this.offset + field] as number;
  }

  set(field: number, value: number): void {
    this.view[this.offset + field] = value;
  }

  add(field: number, amount: number): void {
    this.set(field, this.get(field) + amount);
  }
}

export interface Peer {
  readonly slot: PeerSlot;
  readonly roaming: boolean;
  readonly record: PeerRecord;
  readonly keypairs: Keypairs;
  readonly staging: Staging;
  readonly news: PeerNews;
  /** Indexes of handshakes that wait for their answer. */
  readonly expected: Set<LocalIndex>;
  endpoint: Endpoint | null;
  /** The address of ours that the peer last sent to; null = let the kernel choose. */
  source: Endpoint | null;
  /** 0 = no limit. */
  pathMtu: number;
  /** Of a peer that does not roam: the last source told since its endpoint was set or seen, and when one was told at all. */
  roamedTold: Endpoint | null;
  roamedAt: Instant;
}

/** Whom a receiver index belongs to: a handshake that waits for its answer, or a keypair. */
export interface IndexOwner {
  readonly peer: Peer;
  readonly keypair: Keypair | null;
}

export interface SentDatagram {
  datagram: Uint8Array;
  destination: Endpoint;
  source: Endpoint | null;
}

export interface PlaneState {
  readonly crypto: CryptoProvider;
  readonly peers: (Peer | undefined)[];
  readonly indexes: Map<LocalIndex, IndexOwner>;
  readonly allowedIps: AllowedIps<Peer>;
  readonly slab: ControlSlab;
  readonly events: Events;
  readonly limiter: SourceLimiter;
  /** By number; there is none at 0. */
  readonly relays: (Endpoint | undefined)[];
  readonly relayTable: RelayTable<Peer>;
  readonly drops: Record<DropReason, number>;
  readonly totals: Record<Total, number>;
  readonly recordChunks: Float64Array<ArrayBuffer>[];
  tunOutput: Uint8Array[];
  udpOutput: SentDatagram[];
  now: Instant;
  deadline: Instant;
  mtu: number;
  /** 0 = not bound. */
  port: number;
  /** HASH("mac1----" ‖ our public key), or null without a key. */
  mac1Key: Uint8Array | null;
  /** No ICMP error before then. */
  icmpAllowedAt: Instant;
  /** No ICMP packet too big before then. */
  tooBigAllowedAt: Instant;
  /** Something is pending: wakes JavaScript unless it has been woken and has not polled yet. */
  readonly wake: () => void;
  readonly wakeUp: { outstanding: boolean };
}

function zeroes<Name extends string>(names: readonly Name[]): Record<Name, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<Name, number>;
}

export function newState(options: {
  crypto: CryptoProvider;
  mtu: number;
  slabSlots: number;
  onWake: () => void;
}): PlaneState {
  const totals = zeroes(TOTALS);
  const wakeUp = { outstanding: false };
  const wake = () => {
    if (wakeUp.outstanding) return;
    wakeUp.outstanding = true;
    totals.wakeUps++;
    options.onWake();
  };
  return {
    crypto: options.crypto,
    peers: [],
    indexes: new Map(),
    allowedIps: new AllowedIps(),
    slab: new ControlSlab(options.slabSlots),
    events: new Events(wake),
    limiter: new SourceLimiter(),
    relays: [],
    relayTable: new RelayTable(),
    drops: zeroes(DROP_REASONS),
    totals,
    recordChunks: [],
    tunOutput: [],
    udpOutput: [],
    now: UNSET,
    deadline: NEVER,
    mtu: options.mtu,
    port: 0,
    mac1Key: null,
    icmpAllowedAt: UNSET,
    tooBigAllowedAt: UNSET,
    wake,
    wakeUp,
  };
}

/** A peer in the given slot, its record zeroed. */
export function newPeer(state: PlaneState, slot: PeerSlot, roaming: boolean): Peer {
  const chunk = Math.floor(slot / RECORD_CHUNK_PEERS);
  const view = state.recordChunks[chunk] ?? new Float64Array(RECORD_CHUNK_PEERS * RECORD_FIELDS);
  state.recordChunks[chunk] = view;
  const offset = (slot % RECORD_CHUNK_PEERS) * RECORD_FIELDS;
  view.fill(0, offset, offset + RECORD_FIELDS);
  return {
    slot,
    roaming,
    record: new PeerRecord(view, offset),
    keypairs: new Keypairs(),
    staging: new Staging(),
    news: new PeerNews(slot),
    expected: new Set(),
    endpoint: null,
    source: null,
    pathMtu: 0,
    roamedTold: null,
    roamedAt: UNSET,
  };
}

/** Zeroes keypairs that have lost their place and frees their indexes; the record shows what sends now. */
export function retireKeypairs(state: PlaneState, peer: Peer, displaced: readonly Keypair[]): void {
  for (const keypair of displaced) {
    state.crypto.wipe(keypair.sendKey, keypair.receiveKey);
    state.indexes.delete(keypair.localIndex);
  }
  peer.record.set(RecordField.sendCounter, Number(peer.keypairs.current?.sendCounter ?? 0n));
}

export function drop(state: PlaneState, reason: DropReason): void {
  state.drops[reason]++;
}

export function writeTun(state: PlaneState, packet: Uint8Array): void {
  state.totals.tunWrites++;
  state.totals.tunPacketsOut++;
  state.tunOutput.push(packet);
}

/** Whether datagrams for there have somewhere to go: the endpoint is an ordinary one, or its relay is set. */
export function isReachable(state: PlaneState, destination: Endpoint): boolean {
  const relayed = relayedParts(destination);
  return relayed === null || state.relays[relayed.relay] !== undefined;
}

/** Takes ownership of `datagram`. The plane must be bound, and the destination reachable. */
export function writeUdp(
  state: PlaneState,
  datagram: Uint8Array,
  destination: Endpoint,
  source: Endpoint | null,
): void {
  state.totals.udpSendCalls++;
  state.totals.udpDatagramsOut++;
  const relayed = relayedParts(destination);
  const relay = relayed === null ? undefined : state.relays[relayed.relay];
  if (relayed === null || relay === undefined) {
    state.udpOutput.push({ datagram, destination, source });
  } else {
    state.udpOutput.push({ datagram: relayedDatagram(relayed.slot, datagram), destination: relay, source });
  }
}
