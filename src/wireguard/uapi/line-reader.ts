// Cuts a byte stream into lines that end with LF, whatever the pieces it arrives in. Holds at most LINE_LENGTH_MAX bytes
// of an unfinished line, and zeroes them when the line is over: a line may be a key.

/** The longest line that the protocol needs is an endpoint with a zone, well below 200 bytes. */
export const LINE_LENGTH_MAX = 1024;

const LF = 10;

export class LineReader {
  readonly #carry = new Uint8Array(LINE_LENGTH_MAX);
  #carried = 0;
  #overlong = false;
  #line: Uint8Array = this.#carry.subarray(0, 0);

  /** The line that `next` found, without its LF; borrowed until the next call. Empty when it was too long. */
  get line(): Uint8Array {
    return this.#line;
  }

  /** Whether that line had more than LINE_LENGTH_MAX bytes. */
  get overlong(): boolean {
    return this.#overlong;
  }

  /** Bytes of an unfinished line wait for more (or were thrown away because it is too long already). */
  get unfinished(): boolean {
    return this.#carried > 0;
  }

  /** Looks for the end of a line from `at` on. The offset behind it, or −1 when all bytes were taken without one. */
  next(bytes: Uint8Array, at: number): number {
    const end = bytes.indexOf(LF, at);
    const stop = end < 0 ? bytes.length : end;
    const length = this.#carried + stop - at;
    if (length > LINE_LENGTH_MAX) this.#carried = LINE_LENGTH_MAX + 1;
    if (end < 0) {
      this.#keep(bytes, at);
      return -1;
    }
    this.#overlong = length > LINE_LENGTH_MAX;
    if (this.#overlong) this.#line = this.#carry.subarray(0, 0);
    else if (this.#carried === 0) this.#line = bytes.subarray(at, end);
    else {
      this.#carry.set(bytes.subarray(at, end), this.#carried);
      this.#line = this.#carry.subarray(0, length);
    }
    return end + 1;
  }

  /** The line has been used: forgets it. */
  done(): void {
    if (this.#carried > 0) this.#carry.fill(0);
    this.#carried = 0;
    this.#overlong = false;
    this.#line = this.#carry.subarray(0, 0);
  }

  #keep(bytes: Uint8Array, at: number): void {
    if (this.#carried > LINE_LENGTH_MAX) return;
    this.#carry.set(bytes.subarray(at), this.#carried);
    this.#carried += bytes.length - at;
  }
}
