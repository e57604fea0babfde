// Network to tunnel: docs/dataplane.md "Network to tunnel", rule by rule (paper §5.4, §6; checklist 17, 23, 28, 34). Bad
// input is counted and nothing else. Handshakes are only looked at here; their meaning is the engine's.

import { readU32be, readU32le, readU64le } from '../../base/bytes.ts';
import { after, UNSET } from '../../base/instant.ts';
import type { Endpoint } from '../../base/ip.ts';
import { isRelayed, RELAY_HEADER_BYTES, RELAY_MESSAGE_TYPE, relayedEndpoint } from '../../base/relayed.ts';
import {
  DescriptorKind,
  type DropReason,
  type LocalIndex,
  NO_PEER,
  Notify,
  RecordField,
  RekeyReason,
  ROAMED_INTERVAL_MS,
} from '../dataplane.ts';
import { CONTROL_BYTES_MAX } from './control-slab.ts';
import { parseIpPacket } from './ip-packet.ts';
import type { Keypair } from './keypairs.ts';
import { flushStaged } from './outbound.ts';
import { clampMss } from './path-mtu.ts';
import { relayedDatagram, slotOf } from './relays.ts';
import { CALM, LOADED } from './source-limiter.ts';
import { drop, type IndexOwner, type Peer, type PlaneState, retireKeypairs, writeTun, writeUdp } from './state.ts';

const INITIATION = { type: 1, bytes: 148 } as const;
const RESPONSE = { type: 2, bytes: 92 } as const;
const COOKIE_REPLY = { type: 3, bytes: 64 } as const;
const TRANSPORT = { type: 4, bytesMin: 32, headerBytes: 16 } as const;
const MAC_BYTES = 16;
const STUN_MAGIC = 0x2112a442;
const STUN_BYTES_MIN = 20;
const NOTHING = new Uint8Array(0);

interface Received {
  /** Borrowed. */
  readonly bytes: Uint8Array;
  readonly source: Endpoint;
  /** The address of ours that it was sent to. */
  readonly local: Endpoint;
}

/** One datagram from the network; borrowed. */
export function fromNetwork(state: PlaneState, received: Received): void {
  state.totals.udpReceiveCalls++;
  state.totals.udpDatagramsIn++;
  const reason = receive(state, received);
  if (reason !== null) drop(state, reason);
}

/** Each of these returns why the datagram was dropped, or null. */
type Outcome = DropReason | null;

function receive(state: PlaneState, received: Received): Outcome {
  const { bytes } = received;
  // Nobody has such an address: only a relay of ours may give one.
  if (isRelayed(received.source)) return 'inRelayUnknown';
  if (bytes.length < 4) return 'inUnknownType';
  if (readU32le(bytes, 0) === RELAY_MESSAGE_TYPE) return relayed(state, received);
  const outcome = wireGuard(state, received);
  if (outcome !== 'inUnknownType' || !isStun(bytes)) return outcome;
  if (bytes.length > CONTROL_BYTES_MAX) return 'inBadLength';
  return control(state, received, DescriptorKind.stun, NO_PEER);
}

/** Types 1 to 4; `inUnknownType`: none of them. */
function wireGuard(state: PlaneState, received: Received): Outcome {
  const { bytes } = received;
  if (bytes.length < 4) return 'inUnknownType';
  switch (readU32le(bytes, 0)) {
    case INITIATION.type:
      if (bytes.length !== INITIATION.bytes) return 'inBadLength';
      return initiation(state, received);
    case RESPONSE.type:
      if (bytes.length !== RESPONSE.bytes) return 'inBadLength';
      return response(state, received);
    case COOKIE_REPLY.type:
      if (bytes.length !== COOKIE_REPLY.bytes) return 'inBadLength';
      return cookieReply(state, received);
    case TRANSPORT.type:
      if (bytes.length < TRANSPORT.bytesMin) return 'inBadLength';
      return transport(state, received);
    default:
      return 'inUnknownType';
  }
}

// — relayed datagrams —

function relayed(state: PlaneState, received: Received): Outcome {
  const { bytes, source } = received;
  if (bytes.length < RELAY_HEADER_BYTES) return 'inBadLength';
  const relay = state.relays.indexOf(source);
  if (relay < 0) return forward(state, received);
  const slot = slotOf(bytes);
  if (slot.every((byte) => byte === 0)) return 'inRelayUnknown';
  const inner = bytes.subarray(RELAY_HEADER_BYTES);
  return wireGuard(state, { ...received, bytes: inner, source: relayedEndpoint(relay, slot) });
}

