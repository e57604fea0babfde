// Pings inside the tunnel: people's, with the time that their answers take, and the answers to those of others; the probes of paths are
// paths.ts's. A ping for which
// there is no session begins one and waits for it. Everything here is bounded; an answer that never comes needs no timer.

import { elapsedMs, type Instant } from '../base/instant.ts';
import type { Endpoint } from '../base/ip.ts';
import type { NodeId } from '../protocol/values.ts';
import type { MessageSource } from '../wireguard/message-source.ts';
import type { Peer } from '../wireguard/peer.ts';
import { decodeFrame, encodePing, encodePong, FRAME_BYTES_MAX, type Frame, PING_BYTES_MIN } from './frames.ts';
import { drawTxid, type MeshContext } from './mesh-context.ts';
import type { MeshPeer, PingState } from './mesh-peer.ts';
import { endpointOf, type Paths } from './paths.ts';
import type { Relays } from './relays.ts';

/** Pings without an answer that are remembered; then the oldest is forgotten. */
export const PINGS_IN_FLIGHT_MAX = 1_024;
/** Of one peer, while there is no session. */
export const PINGS_WAITING_MAX = 16;
/** Pings of one peer that are answered, a second and at once. */
export const PONGS_PER_SECOND = 200;
export const PONGS_BURST = 50;

export type PingResult =
  /** It leaves at once, or as soon as there is a session. An answer comes as `pong`, or never. */
  { readonly ok: true; readonly txid: number } | { readonly ok: false; readonly reason: string };

interface InFlight {
  readonly id: NodeId;
  /** Null while it waits for a session. */
  sentAt: Instant | null;
  sentTo: Endpoint | null;
}

export class Pings {
  readonly #context: MeshContext;
  readonly #paths: Paths;
  /** Whom frames of relays are for. */
  relays: Relays | null = null;
  /** In the order in which they were made. */
  readonly #inFlight = new Map<number, InFlight>();

