// What a relay does for somebody who has proved nothing: nothing. Random bytes, strangers with keys of their own, and whatever a listener
// on the way has seen, sent again from elsewhere and changed; under load a cookie, which is smaller than what asked for it.

import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import type { Endpoint } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import type { Datagram } from '../../../src/sim/network.ts';
import { RELAY_ENDPOINT, type RelayNode, RelayWorld, relayedPair } from './relay-world.ts';

const COOKIE_REPLY_BYTES = 64;

function elsewhere(prng: Prng): Endpoint {
  return `203.0.113.${prng.nextInt(1, 254)}:${prng.nextInt(1_024, 65_535)}` as Endpoint;
}

/** Something that a listener could make of what it has seen. */
function forged(prng: Prng, seen: readonly Datagram[], slots: readonly Uint8Array[]): Uint8Array {
  if (prng.chance(0.2)) {
    const bytes = new Uint8Array(prng.nextInt(0, 300));
    prng.fill(bytes);
    if (prng.chance(0.5) && bytes.length > 4) bytes.set([prng.nextInt(1, 4), 0, 0, 0]);
    return bytes;
  }
  const original = (seen[prng.nextInt(0, seen.length - 1)] as Datagram).bytes;
  if (prng.chance(0.4)) {
    const slot = slots[prng.nextInt(0, slots.length - 1)] as Uint8Array;
    const inner = original[0] === 0x20 ? original.subarray(12) : original;
    return new Uint8Array([0x20, 0, 0, 0, ...slot, ...inner]);
  }
  const bytes = original.slice();
  for (let flips = prng.nextInt(0, 3); flips > 0; flips--) {
    bytes[prng.nextInt(0, bytes.length - 1)] = prng.nextInt(0, 255);
  }
  return prng.chance(0.1) ? bytes.slice(0, prng.nextInt(0, bytes.length)) : bytes;
}

describe('an address that has proved nothing', () => {
  test('is answered nothing and has nothing forwarded, whatever it sends', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const { world, relay, alice, bob } = relayedPair({}, seed);
      alice.send(bob, 1);
      world.run(500);
      bob.send(alice, 2);
      world.run(500);
      const prng = new Prng(seed);
      const seen = [...world.toRelay, ...world.fromRelay];
      const slots = [alice.slot as Uint8Array, bob.slot as Uint8Array, new Uint8Array(8), new Uint8Array(8).fill(9)];
      const sent = world.fromRelay.length;
      const forwarded = relay.machine.plane.totals().relayPackets;
      for (let i = 0; i < 100; i++) world.inject(forged(prng, seen, slots), elsewhere(prng));
      world.run(5_000);
      expect(world.fromRelay.length - sent, `seed ${seed}`).toBe(0);
      expect(relay.machine.plane.totals().relayPackets).toBe(forwarded);
      // Nor has it taken anything from those who are there.
      expect([...relay.engine.memberStatuses()].map(({ endpoint }) => endpoint)).toEqual([
        alice.machine.endpoint,
        bob.machine.endpoint,
      ]);
      alice.send(bob, 3);
      world.run(500);
      expect(bob.arrivals).toEqual([1, 3]);
    }
  });

  test('is answered nothing although it has a key of its own and the relay’s', () => {
    const { world, alice } = relayedPair();
    const stranger = world.addNode();
    const sent = world.fromRelay.length;
    for (let i = 0; i < 5; i++) {
      stranger.join();
      world.run(6_000);
    }
    expect(world.toRelay.some(({ source }) => source === stranger.machine.endpoint)).toBe(true);
    expect(world.fromRelay.slice(sent).filter(({ destination }) => destination !== alice.machine.endpoint)).toEqual([]);
  });

  test('cannot send with a slot that it knows from an address that it has not', () => {
    const { world, relay, alice, bob } = relayedPair();
    const carol = world.addNode();
    relay.delta({ op: 'put', node: carol.record() });
    // A member with a session, but without a slot of its own.
    carol.join();
    carol.ping();
    bob.act(() => undefined);
    carol.meet(alice);
    const before = relay.machine.plane.totals().relayPackets;
    carol.send(alice, 1);
    world.run(2_000);
    expect(relay.machine.plane.totals().relayPackets).toBe(before);
    expect(relay.machine.plane.drops().inRelayUnknown).toBeGreaterThan(0);
  });
});

