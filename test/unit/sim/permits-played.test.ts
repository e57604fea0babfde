// What permits.ts reasons, played on the simulated ground: two machines that do what ICE does (host and reflexive candidates,
// sources that they learn, answers to where a datagram came from) meet if and only if the two places permit it.

import { describe, expect, test } from 'vitest';
import { type Endpoint, formatEndpoint } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import { placeOf, SITE_KINDS, type SiteKind } from '../../../src/sim/nat/kinds.ts';
import { permits } from '../../../src/sim/nat/permits.ts';
import type { Machine } from '../../../src/sim/nat/sites.ts';
import { Topology } from '../../../src/sim/nat/topology.ts';
import { Clock } from './clock.ts';

const PORT = 51_820;
const STUN_PORT = 3_478;
const ROUNDS = 5;
const [HELLO, ANSWER, WHERE] = [1, 2, 3];

/** Sends, learns, answers. The first byte says what, the second who. */
class Agent {
  readonly machine: Machine;
  readonly number: number;
  /** Of the other end, to be tried. */
  readonly known = new Set<Endpoint>();
  /** Of its own. */
  readonly candidates = new Set<Endpoint>();
  met = false;

  constructor(machine: Machine, number: number) {
    this.machine = machine;
    this.number = number;
    for (const family of [4, 6] as const) {
      const address = machine.addresses[family];
      if (address !== null) this.candidates.add(formatEndpoint(address, PORT));
    }
    machine.open(PORT, ({ bytes, source }) => {
      const [what, from] = bytes;
      if (what === WHERE) this.candidates.add(new TextDecoder().decode(bytes.subarray(2)) as Endpoint);
      if (from === this.number) return;
      if (what === HELLO) {
        this.known.add(source);
        machine.send(PORT, source, new Uint8Array([ANSWER, this.number]));
      }
      if (what === ANSWER) this.met = true;
    });
  }

  greet(endpoints: Iterable<Endpoint>): void {
    for (const endpoint of endpoints) this.machine.send(PORT, endpoint, new Uint8Array([HELLO, this.number]));
  }
}

function meet(seed: number, build: (topology: Topology) => [Machine, Machine]): boolean {
  const clock = new Clock();
  const topology = new Topology(clock, new Prng(seed));
  const third = topology.addMachine(
    'stun',
    topology.addSite({ name: 'stun', place: { ipv4: [], ipv6: [], tcpPorts: 'any' } }),
  );
  third.open(STUN_PORT, ({ source }) => {
    third.send(STUN_PORT, source, new Uint8Array([WHERE, 0, ...new TextEncoder().encode(source)]));
  });
  const agents = build(topology).map((machine, i) => new Agent(machine, i + 1)) as [Agent, Agent];
  const servers = [third.addresses[4], third.addresses[6]].filter((address) => address !== null);
  for (const { machine } of agents) {
    for (const address of servers) machine.send(PORT, formatEndpoint(address, STUN_PORT), new Uint8Array([0, 0]));
  }
  clock.run(100);
  const [a, b] = agents;
  for (const candidate of b.candidates) a.known.add(candidate);
  for (const candidate of a.candidates) b.known.add(candidate);
  for (let round = 0; round < ROUNDS; round++) {
    for (const agent of agents) agent.greet(agent.known);
    clock.run(100);
  }
  // One that has an answer has shown the way in both directions.
  return a.met || b.met;
}

const pairs = SITE_KINDS.flatMap((a) => SITE_KINDS.map((b): [SiteKind, SiteKind] => [a, b]));

describe('two machines meet if and only if their places permit it', () => {
  test.each(pairs)('%s and %s', (a, b) => {
    const verdict = permits(placeOf(a), placeOf(b)).path === 'direct';
    for (let seed = 1; seed <= 4; seed++) {
      const met = meet(seed, (topology) => {
        const [one, two] = [a, b].map((kind) => topology.addSite({ name: kind, place: placeOf(kind) }));
        return [topology.addMachine('a', one as never), topology.addMachine('b', two as never)];
      });
      expect(met).toBe(verdict);
    }
  });

  test.each(SITE_KINDS)('on one LAN: %s', (kind) => {
    expect(permits(placeOf(kind), placeOf(kind), { sameNetwork: true }).path).toBe('direct');
    const met = meet(1, (topology) => {
      const site = topology.addSite({ name: kind, place: placeOf(kind) });
      return [topology.addMachine('a', site), topology.addMachine('b', site)];
    });
    expect(met).toBe(true);
  });

  test.each(['carrierCone', 'carrierSymmetric'] as const)('behind one carrier: %s', (kind) => {
    const place = placeOf(kind);
    const verdict = permits(place, place, { sharedBoxes: 1 }).path === 'direct';
    const met = meet(1, (topology) => {
      const behaviour = place.ipv4?.at(-1);
      if (behaviour === undefined) throw new Error('a carrier has a NAT');
      const carrier = topology.addCarrier('carrier', behaviour);
      const [one, two] = [1, 2].map((n) => topology.addSite({ name: `${kind}${n}`, place, carrier }));
      return [topology.addMachine('a', one as never), topology.addMachine('b', two as never)];
    });
    expect(met).toBe(verdict);
  });
});
