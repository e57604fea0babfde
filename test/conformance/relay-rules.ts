// "Relay" of docs/dataplane.md: relayed datagrams from one peer with a slot to another, and everything that is not forwarded.

import { describe, expect, it } from 'vitest';
import { concat } from '../../src/base/bytes.ts';
import type { Endpoint } from '../../src/base/ip.ts';
import { DescriptorKind, type RelayLimits } from '../../src/dataplane/dataplane.ts';
import { endpoint, type Lab, LOCAL_V4, LOCAL_V6, type PlaneOptions, type Session } from './lab.ts';
import { relayed } from './relayed-rules.ts';

const UNLIMITED: RelayLimits = { bytesPerSecond: Number.POSITIVE_INFINITY, burstBytes: Number.POSITIVE_INFINITY };
const A = new Uint8Array([0xa, 0, 0, 0, 0, 0, 0, 1]);
const B = new Uint8Array([0xb, 0, 0, 0, 0, 0, 0, 2]);
const NOBODY = new Uint8Array([0xc, 0, 0, 0, 0, 0, 0, 3]);
const AT_A = endpoint('192.0.2.10:1000');
const AT_B = endpoint('[2001:db8::b]:2000');
const NEW_PLACE = endpoint('192.0.2.99:9');

/** A peer with a session and a slot. */
function user(lab: Lab, slot: Uint8Array, at: Endpoint | null, limits: RelayLimits = UNLIMITED): Session {
  const session = lab.remote({ endpoint: at, allowedIps: [] }).install();
  lab.plane.setRelaySlot(session.remote.slot, slot, limits);
  return session;
}

/** A message that is a WireGuard message as far as anyone without the keys can tell. */
function data(length = 96): Uint8Array {
  const message = new Uint8Array(length).fill(0x55);
  message.set([4, 0, 0, 0]);
  return message;
}

