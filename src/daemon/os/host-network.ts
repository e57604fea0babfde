// HostNetwork over rtnetlink: our interface's addresses, routes, MTU and state, and sight of the others'. Our own addresses are host
// prefixes (/32, /128) and the network's prefixes are routes of their own, so that nothing is on-link but what the mesh
// carries, and an address never brings a route that nobody asked for. Nothing is restored one by one: all of it goes with
// the interface, which goes with the process. Leaves out the interface itself (the data plane makes it) and DNS.

import type { IpAddress, IpPrefix } from '../../base/ip.ts';
import type { NativeAddon, NativeFailure, NativeNetlink } from '../../dataplane/native/addon.ts';
import { errnoName } from '../../dataplane/native/explain.ts';
import type { HostAddress, HostNetwork, HostRoute, NetworkOutcome } from '../mesh/host-network.ts';
import { type Change, ChangeWatch, watched } from './change-watch.ts';
import { NetlinkClient, type NetlinkFailure, type NetlinkResult, type OpenNetlink } from './netlink/client.ts';
import { type NetlinkMessage, type NetlinkRequest, readMessages } from './netlink/message.ts';
import {
  AF_INET,
  AF_INET6,
  addAddress,
  addRoute,
  deleteAddress,
  deleteLink,
  deleteRoute,
  GROUPS_ADDRESS,
  GROUPS_LINK,
  GROUPS_ROUTE,
  getLink,
  hostPrefix,
  IFNAME_CHARACTERS_MAX,
  isMainRoute,
  type Link,
  listAddresses,
  listLinks,
  listRoutes,
  PROTOCOL_WARREN,
  type Route,
  RTM_DELROUTE,
  readInterfaceAddress,
  readLink,
  readRoute,
  setLinkMtu,
  setLinkSegments,
  setLinkUp,
} from './netlink/rtnetlink.ts';

const NETLINK_ROUTE = 0;
/** A burst of changes (an interface that comes up has five or so) is told as one, this long after its last … */
export const CHANGES_SETTLE_MS = 50;
/** … but never later than this after its first. */
export const CHANGES_TOLD_WITHIN_MS = 250;
/** Room for about 2,000 messages that wait while JavaScript is busy; beyond it the kernel drops, and all is listed again. */
const EVENT_BUFFER_BYTES = 1 << 20;
/** After lists that failed (no memory, a limit), the next try. */
const LIST_AGAIN_MS = 1000;

/** What happened since the last call. */
export interface HostChange {
  readonly links: boolean;
  readonly addresses: boolean;
  readonly defaultRoute: boolean;
  /** A route through an interface that this object has configured was taken away. */
  readonly ownRoute: boolean;
  /** False: only interfaces that this object has configured were concerned. */
  readonly others: boolean;
}

export interface HostNetworkOptions {
  /** Of the receive buffer for changes; tests make it small. */
  readonly eventBufferBytes?: number;
  readonly settleMs?: number;
}

export type HostNetworkResult =
  | { readonly ok: true; readonly network: RtnetlinkHostNetwork }
  | { readonly ok: false; readonly failure: { readonly errno: string; readonly step: string } };

type Found = { readonly link: Link } | { readonly failure: NetlinkFailure };

export class RtnetlinkHostNetwork implements HostNetwork {
  readonly #client: NetlinkClient;
  readonly #listeners = new Set<(change: HostChange) => void>();
  readonly #own = new Set<number>();
  readonly #watch = new ChangeWatch();
  readonly #settleMs: number;
  #events: NativeNetlink | null = null;
  #pending: HostChange | null = null;
  #firstPendingAt = 0;
  #timer: NodeJS.Timeout | null = null;
  #listing = false;
  #lost = false;
  #closed = false;
  /** Times that changes were lost and all was listed again; for status and tests. */
  resyncs = 0;

  private constructor(client: NetlinkClient, settleMs: number) {
    this.#client = client;
    this.#settleMs = settleMs;
  }

