// All remotes of one peer, and which of them is active. Bounded: when it is full the one that is worth least makes room, and
// what the peer says of itself cannot push out what has been proved.

import type { Instant } from '../base/instant.ts';
import type { Endpoint } from '../base/ip.ts';
import { Remote, type RemoteOrigin } from './remote.ts';

/** Of one peer: the candidates of its netmap and of a punch, its relays, and where it was seen. */
export const REMOTES_MAX = 40;
/** Of those, addresses that nobody told of and that packets came from. */
export const SEEN_MAX = 8;

export class PathSet {
  readonly #remotes = new Map<Endpoint, Remote>();
  /** Where the peer's packets go; null: not known yet. */
  active: Remote | null = null;

  get size(): number {
    return this.#remotes.size;
  }

  get(endpoint: Endpoint): Remote | undefined {
    return this.#remotes.get(endpoint);
  }

  /** In the order in which they became known. */
  all(): Remote[] {
    return [...this.#remotes.values()];
  }

  /** The one that is there, or a new one; null when there is no room for it. */
  add(origin: RemoteOrigin, now: Instant): Remote | null {
    const known = this.#remotes.get(origin.endpoint);
    if (known !== undefined) return known;
    const remote = new Remote(origin, now);
    if (origin.kind === 'seen') this.#makeRoomAmong(SEEN_MAX, ({ kind }) => kind === 'seen');
    if (this.size >= REMOTES_MAX && !this.#makeRoomFor(remote)) return null;
    this.#remotes.set(origin.endpoint, remote);
    return remote;
  }

  remove(remote: Remote): void {
    if (this.#remotes.get(remote.endpoint) === remote) this.#remotes.delete(remote.endpoint);
    if (this.active === remote) this.active = null;
  }

  #makeRoomAmong(limit: number, which: (remote: Remote) => boolean): void {
    const among = this.all().filter(which);
    if (among.length < limit) return;
    const least = this.#leastOf(among);
    if (least !== null) this.remove(least);
  }

  #makeRoomFor(newcomer: Remote): boolean {
    const least = this.#leastOf(this.all());
    if (least === null || this.worth(least) >= this.worth(newcomer)) return false;
    this.remove(least);
    return true;
  }

  /** The least worth, and of those the one that has been so for longest; never the active one. */
  #leastOf(remotes: readonly Remote[]): Remote | null {
    let least: Remote | null = null;
    for (const remote of remotes) {
      if (remote === this.active) continue;
      if (least === null || this.worth(remote) < this.worth(least)) least = remote;
      else if (this.worth(remote) === this.worth(least) && remote.since < least.since) least = remote;
    }
    return least;
  }

  /** What is dropped first has the lowest. */
  worth(remote: Remote): number {
    if (remote === this.active) return 6;
    if (remote.state === 'works') return 5;
    if (remote.kind === 'relay') return 4;
    if (remote.state === 'failed') return 0;
    if (remote.state === 'lost') return 1;
    return remote.kind === 'seen' ? 2 : 3;
  }
}
