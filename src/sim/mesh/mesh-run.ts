// One simulated run of a mesh: chaos, then healing, then convergence by a deadline, then silence, then first packets that are
// in time. A run is a function of its seed. The digest is over every datagram and control message sent, so that a replay can
// be shown to be the same byte for byte.

import { NEVER } from '../../base/instant.ts';
import { Prng } from '../../base/prng.ts';
import { unsettled } from './convergence.ts';
import { MeshChaos } from './mesh-chaos.ts';
import { MeshWorld, type MeshWorldOptions } from './mesh-world.ts';
import type { NodeHost } from './node-host.ts';
import { People } from './people.ts';
import type { Reached } from './reached.ts';

export interface MeshRunOptions extends Omit<MeshWorldOptions, 'machines'> {
  /** Virtual minutes of chaos. */
  readonly minutes: number;
  /** How many machines; null = drawn. */
  readonly nodes: number | null;
}

export interface MeshRunResult {
  readonly seed: number;
  readonly hosts: number;
  readonly violations: readonly string[];
  readonly story: readonly string[];
  /** Of every datagram and control message: 64-bit FNV-1a, in hexadecimal. */
  readonly digest: string;
  readonly datagrams: number;
  readonly controlMessages: number;
  readonly packetsDelivered: number;
  readonly transactions: number;
  readonly controllerStarts: number;
  readonly resyncs: number;
  /** What the run has met, by the counters of its processes. */
  readonly reached: Readonly<Reached>;
  /** Virtual ms from healing to every netmap being the controller's; null when it did not come to that. */
  readonly settledMs: number | null;
  /** The longest first packet after silence, of those that were measured. */
  readonly firstPacketMs: number | null;
}

/**
 * From healing to every netmap being the controller's. The longest way: a connection that died in silence is noticed after
 * three pings (60 s), and who was online before the last restart of the controller is shown as such for 90 s.
 */
const SETTLED_MS = 180_000;
/** People look at their machines this often. */
const LOOK_MS = 2_000;
/** As in the simulation of engines: silence is noticed after 15 s and a handshake retried after 5 more, at both ends in turn. */
const CONVERGENCE_MS = 45_000;
/** A session is closed after 300 s and keys are wiped after 540 s; after that an idle mesh must be perfectly still. */
const QUIET_AFTER_MS = 900_000;
const QUIET_FOR_MS = 600_000;
/** Less than the 1 s after which an attempt repeats itself: the first initiation, or the one after the reply, has to do. */
const FIRST_PACKET_MS = 600;
const PAIRS_MAX = 200;
const FIRST_PACKETS = 3;
/** Joins that were begun come to an end. */
const LAST_ACTS_MS = 15_000;
/** Every so many seeds a large one: their cost grows with the square. */
const LARGE_EVERY = 25;
/** Two more machines join at the end. */
const NEWCOMERS = 2;

export function simulateMesh(options: MeshRunOptions): MeshRunResult {
  const count = options.nodes ?? drawCount(options.seed);
  const world = new MeshWorld({ ...options, machines: count + NEWCOMERS });
  for (let i = 0; i < count; i++) world.addHost();
  const chaos = new MeshChaos(world);
  world.controller.start();
  chaos.begin();
  const chaosEnd = world.now + options.minutes * 60_000;
  while (world.now < chaosEnd) {
    // Larger meshes live faster, so that as much happens to each machine.
    world.run(world.prng.nextInt(1, 8_000) / Math.sqrt(count));
    chaos.act();
    world.check();
  }
  world.run(LAST_ACTS_MS);
  chaos.calm();
  const people = new People(
    world,
    world.hosts.filter(() => world.prng.chance(0.85)),
  );
  const settled = settle(world, people);
  let firstPacketMs: number | null = null;
  if (settled.ok && world.violations.length === 0) {
    converge(world, people.wanted);
    quiet(world);
    firstPacketMs = firstPackets(world, people);
    newcomers(world, people);
    world.check();
  }
  world.countAll();
  return {
    seed: options.seed,
    hosts: count,
    violations: world.violations,
    story: world.story,
    digest: world.digest.value(),
    datagrams: world.network.counts.sent,
    controlMessages: world.counts.controlMessages,
    packetsDelivered: world.traffic.delivered,
    transactions: world.committed.counts.transactions,
    controllerStarts: world.controller.counts.starts,
    resyncs: world.counts.resyncs,
    reached: world.reached,
    settledMs: settled.ok ? settled.ms : null,
    firstPacketMs,
  };
}

function drawCount(seed: number): number {
  const prng = new Prng(seed ^ 0x6d657368);
  if (seed % LARGE_EVERY === 0) return prng.nextInt(20, 50);
  return seed % 10 === 5 ? prng.nextInt(8, 14) : prng.nextInt(2, 6);
}

