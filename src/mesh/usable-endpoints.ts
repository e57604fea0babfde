// Which addresses of others are worth a datagram. What a peer or the controller says of addresses is taken with care: one
// inside the mesh would lead the tunnel into itself, a multicast or broadcast address would make us a multiplier, and
// loopback is a way to other nodes only where all of them are on one machine.

import {
  type Endpoint,
  endpointParts,
  type IpAddress,
  type IpPrefix,
  parseAddressBytes,
  prefixParts,
} from '../base/ip.ts';
import { CANDIDATES_MAX, type Candidate } from '../protocol/values.ts';

/** What a link's prefix usually is: RFC 4291 §2.5.1, and what routers of small networks give out. */
const LINK_LENGTH_4 = 24;
const LINK_LENGTH_6 = 64;

/** Ports of one address that are tried for one peer: enough for a NAT and its mappings, too few to be a burst at a third party. */
export const PORTS_OF_ADDRESS_MAX = 4;

interface Prefix {
  readonly bytes: Uint8Array;
  readonly length: number;
}

export class UsableEndpoints {
  #inside: readonly Prefix[] = [];
  #own: ReadonlySet<Endpoint> = new Set();
  /** Of the links that we are on, as far as our addresses tell. */
  #links: readonly Prefix[] = [];
  #loopback = false;

  /** The mesh's own ranges; none: what may be inside is not known, so nothing is. */
  setInside(prefixes: readonly IpPrefix[]): void {
    this.#inside = prefixes.map((prefix) => prefixParts(prefix));
  }

  /** Where we are ourselves. */
  setOwn(candidates: readonly Candidate[]): void {
    this.#own = new Set(candidates.map(({ endpoint }) => endpoint));
    this.#links = candidates
      .filter(({ kind }) => kind === 'host')
      .map(({ endpoint }) => {
        const bytes = bytesOf(endpointParts(endpoint).address);
        return { bytes, length: bytes.length === 4 ? LINK_LENGTH_4 : LINK_LENGTH_6 };
      });
    this.#loopback = candidates.some(({ endpoint }) => isLoopback(bytesOf(endpointParts(endpoint).address)));
  }

  /** Whether a node of the mesh may have it. */
  isInside(address: IpAddress): boolean {
    const bytes = bytesOf(address);
    return this.#inside.some((prefix) => isWithin(bytes, prefix));
  }

  isOwn(endpoint: Endpoint): boolean {
    return this.#own.has(endpoint);
  }

  /** Whether it is on a link that we are on. The lengths of prefixes are not told: those that are usual are taken for it. */
  isSameLink(endpoint: Endpoint): boolean {
    const bytes = bytesOf(endpointParts(endpoint).address);
    return this.#links.some((link) => isWithin(bytes, link));
  }

  isUsable(endpoint: Endpoint): boolean {
    const { address, scopeId } = endpointParts(endpoint);
    const bytes = bytesOf(address);
    if (scopeId !== 0 || bytes.length === 0 || !isUnicast(bytes)) return false;
    if (isLoopback(bytes) && !this.#loopback) return false;
    return !this.#inside.some((prefix) => isWithin(bytes, prefix));
  }

  first(candidates: readonly Candidate[]): Endpoint | null {
    return candidates.find(({ endpoint }) => this.isUsable(endpoint))?.endpoint ?? null;
  }

  /** Usable ones of the lists, in order, each endpoint once, at most CANDIDATES_MAX and PORTS_OF_ADDRESS_MAX. */
  choose(...lists: readonly (readonly Candidate[])[]): Candidate[] {
    const seen = new Set<Endpoint>();
    const ports = new Map<IpAddress, number>();
    const chosen: Candidate[] = [];
    for (const list of lists) {
      for (const candidate of list) {
        if (chosen.length >= CANDIDATES_MAX) return chosen;
        if (seen.has(candidate.endpoint) || !this.isUsable(candidate.endpoint)) continue;
        seen.add(candidate.endpoint);
        const { address } = endpointParts(candidate.endpoint);
        const known = ports.get(address) ?? 0;
        if (known >= PORTS_OF_ADDRESS_MAX) continue;
        ports.set(address, known + 1);
        chosen.push(candidate);
      }
    }
    return chosen;
  }
}

function bytesOf(address: IpAddress): Uint8Array {
  return parseAddressBytes(address) ?? new Uint8Array(0);
}

function isUnicast(bytes: Uint8Array): boolean {
  const first = bytes[0] as number;
  if (bytes.length === 4) return first !== 0 && first < 224;
  // Discarded everywhere (RFC 6666), and the spelling of relayed endpoints, which nobody else can give us.
  if (first === 1 && bytes.subarray(1, 8).every((byte) => byte === 0)) return false;
  // Unspecified, multicast and link-local: the last means nothing without its interface.
  if (first === 0xff || (first === 0xfe && ((bytes[1] as number) & 0xc0) === 0x80)) return false;
  return bytes.some((byte) => byte !== 0);
}

function isLoopback(bytes: Uint8Array): boolean {
  if (bytes.length === 4) return bytes[0] === 127;
  return bytes[15] === 1 && bytes.subarray(0, 15).every((byte) => byte === 0);
}

function isWithin(bytes: Uint8Array, prefix: Prefix): boolean {
  if (bytes.length !== prefix.bytes.length) return false;
  for (let bit = 0; bit < prefix.length; bit += 8) {
    const mask = (0xff00 >> Math.min(8, prefix.length - bit)) & 255;
    if ((((bytes[bit / 8] as number) ^ (prefix.bytes[bit / 8] as number)) & mask) !== 0) return false;
  }
  return true;
}
