// Tunnel to network: docs/dataplane.md "Tunnel to network", rule by rule (paper §5.4.6, §6.1–6.5). DSCP and ECN of the outer
// header are not here, for there is none.

import { writeU32le, writeU64le } from '../../base/bytes.ts';
import { after, type Instant } from '../../base/instant.ts';
import type { Endpoint } from '../../base/ip.ts';
import { DescriptorKind, type DropReason, type FrameSent, Notify, RecordField, RekeyReason } from '../dataplane.ts';
import { packetTooBig, type UnreachableReason, unreachable } from './icmp.ts';
import { type IpPacket, parseIpPacket } from './ip-packet.ts';
import { type Keypair, maySend } from './keypairs.ts';
import { clampMss, isTooBig, packetBytesMax } from './path-mtu.ts';
import { drop, isReachable, type Peer, type PlaneState, writeTun, writeUdp } from './state.ts';

/** At most one ICMP error in this time, for the whole device; of packets too big the same, reckoned apart. */
const ICMP_INTERVAL_MS = 10;

const HEADER_BYTES = 16;
const TRANSPORT_TYPE = 4;
const PADDING = 16;
const NOTHING = new Uint8Array(0);

/** One IP packet from the TUN; borrowed. */
export function fromTunnel(state: PlaneState, bytes: Uint8Array): void {
  state.totals.tunReads++;
  state.totals.tunPacketsIn++;
  const reason = send(state, bytes);
  if (reason !== null) drop(state, reason);
}

/** Returns why the packet was dropped, or null. */
function send(state: PlaneState, bytes: Uint8Array): DropReason | null {
  const packet = parseIpPacket(bytes);
  if (packet === null) return 'outMalformed';
  const peer = state.allowedIps.lookup(bytes, packet.destinationAt, packet.addressLength);
  if (peer === undefined) {
    sendUnreachable(state, bytes, packet, 'noRoute', state.now);
    return 'outNoPeer';
  }
  if (isTooBig(bytes, packet, peer.pathMtu)) {
    sendTooBig(state, bytes, packet, peer.pathMtu);
    return 'outTooBig';
  }
  const content = bytes.slice(0, packet.length);
  clampMss(content, packet, peer.pathMtu);
  if (peer.endpoint === null) {
    sendUnreachable(state, content, packet, 'unreachable', state.now);
    return 'outNoEndpoint';
  }
  if (state.port === 0) return 'outSocketError';
  const keypair = peer.keypairs.current;
  if (maySend(keypair, state.now)) {
    flushStaged(state, peer, state.now);
    if (!isReachable(state, peer.endpoint)) return 'outRelayUnknown';
    // Flushing may have used up the last counters.
    if (maySend(keypair, state.now)) {
      sendData(state, peer, keypair, content, state.now);
      return null;
    }
  }
  stage(state, peer, content);
  return null;
}

function stage(state: PlaneState, peer: Peer, packet: Uint8Array): void {
  if (peer.staging.push(packet)) drop(state, 'outStagedOverflow');
  peer.record.set(RecordField.staged, peer.staging.length);
  peer.record.set(RecordField.lastStaged, state.now);
  state.events.notify(peer.news, Notify.sessionWanted, DescriptorKind.sessionWanted);
}

/** Sends what is staged, oldest first, while the keypair lets it. Returns how many left. */
export function flushStaged(state: PlaneState, peer: Peer, now: Instant): number {
  let sent = 0;
  const keypair = peer.keypairs.current;
  while (maySend(keypair, now) && canReach(state, peer)) {
    const packet = peer.staging.take();
    if (packet === undefined) break;
    peer.record.set(RecordField.staged, peer.staging.length);
    sendData(state, peer, keypair, packet, now);
    sent++;
  }
  return sent;
}

/** Drops what is staged. Returns how many there were. */
export function dropStaged(state: PlaneState, peer: Peer, tellSenders: boolean, now: Instant): number {
  const packets = peer.staging.takeAll();
  peer.record.set(RecordField.staged, 0);
  for (const bytes of packets) {
    drop(state, 'outStagedFlushed');
    const packet = tellSenders ? parseIpPacket(bytes) : null;
    if (packet !== null) sendUnreachable(state, bytes, packet, 'unreachable', now);
  }
  return packets.length;
}

/** Whether a datagram could leave for the peer's endpoint now. */
export function canReach(state: PlaneState, peer: Peer): boolean {
  return state.port !== 0 && peer.endpoint !== null && isReachable(state, peer.endpoint);
}

/** An empty message, or a control frame: neither is data. False when nothing can be sent. */
export function sendKeepaliveOrFrame(state: PlaneState, peer: Peer, frame: Uint8Array | null, now: Instant): boolean {
  const keypair = peer.keypairs.current;
  if (!maySend(keypair, now)) return false;
  return sendTransport(state, peer, keypair, sealable(frame ?? NOTHING, state.mtu), now);
}

