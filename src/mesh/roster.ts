// The engine's peers, kept as the netmap says (docs/mesh.md, "What an update does to a live peer"). Costs what changed, not
// what there is; a peer that nobody speaks to is a record here, a slot in the plane, and nothing else.

import { fromBase64, toHex } from '../base/bytes.ts';
import type { Instant } from '../base/instant.ts';
import type { IpPrefix } from '../base/ip.ts';
import type { Punch } from '../protocol/control.ts';
import { unfitRange } from '../protocol/mesh-range.ts';
import type { NetmapNode, Network } from '../protocol/netmap.ts';
import type { NodeId } from '../protocol/values.ts';
import type { Peer } from '../wireguard/peer.ts';
import type { Meeting } from './meeting.ts';
import type { MeshContext } from './mesh-context.ts';
import { isRelayNode, MeshPeer } from './mesh-peer.ts';
import type { NetmapChange } from './netmap.ts';
import type { Paths } from './paths.ts';
import type { Pings } from './pings.ts';
import type { Relays } from './relays.ts';

/** Punches of nodes that the netmap does not know yet, kept for as long as an update may be on its way. */
export const PARKED_PUNCHES_MAX = 64;
export const PARKED_PUNCH_MS = 5_000;

export class Roster {
  readonly #context: MeshContext;
  readonly #meeting: Meeting;
  readonly #paths: Paths;
  readonly #pings: Pings;
  /** Who is told of relays that come and go. */
  relays: Relays | null = null;
  readonly #peersMax: number;
  readonly #byId = new Map<NodeId, MeshPeer>();
  readonly #bySlot: (MeshPeer | undefined)[] = [];
  /** Records that are no peers of the engine's; tried again when something changes. */
  readonly #unattached = new Set<MeshPeer>();
  readonly #parked = new Map<NodeId, { readonly punch: Punch; readonly at: Instant }>();

  constructor(context: MeshContext, parts: { meeting: Meeting; paths: Paths; pings: Pings }, peersMax: number) {
    this.#context = context;
    this.#meeting = parts.meeting;
    this.#paths = parts.paths;
    this.#pings = parts.pings;
    this.#peersMax = peersMax;
  }

  get(id: NodeId): MeshPeer | undefined {
    return this.#byId.get(id);
  }

  all(): IterableIterator<MeshPeer> {
    return this.#byId.values();
  }

  of(peer: Peer): MeshPeer | undefined {
    const mesh = this.#bySlot[peer.slot];
    return mesh?.peer === peer ? mesh : undefined;
  }

  /** What goes is gone before what comes is there: keys and addresses may move from one node to another. */
  apply(changes: readonly NetmapChange[], now: Instant): void {
    for (const change of changes) {
      if (change.kind === 'removed' || change.kind === 'rekeyed') this.#remove(change.before, now);
      else if (change.kind === 'changed' && change.aspects.includes('addresses')) this.#unroute(change.before);
      else if (change.kind === 'network') this.#setNetwork(change.network);
    }
    for (const change of changes) {
      if (change.kind === 'added' || change.kind === 'rekeyed') this.#add(change.node, now);
      else if (change.kind === 'changed') this.#change(change, now);
    }
    this.attachAgain(now);
    if (changes.length > 0) this.#context.outputs.changed();
  }

  /** In a range that is none, nobody has an address: what the controller says may not take the machine's own traffic. */
  #setNetwork({ prefix4, prefix6 }: Network): void {
    const prefixes = [prefix4, prefix6];
    for (const { node } of this.#byId.values()) this.#unroute(node);
    this.#context.usable.setInside(prefixes.every((prefix) => unfitRange(prefix) === null) ? prefixes : []);
    for (const mesh of this.#byId.values()) this.#route(mesh);
  }

  #add(node: NetmapNode, now: Instant): void {
    const mesh = new MeshPeer(node);
    this.#byId.set(node.id, mesh);
    this.#attach(mesh, now);
    const parked = this.#parked.get(node.id);
    if (parked === undefined) return;
    this.#parked.delete(node.id);
    if (now - parked.at <= PARKED_PUNCH_MS) this.#meeting.handlePunch(mesh, parked.punch, now);
  }

