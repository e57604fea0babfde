// The bytes of PCP (RFC 6887) and NAT-PMP (RFC 6886), whether a gateway began anew, and which outer addresses are of use.

import { describe, expect, test } from 'vitest';
import { fromHex, toHex } from '../../../src/base/bytes.ts';
import type { Instant } from '../../../src/base/instant.ts';
import type { IpAddress } from '../../../src/base/ip.ts';
import { GatewayEpoch, natPmpStateKept, pcpStateKept } from '../../../src/path/portmap/gateway-epoch.ts';
import { readNatPmp, writeNatPmpAddress, writeNatPmpMap } from '../../../src/path/portmap/nat-pmp.ts';
import { isPublicAddress, isUnspecified } from '../../../src/path/portmap/outer-address.ts';
import { readPcp, writePcpMap } from '../../../src/path/portmap/pcp.ts';

const ip = (text: string): IpAddress => text as IpAddress;
const hex = (text: string): Uint8Array => fromHex(text.replaceAll(/\s/g, '')) as Uint8Array;
const NONCE = hex('000102030405060708090a0b');

describe('PCP', () => {
  test('a MAP request over IPv4, as RFC 6887 §7.1 and §11.1 draw it', () => {
    const suggested = { address: ip('0.0.0.0'), port: 51_820 };
    const bytes = writePcpMap({
      local: ip('192.168.1.2'),
      nonce: NONCE,
      port: 51_820,
      lifetimeSeconds: 7200,
      suggested,
    });
    expect(toHex(bytes)).toBe(
      toHex(
        hex(`02 01 0000 00001c20 00000000000000000000ffffc0a80102
             000102030405060708090a0b 11 000000 ca6c ca6c 00000000000000000000ffff00000000`),
      ),
    );
  });

  test('a MAP request over IPv6', () => {
    const suggested = { address: ip('::'), port: 0 };
    const bytes = writePcpMap({ local: ip('2001:db8::2'), nonce: NONCE, port: 1, lifetimeSeconds: 0, suggested });
    expect(toHex(bytes.subarray(8, 24))).toBe('20010db8000000000000000000000002');
    expect(toHex(bytes.subarray(44))).toBe('00000000000000000000000000000000');
    expect(toHex(bytes.subarray(4, 8))).toBe('00000000');
  });

  const header = (opcode: string, result = '00'): string =>
    `02 ${opcode} 00 ${result} 00000e10 00000457 ${'00'.repeat(12)}`;
  const body = '000102030405060708090a0b 11 000000 ca6c 9c40 00000000000000000000ffffcb007109';

  test('a response with its mapping; options after it are skipped', () => {
    for (const options of ['', '03 00 0004 00000000']) {
      expect(readPcp(hex(header('81') + body + options))).toEqual({
        kind: 'map',
        result: 0,
        lifetimeSeconds: 3600,
        epochSeconds: 1111,
        map: { nonce: NONCE, port: 51_820, external: { address: '203.0.113.9', port: 40_000 } },
      });
    }
  });

  test('a refusal, with and without the request that it refuses', () => {
    expect(readPcp(hex(header('81', '02') + body))).toMatchObject({ kind: 'map', result: 2, map: { port: 51_820 } });
    expect(readPcp(hex(header('81', '01')))).toMatchObject({ kind: 'map', result: 1, map: null });
  });

  test('an announcement', () => {
    expect(readPcp(hex(header('80')))).toMatchObject({ kind: 'announce', result: 0, epochSeconds: 1111 });
  });

  test.each([
    ['a request', header('01') + body],
    ['another version', `01${header('81').slice(2)}${body}`],
    ['another opcode', header('82') + body],
    ['a success without a mapping', header('81')],
    ['a mapping cut short', (header('81') + body).slice(0, -8)],
    ['a mapping for TCP', header('81') + body.replace(' 11 ', ' 06 ')],
    ['a length that is no multiple of four', `${header('81') + body}00`],
    ['more than a message may be', header('81') + body + '00'.repeat(1044)],
    ['nothing', ''],
  ])('is nothing: %s', (_what, text) => {
    expect(readPcp(hex(text))).toBeNull();
  });
});

