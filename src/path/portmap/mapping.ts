// What a gateway may give: a port of its outer address that leads to ours (PCP, RFC 6887; NAT-PMP, RFC 6886; UPnP-IGD), and
// what came of asking for it. Types alone; who asks, and when, is gateway-mapping.ts.

import type { Instant } from '../../base/instant.ts';
import type { Endpoint, IpAddress } from '../../base/ip.ts';

/** The likeliest to be right first: PCP tells its epoch and the outer address with the mapping, UPnP neither. */
export const PORT_MAP_PROTOCOLS = ['pcp', 'natpmp', 'upnp'] as const;
export type PortMapProtocol = (typeof PORT_MAP_PROTOCOLS)[number];

/** A mapping that others can use: its outer address is a public one. */
export interface PortMapping {
  /** Outside: what leads to our port. */
  readonly endpoint: Endpoint;
  readonly protocol: PortMapProtocol;
  readonly gateway: IpAddress;
  /** Unless it is renewed, which is tried from half of its lifetime on. NEVER when the gateway gives no other. */
  readonly expiresAt: Instant;
}

/**
 * - none: not asked, or its answer was not needed
 * - trying: being asked
 * - mapped: there is a mapping; `doubleNat` tells whether it is of use
 * - refused: the gateway speaks the protocol and does not give a mapping
 * - unsupported: the gateway does not speak it, or not to us
 */
export type PortMapState = 'none' | 'trying' | 'mapped' | 'refused' | 'unsupported';

/** For people: what one protocol came to at one gateway. */
export interface PortMapStatus {
  readonly protocol: PortMapProtocol;
  /** Null: there is no gateway to ask. */
  readonly gateway: IpAddress | null;
  readonly state: PortMapState;
  /** Of the mapping, private ones too; null without one. */
  readonly external: Endpoint | null;
  /** The gateway is itself behind a NAT: its outer address is a private or shared one, and no candidate. */
  readonly doubleNat: boolean;
  /** Half a sentence: `nothing listens on UDP port 5351 of the gateway`. Null when there is nothing to say. */
  readonly why: string | null;
}
