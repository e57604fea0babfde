// IP addresses, prefixes and endpoints as canonical text: immutable, cheap to hold by the hundred thousand, compared
// with ===, and printed as they are. RFC 5952 gives the one spelling of an IPv6 address. Bytes are made where the wire
// or the data plane needs them. IPv4-mapped IPv6 is not folded into IPv4 here.

import type { Brand } from './brand.ts';

/** `192.0.2.1` or `2001:db8::1`, canonical, without a zone. */
export type IpAddress = Brand<string, 'IpAddress'>;

/** `192.0.2.0/24` or `2001:db8::/32`, canonical, host bits zero. */
export type IpPrefix = Brand<string, 'IpPrefix'>;

/** `192.0.2.1:51820`, `[2001:db8::1]:51820` or, with a numeric zone, `[fe80::1%2]:51820`. Port 1…65535. */
export type Endpoint = Brand<string, 'Endpoint'>;

export type Family = 4 | 6;

export function familyOf(address: IpAddress | IpPrefix): Family {
  return address.includes(':') ? 6 : 4;
}

function parseDecimal(text: string, max: number): number | null {
  if (text.length === 0 || text.length > 10) return null;
  let value = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return null;
    value = value * 10 + digit;
  }
  return value <= max ? value : null;
}

function parseIpv4(text: string): Uint8Array | null {
  const parts = text.split('.');
  if (parts.length !== 4) return null;
  const bytes = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    const part = parts[i] as string;
    const value = part.length > 1 && part.startsWith('0') ? null : parseDecimal(part, 255);
    if (value === null) return null;
    bytes[i] = value;
  }
  return bytes;
}

/** The 16-bit groups of one side of `::`, a dotted quad allowed at the end; null when malformed. */
function parseGroups(text: string, quadAllowed: boolean): number[] | null {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i] as string;
    if (part.includes('.')) {
      if (!quadAllowed || i !== parts.length - 1) return null;
      const quad = parseIpv4(part);
      if (quad === null) return null;
      groups.push(((quad[0] as number) << 8) | (quad[1] as number), ((quad[2] as number) << 8) | (quad[3] as number));
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return null;
      groups.push(Number.parseInt(part, 16));
    }
  }
  return groups;
}

function parseIpv6(text: string): Uint8Array | null {
  if (text.length > 45) return null;
  const halves = text.split('::');
  if (halves.length > 2) return null;
  const head = parseGroups(halves[0] as string, halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1] as string, true) : [];
  if (head === null || tail === null) return null;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return null;
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail];
  const bytes = new Uint8Array(16);
  for (let i = 0; i < 8; i++) {
    const group = groups[i] as number;
    bytes[2 * i] = group >> 8;
    bytes[2 * i + 1] = group & 255;
  }
  return bytes;
}

/** 4 or 16 bytes in network order, or null when `text` is not an address. */
export function parseAddressBytes(text: string): Uint8Array | null {
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text);
}

/** The bytes of an address that is known to be canonical. */
export function addressBytes(address: IpAddress): Uint8Array {
  const bytes = parseAddressBytes(address);
  if (bytes === null) throw new Error(`not an address: ${address}`);
  return bytes;
}

/** RFC 5952: lower case, no leading zeros, the longest run of two or more zero groups (the first of equals) as `::`. */
function formatIpv6(bytes: Uint8Array): string {
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(((bytes[i] as number) << 8) | (bytes[i + 1] as number));
  let bestAt = -1;
  let bestLength = 1;
  for (let at = 0; at < 8; ) {
    let end = at;
    while (end < 8 && groups[end] === 0) end++;
    if (end - at > bestLength) {
      bestAt = at;
      bestLength = end - at;
    }
    at = end + 1;
  }
  if (bestAt < 0) return formatGroups(groups, 0, 8);
  return `${formatGroups(groups, 0, bestAt)}::${formatGroups(groups, bestAt + bestLength, 8)}`;
}

