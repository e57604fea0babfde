// The ground that nodes stand on: an internet, sites of every kind behind their boxes (nat-box.ts), carriers that have several
// sites behind one more, and machines with sockets. Datagrams are routed as they would be: to a neighbour on the same LAN at
// once, else out through every box on the way and in through those of the destination, with the latency, loss and MTU of each
// link. Addresses of RFC 1918 mean another machine at each site. Leaves out TCP, ICMP and routing within the internet.

import type { Instant } from '../../base/instant.ts';
import { endpointParts, type Family, familyOf, type IpAddress } from '../../base/ip.ts';
import type { Prng } from '../../base/prng.ts';
import type { NatBehaviour, Place } from './kinds.ts';
import { NatBox } from './nat-box.ts';
import {
  type Attached,
  Carrier,
  type Datagram,
  GOOD_LINK,
  LAN_LINK,
  type Link,
  Machine,
  Realm,
  Router,
  Site,
  type Via,
  type Ways,
} from './sites.ts';

export interface Scheduler {
  readonly now: Instant;
  schedule(delayMs: number, run: () => void): void;
}

const UDP_OVER_IP_BYTES: Readonly<Record<Family, number>> = { 4: 28, 6: 48 };

/** One datagram at the end of its way: lost instead of received when `blocked` says so. */
export interface Hop {
  readonly from: Machine;
  readonly to: Machine;
  readonly via: Via;
  readonly family: Family;
}

export const LOSSES = ['noFamily', 'unroutable', 'boxOut', 'boxIn', 'tooBig', 'chance', 'blocked', 'closed'] as const;
export type Loss = (typeof LOSSES)[number];

/** Private ranges are few, and sites draw them at random: the same address is at several sites. */
const PRIVATE_PREFIXES = ['192.168.0.', '192.168.1.', '10.0.0.'];

export interface SiteOptions {
  readonly name: string;
  readonly place: Place;
  readonly link?: Partial<Link>;
  /** The last of the boxes of IPv4 is this one's, which others share. */
  readonly carrier?: Carrier;
}

export class Topology implements Ways {
  readonly sites: Site[] = [];
  readonly machines: Machine[] = [];
  /** Sees every datagram that a machine sends, before anything happens to it. */
  readonly taps: ((from: Machine, datagram: Datagram) => void)[] = [];
  /** Sees every datagram that crosses the internet, as it looks there. */
  readonly eavesdroppers: ((from: Machine, datagram: Datagram) => void)[] = [];
  blocked: (hop: Hop) => boolean = () => false;
  readonly counts = { sent: 0, delivered: 0, fragmented: 0 };
  readonly losses: Record<Loss, number> = {
    noFamily: 0,
    unroutable: 0,
    boxOut: 0,
    boxIn: 0,
    tooBig: 0,
    chance: 0,
    blocked: 0,
    closed: 0,
  };
  readonly #scheduler: Scheduler;
  readonly #prng: Prng;
  readonly #internet: Readonly<Record<Family, Realm>> = { 4: new Realm('internet', 4), 6: new Realm('internet', 6) };
  #publicAddresses = 0;

  constructor(scheduler: Scheduler, prng: Prng) {
    this.#scheduler = scheduler;
    this.#prng = prng;
  }

  // — building —

  addCarrier(name: string, behaviour: NatBehaviour, link: Partial<Link> = {}): Carrier {
    const router = this.#router(behaviour, new Realm('carrier', 4), this.#internet[4], { ...GOOD_LINK, ...link });
    return new Carrier(name, router);
  }

  addSite(options: SiteOptions): Site {
    const { place, name, carrier = null } = options;
    const link: Link = { ...GOOD_LINK, ...options.link };
    const number = this.sites.length + 1;
    const boxes: Record<Family, NatBox[]> = { 4: [], 6: [] };
    const four = place.ipv4 === null ? null : this.#build4(place.ipv4, carrier, link, boxes[4]);
    const six = place.ipv6 === null ? null : this.#build6(place.ipv6, link, boxes[6]);
    const site = new Site({
      name,
      place,
      carrier,
      link,
      boxes,
      realms: { 4: four, 6: six },
      prefixes: {
        4: four?.via === 'lan' ? this.#prng.pick(PRIVATE_PREFIXES) : `198.51.${number}.`,
        6: `2001:db8:${number.toString(16)}::`,
      },
    });
    this.sites.push(site);
    return site;
  }