export function relayRules(open: (options?: PlaneOptions) => Lab): void {
  describe('a relay', () => {
    it('forwards from one slot to the other, with the sender in place of the receiver, and nothing else changed', () => {
      const lab = open();
      const a = user(lab, A, AT_A);
      const b = user(lab, B, AT_B);
      const message = data(1452);
      lab.receive(relayed(B, message), AT_A);
      lab.receive(relayed(A, data(32)), AT_B);
      expect(lab.sent()).toEqual([
        { datagram: relayed(A, message), destination: AT_B, source: null },
        { datagram: relayed(B, data(32)), destination: AT_A, source: null },
      ]);
      expect(lab.kinds()).toEqual([]);
      expect([a.remote.record('relayRxBytes'), a.remote.record('relayTxBytes')]).toEqual([1464, 44]);
      expect([b.remote.record('relayRxBytes'), b.remote.record('relayTxBytes')]).toEqual([44, 1464]);
      expect([a.remote.record('relayRxPackets'), b.remote.record('relayRxPackets')]).toEqual([1, 1]);
      expect(lab.plane.totals()).toMatchObject({ relayPackets: 2, relayBytes: 1508, udpDatagramsOut: 2 });
      // It is not the session's, nor a sign of life in it.
      expect([a.remote.record('rxBytes'), a.remote.record('lastAuthenticatedReceive')]).toEqual([0, 0]);
    });

    it('forwards all WireGuard messages and nothing else', () => {
      const lab = open();
      user(lab, A, AT_A);
      user(lab, B, AT_B);
      const good = [lab.initiation(), lab.response(1), lab.cookieReply(1), data(32)];
      for (const message of good) lab.receive(relayed(B, message), AT_A);
      expect(lab.sent().map(({ datagram }) => datagram)).toEqual(good.map((message) => relayed(A, message)));
      const reserved = data();
      reserved[3] = 1;
      const bad = [
        new Uint8Array(0),
        data(31),
        concat(lab.initiation(), new Uint8Array(1)),
        lab.response(1).subarray(0, 91),
        lab.cookieReply(1).subarray(0, 63),
        reserved,
        lab.stun(),
        relayed(B, data()),
        new Uint8Array(64),
      ];
      for (const message of bad) lab.receive(relayed(B, message), AT_A);
      lab.receive(relayed(B, new Uint8Array(0)).subarray(0, 11), AT_A);
      expect(lab.sent()).toEqual([]);
      expect(lab.drops()).toEqual({ relayBadInner: bad.length, inBadLength: 1 });
    });

    it('forwards only what comes from the endpoint of a peer with a slot, and answers nobody', () => {
      const lab = open();
      const a = user(lab, A, AT_A);
      user(lab, B, AT_B);
      const stock = lab.remote({ endpoint: '192.0.2.77:7', allowedIps: [] }).install().remote;
      for (const from of [NEW_PLACE, endpoint('192.0.2.10:1001'), stock.endpoint])
        lab.receive(relayed(B, data()), from);
      expect(lab.drops()).toEqual({ inRelayUnknown: 3 });
      lab.plane.setRelaySlot(a.remote.slot, null, UNLIMITED);
      lab.receive(relayed(B, data()), AT_A);
      lab.receive(relayed(A, data()), AT_B);
      expect(lab.drops()).toEqual({ inRelayUnknown: 4, relayNoSlot: 1 });
      expect(lab.sent()).toEqual([]);
    });

    it('drops what is for no slot, for the sender itself, or for a peer of whom nothing is known', () => {
      const lab = open();
      user(lab, A, AT_A);
      user(lab, B, null);
      lab.receive(relayed(NOBODY, data()), AT_A);
      lab.receive(relayed(A, data()), AT_A);
      lab.receive(relayed(B, data()), AT_A);
      lab.receive(relayed(new Uint8Array(8), data()), AT_A);
      expect(lab.sent()).toEqual([]);
      expect(lab.drops()).toEqual({ relayNoSlot: 4 });
    });

    it('never sends to where the datagram came from', () => {
      const lab = open();
      user(lab, A, AT_A);
      const b = user(lab, B, AT_B);
      // A was there first; B proves to be there now, and what comes from there is B's.
      b.keepalive({ source: AT_A });
      lab.receive(relayed(A, data()), AT_A);
      lab.receive(relayed(B, data()), AT_A);
      expect(lab.sent()).toEqual([]);
      expect(lab.drops()).toEqual({ relayNoSlot: 2 });
    });

    it('follows a peer that roams, in both directions, and answers from the address that it spoke to', () => {
      const lab = open();
      const a = user(lab, A, AT_A);
      user(lab, B, AT_B);
      const second = endpoint('198.51.100.2:51820');
      a.keepalive({ source: NEW_PLACE, local: second });
      lab.receive(relayed(B, data()), AT_A);
      expect(lab.drops()).toEqual({ inRelayUnknown: 1 });
      lab.receive(relayed(B, data()), NEW_PLACE);
      lab.receive(relayed(A, data()), AT_B);
      expect(lab.sent()).toEqual([
        { datagram: relayed(A, data()), destination: AT_B, source: null },
        { datagram: relayed(B, data()), destination: NEW_PLACE, source: second },
      ]);
    });

    it('knows a peer by its newest endpoint also when that was another peer’s', () => {
      const lab = open();
      const a = user(lab, A, AT_A);
      const b = user(lab, B, AT_B);
      const c = user(lab, NOBODY, endpoint('192.0.2.30:1'));
      b.keepalive({ source: AT_A });
      lab.receive(relayed(NOBODY, data()), AT_A);
      a.keepalive({ source: AT_A });
      lab.receive(relayed(NOBODY, data()), AT_A);
      expect(lab.sent().map(({ datagram }) => datagram)).toEqual([relayed(B, data()), relayed(A, data())]);
      expect(lab.sent()).toEqual([]);
      expect(c.remote.record('relayTxBytes')).toBe(2 * 108);
      // What B left behind when it goes elsewhere is not A's loss.
      b.keepalive({ source: NEW_PLACE });
      lab.receive(relayed(NOBODY, data()), AT_A);
      expect(lab.sent()).toMatchObject([{ datagram: relayed(A, data()) }]);
      // Nor does A get the place back by anything but a packet of its own.
      b.keepalive({ source: AT_A });
      b.keepalive({ source: NEW_PLACE });
      lab.plane.clearSource(a.remote.slot);
      lab.receive(relayed(NOBODY, data()), AT_A);
      expect(lab.drops()).toEqual({ inRelayUnknown: 1 });
    });

    it('does so also for an endpoint that is set and for a handshake that was authenticated', () => {
      const lab = open();
      const a = user(lab, A, null);
      user(lab, B, AT_B);
      lab.receive(lab.initiation(), AT_A);
      lab.plane.poll(lab.now);
      lab.plane.authenticated(a.remote.slot, lab.plane.descriptors[7] as number, lab.now);
      lab.plane.release(1);
      lab.receive(relayed(B, data()), AT_A);
      lab.receive(relayed(A, data()), AT_B);
      expect(lab.sent()).toMatchObject([{ destination: AT_B }, { destination: AT_A, source: LOCAL_V4 }]);
      lab.plane.setEndpoint(a.remote.slot, NEW_PLACE);
      lab.receive(relayed(B, data()), NEW_PLACE);
      lab.receive(relayed(A, data()), AT_B);
      expect(lab.sent()).toMatchObject([{ destination: AT_B }, { destination: NEW_PLACE, source: null }]);
      lab.plane.setEndpoint(a.remote.slot, null);
      lab.receive(relayed(B, data()), NEW_PLACE);
      lab.receive(relayed(A, data()), AT_B);
      expect(lab.drops()).toEqual({ inRelayUnknown: 1, relayNoSlot: 1 });
    });

    it('gives a slot to the last that it was set for, and forgets it with its peer', () => {
      const lab = open();
      const a = user(lab, A, AT_A);
      const b = user(lab, B, AT_B);
      lab.plane.setRelaySlot(b.remote.slot, A, UNLIMITED);
      lab.receive(relayed(B, data()), AT_A);
      lab.receive(relayed(A, data()), AT_A);
      expect(lab.drops()).toEqual({ inRelayUnknown: 2 });
      lab.plane.setRelaySlot(a.remote.slot, B, UNLIMITED);
      lab.receive(relayed(A, data()), AT_A);
      expect(lab.sent()).toEqual([{ datagram: relayed(B, data()), destination: AT_B, source: null }]);
      lab.plane.removePeer(b.remote.slot);
      lab.receive(relayed(A, data()), AT_A);
      lab.receive(relayed(B, data()), AT_B);
      expect(lab.sent()).toEqual([]);
      expect(lab.drops()).toEqual({ inRelayUnknown: 3, relayNoSlot: 1 });
      // Whoever gets the freed peer slot begins without any of it.
      const next = lab.remote({ endpoint: AT_B, allowedIps: [] });
      expect(next.record('relayTxBytes')).toBe(0);
      lab.receive(relayed(A, data()), AT_A);
      expect(lab.drops()).toMatchObject({ relayNoSlot: 2 });
    });

    it('serves the session of a peer as ever', () => {
      const lab = open();
      const a = user(lab, A, AT_A);
      a.deliver(new Uint8Array(16));
      expect(lab.poll()).toMatchObject([{ kind: DescriptorKind.frame, peer: a.remote.slot, source: AT_A }]);
      expect(lab.plane.sendFrame(a.remote.slot, new Uint8Array(16), lab.now)).toBe(true);
      expect(lab.sent()).toMatchObject([{ destination: AT_A, source: LOCAL_V4 }]);
    });

    it('is itself behind no relay: a peer that it hears by one is not forwarded to', () => {
      const lab = open();
      const relay = endpoint('203.0.113.50:3478');
      lab.plane.setRelay(1, relay);
      const a = user(lab, A, AT_A);
      user(lab, B, AT_B);
      lab.receive(relayed(NOBODY, a.seal(new Uint8Array(0))), relay, LOCAL_V6);
      lab.receive(relayed(A, data()), AT_B);
      expect(lab.sent()).toEqual([]);
      expect(lab.drops()).toEqual({ relayNoSlot: 1 });
    });
  });

  describe('the limit of what a relay forwards', () => {
    const pass = (lab: Lab, count: number, length = 88): number => {
      for (let i = 0; i < count; i++) lab.receive(relayed(B, data(length)), AT_A);
      return lab.sent().length;
    };

    it('is a bucket of bytes for each sender, header included', () => {
      const lab = open();
      const limits = { bytesPerSecond: 1000, burstBytes: 1000 };
      user(lab, A, AT_A, limits);
      user(lab, B, AT_B, limits);
      expect(pass(lab, 15)).toBe(10);
      expect(lab.drops()).toEqual({ relayLimited: 5 });
      lab.receive(relayed(A, data(88)), AT_B);
      expect(lab.sent()).toHaveLength(1);
      lab.advance(250);
      expect(pass(lab, 5)).toBe(2);
      // The half that was left over counts.
      lab.advance(50);
      expect(pass(lab, 5)).toBe(1);
      lab.advance(60_000);
      expect(pass(lab, 15)).toBe(10);
    });

    it('lets a smaller datagram pass where a larger one does not', () => {
      const lab = open();
      user(lab, A, AT_A, { bytesPerSecond: 0, burstBytes: 150 });
      user(lab, B, AT_B);
      expect(pass(lab, 2)).toBe(1);
      expect(pass(lab, 2, 38)).toBe(1);
      expect(lab.drops()).toEqual({ relayLimited: 2 });
    });

    it('does not charge for what is not forwarded', () => {
      const lab = open();
      user(lab, A, AT_A, { bytesPerSecond: 0, burstBytes: 100 });
      user(lab, B, AT_B);
      lab.receive(relayed(NOBODY, data(88)), AT_A);
      lab.receive(relayed(B, lab.stun(88)), AT_A);
      expect(pass(lab, 1)).toBe(1);
    });

    it('changes with the slot kept: what is in the bucket stays as far as it fits', () => {
      const lab = open();
      const a = user(lab, A, AT_A, { bytesPerSecond: 0, burstBytes: 1000 });
      user(lab, B, AT_B);
      expect(pass(lab, 2)).toBe(2);
      lab.plane.setRelaySlot(a.remote.slot, A, { bytesPerSecond: 0, burstBytes: 300 });
      expect(pass(lab, 5)).toBe(3);
      lab.plane.setRelaySlot(a.remote.slot, A, { bytesPerSecond: 0, burstBytes: 5000 });
      expect(pass(lab, 5)).toBe(0);
      lab.plane.setRelaySlot(a.remote.slot, A, UNLIMITED);
      expect(pass(lab, 50)).toBe(50);
    });
  });
}
