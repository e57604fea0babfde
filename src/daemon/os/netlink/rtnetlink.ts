// Links, addresses and routes as rtnetlink(7) tells them, and the requests that change them. Pure: bytes to records and
// back. A record that lacks what makes it one (an index, an address) is null, as is what is not for IP. Leaves out queueing
// disciplines, neighbours, rules, and all attributes that nobody here asks for.

import { formatAddress, formatPrefix, type IpAddress, type IpPrefix, prefixParts } from '../../../base/ip.ts';
import {
  type Attributes,
  type NetlinkMessage,
  NetlinkRequest,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  readAttributes,
  readText,
  readU16,
  readU32,
} from './message.ts';

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;

/** Groups to hear: links, addresses and routes of both families. */
export const GROUPS_LINK = 0x1;
export const GROUPS_ADDRESS = 0x10 | 0x100;
export const GROUPS_ROUTE = 0x40 | 0x400;

export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_INET6 = 10;
export type AddressFamily = typeof AF_INET | typeof AF_INET6;

/** Names have at most 15 bytes (IFNAMSIZ). */
export const IFNAME_CHARACTERS_MAX = 15;

// — links —
//
// ifinfomsg:
//    0        1     2       4         8       12       16
//    ┌────────┬─────┬───────┬─────────┬───────┬────────┐
//    │ family │     │ type  │  index  │ flags │ change │  attributes …
//    └────────┴─────┴───────┴─────────┴───────┴────────┘

const LINK_BYTES = 16;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINKINFO = 18;
const IFLA_GSO_MAX_SEGS = 40;
const IFLA_INFO_KIND = 1;
const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
const IFF_RUNNING = 0x40;

export interface Link {
  readonly index: number;
  readonly name: string;
  /** Told to be up. */
  readonly up: boolean;
  /** Up and able to carry packets. */
  readonly running: boolean;
  readonly loopback: boolean;
  readonly mtu: number;
  /** `tun`, `veth`, `bridge` …; null for hardware and for what does not say. */
  readonly kind: string | null;
}

/** Of RTM_NEWLINK and RTM_DELLINK; null for what a bridge says of its ports (family AF_BRIDGE). */
export function readLink(message: NetlinkMessage): Link | null {
  const { body } = message;
  if (body.length < LINK_BYTES || body[0] !== AF_UNSPEC) return null;
  const attributes = readAttributes(body, LINK_BYTES);
  const index = readU32(body, 4);
  const name = attributes.get(IFLA_IFNAME);
  if (index === 0 || name === undefined) return null;
  const flags = readU32(body, 8);
  const info = attributes.get(IFLA_LINKINFO);
  const kind = info === undefined ? undefined : readAttributes(info).get(IFLA_INFO_KIND);
  return {
    index,
    name: readText(name, IFNAME_CHARACTERS_MAX),
    up: (flags & IFF_UP) !== 0,
    running: (flags & IFF_UP) !== 0 && (flags & IFF_RUNNING) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    mtu: u32Of(attributes, IFLA_MTU) ?? 0,
    kind: kind === undefined ? null : readText(kind, 64),
  };
}

export const listLinks = (): NetlinkRequest => new NetlinkRequest(RTM_GETLINK, NLM_F_DUMP, LINK_BYTES);

export function getLink(name: string): NetlinkRequest {
  return new NetlinkRequest(RTM_GETLINK, NLM_F_ACK, LINK_BYTES).text(IFLA_IFNAME, name);
}

function changeLink(index: number): NetlinkRequest {
  return new NetlinkRequest(RTM_NEWLINK, NLM_F_ACK, LINK_BYTES).word(4, index);
}

export function setLinkUp(index: number, up: boolean): NetlinkRequest {
  return changeLink(index)
    .word(8, up ? IFF_UP : 0)
    .word(12, IFF_UP);
}

export const setLinkMtu = (index: number, mtu: number): NetlinkRequest => changeLink(index).u32(IFLA_MTU, mtu);

/** How many segments a super-packet may have; Linux 6.3 or later for devices that are not ours to write to. */
export const setLinkSegments = (index: number, segments: number): NetlinkRequest =>
  changeLink(index).u32(IFLA_GSO_MAX_SEGS, segments);

export const deleteLink = (index: number): NetlinkRequest =>
  new NetlinkRequest(RTM_DELLINK, NLM_F_ACK, LINK_BYTES).word(4, index);

// — addresses —
//
// ifaddrmsg:
//    0        1               2       3       4       8
//    ┌────────┬───────────────┬───────┬───────┬───────┐
//    │ family │ prefix length │ flags │ scope │ index │  attributes …   (IFA_FLAGS has all the flags)
//    └────────┴───────────────┴───────┴───────┴───────┘

