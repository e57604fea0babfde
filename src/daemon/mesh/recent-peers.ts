// Who had a session when the tunnel was lost: told to the peers that did not lose theirs by a new handshake at once, because what
// they send until then goes nowhere, and they would notice after fifteen seconds only. Over a restart it is remembered as a
// list of ids (DIR/recent.json), which says nothing without the netmap.

import { fromHex, toBase64 } from '../../base/bytes.ts';
import type { MeshEngine } from '../../mesh/mesh-engine.ts';
import type { NodeId } from '../../protocol/values.ts';

/** More would be a storm of handshakes; the others are noticed in the usual way. */
export const RECENT_MAX = 256;

/** Peers with a session now, or about to have one. Costs one look at each peer. */
export function peersWithSession(mesh: MeshEngine): NodeId[] {
  const keys = new Set<string>();
  for (const peer of mesh.engine.peers()) {
    // One that is being made anew counts: the tunnel may be lost again before it is there.
    if (peer.session === null && peer.attempt === null) continue;
    const key = fromHex(peer.publicKeyHex, 32);
    if (key !== null) keys.add(toBase64(key));
    if (keys.size === RECENT_MAX) break;
  }
  if (keys.size === 0) return [];
  const ids: NodeId[] = [];
  for (const node of mesh.netmap.nodes()) if (keys.has(node.publicKey)) ids.push(node.id);
  return ids.sort((a, b) => a - b);
}

/** Who has a session is looked up this long after something changed. */
const LOOK_AFTER_MS = 200;

/** Keeps the list while the tunnel lives: when it is lost it is too late to look. */
export class RecentPeers {
  readonly #look: () => readonly NodeId[] | null;
  readonly #onChange: () => void;
  #ids: readonly NodeId[];
  #timer: NodeJS.Timeout | null = null;
  #held = false;

  /** `look`: null while there is no tunnel. */
  constructor(before: readonly NodeId[], look: () => readonly NodeId[] | null, onChange: () => void) {
    this.#ids = before;
    this.#look = look;
    this.#onChange = onChange;
  }

  get ids(): readonly NodeId[] {
    return this.#ids;
  }

  /** Something about sessions may be different. */
  mayDiffer(): void {
    if (this.#held) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      const ids = this.#look();
      if (ids === null || ids.join() === this.#ids.join()) return;
      this.#ids = ids;
      this.#onChange();
    }, LOOK_AFTER_MS).unref();
  }

  /**
   * The tunnel is lost or being closed: that its sessions ended is no news, and the list stays until `release`. The link may be up
   * again, without a session, before those on the list have been greeted.
   */
  hold(): void {
    this.#held = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** All on the list have been greeted. */
  release(): void {
    this.#held = false;
    this.mayDiffer();
  }
}
