// The seam between the protocol (TypeScript, decides) and the packets (native, carries). Two implementations: `native`
// (the addon) and `reference` (plain TypeScript, in memory: the oracle). Both pass test/conformance, and seeded
// scripts give the same bytes and descriptors on both. docs/dataplane.md tells the rules of behaviour one by one.
//
// No call here blocks on a peer or the network. Calls are made from one JavaScript thread. Buffers passed in are borrowed
// for the call and copied; keys are copied once and the caller zeroes its own.

import type { Brand } from '../base/brand.ts';
import type { Instant } from '../base/instant.ts';
import type { Endpoint, IpPrefix } from '../base/ip.ts';

/** Dense peer number, 0 … peersMax − 1, chosen by the plane and reused after removal. */
export type PeerSlot = Brand<number, 'PeerSlot'>;
/** 32-bit session index that we chose: the receiver index of what peers send to us. */
export type LocalIndex = Brand<number, 'LocalIndex'>;

/** What one received control datagram, frame or event is. Numbers are shared with native/dataplane/descriptor.h. */
export const DescriptorKind = {
  /** A handshake initiation or response with a good mac1, or a cookie reply for an index that we expect. */
  handshake: 1,
  /** A STUN message (RFC 8489 magic cookie). */
  stun: 2,
  /** Decrypted in-tunnel control frame (plaintext begins with a zero nibble); `peer` is its authenticated sender. */
  frame: 3,
  /** Outbound data waits in the peer's staging queue and there is no keypair that may send. */
  sessionWanted: 16,
  /** The first authenticated packet on the `next` keypair arrived: it is now `current`. `value` = its local index. */
  keypairConfirmed: 17,
  /**
   * An authenticated packet came from another address than the endpoint. Source fields hold it. Of a peer that does not roam each
   * address is told once and at most one in ROAMED_INTERVAL_MS; its control frames, which name their source themselves, are not told.
   */
  roamed: 18,
  /** Data came in and nothing has gone out since: see `rearm` and TimerKind.passiveKeepalive. */
  answerOwed: 19,
  /** Data went out and nothing has come in since: see `rearm` and TimerKind.newHandshake. */
  answerAwaited: 20,
  /** The current keypair was used past a renewal threshold. `value` = RekeyReason. */
  rekeyWanted: 21,
  /** Sending to the peer failed. `value` = errno (EMSGSIZE included). At most one pending per peer. */
  sendFailed: 22,
  /** Link state, for the whole device (`peer` is NO_PEER). `value` = LinkChange, `value2` = MTU for LinkChange.mtu. */
  link: 32,
  /** The instant given to `setDeadline` has come. */
  deadline: 33,
} as const;
export type DescriptorKind = (typeof DescriptorKind)[keyof typeof DescriptorKind];

export const RekeyReason = { sendAge: 1, receiveAge: 2, messages: 3 } as const;
export const LinkChange = { up: 1, down: 2, deleted: 3, mtu: 4 } as const;
/** Which per-peer notification `rearm` re-enables; bits, to be or-ed. */
export const Notify = {
  sessionWanted: 1,
  answerOwed: 2,
  answerAwaited: 4,
  rekeyOnSend: 8,
  rekeyOnReceive: 16,
} as const;

export const NO_PEER = 0xffff_ffff;

/** Between two `roamed` of a peer that does not roam: two paths that alternate wake nobody more often. */
export const ROAMED_INTERVAL_MS = 100;
/** Packets that every link carries whole (RFC 791 §3.2, RFC 8200 §5): `setPathMtu` acts as if it were told at least these. */
export const PATH_MTU_MIN_V4 = 576;
export const PATH_MTU_MIN_V6 = 1280;

/**
 * Descriptor: 16 little-endian 32-bit words, written by the plane at `poll`, valid until the matching `release`.
 *
 *   word 0  kind            4  source family (4, 6 or 0)    8…11  source address, network byte order, IPv4 in word 8
 *        1  peer slot       5  source port                  12    value
 *        2  slab offset     6  source scope id              13    value2
 *        3  length          7  handle (see DataPlane.reply) 14,15 time of receipt, float64 Instant
 */
export const DESCRIPTOR_WORDS = 16;