describe('NAT-PMP', () => {
  test('requests, as RFC 6886 §3.2 and §3.3 draw them', () => {
    expect(toHex(writeNatPmpAddress())).toBe('0000');
    expect(toHex(writeNatPmpMap({ port: 51_820, wantedPort: 40_000, lifetimeSeconds: 7200 }))).toBe(
      '00010000ca6c9c4000001c20',
    );
  });

  test('the outer address', () => {
    expect(readNatPmp(hex('00 80 0000 00000457 cb007109'))).toEqual({
      kind: 'address',
      epochSeconds: 1111,
      address: '203.0.113.9',
    });
  });

  test('a mapping', () => {
    expect(readNatPmp(hex('00 81 0000 00000457 ca6c 9c40 00000e10'))).toEqual({
      kind: 'map',
      epochSeconds: 1111,
      port: 51_820,
      externalPort: 40_000,
      lifetimeSeconds: 3600,
    });
  });

  test.each([
    ['80', 'address'],
    ['81', 'map'],
    ['82', null],
  ])('an error says what it answers: %s', (opcode, to) => {
    expect(readNatPmp(hex(`00 ${opcode} 0003 00000457`))).toEqual({ kind: 'error', to, result: 3, epochSeconds: 1111 });
  });

  test.each([
    ['a request', '00 00 0000 00000457 cb007109'],
    ['another version', '02 80 0000 00000457 cb007109'],
    ['an address cut short', '00 80 0000 00000457 cb0071'],
    ['a mapping cut short', '00 81 0000 00000457 ca6c 9c40 00000e'],
    ['a mapping for TCP', '00 82 0000 00000457 ca6c 9c40 00000e10'],
    ['a header cut short', '00 80 0000 000004'],
    ['nothing', ''],
  ])('is nothing: %s', (_what, text) => {
    expect(readNatPmp(hex(text))).toBeNull();
  });
});

describe('a gateway that lost its state', () => {
  const told = (
    rule: typeof pcpStateKept,
    ...heard: readonly (readonly [atSeconds: number, says: number])[]
  ): boolean => {
    const epoch = new GatewayEpoch(rule);
    return heard.map(([at, says]) => epoch.hasReset(says, (at * 1000) as Instant)).at(-1) as boolean;
  };

  test('is not one that was never heard before', () => {
    expect(told(pcpStateKept, [0, 0])).toBe(false);
    expect(told(natPmpStateKept, [0, 99_999])).toBe(false);
  });

  test.each([
    ['as much time for both', [0, 1000], [3600, 4600], false],
    ['a clock that loses a sixteenth', [0, 1000], [3600, 1000 + 3375], false],
    ['a clock that gains a sixteenth', [0, 1000], [3600, 1000 + 3840], false],
    ['a clock that loses more', [0, 1000], [3600, 1000 + 3300], true],
    ['a clock that gains more', [0, 1000], [3600, 1000 + 4000], true],
    ['two seconds of rounding', [0, 1000], [0.1, 1002], false],
    ['one second back: reordering', [0, 1000], [0, 999], false],
    ['two seconds back', [0, 1000], [0, 998], true],
    ['a reboot', [0, 100_000], [3600, 20], true],
  ] as const)('PCP (RFC 6887 §8.5): %s', (_what, before, now, reset) => {
    expect(told(pcpStateKept, before, now)).toBe(reset);
  });

  test.each([
    ['as much time for both', [0, 1000], [3600, 4600], false],
    ['seven eighths', [0, 1000], [3600, 1000 + 3149], false],
    ['less', [0, 1000], [3600, 1000 + 3140], true],
    ['a clock that is ahead', [0, 1000], [3600, 9999], false],
    ['a reboot', [0, 100_000], [3600, 20], true],
  ] as const)('NAT-PMP (RFC 6886 §3.6): %s', (_what, before, now, reset) => {
    expect(told(natPmpStateKept, before, now)).toBe(reset);
  });

  test('is compared with what it said last, not first', () => {
    expect(told(pcpStateKept, [0, 100_000], [10, 5], [20, 15])).toBe(false);
  });
});

describe('an outer address', () => {
  test.each([
    '203.0.113.9',
    '11.0.0.1',
    '100.63.255.255',
    '100.128.0.0',
    '172.15.0.1',
    '172.32.0.1',
    '192.0.1.1',
    '2001:db8::1',
  ])('that others can use: %s', (address) => {
    expect(isPublicAddress(ip(address))).toBe(true);
  });

  test.each([
    ...['10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.0.1', '100.64.0.1', '100.127.255.255', '192.0.0.2'],
    ...[
      '0.0.0.0',
      '127.0.0.1',
      '169.254.1.1',
      '198.18.0.1',
      '224.0.0.1',
      '255.255.255.255',
      'fd00::1',
      'fe80::1',
      '::',
    ],
  ])('that means another NAT, or nothing: %s', (address) => {
    expect(isPublicAddress(ip(address))).toBe(false);
  });

  test('that is none', () => {
    expect(['0.0.0.0', '::'].every((address) => isUnspecified(ip(address)))).toBe(true);
    expect(['0.0.0.1', '::1'].some((address) => isUnspecified(ip(address)))).toBe(false);
  });
});
