// UPnP-IGD's part: the search, the description, the first service that has an address outside, and then a mapping (WANIPConnection:1
// and :2, §2.4). One HTTP request at a time, all of them at the gateway's own address. A port that somebody else has is
// answered with others; a gateway that knows no leases gets one for ever, which is given back when we stop.

import { after, earliest, type Instant, NEVER } from '../../base/instant.ts';
import type { IpAddress } from '../../base/ip.ts';
import {
  canChoosePort,
  externalAddressOf,
  type IgdAction,
  type IgdService,
  readServices,
  readSoap,
  reservedPortOf,
  soapAction,
  UPNP_ERROR,
  writeSoap,
} from './igd.ts';
import { fraction, LIFETIME_S } from './lease.ts';
import { type GatewayHttpAnswer, MappingClient } from './mapping-client.ts';
import { type GatewayPlace, readSearchAnswer, SEARCH_TARGETS, SSDP_GROUP, writeSearch } from './ssdp.ts';

/** After each search, the wait for answers; devices may take a second. */
export const SEARCH_WAITS_MS = [1_000, 2_500] as const;
/** Descriptions that the gateway may have; more are not looked at. */
export const PLACES_MAX = 4;
/** Far above what the shell lets a request take: it catches one that is never answered. */
export const HTTP_TIMEOUT_MS = 10_000;
/** Requests for a mapping, with other ports or another lease, before it is given up. */
export const TRIES_MAX = 5;
const DESCRIPTION_BYTES_MAX = 65_536;
const SOAP_BYTES_MAX = 16_384;
/** Ports that are tried when ours is taken: the dynamic ones. */
const OTHER_PORTS = { first: 49_152, count: 16_384 } as const;

type Add = Extract<IgdAction, { readonly leaseSeconds: number }>;

type Call =
  | { readonly kind: 'describe'; readonly place: GatewayPlace }
  | { readonly kind: 'act'; readonly service: IgdService; readonly action: IgdAction };

export class UpnpClient extends MappingClient {
  readonly protocol = 'upnp';
  #search: { sent: number; nextAt: Instant } | null = null;
  /** Found by the search; those before `#placesUsed` have been looked at. */
  #places: GatewayPlace[] = [];
  #placesUsed = 0;
  /** Of the description that was read last, not asked yet. */
  #services: IgdService[] = [];
  #service: IgdService | null = null;
  #address: IpAddress | null = null;
  #call: { readonly id: number; readonly what: Call; readonly limit: Instant } | null = null;
  #ids = 0;
  /** Asked for and not answered yet: to be deleted, should we stop now. */
  #adding: Add | null = null;
  #leaseSeconds = LIFETIME_S;
  #tries = 0;
  /** Why the last thing that was tried came to nothing. */
  #why = '';