  constructor(context: MeshContext, paths: Paths) {
    this.#context = context;
    this.#paths = paths;
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** `bytes`: of the frame, padded. */
  ping(mesh: MeshPeer, peer: Peer, bytes: number, now: Instant): PingResult {
    if (!Number.isInteger(bytes) || bytes < PING_BYTES_MIN || bytes > FRAME_BYTES_MAX) {
      return { ok: false, reason: `a ping has ${PING_BYTES_MIN} to ${FRAME_BYTES_MAX} bytes` };
    }
    const state = pingsOf(mesh, now);
    const txid = this.#remember(mesh.node.id);
    if (this.#send(mesh, peer, txid, bytes, now)) return { ok: true, txid };
    if (state.waiting.length >= PINGS_WAITING_MAX) {
      this.#inFlight.delete(txid);
      return { ok: false, reason: `${PINGS_WAITING_MAX} pings wait for a session already` };
    }
    state.waiting.push({ txid, bytes });
    this.#context.engine.begin(peer, now);
    return { ok: true, txid };
  }

  #remember(id: NodeId): number {
    let txid = drawTxid(this.#context);
    while (this.#inFlight.has(txid)) txid = (txid + 1) >>> 0;
    this.#inFlight.set(txid, { id, sentAt: null, sentTo: null });
    if (this.#inFlight.size > PINGS_IN_FLIGHT_MAX) {
      const oldest = this.#inFlight.keys().next();
      if (!oldest.done) this.#inFlight.delete(oldest.value);
    }
    return txid;
  }

  #send(mesh: MeshPeer, peer: Peer, txid: number, bytes: number, now: Instant): boolean {
    const ping = this.#inFlight.get(txid);
    if (ping === undefined || !this.#context.plane.sendFrame(peer.slot, encodePing(txid, bytes), now)) return false;
    ping.sentAt = now;
    ping.sentTo = peer.endpoint;
    this.#context.counters.count('pingsSent');
    this.#paths.asked(mesh, now);
    return true;
  }

  /** A keypair may send: what waited goes out. */
  sessionWorks(mesh: MeshPeer, peer: Peer, now: Instant): void {
    const { pings } = mesh;
    if (pings === null || pings.waiting.length === 0) return;
    for (const { txid, bytes } of pings.waiting.splice(0)) this.#send(mesh, peer, txid, bytes, now);
  }

  /** Its pings are answered no more. */
  forget(mesh: MeshPeer): void {
    if (mesh.pings === null) return;
    mesh.pings.waiting.length = 0;
    for (const [txid, { id }] of this.#inFlight) if (id === mesh.node.id) this.#inFlight.delete(txid);
  }

  /** No session came of it: what waited is lost. */
  dropWaiting(mesh: MeshPeer): void {
    if (mesh.pings === null) return;
    for (const { txid } of mesh.pings.waiting.splice(0)) this.#inFlight.delete(txid);
  }

  /** A frame from the tunnel, padding included; `bytes` and `source` are borrowed. */
  handleFrame(mesh: MeshPeer, peer: Peer, bytes: Uint8Array, source: MessageSource, receivedAt: Instant): void {
    const { counters } = this.#context;
    const frame = decodeFrame(bytes);
    switch (frame.kind) {
      case 'ping':
        this.#answer(mesh, peer, encodePong(frame.txid, source.address, source.port), endpointOf(source), receivedAt);
        this.#paths.pingedFrom(mesh, endpointOf(source), receivedAt);
        break;
      case 'pong':
        this.#matched(mesh, frame, receivedAt);
        break;
      case 'relaySlot':
      case 'relayRefused':
      case 'relayDraining':
        this.#ofRelay(mesh, frame, receivedAt);
        break;
      case 'relayAllocate':
        counters.count('relayFramesUnexpected');
        break;
      case 'unknown':
        counters.count('framesUnknown');
        break;
      case 'malformed':
        counters.count('framesMalformed');
        break;
    }
  }

  #ofRelay(
    mesh: MeshPeer,
    frame: Extract<Frame, { kind: 'relaySlot' | 'relayRefused' | 'relayDraining' }>,
    now: Instant,
  ): void {
    if (this.relays === null || !mesh.isRelay) {
      this.#context.counters.count('relayFramesUnexpected');
      return;
    }
    if (frame.kind === 'relaySlot') this.relays.slot(mesh, frame.txid, frame.slot, now);
    else if (frame.kind === 'relayRefused') this.relays.refused(mesh, frame.txid, frame.reason, now);
    else this.relays.draining(mesh, frame.seconds, now);
  }

  /** Goes back where the ping came from: it is that path that is asked about. */
  #answer(mesh: MeshPeer, peer: Peer, pong: Uint8Array, to: Endpoint, now: Instant): void {
    const { counters, plane } = this.#context;
    const state = pingsOf(mesh, now);
    const earned = (Math.max(0, elapsedMs(state.tokensAt, now)) * PONGS_PER_SECOND) / 1000;
    state.tokens = Math.min(PONGS_BURST, state.tokens + earned);
    state.tokensAt = now;
    if (state.tokens < 1) {
      counters.count('pingsLimited');
      return;
    }
    state.tokens--;
    if (plane.sendFrameTo(peer.slot, pong, to, { dontFragment: false }, now) === 'sent')
      counters.count('pingsAnswered');
  }

  #matched(
    mesh: MeshPeer,
    pong: { readonly txid: number; readonly observed: PingState['observed'] },
    receivedAt: Instant,
  ): void {
    const { counters, outputs } = this.#context;
    const known = this.#inFlight.get(pong.txid);
    const { id } = mesh.node;
    const ping = known !== undefined && known.id === id && known.sentAt !== null ? known : null;
    if (ping === null && this.#paths.pong(mesh, pong.txid, pong.observed, receivedAt) === null) {
      counters.count('pongsUnexpected');
      return;
    }
    counters.count('pongsMatched');
    const state = pingsOf(mesh, receivedAt);
    const { observed } = pong;
    // What would not be taken of others as a way to them is no way to us either.
    if (observed !== null && observed !== state.observed && this.#context.usable.isUsable(observed)) {
      state.observed = observed;
      outputs.observed({ id, endpoint: observed });
    }
    if (ping === null) return;
    this.#inFlight.delete(pong.txid);
    const rttMs = Math.max(0, elapsedMs(ping.sentAt ?? receivedAt, receivedAt));
    const endpoint = ping.sentTo;
    if (endpoint === null) return;
    this.#paths.answered(mesh, endpoint, rttMs, receivedAt);
    outputs.pong({ id, txid: pong.txid, rttMs, endpoint, observed });
  }
}

function pingsOf(mesh: MeshPeer, now: Instant): PingState {
  mesh.pings ??= { waiting: [], tokens: PONGS_BURST, tokensAt: now, observed: null };
  return mesh.pings;
}
