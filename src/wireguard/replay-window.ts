// Which counters of a receiving keypair have been seen (WireGuard paper §5.4.6; RFC 6479's ring of blocks). The ring
// holds 8,192 bits; the block that is being filled is not counted on, so a counter more than 8,128 below the greatest
// is refused, as every other implementation does. Asked only after the packet has been authenticated.

const RING_BITS = 8192;
const BLOCK_BITS = 32;
const RING_BLOCKS = RING_BITS / BLOCK_BITS;

/** How far below the greatest counter seen a packet may still arrive. */
export const REPLAY_WINDOW = RING_BITS - 64;

export class ReplayWindow {
  /** Bit `c mod 8192` = counter `c` was seen, for the counters in the window. */
  readonly #ring = new Uint32Array(RING_BLOCKS);
  #greatest = -1n;

  /** Greatest counter accepted; −1 before the first. */
  get greatest(): bigint {
    return this.#greatest;
  }

  /** True exactly once for each counter within the window; false for a repeated or too old one. `counter` ≥ 0. */
  accept(counter: bigint): boolean {
    if (counter > this.#greatest) this.#advance(counter);
    else if (this.#greatest - counter > REPLAY_WINDOW) return false;
    const position = Number(BigInt.asUintN(13, counter));
    const block = Math.floor(position / BLOCK_BITS);
    const bit = 1 << (position % BLOCK_BITS);
    const seen = this.#ring[block] as number;
    if ((seen & bit) !== 0) return false;
    this.#ring[block] = seen | bit;
    return true;
  }

  /** Clears the blocks between the old greatest counter's and the new one's. */
  #advance(counter: bigint): void {
    const from = this.#greatest < 0n ? -1n : this.#greatest / BigInt(BLOCK_BITS);
    const blocks = counter / BigInt(BLOCK_BITS) - from;
    const count = blocks > RING_BLOCKS ? RING_BLOCKS : Number(blocks);
    const start = Number(BigInt.asUintN(8, from + 1n));
    for (let i = 0; i < count; i++) this.#ring[(start + i) % RING_BLOCKS] = 0;
    this.#greatest = counter;
  }
}