/** From one user of this relay to another. */
function forward(state: PlaneState, { bytes, source }: Received): Outcome {
  const { relayTable } = state;
  const from = relayTable.at(source);
  const user = from === undefined ? undefined : relayTable.user(from);
  if (from === undefined || user === undefined) return 'inRelayUnknown';
  const inner = bytes.subarray(RELAY_HEADER_BYTES);
  if (!isWireGuard(inner)) return 'relayBadInner';
  const to = relayTable.with(slotOf(bytes));
  if (to === undefined || to === from || to.endpoint === null) return 'relayNoSlot';
  if (to.endpoint === source || isRelayed(to.endpoint)) return 'relayNoSlot';
  if (!user.bucket.take(bytes.length, state.now)) return 'relayLimited';
  from.record.add(RecordField.relayRxBytes, bytes.length);
  from.record.add(RecordField.relayRxPackets, 1);
  to.record.add(RecordField.relayTxBytes, bytes.length);
  state.totals.relayPackets++;
  state.totals.relayBytes += bytes.length;
  writeUdp(state, relayedDatagram(user.slot, inner), to.endpoint, to.source);
  return null;
}

function isWireGuard(message: Uint8Array): boolean {
  if (message.length < TRANSPORT.bytesMin) return false;
  const type = readU32le(message, 0);
  if (type === TRANSPORT.type) return true;
  return [INITIATION, RESPONSE, COOKIE_REPLY].some((kind) => kind.type === type && kind.bytes === message.length);
}

// — control datagrams —

function isStun(bytes: Uint8Array): boolean {
  return bytes.length >= STUN_BYTES_MIN && ((bytes[0] as number) & 0xc0) === 0 && readU32be(bytes, 4) === STUN_MAGIC;
}

function initiation(state: PlaneState, received: Received): Outcome {
  if (!hasGoodMac1(state, received.bytes)) return 'inBadMac1';
  return control(state, received, DescriptorKind.handshake, NO_PEER);
}

function response(state: PlaneState, received: Received): Outcome {
  if (!hasGoodMac1(state, received.bytes)) return 'inBadMac1';
  const owner = indexOwner(state, received.bytes, 8);
  if (owner === undefined || owner.keypair !== null) return 'inUnknownIndex';
  return control(state, received, DescriptorKind.handshake, owner.peer.slot);
}

/** It may answer our initiation or our response, whose index is a keypair's by now (checklist 37). */
function cookieReply(state: PlaneState, received: Received): Outcome {
  const owner = indexOwner(state, received.bytes, 4);
  if (owner === undefined) return 'inUnknownIndex';
  return control(state, received, DescriptorKind.handshake, owner.peer.slot);
}

/** Both messages end with mac1 and mac2 (paper §5.4.4). */
function hasGoodMac1(state: PlaneState, message: Uint8Array): boolean {
  if (state.mac1Key === null) return false;
  const mac1At = message.length - 2 * MAC_BYTES;
  const mac1 = state.crypto.mac(state.mac1Key, message.subarray(0, mac1At));
  return state.crypto.equal(mac1, message.subarray(mac1At, mac1At + MAC_BYTES));
}

function control(state: PlaneState, received: Received, kind: number, peer: number): Outcome {
  const rate = state.slab.loaded ? LOADED : CALM;
  if (!state.limiter.allow(received.source, state.now, rate)) return 'inRateLimited';
  return toSlab(state, received, kind, peer, received.bytes);
}

function toSlab(state: PlaneState, received: Received, kind: number, peer: number, content: Uint8Array): Outcome {
  const from = { source: received.source, local: received.local, receivedAt: state.now };
  if (!state.slab.push(kind, peer, content, from)) return 'inControlFull';
  state.wake();
  return null;
}

function indexOwner(state: PlaneState, message: Uint8Array, at: number): IndexOwner | undefined {
  return state.indexes.get(readU32le(message, at) as LocalIndex);
}

// — transport data —

function transport(state: PlaneState, received: Received): Outcome {
  const { bytes } = received;
  const owner = indexOwner(state, bytes, 4);
  if (owner === undefined || owner.keypair === null) return 'inUnknownIndex';
  const { peer, keypair } = owner;
  if (state.now >= keypair.rejectAt) return 'inExpired';
  const counter = readU64le(bytes, 8);
  if (counter >= keypair.rejectAfterMessages) return 'inCounterExhausted';
  const ciphertext = bytes.subarray(TRANSPORT.headerBytes);
  const plaintext = state.crypto.open(keypair.receiveKey, counter, ciphertext, NOTHING);
  if (plaintext === null) return 'inBadTag';
  if (!keypair.replay.accept(counter)) return 'inReplayed';
  authenticatedTransport(state, peer, keypair, received, plaintext);
  return deliver(state, peer, received, plaintext);
}

