// The further side of a plane under test: a clock, remote peers that hold the other half of each session, and decoded
// descriptors. Messages are built and opened with a crypto provider, not with a plane, so a rule is never checked against
// the code that is to follow it.

import { expect } from 'vitest';
import { ascii, concat, readU32le, readU64le, writeU32le, writeU64le } from '../../src/base/bytes.ts';
import { type Instant, NEVER } from '../../src/base/instant.ts';
import {
  type Endpoint,
  formatAddress,
  formatEndpoint,
  type IpPrefix,
  parseEndpoint,
  parsePrefix,
} from '../../src/base/ip.ts';
import { Prng } from '../../src/base/prng.ts';
import { nodeProvider } from '../../src/crypto/node.ts';
import {
  DESCRIPTOR_WORDS,
  type DropReason,
  type KeypairConfig,
  type LocalIndex,
  type MemoryDataPlane,
  type PeerSlot,
  RecordField,
} from '../../src/dataplane/dataplane.ts';

export interface PlaneOptions {
  readonly mtu?: number;
  readonly slabSlots?: number;
  readonly peersMax?: number;
  readonly onWake?: () => void;
}

/** How to make and end a plane of one kind. */
export interface PlaneHarness {
  readonly setup: (options: PlaneOptions) => MemoryDataPlane;
  readonly teardown: (plane: MemoryDataPlane) => void;
}

export const PORT = 51_820;
export const START = 1_000_000;
export const REJECT_AFTER_MESSAGES = 2n ** 64n - 2n ** 13n - 1n;
export const REKEY_AFTER_MESSAGES = 2n ** 60n;

const crypto = nodeProvider;
const NOTHING = new Uint8Array(0);

export function endpoint(text: string): Endpoint {
  const parsed = parseEndpoint(text);
  if (parsed === null) throw new Error(`not an endpoint: ${text}`);
  return parsed;
}

export function prefix(text: string): IpPrefix {
  const parsed = parsePrefix(text);
  if (parsed === null) throw new Error(`not a prefix: ${text}`);
  return parsed;
}

/** Where the plane's host is reached, in either family. */
export const LOCAL_V4 = endpoint(`198.51.100.1:${PORT}`);
export const LOCAL_V6 = endpoint(`[2001:db8:1::1]:${PORT}`);

/** One descriptor, read in full; `content` is a copy. */
export interface Seen {
  readonly kind: number;
  readonly peer: number;
  readonly source: Endpoint | null;
  readonly handle: number;
  readonly value: number;
  readonly value2: number;
  readonly time: number;
  readonly content: Uint8Array;
}

export function decodeDescriptor(plane: MemoryDataPlane, at: number): Seen {
  const first = at * DESCRIPTOR_WORDS;
  const words = plane.descriptors.subarray(first, first + DESCRIPTOR_WORDS);
  const word = (i: number): number => words[i] as number;
  const bytes = new Uint8Array(words.buffer, words.byteOffset + 32, 16);
  const family = word(4);
  const address = family === 0 ? null : formatAddress(bytes.slice(0, family === 4 ? 4 : 16));
  return {
    kind: word(0),
    peer: word(1),
    source: address === null ? null : formatEndpoint(address, word(5), word(6)),
    handle: word(7),
    value: word(12),
    value2: word(13),
    time: plane.descriptorTimes[(first + 14) / 2] as number,
    content: plane.slab.slice(word(2), word(2) + word(3)),
  };
}

export class Lab {
  readonly plane: MemoryDataPlane;
  readonly publicKey = new Uint8Array(32).fill(7);
  readonly random = new Prng(20_240_607);
  #now = START;
  #index = 100;

  constructor(plane: MemoryDataPlane) {
    this.plane = plane;
    plane.io.setNow(START as Instant);
    plane.setPublicKey(this.publicKey);
    expect(plane.bind({ port: PORT, fwmark: 0 })).toEqual({ ok: true, port: PORT });
  }

  get now(): Instant {
    return this.#now as Instant;
  }

  advance(ms: number): Instant {
    this.#now += ms;
    this.plane.io.setNow(this.now);
    return this.now;
  }

  nextIndex(): LocalIndex {
    return this.#index++ as LocalIndex;
  }

  bytes(length: number): Uint8Array {
    const out = new Uint8Array(length);
    this.random.fill(out);
    return out;
  }

  // — both further sides —

  tunnel(packet: Uint8Array): void {
    this.plane.io.tunInput(packet);
  }

  receive(datagram: Uint8Array, from: Endpoint, local: Endpoint = from.startsWith('[') ? LOCAL_V6 : LOCAL_V4): void {
    this.plane.io.udpInput(datagram, from, local);
  }

  toTunnel(): Uint8Array[] {
    return this.plane.io.takeTunOutput();
  }

  sent(): { datagram: Uint8Array; destination: Endpoint; source: Endpoint | null }[] {
    return this.plane.io.takeUdpOutput();
  }

  // — what JavaScript hears —

  /** Everything pending, released at once. */
  poll(): Seen[] {
    const seen: Seen[] = [];
    for (;;) {
      const count = this.plane.poll(this.now);
      for (let i = 0; i < count; i++) seen.push(decodeDescriptor(this.plane, i));
      this.plane.release(count);
      if (count < 256) return seen;
    }
  }

  kinds(): number[] {
    return this.poll().map((seen) => seen.kind);
  }

