// The steps of seeded scripts about paths: relays that are set and forgotten, peers behind them, datagrams that they bring, slots
// of this plane's own users and what these send each other, path MTUs, SYNs, frames to any endpoint.

import { concat, writeU16be, writeU32le } from '../../src/base/bytes.ts';
import type { Endpoint } from '../../src/base/ip.ts';
import { relayedEndpoint } from '../../src/base/relayed.ts';
import { endpoint } from './lab.ts';
import { ipv4, ipv6, padded } from './packets.ts';
import {
  controlDatagram,
  counterFor,
  PLAIN_STEPS,
  plaintextOf,
  SOURCES,
  type Step,
  someLocal,
  someSession,
  toPeer,
} from './script-steps.ts';
import type { World } from './script-world.ts';

/** The last is also where peers are. */
const RELAYS: readonly Endpoint[] = ['203.0.113.50:3478', '[2001:db8:50::1]:3478', '192.0.2.3:51820'].map(endpoint);
const NUMBERS = [1, 2, 3, 64];
const SLOTS = [1, 2, 3, 4, 5, 6].map((last) => new Uint8Array([9, 0, 0, 0, 0, 0, 0, last]));
const ZERO_SLOT = new Uint8Array(8);
const PATH_MTUS = [0, 0, 100, 576, 1279, 1280, 1300, 1404, 1419, 1420, 9000];

const relayed = (slot: Uint8Array, inner: Uint8Array): Uint8Array =>
  concat(new Uint8Array([0x20, 0, 0, 0]), slot, inner);

function someSlot(world: World): Uint8Array {
  return world.random.chance(0.02) ? ZERO_SLOT : world.random.pick(SLOTS);
}

function someRelayedEndpoint(world: World): Endpoint {
  return relayedEndpoint(world.random.pick(NUMBERS), world.random.pick(SLOTS));
}

/** What may be inside a relayed datagram. */
function inner(world: World): Uint8Array {
  const { random } = world;
  switch (random.nextInt(0, 9)) {
    case 0:
      return world.bytes(random.pick([0, 3, 4, 31, 32, 63, 64, 91, 92, 147, 148]));
    case 1:
      return relayed(someSlot(world), controlDatagram(world));
    case 2:
      return controlDatagram(world);
    case 3: {
      const anything = world.bytes(random.nextInt(32, 200));
      writeU32le(anything, 0, 4);
      return anything;
    }
    default: {
      const session = someSession(world);
      return world.seal(session, plaintextOf(world), counterFor(world, session));
    }
  }
}

/** Cut perhaps, and from anywhere that is a relay or a user of one. */
function relayedArrives(world: World, source: Endpoint): void {
  const { random } = world;
  const datagram = relayed(someSlot(world), inner(world));
  const bytes = random.chance(0.02) ? datagram.subarray(0, random.nextInt(0, 16)) : datagram;
  world.receive(bytes, source, someLocal(world, source));
}

function syn(world: World, inward: boolean): Uint8Array {
  const { random } = world;
  const v6 = random.chance(0.5);
  const far = v6 ? random.pick(['fd00::2', 'fd00::3']) : random.pick(['10.0.0.2', '10.0.0.3']);
  const near = v6 ? 'fd00::1' : '10.0.0.1';
  const header = v6 ? 40 : 20;
  const addresses = inward ? { source: far, destination: near } : { source: near, destination: far };
  const packet = (v6 ? ipv6 : ipv4)({ ...addresses, protocol: 6, length: header + 40, mark: random.nextInt(0, 255) });
  packet[header + 12] = random.pick([0x50, 0x70, 0xa0, 0xa0, 0xa0, 0xf0]);
  packet[header + 13] = random.pick([0x02, 0x02, 0x12, 0x10]);
  const at = header + 20 + random.nextInt(0, 4);
  packet.fill(1, header + 20, at);
  packet.set([random.pick([2, 2, 2, 3]), random.pick([4, 4, 4, 3])], at);
  writeU16be(packet, at + 2, random.pick([536, 1160, 1220, 1260, 1360, 1380, 1460, 0xffff]));
  return packet;
}

