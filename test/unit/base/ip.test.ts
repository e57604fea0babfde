// Addresses, prefixes and endpoints: the examples of RFC 5952 and RFC 4291, and properties held against node:net and
// the URL parser. Zones are numeric only.

import { isIPv4, isIPv6 } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addressBytes,
  endpointParts,
  familyOf,
  formatAddress,
  formatEndpoint,
  formatPrefix,
  type IpAddress,
  maskBits,
  parseAddress,
  parseAddressBytes,
  parseEndpoint,
  parsePrefix,
  prefixParts,
} from '../../../src/base/ip.ts';

const ipv4Bytes = fc.uint8Array({ minLength: 4, maxLength: 4 });
/** Many zeros, so that `::` is met often. */
const ipv6Bytes = fc
  .array(fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.nat({ max: 0xffff })), { minLength: 8, maxLength: 8 })
  .map((groups) => new Uint8Array(groups.flatMap((group) => [group >> 8, group & 255])));
const anyBytes = fc.oneof(ipv4Bytes, ipv6Bytes);

describe('an IPv6 address', () => {
  // RFC 5952 §4 and §5, and RFC 4291 §2.2.
  it.each([
    ['2001:0db8::0001', '2001:db8::1'],
    ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:DB8:AAAA:BBBB:CCCC:DDDD:EEEE:0AAA', '2001:db8:aaaa:bbbb:cccc:dddd:eeee:aaa'],
    ['2001:db8::0:1', '2001:db8::1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['1:0:0:0:0:0:0:0', '1::'],
    ['::ffff:192.0.2.128', '::ffff:c000:280'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
  ])('%s is written as %s', (text, canonical) => {
    expect(parseAddress(text)).toBe(canonical);
  });

  it.each([
    '',
    ':',
    ':::',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1::2::3',
    '1:2:3:4:5:6:7:8::',
    '::1:2:3:4:5:6:7:8',
    '12345::',
    'g::',
    '::1 ',
    ' ::1',
    '::1%eth0',
    '1:',
    ':1',
    '::192.0.2',
    '::192.0.2.256',
    '192.0.2.1::',
    '::192.0.2.1:1',
    '1:2:3:4:5:6:7:192.0.2.1',
    '::-1',
    '::0x1',
  ])('%j is none', (text) => {
    expect(parseAddress(text)).toBe(null);
  });
});

describe('an IPv4 address', () => {
  it.each(['0.0.0.0', '255.255.255.255', '192.0.2.1', '1.20.255.0'])('%s is one', (text) => {
    expect(parseAddress(text)).toBe(text);
  });

  it.each([
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '01.2.3.4',
    '1.2.3.04',
    '1.2.3.',
    '.1.2.3',
    '1.2.3.+4',
    '0x1.2.3.4',
    '1.2.3.4 ',
    '١.2.3.4',
    '1,2,3,4',
  ])('%j is none', (text) => {
    expect(parseAddress(text)).toBe(null);
  });
});

describe('addresses', () => {
  it('come back from their text', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const address = formatAddress(bytes);
        expect(addressBytes(address)).toEqual(bytes);
        expect(parseAddress(address)).toBe(address);
        expect(familyOf(address)).toBe(bytes.length === 4 ? 4 : 6);
      }),
    );
  });

  it('have one spelling: the WHATWG URL parser agrees', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const address = formatAddress(bytes);
        const host = bytes.length === 4 ? address : `[${address}]`;
        expect(new URL(`http://${host}/`).hostname).toBe(host);
      }),
    );
  });

  it('are what node:net takes for addresses, for text that nearly is one', () => {
    const nearly = fc
      .array(fc.constantFrom('0', '1', 'f', '25', ':', '::', '.', '255', '0db8', 'g', '%'), { maxLength: 18 })
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(nearly, (text) => {
        const known = isIPv4(text) || (isIPv6(text) && !text.includes('%'));
        expect(parseAddressBytes(text) !== null).toBe(known);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('a prefix', () => {
  it.each([
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['10.1.2.3', '10.1.2.3/32'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['255.255.255.255/31', '255.255.255.254/31'],
    ['2001:db8::1', '2001:db8::1/128'],
    ['2001:db8:ffff::1/33', '2001:db8:8000::/33'],
    ['::1/0', '::/0'],
  ])('%s is written as %s', (text, canonical) => {
    expect(parsePrefix(text)).toBe(canonical);
  });

  it.each(['10.0.0.0/33', '::/129', '10.0.0.0/', '10.0.0.0/-1', '10.0.0.0/1/2', '/8', '10.0.0/8', '::/1.0', '::/ 1'])(
    '%j is none',
    (text) => {
      expect(parsePrefix(text)).toBe(null);
    },
  );

  it('comes back from its text, with its host bits cleared', () => {
    fc.assert(
      fc.property(anyBytes, fc.nat({ max: 128 }), (bytes, bits) => {
        const length = Math.min(bits, bytes.length * 8);
        const prefix = formatPrefix(bytes, length);
        const masked = bytes.slice();
        maskBits(masked, length);
        expect(prefixParts(prefix)).toEqual({ bytes: masked, length });
        expect(parsePrefix(prefix)).toBe(prefix);
        expect(parsePrefix(`${formatAddress(bytes)}/${length}`)).toBe(prefix);
      }),
    );
  });

  it('keeps exactly its first bits', () => {
    fc.assert(
      fc.property(anyBytes, fc.nat({ max: 128 }), (bytes, bits) => {
        const length = Math.min(bits, bytes.length * 8);
        const masked = bytes.slice();
        maskBits(masked, length);
        const binary = (value: Uint8Array): string =>
          [...value].map((byte) => byte.toString(2).padStart(8, '0')).join('');
        expect(binary(masked)).toBe(
          binary(bytes)
            .slice(0, length)
            .padEnd(bytes.length * 8, '0'),
        );
      }),
    );
  });
});

describe('an endpoint', () => {
  it.each([
    ['192.0.2.1:51820', '192.0.2.1', 51_820, 0],
    ['[2001:DB8::0001]:1', '2001:db8::1', 1, 0],
    ['[fe80::1%2]:65535', 'fe80::1', 65_535, 2],
    ['[fe80::1%0]:5', 'fe80::1', 5, 0],
  ])('%s is read', (text, address, port, scopeId) => {
    const endpoint = parseEndpoint(text);
    expect(endpoint).toBe(formatEndpoint(address as IpAddress, port, scopeId));
    if (endpoint !== null) expect(endpointParts(endpoint)).toEqual({ address, port, scopeId });
  });

  it.each([
    '192.0.2.1',
    '192.0.2.1:0',
    '192.0.2.1:65536',
    '192.0.2.1:',
    '[192.0.2.1]:1',
    '2001:db8::1:1',
    '[2001:db8::1]',
    '[2001:db8::1]:0',
    '[fe80::1%eth0]:1',
    '[fe80::1%]:1',
    '[fe80::1%4294967296]:1',
    'example.org:1',
    '[::1]:1x',
    '',
    ':1',
  ])('%j is none', (text) => {
    expect(parseEndpoint(text)).toBe(null);
  });

  it('comes back from its text', () => {
    fc.assert(
      fc.property(anyBytes, fc.integer({ min: 1, max: 65_535 }), fc.nat({ max: 0xffff_ffff }), (bytes, port, scope) => {
        const scopeId = bytes.length === 4 ? 0 : scope;
        const endpoint = formatEndpoint(formatAddress(bytes), port, scopeId);
        expect(parseEndpoint(endpoint)).toBe(endpoint);
        expect(endpointParts(endpoint)).toEqual({ address: formatAddress(bytes), port, scopeId });
      }),
    );
  });
});
