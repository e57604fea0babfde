// The relay engine under virtual time on the reference plane: whom it serves, what it forwards and for how long, and that it
// says nothing to anybody who has not proved a key.

import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import { NEVER } from '../../../src/base/instant.ts';
import type { Endpoint } from '../../../src/base/ip.ts';
import { RELAY_HEADER_BYTES } from '../../../src/base/relayed.ts';
import { encodePong, encodeRelayAllocate, encodeRelayDraining } from '../../../src/mesh/frames.ts';
import type { NodeId } from '../../../src/protocol/values.ts';
import { FRAMES_BURST, SILENT_SLOT_MS, SWEEP_MS } from '../../../src/relay/engine/relay-engine.ts';
import { nodeRecord } from '../mesh/node-record.ts';
import { RELAY_ENDPOINT, RelayWorld, relayedPair } from './relay-world.ts';

describe('two nodes behind a relay', () => {
  test('talk, and the relay sees ciphertext alone', () => {
    const { world, relay, alice, bob } = relayedPair();
    alice.send(bob, 1);
    world.run(500);
    bob.send(alice, 2);
    world.run(500);
    expect(bob.arrivals).toEqual([1]);
    expect(alice.arrivals).toEqual([2]);
    const relayed = world.fromRelay.filter(({ bytes }) => bytes[0] === 0x20);
    expect(relayed.length).toBeGreaterThanOrEqual(4);
    // From the relay, the slot is the sender's.
    const toBob = relayed.filter(({ destination }) => destination === bob.machine.endpoint);
    expect(new Set(toBob.map(({ bytes }) => toHex(bytes.subarray(4, RELAY_HEADER_BYTES))))).toEqual(
      new Set([toHex(alice.slot as Uint8Array)]),
    );
    const [one] = [...relay.engine.memberStatuses()].filter(({ node }) => node.id === (alice.id as NodeId));
    expect(one).toMatchObject({ slot: true, endpoint: alice.machine.endpoint });
    expect(one?.rxBytes).toBeGreaterThan(148);
    expect(one?.txBytes).toBeGreaterThan(92);
  });

  test('keep their slots when the relay restarts with its secret', () => {
    const { world, relay, alice, bob } = relayedPair();
    const before = toHex(alice.slot as Uint8Array);
    relay.restart();
    world.tellAll();
    // The sessions of before lead nowhere; whoever has something to say makes another.
    world.run(200_000);
    for (const node of [alice, bob]) {
      node.slot = null;
      node.act((now) => node.engine.flush(node.engine.peers().next().value as never, now));
      node.allocate();
    }
    expect(toHex(alice.slot ?? new Uint8Array(0))).toBe(before);
    alice.send(bob, 3);
    world.run(1_000);
    expect(bob.arrivals).toEqual([3]);
  });

  test('go on when one of them comes from another address, once it has authenticated something from there', () => {
    const { world, alice, bob } = relayedPair();
    alice.send(bob, 1);
    world.run(500);
    bob.machine.move('203.0.113.9:1234' as Endpoint);
    alice.send(bob, 2);
    bob.send(alice, 3);
    world.run(500);
    // Relayed datagrams prove nothing to the relay.
    expect(bob.arrivals).toEqual([1]);
    expect(alice.arrivals).toEqual([]);
    bob.ping();
    expect(bob.frames.at(-1)).toMatchObject({ kind: 'pong', observed: '203.0.113.9:1234' });
    alice.send(bob, 4);
    bob.send(alice, 5);
    world.run(500);
    expect(bob.arrivals).toEqual([1, 4]);
    expect(alice.arrivals).toEqual([5]);
  });
});

