// "Relayed endpoints" of docs/dataplane.md: a peer behind a relay of ours is sent to and heard as any other. `sendFrameTo` is here
// too, since it goes to relayed endpoints as well.

import { describe, expect, it } from 'vitest';
import { concat } from '../../src/base/bytes.ts';
import type { Endpoint } from '../../src/base/ip.ts';
import { relayedEndpoint } from '../../src/base/relayed.ts';
import { DescriptorKind } from '../../src/dataplane/dataplane.ts';
import { endpoint, type Lab, LOCAL_V4, LOCAL_V6, type PlaneOptions, PORT, type Remote, type Session } from './lab.ts';
import { ipv4, padded, reversed4 } from './packets.ts';

const RELAY = endpoint('203.0.113.50:3478');
const RELAY6 = endpoint('[2001:db8:50::1]:3478');
const SLOT = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);
const AT_RELAY = relayedEndpoint(1, SLOT);

/** As it looks between a node and a relay. */
export function relayed(slot: Uint8Array, inner: Uint8Array): Uint8Array {
  return concat(new Uint8Array([0x20, 0, 0, 0]), slot, inner);
}

/** A peer whose endpoint is the slot at relay 1, which is set. */
function behindRelay(lab: Lab, options: { roaming?: boolean } = {}): Session {
  lab.plane.setRelay(1, RELAY);
  const remote = lab.remote({ ...options, endpoint: AT_RELAY });
  return remote.install();
}

function inner(datagram: Uint8Array): Uint8Array {
  expect(datagram.subarray(0, 12)).toEqual(relayed(SLOT, new Uint8Array(0)));
  return datagram.subarray(12);
}

