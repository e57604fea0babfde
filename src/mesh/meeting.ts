// How two nodes meet (docs/mesh.md): every initiation goes to all candidates of a peer, with a punch over the controller that
// opens the other end's firewalls; what shows that a fresh initiation fares better than the last (a reply, new candidates,
// another network) sends one without waiting for REKEY_TIMEOUT. A session that works is renewed at its endpoint alone.

import { after, elapsedMs, type Instant, NEVER, UNSET } from '../base/instant.ts';
import { isRelayed } from '../base/relayed.ts';
import { RecordField } from '../dataplane/dataplane.ts';
import { bindingIndication } from '../path/stun/message.ts';
import type { Punch } from '../protocol/control.ts';
import type { Candidate } from '../protocol/values.ts';
import { KEEPALIVE_TIMEOUT_MS } from '../wireguard/constants.ts';
import type { MessageSource } from '../wireguard/message-source.ts';
import type { Peer } from '../wireguard/peer.ts';
import { drawTxid, type MeshContext, reachOf, reschedule } from './mesh-context.ts';
import { type MeetingState, type MeshPeer, meetingOf } from './mesh-peer.ts';
import { endpointOf, type Paths } from './paths.ts';

/** The one early repetition inside an attempt, by when an answer should have come on any path. */
export const REPEAT_AFTER_MS = 1_000;
/** Punches of one peer closer together than this are ignored. */
export const PUNCH_INTERVAL_MIN_MS = 50;

export class Meeting {
  readonly #context: MeshContext;
  readonly #paths: Paths;
  /** Those with an attempt that is running. */
  readonly #attempting = new Set<MeshPeer>();

  constructor(context: MeshContext, paths: Paths) {
    this.#context = context;
    this.#paths = paths;
  }

  // — what the engine says —

  /** True when it went to other addresses than the endpoint too. */
  initiationSent(mesh: MeshPeer, peer: Peer, message: Uint8Array, now: Instant): boolean {
    const meeting = meetingOf(mesh, now);
    this.#paths.attempted(mesh, peer, now);
    const first = meeting.attemptAt === null;
    if (first) {
      meeting.attemptAt = now;
      meeting.repeatAt = after(now, REPEAT_AFTER_MS);
      reschedule(this.#context, mesh);
    }
    const { replied } = meeting;
    meeting.replied = false;
    if (first && !meeting.wide && isAlive(peer, now)) return false;
    // A relay opens its doors to all members.
    if (!replied && !mesh.isRelay) this.#punch(mesh, meeting);
    return this.#sendToAll(mesh, peer, message, now);
  }

  #sendToAll(mesh: MeshPeer, peer: Peer, message: Uint8Array, now: Instant): boolean {
    let sent = false;
    const targets = this.#paths.targetsOf(mesh, peer, now);
    this.#paths.initiated(mesh, peer, targets, now);
    for (const endpoint of targets) {
      if (!this.#mayReach(mesh, now) || !this.#context.plane.sendTo(endpoint, message)) continue;
      this.#context.counters.count('initiationsElsewhere');
      sent = true;
    }
    return sent;
  }

  /** Takes from what may go to places that are not proved. */
  #mayReach(mesh: MeshPeer, now: Instant): boolean {
    if (meetingOf(mesh, now).unproved.take(now)) return true;
    this.#context.counters.count('unprovedLimited');
    return false;
  }

  /** Back where the initiation came from, and by relay too: what leads here need not lead back. */
  sendResponse(mesh: MeshPeer, peer: Peer, response: Uint8Array, source: MessageSource, now: Instant): boolean {
    const { plane } = this.#context;
    const from = endpointOf(source);
    const sent =
      from === peer.endpoint ? plane.sendHandshake(peer.slot, response, now) : plane.reply(source.handle, response);
    if (isRelayed(from)) return sent;
    let relayed = false;
    for (const { endpoint, kind } of this.#paths.originsOf(mesh, now)) {
      if (kind === 'relay' && plane.sendTo(endpoint, response)) relayed = true;
    }
    return sent || relayed;
  }

