// One simulated run: chaos, then heal, then convergence by a deadline, then silence (DESIGN: a run is a function of its
// seed). The digest is over every datagram sent, so that a replay can be shown to be the same byte for byte.

import type { CryptoProvider } from '../crypto/provider.ts';
import type { MemoryDataPlane } from '../dataplane/dataplane.ts';
import { Chaos } from './chaos.ts';
import { Digest } from './digest.ts';
import type { Host } from './host.ts';
import { Invariants } from './invariants.ts';
import { World } from './world.ts';

export interface RunOptions {
  readonly seed: number;
  /** Virtual minutes of chaos. */
  readonly minutes: number;
  readonly crypto: CryptoProvider;
  readonly makePlane: () => MemoryDataPlane;
}

export interface RunResult {
  readonly seed: number;
  readonly hosts: number;
  readonly violations: readonly string[];
  readonly story: readonly string[];
  /** Of every datagram sent: 64-bit FNV-1a, in hexadecimal. */
  readonly digest: string;
  readonly datagrams: number;
  readonly packetsDelivered: number;
  readonly handshakes: number;
}

/**
 * After healing: silence is noticed after 15 s and a handshake retried after 5 more, and both ends may have to go through
 * that in turn; a second each for jitter and latency.
 */
const CONVERGENCE_MS = 45_000;
/** Keys are wiped after 540 s; after that an idle group must be perfectly still. */
const QUIET_AFTER_MS = 600_000;
const QUIET_FOR_MS = 600_000;

export function simulate(options: RunOptions): RunResult {
  const world = new World({ seed: options.seed, crypto: options.crypto, makePlane: options.makePlane });
  const invariants = new Invariants();
  const digest = new Digest();
  const count = world.prng.nextInt(2, 8);
  for (let i = 1; i <= count; i++) world.addHost(`host${i}`);
  world.network.taps.push((datagram) => {
    digest.add(world.now, datagram.bytes);
    const from = world.hosts.find((host) => host.endpoint === datagram.source);
    if (from !== undefined) invariants.checkWire(from, datagram);
  });
  const chaos = new Chaos(world, invariants);
  const check = (): void => {
    for (const host of world.hosts) {
      invariants.checkFromPeersOnly(host, world.hosts);
      invariants.checkReceived(host);
      invariants.checkLimits(host);
    }
  };

  chaos.introduceAll();
  const chaosEnd = world.now + options.minutes * 60_000;
  while (world.now < chaosEnd) {
    chaos.act();
    // Checked after each act and each stretch of time: a peer that an act removed may have been one until then.
    check();
    world.run(world.prng.nextInt(1, 4_000));
    check();
  }
  world.run(15_000);
  chaos.heal();
  check();
  const unconverged = converge(world, chaos, invariants);
  check();
  const noisy = unconverged.length === 0 ? quiet(world) : [];
  return {
    seed: options.seed,
    hosts: count,
    violations: [...invariants.violations, ...unconverged, ...noisy],
    story: chaos.story,
    digest: digest.value(),
    datagrams: world.network.counts.sent,
    packetsDelivered: world.hosts.reduce((sum, host) => sum + host.received.length, 0),
    handshakes: world.hosts.reduce((sum, host) => sum + host.engine.counters.reached.responsesSent, 0),
  };
}

/** Every host sends to every other once a second until a packet of each has arrived; what has not by the deadline. */
function converge(world: World, chaos: Chaos, invariants: Invariants): string[] {
  const waiting = new Map<string, { a: Host; b: Host; sequences: number[] }>();
  for (const a of world.hosts) {
    for (const b of world.hosts) if (a !== b) waiting.set(`${a.name} > ${b.name}`, { a, b, sequences: [] });
  }
  const deadline = world.now + CONVERGENCE_MS;
  while (waiting.size > 0 && world.now < deadline) {
    for (const { a, b, sequences } of waiting.values()) sequences.push(chaos.send(a, b));
    world.run(1_000);
    for (const host of world.hosts) invariants.checkReceived(host);
    for (const [name, { a, b, sequences }] of waiting) {
      const arrived = sequences.some((sequence) =>
        [0, 1].some((i) => invariants.delivered(a.addresses[i] as never, b.addresses[i] as never, sequence)),
      );
      if (arrived) waiting.delete(name);
    }
  }
  return [...waiting.keys()].map((name) => `${name} did not converge within ${CONVERGENCE_MS / 1000} s of healing`);
}

/** Without traffic and persistent keepalives nobody sends, wakes or holds a key any more. */
function quiet(world: World): string[] {
  for (const host of world.hosts) {
    host.configure((engine, now) => {
      for (const peer of engine.peers()) {
        engine.setPersistentKeepalive(peer, 0, now);
        engine.configured(peer, now);
      }
    });
  }
  world.run(QUIET_AFTER_MS);
  const sent = world.network.counts.sent;
  const wakes = world.hosts.map((host) => host.wakes);
  world.run(QUIET_FOR_MS);
  const noisy: string[] = [];
  if (world.network.counts.sent !== sent) noisy.push('idle hosts sent datagrams');
  world.hosts.forEach((host, i) => {
    if (host.wakes !== wakes[i]) noisy.push(`${host.name} was woken while idle`);
    for (const peer of host.engine.peers()) if (peer.session !== null) noisy.push(`${host.name} kept keys while idle`);
  });
  return noisy;
}
