// Endpoints of relayed paths: a relay and a slot at it, written as an endpoint of the prefix that is discarded everywhere (RFC 6666), so
// that whatever takes an endpoint takes a relayed path too, and a mistake sends a packet nowhere. Only the data plane
// knows where the relay is: it gives the datagram the header of a relayed one (docs/paths.md) and sends it there.
//
//   [100::SSSS:SSSS:SSSS:SSSS]:R      S: the slot, 64 bits, never 0      R: the relay's number in this plane, 1 … RELAYS_MAX

import { addressBytes, type Endpoint, endpointParts, formatAddress, formatEndpoint } from './ip.ts';

/** Relays that a data plane knows at once. */
export const RELAYS_MAX = 64;
/** Type 0x20, three zero bytes, and the slot (network byte order). */
export const RELAY_HEADER_BYTES = 12;
export const RELAY_SLOT_BYTES = 8;
export const RELAY_MESSAGE_TYPE = 0x20;

export interface RelayedParts {
  /** 1 … RELAYS_MAX. */
  readonly relay: number;
  /** 8 bytes, not all zero. */
  readonly slot: Uint8Array;
}

/** `slot`: 8 bytes, not all zero, borrowed. */
export function relayedEndpoint(relay: number, slot: Uint8Array): Endpoint {
  const address = new Uint8Array(16);
  address[0] = 0x01;
  address.set(slot, 8);
  return formatEndpoint(formatAddress(address), relay);
}

/** Of any endpoint; cheap, for it is asked often. */
export function isRelayed(endpoint: Endpoint): boolean {
  return endpoint.startsWith('[100::') && relayedParts(endpoint) !== null;
}

/** Null when it is an ordinary endpoint. */
export function relayedParts(endpoint: Endpoint): RelayedParts | null {
  if (!endpoint.startsWith('[100:')) return null;
  const { address: text, port, scopeId } = endpointParts(endpoint);
  const address = addressBytes(text);
  if (address.length !== 16 || scopeId !== 0 || port > RELAYS_MAX || address[0] !== 0x01) return null;
  for (let i = 1; i < 8; i++) if (address[i] !== 0) return null;
  const slot = address.slice(8);
  return slot.every((byte) => byte === 0) ? null : { relay: port, slot };
}
