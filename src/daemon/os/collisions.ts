// Whether a mesh's address range is in use on this host already, before routes are set that would take it over: addresses and
// routes of other interfaces that overlap. Pure. A route that covers everything (a default route, or the halves of one
// that other VPNs set) is no collision: ours is more specific and takes nothing that somebody means.

import { type IpPrefix, prefixParts } from '../../base/ip.ts';
import type { HostAddress, HostRoute } from '../mesh/host-network.ts';

/** Shorter prefixes are default routes in some disguise (0.0.0.0/1, 2000::/3). */
const DEFAULT_LENGTH_MAX = { 4: 1, 6: 3 } as const;
/** More are not needed to see what is the matter. */
export const COLLISIONS_MAX = 16;

export interface Collision {
  /** Of the mesh. */
  readonly prefix: IpPrefix;
  readonly kind: 'address' | 'route';
  /** What is there: `10.0.0.5/24`, `10.0.0.0/8`. */
  readonly what: string;
  /** Null: a route without an interface (unreachable, blackhole). */
  readonly ifname: string | null;
}

/** `ownInterface`: what is on it is ours. Addresses first, which say more than the routes that come with them. */
export function findCollisions(
  prefixes: readonly IpPrefix[],
  host: { readonly addresses: readonly HostAddress[]; readonly routes: readonly HostRoute[] },
  ownInterface: string | null,
): readonly Collision[] {
  const found: Collision[] = [];
  for (const prefix of prefixes) {
    const ours = prefixParts(prefix);
    const told = new Set<string>();
    for (const { ifname, address, prefixLength } of host.addresses) {
      const what = `${address}/${prefixLength}` as IpPrefix;
      if (ifname === ownInterface || !overlap(ours, prefixParts(what))) continue;
      told.add(ifname);
      found.push({ prefix, kind: 'address', what, ifname });
    }
    for (const route of host.routes) {
      if (route.ifname !== null && (route.ifname === ownInterface || told.has(route.ifname))) continue;
      if (!takes(ours, route)) continue;
      found.push({ prefix, kind: 'route', what: route.prefix, ifname: route.ifname });
    }
  }
  return found.slice(0, COLLISIONS_MAX);
}

/** For a person. */
export function describeCollision(collision: Collision): string {
  const { kind, what, ifname } = collision;
  if (kind === 'address') return `${ifname} has the address ${what}`;
  return ifname === null ? `there is a route for ${what}` : `${what} is routed through ${ifname}`;
}

interface Parts {
  readonly bytes: Uint8Array;
  readonly length: number;
}

/** Whether setting our route takes something away that the other one carries, or the other from ours. */
function takes(ours: Parts, route: HostRoute): boolean {
  const theirs = prefixParts(route.prefix);
  if (theirs.length <= DEFAULT_LENGTH_MAX[theirs.bytes.length === 4 ? 4 : 6]) return false;
  // "Nowhere, unless somebody knows better": and we do.
  if (route.ifname === null && theirs.length < ours.length) return false;
  return overlap(ours, theirs);
}

/** Two prefixes overlap when they agree as far as the shorter one goes. */
function overlap(a: Parts, b: Parts): boolean {
  if (a.bytes.length !== b.bytes.length) return false;
  const length = Math.min(a.length, b.length);
  for (let bit = 0; bit < length; bit += 8) {
    const mask = (0xff00 >> Math.min(8, length - bit)) & 255;
    const i = bit / 8;
    if ((((a.bytes[i] as number) ^ (b.bytes[i] as number)) & mask) !== 0) return false;
  }
  return true;
}
