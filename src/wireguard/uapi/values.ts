// The values of the configuration protocol, from bytes: keys as 64 hexadecimal digits, decimal numbers, `true`, endpoints,
// prefixes. Keys are decoded from the bytes themselves and never become a string, which nobody could zero.

import { type Endpoint, parseEndpoint } from '../../base/ip.ts';

export const KEY_LENGTH = 32;
const SHOWN_MAX = 64;

/** A zone's interface index, or null when there is no such interface. */
export type ZoneResolver = (name: string) => number | null;

export function text(bytes: Uint8Array): string {
  return String.fromCharCode.apply(null, bytes as unknown as number[]);
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const lower = code | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

/** 64 digits of either case into the 32 bytes of `out`; false, and `out` zeroed, when they are not that. */
export function decodeKey(value: Uint8Array, out: Uint8Array): boolean {
  let valid = value.length === 2 * KEY_LENGTH;
  for (let i = 0; valid && i < KEY_LENGTH; i++) {
    const high = hexDigit(value[2 * i] as number);
    const low = hexDigit(value[2 * i + 1] as number);
    valid = high >= 0 && low >= 0;
    out[i] = (high << 4) | low;
  }
  if (!valid) out.fill(0);
  return valid;
}

/** A public key's 64 digits in lower case, as a string of its own (no slice that would keep a whole request alive); null when malformed. */
export function publicKeyHex(value: Uint8Array): string | null {
  if (value.length !== 2 * KEY_LENGTH) return null;
  const lower = new Uint8Array(2 * KEY_LENGTH);
  for (let i = 0; i < lower.length; i++) {
    const code = value[i] as number;
    if (hexDigit(code) < 0) return null;
    lower[i] = code >= 65 && code <= 70 ? code + 32 : code;
  }
  return text(lower);
}

/** Decimal digits only; null when there are none, too many, or the number is above `max`. */
export function decimal(value: Uint8Array, max: number): number | null {
  if (value.length === 0 || value.length > 10) return null;
  let number = 0;
  for (const code of value) {
    if (code < 48 || code > 57) return null;
    number = number * 10 + code - 48;
  }
  return number <= max ? number : null;
}

export type EndpointValue =
  | { readonly ok: true; readonly endpoint: Endpoint }
  | { readonly ok: false; readonly errno: string; readonly reason: string };

/** `192.0.2.1:51820`, `[2001:db8::1]:51820`, `[fe80::1%eth0]:51820`, `[fe80::1%2]:51820`; names are not looked up. */
export function endpoint(value: string, resolveZone: ZoneResolver): EndpointValue {
  const malformed = { ok: false, errno: 'EINVAL', reason: 'not an address with a port between 1 and 65535' } as const;
  const numeric = parseEndpoint(value);
  if (numeric !== null) return { ok: true, endpoint: numeric };
  const zoned = /^\[([^%\]]+)%([^%\]]+)\]:(\d+)$/.exec(value);
  if (zoned === null) return malformed;
  const [, address, zone, port] = zoned as unknown as [string, string, string, string];
  if (parseEndpoint(`[${address}]:${port}`) === null || /^\d+$/.test(zone)) return malformed;
  const scope = resolveZone(zone);
  if (scope === null) return { ok: false, errno: 'ENODEV', reason: `there is no interface ${shown(zone)}` };
  const resolved = parseEndpoint(`[${address}%${scope}]:${port}`);
  return resolved === null ? malformed : { ok: true, endpoint: resolved };
}

/** For a log line: printable ASCII only, and not much of it. */
export function shown(value: string): string {
  const printable = value.replace(/[^ -~]/g, '?');
  return printable.length <= SHOWN_MAX ? printable : `${printable.slice(0, SHOWN_MAX)}…`;
}
