// The paths of one peer (docs/paths.md, "Choosing"): what is probed and when, which remote is active, and when its session is taken
// for lost. Joins path-set, choose, schedule and silence; sans-IO: time, the peer's record and what goes out are passed in.
// Begins with the peer's first attempt; a peer that nobody speaks to has none of it.

import { after, earliest, elapsedMs, type Instant, latest, NEVER } from '../base/instant.ts';
import type { Endpoint } from '../base/ip.ts';
import { choose } from './choose.ts';
import { InFlight } from './in-flight.ts';
import { MtuSearch } from './mtu-search.ts';
import { inOrder, isSurer } from './order.ts';
import type { PathOptions, PathOutputs } from './outputs.ts';
import { PathSet } from './path-set.ts';
import type { Remote, RemoteOrigin } from './remote.ts';
import {
  answerMissingMs,
  FIRST_PROBES_MS,
  isWorthProbing,
  nextProbeAt,
  type ProbeBudget,
  probeIntervalMs,
} from './schedule.ts';
import { Silence, type SilenceAct, type TrafficFacts } from './silence.ts';

/** News starts a remote afresh at most once in this: whoever makes news cannot make a storm of it. */
export const NEWS_INTERVAL_MIN_MS = 1_000;
/** Probes in vain after which a remote has failed, or one that worked is lost. */
export const FAILED_AFTER_PROBES = FIRST_PROBES_MS.length;
export const LOST_AFTER_PROBES = 3;
/** A remote that worked and has not answered is asked again so soon. */
const ASK_AGAIN_MS = 300;

const LONG_AGO = Number.NEGATIVE_INFINITY as Instant;

export interface Answer {
  readonly remote: Remote | null;
  readonly rttMs: number;
}

export class PeerPaths {
  readonly set = new PathSet();
  readonly #outputs: PathOutputs;
  readonly #budget: ProbeBudget;
  readonly #settles: boolean;
  readonly #silence = new Silence();
  readonly #mtu: MtuSearch;
  readonly #inFlight = new InFlight();
  /** Since when the active path is. */
  #activeSince: Instant = LONG_AGO;
  /** There is a session that may send. */
  #live = false;
  /** The active path has answered since the session or the network began. */
  #proven = false;
  /** No real data of late: nothing is probed. */
  #dormant = true;
  /** A session began, or a person asked: that counts as real data does. */
  #wantedAt: Instant = LONG_AGO;
  /** When the budget allows what was held back. */
  #budgetAt: Instant = NEVER;

  constructor(outputs: PathOutputs, budget: ProbeBudget, options: PathOptions = { settles: false }) {
    this.#outputs = outputs;
    this.#budget = budget;
    this.#settles = options.settles;
    this.#mtu = new MtuSearch(
      { probe: (bytes, now) => this.#probeMtu(bytes, now), limit: (mtu) => outputs.limitMtu(mtu) },
      () => outputs.deviceMtu(),
    );
  }

  get active(): Remote | null {
    return this.set.active;
  }

  get activeSince(): Instant {
    return this.#activeSince;
  }

  /** The largest inner packet that the active path carries; null while it is not known. */
  get mtu(): number | null {
    return this.#mtu.mtu;
  }

  /** Small probes were answered there and large ones were not. */
  isBlackHole(remote: Remote): boolean {
    return remote === this.set.active && this.#mtu.isBlackHole;
  }

  get live(): boolean {
    return this.#live;
  }

  /** The active path has answered. */
  get proven(): boolean {
    return this.#proven;
  }

  get probesInFlight(): number {
    return this.#inFlight.size;
  }

