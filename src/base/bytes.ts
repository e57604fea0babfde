// Byte-string helpers: hex and base64 (strict, as the control socket needs them), little- and big-endian words,
// concatenation and comparison. Comparison here is for public data; secrets are compared by the crypto provider.

const HEX = '0123456789abcdef';

export function toHex(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] as number;
    text += HEX[byte >> 4];
    text += HEX[byte & 15];
  }
  return text;
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  if (code >= 97 && code <= 102) return code - 87;
  if (code >= 65 && code <= 70) return code - 55;
  return -1;
}

/** Null when `text` is not an even number of hexadecimal digits, or not `length` bytes where a length is given. */
export function fromHex(text: string, length?: number): Uint8Array | null {
  if (text.length % 2 !== 0 || (length !== undefined && text.length !== length * 2)) return null;
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) {
    const high = hexDigit(text.charCodeAt(2 * i));
    const low = hexDigit(text.charCodeAt(2 * i + 1));
    if (high < 0 || low < 0) return null;
    bytes[i] = (high << 4) | low;
  }
  return bytes;
}

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

export function toBase64(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const word = ((bytes[i] as number) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    text += BASE64[word >> 18];
    text += BASE64[(word >> 12) & 63];
    text += left > 1 ? BASE64[(word >> 6) & 63] : '=';
    text += left > 2 ? BASE64[word & 63] : '=';
  }
  return text;
}

/** Null unless `text` is canonical padded base64 of exactly `length` bytes. */
export function fromBase64(text: string, length: number): Uint8Array | null {
  if (text.length !== 4 * Math.ceil(length / 3)) return null;
  const bytes = new Uint8Array(length);
  let word = 0;
  let bits = 0;
  let at = 0;
  for (const char of text.replace(/={0,2}$/, '')) {
    const value = BASE64.indexOf(char);
    if (value < 0) return null;
    word = ((word << 6) | value) & 0xffffff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      if (at >= length) return null;
      bytes[at++] = (word >> bits) & 255;
    }
  }
  return at === length && toBase64(bytes) === text ? bytes : null;
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Whether two public byte strings are equal. Not constant-time: never for secrets. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function ascii(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i) & 127;
  return bytes;
}

export function readU32le(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)) >>>
    0
  );
}

export function writeU32le(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value & 255;
  bytes[at + 1] = (value >>> 8) & 255;
  bytes[at + 2] = (value >>> 16) & 255;
  bytes[at + 3] = (value >>> 24) & 255;
}

export function readU64le(bytes: Uint8Array, at: number): bigint {
  return (BigInt(readU32le(bytes, at + 4)) << 32n) | BigInt(readU32le(bytes, at));
}

export function writeU64le(bytes: Uint8Array, at: number, value: bigint): void {
  writeU32le(bytes, at, Number(value & 0xffffffffn));
  writeU32le(bytes, at + 4, Number((value >> 32n) & 0xffffffffn));
}

export function readU16be(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}

export function writeU16be(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = (value >>> 8) & 255;
  bytes[at + 1] = value & 255;
}

export function readU32be(bytes: Uint8Array, at: number): number {
  return ((readU16be(bytes, at) << 16) | readU16be(bytes, at + 2)) >>> 0;
}

export function writeU32be(bytes: Uint8Array, at: number, value: number): void {
  writeU16be(bytes, at, value >>> 16);
  writeU16be(bytes, at + 2, value & 0xffff);
}