/** Where the float64 fields of a peer's shared record are, in units of 8 bytes. Written by the plane, read by anyone. */
export const RecordField = {
  /** Whole WireGuard messages, handshakes and keepalives included (16-byte header and tag counted, UDP/IP not). */
  rxBytes: 0,
  txBytes: 1,
  rxPackets: 2,
  txPackets: 3,
  /** Instants; 0 = never. "Authenticated" is any valid message, "data" has a non-empty IP packet inside. */
  lastAuthenticatedReceive: 4,
  lastAuthenticatedSend: 5,
  lastDataReceive: 6,
  lastDataSend: 7,
  /** When the first data packet arrived since we last sent anything authenticated; 0 = nothing is owed. */
  answerOwedSince: 8,
  /** When the first data packet left since we last received anything authenticated; 0 = nothing is awaited. */
  answerAwaitedSince: 9,
  /** When a packet was last put into the staging queue. */
  lastStaged: 10,
  /** Packets in the staging queue now. */
  staged: 11,
  /** Next send counter of the current keypair (exact below 2^53). */
  sendCounter: 12,
  /** Of a peer with a relay slot: relayed datagrams forwarded from it and to it, their 12-byte header counted, UDP/IP not. */
  relayRxBytes: 13,
  relayTxBytes: 14,
  relayRxPackets: 15,
} as const;
export const RECORD_FIELDS = 16;
/** Records live in chunks of this many peers; chunks are added as peers are and never move. */
export const RECORD_CHUNK_PEERS = 1024;

/** One session's keys and limits. Instants and counters are decided in TypeScript; the plane only compares. */
export interface KeypairConfig {
  readonly localIndex: LocalIndex;
  readonly remoteIndex: number;
  /** 32 bytes each; borrowed, copied into locked memory. */
  readonly sendKey: Uint8Array;
  readonly receiveKey: Uint8Array;
  /** The initiator's keypair may send at once; the responder's waits in `next` for its first authenticated packet. */
  readonly role: 'initiator' | 'responder';
  /** Not sent with nor accepted from this instant on (derivation + REJECT_AFTER_TIME). */
  readonly rejectAt: Instant;
  /** `rekeyWanted` on data sent from this instant on; NEVER for the responder. */
  readonly rekeyOnSendAt: Instant;
  /** `rekeyWanted` on authenticated receipt from this instant on; NEVER for the responder. */
  readonly rekeyOnReceiveAt: Instant;
  /** `rekeyWanted` once the send counter exceeds this. */
  readonly rekeyAfterMessages: bigint;
  /** Counters from this on are refused, sending and receiving. */
  readonly rejectAfterMessages: bigint;
  /** First send counter; 0 unless a test says otherwise. */
  readonly firstSendCounter?: bigint;
}

export interface SocketConfig {
  /** 0 = any free port, the same for IPv4 and IPv6. */
  readonly port: number;
  /** SO_MARK; 0 = none. */
  readonly fwmark: number;
}

/** `errno` names as Node spells them: EADDRINUSE, EACCES … */
export type BindResult = { readonly ok: true; readonly port: number } | { readonly ok: false; readonly errno: string };

/**
 * Why a packet was dropped, one counter each; docs/dataplane.md says when. The order is shared with
 * native/dataplane/counters.h, where the same names stand.
 */
export const DROP_REASONS = [
  // outbound, from the tunnel
  'outMalformed', // not IPv4 or IPv6, or shorter than its header
  'outNoPeer', // no allowed-ips entry for the destination
  'outNoEndpoint', // the peer has no endpoint yet
  'outStagedOverflow', // the oldest staged packet made room for a newer one
  'outStagedFlushed', // staged packets dropped when the handshake was given up or the peer was stopped
  'outCounterExhausted', // the keypair has sent rejectAfterMessages
  'outSocketError', // the kernel refused the datagram
  'outSocketFull', // EAGAIN or ENOBUFS: the send buffer was full
  'outFiltered',
  'outTooBig', // larger than the peer's path MTU and not to be fragmented: the local sender was told by ICMP
  'outRelayUnknown', // data for a relayed endpoint whose relay is not set
  // inbound, from the network
  'inUnknownType', // first little-endian word is none of ours
  'inBadLength',
  'inUnknownIndex', // receiver index that we do not have
  'inBadMac1',
  'inRateLimited', // native limit on control datagrams per source
  'inControlFull', // the slab had no free slot
  'inExpired', // keypair past rejectAt
  'inCounterExhausted',
  'inBadTag', // AEAD authentication failed
  'inReplayed',
  'inInnerMalformed', // inner length below the header, above the plaintext, or an unknown version
  'inWrongSource', // the inner source does not route back to this peer
  'inFrameUnknown', // in-tunnel control frame of an unknown kind or one that is not wanted
  'inFiltered',
  'tunWriteFailed',
  // relayed datagrams
  'inRelayUnknown', // from an address that is neither a relay of ours nor the endpoint of a peer with a slot, or from a slot of none
  'relayBadInner', // what is inside is not a WireGuard message
  'relayNoSlot', // nobody has the slot, or its peer has no endpoint, or it is the sender itself
  'relayLimited', // the sender's bytes per second are used up
] as const;
export type DropReason = (typeof DROP_REASONS)[number];

