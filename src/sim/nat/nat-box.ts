// One box on the way out, as kinds.ts tells it: a NAT by RFC 4787 (mapping §4.1, allocation of ports §4.2, refresh §4.3,
// filtering §5, hairpinning §6) or a stateful firewall (RFC 6092), which is the same without translation. Deterministic: ports
// are drawn from the generator given. Leaves out overloading of ports between hosts (REQ-3 forbids it), parity, pools of
// addresses, and everything but UDP.

import type { Instant } from '../../base/instant.ts';
import { type Endpoint, endpointParts, formatEndpoint, type IpAddress } from '../../base/ip.ts';
import type { Prng } from '../../base/prng.ts';
import type { NatBehaviour } from './kinds.ts';

/** Mappings of one box; with more, the one that was quiet for longest makes room. */
export const MAPPINGS_MAX = 1_024;
/** Destinations that one mapping remembers to have been sent to; the same. */
export const PERMITS_MAX = 256;
/** §4.2.1: a port of the application's range is mapped to one of it. */
export const PORT_MIN = 1_024;
export const PORT_MAX = 65_535;
const PORTS = PORT_MAX - PORT_MIN + 1;

export interface NatBoxOptions {
  readonly behaviour: NatBehaviour;
  /** Null when it does not translate. */
  readonly external: IpAddress | null;
  readonly prng: Prng;
  /** §4.3: what comes in keeps a mapping, too. Default false; REQ-6 wants outbound refresh alone. */
  readonly inboundRefreshes?: boolean;
  /** Default MAPPINGS_MAX. */
  readonly mappingsMax?: number;
}

interface Mapping {
  readonly key: string;
  readonly internal: Endpoint;
  readonly external: Endpoint;
  /** Of what `filtering` depends on, when it was sent to last. */
  readonly permits: Map<string, Instant>;
  usedAt: Instant;
  /** Asked for by a host (PCP): anybody may come in until then. */
  openUntil: Instant;
}

export interface NatCounts {
  created: number;
  expired: number;
  evicted: number;
  /** Inbound: to no mapping, and from somebody who was not sent to. */
  unmapped: number;
  filtered: number;
  portsExhausted: number;
}

export class NatBox {
  readonly behaviour: NatBehaviour;
  readonly counts: NatCounts = { created: 0, expired: 0, evicted: 0, unmapped: 0, filtered: 0, portsExhausted: 0 };
  readonly #prng: Prng;
  readonly #inboundRefreshes: boolean;
  readonly #mappingsMax: number;
  #external: IpAddress | null;
  /** In the order of their last use. */
  readonly #byKey = new Map<string, Mapping>();
  readonly #byExternal = new Map<Endpoint, Mapping>();
  #nextPort: number;
  /** Ports that are not given again for now: those in use before the last rebinding. */
  #retired: ReadonlySet<Endpoint> = new Set();

  constructor(options: NatBoxOptions) {
    this.behaviour = options.behaviour;
    this.#external = options.external;
    this.#prng = options.prng;
    this.#inboundRefreshes = options.inboundRefreshes ?? false;
    this.#mappingsMax = options.mappingsMax ?? MAPPINGS_MAX;
    this.#nextPort = options.prng.nextInt(PORT_MIN, PORT_MAX);
  }

  /** Null when it does not translate. */
  get external(): IpAddress | null {
    return this.#external;
  }

  /** Mappings that it holds, those that have run out and were not looked at since included. */
  get size(): number {
    return this.#byKey.size;
  }

  /** What a datagram from inside has as its source when it leaves; null: it does not leave. */
  outbound(source: Endpoint, destination: Endpoint, now: Instant): Endpoint | null {
    if (!this.behaviour.udp) return null;
    const mapping = this.#mappingFor(source, destination, now);
    if (mapping === null) return null;
    this.#used(mapping, now);
    this.#permit(mapping, this.#filterKeyOf(destination), now);
    return mapping.external;
  }

  /** To which host inside a datagram from outside goes; null: to none. */
  inbound(source: Endpoint, destination: Endpoint, now: Instant): Endpoint | null {
    if (!this.behaviour.udp) return null;
    const mapping = this.#live(this.#byExternal.get(destination), now);
    if (mapping === null) {
      this.counts.unmapped++;
      return null;
    }
    if (!this.#isPermitted(mapping, source, now)) {
      this.counts.filtered++;
      return null;
    }
    if (this.#inboundRefreshes) {
      this.#used(mapping, now);
      this.#permit(mapping, this.#filterKeyOf(source), now);
    }
    return mapping.internal;
  }

  /**
   * A host's request for a mapping that lets everybody in (PCP MAP, RFC 6887). What it is reached at; null when it is not
   * offered, or the box has no such port.
   */
  mapPort(internal: Endpoint, lifetimeMs: number, now: Instant): Endpoint | null {
    if (!this.behaviour.udp || !this.behaviour.mapsPorts) return null;
    const mapping = this.#live(this.#byKey.get(internal), now) ?? this.#create(internal, internal, now);
    if (mapping === null) return null;
    mapping.openUntil = (now + lifetimeMs) as Instant;
    return mapping.external;
  }