describe('a slot', () => {
  test('is given to a member that has a session, and the same when it asks again', () => {
    const { world, relay, alice, bob } = relayedPair();
    const first = toHex(alice.slot as Uint8Array);
    alice.allocate(99);
    expect(alice.frames.at(-1)).toMatchObject({ kind: 'relaySlot', txid: 99 });
    expect(toHex(alice.slot as Uint8Array)).toBe(first);
    expect(toHex(bob.slot as Uint8Array)).not.toBe(first);
    expect(relay.engine.status()).toEqual({ members: 2, sessions: 2, slots: 2, draining: false });
    world.run(1_000);
  });

  test.each(['remove', 'rekey', 'tag'] as const)('is gone at once when its member goes: %s', (how) => {
    const { world, relay, alice, bob } = relayedPair();
    alice.send(bob, 1);
    world.run(500);
    const record = bob.record();
    if (how === 'remove') relay.delta({ op: 'remove', id: record.id });
    if (how === 'rekey') relay.delta({ op: 'put', node: { ...record, publicKey: nodeRecord(77).publicKey } });
    if (how === 'tag') relay.delta({ op: 'put', node: { ...record, tags: ['relay'] } });
    const sent = world.fromRelay.length;
    alice.send(bob, 2);
    bob.send(alice, 3);
    bob.ping();
    world.run(500);
    expect(bob.arrivals).toEqual([1]);
    expect(alice.arrivals).toEqual([]);
    expect(world.fromRelay.length).toBe(sent);
    expect(relay.engine.status()).toMatchObject({ slots: 1, sessions: 1 });
    // Nor is it let in again.
    bob.act((now) => bob.engine.flush(bob.engine.peers().next().value as never, now));
    bob.join();
    expect(world.fromRelay.length).toBe(sent);
  });

  test('of a member whose session has ended is taken back', () => {
    const { world, relay } = relayedPair();
    world.run(SILENT_SLOT_MS - 10_000);
    expect(relay.engine.status().slots).toBe(2);
    world.run(SWEEP_MS + 10_000);
    expect(relay.engine.status().slots).toBe(0);
    world.run(600_000);
    expect(relay.engine.status()).toMatchObject({ sessions: 0, slots: 0 });
    // Then there is nothing to wake up for.
    expect(relay.engine.nextDeadline()).toBe(NEVER);
  });

  test('ends with its session, however that ends', () => {
    const { relay } = relayedPair();
    relay.act(({ engine }, now) => {
      for (const peer of engine.peers()) engine.flush(peer, now);
    });
    expect(relay.engine.status()).toMatchObject({ sessions: 0, slots: 0 });
  });

  test('is kept by a member that says something now and then', () => {
    const { world, relay, alice, bob } = relayedPair();
    const peer = alice.engine.peers().next().value as never;
    alice.act((now) => {
      alice.engine.setPersistentKeepalive(peer, 25, now);
      alice.engine.configured(peer, now);
    });
    world.run(1_800_000);
    expect(relay.engine.status().slots).toBe(1);
    bob.allocate();
    bob.send(alice, 8);
    world.run(1_000);
    expect(alice.arrivals).toEqual([8]);
  });

  test('is refused when there are as many as there may be', () => {
    const world = new RelayWorld(1, { slotsMax: 2 });
    const nodes = [world.addNode(), world.addNode(), world.addNode()];
    world.tellAll();
    for (const node of nodes) node.allocate(5);
    expect(nodes.map(({ slot }) => slot !== null)).toEqual([true, true, false]);
    expect(nodes[2]?.frames).toContainEqual({ kind: 'relayRefused', txid: 5, reason: 'full' });
    world.relay.delta({ op: 'remove', id: 1 as NodeId });
    nodes[2]?.allocate(6);
    expect(nodes[2]?.slot).not.toBeNull();
  });
});

