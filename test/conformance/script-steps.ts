// What a seeded script may do in one step, with the odds of each; what concerns relays and path MTUs is in script-path-steps.ts.
// Addresses, sources and prefixes come from small sets, so that prefixes nest and change hands, sources repeat, and messages meet
// keypairs in every state.

import { writeU16be, writeU32le } from '../../src/base/bytes.ts';
import { type Instant, NEVER } from '../../src/base/instant.ts';
import type { Endpoint } from '../../src/base/ip.ts';
import { DescriptorKind, type KeypairConfig, type PeerSlot } from '../../src/dataplane/dataplane.ts';
import { endpoint, PORT, prefix, REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES } from './lab.ts';
import { ipv4, ipv6, padded } from './packets.ts';
import { PUBLIC_KEYS, type ScriptPeer, type ScriptSession, type World } from './script-world.ts';

const PEERS_MAX = 6;
export const SOURCES: readonly Endpoint[] = [
  '192.0.2.2:51820',
  '192.0.2.2:7',
  '192.0.2.3:51820',
  '203.0.113.4:40000',
  '[2001:db8::2]:51820',
  '[2001:db8::3]:51820',
  '[2001:db8:0:1::3]:9',
  '[fe80::1%2]:51820',
  '[fe80::1%3]:51820',
].map(endpoint);
const LOCALS: readonly Endpoint[] = [`198.51.100.1:${PORT}`, `198.51.100.2:${PORT}`].map(endpoint);
const LOCALS6: readonly Endpoint[] = [`[2001:db8:1::1]:${PORT}`, `[2001:db8:1::2]:${PORT}`].map(endpoint);
const HOSTS4 = ['10.0.0.2', '10.0.0.3', '10.0.1.2', '10.1.0.2', '10.200.0.1', '172.16.0.1', '0.0.0.0', '224.0.0.1'];
const HOSTS6 = ['fd00::2', 'fd00::3', 'fd00:1::2', 'fd01::2', '2001:db8:99::1', 'ff02::1', '::'];
const PREFIXES = [
  ...[
    '10.0.0.0/8',
    '10.0.0.0/16',
    '10.0.0.0/24',
    '10.0.0.2/31',
    '10.0.0.2/32',
    '10.0.0.3/32',
    '10.1.0.0/16',
    '0.0.0.0/0',
  ],
  ...['fd00::/8', 'fd00::/16', 'fd00::/32', 'fd00::2/127', 'fd00::2/128', 'fd00:1::/32', '::/0'],
].map(prefix);
const LENGTHS = [20, 21, 28, 40, 41, 47, 48, 60, 100, 576, 1279, 1280, 1400, 1409, 1419, 1420, 1421, 1500, 4000];

export type Step = readonly [odds: number, name: string, run: (world: World) => unknown];

function somePeer(world: World): ScriptPeer {
  return world.peers.length === 0 ? addPeer(world) : world.random.pick(world.peers);
}

export function someSession(world: World): ScriptSession {
  // Mostly a recent one, so that most messages meet a keypair that is still there.
  const { sessions, random } = world;
  if (sessions.length === 0) return install(world, 'initiator');
  const low = random.chance(0.7) ? Math.max(0, sessions.length - 5) : 0;
  return sessions[random.nextInt(low, sessions.length - 1)] as ScriptSession;
}

function someSource(world: World, session: ScriptSession): Endpoint {
  const { random } = world;
  const home = SOURCES[session.peer.id % SOURCES.length] as Endpoint;
  return random.chance(0.9) ? home : random.pick(SOURCES);
}

export function someLocal(world: World, source: Endpoint): Endpoint {
  const { random } = world;
  const locals = source.startsWith('[') ? LOCALS6 : LOCALS;
  return random.chance(0.9) ? (locals[0] as Endpoint) : random.pick(locals);
}

function packet(world: World, inward: boolean): Uint8Array {
  const { random } = world;
  const length = random.pick(LENGTHS);
  const remote6 = random.chance(0.4);
  const mark = random.nextInt(0, 255);
  const protocol = random.pick([6, 17, 17, 17, 1, 58]);
  const hosts = remote6 ? HOSTS6 : HOSTS4;
  const far = random.chance(0.8) ? (hosts[random.nextInt(0, 2)] as string) : random.pick(hosts);
  const near = remote6 ? 'fd00::1' : '10.0.0.1';
  const addresses = inward ? { source: far, destination: near } : { source: near, destination: far };
  const options = { ...addresses, mark, protocol };
  const bytes = remote6 ? ipv6({ ...options, length: Math.max(length, 40) }) : ipv4({ ...options, length });
  if (random.chance(0.1)) return damagedHeader(world, bytes);
  return random.chance(0.2) ? padded(bytes, bytes.length + random.nextInt(1, 15)) : bytes;
}

