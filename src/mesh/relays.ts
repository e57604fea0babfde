// The node's side of relays (docs/paths.md): which relay is our home, our slots at it and at the homes of those that we speak with, and
// where a peer may be reached by relay now. Sans-IO: told of what happens with the sessions of relays, gives orders through
// RelayActions; sessions are begun and ended in `handleDeadline` alone. Leaves out the paths to a relay itself, found as any peer's are.

import { fromHex, toHex } from '../base/bytes.ts';
import { after, earliest, elapsedMs, type Instant, NEVER } from '../base/instant.ts';
import type { Endpoint } from '../base/ip.ts';
import { RELAYS_MAX, relayedEndpoint } from '../base/relayed.ts';
import { isClearlyShorter } from '../path/choose.ts';
import { LONG_SILENCE_MS, SILENCE_MS } from '../path/silence.ts';
import type { Home } from '../protocol/reach.ts';
import type { NodeId } from '../protocol/values.ts';
import { encodeRelayAllocate, type RelayRefusal } from './frames.ts';
import type { MeshPeer } from './mesh-peer.ts';

/** Relays that are tried for a home at once. */
export const MEASURED_MAX = 8;
/** Once the first of them has answered the others have so long to be nearer; without any, so long is waited for one. */
export const DECIDE_AFTER_FIRST_MS = 100;
export const DECIDE_MAX_MS = 3_000;
/** No relay answers: tried again after this, then twice as long each time, up to the other. */
export const RETRY_FIRST_MS = 5_000;
export const RETRY_MAX_MS = 300_000;
/** The home's session and what NATs hold open for it are kept with this. */
export const RELAY_KEEPALIVE_S = 25;
/** The home is asked for an answer so often: a little before a keepalive would be due, so that none is sent beside it. */
export const HOME_CHECK_MS = 24_000;
/** Somebody looks for us: a home that has answered is not asked again for so long. */
export const SURE_FOR_MS = 1_000;
/** A request for a slot is repeated after this, so many times. */
export const ALLOCATE_REPEAT_MS = 500;
export const ALLOCATIONS_MAX = 5;
/** A relay that refused us, or drains, is not asked for so long. */
export const AVOID_MS = 60_000;
/** The place at another's home is left so long after the last that needed it. */
export const RELEASE_AFTER_MS = 60_000;

export interface RelayActions {
  /** A session with the relay, wherever it is; one that is there is made anew. */
  begin(relay: MeshPeer, now: Instant): void;
  /** Asks the relay for a sign of life; silence comes up as `silent`. */
  check(relay: MeshPeer, now: Instant): void;
  /** 0: none. */
  keepalive(relay: MeshPeer, seconds: number, now: Instant): void;
  /** Its session over; nothing is left. */
  end(relay: MeshPeer, now: Instant): void;
  /** False when it could not leave. */
  frame(relay: MeshPeer, frame: Uint8Array, now: Instant): boolean;
  setRelay(number: number, endpoint: Endpoint | null): void;
  /** Other relayed endpoints of the peer than before. `arrived`: one that it waits for is there. */
  changed(peer: MeshPeer, arrived: boolean, now: Instant): void;
  /** No relayed endpoint of this number leads anywhere any more. */
  forget(number: number, now: Instant): void;
  home(home: Home | null): void;
  drawTxid(): number;
  count(what: 'relaysChosen' | 'relaysSilent' | 'relaysRefused' | 'relayFramesUnexpected'): void;
}

interface Relay {
  readonly mesh: MeshPeer;
  /** 1 … RELAYS_MAX while it is set in the plane. */
  number: number | null;
  /** Ours there, as long as the session lives in which it was given. */
  slot: Uint8Array | null;
  /** Last answer to anything that we asked. */
  answeredAt: Instant;
  allocateAt: Instant;
  allocations: number;
  txid: number;
  /** Peers that are reached by it, because it is their home. */
  readonly users: Set<MeshPeer>;
  /** A session with it is wanted from then on. */
  contactAt: Instant;
  releaseAt: Instant;
  avoidUntil: Instant;
  refused: RelayRefusal | null;
}

const LONG_AGO = Number.NEGATIVE_INFINITY as Instant;

export class Relays {
  readonly #actions: RelayActions;
  readonly #relays = new Map<NodeId, Relay>();
  /** By number. */
  readonly #numbers: (Relay | undefined)[] = [];
  #running = false;
  #home: Relay | null = null;
  /** What the others were told. */
  #told: { readonly relay: Relay; readonly home: Home } | null = null;
  /** While a home is being looked for: since when, and by when one is taken. */
  #choosingSince: Instant = NEVER;
  #decideAt: Instant = NEVER;
  #retryAt: Instant = NEVER;
  #retries = 0;
  #checkAt: Instant = NEVER;

