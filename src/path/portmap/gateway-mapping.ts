// One port of ours at one gateway: all protocols are looked for at the same time, the best that answers makes the mapping, and the
// others rest. Sans-IO: what comes from the gateway and what time it is go in, datagrams, requests and the next deadline come out.
// While nothing changes nothing happens but a renewal at half the lifetime; a gateway that was silent is asked again when the
// network changes, when it announces itself, and otherwise every half hour.

import { after, earliest, type Instant, latest, NEVER } from '../../base/instant.ts';
import { familyOf, formatEndpoint } from '../../base/ip.ts';
import { GatewayEpoch, natPmpStateKept, pcpStateKept } from './gateway-epoch.ts';
import { fraction, mappingOf } from './lease.ts';
import type { PortMapping, PortMapStatus } from './mapping.ts';
import type { ClientContext, GatewayHttpAnswer, MappingClient } from './mapping-client.ts';
import { NAT_PMP_RESULT, type NatPmpResponse, readNatPmp } from './nat-pmp.ts';
import { NatPmpClient } from './nat-pmp-client.ts';
import { isPublicAddress } from './outer-address.ts';
import { PCP_RESULT, type PcpResponse, readPcp } from './pcp.ts';
import { PcpClient } from './pcp-client.ts';
import { UpnpClient } from './upnp-client.ts';

/** A better protocol has this long to answer before a lesser one that was found maps. */
export const HEAD_START_MS = 500;
/** After everything failed. */
export const RETRY_MS = 1_800_000;
/** After a refusal that will pass; doubled each time, up to RETRY_MS. */
export const RETRY_MIN_MS = 60_000;
/** Between two beginnings that nobody asked for: lost mappings and announcements. */
export const BEGIN_GAP_MS = 60_000;
/** Between two that somebody asked for: a network that flaps. */
export const REFRESH_GAP_MS = 2_000;
/** RFC 6887 §14.1.3: after an announcement, up to so long, so that not everybody asks at once. */
export const ANNOUNCED_DELAY_MAX_MS = 5_000;
/** An announcement of one that has just begun is news though its clock fits: services start several times while a router boots. */
const JUST_BEGUN_S = 2;
/** Between two renewals for announcements, whoever sends them. */
export const ANNOUNCED_GAP_MS = 10_000;
/** Deletions are confirmed within this or not waited for. */
export const END_WITHIN_MS = 900;

export class GatewayMapping {
  readonly #context: ClientContext;
  readonly #pcp: PcpClient;
  readonly #natPmp: NatPmpClient | null;
  readonly #upnp: UpnpClient | null;
  /** The preferred first. */
  readonly #clients: readonly MappingClient[];
  readonly #epochs = { pcp: new GatewayEpoch(pcpStateKept), natpmp: new GatewayEpoch(natPmpStateKept) };
  readonly #heardEpochs = new Set<ServerProtocol>();
  #beginAt: Instant = NEVER;
  #begunAt: Instant | null = null;
  /** Null: over. */
  #headStartUntil: Instant | null = null;
  #refreshedAt: Instant | null = null;
  #renewAt: Instant = NEVER;
  #renewedAt: Instant | null = null;
  /** Beginnings in a row that came to nothing. */
  #failures = 0;
  #wasMapped = false;
  #endBy: Instant | null = null;
  #ended = false;
  /** Datagrams that were no answer to anything. */
  ignored = 0;

  /** IPv6 is for PCP alone: there it opens firewalls. */
  constructor(context: ClientContext) {
    this.#context = context;
    this.#pcp = new PcpClient(context);
    const isIpv4 = familyOf(context.gateway) === 4;
    this.#natPmp = isIpv4 ? new NatPmpClient(context) : null;
    this.#upnp = isIpv4 ? new UpnpClient(context) : null;
    this.#clients = [this.#pcp, this.#natPmp, this.#upnp].filter((client) => client !== null);
  }

