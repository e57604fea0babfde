// What of a host's network matters to paths, kept as it was last told, so that a message that says nothing new (a router
// advertisement that renews an address, a wireless link's chatter) is no change. Pure: messages in, changes out. Leaves out
// routes other than default ones: they decide how a packet leaves, not where we can be reached.

import type { NetlinkMessage } from './netlink/message.ts';
import {
  type InterfaceAddress,
  isDefaultRoute,
  isMainRoute,
  type Link,
  type Route,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELROUTE,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWROUTE,
  readInterfaceAddress,
  readLink,
  readRoute,
} from './netlink/rtnetlink.ts';

/** Of what a list gives, `message` when it is watched: of a million routes only the default ones are kept while they are listed. */
export function watched(message: NetlinkMessage): NetlinkMessage | null {
  return message.type === RTM_NEWROUTE && message.body[1] !== 0 ? null : message;
}

/** Links, addresses and default routes that are kept, each; what is beyond counts as changed whenever it is told of. */
export const KEPT_MAX = 65_536;

export interface Change {
  /** `ownRoute` does not come from here: which interfaces are ours is the caller's to know. */
  readonly kind: 'link' | 'address' | 'defaultRoute' | 'ownRoute';
  /** Of the interface; 0 when it is unknown. */
  readonly index: number;
}

export class ChangeWatch {
  readonly #links = new Map<string, string>();
  readonly #addresses = new Map<string, string>();
  readonly #defaults = new Map<string, string>();

  /** Takes one message of the groups or of a list; null when nothing has changed by it. */
  take(message: NetlinkMessage): Change | null {
    switch (message.type) {
      case RTM_NEWLINK:
      case RTM_DELLINK:
        return this.#takeLink(readLink(message), message.type === RTM_NEWLINK);
      case RTM_NEWADDR:
      case RTM_DELADDR:
        return this.#takeAddress(readInterfaceAddress(message), message.type === RTM_NEWADDR);
      case RTM_NEWROUTE:
      case RTM_DELROUTE:
        return this.#takeRoute(readRoute(message), message.type === RTM_NEWROUTE);
      default:
        return null;
    }
  }

  #takeLink(link: Link | null, there: boolean): Change | null {
    if (link === null) return null;
    const said = there ? `${link.name} ${link.up} ${link.running}` : null;
    if (!there || !link.up) this.#forgetDefaults(link.index);
    return keep(this.#links, `${link.index}`, said) ? { kind: 'link', index: link.index } : null;
  }

  #takeAddress(address: InterfaceAddress | null, there: boolean): Change | null {
    if (address === null) return null;
    const { index, scope, tentative, deprecated } = address;
    const key = `${index} ${address.address}/${address.prefixLength}`;
    const said = there ? `${scope} ${tentative} ${deprecated}` : null;
    if (!there) this.#forgetDefaults(index);
    return keep(this.#addresses, key, said) ? { kind: 'address', index } : null;
  }

  #takeRoute(route: Route | null, there: boolean): Change | null {
    if (route === null || !isMainRoute(route) || !isDefaultRoute(route)) return null;
    const key = `${route.prefix} ${route.metric} ${route.index ?? 0} ${route.gateway}`;
    return keep(this.#defaults, key, there ? '' : null) ? { kind: 'defaultRoute', index: route.index ?? 0 } : null;
  }

  /** IPv4 routes go with their link or address and the kernel does not say so: the same one told again later is a change. */
  #forgetDefaults(index: number): void {
    for (const key of this.#defaults.keys()) if (indexOf('defaultRoute', key) === index) this.#defaults.delete(key);
  }

  /** Forgets all and takes `messages`, complete lists, instead; gives what is different. For when messages were lost. */
  replace(messages: readonly NetlinkMessage[]): Change[] {
    const before = [new Map(this.#links), new Map(this.#addresses), new Map(this.#defaults)] as const;
    const kept = [this.#links, this.#addresses, this.#defaults] as const;
    for (const map of kept) map.clear();
    for (const message of messages) this.take(message);
    const kinds = ['link', 'address', 'defaultRoute'] as const;
    return kinds.flatMap((kind, i) =>
      different(before[i] as Map<string, string>, kept[i] as Map<string, string>).map((key) => ({
        kind,
        index: indexOf(kind, key),
      })),
    );
  }
}

function keep(map: Map<string, string>, key: string, said: string | null): boolean {
  const before = map.get(key);
  if (said === null) return map.delete(key);
  if (before === said) return false;
  if (before === undefined && map.size >= KEPT_MAX) return true;
  map.set(key, said);
  return true;
}

function different(before: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): string[] {
  const keys = new Set([...before.keys(), ...now.keys()]);
  return [...keys].filter((key) => before.get(key) !== now.get(key));
}

function indexOf(kind: Change['kind'], key: string): number {
  const word = key.split(' ')[kind === 'defaultRoute' ? 2 : 0] ?? '';
  return Number.parseInt(word, 10) || 0;
}