  /** Drops that are not zero. */
  drops(): Partial<Record<DropReason, number>> {
    return Object.fromEntries(Object.entries(this.plane.drops()).filter(([, count]) => count !== 0));
  }

  // — control datagrams, with what the plane looks at made right —

  #withMac1(message: Uint8Array): Uint8Array {
    const key = crypto.hash(ascii('mac1----'), this.publicKey);
    const mac1At = message.length - 32;
    message.set(crypto.mac(key, message.subarray(0, mac1At)), mac1At);
    return message;
  }

  initiation(): Uint8Array {
    const message = this.bytes(148);
    writeU32le(message, 0, 1);
    return this.#withMac1(message);
  }

  response(receiver: number): Uint8Array {
    const message = this.bytes(92);
    writeU32le(message, 0, 2);
    writeU32le(message, 8, receiver);
    return this.#withMac1(message);
  }

  cookieReply(receiver: number): Uint8Array {
    const message = this.bytes(64);
    writeU32le(message, 0, 3);
    writeU32le(message, 4, receiver);
    return message;
  }

  stun(length = 20): Uint8Array {
    const message = this.bytes(length);
    message.set([0x01, 0x01, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
    return message;
  }

  remote(options: RemoteOptions = {}): Remote {
    return new Remote(this, options);
  }
}

export interface RemoteOptions {
  readonly roaming?: boolean;
  /** Null = the plane does not know where the peer is. */
  readonly endpoint?: string | null;
  readonly allowedIps?: readonly string[];
}

/** A peer of the plane under test. Its tunnel addresses are 10.0.0.2 and fd00::2 unless said otherwise. */
export class Remote {
  readonly lab: Lab;
  readonly slot: PeerSlot;
  readonly endpoint: Endpoint;

  constructor(lab: Lab, options: RemoteOptions) {
    this.lab = lab;
    this.slot = lab.plane.addPeer({ roaming: options.roaming ?? true });
    this.endpoint = endpoint(options.endpoint ?? `192.0.2.2:${PORT}`);
    if (options.endpoint !== null) lab.plane.setEndpoint(this.slot, this.endpoint);
    for (const text of options.allowedIps ?? ['10.0.0.2/32', 'fd00::2/128']) {
      lab.plane.insertAllowedIp(this.slot, prefix(text));
    }
  }

  /** Installs a keypair in the plane and keeps the other half. */
  install(role: 'initiator' | 'responder' = 'initiator', overrides: Partial<KeypairConfig> = {}): Session {
    const { lab } = this;
    const initiator = role === 'initiator';
    const config: KeypairConfig = {
      localIndex: lab.nextIndex(),
      remoteIndex: lab.random.nextU32(),
      sendKey: lab.bytes(32),
      receiveKey: lab.bytes(32),
      role,
      rejectAt: (lab.now + 180_000) as Instant,
      rekeyOnSendAt: initiator ? ((lab.now + 120_000) as Instant) : NEVER,
      rekeyOnReceiveAt: initiator ? ((lab.now + 165_000) as Instant) : NEVER,
      rekeyAfterMessages: REKEY_AFTER_MESSAGES,
      rejectAfterMessages: REJECT_AFTER_MESSAGES,
      ...overrides,
    };
    lab.plane.installKeypair(this.slot, config);
    return new Session(this, config);
  }

  record(field: keyof typeof RecordField): number {
    const { view, offset } = this.lab.plane.record(this.slot);
    return view[offset + RecordField[field]] as number;
  }
}

/** The remote half of one keypair. */
export class Session {
  readonly remote: Remote;
  readonly config: KeypairConfig;
  counter = 0n;

  constructor(remote: Remote, config: KeypairConfig) {
    this.remote = remote;
    this.config = { ...config, sendKey: config.sendKey.slice(), receiveKey: config.receiveKey.slice() };
  }

  /** A transport message as the remote would send it; the next counter unless one is given. */
  seal(plaintext: Uint8Array, counter: bigint = this.counter++): Uint8Array {
    const header = new Uint8Array(16);
    writeU32le(header, 0, 4);
    writeU32le(header, 4, this.config.localIndex);
    writeU64le(header, 8, counter);
    return concat(header, crypto.seal(this.config.receiveKey, counter, plaintext, NOTHING));
  }

  /** Delivers a transport message to the plane. */
  deliver(plaintext: Uint8Array, from: { counter?: bigint; source?: Endpoint; local?: Endpoint } = {}): void {
    this.remote.lab.receive(this.seal(plaintext, from.counter), from.source ?? this.remote.endpoint, from.local);
  }

  keepalive(from: { counter?: bigint; source?: Endpoint; local?: Endpoint } = {}): void {
    this.deliver(NOTHING, from);
  }

  /** What the plane sent with this keypair; fails when it is not a good message of it. */
  open(datagram: Uint8Array): { counter: bigint; plaintext: Uint8Array } {
    expect(readU32le(datagram, 0)).toBe(4);
    expect(readU32le(datagram, 4)).toBe(this.config.remoteIndex);
    const counter = readU64le(datagram, 8);
    const plaintext = crypto.open(this.config.sendKey, counter, datagram.subarray(16), NOTHING);
    if (plaintext === null) throw new Error('the message does not open');
    return { counter, plaintext };
  }

  /** Opens everything that the plane has sent since. */
  openSent(): { counter: bigint; plaintext: Uint8Array }[] {
    return this.remote.lab.sent().map(({ datagram }) => this.open(datagram));
  }
}
