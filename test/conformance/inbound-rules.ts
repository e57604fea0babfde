// "Network to tunnel" of docs/dataplane.md for transport messages, as behaviours.

import { describe, expect, it } from 'vitest';
import { readU64le, writeU16be, writeU32le } from '../../src/base/bytes.ts';
import { DescriptorKind, Notify, RekeyReason } from '../../src/dataplane/dataplane.ts';
import { endpoint, type Lab, type PlaneOptions, REJECT_AFTER_MESSAGES } from './lab.ts';
import { ipv4, ipv6, padded, reversed4, reversed6 } from './packets.ts';

const ELSEWHERE = endpoint('203.0.113.9:9');

export function inboundRules(open: (options?: PlaneOptions) => Lab): void {
  describe('a datagram', () => {
    it('of no known type or of a wrong length is dropped', () => {
      const lab = open();
      const word = (type: number, length: number): Uint8Array => {
        const bytes = new Uint8Array(length);
        writeU32le(bytes, 0, type);
        return bytes;
      };
      const from = endpoint('192.0.2.2:1');
      const unknown = [
        new Uint8Array(0),
        new Uint8Array(3),
        word(0, 32),
        word(5, 148),
        word(0x0100_0004, 64),
        word(0x21, 40),
      ];
      for (const datagram of unknown) lab.receive(datagram, from);
      expect(lab.drops()).toEqual({ inUnknownType: unknown.length });
      const lengths = [
        word(1, 147),
        word(1, 149),
        word(2, 91),
        word(2, 93),
        word(3, 63),
        word(3, 65),
        word(4, 31),
        word(4, 4),
      ];
      for (const datagram of lengths) lab.receive(datagram, from);
      expect(lab.drops()).toEqual({ inUnknownType: unknown.length, inBadLength: lengths.length });
      expect(lab.plane.totals().udpDatagramsIn).toBe(unknown.length + lengths.length);
    });

    it('is ignored while the plane is not bound', () => {
      const lab = open();
      const session = lab.remote().install();
      lab.plane.unbind();
      session.deliver(reversed4());
      lab.receive(new Uint8Array(5), ELSEWHERE);
      expect(lab.toTunnel()).toEqual([]);
      expect(lab.drops()).toEqual({});
      expect(lab.plane.totals().udpDatagramsIn).toBe(0);
    });
  });

  describe('a transport message', () => {
    it('carries a packet to the tunnel, cut to its own length', () => {
      const lab = open();
      const session = lab.remote().install();
      const packets = [
        reversed4({ length: 33 }),
        reversed6({ length: 41 }),
        reversed4({ length: 20 }),
        reversed6({ length: 1420 }),
      ];
      for (const packet of packets) session.deliver(padded(packet, Math.ceil(packet.length / 16) * 16));
      expect(lab.toTunnel()).toEqual(packets);
      expect(lab.plane.totals()).toMatchObject({ tunPacketsOut: 4, udpDatagramsIn: 4 });
    });

    it('stamps the record; the first data since we sent owes an answer', () => {
      const lab = open();
      const session = lab.remote().install();
      const { remote } = session;
      session.deliver(reversed4({ length: 64 }));
      const first = lab.now;
      lab.advance(300);
      session.deliver(reversed4({ length: 64 }));
      expect(remote.record('rxBytes')).toBe(2 * 96);
      expect(remote.record('rxPackets')).toBe(2);
      expect(remote.record('lastAuthenticatedReceive')).toBe(lab.now);
      expect(remote.record('lastDataReceive')).toBe(lab.now);
      expect(remote.record('answerOwedSince')).toBe(first);
      expect(lab.poll()).toMatchObject([{ kind: DescriptorKind.answerOwed, peer: remote.slot }]);
    });

    it('settles what is awaited', () => {
      const lab = open();
      const session = lab.remote().install();
      lab.tunnel(ipv4());
      expect(session.remote.record('answerAwaitedSince')).toBe(lab.now);
      session.keepalive();
      expect(session.remote.record('answerAwaitedSince')).toBe(0);
    });

    it('that is data sent by us settles what is owed, and the next receipt owes again once re-armed', () => {
      const lab = open();
      const session = lab.remote().install();
      const { remote } = session;
      session.deliver(reversed4());
      expect(lab.kinds()).toEqual([DescriptorKind.answerOwed]);
      lab.tunnel(ipv4());
      expect(remote.record('answerOwedSince')).toBe(0);
      lab.poll();
      session.deliver(reversed4());
      expect(remote.record('answerOwedSince')).toBe(lab.now);
      expect(lab.kinds()).toEqual([]);
      lab.plane.rearm(remote.slot, Notify.answerOwed, lab.now);
      expect(lab.kinds()).toEqual([DescriptorKind.answerOwed]);
      lab.plane.sendKeepalive(remote.slot, lab.now);
      lab.plane.rearm(remote.slot, Notify.answerOwed, lab.now);
      expect(lab.kinds()).toEqual([]);
    });

    it('without content is a keepalive: authentic, but no data', () => {
      const lab = open();
      const session = lab.remote().install();
      const { remote } = session;
      session.keepalive();
      expect(remote.record('rxBytes')).toBe(32);
      expect(remote.record('lastAuthenticatedReceive')).toBe(lab.now);
      expect(remote.record('lastDataReceive')).toBe(0);
      expect(remote.record('answerOwedSince')).toBe(0);
      expect(lab.toTunnel()).toEqual([]);
      expect(lab.kinds()).toEqual([]);
      expect(lab.drops()).toEqual({});
    });

    it('with an unknown, forgotten or merely expected index is dropped', () => {
      const lab = open();
      const remote = lab.remote();
      const session = remote.install();
      const expected = lab.nextIndex();
      expect(lab.plane.expectIndex(expected, remote.slot)).toBe(true);
      const message = session.seal(reversed4());
      for (const index of [0, 99_999, expected]) {
        const other = message.slice();
        writeU32le(other, 4, index);
        lab.receive(other, remote.endpoint);
      }
      lab.plane.clearKeypairs(remote.slot);
      lab.receive(message, remote.endpoint);
      expect(lab.drops()).toEqual({ inUnknownIndex: 4 });
    });

    it('is refused from the instant at which its keypair ends', () => {
      const lab = open();
      const session = lab.remote().install();
      lab.advance(179_999);
      session.deliver(reversed4());
      expect(lab.toTunnel()).toHaveLength(1);
      lab.advance(1);
      session.deliver(reversed4());
      expect(lab.toTunnel()).toEqual([]);
      expect(lab.drops()).toEqual({ inExpired: 1 });
    });

    it('is refused when its counter is past the limit', () => {
      const lab = open();
      const session = lab.remote().install();
      session.deliver(reversed4(), { counter: REJECT_AFTER_MESSAGES });
      session.deliver(reversed4(), { counter: 2n ** 64n - 1n });
      expect(lab.drops()).toEqual({ inCounterExhausted: 2 });
      session.deliver(reversed4(), { counter: REJECT_AFTER_MESSAGES - 1n });
      expect(lab.toTunnel()).toHaveLength(1);
    });

    it('that was altered anywhere changes nothing but a counter of drops', () => {
      const lab = open();
      const session = lab.remote().install();
      const { remote } = session;
      const message = session.seal(padded(reversed4(), 64));
      const before = lab.plane.record(remote.slot);
      const record = before.view.slice(before.offset, before.offset + 16);
      const places = [8, 15, 16, 40, message.length - 16, message.length - 1];
      for (const at of places) {
        const altered = message.slice();
        altered[at] = (altered[at] as number) ^ 1;
        lab.receive(altered, ELSEWHERE);
      }
      lab.receive(message.subarray(0, message.length - 1), ELSEWHERE);
      // One flip made the counter 1 and one 2^56: neither may have touched the window, for the tag was wrong.
      const refused = lab.plane.drops();
      expect(refused.inBadTag + refused.inCounterExhausted).toBe(places.length + 1);
      expect(before.view.slice(before.offset, before.offset + 16)).toEqual(record);
      expect(lab.plane.endpoint(remote.slot)).toBe(remote.endpoint);
      expect(lab.kinds()).toEqual([]);
      lab.receive(message, remote.endpoint);
      expect(lab.toTunnel()).toEqual([reversed4()]);
    });

    it('from whose inside the source address belongs to another peer is dropped', () => {
      const lab = open();
      const session = lab.remote({ allowedIps: ['10.0.0.0/8', 'fd00::/16'] }).install();
      lab.remote({ endpoint: '192.0.2.3:1', allowedIps: ['10.0.0.3/32', 'fd00::3/128'] });
      session.deliver(reversed4({ source: '10.0.0.3' }));
      session.deliver(reversed6({ source: 'fd00::3' }));
      session.deliver(reversed4({ source: '192.168.0.1' }));
      session.deliver(reversed6({ source: 'fe80::1' }));
      expect(lab.drops()).toEqual({ inWrongSource: 4 });
      expect(lab.toTunnel()).toEqual([]);
      expect(session.remote.record('rxPackets')).toBe(4);
      expect(session.remote.record('lastDataReceive')).toBe(0);
      expect(session.remote.record('answerOwedSince')).toBe(0);
      expect(lab.kinds()).toEqual([]);
      session.deliver(reversed4({ source: '10.0.0.4' }));
      expect(lab.toTunnel()).toHaveLength(1);
    });

    it('with a malformed packet inside is dropped', () => {
      const lab = open();
      const session = lab.remote().install();
      const with16 = (packet: Uint8Array, at: number, value: number): Uint8Array => {
        writeU16be(packet, at, value);
        return packet;
      };
      const first = (packet: Uint8Array, value: number): Uint8Array => {
        packet[0] = value;
        return packet;
      };
      const bad = [
        reversed4().subarray(0, 19),
        reversed6().subarray(0, 39),
        with16(reversed4({ length: 60 }), 2, 61),
        with16(reversed4({ length: 60 }), 2, 19),
        with16(reversed6({ length: 80 }), 4, 41),
        first(reversed4(), 0x44),
        first(reversed4({ length: 28 }), 0x48),
        first(reversed4(), 0x15),
        first(reversed4(), 0x75),
        first(reversed6(), 0xf0),
        new Uint8Array([0x45]),
      ];
      for (const plaintext of bad) session.deliver(plaintext);
      expect(lab.drops()).toEqual({ inInnerMalformed: bad.length });
      expect(session.remote.record('lastDataReceive')).toBe(0);
      expect(session.remote.record('rxPackets')).toBe(bad.length);
    });
  });

  describe('the replay window', () => {
    it('takes each counter once, in any order', () => {
      const lab = open();
      const session = lab.remote().install();
      for (const counter of [5n, 3n, 4n, 0n, 5n, 3n, 100n, 0n, 99n]) session.deliver(reversed4(), { counter });
      expect(lab.toTunnel()).toHaveLength(6);
      expect(lab.drops()).toEqual({ inReplayed: 3 });
      expect(session.remote.record('rxPackets')).toBe(6);
    });

    it('reaches back 8,128 counters and no further', () => {
      const lab = open();
      const session = lab.remote().install();
      session.keepalive({ counter: 20_000n });
      session.keepalive({ counter: 20_000n - 8128n });
      expect(lab.drops()).toEqual({});
      session.keepalive({ counter: 20_000n - 8129n });
      session.keepalive({ counter: 0n });
      session.keepalive({ counter: 20_000n - 8128n });
      expect(lab.drops()).toEqual({ inReplayed: 3 });
    });

    it('survives jumps over its whole length and beyond 2^53', () => {
      const lab = open();
      const session = lab.remote().install();
      const jumps = [1n, 8193n, 16_385n, 2n ** 32n, 2n ** 53n + 1n, 2n ** 53n + 2n, 2n ** 63n];
      for (const counter of jumps) {
        session.keepalive({ counter });
        session.keepalive({ counter });
      }
      expect(lab.drops()).toEqual({ inReplayed: jumps.length });
      session.keepalive({ counter: 2n ** 63n - 1n });
      expect(session.remote.record('rxPackets')).toBe(jumps.length + 1);
    });

    it('belongs to one keypair', () => {
      const lab = open();
      const remote = lab.remote();
      const first = remote.install();
      const second = remote.install();
      first.keepalive({ counter: 9n });
      second.keepalive({ counter: 9n });
      expect(lab.drops()).toEqual({});
    });

    it('keeps a replayed message from moving the endpoint', () => {
      const lab = open();
      const session = lab.remote().install();
      const message = session.seal(reversed4());
      lab.receive(message, session.remote.endpoint);
      lab.poll();
      lab.receive(message, ELSEWHERE);
      expect(lab.plane.endpoint(session.remote.slot)).toBe(session.remote.endpoint);
      expect(lab.kinds()).toEqual([]);
    });
  });

  describe('renewal by the receiver', () => {
    it('is wanted from its instant on, once until re-armed, for the current keypair', () => {
      const lab = open();
      const remote = lab.remote();
      const old = remote.install();
      lab.advance(164_999);
      old.keepalive();
      expect(lab.kinds()).toEqual([]);
      lab.advance(1);
      old.keepalive();
      old.keepalive();
      expect(lab.poll()).toMatchObject([
        { kind: DescriptorKind.rekeyWanted, peer: remote.slot, value: RekeyReason.receiveAge },
      ]);
      old.keepalive();
      expect(lab.kinds()).toEqual([]);
      lab.plane.rearm(remote.slot, Notify.rekeyOnReceive, lab.now);
      expect(lab.kinds()).toEqual([]);
      old.keepalive();
      expect(lab.kinds()).toEqual([DescriptorKind.rekeyWanted]);
      remote.install();
      old.keepalive();
      expect(lab.kinds()).toEqual([]);
    });
  });

  describe('a control frame from the peer', () => {
    it('goes up with its padding and its sender, and is no data', () => {
      const lab = open();
      const session = lab.remote().install();
      const { remote } = session;
      const frame = lab.bytes(48);
      frame[0] = 0x0f;
      session.deliver(frame);
      expect(lab.poll()).toMatchObject([
        {
          kind: DescriptorKind.frame,
          peer: remote.slot,
          source: remote.endpoint,
          content: frame,
          time: lab.now,
          value: 0,
        },
      ]);
      expect(remote.record('lastAuthenticatedReceive')).toBe(lab.now);
      expect(remote.record('lastDataReceive')).toBe(0);
      expect(remote.record('answerOwedSince')).toBe(0);
      expect(lab.toTunnel()).toEqual([]);
    });

    it('may have 1,504 bytes and no more', () => {
      const lab = open();
      const session = lab.remote().install();
      session.deliver(new Uint8Array(1504));
      session.deliver(new Uint8Array(1505));
      expect(lab.poll().map(({ content }) => content.length)).toEqual([1504]);
      expect(lab.drops()).toEqual({ inFrameUnknown: 1 });
    });

    it('is dropped when the slab is full, though authentic', () => {
      const lab = open({ slabSlots: 8 });
      const session = lab.remote().install();
      const slots = lab.plane.slabSlots;
      for (let i = 0; i < slots + 2; i++) session.deliver(new Uint8Array(16));
      expect(lab.drops()).toEqual({ inControlFull: 2 });
      expect(session.remote.record('rxPackets')).toBe(slots + 2);
      expect(lab.poll()).toHaveLength(slots);
    });
  });

  it('a message sent by one plane is what another opens: counters count up from zero', () => {
    const lab = open();
    const session = lab.remote().install();
    lab.tunnel(ipv6({ length: 100 }));
    const [sent] = lab.sent();
    expect(readU64le(sent?.datagram as Uint8Array, 8)).toBe(0n);
    expect(session.open(sent?.datagram as Uint8Array).plaintext).toEqual(padded(ipv6({ length: 100 }), 112));
  });
}
