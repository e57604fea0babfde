// A join link says where the controller is, which key it must prove, and the secret that lets a machine in:
//
//   warren://HOST[:PORT][/BASE]?key=CONTROLLER_KEY&auth=SECRET[&tls=1]
//
// CONTROLLER_KEY is its public key, base64url without padding. BASE is the path of a reverse proxy. Without tls=1 the
// channel is plain HTTP outside and Noise inside. Without a secret it is the link of a network that one already belongs to.

export const JOIN_LINK_SCHEME = 'warren://';
export const CONTROLLER_PORT_DEFAULT = 7370;

export interface JoinLink {
  /** `http://host:port[/base]` or `https://…`, always with the port, without a slash at the end. */
  readonly url: string;
  /** 43 characters, base64url. */
  readonly controllerKey: string;
  /** The secret of an auth key, or null. */
  readonly authKey: string | null;
}

export type JoinLinkResult =
  | { readonly ok: true; readonly link: JoinLink }
  | { readonly ok: false; readonly reason: string };

const KEY = /^[A-Za-z0-9_-]{43}$/;
const SECRET = /^[A-Za-z0-9_-]{16,128}$/;

/** `scheme://host[:port][/base]`; a host may be an IPv6 address in brackets. */
const URL_PARTS = /^(https?):\/\/(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?((?:\/[A-Za-z0-9._~-]+)*)\/?$/i;
const LINK_PARTS = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?((?:\/[A-Za-z0-9._~-]+)*)\/?\?(\S*)$/i;

/** The one spelling of a controller's URL, or null when it is not one. */
export function canonicalUrl(url: string): string | null {
  const parts = URL_PARTS.exec(url.trim());
  if (parts === null) return null;
  const scheme = (parts[1] as string).toLowerCase();
  const port = parts[3] ?? (scheme === 'https' ? '443' : '80');
  if (!isPort(port)) return null;
  return `${scheme}://${(parts[2] as string).toLowerCase()}:${Number(port)}${parts[4] ?? ''}`;
}

/** `link.url` is canonical. */
export function formatJoinLink(link: JoinLink): string {
  const separator = link.url.indexOf('://');
  const auth = link.authKey === null ? '' : `&auth=${link.authKey}`;
  const tls = link.url.startsWith('https:') ? '&tls=1' : '';
  return `${JOIN_LINK_SCHEME}${link.url.slice(separator + 3)}?key=${link.controllerKey}${auth}${tls}`;
}

/** `reason` never holds the secret. */
export function parseJoinLink(text: string): JoinLinkResult {
  const trimmed = text.trim();
  if (!trimmed.startsWith(JOIN_LINK_SCHEME)) return refuse(`it does not begin with ${JOIN_LINK_SCHEME}`);
  const parts = LINK_PARTS.exec(trimmed.slice(JOIN_LINK_SCHEME.length));
  const port = parts?.[2] ?? String(CONTROLLER_PORT_DEFAULT);
  if (parts === null || !isPort(port)) return refuse('its address cannot be read');
  const query = new Map((parts[4] as string).split('&').map((pair) => splitPair(pair)));
  const controllerKey = query.get('key') ?? '';
  const authKey = query.get('auth') ?? null;
  if (!KEY.test(controllerKey)) return refuse("the controller's key is missing or cut off");
  if (authKey !== null && !SECRET.test(authKey)) return refuse('its secret is cut off or has other characters in it');
  const scheme = query.get('tls') === '1' ? 'https' : 'http';
  const url = `${scheme}://${(parts[1] as string).toLowerCase()}:${Number(port)}${parts[3] ?? ''}`;
  return { ok: true, link: { url, controllerKey, authKey } };
}

function splitPair(pair: string): [string, string] {
  const at = pair.indexOf('=');
  return at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)];
}

function isPort(text: string): boolean {
  const port = Number(text);
  return Number.isInteger(port) && port >= 1 && port <= 65_535;
}

function refuse(reason: string): JoinLinkResult {
  return { ok: false, reason };
}