describe('what a member may send', () => {
  test('is limited in bytes a second', () => {
    const { world, relay, alice, bob } = relayedPair({ bytesPerSecond: 100_000 });
    alice.send(bob, 0);
    world.run(500);
    const before = bob.arrivals.length;
    for (let i = 1; i <= 1_000; i++) alice.send(bob, i, 1_000);
    world.run(100);
    const burst = bob.arrivals.length - before;
    // The burst: 256 KiB in datagrams of some 1,100 bytes.
    expect(burst).toBeGreaterThan(220);
    expect(burst).toBeLessThan(260);
    expect(relay.machine.plane.drops().relayLimited).toBeGreaterThan(700);
    // Others are not held up by it.
    bob.send(alice, 1);
    world.run(100);
    expect(alice.arrivals).toEqual([1]);
  });

  test('ends for the day when its quota is used up, and begins again with the next', () => {
    const { world, relay, alice, bob } = relayedPair({ bytesPerDay: 20_000 });
    alice.send(bob, 0);
    world.run(500);
    for (let i = 1; i <= 30; i++) alice.send(bob, i, 1_000);
    world.run(10_000);
    expect(alice.frames.at(-1)).toEqual({ kind: 'relayRefused', txid: 0, reason: 'full' });
    const arrived = bob.arrivals.length;
    alice.send(bob, 99);
    world.run(1_000);
    expect(bob.arrivals.length).toBe(arrived);
    alice.allocate(4);
    expect(alice.frames.at(-1)).toEqual({ kind: 'relayRefused', txid: 4, reason: 'full' });
    expect(relay.engine.status().slots).toBe(1);
    expect(relay.engine.counters.counts.quotasExceeded).toBe(1);
    // Also for a member that leaves and comes back.
    relay.delta({ op: 'remove', id: 1 as NodeId });
    relay.delta({ op: 'put', node: alice.record() });
    alice.act((now) => alice.engine.flush(alice.engine.peers().next().value as never, now));
    alice.allocate(6);
    expect(alice.frames.at(-1)).toMatchObject({ kind: 'relayRefused', reason: 'full' });
    world.run(86_400_000);
    for (const node of [alice, bob]) {
      node.act((now) => node.engine.flush(node.engine.peers().next().value as never, now));
      node.allocate(5);
      expect(node.frames.at(-1)).toMatchObject({ kind: 'relaySlot', txid: 5 });
    }
  });

  test('is remembered over a restart by whoever keeps it', () => {
    const { world, relay, alice, bob } = relayedPair({ bytesPerDay: 1e9 });
    alice.send(bob, 0);
    world.run(6_000);
    const saved = relay.engine.usage.save(world.wall);
    expect(saved.bytes[alice.publicKey]).toBeGreaterThan(148);
    relay.restart();
    relay.engine.usage.restore(saved, world.wall);
    expect(relay.engine.usage.of(alice.publicKey, world.wall)).toBe(saved.bytes[alice.publicKey]);
    relay.engine.usage.restore({ ...saved, day: saved.day - 1 }, world.wall);
    expect(relay.engine.usage.of(alice.publicKey, world.wall)).toBe(saved.bytes[alice.publicKey]);
  });
});

describe('a member that says strange things', () => {
  test('is answered only so often', () => {
    const { world, relay, alice } = relayedPair();
    world.run(60_000);
    const sent = world.fromRelay.length;
    alice.act((now) => {
      const peer = alice.engine.peers().next().value;
      for (let i = 0; i < 200; i++) alice.machine.plane.sendFrame(peer?.slot as never, encodeRelayAllocate(i), now);
    });
    world.run(100);
    expect(world.fromRelay.length - sent).toBe(FRAMES_BURST);
    expect(relay.engine.counters.counts.framesLimited).toBe(200 - FRAMES_BURST);
    world.run(10_000);
    alice.ping();
    expect(alice.frames.at(-1)).toMatchObject({ kind: 'pong' });
  });

  test('with frames that are none, or not for a relay, is not answered', () => {
    const { world, relay, alice } = relayedPair();
    const sent = world.fromRelay.length;
    alice.say(encodePong(1, new Uint8Array(4), 5));
    alice.say(encodeRelayDraining(0, 5));
    alice.say(Uint8Array.of(1, 99, 0, 8, 0, 0, 0, 0));
    alice.say(Uint8Array.of(1, 3, 0, 99, 0, 0, 0, 0));
    expect(world.fromRelay.length).toBe(sent);
    expect(relay.engine.counters.counts).toMatchObject({ framesUnknown: 3, framesMalformed: 1 });
  });
});

