// UPnP Internet Gateway Device, versions 1 and 2: the services of a description that make port mappings, and the actions of
// WANIPConnection and WANPPPConnection that are used, as SOAP 1.1 (UPnP Device Architecture 1.1, §3). Text in, text out. Leaves out
// events, service descriptions, and IPv6 (WANIPv6FirewallControl): PCP does that.

import { type IpAddress, parseAddress } from '../../base/ip.ts';
import { type GatewayPlace, readPlace, resolvePlace } from './ssdp.ts';
import { readXml } from './xml.ts';

/** Of one description; a router with several lines has one each. */
export const SERVICES_MAX = 4;
/** What people see in the list of their router. */
const DESCRIPTION = 'warren';

/** UPnP errors that mean something to us (WANIPConnection:2 §2.5, Device Architecture §3.2.2). */
export const UPNP_ERROR = {
  invalidAction: 401,
  notImplemented: 602,
  notAuthorized: 606,
  noSuchEntry: 714,
  conflict: 718,
  samePortRequired: 724,
  onlyPermanentLeases: 725,
  noPortMapsAvailable: 728,
  conflictWithOther: 729,
} as const;

export interface IgdService {
  /** `urn:schemas-upnp-org:service:WANIPConnection:1` */
  readonly type: string;
  readonly control: GatewayPlace;
}

export type IgdAction =
  | { readonly name: 'GetExternalIPAddress' }
  | {
      readonly name: 'AddPortMapping' | 'AddAnyPortMapping';
      readonly externalPort: number;
      readonly local: IpAddress;
      readonly port: number;
      /** 0: for ever. */
      readonly leaseSeconds: number;
    }
  | { readonly name: 'DeletePortMapping'; readonly externalPort: number };

export type SoapAnswer =
  | { readonly ok: true; readonly values: ReadonlyMap<string, string> }
  /** `error`: of UPnP; null when the answer says none that can be read. */
  | { readonly ok: false; readonly error: number | null };

/** The best first. A type that is not among them is none of ours. */
const TYPES = ['WANIPConnection:2', 'WANIPConnection:1', 'WANPPPConnection:1'].map(
  (name) => `urn:schemas-upnp-org:service:${name}`,
);

/** Of `description`, which came from `base` at the gateway; at most SERVICES_MAX. */
export function readServices(description: string, base: GatewayPlace, gateway: IpAddress): IgdService[] {
  const found: IgdService[] = [];
  let from = base;
  let type = '';
  let control = '';
  for (const tag of readXml(description)) {
    if (tag.name === 'service' && tag.kind === 'open') {
      type = '';
      control = '';
    } else if (tag.kind === 'close' && tag.name === 'serviceType') {
      type = tag.text;
    } else if (tag.kind === 'close' && tag.name === 'controlURL') {
      control = tag.text;
    } else if (tag.kind === 'close' && tag.name === 'URLBase') {
      // Of version 1.0: what relative references stand against.
      from = readPlace(tag.text, gateway) ?? base;
    } else if (tag.kind === 'close' && tag.name === 'service' && TYPES.includes(type)) {
      const place = resolvePlace(control, from, gateway);
      if (place !== null) found.push({ type, control: place });
    }
  }
  return found.sort((a, b) => TYPES.indexOf(a.type) - TYPES.indexOf(b.type)).slice(0, SERVICES_MAX);
}

export function canChoosePort(service: IgdService): boolean {
  return service.type === TYPES[0];
}

/** Value of the SOAPACTION header. */
export function soapAction(service: IgdService, action: IgdAction): string {
  return `"${service.type}#${action.name}"`;
}

/** Nothing in it comes from the network but what was parsed into numbers, addresses and one of TYPES. */
export function writeSoap(service: IgdService, action: IgdAction): string {
  const values = valuesOf(action).map(([name, value]) => `<${name}>${value}</${name}>`);
  return [
    '<?xml version="1.0"?>\r\n',
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">',
    `<s:Body><u:${action.name} xmlns:u="${service.type}">${values.join('')}</u:${action.name}></s:Body>`,
    '</s:Envelope>\r\n',
  ].join('');
}

/** In the order of the specification, which some devices insist on. */
function valuesOf(action: IgdAction): [string, string | number][] {
  switch (action.name) {
    case 'GetExternalIPAddress':
      return [];
    case 'DeletePortMapping':
      return [
        ['NewRemoteHost', ''],
        ['NewExternalPort', action.externalPort],
        ['NewProtocol', 'UDP'],
      ];
    case 'AddPortMapping':
    case 'AddAnyPortMapping':
      return [
        ['NewRemoteHost', ''],
        ['NewExternalPort', action.externalPort],
        ['NewProtocol', 'UDP'],
        ['NewInternalPort', action.port],
        ['NewInternalClient', action.local],
        ['NewEnabled', 1],
        ['NewPortMappingDescription', DESCRIPTION],
        ['NewLeaseDuration', action.leaseSeconds],
      ];
  }
}

/** An answer to `action`: its values, or the error that it tells. `status`: of HTTP. */
export function readSoap(action: IgdAction, status: number, body: string): SoapAnswer {
  const values = new Map<string, string>();
  let error: number | null = null;
  let answered = false;
  for (const { kind, name, text } of readXml(body)) {
    if (name === `${action.name}Response`) answered = true;
    if (kind !== 'close') continue;
    if (name === 'errorCode' && /^[0-9]{1,4}$/.test(text)) error = Number(text);
    else if (answered && !values.has(name)) values.set(name, text);
  }
  return answered && status === 200 && error === null ? { ok: true, values } : { ok: false, error };
}

export function externalAddressOf(values: ReadonlyMap<string, string>): IpAddress | null {
  const address = parseAddress(values.get('NewExternalIPAddress') ?? '');
  return address?.includes(':') ? null : address;
}

/** What AddAnyPortMapping gave; null when it is no port. */
export function reservedPortOf(values: ReadonlyMap<string, string>): number | null {
  const text = values.get('NewReservedPort') ?? '';
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : null;
}
