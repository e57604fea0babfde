// Port Control Protocol, version 2 (RFC 6887): the MAP request for UDP and what a server answers or announces. Options are
// skipped when read and none is written; PEER, THIRD_PARTY and FILTER are left out. One codec for both families: with IPv4 a MAP
// is a port mapping, with IPv6 as a rule a hole in the firewall.
//
//   request   0 version 2 | 1 opcode | 2 reserved (2) | 4 lifetime in s | 8 our address, IPv4 as ::ffff:a.b.c.d (16)
//   response  0 version 2 | 1 128 + opcode | 2 reserved | 3 result | 4 lifetime in s | 8 epoch in s | 12 reserved (12)
//   MAP       24 nonce (12) | 36 protocol | 37 reserved (3) | 40 inner port | 42 outer port | 44 outer address (16)

import { readU16be, readU32be, writeU16be, writeU32be } from '../../base/bytes.ts';
import { addressBytes, formatAddress, type IpAddress } from '../../base/ip.ts';

/** Of the server; NAT-PMP has the same. */
export const SERVER_PORT = 5351;
/** Where servers announce that they lost their state (§14.1.3): 224.0.0.1 and ff02::1. */
export const ANNOUNCEMENT_PORT = 5350;
export const NONCE_LENGTH = 12;

const VERSION = 2;
const OPCODE_ANNOUNCE = 0;
const OPCODE_MAP = 1;
const RESPONSE = 0x80;
const UDP = 17;
const HEADER_LENGTH = 24;
const MAP_LENGTH = 60;
/** §7: no message is longer. */
const LENGTH_MAX = 1100;

/** §7.4 */
export const PCP_RESULT = {
  success: 0,
  unsupportedVersion: 1,
  notAuthorized: 2,
  malformedRequest: 3,
  unsupportedOpcode: 4,
  networkFailure: 7,
  noResources: 8,
  unsupportedProtocol: 9,
  userExceededQuota: 10,
  cannotProvideExternal: 11,
  addressMismatch: 12,
} as const;

export interface PcpMapRequest {
  /** Ours, as the server will see it. */
  readonly local: IpAddress;
  /** NONCE_LENGTH bytes, the same for the life of a mapping. Borrowed. */
  readonly nonce: Uint8Array;
  readonly port: number;
  /** 0 deletes. */
  readonly lifetimeSeconds: number;
  /** What we had or would like; port 0 and an address of zeros: any. A deletion takes none (§15). */
  readonly suggested: { readonly address: IpAddress; readonly port: number };
}

export interface PcpResponse {
  readonly kind: 'map' | 'announce';
  readonly result: number;
  /** Of the mapping; of an error: how long it will last. */
  readonly lifetimeSeconds: number;
  /** How long the server has kept its state. */
  readonly epochSeconds: number;
  /** Null where the server sent its header alone, as it may when it refuses. */
  readonly map: PcpMapBody | null;
}

export interface PcpMapBody {
  /** A copy. */
  readonly nonce: Uint8Array;
  readonly port: number;
  readonly external: { readonly address: IpAddress; readonly port: number };
}

export function writePcpMap(request: PcpMapRequest): Uint8Array {
  const bytes = new Uint8Array(MAP_LENGTH);
  bytes[0] = VERSION;
  bytes[1] = OPCODE_MAP;
  writeU32be(bytes, 4, request.lifetimeSeconds);
  bytes.set(mapped(request.local), 8);
  bytes.set(request.nonce, 24);
  bytes[36] = UDP;
  writeU16be(bytes, 40, request.port);
  writeU16be(bytes, 42, request.suggested.port);
  bytes.set(mapped(request.suggested.address), 44);
  return bytes;
}

/** `bytes`: one datagram, borrowed. Null: no response of this version, or none to what we ask. */
export function readPcp(bytes: Uint8Array): PcpResponse | null {
  if (bytes.length < HEADER_LENGTH || bytes.length > LENGTH_MAX || bytes.length % 4 !== 0) return null;
  if (bytes[0] !== VERSION) return null;
  const opcode = (bytes[1] as number) - RESPONSE;
  if (opcode !== OPCODE_ANNOUNCE && opcode !== OPCODE_MAP) return null;
  const result = bytes[3] as number;
  const header = { result, lifetimeSeconds: readU32be(bytes, 4), epochSeconds: readU32be(bytes, 8) };
  if (opcode === OPCODE_ANNOUNCE) return { kind: 'announce', ...header, map: null };
  if (bytes.length < MAP_LENGTH) return result === PCP_RESULT.success ? null : { kind: 'map', ...header, map: null };
  if (bytes[36] !== UDP) return null;
  const map: PcpMapBody = {
    nonce: Uint8Array.from(bytes.subarray(24, 24 + NONCE_LENGTH)),
    port: readU16be(bytes, 40),
    external: { address: unmapped(bytes.subarray(44, 60)), port: readU16be(bytes, 42) },
  };
  return { kind: 'map', ...header, map };
}

/** §5: IPv4 addresses travel as IPv4-mapped IPv6. */
function mapped(address: IpAddress): Uint8Array {
  const own = addressBytes(address);
  if (own.length === 16) return own;
  const bytes = new Uint8Array(16);
  bytes[10] = 0xff;
  bytes[11] = 0xff;
  bytes.set(own, 12);
  return bytes;
}

function unmapped(bytes: Uint8Array): IpAddress {
  const isIpv4 = bytes[10] === 0xff && bytes[11] === 0xff && bytes.subarray(0, 10).every((byte) => byte === 0);
  return formatAddress(isIpv4 ? bytes.subarray(12) : bytes);
}