/** Totals beside the drops; order shared with native/dataplane/counters.h. */
export const TOTALS = [
  'tunReads', // read calls that gave a packet or a super-packet
  'tunPacketsIn', // IP packets after cutting super-packets
  'tunWrites',
  'tunPacketsOut', // IP packets before coalescing
  'udpReceiveCalls',
  'udpDatagramsIn', // after splitting GRO
  'udpSendCalls',
  'udpDatagramsOut',
  'controlDelivered', // descriptors with a datagram handed to JavaScript
  'eventsDelivered', // descriptors without one
  'wakeUps', // times JavaScript was woken
  'relayPackets', // relayed datagrams forwarded from one peer to another
  'relayBytes', // their bytes, with the 12-byte header
] as const;
export type Total = (typeof TOTALS)[number];

/** What one peer may have forwarded: a token bucket of whole relayed datagrams, header included. */
export interface RelayLimits {
  /** Infinity = no limit. */
  readonly bytesPerSecond: number;
  readonly burstBytes: number;
}

/** What became of `sendFrameTo`. `tooBig`: EMSGSIZE, the datagram does not fit the interface it would leave by. */
export type FrameSent = 'sent' | 'noKeypair' | 'tooBig' | 'failed';

export interface DataPlane {
  /** Monotonic time that counts suspend. The in-memory planes return what was set last. */
  now(): Instant;

  // — device —
  /** Our public key, for checking mac1; null = no key: every handshake message is dropped as inBadMac1. */
  setPublicKey(publicKey: Uint8Array | null): void;
  /** Opens both sockets (or again, with another port). Until then, and after `unbind`, nothing is sent or received. */
  bind(config: SocketConfig): BindResult;
  unbind(): void;
  setFwmark(fwmark: number): void;
  /** Wakes JavaScript with DescriptorKind.deadline at `at`; replaces the previous deadline; NEVER cancels it. */
  setDeadline(at: Instant): void;
  /**
   * Where relay number `relay` (1 … RELAYS_MAX) is; null forgets it. Datagrams to relayed endpoints (src/base/relayed.ts) go there with
   * the header of docs/paths.md, and such datagrams from there come in with the relayed endpoint as their source. `endpoint` is not relayed
   * itself; of two numbers with one endpoint the lower gets what comes from there.
   */
  setRelay(relay: number, endpoint: Endpoint | null): void;

  // — peers —
  /** `roaming`: the endpoint follows authenticated packets by itself (every stock WireGuard peer). */
  addPeer(options: { readonly roaming: boolean }): PeerSlot;
  /** Immediate and complete: keys zeroed, staged packets dropped, indexes and prefixes freed, no descriptor left. */
  removePeer(peer: PeerSlot): void;
  setEndpoint(peer: PeerSlot, endpoint: Endpoint | null): void;
  /** The endpoint in use now, after any roaming. */
  endpoint(peer: PeerSlot): Endpoint | null;
  /** Forgets the local source address that sticks to the endpoint. */
  clearSource(peer: PeerSlot): void;
  /**
   * The largest IP packet that the way to the peer carries, in bytes; 0 (so it begins) = no limit beyond the device's MTU. What comes from the
   * tunnel and is larger is answered by ICMP packet too big and dropped, unless it is IPv4 without DF, which goes as it is. The MSS of TCP SYNs
   * is clamped to it, both ways. What waits in the staging queue is not looked at again.
   */
  setPathMtu(peer: PeerSlot, mtu: number): void;
  /**
   * Makes the peer a user of this relay: relayed datagrams from its endpoint are forwarded to the peer that has the slot they name,
   * and those that name `slot` (8 bytes, not all zero, borrowed) to it. Null: no longer. The slot is taken from whichever peer had it.
   * Called again with the same slot it changes the limits; the bucket begins full only for a new one.
   */
  setRelaySlot(peer: PeerSlot, slot: Uint8Array | null, limits: RelayLimits): void;
  /** Takes the prefix from whichever peer had it. */
  insertAllowedIp(peer: PeerSlot, prefix: IpPrefix): void;
  /** Does nothing unless the prefix is this peer's. */
  removeAllowedIp(peer: PeerSlot, prefix: IpPrefix): void;
  /** The peer's shared record: RECORD_FIELDS float64 at `offset` (in float64) of `view`. The view never moves. */
  record(peer: PeerSlot): { readonly view: Float64Array; readonly offset: number };

