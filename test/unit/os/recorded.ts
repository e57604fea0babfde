// Datagrams of a Linux 6.18 kernel on a little-endian machine: what it answered to lists and requests in a namespace with a veth
// pair, a TUN device, addresses and routes of documentation ranges.

import { fromHex } from '../../../src/base/bytes.ts';

export function recorded(hex: string): Uint8Array {
  const bytes = fromHex(hex.replaceAll(/\s/g, ''));
  if (bytes === null) throw new Error('not hexadecimal');
  return bytes;
}

/** `ip address add 198.51.100.1 peer 198.51.100.9/32 dev v0` */
export const POINT_TO_POINT = recorded(
  '4c000000140002000100000040140000022080000300000008000100c633640908000200c63364010700030076300000' +
    '08000800800000001400 0600ffffffffffffffff8bea03008bea0300',
);
/** fe80::fc8f:bff:fe41:9145, tentative. */
export const TENTATIVE = recorded(
  '500000001400020001000000401400000a40c0fd0200000014000100fe80000000000000fc8f0bfffe419145' +
    '14000600ffffffffffffffff8bea03008bea030008000800c000000005000b0003000000',
);
/** 2001:db8::5/64, added with nodad. */
export const USABLE = recorded(
  '480000001400020001000000401400000a408200030000001400010020010db8000000000000000000000005' +
    '14000600ffffffffffffffff8cea03008cea03000800080082000000',
);
/** `ip route add default via 192.0.2.9 metric 7` */
export const DEFAULT_ROUTE = recorded(
  '3c00000018002200020000004014000002000000fe0300010000000008000f00fe0000000800060007000000' +
    '08000500c00002090800040003000000',
);
/** `ip route add blackhole 10.0.0.0/8` */
export const BLACKHOLE = recorded(
  '2c00000018002200020000004014000002080000fe0300060000000008000f00fe000000080001000a000000',
);
/** `ip route add 203.0.113.0/24 nexthop via 192.0.2.7 nexthop via 192.0.2.8` */
export const MULTIPATH = recorded(
  '5000000018002200020000004014000002180000fe0300010000000008000f00fe00000008000100cb007100' +
    '24000900100000000300000008000500c0000207100000000300000008000500c0000208',
);
/** The end of a list. */
export const DONE = recorded('1400000003000200010000004014000000000000');
/** An error without the request in it and without words: ENODEV. */
export const NO_SUCH_DEVICE = recorded('24000000020000010500000040140000edffffff2c000000120005000500000000000000');
/** … and with words: "ipv4: Device not found". */
export const NO_SUCH_DEVICE_IN_WORDS = recorded(
  '40000000020000030700000040140000edffffff300000001400050607000000000000001b000100' +
    '697076343a20446576696365206e6f7420666f756e640000',
);
/** What is read of a TUN device's RTM_NEWLINK, the rest left out: t0, down, MTU 1500. */
export const TUN_LINK = recorded(
  '4400000010000000 0400000040140000 0000feff04000000 9010000000000000 0700030074300000 08000d00f4010000' +
    '08000400dc050000 0c001200 0800010074756e00',
);