  /** Forgets every mapping; the next datagram of each host leaves from another port than the last. */
  rebind(): void {
    this.#retired = new Set(this.#byExternal.keys());
    this.#forgetAll();
  }

  /** Forgets everything, and may come back with another address. */
  reboot(external: IpAddress | null = this.#external): void {
    this.#retired = new Set();
    this.#forgetAll();
    this.#external = external;
    this.#nextPort = this.#prng.nextInt(PORT_MIN, PORT_MAX);
  }

  #forgetAll(): void {
    this.#byKey.clear();
    this.#byExternal.clear();
  }

  // — mappings —

  #mappingFor(source: Endpoint, destination: Endpoint, now: Instant): Mapping | null {
    const { translates, mapping, portAllocation } = this.behaviour;
    // For all destinations: whatever depends on none, a port that is kept (which is nobody else's), one that was asked for.
    const forAll = this.#live(this.#byKey.get(source), now);
    if (forAll !== null) return forAll;
    if (
      !translates ||
      mapping === 'independent' ||
      (portAllocation === 'preserve' && this.#isFree(this.#kept(source), now))
    ) {
      return this.#create(source, source, now);
    }
    const key = `${source}>${mapping === 'address' ? addressOf(destination) : destination}`;
    return this.#live(this.#byKey.get(key), now) ?? this.#create(key, source, now);
  }

  #live(mapping: Mapping | undefined, now: Instant): Mapping | null {
    if (mapping === undefined) return null;
    if (now - mapping.usedAt < this.behaviour.mappingTimeoutMs || now < mapping.openUntil) return mapping;
    this.counts.expired++;
    this.#remove(mapping);
    return null;
  }

  #create(key: string, internal: Endpoint, now: Instant): Mapping | null {
    if (this.#byKey.size >= this.#mappingsMax) this.#makeRoom(now);
    const external = this.#allocate(internal, now);
    if (external === null) {
      this.counts.portsExhausted++;
      return null;
    }
    const mapping: Mapping = { key, internal, external, permits: new Map(), usedAt: now, openUntil: now };
    this.counts.created++;
    this.#byKey.set(key, mapping);
    this.#byExternal.set(external, mapping);
    return mapping;
  }

  /** For one. The first is the one that was used the longest ago. */
  #makeRoom(now: Instant): void {
    const [first] = this.#byKey.values();
    if (first === undefined || this.#live(first, now) === null) return;
    this.counts.evicted++;
    this.#remove(first);
  }

  #remove(mapping: Mapping): void {
    this.#byKey.delete(mapping.key);
    this.#byExternal.delete(mapping.external);
  }

  #used(mapping: Mapping, now: Instant): void {
    mapping.usedAt = now;
    this.#byKey.delete(mapping.key);
    this.#byKey.set(mapping.key, mapping);
  }

  // — ports (§4.2) —

  #allocate(internal: Endpoint, now: Instant): Endpoint | null {
    if (this.#external === null) return internal;
    const { portAllocation } = this.behaviour;
    if (portAllocation === 'random') return this.#firstFree(this.#prng.nextInt(PORT_MIN, PORT_MAX), now);
    if (portAllocation === 'preserve') return this.#firstFree(endpointParts(internal).port, now);
    const external = this.#firstFree(this.#nextPort, now);
    if (external !== null) this.#nextPort = followed(endpointParts(external).port);
    return external;
  }

  #kept(internal: Endpoint): Endpoint {
    return formatEndpoint(this.#external as IpAddress, endpointParts(internal).port);
  }

  #isFree(external: Endpoint, now: Instant): boolean {
    return this.#live(this.#byExternal.get(external), now) === null && !this.#retired.has(external);
  }

  /** That port, or the first behind it that nobody has. */
  #firstFree(first: number, now: Instant): Endpoint | null {
    let port = Math.max(PORT_MIN, first);
    for (let tries = 0; tries < PORTS; tries++, port = followed(port)) {
      const external = formatEndpoint(this.#external as IpAddress, port);
      if (this.#isFree(external, now)) return external;
    }
    return null;
  }

  // — filtering (§5) —

  #filterKeyOf(remote: Endpoint): string {
    const { filtering } = this.behaviour;
    if (filtering === 'independent') return '';
    return filtering === 'address' ? addressOf(remote) : remote;
  }

  #isPermitted(mapping: Mapping, source: Endpoint, now: Instant): boolean {
    if (this.behaviour.filtering === 'independent' || now < mapping.openUntil) return true;
    const at = mapping.permits.get(this.#filterKeyOf(source));
    return at !== undefined && now - at < this.behaviour.mappingTimeoutMs;
  }

  #permit(mapping: Mapping, key: string, now: Instant): void {
    const { permits } = mapping;
    permits.delete(key);
    permits.set(key, now);
    if (permits.size <= PERMITS_MAX) return;
    const oldest = permits.keys().next();
    if (!oldest.done) permits.delete(oldest.value);
  }
}

function followed(port: number): number {
  return port >= PORT_MAX ? PORT_MIN : port + 1;
}

/** As text; all that is needed of it is to be compared. */
function addressOf(endpoint: Endpoint): string {
  return endpoint.slice(0, endpoint.lastIndexOf(':'));
}
