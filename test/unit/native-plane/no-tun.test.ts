// A live plane without a TUN: a relay between two sockets of this machine's loopback. Needs no privilege and leaves no interface.

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import { afterEach, describe, expect, it } from 'vitest';
import { concat } from '../../../src/base/bytes.ts';
import { type Endpoint, parseEndpoint } from '../../../src/base/ip.ts';
import { relayedEndpoint } from '../../../src/base/relayed.ts';
import { DescriptorKind, LinkChange, type RelayLimits } from '../../../src/dataplane/dataplane.ts';
import { createNativePlane, type LiveNativePlane } from '../../../src/dataplane/native/native-plane.ts';

const UNLIMITED: RelayLimits = { bytesPerSecond: Number.POSITIVE_INFINITY, burstBytes: Number.POSITIVE_INFINITY };
const A = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0xa]);
const B = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0xb]);

const open: { close(): void }[] = [];
afterEach(() => {
  for (const thing of open.splice(0)) thing.close();
});

function relay(onWake: () => void = () => {}): { plane: LiveNativePlane; port: number } {
  const made = createNativePlane({ tun: 'none', peersMax: 8, onWake });
  if (!made.ok) throw new Error(made.message);
  open.push(made.plane);
  const bound = made.plane.bind({ port: 0, fwmark: 0 });
  if (!bound.ok) throw new Error(bound.errno);
  return { plane: made.plane, port: bound.port };
}

async function socket(): Promise<{ socket: Socket; at: Endpoint }> {
  const made = createSocket('udp4');
  open.push(made);
  made.bind(0, '127.0.0.1');
  await once(made, 'listening');
  return { socket: made, at: parseEndpoint(`127.0.0.1:${made.address().port}`) as Endpoint };
}

const relayed = (slot: Uint8Array, message: Uint8Array): Uint8Array =>
  concat(new Uint8Array([0x20, 0, 0, 0]), slot, message);

function message(length: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(7);
  bytes.set([4, 0, 0, 0]);
  return bytes;
}

describe('a live plane without a TUN', () => {
  it('makes no interface and tells once that its link is up', () => {
    const before = Object.keys(networkInterfaces());
    const { plane } = relay();
    expect(Object.keys(networkInterfaces())).toEqual(before);
    expect(plane.status()).toMatchObject({ ifname: '', ifindex: 0, queues: 1, tunVnetHeader: false });
    expect(plane.poll(plane.now())).toBe(1);
    expect([plane.descriptors[0], plane.descriptors[12]]).toEqual([DescriptorKind.link, LinkChange.up]);
    plane.release(1);
  });

  it('forwards between its users and counts that in their records', async () => {
    const { plane, port } = relay();
    const [a, b] = [await socket(), await socket()];
    const peers = [a, b].map(({ at }, i) => {
      const peer = plane.addPeer({ roaming: true });
      plane.setEndpoint(peer, at);
      plane.setRelaySlot(peer, i === 0 ? A : B, UNLIMITED);
      return peer;
    });
    const arrival = once(b.socket, 'message');
    a.socket.send(relayed(B, message(100)), port, '127.0.0.1');
    const [datagram] = (await arrival) as [Buffer];
    expect(new Uint8Array(datagram)).toEqual(relayed(A, message(100)));
    const [from, to] = peers.map((peer) => {
      const { view, offset } = plane.record(peer);
      return [...view.subarray(offset + 13, offset + 16)];
    });
    expect(from).toEqual([112, 0, 1]);
    expect(to).toEqual([0, 112, 0]);
    expect(plane.totals()).toMatchObject({ relayPackets: 1, relayBytes: 112, wakeUps: 1 });
  });

  it('refuses what is no relay, no slot and no frame', () => {
    const { plane } = relay();
    const peer = plane.addPeer({ roaming: false });
    const at = parseEndpoint('127.0.0.1:9') as Endpoint;
    for (const number of [0, 65, 1.5]) expect(() => plane.setRelay(number, at)).toThrow('numbered');
    expect(() => plane.setRelay(1, relayedEndpoint(2, A))).toThrow('behind a relay');
    for (const slot of [new Uint8Array(8), new Uint8Array(7).fill(1)]) {
      expect(() => plane.setRelaySlot(peer, slot, UNLIMITED)).toThrow('not all zero');
    }
    expect(() => plane.setPathMtu(peer, -1)).toThrow('number of bytes');
    for (const frame of [new Uint8Array(0), new Uint8Array([0x45]), new Uint8Array(1501)]) {
      expect(() => plane.sendFrameTo(peer, frame, at, { dontFragment: true }, plane.now())).toThrow('zero nibble');
    }
    expect(plane.sendFrameTo(peer, new Uint8Array(16), at, { dontFragment: true }, plane.now())).toBe('noKeypair');
  });
});
