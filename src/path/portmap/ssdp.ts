// Finding a gateway's UPnP description: the search of SSDP (UPnP Device Architecture 1.1, §1.3) and the one thing that is read from an
// answer, where the description is. Anybody on the network may answer, so a location counts only at the gateway's own
// address. Leaves out announcements, caching and everything that is no internet gateway.

import { ascii } from '../../base/bytes.ts';
import { type IpAddress, parseAddress } from '../../base/ip.ts';

export const SSDP_GROUP = '239.255.255.250' as IpAddress;
export const SSDP_PORT = 1900;

/** Both, because some of the second version do not answer to the first, as they should. */
export const SEARCH_TARGETS = [
  'urn:schemas-upnp-org:device:InternetGatewayDevice:1',
  'urn:schemas-upnp-org:device:InternetGatewayDevice:2',
] as const;

/** What is told of a gateway, or is one's service. */
const OF_GATEWAY = /^urn:schemas-upnp-org:(device:InternetGatewayDevice|service:WAN(IP|PPP)Connection):[0-9]{1,3}$/i;
/** Far more than devices send. */
const ANSWER_LENGTH_MAX = 2_048;
const PATH_LENGTH_MAX = 512;
/** The most that a device may wait before it answers; one second is the least that may be asked. */
const ANSWER_WITHIN_S = 1;

/** Where something is served at the gateway. */
export interface GatewayPlace {
  readonly port: number;
  /** With its query; begins with a slash, visible ASCII alone. */
  readonly path: string;
}

/** A search to the group or, which firewalls let the answer of in, to the gateway alone. `to`: where it is sent. */
export function writeSearch(target: string, to: IpAddress): Uint8Array {
  const lines = [
    'M-SEARCH * HTTP/1.1',
    `HOST: ${to}:${SSDP_PORT}`,
    'MAN: "ssdp:discover"',
    `MX: ${ANSWER_WITHIN_S}`,
    `ST: ${target}`,
    '',
    '',
  ];
  return ascii(lines.join('\r\n'));
}

/** `bytes`: one datagram from the gateway, borrowed. Null: no answer about an internet gateway there. */
export function readSearchAnswer(bytes: Uint8Array, gateway: IpAddress): GatewayPlace | null {
  if (bytes.length > ANSWER_LENGTH_MAX) return null;
  const [status, ...lines] = latin1(bytes).split(/\r?\n/);
  if (status === undefined || !/^HTTP\/1\.[01] 200\b/.test(status)) return null;
  let location: GatewayPlace | null = null;
  let ofGateway = false;
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    const value = line.slice(colon + 1).trim();
    switch (line.slice(0, colon).trim().toUpperCase()) {
      case 'ST':
        ofGateway = OF_GATEWAY.test(value);
        break;
      case 'LOCATION':
        location = readPlace(value, gateway);
        break;
    }
  }
  return ofGateway ? location : null;
}

/** An absolute http URL at the gateway's numeric address; null for everything else. */
export function readPlace(url: string, gateway: IpAddress): GatewayPlace | null {
  const match = /^http:\/\/([0-9.]{7,15})(?::([0-9]{1,5}))?(\/[!-~]*)?$/i.exec(url);
  if (match === null || parseAddress(match[1] as string) !== gateway) return null;
  const port = match[2] === undefined ? 80 : Number(match[2]);
  return port >= 1 && port <= 65_535 ? placeOf(port, match[3] ?? '/') : null;
}

/** `reference` as it stands in a description that came from `base`: absolute, at the gateway again, or a path. */
export function resolvePlace(reference: string, base: GatewayPlace, gateway: IpAddress): GatewayPlace | null {
  if (/^[a-z][a-z0-9+.-]*:/i.test(reference)) return readPlace(reference, gateway);
  if (!/^[!-~]+$/.test(reference) || reference.startsWith('//')) return null;
  if (reference.startsWith('/')) return placeOf(base.port, reference);
  const folder = base.path.replace(/[?#].*$/, '');
  return placeOf(base.port, `${folder.slice(0, folder.lastIndexOf('/') + 1)}${reference}`);
}

function placeOf(port: number, path: string): GatewayPlace | null {
  const withoutFragment = path.replace(/#.*$/, '');
  return withoutFragment.length <= PATH_LENGTH_MAX ? { port, path: withoutFragment } : null;
}

function latin1(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