  /** The realm of the machines; `boxes` are filled, the nearest first. Those further away share the nearest one's link. */
  #build4(behaviours: readonly NatBehaviour[], carrier: Carrier | null, link: Link, boxes: NatBox[]): Realm {
    let outer = carrier?.realm ?? this.#internet[4];
    if (carrier !== null) boxes.push(carrier.box);
    for (let i = behaviours.length - 1 - boxes.length; i >= 0; i--) {
      const inner = new Realm(i === 0 ? 'lan' : 'carrier', 4);
      const nearest = i === 0;
      const address = outer === carrier?.realm ? carrier.nextAddress() : this.#addressIn(outer);
      const router = this.#router(
        behaviours[i] as NatBehaviour,
        inner,
        outer,
        nearest ? link : { ...LAN_LINK },
        address,
      );
      boxes.unshift(router.box);
      outer = inner;
    }
    return outer;
  }

  #addressIn(outer: Realm): IpAddress {
    return outer.via === 'internet' ? this.#publicAddress() : (`100.64.0.${outer.attached.size + 1}` as IpAddress);
  }

  /** One box at most: a firewall, in front of a prefix of its own. */
  #build6(behaviours: readonly NatBehaviour[], link: Link, boxes: NatBox[]): Realm {
    const [behaviour] = behaviours;
    if (behaviour === undefined) return this.#internet[6];
    const inner = new Realm('lan', 6);
    const router = this.#router(behaviour, inner, this.#internet[6], link);
    boxes.push(router.box);
    return inner;
  }

  #router(behaviour: NatBehaviour, inner: Realm, outer: Realm, link: Link, address?: IpAddress): Router {
    const external = behaviour.translates ? (address ?? this.#publicAddress()) : null;
    const inboundRefreshes = this.#prng.chance(0.3);
    const box = new NatBox({ behaviour, external, prng: this.#prng.fork(), inboundRefreshes });
    const router = new Router(box, inner, outer, link);
    inner.gateway = router;
    if (external !== null) outer.attached.set(external, { kind: 'router', router });
    return router;
  }

  #publicAddress(): IpAddress {
    const number = ++this.#publicAddresses;
    return `203.0.${113 + (number >> 8)}.${number & 255}` as IpAddress;
  }

  addMachine(name: string, site: Site): Machine {
    const machine = new Machine(name, site, this);
    this.machines.push(machine);
    this.#attach(machine, site);
    return machine;
  }

  /** To another site, or with other addresses at the same. Its sockets stay open. */
  move(machine: Machine, site: Site): void {
    this.#detach(machine);
    this.#attach(machine, site);
  }

  #attach(machine: Machine, site: Site): void {
    const addresses = site.nextAddresses();
    machine.site = site;
    machine.addresses = addresses;
    site.machines.push(machine);
    for (const family of [4, 6] as const) {
      const realm = site.realm(family);
      const address = addresses[family];
      if (realm === null || address === null) continue;
      realm.attached.set(address, { kind: 'machine', machine });
      const { gateway } = realm;
      // A firewall hides nobody: the address is the machine's outside as well.
      if (gateway !== null && gateway.box.external === null)
        gateway.outer.attached.set(address, { kind: 'router', router: gateway });
    }
  }

  #detach(machine: Machine): void {
    const { site, addresses } = machine;
    site.machines.splice(site.machines.indexOf(machine), 1);
    for (const family of [4, 6] as const) {
      const realm = site.realm(family);
      const address = addresses[family];
      if (realm === null || address === null) continue;
      realm.attached.delete(address);
      if (realm.gateway?.box.external === null) realm.gateway.outer.attached.delete(address);
    }
  }

  /** Everything that the box knew is gone; with `renumbered` it comes back at another public address. */
  rebootBox(box: NatBox, renumbered: boolean): void {
    const before = box.external;
    const attached = before === null ? undefined : this.#internet[4].attached.get(before);
    if (!renumbered || before === null || attached === undefined) {
      box.reboot();
      return;
    }
    this.#internet[4].attached.delete(before);
    const address = this.#publicAddress();
    this.#internet[4].attached.set(address, attached);
    box.reboot(address);
  }

  // — datagrams —

  #lost(why: Loss): void {
    this.losses[why]++;
  }

  noWay(): void {
    this.#lost('noFamily');
  }

  send(from: Machine, datagram: Datagram): void {
    this.counts.sent++;
    for (const tap of this.taps) tap(from, datagram);
    const { address } = endpointParts(datagram.destination);
    const family = familyOf(address);
    const start = from.site.realm(family);
    if (start === null) this.#lost('noFamily');
    else this.#out(from, start, address, datagram);
  }

  /** Up, from realm to realm, until the destination is in one. */
  #out(from: Machine, start: Realm, address: IpAddress, sent: Datagram): void {
    const { now } = this.#scheduler;
    let realm = start;
    let datagram = sent;
    let latencyMs = 0;
    // A machine without any box is on the internet by its site's link.
    if (realm.via === 'internet') {
      if (!this.#crosses(from.site.link, realm.family, datagram)) return;
      latencyMs += this.#latencyOf(from.site.link);
    }
    for (;;) {
      const target = realm.attached.get(address);
      if (target !== undefined) {
        this.#turn(from, realm, target, datagram, latencyMs);
        return;
      }
      const { gateway } = realm;
      if (gateway === null) {
        this.#lost('unroutable');
        return;
      }
      const hairpins = gateway.box.external === address;
      const source =
        hairpins && !gateway.box.behaviour.hairpin
          ? null
          : gateway.box.outbound(datagram.source, datagram.destination, now);
      if (source === null) {
        this.#lost('boxOut');
        return;
      }
      datagram = { ...datagram, source };
      if (hairpins) {
        // Round the box: it goes in as if it came from outside (REQ-9: with an external source).
        const { via, family } = realm;
        this.#later(latencyMs + LAN_LINK.latencyMs, () => this.#in(from, via, family, gateway, datagram));
        return;
      }
      if (!this.#crosses(gateway.link, realm.family, datagram)) return;
      latencyMs += this.#latencyOf(gateway.link);
      realm = gateway.outer;
    }
  }

  #turn(from: Machine, realm: Realm, target: Attached, datagram: Datagram, upMs: number): void {
    const { via, family } = realm;
    if (via === 'internet') for (const overhears of this.eavesdroppers) overhears(from, datagram);
    if (target.kind === 'router') {
      const { router } = target;
      if (!this.#crosses(router.link, family, datagram)) return;
      this.#later(upMs + this.#latencyOf(router.link), () => this.#in(from, via, family, router, datagram));
      return;
    }
    const { machine } = target;
    const link = via === 'internet' ? machine.site.link : LAN_LINK;
    if (!this.#crosses(link, family, datagram)) return;
    this.#later(upMs + this.#latencyOf(link), () => this.#arrive(from, via, family, machine, datagram));
  }

  /** Down, into the realm behind a box. */
  #in(from: Machine, via: Via, family: Family, router: Router, datagram: Datagram): void {
    const destination = router.box.inbound(datagram.source, datagram.destination, this.#scheduler.now);
    if (destination === null) {
      this.#lost('boxIn');
      return;
    }
    const inside = { ...datagram, destination };
    const target = router.inner.attached.get(endpointParts(destination).address);
    if (target === undefined) this.#lost('unroutable');
    else if (target.kind === 'machine') this.#arrive(from, via, family, target.machine, inside);
    else if (this.#crosses(target.router.link, family, inside)) {
      this.#later(this.#latencyOf(target.router.link), () => this.#in(from, via, family, target.router, inside));
    }
  }

  #arrive(from: Machine, via: Via, family: Family, to: Machine, datagram: Datagram): void {
    if (this.blocked({ from, to, via, family })) {
      this.#lost('blocked');
      return;
    }
    const receiver = to.socket(endpointParts(datagram.destination).port);
    if (receiver === undefined) {
      this.#lost('closed');
      return;
    }
    this.counts.delivered++;
    receiver(datagram, from);
  }

  /** Whether it gets over the link. */
  #crosses(link: Link, family: Family, { bytes, dontFragment }: Datagram): boolean {
    if (bytes.length + UDP_OVER_IP_BYTES[family] > link.mtu) {
      if (dontFragment) {
        this.#lost('tooBig');
        return false;
      }
      this.counts.fragmented++;
    }
    if (link.loss === 0 || !this.#prng.chance(link.loss)) return true;
    this.#lost('chance');
    return false;
  }

  #latencyOf({ latencyMs, jitterMs }: Link): number {
    return jitterMs === 0 ? latencyMs : latencyMs + this.#prng.nextFloat() * jitterMs;
  }

  #later(delayMs: number, run: () => void): void {
    this.#scheduler.schedule(delayMs, run);
  }
}
