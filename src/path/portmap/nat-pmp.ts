// NAT Port Mapping Protocol, version 0 (RFC 6886): asking for the gateway's outer address and for a UDP mapping, and the answers. The
// same port as PCP, and the first byte tells them apart. TCP mappings are left out.
//
//   address   request  0 version 0 | 1 opcode 0
//             response 0 version 0 | 1 128 | 2 result (2) | 4 epoch in s | 8 outer address (4)
//   mapping   request  0 version 0 | 1 opcode 1 | 2 reserved (2) | 4 inner port | 6 wanted outer port | 8 lifetime in s
//             response 0 version 0 | 1 129 | 2 result (2) | 4 epoch in s | 8 inner port | 10 outer port | 12 lifetime in s

import { readU16be, readU32be, writeU16be, writeU32be } from '../../base/bytes.ts';
import { formatAddress, type IpAddress } from '../../base/ip.ts';

const OPCODE_ADDRESS = 0;
const OPCODE_MAP_UDP = 1;
const RESPONSE = 0x80;
const HEADER_LENGTH = 8;
const ADDRESS_LENGTH = 12;
const MAP_LENGTH = 16;

/** §3.5 */
export const NAT_PMP_RESULT = {
  success: 0,
  /** Also what a NAT-PMP server says to PCP (RFC 6887, appendix A). */
  unsupportedVersion: 1,
  notAuthorized: 2,
  networkFailure: 3,
  outOfResources: 4,
  unsupportedOpcode: 5,
} as const;

export interface NatPmpMapRequest {
  readonly port: number;
  /** 0 with a deletion (§3.4). */
  readonly wantedPort: number;
  /** 0 deletes. */
  readonly lifetimeSeconds: number;
}

export type NatPmpResponse =
  | { readonly kind: 'address'; readonly epochSeconds: number; readonly address: IpAddress }
  | {
      readonly kind: 'map';
      readonly epochSeconds: number;
      readonly port: number;
      readonly externalPort: number;
      readonly lifetimeSeconds: number;
    }
  | {
      readonly kind: 'error';
      /** Which request it answers; null: none of ours, or it does not say. */
      readonly to: 'address' | 'map' | null;
      readonly result: number;
      readonly epochSeconds: number;
    };

export function writeNatPmpAddress(): Uint8Array {
  return new Uint8Array([0, OPCODE_ADDRESS]);
}

export function writeNatPmpMap(request: NatPmpMapRequest): Uint8Array {
  const bytes = new Uint8Array(12);
  bytes[1] = OPCODE_MAP_UDP;
  writeU16be(bytes, 4, request.port);
  writeU16be(bytes, 6, request.wantedPort);
  writeU32be(bytes, 8, request.lifetimeSeconds);
  return bytes;
}

/** `bytes`: one datagram, borrowed; what follows the message is ignored. Null: no response of this version, or cut short. */
export function readNatPmp(bytes: Uint8Array): NatPmpResponse | null {
  if (bytes.length < HEADER_LENGTH || bytes[0] !== 0) return null;
  const opcode = (bytes[1] as number) - RESPONSE;
  if (opcode < 0) return null;
  const result = readU16be(bytes, 2);
  const epochSeconds = readU32be(bytes, 4);
  if (result !== NAT_PMP_RESULT.success) {
    const to = opcode === OPCODE_ADDRESS ? 'address' : opcode === OPCODE_MAP_UDP ? 'map' : null;
    return { kind: 'error', to, result, epochSeconds };
  }
  if (opcode === OPCODE_ADDRESS && bytes.length >= ADDRESS_LENGTH) {
    return { kind: 'address', epochSeconds, address: formatAddress(bytes.subarray(8, 12)) };
  }
  if (opcode === OPCODE_MAP_UDP && bytes.length >= MAP_LENGTH) {
    const [port, externalPort] = [readU16be(bytes, 8), readU16be(bytes, 10)];
    return { kind: 'map', epochSeconds, port, externalPort, lifetimeSeconds: readU32be(bytes, 12) };
  }
  return null;
}