  constructor(actions: RelayActions) {
    this.#actions = actions;
  }

  get home(): Home | null {
    return this.#told?.home ?? null;
  }

  get size(): number {
    return this.#relays.size;
  }

  get deadline(): Instant {
    if (!this.#running) return NEVER;
    let next = earliest(earliest(this.#decideAt, this.#retryAt), this.#checkAt);
    for (const { allocateAt, releaseAt, contactAt } of this.#relays.values()) {
      next = earliest(next, earliest(contactAt, earliest(allocateAt, releaseAt)));
    }
    return next;
  }

  /** Whether others could be reached by it: we have a place there. */
  isReady(id: NodeId): boolean {
    return this.#relays.get(id)?.slot != null;
  }

  /** Of the relay that has this number in the plane. */
  idOf(number: number): NodeId | null {
    return this.#numbers[number]?.mesh.node.id ?? null;
  }

  /** Why there is no place at it; null when there is, or nobody has asked. */
  refusalOf(id: NodeId): RelayRefusal | null {
    return this.#relays.get(id)?.refused ?? null;
  }

  /** Why no relay carries: none is known, or each refuses. Null while one does. */
  get none(): 'noRelay' | 'relayRefused' | null {
    if (this.#told !== null) return null;
    const relays = [...this.#relays.values()];
    return relays.length > 0 && relays.every(({ refused }) => refused !== null) ? 'relayRefused' : 'noRelay';
  }

  // — the netmap and the link —

  add(mesh: MeshPeer, now: Instant): void {
    this.#relays.set(mesh.node.id, {
      mesh,
      number: null,
      slot: null,
      answeredAt: LONG_AGO,
      allocateAt: NEVER,
      allocations: 0,
      txid: 0,
      users: new Set(),
      contactAt: NEVER,
      releaseAt: NEVER,
      avoidUntil: LONG_AGO,
      refused: null,
    });
    if (this.#running && this.#home === null) this.#retryAt = now;
  }

  remove(mesh: MeshPeer, now: Instant): void {
    const relay = this.#of(mesh);
    if (relay === undefined) return;
    this.#relays.delete(mesh.node.id);
    this.#lose(relay, now);
    this.#freeNumber(relay, now);
    if (relay === this.#home) this.#homeLost(now);
  }

  linkUp(now: Instant): void {
    if (this.#running) return;
    this.#running = true;
    this.#retries = 0;
    if (this.#relays.size > 0) this.#retryAt = now;
  }

  /** Every session is over, and nothing is told: we are back soon, or say goodbye. */
  linkDown(now: Instant): void {
    this.#running = false;
    for (const relay of this.#relays.values()) {
      this.#lose(relay, now);
      relay.contactAt = NEVER;
      relay.releaseAt = NEVER;
      relay.answeredAt = LONG_AGO;
      this.#actions.keepalive(relay.mesh, 0, now);
    }
    this.#home = null;
    this.#told = null;
    this.#choosingSince = NEVER;
    this.#decideAt = NEVER;
    this.#retryAt = NEVER;
    this.#checkAt = NEVER;
  }

  /** Another network: the nearest relay may be another. Sessions are shown where we are by whoever calls this. */
  networkChanged(now: Instant): void {
    if (!this.#running || this.#relays.size === 0) return;
    this.#retries = 0;
    for (const relay of this.#relays.values()) if (relay.refused === null) relay.avoidUntil = LONG_AGO;
    this.#retryAt = now;
  }

  // — peers —

  /** Where the peer may be reached by relay. `wanted`: it is spoken with, so a way is made. */
  endpointsOf(peer: MeshPeer, wanted: boolean, now: Instant): Endpoint[] {
    const home = peer.node.reach?.home ?? null;
    const relay = home === null ? undefined : this.#relays.get(home.relay);
    for (const other of this.#relays.values())
      if (other !== relay && other.users.has(peer)) this.#unused(other, peer, now);
    if (home === null || relay === undefined) return [];
    if (wanted) this.#need(relay, peer, now);
    const slot = fromHex(home.slot, 8);
    return relay.slot === null || relay.number === null || slot === null ? [] : [relayedEndpoint(relay.number, slot)];
  }

  /** Nobody speaks with the peer any more. */
  idle(peer: MeshPeer, now: Instant): void {
    for (const relay of this.#relays.values()) this.#unused(relay, peer, now);
  }

  #need(relay: Relay, peer: MeshPeer, now: Instant): void {
    if (relay.users.has(peer)) return;
    relay.users.add(peer);
    relay.releaseAt = NEVER;
    if (relay.slot === null && relay.avoidUntil <= now) relay.contactAt = now;
  }

  #unused(relay: Relay, peer: MeshPeer, now: Instant): void {
    if (!relay.users.delete(peer) || relay.users.size > 0 || relay === this.#home) return;
    relay.releaseAt = after(now, RELEASE_AFTER_MS);
  }

  /** A path over this relay is silent: is it the relay? */
  doubted(number: number, now: Instant): void {
    const relay = this.#numbers[number];
    if (relay !== undefined && relay.slot !== null) this.#actions.check(relay.mesh, now);
  }

  /**
   * The direct path to `peer` is silent, and relays are what comes next. Perhaps a NAT has forgotten us: then a relay, too, knows us only by a
   * packet of our session with it, and is shown it before it is needed.
   */
  standBy(peer: MeshPeer, now: Instant): void {
    for (const relay of this.#relays.values()) {
      if (relay.slot === null || (relay !== this.#home && !relay.users.has(peer))) continue;
      // An answer of before the silence says nothing of now.
      if (elapsedMs(relay.answeredAt, now) >= SILENCE_MS) this.#actions.check(relay.mesh, now);
    }
  }

  /** An initiation goes over this relay: one that has not been heard of for a while is asked along with it (rule 7). */
  used(number: number, now: Instant): void {
    const relay = this.#numbers[number];
    if (relay !== undefined && elapsedMs(relay.answeredAt, now) > LONG_SILENCE_MS) this.doubted(number, now);
  }

  /** Somebody looks for us, who should have found us at our home. */
  lookedFor(now: Instant): void {
    if (this.#home !== null && elapsedMs(this.#home.answeredAt, now) > SURE_FOR_MS)
      this.#actions.check(this.#home.mesh, now);
  }

  // — what happens with a relay —

  /** It has answered by its active path. */
  answered(mesh: MeshPeer, now: Instant): void {
    const relay = this.#of(mesh);
    if (relay === undefined) return;
    relay.answeredAt = now;
    if (this.#choosingSince !== NEVER) {
      if (this.#contacted().every((other) => other.answeredAt >= this.#choosingSince)) this.#decide(now);
      else this.#decideAt = earliest(this.#decideAt, after(now, DECIDE_AFTER_FIRST_MS));
    }
    this.#allocate(relay, now);
  }

  /** Its packets go there now. */
  moved(mesh: MeshPeer, endpoint: Endpoint): void {
    const relay = this.#of(mesh);
    if (relay !== undefined && relay.number !== null) this.#actions.setRelay(relay.number, endpoint);
  }

  /** It may be reached in another way than before. */
  reachable(mesh: MeshPeer, now: Instant): void {
    const relay = this.#of(mesh);
    if (relay === undefined) return;
    relay.answeredAt = LONG_AGO;
    relay.avoidUntil = LONG_AGO;
    relay.refused = null;
    if (relay.users.size > 0) relay.contactAt = now;
    if (this.#running && (this.#home === null || this.#home === relay)) {
      this.#retries = 0;
      this.#retryAt = now;
    }
  }

  /** It did not answer. */
  silent(mesh: MeshPeer, now: Instant): void {
    const relay = this.#of(mesh);
    if (relay === undefined) return;
    this.#actions.count('relaysSilent');
    relay.answeredAt = LONG_AGO;
    // Perhaps it was restarted and knows no session, but its slots are the same.
    if (relay === this.#home) this.#homeLost(now);
    else if (relay.users.size > 0) relay.contactAt = now;
  }

  /** Its session is over, at this end too. */
  sessionOver(mesh: MeshPeer, now: Instant): void {
    const relay = this.#of(mesh);
    if (relay === undefined || (relay.slot === null && relay !== this.#home)) return;
    this.#lose(relay, now);
    if (relay === this.#home) this.#homeLost(now);
    else if (relay.users.size > 0) relay.contactAt = now;
  }

  /** A new session, perhaps with a relay that was restarted and knows nothing of the slot that it gave. */
  sessionWorks(mesh: MeshPeer, now: Instant): void {
    const relay = this.#of(mesh);
    if (relay === undefined || (relay.slot === null && !this.#isWanted(relay))) return;
    relay.allocations = 0;
    this.#request(relay, now);
  }

  slot(mesh: MeshPeer, txid: number, slot: Uint8Array, now: Instant): void {
    const relay = this.#of(mesh);
    if (relay === undefined || relay.txid !== txid || relay.allocations === 0) {
      this.#actions.count('relayFramesUnexpected');
      return;
    }
    relay.allocateAt = NEVER;
    relay.allocations = 0;
    relay.refused = null;
    if (!this.#isWanted(relay)) relay.releaseAt = after(now, RELEASE_AFTER_MS);
    const fresh = relay.slot === null || toHex(relay.slot) !== toHex(slot);
    relay.slot = slot;
    if (!this.#number(relay)) return;
    if (relay === this.#home) this.#tell(relay, slot, now);
    else this.#actions.keepalive(relay.mesh, RELAY_KEEPALIVE_S, now);
    if (fresh) for (const peer of relay.users) this.#actions.changed(peer, true, now);
  }

  refused(mesh: MeshPeer, txid: number, reason: RelayRefusal, now: Instant): void {
    const relay = this.#of(mesh);
    // With 0 it takes back what it gave: its quota is used up.
    if (relay === undefined || (txid !== 0 && txid !== relay.txid)) {
      this.#actions.count('relayFramesUnexpected');
      return;
    }
    this.#actions.count('relaysRefused');
    relay.refused = reason;
    this.#avoid(relay, now);
  }

  /** It stops soon: first another home, then it is left. */
  draining(mesh: MeshPeer, seconds: number, now: Instant): void {
    const relay = this.#of(mesh);
    if (relay === undefined) return;
    relay.avoidUntil = after(now, Math.max(AVOID_MS, seconds * 1_000));
    if (relay === this.#home) this.#retryAt = now;
  }

  #avoid(relay: Relay, now: Instant): void {
    relay.avoidUntil = after(now, AVOID_MS);
    this.#lose(relay, now);
    if (relay === this.#home) this.#homeLost(now);
  }

  // — a home —

  #isWanted(relay: Relay): boolean {
    return relay === this.#home || relay.users.size > 0;
  }

  #homeLost(now: Instant): void {
    if (this.#home !== null && !this.#relays.has(this.#home.mesh.node.id)) this.#home = null;
    if (this.#running && this.#choosingSince === NEVER) this.#retryAt = now;
  }

  /** The first ones, the home among them. */
  #contacted(): Relay[] {
    const all = [...this.#relays.values()].filter(({ avoidUntil }) => avoidUntil <= this.#choosingSince);
    return all.sort((a, b) => Number(b === this.#home) - Number(a === this.#home)).slice(0, MEASURED_MAX);
  }

  #choose(now: Instant): void {
    this.#choosingSince = now;
    this.#decideAt = after(now, DECIDE_MAX_MS);
    this.#retryAt = NEVER;
    const contacted = this.#contacted();
    if (contacted.length === 0) this.#decide(now);
    for (const relay of contacted) this.#contact(relay, now);
  }

  /** A session, or a sign that there is one. */
  #contact(relay: Relay, now: Instant): void {
    relay.contactAt = NEVER;
    if (relay.mesh.paths?.live === true && relay.answeredAt !== LONG_AGO) this.#actions.check(relay.mesh, now);
    else this.#actions.begin(relay.mesh, now);
  }

  #decide(now: Instant): void {
    const contacted = this.#contacted();
    const up = contacted.filter(({ answeredAt }) => answeredAt >= this.#choosingSince);
    this.#decideAt = NEVER;
    this.#choosingSince = NEVER;
    let best = up.find((relay) => relay === this.#home) ?? null;
    for (const relay of up) if (best === null || isClearlyShorter(rttOf(relay), rttOf(best))) best = relay;
    if (best === null) {
      // One that drains is better than none, for as long as it is there.
      if (this.#home?.slot != null) this.#retryLater(now);
      else this.#noHome(now);
      return;
    }
    this.#retries = 0;
    if (best !== this.#home) this.#actions.count('relaysChosen');
    const before = this.#home;
    this.#home = best;
    this.#checkAt = after(now, HOME_CHECK_MS);
    best.releaseAt = NEVER;
    this.#actions.keepalive(best.mesh, RELAY_KEEPALIVE_S, now);
    if (before !== null && before !== best && before.users.size === 0) before.releaseAt = after(now, RELEASE_AFTER_MS);
    for (const relay of contacted) if (!this.#isWanted(relay)) relay.releaseAt = after(now, RELEASE_AFTER_MS);
    if (best.slot === null) this.#allocate(best, now);
    else {
      this.#tell(best, best.slot, now);
      // It is ours as far as we know; asking does no harm.
      if (best !== before) this.#ask(best, now);
    }
  }

  #noHome(now: Instant): void {
    this.#home = null;
    this.#checkAt = NEVER;
    this.#untell();
    // Attempts that nobody answers go on for a while by themselves; these are begun anew instead.
    for (const relay of this.#relays.values()) if (relay.users.size === 0) this.#actions.end(relay.mesh, now);
    this.#retryLater(now);
  }

  #retryLater(now: Instant): void {
    if (this.#relays.size === 0) return;
    this.#retryAt = after(now, Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(this.#retries, 16)));
    this.#retries++;
  }

  #tell(relay: Relay, slot: Uint8Array, now: Instant): void {
    const home = { relay: relay.mesh.node.id, slot: toHex(slot) };
    if (this.#told !== null && this.#told.home.relay === home.relay && this.#told.home.slot === home.slot) return;
    this.#told = { relay, home };
    this.#checkAt = after(now, HOME_CHECK_MS);
    this.#actions.home(home);
  }

  #untell(): void {
    if (this.#told === null) return;
    this.#told = null;
    this.#actions.home(null);
  }

  // — slots —

  #allocate(relay: Relay, now: Instant): void {
    if (relay.slot === null && this.#isWanted(relay) && relay.avoidUntil <= now) this.#ask(relay, now);
  }

  #ask(relay: Relay, now: Instant): void {
    if (relay.allocateAt !== NEVER) return;
    relay.allocations = 0;
    this.#request(relay, now);
  }

  #request(relay: Relay, now: Instant): void {
    if (relay.allocations >= ALLOCATIONS_MAX) {
      this.#unanswered(relay, now);
      return;
    }
    relay.allocations++;
    relay.txid = this.#actions.drawTxid() || 1;
    relay.allocateAt = after(now, ALLOCATE_REPEAT_MS);
    this.#actions.frame(relay.mesh, encodeRelayAllocate(relay.txid), now);
  }

  /** A relay that answers pings and not this is of no use for a while; one that answers nothing is as good as silent. */
  #unanswered(relay: Relay, now: Instant): void {
    const speaks = elapsedMs(relay.answeredAt, now) < ALLOCATIONS_MAX * ALLOCATE_REPEAT_MS;
    if (speaks) this.#avoid(relay, now);
    else {
      this.#lose(relay, now);
      this.silent(relay.mesh, now);
    }
  }

  /** Our place there is gone. */
  #lose(relay: Relay, now: Instant): void {
    relay.allocateAt = NEVER;
    relay.allocations = 0;
    if (relay.slot === null) return;
    relay.slot = null;
    for (const peer of relay.users) this.#actions.changed(peer, false, now);
  }

  /** False when there are as many already; then it cannot be used. */
  #number(relay: Relay): boolean {
    if (relay.number === null) {
      for (let number = 1; number <= RELAYS_MAX && relay.number === null; number++) {
        if (this.#numbers[number] === undefined) relay.number = number;
      }
      if (relay.number === null) {
        relay.slot = null;
        return false;
      }
      this.#numbers[relay.number] = relay;
    }
    this.#actions.setRelay(relay.number, relay.mesh.paths?.active?.endpoint ?? null);
    return true;
  }

  #freeNumber(relay: Relay, now: Instant): void {
    const { number } = relay;
    if (number === null) return;
    relay.number = null;
    this.#numbers[number] = undefined;
    this.#actions.forget(number, now);
    this.#actions.setRelay(number, null);
  }

  // — time —

  handleDeadline(now: Instant): void {
    if (this.deadline > now) return;
    if (this.#decideAt <= now) this.#decide(now);
    if (this.#retryAt <= now) this.#choose(now);
    if (this.#checkAt <= now && this.#home !== null) {
      this.#checkAt = after(now, HOME_CHECK_MS);
      this.#actions.check(this.#home.mesh, now);
    }
    for (const relay of [...this.#relays.values()]) {
      if (relay.contactAt <= now) this.#contact(relay, now);
      if (relay.allocateAt <= now) this.#request(relay, now);
      if (relay.releaseAt <= now) this.#release(relay, now);
    }
  }

  #release(relay: Relay, now: Instant): void {
    relay.releaseAt = NEVER;
    if (this.#isWanted(relay)) return;
    this.#lose(relay, now);
    this.#freeNumber(relay, now);
    this.#actions.keepalive(relay.mesh, 0, now);
    this.#actions.end(relay.mesh, now);
  }

  #of(mesh: MeshPeer): Relay | undefined {
    const relay = this.#relays.get(mesh.node.id);
    return relay?.mesh === mesh ? relay : undefined;
  }
}

function rttOf(relay: Relay): number {
  return relay.mesh.paths?.active?.rttMs ?? Number.POSITIVE_INFINITY;
}
