// Packets that wait for a keypair which may send (paper §6.1; checklist 5 and 25): bounded, oldest dropped first, in
// order. When they are sent or given up is decided in outbound.ts and by the engine.

/** As many as Linux's and Go's WireGuard keep. */
export const STAGED_PACKETS_MAX = 128;

export class Staging {
  readonly #packets: Uint8Array[] = [];

  get length(): number {
    return this.#packets.length;
  }

  /** Takes ownership of `packet`. True when the oldest was dropped to make room. */
  push(packet: Uint8Array): boolean {
    this.#packets.push(packet);
    if (this.#packets.length <= STAGED_PACKETS_MAX) return false;
    this.#packets.shift();
    return true;
  }

  /** The oldest. */
  take(): Uint8Array | undefined {
    return this.#packets.shift();
  }

  /** All of them, oldest first. */
  takeAll(): Uint8Array[] {
    return this.#packets.splice(0);
  }
}