  /** In the network namespace of this process. Resolves once changes are heard. */
  static async open(addon: NativeAddon, options: HostNetworkOptions = {}): Promise<HostNetworkResult> {
    const open =
      (groups: number, receiveBufferBytes: number): OpenNetlink =>
      (onReadable) =>
        addon.openNetlink({ protocol: NETLINK_ROUTE, groups, receiveBufferBytes }, onReadable);
    const client = NetlinkClient.open(open(0, 0));
    if ('code' in client) return refused(client);
    const network = new RtnetlinkHostNetwork(client, options.settleMs ?? CHANGES_SETTLE_MS);
    // Hearing begins before the lists are asked for: nothing falls between the two.
    const groups = GROUPS_LINK | GROUPS_ADDRESS | GROUPS_ROUTE;
    const events = open(groups, options.eventBufferBytes ?? EVENT_BUFFER_BYTES)(() => network.#hear());
    if ('code' in events) {
      network.close();
      return refused(events);
    }
    network.#events = events;
    const failure = await network.#listAll();
    if (failure === null) return { ok: true, network };
    network.close();
    return { ok: false, failure };
  }

  // — our interface —

  /** IPv6 addresses are left out, and that is no failure, where the kernel or the interface is without IPv6. */
  async setAddresses(ifname: string, addresses: readonly IpAddress[]): Promise<NetworkOutcome> {
    const found = await this.#link(ifname);
    if ('failure' in found) return told(`find the interface ${ifname}`, found.failure);
    const { index } = found.link;
    const listed = await this.#client.request(listAddresses(index), readInterfaceAddress);
    if (!listed.ok) return told(`list the addresses of ${ifname}`, listed.failure);
    const there = listed.found.filter((one) => one.index === index);
    const wanted = new Set(addresses.map(hostPrefix));
    const prefixOf = (one: { readonly address: IpAddress; readonly prefixLength: number }): IpPrefix =>
      `${one.address}/${one.prefixLength}` as IpPrefix;
    const present = new Set(there.map(prefixOf));

    // New ones first: what is under way keeps an address to come from. One that fails does not keep the others away.
    let outcome: NetworkOutcome = null;
    for (const address of addresses) {
      if (present.has(hostPrefix(address))) continue;
      const failure = await this.#client.change(addAddress(index, address));
      if (failure !== null && failure.errno !== 'EEXIST' && !isWithoutIpv6(address, failure)) {
        outcome ??= told(`add the address ${hostPrefix(address)} to ${ifname}`, failure);
      }
    }
    for (const one of there) {
      if (one.scope === 'link' || one.scope === 'host' || wanted.has(prefixOf(one))) continue;
      const failure = await this.#client.change(deleteAddress(index, one.address, one.prefixLength));
      if (failure !== null && failure.errno !== 'EADDRNOTAVAIL') {
        outcome ??= told(`remove the address ${prefixOf(one)} from ${ifname}`, failure);
      }
    }
    return outcome;
  }

  /** IPv6 prefixes are left out as in `setAddresses`. Others' routes through the interface (added by hand) stay, and count when one of them is wanted. */
  async setRoutes(ifname: string, prefixes: readonly IpPrefix[]): Promise<NetworkOutcome> {
    const found = await this.#link(ifname);
    if ('failure' in found) return told(`find the interface ${ifname}`, found.failure);
    const { index } = found.link;
    const listed = await this.#mainRoutes();
    if (!listed.ok) return told(`list the routes of ${ifname}`, listed.failure);
    const there = listed.found.filter((route) => route.index === index);
    const wanted = new Set(prefixes);
    const present = new Set(there.map((route) => route.prefix));

    let outcome: NetworkOutcome = null;
    for (const prefix of wanted) {
      if (present.has(prefix)) continue;
      const failure = await this.#client.change(addRoute(index, prefix));
      if (failure !== null && !isWithoutIpv6(prefix, failure)) {
        outcome ??= told(`add the route ${prefix} through ${ifname}`, failure);
      }
    }
    for (const route of there) {
      if (route.protocol !== PROTOCOL_WARREN || wanted.has(route.prefix)) continue;
      const failure = await this.#client.change(deleteRoute(index, route.prefix));
      if (failure !== null && failure.errno !== 'ESRCH') {
        outcome ??= told(`remove the route ${route.prefix} through ${ifname}`, failure);
      }
    }
    return outcome;
  }

  setMtu(ifname: string, mtu: number): Promise<NetworkOutcome> {
    return this.#change(ifname, `set the MTU of ${ifname} to ${mtu}`, (link) =>
      link.mtu === mtu ? null : setLinkMtu(link.index, mtu),
    );
  }