  /** `bytes`: from the gateway. False: no answer to the search. */
  handleSearchAnswer(bytes: Uint8Array, now: Instant): boolean {
    const place = readSearchAnswer(bytes, this.context.gateway);
    if (place === null || this.#search === null) return false;
    const known = this.#places.some(({ port, path }) => port === place.port && path === place.path);
    if (known || this.#places.length >= PLACES_MAX) return true;
    this.#places.push(place);
    if (this.#call === null) this.#look(now);
    return true;
  }

  handleHttp(id: number, answer: GatewayHttpAnswer, now: Instant): void {
    if (this.#call?.id !== id) return;
    const { what } = this.#call;
    this.#call = null;
    if (what.kind === 'describe') this.#described(what.place, answer, now);
    else this.#acted(what.service, what.action, answer, now);
  }

  protected get isBusy(): boolean {
    return this.#call !== null || this.#search !== null;
  }

  protected get workDeadline(): Instant {
    return earliest(this.#call?.limit ?? NEVER, this.#search?.nextAt ?? NEVER);
  }

  protected probe(now: Instant): void {
    this.#why = 'no answer to the search for a UPnP gateway';
    this.setPhase('probing');
    this.#beginSearch(now);
  }

  protected map(now: Instant): void {
    this.setPhase('mapping');
    this.#tries = 0;
    this.#add('AddPortMapping', this.last?.port ?? this.context.port, now);
  }

  /** The address may have changed as well. */
  protected ask(now: Instant): void {
    this.#tries = 0;
    if (this.#service === null) this.#beginSearch(now);
    else this.#act(this.#service, { name: 'GetExternalIPAddress' }, now);
  }

  protected remove(now: Instant): void {
    const externalPort = this.#adding?.externalPort ?? this.last?.port;
    this.#adding = null;
    if (this.#service === null || externalPort === undefined) this.setPhase('idle');
    else this.#act(this.#service, { name: 'DeletePortMapping', externalPort }, now);
  }

  protected cancel(): void {
    this.#call = null;
    this.#endSearch();
  }

  protected handleWork(now: Instant): void {
    if (this.#call !== null && now >= this.#call.limit) {
      this.handleHttp(this.#call.id, { ok: false, why: 'it took too long' }, now);
    }
    const search = this.#search;
    if (search === null || now < search.nextAt) return;
    if (search.sent < SEARCH_WAITS_MS.length) {
      this.#sendSearch(search, now);
    } else {
      this.#endSearch();
      if (this.#call === null) this.#look(now);
    }
  }

  // — finding the service —

  #beginSearch(now: Instant): void {
    this.#places = [];
    this.#placesUsed = 0;
    this.#services = [];
    this.#service = null;
    this.#search = { sent: 0, nextAt: now };
    this.#sendSearch(this.#search, now);
  }

  #sendSearch(search: { sent: number; nextAt: Instant }, now: Instant): void {
    search.nextAt = after(now, SEARCH_WAITS_MS[search.sent] as number);
    search.sent++;
    const { gateway, outputs } = this.context;
    for (const to of [SSDP_GROUP, gateway]) {
      for (const target of SEARCH_TARGETS) outputs.search(writeSearch(target, to), to);
    }
  }

  #endSearch(): void {
    if (this.#search === null) return;
    this.#search = null;
    this.context.outputs.searchOver();
  }

  /** The next service or description, one after another; nothing while the search may bring more. */
  #look(now: Instant): void {
    const service = this.#services.shift();
    if (service !== undefined) {
      this.#act(service, { name: 'GetExternalIPAddress' }, now);
      return;
    }
    const place = this.#places[this.#placesUsed];
    if (place !== undefined) {
      this.#placesUsed++;
      const what: Call = { kind: 'describe', place };
      this.#request(what, 'GET', place, {}, '', now);
      return;
    }
    if (this.#search !== null) return;
    if (this.phase === 'mapped') this.postpone(now);
    else this.failed('unsupported', this.#why);
  }

  #described(place: GatewayPlace, answer: GatewayHttpAnswer, now: Instant): void {
    if (!answer.ok) {
      this.#why = `its UPnP description cannot be had: ${answer.why}`;
    } else if (answer.status !== 200) {
      this.#why = `its UPnP description cannot be had: HTTP status ${answer.status}`;
    } else {
      this.#services = readServices(answer.body, place, this.context.gateway);
      if (this.#services.length === 0) this.#why = 'its UPnP description has no service that maps ports';
    }
    this.#look(now);
  }

  // — asking it —

  #acted(service: IgdService, action: IgdAction, answer: GatewayHttpAnswer, now: Instant): void {
    if (action.name === 'DeletePortMapping') {
      // Whether it was there or not: it is not now, or nobody can tell.
      this.setPhase('idle');
      return;
    }
    if (!answer.ok) {
      this.#unanswered(answer.why, now);
      return;
    }
    const result = readSoap(action, answer.status, answer.body);
    if (action.name === 'GetExternalIPAddress') {
      const address = result.ok ? externalAddressOf(result.values) : null;
      if (address === null || address === '0.0.0.0') {
        this.#why = 'its UPnP service has no address outside at the moment';
        this.#look(now);
      } else {
        this.#foundService(service, address, now);
      }
    } else if (result.ok) {
      this.#adding = null;
      const port = action.name === 'AddPortMapping' ? action.externalPort : reservedPortOf(result.values);
      const external = { address: this.#address ?? ('0.0.0.0' as IpAddress), port: port ?? 0 };
      this.granted(external, this.#leaseSeconds, this.#leaseSeconds === 0, now);
    } else {
      this.#notAdded(service, action, result.error, now);
    }
  }

  #foundService(service: IgdService, address: IpAddress, now: Instant): void {
    this.#endSearch();
    this.#service = service;
    this.#address = address;
    this.#leaseSeconds = this.phase === 'mapped' ? this.#leaseSeconds : LIFETIME_S;
    if (this.phase === 'mapped') this.#add('AddPortMapping', this.last?.port ?? this.context.port, now);
    else this.setPhase('found');
  }

  /** With a mapping the gateway may have been started again, and have its service at another port. */
  #unanswered(why: string, now: Instant): void {
    this.#why = `its UPnP service did not answer: ${why}`;
    this.#adding = null;
    if (this.phase === 'probing') this.#look(now);
    else if (this.phase === 'mapping') this.failed('unsupported', this.#why);
    else if (this.#search === null && this.#service !== null) this.#beginSearch(now);
    else this.#look(now);
  }

  #notAdded(service: IgdService, action: Add, error: number | null, now: Instant): void {
    this.#adding = null;
    if (this.#tries < TRIES_MAX) {
      switch (error) {
        case UPNP_ERROR.onlyPermanentLeases:
          this.#leaseSeconds = 0;
          this.#add(action.name, action.externalPort, now);
          return;
        case UPNP_ERROR.conflict:
        case UPNP_ERROR.conflictWithOther:
          if (canChoosePort(service) && action.name === 'AddPortMapping' && this.#tries === 1) {
            this.#add('AddAnyPortMapping', action.externalPort, now);
          } else {
            this.#add('AddPortMapping', this.#otherPort(), now);
          }
          return;
        case UPNP_ERROR.invalidAction:
        case UPNP_ERROR.notImplemented:
          if (action.name === 'AddPortMapping') break;
          this.#add('AddPortMapping', this.#otherPort(), now);
          return;
        default:
          break;
      }
    }
    this.failed('refused', explained(error));
  }

  #otherPort(): number {
    return OTHER_PORTS.first + Math.floor(fraction(this.context.random) * OTHER_PORTS.count);
  }

  #add(name: Add['name'], externalPort: number, now: Instant): void {
    if (this.#service === null) return;
    const { local, port } = this.context;
    this.#tries++;
    this.#adding = { name, externalPort, local, port, leaseSeconds: this.#leaseSeconds };
    this.#act(this.#service, this.#adding, now);
  }

  #act(service: IgdService, action: IgdAction, now: Instant): void {
    const headers = { 'Content-Type': 'text/xml; charset="utf-8"', SOAPAction: soapAction(service, action) };
    const what: Call = { kind: 'act', service, action };
    this.#request(what, 'POST', service.control, headers, writeSoap(service, action), now);
  }

  #request(
    what: Call,
    method: 'GET' | 'POST',
    place: GatewayPlace,
    headers: Readonly<Record<string, string>>,
    body: string,
    now: Instant,
  ): void {
    const id = ++this.#ids;
    this.#call = { id, what, limit: after(now, HTTP_TIMEOUT_MS) };
    const bodyBytesMax = what.kind === 'describe' ? DESCRIPTION_BYTES_MAX : SOAP_BYTES_MAX;
    this.context.outputs.http(id, { method, ...place, headers, body, bodyBytesMax });
  }
}

function explained(error: number | null): string {
  switch (error) {
    case UPNP_ERROR.notAuthorized:
      return 'its settings forbid mappings for this machine';
    case UPNP_ERROR.conflict:
    case UPNP_ERROR.conflictWithOther:
      return 'the outer ports that were tried belong to others';
    case UPNP_ERROR.samePortRequired:
      return 'it maps only to the same port outside, and that belongs to another';
    case UPNP_ERROR.noPortMapsAvailable:
      return 'it has no room for more mappings';
    case null:
      return 'its UPnP service answered what cannot be understood';
    default:
      return `its UPnP service answered with error ${error}`;
  }
}
