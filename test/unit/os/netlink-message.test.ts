// The codec of netlink(7) and rtnetlink(7): what a kernel said, what we say to it, and bytes that nobody should have sent.

import { describe, expect, it } from 'vitest';
import { concat, toHex } from '../../../src/base/bytes.ts';
import type { IpAddress, IpPrefix } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import { ChangeWatch } from '../../../src/daemon/os/change-watch.ts';
import {
  type NetlinkMessage,
  NLMSG_DONE,
  NLMSG_ERROR,
  readAttributes,
  readMessages,
  readOutcome,
  readText,
} from '../../../src/daemon/os/netlink/message.ts';
import {
  addAddress,
  addRoute,
  deleteRoute,
  getLink,
  isDefaultRoute,
  isMainRoute,
  listRoutes,
  readInterfaceAddress,
  readLink,
  readRoute,
  setLinkUp,
} from '../../../src/daemon/os/netlink/rtnetlink.ts';
import * as kernel from './recorded.ts';

function only(datagram: Uint8Array): NetlinkMessage {
  const messages = readMessages(datagram);
  expect(messages).toHaveLength(1);
  return messages[0] as NetlinkMessage;
}

describe('what the kernel says', () => {
  it('is read as links', () => {
    expect(readLink(only(kernel.TUN_LINK))).toEqual({
      index: 4,
      name: 't0',
      up: false,
      running: false,
      loopback: false,
      mtu: 1500,
      kind: 'tun',
    });
  });

  it('leaves out what a bridge says of its ports', () => {
    const port = kernel.TUN_LINK.slice();
    port[16] = 7; // AF_BRIDGE
    expect(readLink(only(port))).toBeNull();
  });

  it('is read as addresses, of a point-to-point link our own end', () => {
    expect(readInterfaceAddress(only(kernel.POINT_TO_POINT))).toEqual({
      index: 3,
      address: '198.51.100.1',
      prefixLength: 32,
      scope: 'global',
      tentative: false,
      deprecated: false,
      temporary: false,
    });
    expect(readInterfaceAddress(only(kernel.USABLE))).toMatchObject({ address: '2001:db8::5', tentative: false });
    expect(readInterfaceAddress(only(kernel.TENTATIVE))).toMatchObject({ scope: 'link', tentative: true });
  });

  it.each([
    ['temporary', 0x01, { temporary: true, tentative: false, deprecated: false }],
    ['optimistic, so usable before its check', 0x44, { tentative: false }],
    ['found on another host', 0x48, { tentative: true }],
    ['found on another host, long ago', 0x08, { tentative: true }],
    ['deprecated', 0x20, { deprecated: true, tentative: false }],
  ])('tells an IPv6 address that is %s', (_what, flags, expected) => {
    const bytes = kernel.USABLE.slice();
    bytes[bytes.length - 4] = flags;
    expect(readInterfaceAddress(only(bytes))).toMatchObject(expected);
  });

  it('is read as routes, of several next hops the first', () => {
    expect(readRoute(only(kernel.DEFAULT_ROUTE))).toEqual({
      prefix: '0.0.0.0/0',
      table: 254,
      protocol: 3,
      metric: 7,
      index: 3,
      gateway: '192.0.2.9',
      forwards: true,
    });
    expect(readRoute(only(kernel.MULTIPATH))).toMatchObject({
      prefix: '203.0.113.0/24',
      index: 3,
      gateway: '192.0.2.7',
    });
    const blackhole = readRoute(only(kernel.BLACKHOLE));
    expect(blackhole).toMatchObject({ prefix: '10.0.0.0/8', index: null, gateway: null });
    expect(blackhole !== null && isMainRoute(blackhole) && !isDefaultRoute(blackhole)).toBe(true);
  });

  it('is read as outcomes, with its words where it has some', () => {
    expect(readOutcome(only(kernel.NO_SUCH_DEVICE))).toEqual({ errno: 19, reason: null });
    expect(readOutcome(only(kernel.NO_SUCH_DEVICE_IN_WORDS))).toEqual({ errno: 19, reason: 'ipv4: Device not found' });
    expect(readOutcome(only(kernel.DONE))).toEqual({ errno: 0, reason: null });
  });

  it('finds the words also behind a request that is repeated', () => {
    const capped = kernel.NO_SUCH_DEVICE_IN_WORDS;
    // Not NLM_F_CAPPED: a request of 0x30 bytes, of which 32 follow its header.
    const whole = concat(capped.subarray(0, 36), new Uint8Array(32), capped.subarray(36));
    new DataView(whole.buffer).setUint32(0, whole.length, true);
    new DataView(whole.buffer).setUint16(6, 0x200, true);
    expect(readOutcome(only(whole))).toEqual({ errno: 19, reason: 'ipv4: Device not found' });
  });

  it('comes as several messages in a datagram, and what is cut short ends it', () => {
    const two = concat(kernel.USABLE, kernel.DONE);
    expect(readMessages(two).map((message) => message.type)).toEqual([20, NLMSG_DONE]);
    expect(readMessages(two.subarray(0, two.length - 1)).map((message) => message.type)).toEqual([20]);
    expect(readMessages(two.subarray(0, 10))).toEqual([]);
  });
});