  get deadline(): Instant {
    if (!this.#live) return NEVER;
    return earliest(earliest(this.#silence.deadline, this.#mtuAt()), this.#probesAt());
  }

  /** Sizes are tried while small pings are answered, and there is data. */
  #mtuAt(): Instant {
    return this.#proven && !this.#dormant && this.#silence.askingSince === null ? this.#mtu.deadline : NEVER;
  }

  #probesAt(): Instant {
    if (this.#dormant) return NEVER;
    if (this.#budgetAt !== NEVER) return this.#budgetAt;
    let next: Instant = NEVER;
    for (const remote of this.set.all()) next = earliest(next, remote.nextProbeAt);
    return next;
  }

  // — what is known of the peer —

  /** All that the netmap and punches name now, and its relayed endpoints. Those that are new are probed from now on. */
  tell(origins: readonly RemoteOrigin[], now: Instant): void {
    const told = new Set<Endpoint>();
    for (const origin of origins) {
      const known = this.set.get(origin.endpoint);
      const remote = known ?? this.set.add(origin, now);
      if (remote === null) {
        this.#outputs.refused('remote');
        continue;
      }
      told.add(origin.endpoint);
      remote.told = true;
      remote.kind = origin.kind;
      remote.sameLink = origin.sameLink;
      if (known === undefined && this.#live && !this.#settles) remote.startRound(now);
    }
    for (const remote of this.set.all()) {
      if (told.has(remote.endpoint)) continue;
      remote.told = false;
      this.#dropIfUseless(remote);
    }
    this.#probeDue(now);
  }

  /** An initiation has gone to these: without a session that is what says whether they lead anywhere. */
  initiated(endpoints: readonly Endpoint[], now: Instant): void {
    if (this.#live) return;
    for (const remote of this.set.all()) {
      if (!endpoints.includes(remote.endpoint)) continue;
      const roundMs = FIRST_PROBES_MS[FIRST_PROBES_MS.length - 1] as number;
      const inVain = remote.unanswered >= LOST_AFTER_PROBES && remote.silentForMs(now) >= roundMs;
      if (remote.state === 'probing' && inVain) this.#failed(remote, now);
      else if (remote.state === 'works') remote.doubt(now);
      remote.asked(now);
    }
  }

  /** There is a reason to try these again: the peer is looking for us from there (a punch). */
  news(endpoints: readonly Endpoint[], now: Instant): void {
    if (!this.#live) return;
    for (const endpoint of endpoints) {
      const remote = this.set.get(endpoint);
      if (remote !== undefined) this.#startAfresh(remote, now);
    }
    this.#probeDue(now);
  }

  /** A relayed endpoint leads nowhere any more: its relay is gone, or we have no place there. */
  forget(endpoint: Endpoint, now: Instant): void {
    const remote = this.set.get(endpoint);
    if (remote === undefined) return;
    const wasActive = remote === this.set.active;
    this.set.remove(remote);
    if (!wasActive) return;
    this.#fallBack(now);
    if (this.#live) this.#startAll(now);
    this.#probeDue(now);
  }

  // — sessions —

  /**
   * An authenticated handshake message came from there. It is where a first session begins; a path that has been proved is not left
   * for it. True when it is the active path now.
   */
  handshakeFrom(origin: RemoteOrigin, now: Instant): boolean {
    const remote = this.#seen(origin, now);
    if (remote === null) return false;
    if (!this.#live || !this.#proven) this.#use(remote, now);
    return remote === this.set.active;
  }

  /** A keypair may send. */
  sessionWorks(now: Instant): void {
    const renewed = this.#live && this.#proven;
    this.#live = true;
    this.#silence.reset();
    this.#outputs.rearm(now);
    if (renewed) return;
    // What answered in the session before, or before the doubt, has to answer in this.
    for (const remote of this.set.all()) remote.doubt(now);
    this.#wantedAt = now;
    if (this.#settles) this.#startActive(now);
    else this.#startAll(now);
    this.#probeDue(now);
  }

  /** There is no session, or none that leads anywhere. */
  sessionOver(): void {
    this.#live = false;
    this.#proven = false;
    this.#dormant = true;
    this.#budgetAt = NEVER;
    this.#silence.reset();
    this.#mtu.forget();
    this.#inFlight.clear();
    for (const remote of this.set.all()) remote.nextProbeAt = NEVER;
  }

  // — packets —

  /** An authenticated packet came from there, which is not where our packets go (rule 6). */
  heardFrom(origin: RemoteOrigin, now: Instant): void {
    const remote = this.#seen(origin, now);
    if (remote === null || !this.#live || remote === this.set.active) return;
    if (!this.#proven) {
      // Nothing is known to be better yet than where the peer's newest packet came from.
      this.#use(remote, now);
      this.#startAfresh(remote, now);
    } else {
      this.#silence.heardElsewhere(now);
      this.#startAfresh(remote, now);
      this.#do(this.#silence.ask({ strict: true, pinged: false }, this.#facts(), now), now);
    }
    this.#probeDue(now);
  }

  /** A ping of the peer came from there: a path of its packets, like any other. */
  pingedFrom(origin: RemoteOrigin, now: Instant): void {
    const known = this.set.get(origin.endpoint);
    const remote = this.#seen(origin, now);
    if (remote === null || !this.#live || remote === this.set.active) return;
    this.#silence.pingedElsewhere(now);
    if (remote.state !== 'works') this.#startAfresh(remote, now);
    if (known === undefined) {
      // It has never been there: perhaps it has moved, and is not where our packets go. That counts also without data.
      this.#probeNow(remote, now);
      this.#do(this.#silence.ask({ strict: true, pinged: false }, this.#facts(), now), now);
    }
    this.#probeDue(now);
  }

  /** Null when none of our pings to this peer has that txid. */
  pong(txid: number, now: Instant, observed: Endpoint | null = null): Answer | null {
    const ping = this.#inFlight.take(txid);
    if (ping === null) return null;
    const rttMs = Math.max(0, elapsedMs(ping.at, now));
    const remote = this.answered(ping.endpoint, rttMs, now);
    if (remote !== null && remote === this.set.active) {
      if (ping.bytes > 0) this.#mtu.answered(ping.bytes, now);
      else this.#mtu.smallAnswered();
    }
    if (remote !== null && !remote.isRelayed) remote.local = observed ?? remote.local;
    return { remote, rttMs };
  }

  /** A ping to `endpoint` was answered, ours or a person's. Null when that is no remote of the peer any more. */
  answered(endpoint: Endpoint, rttMs: number, now: Instant): Remote | null {
    const remote = this.set.get(endpoint);
    if (remote === undefined || !this.#live) return null;
    remote.answered(rttMs, now);
    if (remote.nextProbeAt !== NEVER) remote.nextProbeAt = nextProbeAt(remote.sent, remote.lastProbeAt);
    if (remote === this.set.active) {
      this.#proven = true;
      this.#do(this.#silence.activeAnswered(now), now);
    } else {
      this.#do(this.#silence.otherAnswered(this.#facts(), now), now);
    }
    this.#chooseBest(now);
    this.#beginMtu(now);
    return remote;
  }

  /** A datagram of ours was too big for the interface that it would have left by, or the device's MTU is another. */
  tooBig(now: Instant): void {
    if (this.#live && this.#proven && !this.#settles) this.#mtu.again(now);
  }

  /** The plane says that data has gone out to which nothing has come in yet (rules 5 and 7). */
  dataWaits(now: Instant): void {
    if (!this.#live) return;
    this.#wake(now);
    this.#do(this.#silence.dataWaits(this.#facts(), now), now);
    this.#probeDue(now);
  }

  /** Something that the active path answers has just left: a person's ping. */
  asked(now: Instant): void {
    if (!this.#live) return;
    this.#wantedAt = now;
    this.set.active?.asked(now);
    this.#wake(now);
    this.#do(this.#silence.ask({ strict: false, pinged: true }, this.#facts(), now), now);
    this.#probeDue(now);
  }

  /** Our own network is another: everything is probed at once, and proves itself anew. */
  moved(now: Instant): void {
    if (!this.#live) return;
    for (const remote of this.set.all()) remote.doubt(now);
    this.#proven = false;
    this.#do(this.#silence.ask({ strict: false, pinged: false }, this.#facts(), now), now);
    this.#startAll(now);
    // Also for a peer without traffic: one probe each shows it where we are. The active one is being asked already.
    for (const remote of inOrder(this.set)) if (remote !== this.set.active) this.#probeNow(remote, now);
  }

  /** A reason to ask the active path, though nothing waits for an answer: only one to this counts. */
  check(now: Instant): void {
    if (!this.#live) return;
    this.#do(this.#silence.ask({ strict: true, pinged: false }, this.#facts(), now), now);
  }

  handleDeadline(now: Instant): void {
    if (!this.#live) return;
    this.#do(this.#silence.handleDeadline(this.#facts(), now), now);
    this.#probeDue(now);
    if (!this.#live || this.#mtuAt() > now) return;
    if (this.#isWanted(now)) this.#mtu.handleDeadline(this.set.active?.rttMs ?? null, now);
    else this.#sleep(now);
  }

  #isWanted(now: Instant): boolean {
    return isWorthProbing(latest(this.#outputs.traffic().lastData, this.#wantedAt), now);
  }

  // — sizes —

  #beginMtu(now: Instant): void {
    if (this.#settles || !this.#live || !this.#proven || this.#dormant) return;
    this.#mtu.begin(now);
  }

  #probeMtu(bytes: number, now: Instant): 'sent' | 'tooBig' | 'failed' {
    const { active } = this.set;
    if (active === null) return 'failed';
    const txid = this.#drawTxid();
    this.#budget.spend(now);
    const sent = this.#outputs.probeMtu(active.endpoint, txid, bytes, now);
    if (sent === 'sent') this.#inFlight.add(txid, { endpoint: active.endpoint, at: now, bytes });
    if (sent !== 'tooBig') this.#pingActive(now);
    return sent;
  }

  // — the active path —

  #facts(): TrafficFacts {
    const { awaitedSince, lastReceive } = this.#outputs.traffic();
    let longestRttMs = 0;
    for (const { rttMs } of this.set.all()) longestRttMs = Math.max(longestRttMs, rttMs ?? 0);
    return { awaitedSince, lastReceive, rttMs: this.set.active?.rttMs ?? null, longestRttMs };
  }

  #do(acts: readonly SilenceAct[], now: Instant): void {
    for (const act of acts) {
      switch (act) {
        case 'ping':
          this.#pingActive(now);
          if (this.set.active !== null) this.#outputs.doubted?.(this.set.active.endpoint, now);
          break;
        case 'lost':
          this.#activeLost(this.#silence.askingSince ?? now, now);
          break;
        case 'handshake':
          this.sessionOver();
          this.#outputs.handshake(now);
          break;
        case 'rearm':
          this.#outputs.rearm(now);
          break;
      }
    }
  }

  #pingActive(now: Instant): void {
    const { active } = this.set;
    if (active === null) return;
    this.#budget.spend(now);
    this.#ping(active, now);
    active.asked(now);
  }

  /** Only what has answered since it was asked is taken for working; without that the relay is, for it is the surest (rule 5). */
  #activeLost(since: Instant, now: Instant): void {
    const { active } = this.set;
    this.#proven = false;
    if (active !== null) active.enter('lost', 'silent', now);
    for (const remote of this.set.all()) if (remote.answeredAt < since) remote.doubt(now);
    if (!this.#chooseBest(now)) this.#fallBack(now);
    if (this.#settles) this.#wantedAt = now;
    this.#startAll(now);
    this.#probeDue(now);
    this.#outputs.lost?.(now);
  }

  /** True when there is one that works. */
  #chooseBest(now: Instant): boolean {
    const best = choose(this.set.all(), this.set.active);
    if (best === null) return false;
    if (this.#settles) this.#settle(best);
    if (best === this.set.active) return true;
    this.#use(best, now);
    this.#proven = true;
    // The last word of where we are.
    if (this.#settles) this.#pingActive(now);
    this.#do(this.#silence.activeAnswered(now), now);
    return true;
  }

  /** The relay, or what worked last. */
  #fallBack(now: Instant): void {
    let best: Remote | null = null;
    for (const remote of this.set.all()) {
      if (remote === this.set.active || (!remote.isRelayed && remote.rttMs === null)) continue;
      if (best === null || isSurer(remote, best)) best = remote;
    }
    if (best !== null) this.#use(best, now);
  }

  #use(remote: Remote, now: Instant): void {
    if (remote === this.set.active) return;
    this.set.active = remote;
    this.#activeSince = now;
    this.#proven = false;
    this.#silence.movedOn();
    this.#mtu.forget();
    this.#outputs.use(remote.endpoint, now);
  }

  // — probes —

  #seen(origin: RemoteOrigin, now: Instant): Remote | null {
    const remote = this.set.add(origin, now);
    if (remote === null) this.#outputs.refused('remote');
    else remote.heardAt = now;
    return remote;
  }

  #startAfresh(remote: Remote, now: Instant): void {
    if (elapsedMs(remote.roundAt, now) < NEWS_INTERVAL_MIN_MS) return;
    this.#wake(now);
    remote.startRound(now);
  }

  #settle(on: Remote): void {
    for (const remote of this.set.all()) if (remote !== on) remote.nextProbeAt = NEVER;
  }

  #startActive(now: Instant): void {
    this.#dormant = false;
    this.set.active?.startRound(now);
  }

  #startAll(now: Instant): void {
    this.#dormant = false;
    for (const remote of this.set.all()) remote.startRound(now);
  }

  /** Data again after a while without: what was scheduled goes on where it stopped. */
  #wake(now: Instant): void {
    if (!this.#dormant) return;
    this.#dormant = false;
    for (const remote of this.set.all()) {
      if (this.#settles && remote !== this.set.active) continue;
      if (remote.sent === 0) remote.startRound(now);
      else remote.nextProbeAt = Math.max(now, nextProbeAt(remote.sent, remote.lastProbeAt)) as Instant;
    }
  }

  #sleep(now: Instant): void {
    this.#dormant = true;
    this.#budgetAt = NEVER;
    this.#mtu.pause();
    for (const remote of this.set.all()) {
      remote.nextProbeAt = NEVER;
      if (remote.state === 'probing' && remote.unanswered >= LOST_AFTER_PROBES) this.#failed(remote, now);
    }
  }

  #probeDue(now: Instant): void {
    if (!this.#live || this.#dormant) return;
    this.#budgetAt = NEVER;
    if (this.#probesAt() > now) return;
    if (!this.#isWanted(now)) {
      this.#sleep(now);
      return;
    }
    for (const remote of inOrder(this.set)) {
      if (remote.nextProbeAt > now) continue;
      this.#judge(remote, now);
      // It may have been dropped, or all of them may have been started afresh.
      if (this.set.get(remote.endpoint) !== remote || remote.nextProbeAt > now) continue;
      if (!this.#take(now)) {
        this.#budgetAt = this.#budget.readyAt(now);
        return;
      }
      this.#ping(remote, now);
      const asksAgain = remote.state === 'works';
      const missing = remote.unanswered > 0;
      remote.probed(now);
      remote.nextProbeAt = nextProbeAt(remote.sent, now);
      if (asksAgain) {
        const wait = missing ? ASK_AGAIN_MS : answerMissingMs(remote.rttMs);
        remote.nextProbeAt = earliest(remote.nextProbeAt, after(now, Math.min(wait, probeIntervalMs(remote.sent))));
      }
    }
  }

  #probeNow(remote: Remote, now: Instant): void {
    if (!this.#take(now)) return;
    this.#ping(remote, now);
    remote.probed(now);
    remote.nextProbeAt = nextProbeAt(remote.sent, now);
  }

  #take(now: Instant): boolean {
    if (this.#budget.take(now)) return true;
    this.#outputs.refused('probe');
    return false;
  }

  /** What the probes until now say of it. */
  #judge(remote: Remote, now: Instant): void {
    const silentMs = remote.silentForMs(now);
    if (remote.state === 'works') {
      if (remote.unanswered < LOST_AFTER_PROBES || silentMs < answerMissingMs(remote.rttMs)) return;
      if (remote === this.set.active) this.#activeLost(remote.unansweredSince, now);
      else {
        remote.enter('lost', 'silent', now);
        this.#dropIfUseless(remote);
      }
    } else if (remote.state === 'probing') {
      const roundMs = FIRST_PROBES_MS[FIRST_PROBES_MS.length - 1] as number;
      if (remote.unanswered >= FAILED_AFTER_PROBES && silentMs >= roundMs) this.#failed(remote, now);
    }
  }

  #failed(remote: Remote, now: Instant): void {
    const heard = remote.heardAt >= remote.unansweredSince;
    remote.enter('failed', heard ? 'oneWay' : 'filtered', now);
    this.#dropIfUseless(remote);
  }

  /** Nobody names it, and nothing came from there. What was seen makes room only for what is seen later. */
  #dropIfUseless(remote: Remote): void {
    if (remote.told || remote === this.set.active || remote.state === 'works') return;
    if (remote.kind === 'seen' || remote.isRelayed) return;
    if (remote.state === 'lost' && remote.sent < FAILED_AFTER_PROBES) return;
    this.set.remove(remote);
  }

  #ping(remote: Remote, now: Instant): void {
    const txid = this.#drawTxid();
    if (this.#outputs.ping(remote.endpoint, txid, now))
      this.#inFlight.add(txid, { endpoint: remote.endpoint, at: now, bytes: 0 });
  }

  #drawTxid(): number {
    let txid = this.#outputs.drawTxid();
    while (this.#inFlight.has(txid)) txid = (txid + 1) >>> 0;
    return txid;
  }
}