/** A control frame to any endpoint: only at the peer's own does it stand for a sign of life. */
export function sendFrameTo(
  state: PlaneState,
  peer: Peer,
  frame: Uint8Array,
  endpoint: Endpoint,
  now: Instant,
): FrameSent {
  const keypair = peer.keypairs.current;
  if (!maySend(keypair, now)) return 'noKeypair';
  if (state.port === 0 || !isReachable(state, endpoint)) return 'failed';
  const plaintext = sealable(frame, state.mtu);
  if (endpoint === peer.endpoint) return sendTransport(state, peer, keypair, plaintext, now) ? 'sent' : 'failed';
  const message = sealed(state, keypair, plaintext);
  writeUdp(state, message, endpoint, null);
  peer.record.add(RecordField.txBytes, message.length);
  peer.record.add(RecordField.txPackets, 1);
  peer.record.set(RecordField.sendCounter, Number(keypair.sendCounter));
  wantRekeyAfterSend(state, peer, keypair, now);
  return 'sent';
}

function sendData(state: PlaneState, peer: Peer, keypair: Keypair, packet: Uint8Array, now: Instant): void {
  const fits = peer.pathMtu !== 0 && packet.length <= peer.pathMtu;
  const plaintext = sealable(packet, fits ? Math.min(peer.pathMtu, state.mtu) : state.mtu);
  if (!sendTransport(state, peer, keypair, plaintext, now)) return;
  peer.record.set(RecordField.lastDataSend, now);
  if (peer.record.get(RecordField.answerAwaitedSince) === 0) {
    peer.record.set(RecordField.answerAwaitedSince, now);
    state.events.notify(peer.news, Notify.answerAwaited, DescriptorKind.answerAwaited);
  }
}

/** To the peer's endpoint. The keypair may send. False, and nothing done, when there is no way there. */
function sendTransport(state: PlaneState, peer: Peer, keypair: Keypair, plaintext: Uint8Array, now: Instant): boolean {
  if (peer.endpoint === null || !canReach(state, peer)) return false;
  sendAuthenticated(state, peer, peer.endpoint, sealed(state, keypair, plaintext), now);
  peer.record.set(RecordField.sendCounter, Number(keypair.sendCounter));
  wantRekeyAfterSend(state, peer, keypair, now);
  return true;
}

/** `04 00 00 00 ‖ remote index ‖ counter ‖ ciphertext` (paper §5.4.6), with the keypair's next counter. */
function sealed(state: PlaneState, keypair: Keypair, plaintext: Uint8Array): Uint8Array {
  const counter = keypair.sendCounter++;
  const ciphertext = state.crypto.seal(keypair.sendKey, counter, plaintext, NOTHING);
  const message = new Uint8Array(HEADER_BYTES + ciphertext.length);
  writeU32le(message, 0, TRANSPORT_TYPE);
  writeU32le(message, 4, keypair.remoteIndex);
  writeU64le(message, 8, counter);
  message.set(ciphertext, HEADER_BYTES);
  return message;
}

/** The content with its padding. */
function sealable(content: Uint8Array, mtu: number): Uint8Array {
  const plaintext = new Uint8Array(paddedLength(content.length, mtu));
  plaintext.set(content);
  return plaintext;
}

/** Zeros up to a multiple of 16, but not past the MTU of a packet that keeps to it (paper §5.4.6; checklist 22). */
function paddedLength(length: number, mtu: number): number {
  const padded = Math.ceil(length / PADDING) * PADDING;
  return length <= mtu ? Math.min(padded, mtu) : padded;
}

/** Sends what proves to the peer that we are alive, and stamps it. Takes ownership of `message`. */
export function sendAuthenticated(
  state: PlaneState,
  peer: Peer,
  endpoint: NonNullable<Peer['endpoint']>,
  message: Uint8Array,
  now: Instant,
): void {
  writeUdp(state, message, endpoint, peer.source);
  peer.record.add(RecordField.txBytes, message.length);
  peer.record.add(RecordField.txPackets, 1);
  peer.record.set(RecordField.lastAuthenticatedSend, now);
  peer.record.set(RecordField.answerOwedSince, 0);
}

function wantRekeyAfterSend(state: PlaneState, peer: Peer, keypair: Keypair, now: Instant): void {
  const old = now >= keypair.rekeyOnSendAt;
  if (!old && keypair.sendCounter <= keypair.rekeyAfterMessages) return;
  if ((peer.news.armed & Notify.rekeyOnSend) === 0) return;
  peer.news.rekeyReason = old ? RekeyReason.sendAge : RekeyReason.messages;
  state.events.notify(peer.news, Notify.rekeyOnSend, DescriptorKind.rekeyWanted);
}

function sendUnreachable(
  state: PlaneState,
  bytes: Uint8Array,
  packet: IpPacket,
  reason: UnreachableReason,
  now: Instant,
): void {
  if (now < state.icmpAllowedAt) return;
  const error = unreachable(bytes, packet, reason);
  if (error === null) return;
  state.icmpAllowedAt = after(now, ICMP_INTERVAL_MS);
  writeTun(state, error);
}

function sendTooBig(state: PlaneState, bytes: Uint8Array, packet: IpPacket, pathMtu: number): void {
  if (state.now < state.tooBigAllowedAt) return;
  const error = packetTooBig(bytes, packet, packetBytesMax(packet, pathMtu));
  if (error === null) return;
  state.tooBigAllowedAt = after(state.now, ICMP_INTERVAL_MS);
  writeTun(state, error);
}