function formatGroups(groups: readonly number[], from: number, to: number): string {
  let text = '';
  for (let i = from; i < to; i++) text += `${i === from ? '' : ':'}${(groups[i] as number).toString(16)}`;
  return text;
}

/** `bytes`: 4 or 16 bytes in network order. */
export function formatAddress(bytes: Uint8Array): IpAddress {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}` as IpAddress;
  return formatIpv6(bytes) as IpAddress;
}

export function parseAddress(text: string): IpAddress | null {
  const bytes = parseAddressBytes(text);
  return bytes === null ? null : formatAddress(bytes);
}

/** Clears every bit of `bytes` after the first `length`. In place. */
export function maskBits(bytes: Uint8Array, length: number): void {
  for (let i = 0; i < bytes.length; i++) {
    const keep = Math.min(8, Math.max(0, length - 8 * i));
    bytes[i] = (bytes[i] as number) & (0xff00 >> keep) & 255;
  }
}

export function formatPrefix(bytes: Uint8Array, length: number): IpPrefix {
  let masked = bytes;
  if (length < bytes.length * 8) {
    masked = bytes.slice();
    maskBits(masked, length);
  }
  return `${formatAddress(masked)}/${length}` as IpPrefix;
}

/** Accepts host bits (they are cleared) and a bare address (a host prefix); null when malformed. */
export function parsePrefix(text: string): IpPrefix | null {
  const slash = text.indexOf('/');
  const bytes = parseAddressBytes(slash < 0 ? text : text.slice(0, slash));
  if (bytes === null) return null;
  const bits = bytes.length * 8;
  const length = slash < 0 ? bits : parseDecimal(text.slice(slash + 1), bits);
  return length === null ? null : formatPrefix(bytes, length);
}

/** Address bytes and length of a canonical prefix. */
export function prefixParts(prefix: IpPrefix): { bytes: Uint8Array; length: number } {
  const slash = prefix.indexOf('/');
  return { bytes: addressBytes(prefix.slice(0, slash) as IpAddress), length: Number(prefix.slice(slash + 1)) };
}

export interface EndpointParts {
  readonly address: IpAddress;
  readonly port: number;
  /** Interface index of a link-local IPv6 address; 0 when there is none. */
  readonly scopeId: number;
}

export function formatEndpoint(address: IpAddress, port: number, scopeId = 0): Endpoint {
  if (familyOf(address) === 4) return `${address}:${port}` as Endpoint;
  return `[${address}${scopeId === 0 ? '' : `%${scopeId}`}]:${port}` as Endpoint;
}

/** Numeric endpoints only; a zone must be an interface index. Null when malformed or when the port is 0. */
export function parseEndpoint(text: string): Endpoint | null {
  const colon = text.lastIndexOf(':');
  if (colon < 0) return null;
  const port = parseDecimal(text.slice(colon + 1), 65_535);
  if (port === null || port === 0) return null;
  let host = text.slice(0, colon);
  let scopeId: number | null = 0;
  const bracketed = host.startsWith('[') && host.endsWith(']');
  if (bracketed) {
    host = host.slice(1, -1);
    const percent = host.indexOf('%');
    if (percent >= 0) {
      scopeId = parseDecimal(host.slice(percent + 1), 0xffff_ffff);
      host = host.slice(0, percent);
    }
  }
  const address = parseAddress(host);
  if (address === null || scopeId === null || (familyOf(address) === 6) !== bracketed) return null;
  return formatEndpoint(address, port, scopeId);
}

/** The parts of an endpoint that is known to be canonical. */
export function endpointParts(endpoint: Endpoint): EndpointParts {
  const colon = endpoint.lastIndexOf(':');
  const port = Number(endpoint.slice(colon + 1));
  const host = endpoint.startsWith('[') ? endpoint.slice(1, colon - 1) : endpoint.slice(0, colon);
  const percent = host.indexOf('%');
  if (percent < 0) return { address: host as IpAddress, port, scopeId: 0 };
  return { address: host.slice(0, percent) as IpAddress, port, scopeId: Number(host.slice(percent + 1)) };
}