function damagedHeader(world: World, bytes: Uint8Array): Uint8Array {
  const { random } = world;
  switch (random.nextInt(0, 3)) {
    case 0:
      writeU16be(bytes, random.pick([2, 4, 6]), random.nextInt(0, 0xffff));
      return bytes;
    case 1:
      bytes[0] = random.nextInt(0, 255);
      return bytes;
    case 2:
      return bytes.subarray(0, random.nextInt(0, bytes.length - 1));
    default:
      bytes[random.nextInt(0, 15)] = random.nextInt(0, 255);
      return bytes;
  }
}

function addPeer(world: World): ScriptPeer {
  const { random } = world;
  const peer = world.addPeer(random.chance(0.7));
  if (random.chance(0.9)) {
    const at = SOURCES[peer.id % SOURCES.length] as Endpoint;
    world.onPeer(peer, (plane, slot) => plane.setEndpoint(slot, at));
  }
  for (let i = random.nextInt(1, 4); i > 0; i--) {
    const text = random.pick(PREFIXES);
    world.onPeer(peer, (plane, slot) => plane.insertAllowedIp(slot, text));
  }
  return peer;
}

function install(world: World, role: KeypairConfig['role']): ScriptSession {
  const { random, now } = world;
  const peer = somePeer(world);
  const soon = (ms: number): Instant => (now + ms) as Instant;
  const lifetime = random.chance(0.8) ? 180_000 : random.nextInt(1, 2000);
  const first = random.chance(0.9) ? 0n : random.pick([2n ** 32n - 2n, 2n ** 53n - 2n, REJECT_AFTER_MESSAGES - 4n]);
  const localIndex = random.chance(0.5) ? (world.expected.pop() ?? world.nextIndex()) : world.nextIndex();
  // An expected index belongs to the peer that it was expected for: give it up before another takes it.
  world.all((plane) => plane.forgetIndex(localIndex));
  world.expected = world.expected.filter((index) => index !== localIndex);
  return world.install(peer, {
    localIndex,
    remoteIndex: random.nextU32(),
    sendKey: world.bytes(32),
    receiveKey: world.bytes(32),
    role,
    rejectAt: soon(lifetime),
    rekeyOnSendAt: random.chance(0.2) ? NEVER : soon(random.chance(0.5) ? 120_000 : random.nextInt(0, 3000)),
    rekeyOnReceiveAt: random.chance(0.2) ? NEVER : soon(random.chance(0.5) ? 165_000 : random.nextInt(0, 3000)),
    rekeyAfterMessages: random.chance(0.8) ? REKEY_AFTER_MESSAGES : BigInt(random.nextInt(0, 20)),
    rejectAfterMessages: random.chance(0.9) ? REJECT_AFTER_MESSAGES : first + BigInt(random.nextInt(0, 30)),
    ...(first === 0n ? {} : { firstSendCounter: first }),
  });
}

export function plaintextOf(world: World): Uint8Array {
  const { random } = world;
  const what = random.nextInt(0, 9);
  if (what === 0) return new Uint8Array(0);
  if (what === 1) {
    const frame = world.bytes(random.pick([1, 16, 48, 1500, 1504, 1505]));
    frame[0] = (frame[0] as number) & 15;
    return frame;
  }
  if (what === 2) return world.bytes(random.nextInt(1, 80));
  const inner = packet(world, true);
  return padded(inner, Math.ceil(inner.length / 16) * 16);
}

export function counterFor(world: World, session: ScriptSession): bigint {
  const { random } = world;
  const dice = random.nextInt(0, 19);
  if (dice === 0) session.counter += BigInt(random.pick([63, 64, 8127, 8128, 8129, 8192, 20_000]));
  if (dice === 1) {
    const back = BigInt(random.pick([1, 2, 64, 8127, 8128, 8129, 8130]));
    return session.counter > back ? session.counter - back : 0n;
  }
  if (dice === 2 && random.chance(0.1)) return random.pick([REJECT_AFTER_MESSAGES, 2n ** 64n - 1n]);
  return session.counter++;
}

