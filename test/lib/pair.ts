// Two (or more) engines over reference planes in a simulated network under virtual time: the fixture of the lifecycle
// tests. `log` is what went over the wire, in words.

import { nodeProvider } from '../../src/crypto/node.ts';
import { createReferencePlane } from '../../src/dataplane/reference/plane.ts';
import type { Host } from '../../src/sim/host.ts';
import type { Datagram } from '../../src/sim/network.ts';
import { World } from '../../src/sim/world.ts';
import type { PeerState } from '../../src/wireguard/peer.ts';

export type Wire = 'initiation' | 'response' | 'cookie' | 'keepalive' | 'data' | 'other';

export function wireKind({ bytes }: Datagram): Wire {
  switch (bytes[0]) {
    case 1:
      return 'initiation';
    case 2:
      return 'response';
    case 3:
      return 'cookie';
    case 4:
      return bytes.length === 32 ? 'keepalive' : 'data';
    default:
      return 'other';
  }
}

export interface LogEntry {
  readonly at: number;
  readonly from: string;
  readonly kind: Wire;
  readonly bytes: Uint8Array;
}

export class Fixture {
  readonly world: World;
  readonly log: LogEntry[] = [];

  constructor(options: { seed?: number; idleTimeoutMs?: number } = {}) {
    this.world = new World({
      seed: options.seed ?? 1,
      crypto: nodeProvider,
      makePlane: () => createReferencePlane({ crypto: nodeProvider }),
      ...(options.idleTimeoutMs === undefined ? {} : { idleTimeoutMs: options.idleTimeoutMs }),
    });
    this.world.network.taps.push((datagram) => {
      const from = this.world.hosts.find((host) => host.endpoint === datagram.source)?.name ?? '?';
      this.log.push({ at: this.world.now, from, kind: wireKind(datagram), bytes: datagram.bytes });
    });
  }

  /** `alice:initiation`, in order, since `from` (an index into the log). */
  wire(from = 0): string[] {
    return this.log.slice(from).map((entry) => `${entry.from}:${entry.kind}`);
  }

  count(from: string, kind: Wire, since = 0): number {
    return this.log.filter((entry) => entry.from === from && entry.kind === kind && entry.at >= since).length;
  }

  /** Instants at which `from` sent messages of this kind. */
  times(from: string, kind: Wire): number[] {
    return this.log.filter((entry) => entry.from === from && entry.kind === kind).map((entry) => entry.at);
  }
}

export interface Pair extends Fixture {
  readonly alice: Host;
  readonly bob: Host;
}

export interface PairOptions {
  seed?: number;
  idleTimeoutMs?: number;
  aliceKeepaliveSeconds?: number;
  presharedKey?: Uint8Array;
  /** Bob does not know where Alice is until she speaks. */
  bobKnowsAlice?: boolean;
}

/** Alice and Bob, each the other's peer, both idle. */
export function pair(options: PairOptions = {}): Pair {
  const fixture = new Fixture(options);
  const alice = fixture.world.addHost('alice');
  const bob = fixture.world.addHost('bob');
  const psk = options.presharedKey === undefined ? {} : { presharedKey: options.presharedKey };
  bob.addPeer(alice, { endpoint: options.bobKnowsAlice ?? true, ...psk });
  alice.addPeer(bob, { keepaliveSeconds: options.aliceKeepaliveSeconds ?? 0, ...psk });
  return Object.assign(fixture, { alice, bob });
}

/** As `pair`, with a session that has carried one packet each way. The log is emptied. */
export function connectedPair(options: PairOptions = {}): Pair {
  const p = pair(options);
  p.alice.send(p.bob, 1);
  p.world.run(100);
  p.bob.send(p.alice, 1);
  p.world.run(100);
  if (stateOf(p.alice, p.bob) !== 'established' || stateOf(p.bob, p.alice) !== 'established') {
    throw new Error('the fixture could not connect its hosts');
  }
  p.log.length = 0;
  p.alice.received.length = 0;
  p.bob.received.length = 0;
  return p;
}

export function stateOf(host: Host, other: Host): PeerState['kind'] {
  return host.peerOf(other).state(host.plane.now()).kind;
}
