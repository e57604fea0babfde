// How machines look from elsewhere on the simulated ground, as far as the ground itself knows it: for the checks alone, nodes have to
// find out for themselves.

import { type Endpoint, type Family, formatEndpoint, type IpAddress } from '../../base/ip.ts';
import { RELAY_HEADER_BYTES } from '../../base/relayed.ts';
import { permits, type Verdict } from '../nat/permits.ts';
import { LAN_LINK, type Machine } from '../nat/sites.ts';

/** The address that a TCP connection of the machine comes from: IPv6 where there is some, as is usual. */
export function outsideAddress({ site, addresses }: Machine): IpAddress {
  if (addresses[6] !== null) return addresses[6];
  const own = addresses[4];
  if (own === null) throw new Error('a machine has an address');
  return site.boxes[4].findLast((box) => box.external !== null)?.external ?? own;
}

/** Where a socket of a machine without a box is, in each family. */
export function endpointsOf({ addresses }: Machine, port: number): Endpoint[] {
  return [addresses[6], addresses[4]]
    .filter((address) => address !== null)
    .map((address) => formatEndpoint(address, port));
}

/** What the two places permit, as they lie to one another. */
export function permitted(a: Machine, b: Machine): Verdict {
  const sharedBoxes = a.site.carrier !== null && a.site.carrier === b.site.carrier ? 1 : 0;
  return permits(a.site.place, b.site.place, { sameNetwork: a.site === b.site, sharedBoxes });
}

/** There and back by the shortest direct way. */
export function directRoundTripMs(a: Machine, b: Machine): number {
  return 2 * (neighbours(a, b) ? LAN_LINK.latencyMs : wayOutMs(a) + wayOutMs(b));
}

/** There and back by the slowest relay. */
export function relayedRoundTripMs(a: Machine, b: Machine, relays: readonly Machine[]): number {
  const relayMs = Math.max(0, ...relays.map(({ site }) => site.link.latencyMs));
  return 2 * (wayOutMs(a) + 2 * relayMs + wayOutMs(b)) + 2;
}

function wayOutMs({ site }: Machine): number {
  return site.link.latencyMs + (site.carrier?.link.latencyMs ?? 0);
}

/** What a packet has around it on the wire: WireGuard, UDP, IP, and a relay's header. */
const AROUND_BYTES: Readonly<Record<Family, number>> = { 4: 32 + 28, 6: 32 + 48 };

/**
 * The largest inner packet that goes from one to the other: what surely does, whatever families are on the way, and what
 * may at most. `relay`: it carries them.
 */
export function carries(
  a: Machine,
  b: Machine,
  relay: Machine | null,
): { readonly surely: number; readonly atMost: number } {
  const mtu = neighbours(a, b) && relay === null ? LAN_LINK.mtu : Math.min(linkMtu(a), linkMtu(b));
  const header = relay === null ? 0 : RELAY_HEADER_BYTES;
  return { surely: mtu - AROUND_BYTES[6] - header, atMost: mtu - AROUND_BYTES[4] - header };
}

function linkMtu({ site }: Machine): number {
  return Math.min(site.link.mtu, site.carrier?.link.mtu ?? site.link.mtu);
}

function neighbours(a: Machine, b: Machine): boolean {
  return a.site === b.site && a.site.boxes[4].length + a.site.boxes[6].length > 0;
}
