// The places a node can be in, told in the terms of RFC 4787: which boxes stand between it and the internet, and what each does
// to UDP. Shared by the simulator, which plays the boxes, and the NAT lab (test/integration/nat-lab), which builds them from
// namespaces. Leaves out what a pair of places permits: permits.ts.

/** What a mapping (§4.1) or a filter (§5) depends on: nothing of the destination, its address, or its address and port. */
export type Dependence = 'independent' | 'address' | 'addressAndPort';

/**
 * Which external port a new mapping gets (§4.2): the internal one while it is free, the one after the last that was given
 * out, or any.
 */
export type PortAllocation = 'preserve' | 'sequential' | 'random';

/** One box on the way out: a NAT, or a stateful firewall when it does not translate. */
export interface NatBehaviour {
  /** false: addresses and ports pass unchanged and `mapping`, `portAllocation` and `hairpin` say nothing. */
  readonly translates: boolean;
  /** §4.1. What the external endpoint of one internal endpoint varies with. */
  readonly mapping: Dependence;
  /**
   * §5. From whom a datagram to an external endpoint is let in: anyone, whose address, or whose address and port was sent to
   * from that same external endpoint. What another mapping was used for opens nothing.
   */
  readonly filtering: Dependence;
  readonly portAllocation: PortAllocation;
  /** §6. Datagrams from inside to an external endpoint of the box come in again, with an external source. */
  readonly hairpin: boolean;
  /** §4.3. A mapping without traffic is forgotten after this. Outbound datagrams refresh it; inbound ones may, too. */
  readonly mappingTimeoutMs: number;
  /** false: no UDP passes in either direction. */
  readonly udp: boolean;
  /** Whether hosts right behind it may ask for a mapping that lets everybody in (PCP, NAT-PMP, UPnP-IGD). */
  readonly mapsPorts: boolean;
}

/** The boxes between a host and the internet, the nearest first; none: its address is public. */
export type Boxes = readonly NatBehaviour[];

export interface Place {
  /** null: the host has no address of the family that leads anywhere. */
  readonly ipv4: Boxes | null;
  readonly ipv6: Boxes | null;
  /** Destination ports to which TCP goes out. */
  readonly tcpPorts: 'any' | readonly number[];
}

/** RFC 4787, REQ-5: no less than two minutes. */
export const USUAL_MAPPING_TIMEOUT_MS = 120_000;
/** What is common all the same, and what a keepalive has to undercut. */
export const SHORT_MAPPING_TIMEOUT_MS = 30_000;

/** A router at home as most are: the same port for everybody, replies alone come in. */
const PORT_RESTRICTED: NatBehaviour = {
  translates: true,
  mapping: 'independent',
  filtering: 'addressAndPort',
  portAllocation: 'preserve',
  hairpin: false,
  mappingTimeoutMs: USUAL_MAPPING_TIMEOUT_MS,
  udp: true,
  mapsPorts: false,
};

const FULL_CONE: NatBehaviour = { ...PORT_RESTRICTED, filtering: 'independent' };
const ADDRESS_RESTRICTED: NatBehaviour = { ...PORT_RESTRICTED, filtering: 'address' };
const SYMMETRIC_SEQUENTIAL: NatBehaviour = {
  ...PORT_RESTRICTED,
  mapping: 'addressAndPort',
  portAllocation: 'sequential',
};
const SYMMETRIC_RANDOM: NatBehaviour = { ...SYMMETRIC_SEQUENTIAL, portAllocation: 'random' };
/** RFC 6888, REQ-1 and REQ-7: as RFC 4787 asks, and transparent to applications. */
const CARRIER_CONE: NatBehaviour = { ...FULL_CONE, portAllocation: 'random', hairpin: true };
const NO_UDP: NatBehaviour = { ...PORT_RESTRICTED, udp: false };

/** RFC 6092: what a home gateway does to IPv6. */
const FIREWALL: NatBehaviour = { ...PORT_RESTRICTED, translates: false };

const behind4 = (...ipv4: Boxes): Place => ({ ipv4, ipv6: null, tcpPorts: 'any' });

export const PLACES = {
  public: behind4(),
  fullCone: behind4(FULL_CONE),
  addressRestricted: behind4(ADDRESS_RESTRICTED),
  portRestricted: behind4(PORT_RESTRICTED),
  symmetricSequential: behind4(SYMMETRIC_SEQUENTIAL),
  symmetricRandom: behind4(SYMMETRIC_RANDOM),
  /** A router at home, behind the carrier's NAT (100.64.0.0/10, RFC 6598). */
  carrierCone: behind4(PORT_RESTRICTED, CARRIER_CONE),
  carrierSymmetric: behind4(PORT_RESTRICTED, SYMMETRIC_RANDOM),
  /** These two are about hosts on one LAN; towards others they are as `portRestricted`. */
  lanHairpin: behind4({ ...PORT_RESTRICTED, hairpin: true }),
  lanNoHairpin: behind4(PORT_RESTRICTED),
  ipv6Only: { ipv4: null, ipv6: [], tcpPorts: 'any' },
  /** IPv6 behind the usual firewall, IPv4 through a carrier's NAT that varies by destination, so that the family matters. */
  dualStack: { ipv4: [SYMMETRIC_RANDOM], ipv6: [FIREWALL], tcpPorts: 'any' },
  ipv6Firewall: { ipv4: null, ipv6: [FIREWALL], tcpPorts: 'any' },
  udpBlocked: behind4(NO_UDP),
  tcp443Only: { ipv4: [NO_UDP], ipv6: null, tcpPorts: [443] },
  shortMapping: behind4({ ...PORT_RESTRICTED, mappingTimeoutMs: SHORT_MAPPING_TIMEOUT_MS }),
} as const satisfies Readonly<Record<string, Place>>;

export type SiteKind = keyof typeof PLACES;

export const SITE_KINDS = Object.keys(PLACES) as readonly SiteKind[];

export function placeOf(kind: SiteKind): Place {
  return PLACES[kind];
}
