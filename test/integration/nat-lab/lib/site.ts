// A place in the lab: hosts on a LAN and the gateways between it and the internet, the nearest first. What can be done to it by
// itself is here; what concerns a pair, NatLab does. Gateways further out may be shared with other sites (a carrier's).

import type { Place, SiteKind } from '../../../../src/sim/nat/kinds.ts';
import type { Host } from '../../../interop/lib/lab.ts';
import type { Gateway } from './gateway.ts';

export interface SiteHost {
  readonly host: Host;
  /** Its own addresses, as its interface has them; null: it has none of the family. */
  readonly ipv4: string | null;
  readonly ipv6: string | null;
}

export interface SiteParts {
  readonly name: string;
  readonly kind: SiteKind | null;
  readonly place: Place;
  readonly number: number;
  readonly hosts: readonly SiteHost[];
  readonly gateways: readonly Gateway[];
  /** The device of the router that leads here. */
  readonly routerDevice: string;
}

export class Site {
  readonly name: string;
  /** null: a place that has no name among the kinds. */
  readonly kind: SiteKind | null;
  readonly place: Place;
  readonly number: number;
  readonly hosts: readonly SiteHost[];
  readonly gateways: readonly Gateway[];
  readonly routerDevice: string;

  constructor(parts: SiteParts) {
    this.name = parts.name;
    this.kind = parts.kind;
    this.place = parts.place;
    this.number = parts.number;
    this.hosts = parts.hosts;
    this.gateways = parts.gateways;
    this.routerDevice = parts.routerDevice;
  }

  /** The first of its hosts; most sites have one. */
  get host(): Host {
    return this.first.host;
  }

  get first(): SiteHost {
    return this.hosts[0] as SiteHost;
  }

  /** The nearest gateway: the one that is surely its own. */
  get gateway(): Gateway {
    return this.gateways[0] as Gateway;
  }

  /** What the internet sees of its IPv4; null without. */
  get publicAddress(): string | null {
    if (this.place.ipv4 === null) return null;
    const at = this.place.ipv4.findLastIndex((box) => box.translates);
    return at < 0 ? this.first.ipv4 : (this.gateways[at] as Gateway).address;
  }

  /** Every external endpoint of its hosts becomes another, without a word to them. */
  async rebind(what: 'ports' | 'address' = 'ports'): Promise<void> {
    if (this.gateway.behaviour.ipv4?.translates !== true) throw new Error(`${this.name} has nothing that could rebind`);
    await (what === 'ports' ? this.gateway.moveToPorts() : this.gateway.moveToAddress());
  }

  /** Its own gateway forgets everything. */
  async reboot(): Promise<void> {
    await this.gateway.reboot();
  }

  /** Nothing passes its gateway any more, or again. The LAN stays. */
  async plug(inserted: boolean): Promise<void> {
    await this.gateway.plug(inserted);
  }
}