describe('what we say', () => {
  it('adds a host prefix that is usable at once and brings no route', () => {
    // RTM_NEWADDR │ NLM_F_REQUEST, ACK, EXCL, CREATE │ sequence 7; /128 on interface 5; IFA_F_NODAD, NOPREFIXROUTE
    expect(toHex(addAddress(5, 'fd00::1' as IpAddress).seal(7))).toBe(
      ['48000000', '1400', '0506', '07000000', '00000000', '0a800000', '05000000']
        .concat('14000200', 'fd000000000000000000000000000001', '14000100', 'fd000000000000000000000000000001')
        .concat('08000800', '02020000')
        .join(''),
    );
  });

  it('never replaces a route of somebody else, and removes only its own', () => {
    const route = '100.64.0.0/10' as IpPrefix;
    // NLM_F_EXCL and CREATE; main table, protocol 87, scope link, unicast.
    expect(toHex(addRoute(5, route).seal(1))).toBe(
      '2c00000018000506010000000000000002 0a0000fe57fd0100000000 0800010064400000 0800040005000000'.replaceAll(' ', ''),
    );
    expect(toHex(deleteRoute(5, route).seal(1)).slice(8, 16)).toBe('19000500');
  });

  it('pads names, and asks for one table', () => {
    expect(toHex(getLink('nope').seal(5))).toBe(
      '2c00000012000500050000000000000000000000000000000000000000000000090003006e6f706500000000',
    );
    expect(toHex(listRoutes(2).seal(2))).toBe(
      '240000001a000103020000000000000002000000000000000000000008000f00fe000000',
    );
    expect(toHex(setLinkUp(3, false).seal(1)).slice(32)).toBe('00000000030000000000000001000000');
  });

  it('reads back what it writes', () => {
    const random = new Prng(20_261_126);
    for (let i = 0; i < 500; i++) {
      const bytes = new Uint8Array(random.chance(0.5) ? 4 : 16);
      random.fill(bytes);
      const index = random.nextInt(1, 0x7fff_ffff);
      const text = bytes.length === 4 ? bytes.join('.') : null;
      const address = (text ?? `2001:db8::${random.nextInt(1, 0xffff).toString(16)}`) as IpAddress;
      const read = readInterfaceAddress(only(addAddress(index, address).seal(i)));
      expect(read).toMatchObject({ index, address, prefixLength: bytes.length === 4 ? 32 : 128, tentative: false });
      const prefix = (bytes.length === 4 ? `${bytes[0]}.0.0.0/8` : 'fd00:1:2::/48') as IpPrefix;
      expect(readRoute(only(addRoute(index, prefix).seal(i)))).toMatchObject({
        index,
        prefix,
        protocol: 87,
        forwards: true,
      });
    }
  });
});

describe('bytes that nobody should have sent', () => {
  const seeds = [
    kernel.POINT_TO_POINT,
    kernel.TENTATIVE,
    kernel.USABLE,
    kernel.DEFAULT_ROUTE,
    kernel.BLACKHOLE,
    kernel.MULTIPATH,
    kernel.DONE,
    kernel.NO_SUCH_DEVICE_IN_WORDS,
    kernel.TUN_LINK,
  ];

  function mutated(random: Prng): Uint8Array {
    const parts = Array.from({ length: random.nextInt(1, 4) }, () => random.pick(seeds));
    const bytes = concat(...parts);
    for (let flips = random.nextInt(0, 12); flips > 0; flips--) {
      const at = random.nextInt(0, bytes.length - 1);
      // Lengths are where readers go wrong: mostly small and mostly extreme values.
      bytes[at] = random.pick([0, 1, 3, 4, 255, random.nextInt(0, 255)]);
    }
    return bytes.subarray(0, random.chance(0.3) ? random.nextInt(0, bytes.length) : bytes.length);
  }

  it('never throw, end, and give only what was there', () => {
    const read = { links: 0, addresses: 0, routes: 0, outcomes: 0 };
    for (let seed = 1; seed <= 20_000; seed++) {
      const random = new Prng(seed);
      const datagram = mutated(random);
      const watch = new ChangeWatch();
      for (const message of readMessages(datagram)) {
        expect(message.body.length, `seed ${seed}`).toBeLessThanOrEqual(datagram.length - 16);
        watch.take(message);
        for (const value of readAttributes(message.body).values()) readText(value, 64);
        if (readLink(message) !== null) read.links++;
        const address = readInterfaceAddress(message);
        if (address !== null) read.addresses++;
        const route = readRoute(message);
        if (route !== null) {
          read.routes++;
          expect(Number(route.prefix.split('/')[1]), `seed ${seed}`).toBeLessThanOrEqual(128);
        }
        if (message.type === NLMSG_ERROR || message.type === NLMSG_DONE) {
          read.outcomes++;
          expect(readOutcome(message).errno, `seed ${seed}`).toBeGreaterThanOrEqual(0);
        }
      }
    }
    // The generator reaches every reader.
    for (const [what, count] of Object.entries(read)) expect(count, what).toBeGreaterThan(500);
  });

  it('do not pass as text of a terminal', () => {
    expect(readText(Uint8Array.of(0x65, 0x1b, 0x5b, 0xff, 0, 0x41), 15)).toBe('e?[?');
  });
});