  // — sessions —
  /**
   * Lets responses and cookie replies for this index reach JavaScript, with `peer` as their descriptor's peer. False, and
   * nothing done, when the index is in use already (expected, or a keypair's): the caller draws another.
   */
  expectIndex(index: LocalIndex, peer: PeerSlot): boolean;
  /** Ends `expectIndex`; does nothing to an index that has become a keypair's. */
  forgetIndex(index: LocalIndex): void;
  /** Rotates previous/current/next as docs/dataplane.md says; displaced keys are zeroed and their indexes freed. */
  installKeypair(peer: PeerSlot, keypair: KeypairConfig): void;
  /** Current and next may receive but send no more (our private key changed). */
  expireSending(peer: PeerSlot): void;
  /** Zeroes every keypair of the peer and frees their indexes. */
  clearKeypairs(peer: PeerSlot): void;
  /** Whether a packet could be sent to the peer now without a handshake. */
  canSend(peer: PeerSlot, now: Instant): boolean;
  /** Sends what is staged, oldest first. Returns how many packets left; 0 without a usable keypair. */
  flushStaged(peer: PeerSlot, now: Instant): number;
  /** Drops what is staged; with `unreachable`, tells the local senders by ICMP (host unreachable), rate-limited. */
  dropStaged(peer: PeerSlot, options: { readonly unreachable: boolean }, now: Instant): number;
  /** An empty authenticated packet. False when there is no usable keypair. */
  sendKeepalive(peer: PeerSlot, now: Instant): boolean;
  /** An in-tunnel control frame (plaintext begins with a zero nibble, ≤ 1,500 bytes). False as above. */
  sendFrame(peer: PeerSlot, frame: Uint8Array, now: Instant): boolean;
  /**
   * A control frame under the peer's current keypair to any endpoint, relayed ones included: probes and their answers. Moves nothing and raises
   * no `sendFailed`. To the peer's own endpoint it counts as `sendFrame` does; to another it counts bytes and packets alone, since the
   * peer may never see it. `dontFragment`: DF is set and what the kernel knows of the path's MTU is ignored. The frame is padded with zeros
   * to a multiple of 16, not beyond the device's MTU; a probe of n bytes of plaintext has n + 32 bytes of UDP payload, + 12 when relayed.
   */
  sendFrameTo(
    peer: PeerSlot,
    frame: Uint8Array,
    endpoint: Endpoint,
    options: { readonly dontFragment: boolean },
    now: Instant,
  ): FrameSent;

  // — control datagrams —
  /** A handshake message to the peer's endpoint; counts as an authenticated send. False when it has no endpoint. */
  sendHandshake(peer: PeerSlot, message: Uint8Array, now: Instant): boolean;
  /** Any other datagram (STUN …) to any endpoint. */
  sendTo(endpoint: Endpoint, datagram: Uint8Array): boolean;
  /** Back to where the datagram behind `handle` (descriptor word 7) came from, from the address it was sent to. */
  reply(handle: number, datagram: Uint8Array): boolean;
  /**
   * The handshake message behind `handle` was authenticated as the peer's: counts its bytes, stamps the receipt, and
   * makes its source the endpoint (with the local address that it was sent to) if the peer roams.
   */
  authenticated(peer: PeerSlot, handle: number, now: Instant): void;

  // — what comes up —
  /** `DESCRIPTOR_WORDS` words for each descriptor of the last `poll`. The view never moves. */
  readonly descriptors: Uint32Array;
  /** The same memory as float64, for words 14 and 15. */
  readonly descriptorTimes: Float64Array;
  /** Control datagrams and frames; descriptors point into it. The view never moves. */
  readonly slab: Uint8Array;
  /** How many control datagrams the slab holds at most; the under-load decision is a fraction of this. */
  readonly slabSlots: number;
  /** Takes what is pending, at most 256, into `descriptors`. Call `release` before the next. */
  poll(now: Instant): number;
  /** Control datagrams that were waiting when `poll` was last called, those that it took included. */
  readonly backlog: number;
  /** Gives the slab slots of the last `poll` back. */
  release(count: number): void;
  /** Lets these notifications (bits of Notify) be raised again; raised at once when their cause already holds. */
  rearm(peer: PeerSlot, notifications: number, now: Instant): void;

  drops(): Record<DropReason, number>;
  totals(): Record<Total, number>;
  /** Stops threads, closes sockets and the TUN, zeroes all keys. Idempotent. */
  close(): void;
}

/** The further side of an in-memory plane: what a TUN device and a network would do. */
export interface MemoryIo {
  setNow(now: Instant): void;
  setMtu(mtu: number): void;
  /** One IP packet from the local host. */
  tunInput(packet: Uint8Array): void;
  /** One datagram from the network; `local` is the address of ours that it was sent to. */
  udpInput(datagram: Uint8Array, source: Endpoint, local: Endpoint): void;
  /** IP packets written to the TUN since the last call, in order. */
  takeTunOutput(): Uint8Array[];
  /** Datagrams sent since the last call, in order; `source` is the sticky local address or null. */
  takeUdpOutput(): { datagram: Uint8Array; destination: Endpoint; source: Endpoint | null }[];
}

export type MemoryDataPlane = DataPlane & { readonly io: MemoryIo };
