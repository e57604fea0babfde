// The life of one mapping: what was granted, until when, and when to ask again. Renewals are due in the first quarter of the second
// half (RFC 6887 §11.2.1) and, while nobody answers, again in that of what remains.

import { after, type Instant, latest, NEVER } from '../../base/instant.ts';
import { formatEndpoint, type IpAddress } from '../../base/ip.ts';
import type { RandomSource } from '../../base/prng.ts';
import type { PortMapProtocol, PortMapping } from './mapping.ts';

/** What is asked for: recommended by RFC 6886 §3.3. */
export const LIFETIME_S = 7_200;
/** A shorter one would be more trouble than use, and a hostile gateway's way to keep us busy. */
export const LIFETIME_MIN_S = 60;
/** RFC 6887 §15: longer ones are taken as this. */
export const LIFETIME_MAX_S = 86_400;
/** Between two askings for a renewal. */
export const RENEWAL_GAP_MIN_MS = 10_000;
/** A lease without an end is looked at as often as others. */
const PERMANENT_CHECK_MS = (LIFETIME_S * 1_000) / 2;

export interface External {
  readonly address: IpAddress;
  readonly port: number;
}

export interface Lease {
  readonly external: External;
  readonly expiresAt: Instant;
  readonly renewAt: Instant;
}

/** `lifetimeSeconds`: as granted, at least LIFETIME_MIN_S; 0: for ever. */
export function newLease(external: External, lifetimeSeconds: number, now: Instant, random: RandomSource): Lease {
  if (lifetimeSeconds === 0) return { external, expiresAt: NEVER, renewAt: after(now, PERMANENT_CHECK_MS) };
  const expiresAt = after(now, Math.min(lifetimeSeconds, LIFETIME_MAX_S) * 1_000);
  return { external, expiresAt, renewAt: renewalTime(now, expiresAt, random) };
}

/** As before, to be renewed later: nobody answered this time. */
export function postponed(lease: Lease, now: Instant, random: RandomSource): Lease {
  if (lease.expiresAt === NEVER) return { ...lease, renewAt: after(now, PERMANENT_CHECK_MS) };
  return { ...lease, renewAt: renewalTime(now, lease.expiresAt, random) };
}

function renewalTime(now: Instant, expiresAt: Instant, random: RandomSource): Instant {
  const share = 1 / 2 + fraction(random) / 8;
  return latest(after(now, (expiresAt - now) * share), after(now, RENEWAL_GAP_MIN_MS));
}

/** Uniform in [0, 1). */
export function fraction(random: RandomSource): number {
  const bytes = new Uint8Array(2);
  random(bytes);
  return ((bytes[0] as number) * 256 + (bytes[1] as number)) / 65_536;
}

export function mappingOf(lease: Lease, protocol: PortMapProtocol, gateway: IpAddress): PortMapping {
  const { external, expiresAt } = lease;
  return { endpoint: formatEndpoint(external.address, external.port), protocol, gateway, expiresAt };
}
