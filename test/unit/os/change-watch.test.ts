// Which of the kernel's messages are a change, and which only say again what was known.

import { describe, expect, it } from 'vitest';
import type { IpAddress, IpPrefix } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import { ChangeWatch, KEPT_MAX, watched } from '../../../src/daemon/os/change-watch.ts';
import { type NetlinkMessage, readMessages } from '../../../src/daemon/os/netlink/message.ts';
import { addAddress, addRoute } from '../../../src/daemon/os/netlink/rtnetlink.ts';
import * as kernel from './recorded.ts';

const messageOf = (datagram: Uint8Array): NetlinkMessage => readMessages(datagram.slice())[0] as NetlinkMessage;
const link = messageOf(kernel.TUN_LINK);
const address = messageOf(kernel.USABLE);
const route = messageOf(kernel.DEFAULT_ROUTE);
/** The same thing as gone. */
const gone = (message: NetlinkMessage): NetlinkMessage => ({ ...message, type: message.type + 1 });

function withFlags(message: NetlinkMessage, offset: number, flags: number): NetlinkMessage {
  const body = message.body.slice();
  body[offset] = flags;
  return { ...message, body };
}

const UP = withFlags(link, 8, 0x41);
const ADDRESS_FLAGS_AT = address.body.length - 4;

describe('changes', () => {
  it('are what is new, different or gone, once', () => {
    const watch = new ChangeWatch();
    for (const [message, kind, index] of [
      [link, 'link', 4],
      [address, 'address', 3],
      [route, 'defaultRoute', 3],
      [UP, 'link', 4],
      [gone(route), 'defaultRoute', 3],
      [gone(address), 'address', 3],
      [gone(link), 'link', 4],
    ] as const) {
      expect(watch.take(message)).toEqual({ kind, index });
      expect(watch.take(message)).toBeNull();
    }
  });

  it('are not renewals of an address, but its usability is one', () => {
    const watch = new ChangeWatch();
    watch.take(withFlags(address, ADDRESS_FLAGS_AT, 0x40));
    // IFA_F_MANAGETEMPADDR comes and goes with router advertisements.
    expect(watch.take(withFlags(address, ADDRESS_FLAGS_AT, 0x41))).toBeNull();
    expect(watch.take(address)).toEqual({ kind: 'address', index: 3 });
    expect(watch.take(withFlags(address, ADDRESS_FLAGS_AT, 0x20))).toEqual({ kind: 'address', index: 3 });
  });

  it('are not other routes than default ones', () => {
    const watch = new ChangeWatch();
    expect(watch.take(messageOf(kernel.BLACKHOLE))).toBeNull();
    expect(watch.take(messageOf(kernel.MULTIPATH))).toBeNull();
    expect(watched(messageOf(kernel.MULTIPATH))).toBeNull();
    expect(watched(route)).toBe(route);
  });

  it('are default routes that come back after their link or address took them along in silence', () => {
    for (const end of [
      withFlags({ ...link, body: withFlags(link, 4, 3).body }, 8, 0),
      gone(withFlags(link, 4, 3)),
      gone(address),
    ]) {
      const watch = new ChangeWatch();
      watch.take(withFlags(UP, 4, 3));
      watch.take(address);
      watch.take(route);
      watch.take(end);
      expect(watch.take(route)).toEqual({ kind: 'defaultRoute', index: 3 });
    }
  });
});

describe('after a loss', () => {
  it('only what is different is told', () => {
    const watch = new ChangeWatch();
    for (const message of [link, address, route]) watch.take(message);
    expect(watch.replace([link, address, route])).toEqual([]);
    expect(watch.replace([UP, address])).toEqual([
      { kind: 'link', index: 4 },
      { kind: 'defaultRoute', index: 3 },
    ]);
    expect(watch.replace([])).toHaveLength(2);
  });

  it('the state is the same as without it', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = new Prng(seed);
      const there = new Map<string, NetlinkMessage>();
      const heard = new ChangeWatch();
      for (let step = 0; step < 30; step++) {
        const octet = random.nextInt(1, 5);
        const one = messageOf(addAddress(octet, `192.0.2.${octet}` as IpAddress).seal(step));
        const present = random.chance(0.6);
        if (present) there.set(`${octet}`, one);
        else there.delete(`${octet}`);
        heard.take(present ? one : gone(one));
      }
      expect(heard.replace([...there.values()]), `seed ${seed}`).toEqual([]);
    }
  });
});

describe('more than is kept', () => {
  it('is told as a change each time, so that nothing is missed', () => {
    const watch = new ChangeWatch();
    for (let i = 0; i < KEPT_MAX; i++) {
      watch.take(messageOf(addAddress(1, `10.1.${i >> 8}.${i & 255}` as IpAddress).seal(1)));
    }
    const more = messageOf(addAddress(1, '192.0.2.1' as IpAddress).seal(1));
    expect(watch.take(more)).not.toBeNull();
    expect(watch.take(more)).not.toBeNull();
    expect(watch.take(messageOf(addRoute(1, '192.0.2.0/24' as IpPrefix).seal(1)))).toBeNull();
  });
});