export function relayedRules(open: (options?: PlaneOptions) => Lab): void {
  describe('a relayed endpoint', () => {
    it('gets data as a datagram to its relay, with the slot in front', () => {
      const lab = open();
      const session = behindRelay(lab);
      lab.tunnel(ipv4({ length: 33 }));
      const [sent] = lab.sent();
      expect(sent).toMatchObject({ destination: RELAY, source: null });
      const datagram = sent?.datagram ?? new Uint8Array(0);
      expect(session.open(inner(datagram)).plaintext).toEqual(padded(ipv4({ length: 33 }), 48));
      // Bytes of WireGuard messages alone, so that paths can be compared.
      expect(session.remote.record('txBytes')).toBe(datagram.length - 12);
    });

    it('gets handshakes, keepalives, frames, and what was staged likewise', () => {
      const lab = open();
      lab.plane.setRelay(1, RELAY);
      const remote = lab.remote({ endpoint: AT_RELAY });
      const initiation = lab.initiation();
      expect(lab.plane.sendHandshake(remote.slot, initiation, lab.now)).toBe(true);
      expect(inner(lab.sent()[0]?.datagram as Uint8Array)).toEqual(initiation);
      lab.tunnel(ipv4());
      lab.tunnel(ipv4());
      const session = remote.install();
      expect(lab.plane.canSend(remote.slot, lab.now)).toBe(true);
      expect(lab.plane.flushStaged(remote.slot, lab.now)).toBe(2);
      expect(lab.plane.sendKeepalive(remote.slot, lab.now)).toBe(true);
      expect(lab.plane.sendFrame(remote.slot, new Uint8Array(16), lab.now)).toBe(true);
      const sent = lab.sent();
      expect(sent.map(({ destination }) => destination)).toEqual([RELAY, RELAY, RELAY, RELAY]);
      const plaintexts = sent.map(({ datagram }) => session.open(inner(datagram)).plaintext.length);
      expect(plaintexts).toEqual([64, 64, 0, 16]);
    });

    it('gets any other datagram, and the answer to what came from there', () => {
      const lab = open();
      lab.plane.setRelay(1, RELAY);
      const message = lab.bytes(148);
      expect(lab.plane.sendTo(AT_RELAY, message)).toBe(true);
      expect(lab.sent()).toEqual([{ datagram: relayed(SLOT, message), destination: RELAY, source: null }]);
      lab.receive(relayed(SLOT, lab.initiation()), RELAY);
      expect(lab.plane.poll(lab.now)).toBe(1);
      expect(lab.plane.reply(lab.plane.descriptors[7] as number, message)).toBe(true);
      lab.plane.release(1);
      expect(lab.sent()).toEqual([{ datagram: relayed(SLOT, message), destination: RELAY, source: LOCAL_V4 }]);
    });

    it('is the source of what its relay brings', () => {
      const lab = open();
      const session = behindRelay(lab, { roaming: false });
      const initiation = lab.initiation();
      lab.receive(relayed(SLOT, initiation), RELAY);
      lab.receive(relayed(SLOT, session.seal(new Uint8Array(32))), RELAY);
      lab.receive(relayed(SLOT, session.seal(padded(reversed4(), 64))), RELAY);
      expect(lab.poll()).toMatchObject([
        { kind: DescriptorKind.handshake, source: AT_RELAY, content: initiation },
        { kind: DescriptorKind.frame, source: AT_RELAY, peer: session.remote.slot },
        { kind: DescriptorKind.answerOwed },
      ]);
      expect(lab.toTunnel()).toEqual([reversed4()]);
      expect(session.remote.record('rxBytes')).toBe(64 + 96);
    });

    it('is where a peer roams to and from', () => {
      const lab = open();
      lab.plane.setRelay(7, RELAY6);
      const session = lab.remote().install();
      const { slot, endpoint: home } = session.remote;
      const there = relayedEndpoint(7, SLOT);
      lab.receive(relayed(SLOT, session.seal(new Uint8Array(0))), RELAY6);
      expect(lab.plane.endpoint(slot)).toBe(there);
      expect(lab.poll()).toMatchObject([{ kind: DescriptorKind.roamed, source: there }]);
      lab.tunnel(ipv4());
      expect(lab.sent()).toMatchObject([{ destination: RELAY6, source: LOCAL_V6 }]);
      session.keepalive();
      expect(lab.plane.endpoint(slot)).toBe(home);
      lab.tunnel(ipv4());
      expect(lab.sent()).toMatchObject([{ destination: home, source: LOCAL_V4 }]);
    });

    it('keeps the address of ours that the relay sent to', () => {
      const lab = open();
      const session = behindRelay(lab, { roaming: false });
      const second = endpoint('198.51.100.2:51820');
      lab.receive(relayed(SLOT, session.seal(new Uint8Array(0))), RELAY, second);
      lab.tunnel(ipv4());
      expect(lab.sent()).toMatchObject([{ destination: RELAY, source: second }]);
      expect(lab.kinds()).toEqual([DescriptorKind.answerAwaited]);
    });

    it('of a relay that moved is where the relay is now', () => {
      const lab = open();
      const session = behindRelay(lab);
      lab.plane.setRelay(1, RELAY6);
      lab.tunnel(ipv4());
      expect(lab.sent()).toMatchObject([{ destination: RELAY6 }]);
      lab.receive(relayed(SLOT, session.seal(new Uint8Array(0))), RELAY);
      expect(lab.drops()).toEqual({ inRelayUnknown: 1 });
    });
  });

  describe('a relay that is not set', () => {
    const withoutRelay = (lab: Lab): Session => {
      const session = behindRelay(lab);
      lab.plane.setRelay(1, null);
      return session;
    };

    it('takes no data, which uses no counter, and no ICMP error tells', () => {
      const lab = open();
      const session = withoutRelay(lab);
      lab.tunnel(ipv4());
      expect(lab.sent()).toEqual([]);
      expect(lab.toTunnel()).toEqual([]);
      expect(lab.drops()).toEqual({ outRelayUnknown: 1 });
      expect(session.remote.record('sendCounter')).toBe(0);
      expect(session.remote.record('staged')).toBe(0);
    });

    it('keeps nobody from wanting a session', () => {
      const lab = open();
      const remote = lab.remote({ endpoint: AT_RELAY });
      lab.tunnel(ipv4());
      expect(remote.record('staged')).toBe(1);
      expect(lab.kinds()).toEqual([DescriptorKind.sessionWanted]);
      remote.install();
      expect(lab.plane.flushStaged(remote.slot, lab.now)).toBe(0);
      lab.plane.setRelay(1, RELAY);
      expect(lab.plane.flushStaged(remote.slot, lab.now)).toBe(1);
    });

    it('makes every call to it fail', () => {
      const lab = open();
      const { slot } = withoutRelay(lab).remote;
      const { plane, now } = lab;
      expect(plane.canSend(slot, now)).toBe(false);
      expect(plane.sendKeepalive(slot, now)).toBe(false);
      expect(plane.sendFrame(slot, new Uint8Array(16), now)).toBe(false);
      expect(plane.sendHandshake(slot, lab.initiation(), now)).toBe(false);
      expect(plane.sendTo(AT_RELAY, lab.initiation())).toBe(false);
      expect(plane.sendFrameTo(slot, new Uint8Array(16), AT_RELAY, { dontFragment: false }, now)).toBe('failed');
      expect(lab.sent()).toEqual([]);
    });

    it('is not heard', () => {
      const lab = open();
      const session = withoutRelay(lab);
      lab.receive(relayed(SLOT, session.seal(padded(reversed4(), 64))), RELAY);
      lab.receive(relayed(SLOT, session.seal(padded(reversed4(), 64))), endpoint('203.0.113.51:3478'));
      expect(lab.toTunnel()).toEqual([]);
      expect(lab.drops()).toEqual({ inRelayUnknown: 2 });
    });
  });

  describe('a relayed datagram', () => {
    it('counts as what is in it when that is wrong, and WireGuard alone may be in it', () => {
      const lab = open();
      const session = behindRelay(lab);
      const bad = session.seal(padded(reversed4(), 64));
      bad[20] = (bad[20] as number) ^ 1;
      lab.receive(relayed(SLOT, bad), RELAY);
      lab.receive(relayed(SLOT, lab.bytes(148).fill(1, 0, 1).fill(0, 1, 4)), RELAY);
      lab.receive(relayed(SLOT, new Uint8Array([4, 0, 0, 0])), RELAY);
      lab.receive(relayed(SLOT, lab.stun()), RELAY);
      lab.receive(relayed(SLOT, relayed(SLOT, lab.initiation())), RELAY);
      lab.receive(relayed(SLOT, new Uint8Array(0)), RELAY);
      expect(lab.drops()).toEqual({ inBadTag: 1, inBadMac1: 1, inBadLength: 1, inUnknownType: 3 });
      expect(lab.kinds()).toEqual([]);
    });

    it('without a whole header or with slot 0 is dropped, and one of the relay without header is the relay itself', () => {
      const lab = open();
      behindRelay(lab);
      lab.receive(relayed(SLOT, new Uint8Array(0)).subarray(0, 11), RELAY);
      lab.receive(relayed(new Uint8Array(8), lab.initiation()), RELAY);
      lab.receive(lab.initiation(), RELAY);
      expect(lab.drops()).toEqual({ inBadLength: 1, inRelayUnknown: 1 });
      expect(lab.poll()).toMatchObject([{ kind: DescriptorKind.handshake, source: RELAY }]);
    });

    it('cannot be claimed by an address that looks like a slot', () => {
      const lab = open();
      const session = behindRelay(lab);
      lab.receive(lab.initiation(), AT_RELAY);
      session.deliver(padded(reversed4(), 64), { source: AT_RELAY });
      expect(lab.drops()).toEqual({ inRelayUnknown: 2 });
      expect(lab.toTunnel()).toEqual([]);
    });
  });

  describe('a flood of control datagrams by a relay', () => {
    const flood = (lab: Lab, slot: Uint8Array, count: number, relay: Endpoint = RELAY): number => {
      const before = lab.plane.drops().inRateLimited;
      for (let i = 0; i < count; i++) lab.receive(relayed(slot, lab.initiation()), relay);
      lab.poll();
      return count - (lab.plane.drops().inRateLimited - before);
    };
    const slotOf = (number: number): Uint8Array => new Uint8Array([0, 0, 0, 0, 0, 0, 0, number]);

    it('is limited for each slot, and for the relay at eight times that', () => {
      const lab = open({ slabSlots: 16_384 });
      lab.plane.setRelay(1, RELAY);
      lab.plane.setRelay(2, RELAY6);
      for (let slot = 1; slot <= 7; slot++) expect(flood(lab, slotOf(slot), 520)).toBe(512);
      expect(flood(lab, slotOf(8), 500)).toBe(500);
      // Of 4,096 there are 12 left.
      expect(flood(lab, slotOf(9), 20)).toBe(12);
      expect(flood(lab, slotOf(9), 20, RELAY6)).toBe(20);
      lab.advance(1);
      expect(flood(lab, slotOf(10), 20)).toBe(4);
    });
  });

  describe('a frame to any endpoint', () => {
    const ELSEWHERE = endpoint('203.0.113.9:9');
    const FRAME = new Uint8Array(40).fill(1);
    const send = (remote: Remote, to: Endpoint, dontFragment = false): string =>
      remote.lab.plane.sendFrameTo(remote.slot, FRAME, to, { dontFragment }, remote.lab.now);

    it('goes there under the current keypair, and moves nothing', () => {
      const lab = open();
      const session = lab.remote().install();
      const { remote } = session;
      expect(send(remote, ELSEWHERE)).toBe('sent');
      expect(send(remote, ELSEWHERE, true)).toBe('sent');
      const sent = lab.sent();
      expect(sent).toMatchObject([
        { destination: ELSEWHERE, source: null },
        { destination: ELSEWHERE, source: null },
      ]);
      expect(sent.map(({ datagram }) => session.open(datagram))).toEqual([
        { counter: 0n, plaintext: padded(FRAME, 48) },
        { counter: 1n, plaintext: padded(FRAME, 48) },
      ]);
      expect(lab.plane.endpoint(remote.slot)).toBe(remote.endpoint);
    });

    it('goes by a relay too', () => {
      const lab = open();
      lab.plane.setRelay(1, RELAY);
      const session = lab.remote().install();
      expect(send(session.remote, AT_RELAY)).toBe('sent');
      const [sent] = lab.sent();
      expect(sent?.destination).toBe(RELAY);
      expect(session.open(inner(sent?.datagram as Uint8Array)).plaintext).toEqual(padded(FRAME, 48));
    });

    it('is a sign of life only at the endpoint, from the address that sticks to it', () => {
      const lab = open();
      const session = lab.remote().install();
      const { remote } = session;
      session.deliver(reversed4());
      const owed = remote.record('answerOwedSince');
      expect(owed).toBe(lab.now);
      const later = lab.advance(50);
      send(remote, ELSEWHERE);
      expect(remote.record('answerOwedSince')).toBe(owed);
      expect(remote.record('lastAuthenticatedSend')).toBe(0);
      expect(remote.record('txBytes')).toBe(48 + 32);
      expect(remote.record('txPackets')).toBe(1);
      expect(remote.record('sendCounter')).toBe(1);
      lab.sent();
      send(remote, remote.endpoint);
      expect(lab.sent()).toMatchObject([{ destination: remote.endpoint, source: LOCAL_V4 }]);
      expect(remote.record('answerOwedSince')).toBe(0);
      expect(remote.record('lastAuthenticatedSend')).toBe(later);
      expect(remote.record('lastDataSend')).toBe(0);
      expect(remote.record('txPackets')).toBe(2);
    });

    it('needs a keypair that may send, but no endpoint', () => {
      const lab = open();
      const remote = lab.remote({ endpoint: null });
      expect(send(remote, ELSEWHERE)).toBe('noKeypair');
      remote.install('responder');
      expect(send(remote, ELSEWHERE)).toBe('noKeypair');
      const session = remote.install();
      expect(send(remote, ELSEWHERE)).toBe('sent');
      expect(session.openSent()).toHaveLength(1);
      lab.plane.unbind();
      expect(send(remote, ELSEWHERE)).toBe('failed');
      lab.plane.bind({ port: PORT, fwmark: 0 });
      lab.plane.expireSending(remote.slot);
      expect(send(remote, ELSEWHERE)).toBe('noKeypair');
    });

    it('of the size of the MTU is not padded beyond it', () => {
      const lab = open({ mtu: 1420 });
      const remote = lab.remote();
      remote.install();
      const sizes = [1408, 1419, 1420].map((size) => {
        lab.plane.sendFrameTo(remote.slot, new Uint8Array(size), ELSEWHERE, { dontFragment: true }, lab.now);
        return lab.sent()[0]?.datagram.length;
      });
      expect(sizes).toEqual([1440, 1452, 1452]);
    });
  });
}
