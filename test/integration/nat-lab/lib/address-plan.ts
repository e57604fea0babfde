// Which addresses the NAT lab uses, by the number of a site. Public ones come from the blocks for documentation (RFC 5737, RFC 3849),
// carriers' from RFC 6598, and every LAN is the same 192.168.1.0/24, as homes are: a host candidate of one site names a machine of
// another. Links between routers have addresses of their own, so that the public ones are translated to and never local.

export const SITES_MAX = 62;
/** Addresses that a site may be given one after another (see `rebind`). */
export const PUBLIC_ADDRESSES = 6;

export const CONTROLLER_ADDRESSES = {
  /** RFC 5780, §3: two of them. */
  ipv4: ['203.0.113.1', '203.0.113.2'],
  ipv6: ['2001:db8::1', '2001:db8::2'],
} as const;
export const CONTROLLER_ROUTER = { ipv4: '203.0.113.254', ipv6: '2001:db8::fe' } as const;

/** A block of addresses: `.at(0)` is the first that may be given to somebody. */
export interface Block {
  readonly prefix: string;
  readonly bits: number;
  at(index: number): string;
}

function block4(base: string, last: number, bits: number): Block {
  return { prefix: `${base}.${last}/${bits}`, bits, at: (index) => `${base}.${last + 1 + index}` };
}

/** The /29 that the internet routes to a site. */
export function publicBlock(site: number): Block {
  if (site < 1 || site > SITES_MAX) throw new Error(`a lab has ${SITES_MAX} sites at most`);
  return site <= 31 ? block4('198.51.100', site * 8, 29) : block4('192.0.2', (site - 31) * 8, 29);
}

/** The /29 that a carrier routes to a home. `level`: of boxes between the two, from 0. */
export function carrierBlock(site: number, level: number): Block {
  return block4(`100.64.${site}`, level * 8, 29);
}

export const LAN: Block = block4('192.168.1', 0, 24);

export function lanBlock6(site: number): Block {
  const net = `2001:db8:${site.toString(16)}:1`;
  return { prefix: `${net}::/64`, bits: 64, at: (index) => `${net}::${(index + 1).toString(16)}` };
}

/** All that the internet routes to a site. */
export function prefix6(site: number): string {
  return `2001:db8:${site.toString(16)}::/48`;
}

export interface TransitAddresses {
  readonly ipv4: { readonly outer: string; readonly inner: string };
  readonly ipv6: { readonly outer: string; readonly inner: string };
}

/** The link between a gateway and what is next to it on the way out. `level`: 0 for a site's first gateway. */
export function transit(site: number, level: number): TransitAddresses {
  const four = `10.255.${site}.${level * 4}`.replace(/\d+$/, '');
  const six = `2001:db8:ff00:${site.toString(16)}${level.toString(16).padStart(2, '0')}`;
  return {
    ipv4: { outer: `${four}${level * 4 + 1}`, inner: `${four}${level * 4 + 2}` },
    ipv6: { outer: `${six}::1`, inner: `${six}::2` },
  };
}
