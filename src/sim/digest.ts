// What was sent and when, as one number: 64-bit FNV-1a. Two runs with the same digest were the same byte for byte. Nothing to
// do with cryptography.

export class Digest {
  #low = 0x84222325;
  #high = 0xcbf29ce4;

  #byte(byte: number): void {
    // FNV-1a's prime is 2^40 + 0x1b3; the product is kept in two 32-bit halves.
    const low = (this.#low ^ byte) >>> 0;
    const product = low * 0x1b3;
    const carry = Math.floor(product / 0x1_0000_0000);
    this.#high = (Math.imul(this.#high, 0x1b3) + Math.imul(low, 0x100) + carry) >>> 0;
    this.#low = product >>> 0;
  }

  add(at: number, bytes: Uint8Array): void {
    for (let rest = Math.floor(at), i = 0; i < 4; i++, rest = Math.floor(rest / 256)) this.#byte(rest & 255);
    for (let i = 0; i < bytes.length; i++) this.#byte(bytes[i] as number);
  }

  value(): string {
    return this.#high.toString(16).padStart(8, '0') + this.#low.toString(16).padStart(8, '0');
  }
}