  get deadline(): Instant {
    if (this.#ended) return NEVER;
    let next = this.#endBy ?? earliest(this.#beginAt, this.#renewAt);
    for (const client of this.#clients) next = earliest(next, client.deadline);
    const waits = this.#headStartUntil !== null && this.#clients.some(({ phase }) => phase === 'found');
    return waits ? earliest(next, this.#headStartUntil ?? NEVER) : next;
  }

  /** Those that others can use, each endpoint once. */
  get mappings(): readonly PortMapping[] {
    const found = new Map<string, PortMapping>();
    for (const { lease, protocol } of this.#clients) {
      if (lease === null || !isPublicAddress(lease.external.address)) continue;
      const mapping = mappingOf(lease, protocol, this.#context.gateway);
      if (!found.has(mapping.endpoint)) found.set(mapping.endpoint, mapping);
    }
    return [...found.values()];
  }

  get status(): readonly PortMapStatus[] {
    return this.#clients.map((client) => this.#statusOf(client));
  }

  /** After `end`: nothing is left to do. */
  get isEnded(): boolean {
    return this.#ended;
  }

  /** The first beginning, and whenever the network changed: what is mapped is asked for again, what failed is tried again. */
  refresh(now: Instant): void {
    if (this.#endBy !== null) return;
    const at = this.#refreshedAt === null ? now : latest(now, after(this.#refreshedAt, REFRESH_GAP_MS));
    this.#refreshedAt = at;
    this.#failures = 0;
    if (this.#isMapped) this.#renewAt = earliest(this.#renewAt, at);
    else if (!this.#isActive) this.#beginAt = earliest(this.#beginAt, at);
    this.handleDeadline(now);
  }

  /** Gives the mappings back; `isEnded` tells when. */
  end(now: Instant): void {
    if (this.#endBy !== null) return;
    this.#endBy = after(now, END_WITHIN_MS);
    for (const client of this.#clients) client.end(now);
    this.#settle(now);
  }

  /** A datagram from the gateway's SERVER_PORT. Borrowed. */
  handleServer(bytes: Uint8Array, now: Instant): void {
    const pcp = readPcp(bytes);
    const natPmp = pcp === null ? readNatPmp(bytes) : null;
    let taken = false;
    if (pcp !== null) taken = this.#handlePcp(pcp, now);
    else if (natPmp !== null) taken = this.#handleNatPmp(natPmp, now);
    if (!taken) this.ignored++;
    this.#settle(now);
  }

  /** ICMP: nobody listens at the gateway's SERVER_PORT. */
  handleServerUnreachable(now: Instant): void {
    this.#pcp.handleUnreachable();
    this.#natPmp?.handleUnreachable();
    this.#settle(now);
  }

  /** A datagram from the gateway to everybody's ANNOUNCEMENT_PORT. Borrowed. */
  handleAnnouncement(bytes: Uint8Array, now: Instant): void {
    const pcp = readPcp(bytes);
    const natPmp = pcp === null ? readNatPmp(bytes) : null;
    if (pcp?.kind === 'announce' && pcp.result === PCP_RESULT.success) {
      if (this.#isNews('pcp', pcp.epochSeconds, now)) this.#stateLost(now);
    } else if (natPmp?.kind === 'address') {
      const moved = this.#clients.some(({ lease }) => lease !== null && lease.external.address !== natPmp.address);
      if (this.#isNews('natpmp', natPmp.epochSeconds, now) || moved) this.#stateLost(now);
    } else {
      this.ignored++;
    }
  }

  /** A datagram from the gateway to where searches are sent from. Borrowed. */
  handleSearchAnswer(bytes: Uint8Array, now: Instant): void {
    if (this.#upnp?.handleSearchAnswer(bytes, now) !== true) this.ignored++;
    this.#settle(now);
  }

  handleHttp(id: number, answer: GatewayHttpAnswer, now: Instant): void {
    this.#upnp?.handleHttp(id, answer, now);
    this.#settle(now);
  }

  handleDeadline(now: Instant): void {
    if (this.#ended) return;
    for (const client of this.#clients) if (now >= client.deadline) client.handleDeadline(now);
    if (this.#endBy !== null) {
      this.#settle(now);
      return;
    }
    if (now >= this.#beginAt) this.#begin(now);
    if (now >= this.#renewAt) {
      this.#renewAt = NEVER;
      this.#renewedAt = now;
      for (const client of this.#clients) client.renew(now);
    }
    if (this.#headStartUntil !== null && now >= this.#headStartUntil) this.#headStartUntil = null;
    this.#settle(now);
  }

  get #isMapped(): boolean {
    return this.#clients.some(({ phase }) => phase === 'mapped');
  }

  get #isActive(): boolean {
    return this.#clients.some(isActive);
  }

  #begin(now: Instant): void {
    this.#beginAt = NEVER;
    this.#begunAt = now;
    this.#headStartUntil = after(now, HEAD_START_MS);
    for (const client of this.#clients) client.begin(now);
  }

  #handlePcp(response: PcpResponse, now: Instant): boolean {
    if (response.kind === 'map') {
      const taken = this.#pcp.handleResponse(response, now);
      if (taken) this.#heard('pcp', response.epochSeconds, now);
      return taken;
    }
    if (response.result === PCP_RESULT.success) {
      if (this.#isNews('pcp', response.epochSeconds, now)) this.#stateLost(now);
      return true;
    }
    // RFC 6887, appendix A: what a server that knows PCP alone says to NAT-PMP.
    if (response.result === PCP_RESULT.unsupportedVersion) this.#natPmp?.handleOtherVersion();
    return response.result === PCP_RESULT.unsupportedVersion;
  }

  #handleNatPmp(response: NatPmpResponse, now: Instant): boolean {
    if (response.kind === 'error' && response.result === NAT_PMP_RESULT.unsupportedVersion) {
      this.#pcp.handleOtherVersion();
      return true;
    }
    const taken = this.#natPmp?.handleResponse(response, now) ?? false;
    if (taken) this.#heard('natpmp', response.epochSeconds, now);
    return taken;
  }

  #heard(protocol: ServerProtocol, seconds: number, now: Instant): boolean {
    this.#heardEpochs.add(protocol);
    return this.#epochs[protocol].hasReset(seconds, now);
  }

  /** Of an announcement: it tells something that its answers did not. */
  #isNews(protocol: ServerProtocol, seconds: number, now: Instant): boolean {
    const first = !this.#heardEpochs.has(protocol);
    return this.#heard(protocol, seconds, now) || first || seconds <= JUST_BEGUN_S;
  }

  /** It began anew, or has never been heard: what was mapped may be gone, what was not may work now. */
  #stateLost(now: Instant): void {
    if (this.#endBy !== null) return;
    const at = after(now, fraction(this.#context.random) * ANNOUNCED_DELAY_MAX_MS);
    if (this.#isMapped) {
      const allowed = this.#renewedAt === null ? at : latest(at, after(this.#renewedAt, ANNOUNCED_GAP_MS));
      this.#renewAt = earliest(this.#renewAt, allowed);
    } else if (!this.#isActive) {
      this.#beginAt = earliest(this.#beginAt, this.#notTooSoon(at));
    }
  }

  #notTooSoon(at: Instant): Instant {
    return this.#begunAt === null ? at : latest(at, after(this.#begunAt, BEGIN_GAP_MS));
  }

  /** Who may map, who may rest, and when to try again. */
  #settle(now: Instant): void {
    if (this.#endBy !== null) {
      this.#ended = now >= this.#endBy || this.#clients.every(({ phase }) => phase !== 'deleting');
      return;
    }
    if (this.#isMapped) {
      this.#wasMapped = true;
      this.#failures = 0;
      this.#beginAt = NEVER;
      for (const client of this.#clients) client.rest();
      return;
    }
    for (const client of this.#clients) {
      if (client.phase === 'found' && !this.#mustWait(client)) client.allow(now);
    }
    if (this.#isActive || this.#begunAt === null || this.#beginAt !== NEVER) return;
    if (this.#wasMapped) {
      this.#wasMapped = false;
      this.#beginAt = this.#notTooSoon(now);
    } else {
      this.#beginAt = after(now, this.#retryDelayMs());
      this.#failures++;
    }
  }

  /** A better one may still answer. One that maps is waited for; PCP's question is its mapping, and may never be answered. */
  #mustWait(client: MappingClient): boolean {
    const better = this.#clients.slice(0, this.#clients.indexOf(client)).filter(isActive);
    if (this.#headStartUntil !== null) return better.length > 0;
    return better.some((other) => other.phase === 'mapping' && other !== this.#pcp);
  }

  #retryDelayMs(): number {
    const passing = this.#clients.flatMap(({ outcome }) => outcome?.retryAfterMs ?? []);
    const first = passing.length === 0 ? RETRY_MS : Math.max(RETRY_MIN_MS, Math.min(...passing));
    const delay = Math.min(RETRY_MS, first * 2 ** Math.min(this.#failures, 5));
    return delay * (1 + fraction(this.#context.random) / 8);
  }

  #statusOf(client: MappingClient): PortMapStatus {
    const { protocol, lease, phase, outcome } = client;
    const common = { protocol, gateway: this.#context.gateway };
    const without = { ...common, external: null, doubleNat: false };
    if (lease !== null) {
      const { address, port } = lease.external;
      const doubleNat = !isPublicAddress(address);
      const why = doubleNat
        ? `its own address outside, ${address}, is no public one: there is another NAT behind it`
        : null;
      return { ...common, state: 'mapped', external: formatEndpoint(address, port), doubleNat, why };
    }
    if (phase === 'ended' && outcome !== null) return { ...without, state: outcome.state, why: outcome.why };
    if (isActive(client)) return { ...without, state: 'trying', why: null };
    return { ...without, state: 'none', why: this.#isMapped ? 'not needed: another protocol has mapped' : null };
  }
}

/** What answers at SERVER_PORT. */
type ServerProtocol = 'pcp' | 'natpmp';

function isActive({ phase }: MappingClient): boolean {
  return phase === 'probing' || phase === 'found' || phase === 'mapping';
}