const ADDRESS_BYTES = 8;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;
const IFA_F_TEMPORARY = 0x01;
const IFA_F_NODAD = 0x02;
const IFA_F_OPTIMISTIC = 0x04;
const IFA_F_DADFAILED = 0x08;
const IFA_F_DEPRECATED = 0x20;
const IFA_F_TENTATIVE = 0x40;
const IFA_F_NOPREFIXROUTE = 0x200;
const SCOPE_SITE = 200;
const SCOPE_LINK = 253;
const SCOPE_HOST = 254;

export interface InterfaceAddress {
  readonly index: number;
  readonly address: IpAddress;
  readonly prefixLength: number;
  readonly scope: 'global' | 'site' | 'link' | 'host';
  /** Another host may have it: not usable yet, or never (duplicate address detection failed). */
  readonly tentative: boolean;
  readonly deprecated: boolean;
  /** IPv6 privacy addresses; the same bit says "secondary" of IPv4, which is no reason to avoid one. */
  readonly temporary: boolean;
}

export function readInterfaceAddress(message: NetlinkMessage): InterfaceAddress | null {
  const { body } = message;
  if (body.length < ADDRESS_BYTES) return null;
  const family = body[0] as number;
  const attributes = readAttributes(body, ADDRESS_BYTES);
  // On a point-to-point link IFA_ADDRESS is the other end's.
  const address = addressOf(family, attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS));
  const index = readU32(body, 4);
  if (address === null || index === 0) return null;
  const flags = u32Of(attributes, IFA_FLAGS) ?? (body[2] as number);
  return {
    index,
    address,
    prefixLength: body[1] as number,
    scope: scopeName(body[3] as number),
    tentative: (flags & IFA_F_DADFAILED) !== 0 || ((flags & IFA_F_TENTATIVE) !== 0 && (flags & IFA_F_OPTIMISTIC) === 0),
    deprecated: (flags & IFA_F_DEPRECATED) !== 0,
    temporary: family === AF_INET6 && (flags & IFA_F_TEMPORARY) !== 0,
  };
}

function scopeName(scope: number): InterfaceAddress['scope'] {
  if (scope >= SCOPE_HOST) return 'host';
  if (scope >= SCOPE_LINK) return 'link';
  return scope >= SCOPE_SITE ? 'site' : 'global';
}

/** `index` 0: of all interfaces. */
export function listAddresses(index = 0): NetlinkRequest {
  return new NetlinkRequest(RTM_GETADDR, NLM_F_DUMP, ADDRESS_BYTES).word(4, index);
}

/** A host prefix, usable at once: no duplicate address detection, and no route but the one for the address itself. */
export function addAddress(index: number, address: IpAddress): NetlinkRequest {
  const { bytes, length } = prefixParts(hostPrefix(address));
  return changeAddress(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, bytes, length).u32(
    IFA_FLAGS,
    IFA_F_NODAD | IFA_F_NOPREFIXROUTE,
  );
}

export function deleteAddress(index: number, address: IpAddress, prefixLength: number): NetlinkRequest {
  return changeAddress(RTM_DELADDR, 0, index, prefixParts(hostPrefix(address)).bytes, prefixLength);
}

function changeAddress(
  type: number,
  flags: number,
  index: number,
  bytes: Uint8Array,
  prefixLength: number,
): NetlinkRequest {
  return new NetlinkRequest(type, NLM_F_ACK | flags, ADDRESS_BYTES)
    .byte(0, familyOf(bytes))
    .byte(1, prefixLength)
    .word(4, index)
    .attribute(IFA_LOCAL, bytes)
    .attribute(IFA_ADDRESS, bytes);
}

// — routes —
//
// rtmsg:
//    0        1            2            3     4       5          6       7      8       12
//    ┌────────┬────────────┬────────────┬─────┬───────┬──────────┬───────┬──────┬───────┐
//    │ family │ dst length │ src length │ tos │ table │ protocol │ scope │ type │ flags │  attributes …   (RTA_TABLE when > 255)
//    └────────┴────────────┴────────────┴─────┴───────┴──────────┴───────┴──────┴───────┘

const ROUTE_BYTES = 12;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_MULTIPATH = 9;
const RTA_TABLE = 15;
const RTN_UNICAST = 1;
const RT_SCOPE_UNIVERSE = 0;
const RT_TABLE_MAIN = 254;
/** Who made a route. Below 128 and not in the kernel's list or iproute2's rt_protos: so ours are known from others' on our interface. */
export const PROTOCOL_WARREN = 87;
/** rtnexthop: length (2) │ flags (1) │ hops (1) │ interface (4) │ attributes. */
const NEXTHOP_BYTES = 8;