  #punch(mesh: MeshPeer, meeting: MeetingState): void {
    const txid = drawTxid(this.#context);
    meeting.punchTxid = txid;
    this.#context.counters.count('punchesSent');
    const { localCandidates, outputs } = this.#context;
    const candidates = [...localCandidates];
    outputs.punch({ type: 'punch', to: mesh.node.id, txid, reply: false, candidates, reach: reachOf(this.#context) });
  }

  peerChanged(mesh: MeshPeer, peer: Peer): void {
    if (peer.attempt !== null) {
      this.#attempting.add(mesh);
      return;
    }
    this.#attempting.delete(mesh);
    const { meeting } = mesh;
    if (meeting === null) return;
    meeting.attemptAt = null;
    meeting.wide = false;
    meeting.repeatAt = NEVER;
    meeting.punchTxid = null;
    meeting.replied = false;
    reschedule(this.#context, mesh);
  }

  /** Nothing of the peer is left here. */
  removed(mesh: MeshPeer): void {
    this.#attempting.delete(mesh);
    this.#context.deadlines.remove(mesh);
  }

  expire(mesh: MeshPeer, now: Instant): void {
    const { meeting, peer } = mesh;
    if (meeting !== null && peer !== null) {
      if (meeting.repeatAt <= now) {
        meeting.repeatAt = NEVER;
        this.#context.engine.hurry(peer, now);
      }
    }
  }

  // — candidates —

  /** What would be tried: what punches told before what the netmap says. */
  candidatesOf(mesh: MeshPeer): Candidate[] {
    return this.#context.usable.choose(mesh.meeting?.punched ?? [], mesh.node.candidates);
  }

  /** The netmap has other candidates for the peer. A session is left alone; an attempt goes to them at once. */
  candidatesChanged(mesh: MeshPeer, now: Instant): void {
    if (mesh.meeting !== null) mesh.meeting.punched = [];
    this.#candidatesKnown(mesh, now);
  }

  #candidatesKnown(mesh: MeshPeer, now: Instant): void {
    this.guessEndpoint(mesh, now);
    this.#paths.told(mesh, now);
    if (mesh.peer !== null && mesh.peer.attempt !== null) this.#context.engine.hurry(mesh.peer, now);
  }

  /** Until the peer has been heard its first candidate is taken for its endpoint. */
  guessEndpoint(mesh: MeshPeer, now: Instant): void {
    const { peer } = mesh;
    if (peer === null || mesh.proven) return;
    const { usable } = this.#context;
    const guess = mesh.override ?? usable.first(mesh.meeting?.punched ?? []) ?? usable.first(mesh.node.candidates);
    if (guess !== peer.endpoint) this.#context.engine.setEndpoint(peer, guess, now);
  }

  /** Ours are others: whoever is to let us in has to know. */
  localCandidatesChanged(now: Instant): void {
    for (const mesh of this.#attempting) if (mesh.peer !== null) this.#context.engine.hurry(mesh.peer, now);
  }

  // — punches —

  /** The peer wants to be let in, or (a reply) knows us and has opened its firewalls. */
  handlePunch(mesh: MeshPeer, punch: Punch, now: Instant): void {
    const { peer } = mesh;
    const { engine, counters, outputs } = this.#context;
    if (peer === null || !engine.running || mesh.isRelay) return;
    const meeting = meetingOf(mesh, now);
    const expected = punch.reply && meeting.punchTxid === punch.txid;
    // Replies that we wait for are as many as our punches, and need no limit.
    if (!expected && elapsedMs(meeting.lastPunchAt, now) < PUNCH_INTERVAL_MIN_MS) {
      counters.count('punchesLimited');
      return;
    }
    if (!expected) meeting.lastPunchAt = now;
    const news = isNews(this.candidatesOf(mesh), punch.candidates);
    if (punch.candidates.length > 0) meeting.punched = punch.candidates;
    this.guessEndpoint(mesh, now);
    this.#indicate(mesh, punch.candidates, now);
    this.#paths.told(mesh, now);
    if (!punch.reply) {
      counters.count('punchesAnswered');
      const { localCandidates } = this.#context;
      const candidates = [...localCandidates];
      outputs.punch({
        type: 'punch',
        to: punch.from,
        txid: punch.txid,
        reply: true,
        candidates,
        reach: reachOf(this.#context),
      });
    }
    const endpoints = punch.candidates.map(({ endpoint }) => endpoint);
    if (peer.attempt === null) this.#paths.news(mesh, endpoints, now);
    if (peer.attempt === null || !(expected || news)) return;
    if (expected) meeting.punchTxid = null;
    meeting.replied = expected;
    engine.hurry(peer, now);
  }

  /** What leaves opens the firewalls for what shall come. */
  #indicate(mesh: MeshPeer, candidates: readonly Candidate[], now: Instant): void {
    const { usable, plane, random, counters } = this.#context;
    for (const { endpoint } of usable.choose(candidates)) {
      if (usable.isOwn(endpoint) || !this.#mayReach(mesh, now)) continue;
      if (plane.sendTo(endpoint, bindingIndication(random))) counters.count('indicationsSent');
    }
  }

  /** A new session is wanted, wherever the peer is. */
  beginWide(mesh: MeshPeer, peer: Peer, now: Instant): void {
    const { engine, plane } = this.#context;
    meetingOf(mesh, now).wide = true;
    plane.clearSource(peer.slot);
    if (peer.attempt === null) engine.begin(peer, now);
    else engine.hurry(peer, now);
    // Nothing began (the link is down): the mark is for an attempt, not for the next one some day.
    if (peer.attempt === null) meetingOf(mesh, now).wide = false;
  }
}

/** A session that works, as far as one can tell: nothing that was sent has waited long for a word. */
function isAlive(peer: Peer, now: Instant): boolean {
  if (peer.state(now).kind !== 'established') return false;
  const awaited = peer.recordedInstant(RecordField.answerAwaitedSince);
  return awaited === UNSET || elapsedMs(awaited, now) < KEEPALIVE_TIMEOUT_MS;
}

function isNews(known: readonly Candidate[], told: readonly Candidate[]): boolean {
  return told.some(({ endpoint }) => !known.some((candidate) => candidate.endpoint === endpoint));
}
