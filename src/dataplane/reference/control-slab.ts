// Control datagrams and frames on their way to JavaScript: fixed slots of one byte array, a queue of filled ones, and the
// handles that answer them. A handle is the slot's number and is good from `poll` until its slot is released.

import { assert } from '../../base/assert.ts';
import type { Instant } from '../../base/instant.ts';
import type { Endpoint } from '../../base/ip.ts';

/** A frame of 1,500 bytes with its padding is the longest thing that goes up. */
export const CONTROL_BYTES_MAX = 1504;

const SLOT_BYTES = 1536;

export interface ControlItem {
  readonly slot: number;
  readonly offset: number;
  readonly length: number;
  readonly kind: number;
  readonly peer: number;
  readonly source: Endpoint;
  readonly local: Endpoint;
  readonly receivedAt: Instant;
}

export class ControlSlab {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly slots: number;
  readonly #free: number[] = [];
  #waiting: ControlItem[] = [];
  /** Taken by the last poll and not yet released, in its order. */
  readonly #taken: ControlItem[] = [];

  constructor(slots: number) {
    this.slots = slots;
    this.bytes = new Uint8Array(slots * SLOT_BYTES);
    for (let slot = slots - 1; slot >= 0; slot--) this.#free.push(slot);
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get taken(): number {
    return this.#taken.length;
  }

  /** An eighth or more is in use: JavaScript is behind. */
  get loaded(): boolean {
    return (this.slots - this.#free.length) * 8 >= this.slots;
  }

  /** False when there is no free slot. `bytes` is copied. */
  push(
    kind: number,
    peer: number,
    bytes: Uint8Array,
    from: { source: Endpoint; local: Endpoint; receivedAt: Instant },
  ): boolean {
    assert(bytes.length <= CONTROL_BYTES_MAX, 'a control datagram fits its slot');
    const slot = this.#free.pop();
    if (slot === undefined) return false;
    const offset = slot * SLOT_BYTES;
    this.bytes.set(bytes, offset);
    this.#waiting.push({ slot, offset, length: bytes.length, kind, peer, ...from });
    return true;
  }

  /** The oldest, at most `max`; they keep their slots until released. Borrowed until the next call. */
  take(max: number): readonly ControlItem[] {
    this.#taken.push(...this.#waiting.splice(0, max));
    return this.#taken;
  }

  /** Frees the slots of the first `count` that were taken. */
  release(count: number): void {
    for (const item of this.#taken.splice(0, count)) this.#free.push(item.slot);
  }

  /** What is behind the handle, while it is good. */
  item(handle: number): ControlItem | undefined {
    return this.#taken.find((item) => item.slot === handle);
  }

  /** Drops what waits for the peer's attention. What a poll has already handed out stays until its release. */
  removePeer(peer: number): void {
    this.#waiting = this.#waiting.filter((item) => {
      if (item.peer !== peer) return true;
      this.#free.push(item.slot);
      return false;
    });
  }

  wipe(): void {
    this.bytes.fill(0);
    this.#waiting = [];
  }
}