const PATH_STEPS: readonly Step[] = [
  [
    20,
    'a relay is set',
    (world) => {
      const number = world.random.pick(NUMBERS);
      const at = world.random.chance(0.2) ? null : world.random.pick(RELAYS);
      world.all((plane) => plane.setRelay(number, at));
    },
  ],
  [
    15,
    'a peer is behind a relay',
    toPeer((world, peer) => {
      const at = someRelayedEndpoint(world);
      world.onPeer(peer, (plane, slot) => plane.setEndpoint(slot, at));
    }),
  ],
  [60, 'a relay brings a datagram', (world) => relayedArrives(world, world.random.pick(RELAYS))],
  [2, 'a relayed address is claimed', (world) => relayedArrives(world, someRelayedEndpoint(world))],
  [
    1,
    'a relay brings a flood',
    (world) => {
      const slot = someSlot(world);
      const message = world.withMac1(concat(new Uint8Array([1, 0, 0, 0]), world.bytes(144)));
      const relay = world.random.pick(RELAYS);
      for (let i = world.random.nextInt(100, 700); i > 0; i--) world.receive(relayed(slot, message), relay);
    },
  ],
  [
    20,
    'a peer gets a slot',
    toPeer((world, peer) => {
      const slot = world.random.chance(0.1) ? null : world.random.pick(SLOTS);
      const limits = world.random.pick([
        { bytesPerSecond: Number.POSITIVE_INFINITY, burstBytes: 0 },
        { bytesPerSecond: 1000, burstBytes: 2000 },
        { bytesPerSecond: 0, burstBytes: 500 },
      ]);
      world.onPeer(peer, (plane, number) => plane.setRelaySlot(number, slot, limits));
    }),
  ],
  [80, 'a user sends a relayed datagram', (world) => relayedArrives(world, world.random.pick(SOURCES))],
  [
    10,
    'a path MTU is found',
    toPeer((world, peer) => {
      const mtu = world.random.pick(PATH_MTUS);
      world.onPeer(peer, (plane, slot) => plane.setPathMtu(slot, mtu));
    }),
  ],
  [
    10,
    'a large packet from the tunnel',
    (world) => {
      const { random } = world;
      const length = random.pick([577, 1280, 1281, 1300, 1301, 1405, 1420]);
      const packet = random.chance(0.5) ? ipv4({ length }) : ipv6({ length });
      if ((packet[0] as number) >> 4 === 4) packet[6] = random.pick([0, 0x40, 0x60]);
      world.tunnel(packet);
    },
  ],
  [15, 'a SYN from the tunnel', (world) => world.tunnel(syn(world, false))],
  [
    15,
    'a SYN arrives',
    (world) => {
      const session = someSession(world);
      const source = SOURCES[session.peer.id % SOURCES.length] as Endpoint;
      const packet = syn(world, true);
      world.receive(world.seal(session, padded(packet, Math.ceil(packet.length / 16) * 16)), source);
    },
  ],
  [
    20,
    'a frame to any endpoint',
    toPeer((world, peer) => {
      const { random } = world;
      const frame = world.bytes(random.pick([1, 16, 17, 1400, 1420, 1500]));
      frame[0] = (frame[0] as number) & 15;
      const home = SOURCES[peer.id % SOURCES.length] as Endpoint;
      const to = random.chance(0.3) ? someRelayedEndpoint(world) : random.chance(0.5) ? home : random.pick(SOURCES);
      const options = { dontFragment: random.chance(0.5) };
      world.onPeer(peer, (plane, slot) => plane.sendFrameTo(slot, frame, to, options, world.now));
    }),
  ],
  [
    5,
    'send to anyone behind a relay',
    (world) => {
      const to = someRelayedEndpoint(world);
      const message = world.bytes(40);
      world.all((plane) => plane.sendTo(to, message));
    },
  ],
];

export const STEPS: readonly Step[] = [...PLAIN_STEPS, ...PATH_STEPS];
