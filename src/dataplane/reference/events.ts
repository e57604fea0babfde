// What JavaScript is to be told about peers and the device, kept as sets so that nothing grows: an event that is pending
// already stays one event and carries the newest details. Peers are served in the order in which they became pending.

import type { Endpoint } from '../../base/ip.ts';
import { DescriptorKind, LinkChange, Notify, type PeerSlot } from '../dataplane.ts';

/** Within one peer, events come in this order. */
const PEER_EVENTS = [
  DescriptorKind.keypairConfirmed,
  DescriptorKind.roamed,
  DescriptorKind.sessionWanted,
  DescriptorKind.answerOwed,
  DescriptorKind.answerAwaited,
  DescriptorKind.rekeyWanted,
  DescriptorKind.sendFailed,
] as const;
type PeerEventKind = (typeof PEER_EVENTS)[number];

const EVERY_NOTIFICATION =
  Notify.sessionWanted | Notify.answerOwed | Notify.answerAwaited | Notify.rekeyOnSend | Notify.rekeyOnReceive;

/** The part of a peer that says what is to be told about it. */
export class PeerNews {
  readonly slot: PeerSlot;
  readonly pending = new Set<PeerEventKind>();
  /** Bits of Notify that may be raised. */
  armed = EVERY_NOTIFICATION;
  confirmedIndex = 0;
  roamedTo: Endpoint | null = null;
  rekeyReason = 0;
  sendErrno = 0;

  constructor(slot: PeerSlot) {
    this.slot = slot;
  }
}

export interface EventOut {
  readonly kind: number;
  readonly peer: PeerSlot | null;
  readonly value: number;
  readonly value2: number;
  readonly source: Endpoint | null;
}

export class Events {
  #peers: PeerNews[] = [];
  #mtu: number | null = null;
  #deadlineCame = false;
  readonly #wake: () => void;

  /** `wake` is called whenever something becomes pending. */
  constructor(wake: () => void) {
    this.#wake = wake;
  }

  raise(news: PeerNews, kind: PeerEventKind): void {
    if (news.pending.size === 0) this.#peers.push(news);
    news.pending.add(kind);
    this.#wake();
  }

  /** Raises `kind` if `bit` of Notify is armed, and disarms it. */
  notify(news: PeerNews, bit: number, kind: PeerEventKind): void {
    if ((news.armed & bit) === 0) return;
    news.armed &= ~bit;
    this.raise(news, kind);
  }

  /** Takes back an event that was not delivered yet. */
  withdraw(news: PeerNews, kind: PeerEventKind): boolean {
    if (!news.pending.delete(kind)) return false;
    if (news.pending.size === 0) this.#peers = this.#peers.filter((other) => other !== news);
    return true;
  }

  removePeer(news: PeerNews): void {
    if (news.pending.size === 0) return;
    news.pending.clear();
    this.#peers = this.#peers.filter((other) => other !== news);
  }

  raiseMtu(mtu: number): void {
    this.#mtu = mtu;
    this.#wake();
  }

  raiseDeadline(): void {
    this.#deadlineCame = true;
    this.#wake();
  }

  withdrawDeadline(): void {
    this.#deadlineCame = false;
  }

  /** Takes the next event, or undefined: the device's first, then the peers'. */
  take(): EventOut | undefined {
    if (this.#mtu !== null) {
      const mtu = this.#mtu;
      this.#mtu = null;
      return { kind: DescriptorKind.link, peer: null, value: LinkChange.mtu, value2: mtu, source: null };
    }
    if (this.#deadlineCame) {
      this.#deadlineCame = false;
      return { kind: DescriptorKind.deadline, peer: null, value: 0, value2: 0, source: null };
    }
    const news = this.#peers[0];
    if (news === undefined) return undefined;
    const kind = PEER_EVENTS.find((candidate) => news.pending.has(candidate));
    if (kind === undefined) return undefined;
    news.pending.delete(kind);
    if (news.pending.size === 0) this.#peers.shift();
    return {
      kind,
      peer: news.slot,
      value: eventValue(news, kind),
      value2: 0,
      source: kind === DescriptorKind.roamed ? news.roamedTo : null,
    };
  }
}

function eventValue(news: PeerNews, kind: PeerEventKind): number {
  switch (kind) {
    case DescriptorKind.keypairConfirmed:
      return news.confirmedIndex;
    case DescriptorKind.rekeyWanted:
      return news.rekeyReason;
    case DescriptorKind.sendFailed:
      return news.sendErrno;
    default:
      return 0;
  }
}