export interface Route {
  readonly prefix: IpPrefix;
  readonly table: number;
  readonly protocol: number;
  readonly metric: number;
  /** Null for unreachable, blackhole and the like. Of several next hops the first. */
  readonly index: number | null;
  readonly gateway: IpAddress | null;
  /** To another host; false for local, broadcast, anycast and multicast routes, which the kernel makes for itself. */
  readonly forwards: boolean;
}

const RTN_BLACKHOLE = 6;
const RTN_PROHIBIT = 8;

export function readRoute(message: NetlinkMessage): Route | null {
  const { body } = message;
  if (body.length < ROUTE_BYTES) return null;
  const family = body[0] as number;
  const length = body[1] as number;
  if (family !== AF_INET && family !== AF_INET6) return null;
  const bytes = family === AF_INET ? 4 : 16;
  const attributes = readAttributes(body, ROUTE_BYTES);
  const destination = attributes.get(RTA_DST) ?? new Uint8Array(bytes);
  if (destination.length !== bytes || length > bytes * 8) return null;
  const type = body[7] as number;
  const hop = firstHop(attributes);
  return {
    prefix: formatPrefix(destination, length),
    table: u32Of(attributes, RTA_TABLE) ?? (body[4] as number),
    protocol: body[5] as number,
    metric: u32Of(attributes, RTA_PRIORITY) ?? 0,
    index: hop.index,
    gateway: addressOf(family, hop.gateway),
    forwards: type === RTN_UNICAST || (type >= RTN_BLACKHOLE && type <= RTN_PROHIBIT),
  };
}

function firstHop(attributes: Attributes): { readonly index: number | null; readonly gateway: Uint8Array | undefined } {
  const index = u32Of(attributes, RTA_OIF);
  const hops = attributes.get(RTA_MULTIPATH);
  if (index !== null || hops === undefined || hops.length < NEXTHOP_BYTES) {
    return { index, gateway: attributes.get(RTA_GATEWAY) };
  }
  const length = Math.max(NEXTHOP_BYTES, Math.min(readU16(hops, 0), hops.length));
  const own = readAttributes(hops.subarray(0, length), NEXTHOP_BYTES);
  return { index: readU32(hops, 4) || null, gateway: own.get(RTA_GATEWAY) };
}

/** A route that is in the main table and leads somewhere, or says that nothing does. */
export function isMainRoute(route: Route): boolean {
  return route.table === RT_TABLE_MAIN && route.forwards;
}

export function isDefaultRoute(route: Route): boolean {
  return route.prefix.endsWith('/0');
}

/** Of the main table, filtered by the kernel where it can (Linux 4.20). */
export function listRoutes(family: AddressFamily): NetlinkRequest {
  return new NetlinkRequest(RTM_GETROUTE, NLM_F_DUMP, ROUTE_BYTES).byte(0, family).u32(RTA_TABLE, RT_TABLE_MAIN);
}

/** Fails with EEXIST rather than replace somebody's route to the same prefix. */
export function addRoute(index: number, prefix: IpPrefix): NetlinkRequest {
  return changeRoute(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, index, prefix);
}

/** Only one of ours. */
export function deleteRoute(index: number, prefix: IpPrefix): NetlinkRequest {
  return changeRoute(RTM_DELROUTE, 0, index, prefix);
}

function changeRoute(type: number, flags: number, index: number, prefix: IpPrefix): NetlinkRequest {
  const { bytes, length } = prefixParts(prefix);
  const ipv4 = bytes.length === 4;
  return new NetlinkRequest(type, NLM_F_ACK | flags, ROUTE_BYTES)
    .byte(0, familyOf(bytes))
    .byte(1, length)
    .byte(4, RT_TABLE_MAIN)
    .byte(5, PROTOCOL_WARREN)
    .byte(6, ipv4 ? SCOPE_LINK : RT_SCOPE_UNIVERSE)
    .byte(7, RTN_UNICAST)
    .attribute(RTA_DST, bytes)
    .u32(RTA_OIF, index);
}

// — shared —

export function hostPrefix(address: IpAddress): IpPrefix {
  return `${address}/${address.includes(':') ? 128 : 32}` as IpPrefix;
}

function familyOf(bytes: Uint8Array): AddressFamily {
  return bytes.length === 4 ? AF_INET : AF_INET6;
}

function addressOf(family: number, bytes: Uint8Array | undefined): IpAddress | null {
  if (bytes === undefined) return null;
  const wanted = family === AF_INET ? 4 : family === AF_INET6 ? 16 : -1;
  return bytes.length === wanted ? formatAddress(bytes) : null;
}

function u32Of(attributes: Attributes, type: number): number | null {
  const value = attributes.get(type);
  return value === undefined || value.length < 4 ? null : readU32(value, 0);
}