function transport(world: World): void {
  const session = someSession(world);
  const source = someSource(world, session);
  const datagram = world.seal(session, plaintextOf(world), counterFor(world, session));
  const { random, held } = world;
  const dice = random.nextInt(0, 19);
  if (dice === 0) damage(world, datagram);
  if (dice >= 17) held.push({ datagram, source });
  if (held.length > 40) held.shift();
  if (dice !== 19) world.receive(datagram, source, someLocal(world, source));
}

function damage(world: World, datagram: Uint8Array): void {
  const at = world.random.nextInt(0, datagram.length - 1);
  datagram[at] = (datagram[at] as number) ^ (1 << world.random.nextInt(0, 7));
}

function control(world: World): void {
  const source = world.random.pick(SOURCES);
  world.receive(controlDatagram(world), source, someLocal(world, source));
}

export function controlDatagram(world: World): Uint8Array {
  const { random } = world;
  const index = random.pick([0, ...world.expected, ...world.sessions.map(({ config }) => config.localIndex)]);
  let datagram: Uint8Array;
  switch (random.nextInt(0, 3)) {
    case 0:
      datagram = world.bytes(148);
      writeU32le(datagram, 0, 1);
      world.withMac1(datagram);
      break;
    case 1:
      datagram = world.bytes(92);
      writeU32le(datagram, 0, 2);
      writeU32le(datagram, 8, index);
      world.withMac1(datagram);
      break;
    case 2:
      datagram = world.bytes(64);
      writeU32le(datagram, 0, 3);
      writeU32le(datagram, 4, index);
      break;
    default:
      datagram = world.bytes(random.pick([20, 44, 1504, 1505]));
      datagram.set([0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
  }
  if (random.chance(0.1)) damage(world, datagram);
  if (random.chance(0.05)) datagram = datagram.subarray(0, random.nextInt(0, datagram.length - 1));
  return datagram;
}

function flood(world: World): void {
  const { random } = world;
  const source = random.pick(SOURCES);
  const datagram = world.bytes(20);
  datagram.set([0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
  // From one source, which its own limit ends, or from a crowd, which only the slab ends.
  const crowd = random.nextInt(0, 2) === 0;
  for (let i = random.nextInt(100, 700); i > 0; i--) {
    world.receive(datagram, crowd ? endpoint(`203.0.113.${i & 127}:${i}`) : source);
  }
}

function poll(world: World): void {
  const { random } = world;
  world.poll((_, handles, kind) => {
    if (kind !== DescriptorKind.handshake && kind !== DescriptorKind.stun) return;
    const dice = random.nextInt(0, 3);
    if (dice === 0) {
      const answer = world.bytes(64);
      world.all((plane, i) => plane.reply(handles[i] as number, answer));
    } else if (dice === 1 && world.peers.length > 0) {
      const peer = random.pick(world.peers);
      world.all((plane, i) => plane.authenticated(peer.slots[i] as PeerSlot, handles[i] as number, world.now));
    }
  });
}

function advance(world: World): void {
  const { random } = world;
  const ms = random.pick([1, 1, 5, 9, 10, 11, 125, 1000, 1000, random.chance(0.1) ? 60_000 : 250]);
  world.now = (world.now + ms) as Instant;
  for (const plane of world.planes) plane.io.setNow(world.now);
}

export const toPeer = (run: (world: World, peer: ScriptPeer) => void) => (world: World) => run(world, somePeer(world));

export const PLAIN_STEPS: readonly Step[] = [
  [200, 'a transport message arrives', transport],
  [
    30,
    'a held message arrives again',
    (world) => {
      if (world.held.length === 0) return;
      const { datagram, source } = world.random.pick(world.held);
      world.receive(datagram, source);
    },
  ],
  [150, 'a packet from the tunnel', (world) => world.tunnel(packet(world, false))],
  [
    4,
    'a burst from the tunnel',
    (world) => {
      const bytes = packet(world, false);
      for (let i = world.random.nextInt(2, 200); i > 0; i--) world.tunnel(bytes);
    },
  ],
  [60, 'time passes', advance],
  [60, 'poll', poll],
  [40, 'a control datagram arrives', control],
  [1, 'a flood of STUN arrives', flood],
  [
    10,
    'garbage arrives',
    (world) => world.receive(world.bytes(world.random.nextInt(0, 200)), world.random.pick(SOURCES)),
  ],
  [
    30,
    're-arm',
    toPeer((world, peer) => {
      const bits = world.random.nextInt(0, 31);
      world.onPeer(peer, (plane, slot) => plane.rearm(slot, bits, world.now));
    }),
  ],
  [20, 'install as initiator', (world) => install(world, 'initiator')],
  [20, 'install as responder', (world) => install(world, 'responder')],
  [20, 'flush', toPeer((world, peer) => world.onPeer(peer, (plane, slot) => plane.flushStaged(slot, world.now)))],
  [
    5,
    'drop what is staged',
    toPeer((world, peer) => {
      const unreachable = world.random.chance(0.5);
      world.onPeer(peer, (plane, slot) => plane.dropStaged(slot, { unreachable }, world.now));
    }),
  ],
  [20, 'keepalive', toPeer((world, peer) => world.onPeer(peer, (plane, slot) => plane.sendKeepalive(slot, world.now)))],
  [
    10,
    'frame',
    toPeer((world, peer) => {
      const frame = world.bytes(world.random.pick([1, 15, 16, 17, 1400, 1500]));
      frame[0] = (frame[0] as number) & 15;
      world.onPeer(peer, (plane, slot) => plane.sendFrame(slot, frame, world.now));
    }),
  ],
  [
    15,
    'handshake out',
    toPeer((world, peer) => {
      const message = world.bytes(148);
      world.onPeer(peer, (plane, slot) => plane.sendHandshake(slot, message, world.now));
    }),
  ],
  [
    5,
    'send to anyone',
    (world) => {
      const to = world.random.pick(SOURCES);
      const message = world.bytes(40);
      world.all((plane) => plane.sendTo(to, message));
    },
  ],
  [
    20,
    'expect an index',
    toPeer((world, peer) => {
      const known = world.random.chance(0.2) ? world.sessions.at(-1)?.config.localIndex : undefined;
      const index = known ?? world.nextIndex();
      if (world.onPeer(peer, (plane, slot) => plane.expectIndex(index, slot))) world.expected.push(index);
    }),
  ],
  [
    10,
    'forget an index',
    (world) => {
      const expected = world.random.chance(0.8) ? world.expected.shift() : undefined;
      const index = expected ?? world.sessions.at(-1)?.config.localIndex;
      if (index !== undefined) world.all((plane) => plane.forgetIndex(index));
    },
  ],
  [5, 'expire sending', toPeer((world, peer) => world.onPeer(peer, (plane, slot) => plane.expireSending(slot)))],
  [5, 'clear keypairs', toPeer((world, peer) => world.onPeer(peer, (plane, slot) => plane.clearKeypairs(slot)))],
  [
    10,
    'add a peer',
    (world) => {
      if (world.peers.length < PEERS_MAX) addPeer(world);
    },
  ],
  [4, 'remove a peer', toPeer((world, peer) => world.removePeer(peer))],
  [
    20,
    'insert a prefix',
    toPeer((world, peer) => {
      const text = world.random.pick(PREFIXES);
      world.onPeer(peer, (plane, slot) => plane.insertAllowedIp(slot, text));
    }),
  ],
  [
    10,
    'remove a prefix',
    toPeer((world, peer) => {
      const text = world.random.pick(PREFIXES);
      world.onPeer(peer, (plane, slot) => plane.removeAllowedIp(slot, text));
    }),
  ],
  [
    10,
    'set the endpoint',
    toPeer((world, peer) => {
      const home = SOURCES[peer.id % SOURCES.length] as Endpoint;
      const at = world.random.chance(0.2) ? null : world.random.chance(0.7) ? home : world.random.pick(SOURCES);
      world.onPeer(peer, (plane, slot) => plane.setEndpoint(slot, at));
    }),
  ],
  [5, 'clear the source', toPeer((world, peer) => world.onPeer(peer, (plane, slot) => plane.clearSource(slot)))],
  [
    10,
    'set the deadline',
    (world) => {
      const at = world.random.chance(0.2) ? NEVER : ((world.now + world.random.nextInt(-10, 1000)) as Instant);
      world.all((plane) => plane.setDeadline(at));
    },
  ],
  [
    3,
    'the MTU changes',
    (world) => {
      const mtu = world.random.pick([1280, 1420, 1420, 1419, 9000]);
      for (const plane of world.planes) plane.io.setMtu(mtu);
    },
  ],
  [
    3,
    'our key changes',
    (world) => {
      world.publicKey = world.random.pick([PUBLIC_KEYS[0], PUBLIC_KEYS[0], PUBLIC_KEYS[1], null]);
      world.all((plane) => plane.setPublicKey(world.publicKey));
    },
  ],
  [3, 'unbind', (world) => world.all((plane) => plane.unbind())],
  [12, 'bind', (world) => world.all((plane) => plane.bind({ port: PORT, fwmark: 0 }))],
];