/** People bring back what is wanted; then every netmap has to become the controller's. */
function settle(world: MeshWorld, people: People): { ok: boolean; ms: number } {
  const began = world.now;
  world.runUntil(() => world.controller.core !== null, 1_000);
  people.prepare();
  let amiss: string[] = [];
  while (world.now - began < SETTLED_MS) {
    world.run(LOOK_MS);
    people.look();
    world.check();
    amiss = unsettled(world, people);
    if (amiss.length === 0) return { ok: true, ms: world.now - began };
  }
  for (const what of amiss) world.violated(`${SETTLED_MS / 1000} s after healing: ${what}`);
  return { ok: false, ms: SETTLED_MS };
}

/** Every machine that is in sends to every other once a second until a packet of each has arrived. */
function converge(world: MeshWorld, hosts: readonly NodeHost[]): void {
  const waiting = pairsOf(world, hosts).map(([a, b]) => ({ a, b, sequences: [] as number[] }));
  const deadline = world.now + CONVERGENCE_MS;
  let left = waiting;
  while (left.length > 0 && world.now < deadline) {
    for (const { a, b, sequences } of left) {
      const sequence = sendTo(world, a, b);
      if (sequence !== null) sequences.push(sequence);
    }
    world.run(1_000);
    left = left.filter(({ sequences }) => !sequences.some((sequence) => world.traffic.isDelivered(sequence)));
  }
  for (const { a, b } of left) {
    world.violated(`${a.name} > ${b.name}: no packet within ${CONVERGENCE_MS / 1000} s of convergence`);
  }
}

function pairsOf(world: MeshWorld, hosts: readonly NodeHost[]): [NodeHost, NodeHost][] {
  const pairs = hosts.flatMap((a) => hosts.filter((b) => b !== a).map((b): [NodeHost, NodeHost] => [a, b]));
  while (pairs.length > PAIRS_MAX) pairs.splice(world.prng.nextInt(0, pairs.length - 1), 1);
  return pairs;
}

/** A packet from `a` to where its netmap says that `b` is. */
function sendTo(world: MeshWorld, a: NodeHost, b: NodeHost): number | null {
  const self = b.mesh?.netmap.self ?? null;
  if (self === null) return null;
  return world.traffic.send(a, world.prng.chance(0.5) ? self.address4 : self.address6, 64);
}

/** Without traffic nobody sends, wakes, holds a key or has a deadline; the controller is at rest too. */
function quiet(world: MeshWorld): void {
  world.run(QUIET_AFTER_MS);
  const { sent } = world.network.counts;
  const { commits } = world.controller.store.counts;
  const { outputs } = world.controller.counts;
  const wakes = world.hosts.map((host) => host.wakes);
  world.run(QUIET_FOR_MS);
  if (world.network.counts.sent !== sent) world.violated('idle machines sent datagrams');
  if (world.controller.store.counts.commits !== commits) world.violated('an idle controller stored something');
  if (world.controller.counts.outputs !== outputs) world.violated('an idle controller said something');
  world.hosts.forEach((host, i) => {
    if (host.mesh === null) return;
    if (host.wakes !== wakes[i]) world.violated(`${host.name} was woken while idle`);
    if (host.mesh.nextDeadline() !== NEVER) world.violated(`${host.name} has a deadline while idle`);
    for (const peer of host.mesh.engine.peers()) {
      if (peer.session !== null) world.violated(`${host.name} kept keys while idle`);
    }
  });
}

/** Between idle machines, firewalls shut: in time, without waiting for a retry. The longest. */
function firstPackets(world: MeshWorld, { wanted }: People): number | null {
  let longest: number | null = null;
  for (let i = 0; i < FIRST_PACKETS && wanted.length >= 2; i++) {
    const a = world.prng.pick(wanted);
    const b = world.prng.pick(wanted.filter((host) => host !== a));
    const before = world.now;
    if (!arrivesInTime(world, a, b)) {
      world.violated(`${a.name} > ${b.name}: the first packet took more than ${FIRST_PACKET_MS} ms`);
    }
    longest = Math.max(longest ?? 0, world.now - before);
  }
  return longest;
}

function arrivesInTime(world: MeshWorld, a: NodeHost, b: NodeHost): boolean {
  const sequence = sendTo(world, a, b);
  return sequence !== null && world.runUntil(() => world.traffic.isDelivered(sequence), FIRST_PACKET_MS);
}

/** Two machines join at once; as soon as one knows the other it sends. */
function newcomers(world: MeshWorld, people: People): void {
  people.look();
  world.run(1_000);
  const { link } = people;
  const a = world.addHost();
  const b = world.addHost();
  a.join(link);
  b.join(link);
  world.tell(`${a.name} and ${b.name} join`);
  const knows = (): boolean => {
    const self = b.mesh?.netmap.self ?? null;
    return self !== null && a.mesh?.netmap.node(self.id) !== undefined;
  };
  if (!world.runUntil(knows, 5_000))
    world.violated(`${a.name} did not hear of ${b.name} within 5 s of joining; ${told(a)}; ${told(b)}`);
  else if (!arrivesInTime(world, a, b)) {
    world.violated(`${a.name} > ${b.name}, both new: the first packet took more than ${FIRST_PACKET_MS} ms`);
  }
}

function told(host: NodeHost): string {
  return `${host.name}: ${host.client?.status().message ?? 'off'}`;
}
