// Addresses of nodes: one host number gives both, in the IPv4 and the IPv6 range. Numbers go round by a cursor, so that an
// address rests for as long as possible before another node has it. 0 (the network), 1 (kept for services of the mesh
// itself) and the last IPv4 one (broadcast) are never given. Relays, to which nobody sends packets, have theirs from the other end.

import {
  addressBytes,
  familyOf,
  formatAddress,
  type IpAddress,
  type IpPrefix,
  maskBits,
  prefixParts,
} from '../../base/ip.ts';
import type { Settings } from './model.ts';
import type { StateView } from './state-view.ts';

export const HOST_MIN = 2;

export interface HostAddresses {
  readonly address4: IpAddress;
  readonly address6: IpAddress;
}

/** The highest host number that both ranges have; below HOST_MIN when they hold nobody. */
export function hostMax(settings: Settings): number {
  const bits4 = 32 - prefixParts(settings.prefix4).length;
  const bits6 = 128 - prefixParts(settings.prefix6).length;
  return Math.min(2 ** bits4 - 2, 2 ** Math.min(bits6, 32) - 1);
}

export function addressesOf(settings: Settings, host: number): HostAddresses {
  return { address4: withHost(settings.prefix4, host), address6: withHost(settings.prefix6, host) };
}

/** The next host number without a node, from the cursor on; null when every address is taken. */
export function findHost(view: StateView): number | null {
  const last = hostMax(view.settings);
  const count = last - HOST_MIN + 1;
  // A node stands on two numbers at most: when an administrator gave it addresses that do not belong together.
  const tries = Math.min(count, 2 * view.nodeCount + 1);
  let host = view.settings.nextHost;
  for (let i = 0; i < tries; i++, host++) {
    if (host < HOST_MIN || host > last) host = HOST_MIN;
    if (isFree(view, host)) return host;
  }
  return null;
}

/** For a relay: the last host number without a node; null when every address is taken. */
export function findHostFromEnd(view: StateView): number | null {
  const last = hostMax(view.settings);
  const tries = Math.min(last - HOST_MIN + 1, 2 * view.nodeCount + 1);
  for (let i = 0, host = last; i < tries; i++, host--) if (isFree(view, host)) return host;
  return null;
}

function isFree(view: StateView, host: number): boolean {
  const { address4, address6 } = addressesOf(view.settings, host);
  return view.nodeByAddress(address4) === undefined && view.nodeByAddress(address6) === undefined;
}

/** Whether a node may be given `address` of `prefix`: inside, of its family, and none of those that are kept. */
export function isAssignable(prefix: IpPrefix, address: IpAddress): boolean {
  if (familyOf(prefix) !== familyOf(address)) return false;
  const { bytes: network, length } = prefixParts(prefix);
  const bytes = addressBytes(address);
  const masked = bytes.slice();
  maskBits(masked, length);
  if (formatAddress(masked) !== formatAddress(network)) return false;
  const host = bytes.map((byte, i) => byte ^ (network[i] as number));
  if (host.every((byte, i) => byte === 0 || (i === host.length - 1 && byte < HOST_MIN))) return false;
  const broadcast = network.map((byte, i) => byte | (255 >> Math.min(8, Math.max(0, length - 8 * i))));
  return familyOf(address) === 6 || formatAddress(broadcast) !== address;
}

/** `host` in the last bits; it fits. */
function withHost(prefix: IpPrefix, host: number): IpAddress {
  const bytes = prefixParts(prefix).bytes;
  for (let i = bytes.length - 1, left = host; left > 0; i--, left = Math.floor(left / 256)) {
    bytes[i] = (bytes[i] as number) | (left % 256);
  }
  return formatAddress(bytes);
}
