// What the mesh host wants of the machine's network: its own interface's addresses, routes, MTU and state, and to see the
// others. An interface alone; src/daemon/os implements it over rtnetlink, tests in memory. Failures of the kernel are results,
// never throws: a link that is deleted at the wrong moment is no bug.

import type { IpAddress, IpPrefix } from '../../base/ip.ts';

/** An address of an interface of this machine, ours included. */
export interface HostAddress {
  readonly ifname: string;
  readonly ifindex: number;
  readonly address: IpAddress;
  readonly prefixLength: number;
  /** The interface is up and has a carrier. */
  readonly up: boolean;
  readonly loopback: boolean;
  /** Of the main use of an address: global and site are shared, link and host are not. */
  readonly scope: 'global' | 'site' | 'link' | 'host';
  /** IPv6: not usable yet (tentative) or going out of use (deprecated), or made to be short-lived (temporary). */
  readonly tentative: boolean;
  readonly deprecated: boolean;
  readonly temporary: boolean;
}

/** A unicast route of the main table. */
export interface HostRoute {
  /** `0.0.0.0/0` and `::/0` are the default routes. */
  readonly prefix: IpPrefix;
  /** Null for routes without an interface (unreachable, blackhole). */
  readonly ifname: string | null;
  readonly ifindex: number | null;
  readonly gateway: IpAddress | null;
}

/** What failed, for a person and for programs. */
export interface NetworkFailure {
  /** As Node spells it: EPERM, ENODEV, EEXIST … */
  readonly errno: string;
  /** `add the address 100.64.0.1/32 to warren0` */
  readonly step: string;
}

export type NetworkOutcome = NetworkFailure | null;

export interface HostNetwork {
  /** Exactly these and no other global addresses on the interface (host prefixes); what is there already stays untouched. */
  setAddresses(ifname: string, addresses: readonly IpAddress[]): Promise<NetworkOutcome>;
  /** Exactly these routes of ours through the interface. */
  setRoutes(ifname: string, prefixes: readonly IpPrefix[]): Promise<NetworkOutcome>;
  setMtu(ifname: string, mtu: number): Promise<NetworkOutcome>;
  setUp(ifname: string, up: boolean): Promise<NetworkOutcome>;
  /** Removes an interface that a crash left; null also when there is none. */
  removeInterface(ifname: string): Promise<NetworkOutcome>;
  addresses(): Promise<readonly HostAddress[]>;
  routes(): Promise<readonly HostRoute[]>;
  /** `listener` is called after links, addresses or routes changed (ours too), never twice in one turn. Gives its end. */
  onChange(listener: () => void): () => void;
  close(): void;
}
