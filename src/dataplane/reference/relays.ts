// Relayed datagrams (docs/paths.md "On the wire"): whom this plane forwards for, by slot and by endpoint, how much each may send,
// and the 12-byte header. The rules are in inbound.ts; which peer gets a slot is decided elsewhere.

import { concat, toHex } from '../../base/bytes.ts';
import type { Instant } from '../../base/instant.ts';
import type { Endpoint } from '../../base/ip.ts';
import { RELAY_HEADER_BYTES, RELAY_MESSAGE_TYPE } from '../../base/relayed.ts';
import type { RelayLimits } from '../dataplane.ts';

const SLOT_AT = 4;

/** Borrowed. */
export function slotOf(datagram: Uint8Array): Uint8Array {
  return datagram.subarray(SLOT_AT, RELAY_HEADER_BYTES);
}

/** `slot`: 8 bytes, borrowed. */
export function relayedDatagram(slot: Uint8Array, inner: Uint8Array): Uint8Array {
  const header = new Uint8Array(RELAY_HEADER_BYTES);
  header[0] = RELAY_MESSAGE_TYPE;
  header.set(slot, SLOT_AT);
  return concat(header, inner);
}

/** Thousandths of a byte, so that whole milliseconds add up exactly. */
const UNIT = 1000;

export class ByteBucket {
  #limits: RelayLimits;
  #tokens: number;
  #filledAt: Instant;

  constructor(limits: RelayLimits, now: Instant) {
    this.#limits = limits;
    this.#tokens = limits.burstBytes * UNIT;
    this.#filledAt = now;
  }

  /** What is in it stays, as far as it fits. */
  change(limits: RelayLimits): void {
    this.#limits = limits;
    this.#tokens = Math.min(this.#tokens, limits.burstBytes * UNIT);
  }

  take(bytes: number, now: Instant): boolean {
    const { bytesPerSecond, burstBytes } = this.#limits;
    if (bytesPerSecond === Number.POSITIVE_INFINITY) return true;
    if (now > this.#filledAt) {
      this.#tokens = Math.min(burstBytes * UNIT, this.#tokens + (now - this.#filledAt) * bytesPerSecond);
      this.#filledAt = now;
    }
    if (this.#tokens < bytes * UNIT) return false;
    this.#tokens -= bytes * UNIT;
    return true;
  }
}

/** `Peer`: whoever has a slot and an endpoint. */
export class RelayTable<Peer extends { readonly endpoint: Endpoint | null }> {
  readonly #bySlot = new Map<string, Peer>();
  readonly #byEndpoint = new Map<Endpoint, Peer>();
  readonly #users = new Map<
    Peer,
    { readonly slot: Uint8Array; readonly bucket: ByteBucket; endpoint: Endpoint | null }
  >();

  /** `slot` is copied. */
  set(peer: Peer, slot: Uint8Array, limits: RelayLimits, now: Instant): void {
    const user = this.#users.get(peer);
    if (user !== undefined && toHex(user.slot) === toHex(slot)) {
      user.bucket.change(limits);
      return;
    }
    this.remove(peer);
    const holder = this.#bySlot.get(toHex(slot));
    if (holder !== undefined) this.remove(holder);
    this.#users.set(peer, { slot: slot.slice(), bucket: new ByteBucket(limits, now), endpoint: null });
    this.#bySlot.set(toHex(slot), peer);
    this.follow(peer);
  }

  remove(peer: Peer): void {
    const user = this.#users.get(peer);
    if (user === undefined) return;
    this.#forgetEndpoint(peer, user.endpoint);
    this.#bySlot.delete(toHex(user.slot));
    this.#users.delete(peer);
  }

  /** The peer's endpoint was set, or proved anew: what comes from there is the peer's, whoever was there before. */
  follow(peer: Peer): void {
    const user = this.#users.get(peer);
    if (user === undefined) return;
    if (user.endpoint !== peer.endpoint) this.#forgetEndpoint(peer, user.endpoint);
    user.endpoint = peer.endpoint;
    if (peer.endpoint !== null) this.#byEndpoint.set(peer.endpoint, peer);
  }

  at(endpoint: Endpoint): Peer | undefined {
    return this.#byEndpoint.get(endpoint);
  }

  /** `slot` is borrowed. */
  with(slot: Uint8Array): Peer | undefined {
    return this.#bySlot.get(toHex(slot));
  }

  /** The slot and the bucket of a peer that has them. */
  user(peer: Peer): { readonly slot: Uint8Array; readonly bucket: ByteBucket } | undefined {
    return this.#users.get(peer);
  }

  #forgetEndpoint(peer: Peer, endpoint: Endpoint | null): void {
    if (endpoint !== null && this.#byEndpoint.get(endpoint) === peer) this.#byEndpoint.delete(endpoint);
  }
}