describe('what is forwarded', () => {
  test('has the size that it had, and goes to the owner of the slot alone', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const world = new RelayWorld(seed);
      const nodes = Array.from({ length: 4 }, () => world.addNode());
      world.tellAll();
      for (const node of nodes) node.allocate();
      for (const node of nodes) for (const other of nodes) if (other !== node) node.meet(other);
      const pick = (): RelayNode => nodes[world.prng.nextInt(0, nodes.length - 1)] as RelayNode;
      for (let i = 1; i <= 60; i++) {
        const from = pick();
        const to = pick();
        if (from !== to) from.send(to, i, world.prng.nextInt(4, 1_200));
        world.run(world.prng.nextInt(1, 300));
      }
      const slotOf = new Map(nodes.map((node) => [toHex(node.slot as Uint8Array), node.machine.endpoint]));
      const inner = ({ bytes }: Datagram): string => toHex(bytes.subarray(12));
      const asked = new Map<string, Endpoint>();
      const relayed = ({ bytes }: Datagram): boolean => bytes[0] === 0x20;
      for (const datagram of world.toRelay.filter(relayed)) {
        asked.set(inner(datagram), slotOf.get(toHex(datagram.bytes.subarray(4, 12))) as Endpoint);
      }
      const out = world.fromRelay.filter(relayed);
      expect(out.length).toBeGreaterThan(20);
      for (const datagram of out) {
        expect(datagram.destination).toBe(asked.get(inner(datagram)));
        expect(slotOf.has(toHex(datagram.bytes.subarray(4, 12)))).toBe(true);
        expect(datagram.source).toBe(RELAY_ENDPOINT);
      }
    }
  });
});

describe('under load', () => {
  test('an initiation of anybody is answered with a cookie, which is smaller, and of a member’s nothing is lost', () => {
    const world = new RelayWorld(3);
    const member = world.addNode();
    world.tellAll();
    const strangers = Array.from({ length: 40 }, () => world.addNode());
    const questions: Datagram[] = [];
    // Held back, and then all at once.
    world.network.blocked = (datagram) => {
      if (datagram.destination !== RELAY_ENDPOINT) return false;
      questions.push(datagram);
      return true;
    };
    for (let round = 0; round < 5; round++) {
      for (const stranger of strangers) stranger.act((now) => stranger.engine.begin(first(stranger), now));
      world.run(5_400);
    }
    world.network.blocked = () => false;
    expect(questions.length).toBeGreaterThan(150);
    const { plane } = world.relay.machine;
    const sent = world.fromRelay.length;
    plane.io.setNow(world.now);
    for (const { bytes, source } of questions) plane.io.udpInput(bytes, source, RELAY_ENDPOINT);
    world.relay.act(() => undefined);
    const answers = world.fromRelay.slice(sent);
    expect(answers.length).toBeGreaterThan(10);
    expect(answers.length).toBeLessThanOrEqual(questions.length);
    for (const { bytes } of answers) {
      expect(bytes[0]).toBe(3);
      expect(bytes.length).toBe(COOKIE_REPLY_BYTES);
    }
    expect(questions.every(({ bytes }) => bytes.length > COOKIE_REPLY_BYTES)).toBe(true);
    // A member has to ask again with the cookie, and is in.
    member.join();
    world.run(12_000);
    member.allocate();
    expect(member.slot).not.toBeNull();
  });
});

function first(node: RelayNode) {
  const peer = node.engine.peers().next().value;
  if (peer === undefined) throw new Error('it has the relay as a peer');
  return peer;
}
