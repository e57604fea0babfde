// Who may use the relay: the members of the netmap as peers of the engine, but for ourselves and other relays. A member that nobody
// relays for is a record here, a slot in the plane's table, and nothing else. What a member may do is relay-engine.ts's.

import { fromBase64, toHex } from '../../base/bytes.ts';
import type { Instant } from '../../base/instant.ts';
import type { NetmapChange } from '../../mesh/netmap.ts';
import type { NetmapNode } from '../../protocol/netmap.ts';
import { RELAY_TAG } from '../../protocol/reach.ts';
import type { NodeId } from '../../protocol/values.ts';
import type { Engine } from '../../wireguard/engine.ts';
import type { Peer } from '../../wireguard/peer.ts';

export class Member {
  /** The newest record; another key is another Member. */
  node: NetmapNode;
  /** Null: it could not be made a peer. */
  peer: Peer | null = null;
  /** 8 bytes; null = it has none. */
  slot: Uint8Array | null = null;
  /** Since when it has the slot. */
  slotSince: Instant | null = null;
  /** Tokens for answering its frames, and when they were counted; null = full. */
  tokens: { left: number; at: Instant } | null = null;
  /** Bytes forwarded from it that have been charged to it. */
  charged = 0;
  /** Bytes forwarded from it and to it when it was last asked whether it still uses us. */
  seen = 0;

  constructor(node: NetmapNode) {
    this.node = node;
  }
}

export interface MembersEvents {
  /** Its peer is about to go. */
  leaving(member: Member, now: Instant): void;
  /** A record that cannot be a peer now. */
  skipped(): void;
}

export class Members {
  readonly #engine: Engine;
  readonly #events: MembersEvents;
  readonly #peersMax: number;
  readonly #byId = new Map<NodeId, Member>();
  readonly #bySlot: (Member | undefined)[] = [];
  /** Records that are no peers; tried again when something changes. */
  readonly #skipped = new Set<Member>();

  constructor(engine: Engine, events: MembersEvents, peersMax: number) {
    this.#engine = engine;
    this.#events = events;
    this.#peersMax = peersMax;
  }

  get size(): number {
    return this.#byId.size;
  }

  all(): IterableIterator<Member> {
    return this.#byId.values();
  }

  get(id: NodeId): Member | undefined {
    return this.#byId.get(id);
  }

  of(peer: Peer): Member | undefined {
    const member = this.#bySlot[peer.slot];
    return member?.peer === peer ? member : undefined;
  }

  /** What goes is gone before what comes is there: a key may move from one node to another. */
  apply(changes: readonly NetmapChange[], now: Instant): void {
    for (const change of changes) {
      if (change.kind === 'removed' || change.kind === 'rekeyed') this.#remove(change.before.id, now);
      else if (change.kind === 'changed' && !maySend(change.node)) this.#remove(change.node.id, now);
    }
    for (const change of changes) {
      if (change.kind === 'added' || change.kind === 'rekeyed' || change.kind === 'changed')
        this.#put(change.node, now);
    }
    for (const member of [...this.#skipped]) this.#attach(member, now);
  }

  #put(node: NetmapNode, now: Instant): void {
    if (!maySend(node)) return;
    const known = this.#byId.get(node.id);
    if (known !== undefined) {
      known.node = node;
      return;
    }
    const member = new Member(node);
    this.#byId.set(node.id, member);
    this.#skipped.add(member);
    if (!this.#attach(member, now)) this.#events.skipped();
  }

  #attach(member: Member, now: Instant): boolean {
    const key = fromBase64(member.node.publicKey, 32);
    if (key === null || this.#engine.peerCount >= this.#peersMax) return false;
    const hex = toHex(key);
    const peer = this.#engine.peer(hex) === undefined ? this.#engine.addPeer(hex, now) : undefined;
    if (peer === undefined) return false;
    member.peer = peer;
    this.#skipped.delete(member);
    this.#bySlot[peer.slot] = member;
    return true;
  }

  /** Immediate and complete: session, keys and slot. */
  #remove(id: NodeId, now: Instant): void {
    const member = this.#byId.get(id);
    if (member === undefined) return;
    this.#byId.delete(id);
    this.#skipped.delete(member);
    const { peer } = member;
    if (peer === null) return;
    this.#events.leaving(member, now);
    this.#bySlot[peer.slot] = undefined;
    member.peer = null;
    this.#engine.removePeer(peer, now);
  }
}

/** A relay relays for machines: another relay has nothing to send through us. */
function maySend(node: NetmapNode): boolean {
  return !node.tags.includes(RELAY_TAG);
}