  #attach(mesh: MeshPeer, now: Instant): void {
    const { engine, counters } = this.#context;
    const key = fromBase64(mesh.node.publicKey, 32);
    const hex = key === null ? '' : toHex(key);
    const taken = engine.peer(hex) !== undefined;
    const full = engine.peerCount >= this.#peersMax;
    const peer = key === null || taken || full ? undefined : engine.addPeer(hex, now);
    if (peer === undefined) {
      if (mesh.unattached === null) counters.count('peersUnattached');
      mesh.unattached = taken ? 'duplicateKey' : full ? 'tooMany' : 'ownKey';
      this.#unattached.add(mesh);
      return;
    }
    mesh.unattached = null;
    mesh.peer = peer;
    this.#unattached.delete(mesh);
    this.#bySlot[peer.slot] = mesh;
    this.#route(mesh);
    this.#meeting.guessEndpoint(mesh, now);
    if (mesh.isRelay) this.relays?.add(mesh, now);
  }

  /** What could not be a peer may be one now: another's key has gone, or ours has changed. */
  attachAgain(now: Instant): void {
    for (const mesh of [...this.#unattached]) this.#attach(mesh, now);
  }

  /** Our key is another: a peer that has it is none any more. */
  identityChanged(now: Instant): void {
    for (const mesh of this.#byId.values()) {
      if (mesh.peer?.stopped !== true) continue;
      this.#detach(mesh, now);
      this.#unattached.add(mesh);
    }
    this.attachAgain(now);
  }

  /** Immediate and complete. */
  #remove(node: NetmapNode, now: Instant): void {
    const mesh = this.#byId.get(node.id);
    if (mesh === undefined) return;
    this.#byId.delete(node.id);
    this.#unattached.delete(mesh);
    if (mesh.peer !== null) this.#context.engine.removePeer(mesh.peer, now);
    this.#detach(mesh, now);
  }

  #detach(mesh: MeshPeer, now: Instant): void {
    if (mesh.isRelay) this.relays?.remove(mesh, now);
    else this.relays?.idle(mesh, now);
    this.#meeting.removed(mesh);
    this.#paths.removed(mesh);
    this.#pings.forget(mesh);
    if (mesh.peer !== null && this.#bySlot[mesh.peer.slot] === mesh) this.#bySlot[mesh.peer.slot] = undefined;
    mesh.peer = null;
    mesh.proven = false;
    mesh.meeting = null;
    mesh.pings = null;
  }

  #change(change: Extract<NetmapChange, { kind: 'changed' }>, now: Instant): void {
    const mesh = this.#byId.get(change.node.id);
    if (mesh === undefined) return;
    if (isRelayNode(change.node) !== mesh.isRelay) {
      this.#remove(change.before, now);
      this.#add(change.node, now);
      return;
    }
    mesh.node = change.node;
    if (change.aspects.includes('addresses')) this.#route(mesh);
    if (change.aspects.includes('candidates')) this.#meeting.candidatesChanged(mesh, now);
  }

  #route(mesh: MeshPeer): void {
    if (mesh.peer === null || mesh.isRelay) return;
    const { address4, address6 } = mesh.node;
    const { usable, engine, counters } = this.#context;
    if (!usable.isInside(address4) || !usable.isInside(address6)) {
      counters.count('addressesRefused');
      return;
    }
    for (const prefix of prefixesOf(mesh.node)) engine.addAllowedIp(mesh.peer, prefix);
  }

  #unroute(before: NetmapNode): void {
    const peer = this.#byId.get(before.id)?.peer ?? null;
    if (peer === null) return;
    for (const prefix of prefixesOf(before)) this.#context.engine.removeAllowedIp(peer, prefix);
  }

  /** A punch of a node that we do not know: the netmap that names it may be a moment behind. */
  park(punch: Punch, now: Instant): void {
    this.#context.counters.count('punchesParked');
    this.#parked.delete(punch.from);
    this.#parked.set(punch.from, { punch, at: now });
    if (this.#parked.size <= PARKED_PUNCHES_MAX) return;
    const oldest = this.#parked.keys().next();
    if (!oldest.done) this.#parked.delete(oldest.value);
  }
}

function prefixesOf(node: NetmapNode): readonly IpPrefix[] {
  return [`${node.address4}/32` as IpPrefix, `${node.address6}/128` as IpPrefix];
}