  setUp(ifname: string, up: boolean): Promise<NetworkOutcome> {
    return this.#change(ifname, `set ${ifname} ${up ? 'up' : 'down'}`, (link) =>
      link.up === up ? null : setLinkUp(link.index, up),
    );
  }

  /** How many segments one super-packet may have. */
  setSegments(ifname: string, segments: number): Promise<NetworkOutcome> {
    return this.#change(ifname, `set gso_max_segs of ${ifname} to ${segments}`, (link) =>
      setLinkSegments(link.index, segments),
    );
  }

  async removeInterface(ifname: string): Promise<NetworkOutcome> {
    const found = await this.#link(ifname);
    if ('failure' in found) {
      return found.failure.errno === 'ENODEV' ? null : told(`find the interface ${ifname}`, found.failure);
    }
    // A name that somebody mistyped must not cost a bridge or a container its network.
    if (found.link.kind !== 'tun') {
      return { errno: 'EEXIST', step: `remove the interface ${ifname}: it is no TUN device, so none of ours` };
    }
    const failure = await this.#client.change(deleteLink(found.link.index));
    if (failure === null || failure.errno === 'ENODEV') return null;
    return told(`remove the interface ${ifname}`, failure);
  }

  // — the host —

  /** Empty when the kernel refuses, which it does only for want of memory, and again. */
  async addresses(): Promise<readonly HostAddress[]> {
    const links = await this.#links();
    const addresses = await twice(() => this.#client.request(listAddresses(), readInterfaceAddress));
    if (!addresses.ok) return [];
    return addresses.found.flatMap((one): HostAddress[] => {
      const link = links.get(one.index);
      // Its link came or went between the two lists; a change is told.
      if (link === undefined) return [];
      const { index: ifindex, ...rest } = one;
      return [{ ...rest, ifindex, ifname: link.name, up: link.running, loopback: link.loopback }];
    });
  }

  /** Empty when the kernel refuses. */
  async routes(): Promise<readonly HostRoute[]> {
    const links = await this.#links();
    const listed = await twice(() => this.#mainRoutes());
    if (!listed.ok) return [];
    return listed.found.map(({ prefix, index, gateway }) => ({
      prefix,
      gateway,
      ifindex: index,
      ifname: index === null ? null : (links.get(index)?.name ?? null),
    }));
  }

  /** `listener` may look at what changed. Changes in one turn, and shortly after one another, are told once. */
  onChange(listener: (change: HostChange) => void): () => void {
    // The same function given twice is two listeners.
    const entry = (change: HostChange): void => listener(change);
    this.#listeners.add(entry);
    return () => this.#listeners.delete(entry);
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#listeners.clear();
    this.#events?.close();
    this.#events = null;
    this.#client.close();
  }

  // — asking —

  /** Null from `requestFor`: it is so already. */
  async #change(
    ifname: string,
    step: string,
    requestFor: (link: Link) => NetlinkRequest | null,
  ): Promise<NetworkOutcome> {
    const found = await this.#link(ifname);
    if ('failure' in found) return told(`find the interface ${ifname}`, found.failure);
    const request = requestFor(found.link);
    if (request === null) return null;
    const failure = await this.#client.change(request);
    return failure === null ? null : told(step, failure);
  }

  async #link(ifname: string): Promise<Found> {
    if (!isInterfaceName(ifname)) return { failure: { errno: 'ENODEV', reason: 'no interface can have this name' } };
    const result = await this.#client.request(getLink(ifname), readLink);
    if (!result.ok) return { failure: result.failure };
    const link = result.found[0];
    if (link === undefined) return { failure: { errno: 'EPROTO', reason: null } };
    this.#own.add(link.index);
    return { link };
  }

  async #links(): Promise<ReadonlyMap<number, Link>> {
    const result = await twice(() => this.#client.request(listLinks(), readLink));
    return new Map(result.ok ? result.found.map((link) => [link.index, link]) : []);
  }

  async #mainRoutes(): Promise<NetlinkResult<Route>> {
    const take = (message: NetlinkMessage): Route | null => {
      const route = readRoute(message);
      return route !== null && isMainRoute(route) ? route : null;
    };
    const [ipv4, ipv6] = [await this.#routesOf(AF_INET, take), await this.#routesOf(AF_INET6, take)];
    if (!ipv4.ok) return ipv4;
    if (!ipv6.ok) return ipv6;
    return { ok: true, found: ipv4.found.concat(ipv6.found) };
  }

  async #routesOf<T>(
    family: typeof AF_INET | typeof AF_INET6,
    take: (message: NetlinkMessage) => T | null,
  ): Promise<NetlinkResult<T>> {
    const result = await this.#client.request(listRoutes(family), take);
    // A namespace in which there never was a route, or a kernel without IPv6, has no such table.
    if (!result.ok && ['ENOENT', 'EAFNOSUPPORT', 'EOPNOTSUPP'].includes(result.failure.errno)) {
      return { ok: true, found: [] };
    }
    return result;
  }

  // — hearing —

  #hear(): void {
    const events = this.#events;
    if (events === null) return;
    for (;;) {
      const datagram = events.receive();
      if (datagram === null) break;
      if (!(datagram instanceof Uint8Array)) {
        this.#lose();
        // Overruns are told once and then there is more to read; anything else might be told for ever.
        if (errnoName(datagram.code) === 'ENOBUFS' || errnoName(datagram.code) === 'EMSGSIZE') continue;
        break;
      }
      for (const message of readMessages(datagram)) {
        const change = this.#watch.take(message) ?? this.#ownRouteGone(message);
        if (change !== null) this.#tell([change]);
      }
    }
    events.arm();
  }

  /** Network managers clean up routes that they do not know. */
  #ownRouteGone(message: NetlinkMessage): Change | null {
    if (message.type !== RTM_DELROUTE) return null;
    const route = readRoute(message);
    if (route === null || !isMainRoute(route) || route.index === null || !this.#own.has(route.index)) return null;
    return { kind: 'ownRoute', index: route.index };
  }

  #lose(): void {
    this.resyncs++;
    this.#lost = true;
    if (!this.#listing) this.#relist();
  }

  #relist(): void {
    this.#listAll().then((failure) => {
      if (failure === null || this.#closed) return;
      const again = setTimeout(() => this.#relist(), LIST_AGAIN_MS);
      again.unref();
    });
  }

  /** Everything that is watched, afresh; again when changes were lost meanwhile. */
  async #listAll(): Promise<NetworkOutcome> {
    this.#listing = true;
    const first = this.resyncs === 0;
    let outcome: NetworkOutcome = null;
    do {
      this.#lost = false;
      let messages: NetlinkMessage[] = [];
      for (const [what, ask] of [
        ['links', () => this.#client.request(listLinks(), watched)],
        ['addresses', () => this.#client.request(listAddresses(), watched)],
        ['routes', () => this.#routesOf(AF_INET, watched)],
        ['routes', () => this.#routesOf(AF_INET6, watched)],
      ] as const) {
        const result = await ask();
        if (result.ok) messages = messages.concat(result.found);
        else outcome ??= told(`list the ${what} of this host`, result.failure);
      }
      if (outcome !== null) break;
      const changes = this.#watch.replace(messages);
      if (!first) this.#tell(changes);
    } while (this.#lost && !this.#closed);
    this.#listing = false;
    return outcome;
  }

  #tell(changes: readonly Change[]): void {
    if (changes.length === 0 || this.#closed) return;
    const now = performance.now();
    if (this.#pending === null) this.#firstPendingAt = now;
    this.#pending = merged(this.#pending ?? NOTHING, changes, this.#own);
    if (this.#timer !== null) clearTimeout(this.#timer);
    const latest = this.#firstPendingAt + CHANGES_TOLD_WITHIN_MS - now;
    this.#timer = setTimeout(() => this.#flush(), Math.max(0, Math.min(this.#settleMs, latest)));
    this.#timer.unref();
  }

  #flush(): void {
    const change = this.#pending ?? NOTHING;
    this.#pending = null;
    this.#timer = null;
    for (const listener of [...this.#listeners]) listener(change);
  }
}

const NOTHING: HostChange = { links: false, addresses: false, defaultRoute: false, ownRoute: false, others: false };

function merged(before: HostChange, changes: readonly Change[], own: ReadonlySet<number>): HostChange {
  const has = (kind: Change['kind']): boolean => changes.some((change) => change.kind === kind);
  return {
    links: before.links || has('link'),
    addresses: before.addresses || has('address'),
    defaultRoute: before.defaultRoute || has('defaultRoute'),
    ownRoute: before.ownRoute || has('ownRoute'),
    others: before.others || changes.some((change) => !own.has(change.index)),
  };
}

/** What the kernel takes as a name. */
function isInterfaceName(name: string): boolean {
  return name.length <= IFNAME_CHARACTERS_MAX && /^[!-.0-9;-~]+$/.test(name) && name !== '.' && name !== '..';
}

/** What cannot be told to have failed is tried once more. */
async function twice<T>(ask: () => Promise<NetlinkResult<T>>): Promise<NetlinkResult<T>> {
  const first = await ask();
  return first.ok ? first : ask();
}

/**
 * IPv6 is switched off for the interface (disable_ipv6, as in many containers: EACCES, where a want of rights is EPERM) or for the
 * kernel: IPv4 works all the same.
 */
function isWithoutIpv6(what: IpAddress | IpPrefix, failure: NetlinkFailure): boolean {
  return what.includes(':') && ['EACCES', 'EAFNOSUPPORT', 'EOPNOTSUPP'].includes(failure.errno);
}

function told(step: string, failure: NetlinkFailure): NetworkOutcome {
  return { errno: failure.errno, step: failure.reason === null ? step : `${step} (${failure.reason})` };
}

function refused(failure: NativeFailure): HostNetworkResult {
  return { ok: false, failure: { errno: errnoName(failure.code), step: failure.step } };
}
