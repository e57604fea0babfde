// What stands on the ground: machines with sockets, the sites that they are at, carriers, and the networks in which their addresses
// mean something. How datagrams get from one to another: topology.ts.

import { type Endpoint, type Family, formatEndpoint, type IpAddress } from '../../base/ip.ts';
import type { Place } from './kinds.ts';
import type { NatBox } from './nat-box.ts';

/** Between a site, a carrier or a machine of its own and what is next to it: latency one way. */
export interface Link {
  latencyMs: number;
  jitterMs: number;
  /** Probability per datagram and crossing. */
  loss: number;
  /** IP packets; larger ones go in fragments unless that is forbidden, then they are lost without a word. */
  mtu: number;
}

export const GOOD_LINK: Readonly<Link> = { latencyMs: 10, jitterMs: 0, loss: 0, mtu: 1_500 };
export const LAN_LINK: Readonly<Link> = { latencyMs: 0.5, jitterMs: 0, loss: 0, mtu: 1_500 };

export interface Datagram {
  readonly bytes: Uint8Array;
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly dontFragment: boolean;
}

/** `from`: who really sent it, whatever its source says; for checks, not for those who are checked. */
export type Receiver = (datagram: Datagram, from: Machine) => void;

/** Where a datagram turned from going out to coming in. */
export type Via = 'lan' | 'carrier' | 'internet';

/** A network in which addresses mean something: the internet, the inside of a carrier, a LAN. */
export class Realm {
  readonly via: Via;
  readonly family: Family;
  readonly attached = new Map<IpAddress, Attached>();
  /** Where everything goes that is not attached; null: nowhere. */
  gateway: Router | null = null;

  constructor(via: Via, family: Family) {
    this.via = via;
    this.family = family;
  }
}

export type Attached =
  | { readonly kind: 'machine'; readonly machine: Machine }
  | { readonly kind: 'router'; readonly router: Router };

/** A box between two realms. */
export class Router {
  readonly box: NatBox;
  readonly inner: Realm;
  readonly outer: Realm;
  /** Of its outer side. */
  readonly link: Link;

  constructor(box: NatBox, inner: Realm, outer: Realm, link: Link) {
    this.box = box;
    this.inner = inner;
    this.outer = outer;
    this.link = link;
  }
}

/** Several sites behind one more NAT of IPv4 (RFC 6598, RFC 6888). */
export class Carrier {
  readonly name: string;
  readonly link: Link;
  readonly #router: Router;
  #routers = 0;

  constructor(name: string, router: Router) {
    this.name = name;
    this.link = router.link;
    this.#router = router;
  }

  get box(): NatBox {
    return this.#router.box;
  }

  get realm(): Realm {
    return this.#router.inner;
  }

  /** Of a site's router. */
  nextAddress(): IpAddress {
    return `100.64.0.${++this.#routers}` as IpAddress;
  }
}

export class Site {
  readonly name: string;
  readonly place: Place;
  readonly carrier: Carrier | null;
  readonly link: Link;
  readonly machines: Machine[] = [];
  /** The nearest first, a carrier's included. */
  readonly boxes: Readonly<Record<Family, readonly NatBox[]>>;
  readonly #realms: Readonly<Record<Family, Realm | null>>;
  readonly #prefixes: Readonly<Record<Family, string>>;
  #hosts = 0;

  constructor(options: {
    name: string;
    place: Place;
    carrier: Carrier | null;
    link: Link;
    realms: Record<Family, Realm | null>;
    boxes: Record<Family, NatBox[]>;
    prefixes: Record<Family, string>;
  }) {
    this.name = options.name;
    this.place = options.place;
    this.carrier = options.carrier;
    this.link = options.link;
    this.boxes = options.boxes;
    this.#realms = options.realms;
    this.#prefixes = options.prefixes;
  }

  realm(family: Family): Realm | null {
    return this.#realms[family];
  }

  /** Of another machine. */
  nextAddresses(): Readonly<Record<Family, IpAddress | null>> {
    const host = ++this.#hosts + 1;
    return {
      4: this.#realms[4] === null ? null : (`${this.#prefixes[4]}${host}` as IpAddress),
      6: this.#realms[6] === null ? null : (`${this.#prefixes[6]}${host.toString(16)}` as IpAddress),
    };
  }
}

/** What carries datagrams away. */
export interface Ways {
  send(from: Machine, datagram: Datagram): void;
  /** Nothing left: there is no address of that family. */
  noWay(): void;
}

export class Machine {
  readonly name: string;
  site: Site;
  addresses: Readonly<Record<Family, IpAddress | null>>;
  readonly #ways: Ways;
  readonly #sockets = new Map<number, Receiver>();

  constructor(name: string, site: Site, ways: Ways) {
    this.name = name;
    this.site = site;
    this.addresses = { 4: null, 6: null };
    this.#ways = ways;
  }

  /** On all of its addresses. One socket for each port; the newest counts. */
  open(port: number, receiver: Receiver): void {
    this.#sockets.set(port, receiver);
  }

  close(port: number): void {
    this.#sockets.delete(port);
  }

  socket(port: number): Receiver | undefined {
    return this.#sockets.get(port);
  }

  /** The endpoint of a socket in the family of `destination`; null without an address of it. */
  localEndpoint(port: number, destination: Endpoint): Endpoint | null {
    const address = this.addresses[destination.startsWith('[') ? 6 : 4];
    return address === null ? null : formatEndpoint(address, port);
  }

  /** From the socket of that port. `bytes` are kept: owned. */
  send(port: number, destination: Endpoint, bytes: Uint8Array, dontFragment = false): void {
    const source = this.localEndpoint(port, destination);
    if (source === null) this.#ways.noWay();
    else this.#ways.send(this, { bytes, source, destination, dontFragment });
  }

  /** With any source: nobody checks it before the first NAT. */
  forge(datagram: Datagram): void {
    this.#ways.send(this, datagram);
  }
}