describe('draining', () => {
  test('tells everyone who has a session, forwards on, and gives no slots any more', () => {
    const { world, relay, alice, bob } = relayedPair();
    const carol = world.addNode();
    relay.delta({ op: 'put', node: carol.record() });
    expect(relay.act((engine, now) => engine.drain(10, now))).toBe(2);
    world.run(100);
    for (const node of [alice, bob]) {
      expect(node.frames.at(-1)).toEqual({ kind: 'relayDraining', txid: 0, seconds: 10 });
    }
    alice.send(bob, 1);
    world.run(500);
    expect(bob.arrivals).toEqual([1]);
    carol.allocate(3);
    expect(carol.frames.at(-1)).toEqual({ kind: 'relayRefused', txid: 3, reason: 'draining' });
    expect(relay.engine.status()).toMatchObject({ draining: true, slots: 2 });
  });

  test('is over when nobody calls the relay its home and nothing is forwarded', () => {
    const { world, relay, alice, bob } = relayedPair();
    const at = (slot: Uint8Array) => ({ relay: relay.record().id, slot: toHex(slot) });
    const reach = (home: ReturnType<typeof at> | null) =>
      ({ home, mapping: 'unknown', udp: 'unknown', url: null }) as const;
    relay.delta({ op: 'put', node: { ...alice.record(), reach: reach(at(alice.slot as Uint8Array)) } });
    relay.act((engine, now) => engine.drain(10, now));
    world.run(100);
    expect(relay.engine.stillUsed()).toBe(1);
    relay.delta({ op: 'put', node: { ...alice.record(), reach: reach(null) } });
    expect(relay.engine.stillUsed()).toBe(0);
    alice.send(bob, 1);
    world.run(500);
    // Of both: the one that sent, and the one to which it went.
    expect(relay.engine.stillUsed()).toBe(2);
    expect(relay.engine.stillUsed()).toBe(0);
  });
});

describe('members', () => {
  test('that nobody hears from cost no timer and no packet, however many', () => {
    const world = new RelayWorld();
    const records = Array.from({ length: 10_000 }, (_, i) => nodeRecord(i + 2_000));
    const began = performance.now();
    world.relay.tell(records);
    expect(performance.now() - began).toBeLessThan(20_000);
    expect(world.relay.engine.status()).toMatchObject({ members: 10_000, sessions: 0 });
    expect(world.relay.engine.nextDeadline()).toBe(NEVER);
    const wakes = world.relay.machine.wakes;
    world.run(86_400_000);
    expect(world.relay.machine.wakes).toBe(wakes);
    expect(world.fromRelay).toEqual([]);
  });

  test('with a key that another has become peers when that one goes', () => {
    const world = new RelayWorld();
    const node = world.addNode();
    const twin = { ...nodeRecord(50), publicKey: node.publicKey };
    world.relay.tell([twin, node.record()]);
    expect(world.relay.engine.counters.counts.membersSkipped).toBe(1);
    world.relay.delta({ op: 'remove', id: twin.id });
    node.allocate();
    expect(node.slot).not.toBeNull();
  });

  test('are neither the relay itself nor other relays', () => {
    const world = new RelayWorld();
    world.relay.tell([nodeRecord(5, { tags: ['relay'] }), nodeRecord(6)]);
    expect(world.relay.engine.status().members).toBe(1);
  });

  test('are never called by the relay, not even when they fall silent', () => {
    const { world, alice, bob } = relayedPair();
    alice.send(bob, 1);
    world.run(500);
    world.network.detach(alice.machine.endpoint);
    world.network.detach(bob.machine.endpoint);
    world.run(3_600_000);
    expect(world.fromRelay.filter(({ bytes }) => bytes[0] === 1)).toEqual([]);
    expect(world.fromRelay.every(({ source }) => source === RELAY_ENDPOINT)).toBe(true);
  });
});
