// Endpoints and prefixes in the kernel's form: written into shared memory and read back, for every canonical spelling.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addressBytes,
  type Endpoint,
  formatAddress,
  formatEndpoint,
  formatPrefix,
  parseEndpoint,
  prefixParts,
} from '../../../src/base/ip.ts';
import {
  readSocketAddress,
  Scratch,
  SOCKET_ADDRESS_BYTES,
  writeSocketAddress,
} from '../../../src/dataplane/native/scratch.ts';

const AF_INET = 2;
const AF_INET6 = 10;

function written(endpoint: Endpoint | null): Uint8Array {
  const bytes = new Uint8Array(SOCKET_ADDRESS_BYTES).fill(0xee);
  writeSocketAddress(new DataView(bytes.buffer), bytes, 0, endpoint);
  return bytes;
}

function roundTrip(endpoint: Endpoint): Endpoint | null {
  const bytes = written(endpoint);
  return readSocketAddress(new DataView(bytes.buffer), bytes, 0);
}

/** Bytes with long runs of zeros, as IPv6 addresses have them. */
const ipv6Bytes = fc
  .array(fc.constantFrom(0, 0, 0, 1, 0x10, 0xab, 0xff), { minLength: 16, maxLength: 16 })
  .map((bytes) => Uint8Array.from(bytes));
const ipv4Bytes = fc.uint8Array({ minLength: 4, maxLength: 4 });
const ports = fc.integer({ min: 1, max: 65_535 });

describe('a socket address', () => {
  it('of IPv4 is a sockaddr_in', () => {
    const bytes = written(parseEndpoint('192.0.2.1:51820'));
    expect(new Uint16Array(bytes.buffer)[0]).toBe(AF_INET);
    expect([...bytes.slice(2, 8)]).toEqual([0xca, 0x6c, 192, 0, 2, 1]);
    expect(bytes.slice(8).every((byte) => byte === 0)).toBe(true);
  });

  it('of IPv6 is a sockaddr_in6 with its scope', () => {
    const bytes = written(parseEndpoint('[fe80::1:2%7]:9'));
    expect(new Uint16Array(bytes.buffer)[0]).toBe(AF_INET6);
    expect([...bytes.slice(2, 4)]).toEqual([0, 9]);
    expect([...bytes.slice(8, 24)]).toEqual([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2]);
    expect(new Uint32Array(bytes.buffer)[6]).toBe(7);
  });

  it('of nobody is all zeros, and is read as null', () => {
    expect(written(null).every((byte) => byte === 0)).toBe(true);
    expect(readSocketAddress(new DataView(new ArrayBuffer(28)), new Uint8Array(28), 0)).toBeNull();
  });

  it('survives the way there and back, whatever the address', () => {
    fc.assert(
      fc.property(fc.oneof(ipv4Bytes, ipv6Bytes), ports, fc.nat(0xffff_ffff), (bytes, port, scope) => {
        const endpoint = formatEndpoint(formatAddress(bytes), port, bytes.length === 4 ? 0 : scope);
        expect(roundTrip(endpoint)).toBe(endpoint);
      }),
    );
  });
});

describe('a prefix', () => {
  it('lies in the scratch memory as its bytes, and its length is given back', () => {
    const memory = new ArrayBuffer(1024);
    const scratch = new Scratch(memory);
    fc.assert(
      fc.property(fc.oneof(ipv4Bytes, ipv6Bytes), fc.nat(128), (bytes, wanted) => {
        const prefix = formatPrefix(bytes, Math.min(wanted, bytes.length * 8));
        const { bytes: masked, length } = prefixParts(prefix);
        expect(scratch.writePrefix(prefix, bytes.length === 16)).toBe(length);
        expect([...new Uint8Array(memory, 56, masked.length)]).toEqual([...masked]);
      }),
    );
  });

  it('of everything has no bits', () => {
    const memory = new ArrayBuffer(1024);
    new Uint8Array(memory).fill(0xee);
    expect(
      new Scratch(memory).writePrefix(formatPrefix(addressBytes(formatAddress(new Uint8Array(16))), 0), true),
    ).toBe(0);
    expect(new Uint8Array(memory, 56, 16).every((byte) => byte === 0)).toBe(true);
  });
});
