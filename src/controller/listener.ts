// Where the controller listens unless it is told, and what it calls itself: the URL for join links, as the person says it, or a guess from
// the addresses of this machine.

import type { IpPrefix } from '../base/ip.ts';
import { CONTROLLER_PORT_DEFAULT, canonicalUrl } from '../protocol/join-link.ts';
import type { ListenAddress } from '../service/listen.ts';
import { likelyAddress } from './own-addresses.ts';

export const LISTEN_DEFAULT: ListenAddress = { host: '::', port: CONTROLLER_PORT_DEFAULT };

/** Where nodes reach us: what the person says, else a guess. */
export function publicUrl(
  given: string | null,
  listening: ListenAddress,
  tls: boolean,
  meshPrefixes: readonly IpPrefix[],
): string {
  if (given !== null) return given;
  const all = listening.host === '::' || listening.host === '0.0.0.0';
  const address = all ? (likelyAddress(meshPrefixes) ?? '127.0.0.1') : listening.host;
  const host = address.includes(':') ? `[${address}]` : address;
  const url = canonicalUrl(`${tls ? 'https' : 'http'}://${host}:${listening.port}`);
  return url ?? `http://127.0.0.1:${listening.port}`;
}