/** Rule 4: what any authenticated message means, whatever is in it. */
function authenticatedTransport(
  state: PlaneState,
  peer: Peer,
  keypair: Keypair,
  received: Received,
  plaintext: Uint8Array,
): void {
  stampReceipt(peer, received.bytes.length, state.now);
  const confirmed = keypair === peer.keypairs.next;
  if (confirmed) {
    retireKeypairs(state, peer, peer.keypairs.confirmNext());
    peer.news.confirmedIndex = keypair.localIndex;
    state.events.raise(peer.news, DescriptorKind.keypairConfirmed);
  }
  if (peer.roaming) {
    if (received.source !== peer.endpoint) tellRoamed(state, peer, received.source);
  } else if (!isFrame(plaintext)) {
    seenAt(state, peer, received.source);
  }
  followSource(state, peer, received.source, received.local);
  if (keypair === peer.keypairs.current && state.now >= keypair.rekeyOnReceiveAt) {
    if ((peer.news.armed & Notify.rekeyOnReceive) !== 0) peer.news.rekeyReason = RekeyReason.receiveAge;
    state.events.notify(peer.news, Notify.rekeyOnReceive, DescriptorKind.rekeyWanted);
  }
  if (confirmed) flushStaged(state, peer, state.now);
}

/** Stamps any authenticated message of the peer's. */
export function stampReceipt(peer: Peer, length: number, now: number): void {
  peer.record.add(RecordField.rxBytes, length);
  peer.record.add(RecordField.rxPackets, 1);
  peer.record.set(RecordField.lastAuthenticatedReceive, now);
  peer.record.set(RecordField.answerAwaitedSince, 0);
}

function tellRoamed(state: PlaneState, peer: Peer, source: Endpoint): void {
  peer.news.roamedTo = source;
  state.events.raise(peer.news, DescriptorKind.roamed);
}

/**
 * A peer that does not roam was seen there. Each place is told once until the peer is seen at its endpoint again; another place at most once
 * in ROAMED_INTERVAL_MS, unless it can go into a report that nobody has fetched yet.
 */
function seenAt(state: PlaneState, peer: Peer, source: Endpoint): void {
  if (source === peer.endpoint) {
    peer.roamedTold = null;
    return;
  }
  if (source === peer.roamedTold) return;
  const waits = peer.news.pending.has(DescriptorKind.roamed);
  if (!waits && peer.roamedAt !== UNSET && state.now < after(peer.roamedAt, ROAMED_INTERVAL_MS)) return;
  if (!waits) peer.roamedAt = state.now;
  peer.roamedTold = source;
  tellRoamed(state, peer, source);
}

/** A roaming peer is where its newest message came from; what it sent to is where our answers come from. */
export function followSource(state: PlaneState, peer: Peer, source: Endpoint, local: Endpoint): void {
  if (peer.roaming) peer.endpoint = source;
  if (peer.endpoint !== source) return;
  peer.source = local;
  state.relayTable.follow(peer);
}

/** Plaintext of a control frame begins with a zero nibble. */
function isFrame(plaintext: Uint8Array): boolean {
  const first = plaintext[0];
  return first !== undefined && first >> 4 === 0;
}

function deliver(state: PlaneState, peer: Peer, received: Received, plaintext: Uint8Array): Outcome {
  const first = plaintext[0];
  if (first === undefined) return null;
  if (isFrame(plaintext)) {
    if (plaintext.length > CONTROL_BYTES_MAX) return 'inFrameUnknown';
    return toSlab(state, received, DescriptorKind.frame, peer.slot, plaintext);
  }
  const packet = parseIpPacket(plaintext);
  if (packet === null) return 'inInnerMalformed';
  const routesTo = state.allowedIps.lookup(plaintext, packet.sourceAt, packet.addressLength);
  if (routesTo !== peer) return 'inWrongSource';
  peer.record.set(RecordField.lastDataReceive, state.now);
  if (peer.record.get(RecordField.answerOwedSince) === 0) {
    peer.record.set(RecordField.answerOwedSince, state.now);
    state.events.notify(peer.news, Notify.answerOwed, DescriptorKind.answerOwed);
  }
  clampMss(plaintext, packet, peer.pathMtu);
  writeTun(state, plaintext.subarray(0, packet.length));
  return null;
}
