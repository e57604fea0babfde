// One peer's paths under virtual time, against a peer that answers every ping by the way it came, after the round trip that a
// test gives that way, or never. Data is sent by the test; what the plane would stamp in the record is stamped here.

import { type Instant, NEVER, UNSET } from '../../../src/base/instant.ts';
import type { Endpoint, IpAddress } from '../../../src/base/ip.ts';
import { formatEndpoint } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import { relayedEndpoint } from '../../../src/base/relayed.ts';
import { PeerPaths } from '../../../src/path/peer-paths.ts';
import type { RemoteKind, RemoteOrigin } from '../../../src/path/remote.ts';
import { nodeProbeBudget, ProbeBudget } from '../../../src/path/schedule.ts';
import type { TokenBucket } from '../../../src/path/token-bucket.ts';

export const START = 1_000_000 as Instant;

export const at = (n: number): Endpoint => formatEndpoint(`198.51.100.${n}` as IpAddress, 51_820);
export const relayAt = (n: number): Endpoint => relayedEndpoint(n, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, n));

export function origin(endpoint: Endpoint, kind: RemoteKind = 'host', sameLink = false): RemoteOrigin {
  return { endpoint, kind, sameLink };
}

export const relay = (n: number): RemoteOrigin => origin(relayAt(n), 'relay');

interface Event {
  readonly at: Instant;
  readonly run: () => void;
}

export class Rig {
  now = START;
  readonly node: TokenBucket;
  readonly paths: PeerPaths;
  /** Round trip of each way; one that is not here leads nowhere. */
  readonly ways = new Map<Endpoint, number>();
  /** What came out, with the instant since START. */
  readonly pings: { at: number; endpoint: Endpoint; txid: number }[] = [];
  readonly uses: { at: number; endpoint: Endpoint }[] = [];
  readonly handshakes: number[] = [];
  /** Padded pings, and the largest that each way carries. */
  readonly large: { at: number; bytes: number }[] = [];
  readonly narrow = new Map<Endpoint, number>();
  readonly limits: { at: number; mtu: number }[] = [];
  deviceMtu = 1_420;
  interfaceMtu = 65_535;
  readonly refused = { probe: 0, remote: 0 };
  armed = true;
  awaitedSince: Instant = UNSET;
  lastReceive: Instant = UNSET;
  lastData: Instant = UNSET;
  /** The peer answers data at once, as TCP does. */
  answersData = true;
  #events: Event[] = [];
  #txid = 1;

  constructor(node: TokenBucket = nodeProbeBudget(START)) {
    this.node = node;
    this.paths = new PeerPaths(
      {
        ping: (endpoint, txid, now) => {
          this.pings.push({ at: now - START, endpoint, txid });
          const rtt = this.ways.get(endpoint);
          if (rtt !== undefined) this.later(rtt, () => this.pong(txid, endpoint));
          return true;
        },
        probeMtu: (endpoint, txid, bytes, now) => {
          this.large.push({ at: now - START, bytes });
          const rtt = this.ways.get(endpoint);
          if (bytes > this.interfaceMtu) return 'tooBig';
          if (rtt !== undefined && bytes <= (this.narrow.get(endpoint) ?? Number.POSITIVE_INFINITY)) {
            this.later(rtt, () => this.pong(txid, endpoint));
          }
          return 'sent';
        },
        limitMtu: (mtu) => this.limits.push({ at: this.t, mtu }),
        deviceMtu: () => this.deviceMtu,
        use: (endpoint, now) => this.uses.push({ at: now - START, endpoint }),
        handshake: (now) => this.handshakes.push(now - START),
        rearm: () => {
          this.armed = true;
          this.#notify();
        },
        drawTxid: () => this.#txid++,
        traffic: () => ({ awaitedSince: this.awaitedSince, lastReceive: this.lastReceive, lastData: this.lastData }),
        refused: (what) => {
          this.refused[what]++;
        },
      },
      new ProbeBudget(node, START),
    );
  }

  get t(): number {
    return this.now - START;
  }

  get active(): Endpoint | null {
    return this.paths.active?.endpoint ?? null;
  }

  state(endpoint: Endpoint): string | undefined {
    return this.paths.set.get(endpoint)?.state;
  }

  /** A session at `from`, with these remotes. */
  connect(from: RemoteOrigin, ...others: RemoteOrigin[]): void {
    this.lastData = this.now;
    this.paths.tell([from, ...others], this.now);
    this.paths.handshakeFrom(from, this.now);
    this.paths.sessionWorks(this.now);
  }

  /** One packet to the peer, by the active path, and its answer, if that path works. */
  send(): void {
    this.lastData = this.now;
    if (this.awaitedSince === UNSET) this.awaitedSince = this.now;
    const way = this.paths.active?.endpoint;
    const rtt = way === undefined ? undefined : this.ways.get(way);
    if (rtt !== undefined && this.answersData) this.later(rtt, () => this.receive());
    this.#notify();
  }

  receive(): void {
    this.lastReceive = this.now;
    this.lastData = this.now;
    this.awaitedSince = UNSET;
  }

  #notify(): void {
    if (!this.armed || this.awaitedSince === UNSET) return;
    this.armed = false;
    // The plane's event comes up with the next poll, never inside a call.
    this.later(0, () => this.paths.dataWaits(this.now));
  }

  pong(txid: number, _from: Endpoint): boolean {
    this.lastReceive = this.now;
    this.awaitedSince = UNSET;
    return this.paths.pong(txid, this.now) !== null;
  }

  later(delayMs: number, run: () => void): void {
    this.#events.push({ at: (this.now + delayMs) as Instant, run });
  }

  run(durationMs: number): void {
    const end = (this.now + durationMs) as Instant;
    for (;;) {
      const deadline = this.paths.deadline;
      const event = this.#events.reduce<Event | null>(
        (first, e) => (first === null || e.at < first.at ? e : first),
        null,
      );
      const next = Math.min(deadline, event?.at ?? NEVER);
      if (next > end) break;
      this.now = Math.max(this.now, next) as Instant;
      if (event !== null && event.at <= deadline) {
        this.#events = this.#events.filter((other) => other !== event);
        event.run();
      } else this.paths.handleDeadline(this.now);
    }
    this.now = end;
  }

  /** Data every `everyMs` for as long. */
  traffic(durationMs: number, everyMs = 50): void {
    for (let t = 0; t < durationMs; t += everyMs) {
      this.send();
      this.run(everyMs);
    }
  }

  pingsTo(endpoint: Endpoint, since = 0): number[] {
    return this.pings.filter((p) => p.endpoint === endpoint && p.at >= since).map((p) => p.at);
  }
}

export const seeded = (seed: number): Prng => new Prng(seed);
