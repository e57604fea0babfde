// "Path MTU" of docs/dataplane.md: packets that are too big for the way to their peer, and the MSS of TCP connections.

import { describe, expect, it } from 'vitest';
import { concat, readU16be, readU32be, writeU16be } from '../../src/base/bytes.ts';
import type { Lab, PlaneOptions } from './lab.ts';
import { internetChecksum, ipv4, ipv6, padded } from './packets.ts';

const TCP = 6;
const SYN = 0x02;
const ACK = 0x10;

interface Segment {
  readonly inward?: boolean;
  readonly ipv6?: boolean;
  readonly flags?: number;
  /** TCP options, a multiple of 4 bytes. */
  readonly options?: readonly number[];
}

const mssOption = (mss: number): number[] => [2, 4, mss >> 8, mss & 255];

/** A TCP segment with right checksums. */
function tcp(segment: Segment): Uint8Array {
  const options = segment.options ?? [];
  const header = segment.ipv6 === true ? 40 : 20;
  const near = segment.ipv6 === true ? 'fd00::1' : '10.0.0.1';
  const far = segment.ipv6 === true ? 'fd00::2' : '10.0.0.2';
  const addresses = segment.inward === true ? { source: far, destination: near } : { source: near, destination: far };
  const make = segment.ipv6 === true ? ipv6 : ipv4;
  const packet = make({ ...addresses, protocol: TCP, length: header + 20 + options.length + 5, mark: 0x40 });
  packet[header + 12] = ((20 + options.length) / 4) << 4;
  packet[header + 13] = segment.flags ?? SYN;
  packet.set(options, header + 20);
  writeU16be(packet, header + 16, 0);
  writeU16be(packet, header + 16, tcpChecksum(packet));
  return packet;
}

/** 0 when the one that is in the packet is right. */
function tcpChecksum(packet: Uint8Array): number {
  const v6 = (packet[0] as number) >> 4 === 6;
  const body = packet.subarray(v6 ? 40 : 20);
  const addresses = v6 ? packet.subarray(8, 40) : packet.subarray(12, 20);
  return internetChecksum(addresses, new Uint8Array([0, TCP, body.length >> 8, body.length & 255]), body);
}

export function pathMtuRules(open: (options?: PlaneOptions) => Lab): void {
  describe('a packet above the path MTU', () => {
    it('is dropped and answered with that MTU: IPv6, and IPv4 that must not be fragmented', () => {
      const lab = open();
      const session = lab.remote().install();
      lab.plane.setPathMtu(session.remote.slot, 1300);
      const big4 = ipv4({ length: 1301 });
      big4[6] = 0x40;
      const big6 = ipv6({ length: 1301 });
      lab.tunnel(big4);
      lab.advance(10);
      lab.tunnel(big6);
      const [error4, error6] = lab.toTunnel() as [Uint8Array, Uint8Array];
      expect([...error4.subarray(20, 22), readU32be(error4, 24)]).toEqual([3, 4, 1300]);
      expect(internetChecksum(error4.subarray(20))).toBe(0);
      expect(error4.subarray(12, 20)).toEqual(concat(big4.subarray(16, 20), big4.subarray(12, 16)));
      expect(error4.subarray(28)).toEqual(big4.subarray(0, 548));
      expect([...error6.subarray(40, 42), readU32be(error6, 44)]).toEqual([2, 0, 1300]);
      expect(error6.subarray(8, 24)).toEqual(big6.subarray(24, 40));
      expect(error6.subarray(48)).toEqual(big6.subarray(0, 1232));
      expect(lab.sent()).toEqual([]);
      expect(lab.drops()).toEqual({ outTooBig: 2 });
      expect(session.remote.record('sendCounter')).toBe(0);
    });

    it('goes as it is when it may be fragmented, and so does one that fits', () => {
      const lab = open();
      const session = lab.remote().install();
      lab.plane.setPathMtu(session.remote.slot, 1300);
      const exact4 = ipv4({ length: 1300 });
      exact4[6] = 0x40;
      const packets = [ipv4({ length: 1400 }), exact4, ipv6({ length: 1300 })];
      for (const packet of packets) lab.tunnel(packet);
      const plaintexts = session.openSent().map(({ plaintext }) => plaintext);
      // What fits the path is not padded beyond it.
      expect(plaintexts).toEqual([padded(packets[0] as Uint8Array, 1408), packets[1], packets[2]]);
      expect(lab.drops()).toEqual({});
    });

    it('is answered at most every 10 ms, whatever else is answered', () => {
      const lab = open();
      lab.plane.setPathMtu(lab.remote().slot, 1300);
      lab.tunnel(ipv4({ destination: '10.9.9.9' }));
      for (let i = 0; i < 3; i++) lab.tunnel(ipv6({ length: 1400 }));
      expect(lab.toTunnel()).toHaveLength(2);
      lab.advance(9);
      lab.tunnel(ipv6({ length: 1400 }));
      expect(lab.toTunnel()).toEqual([]);
      lab.advance(1);
      lab.tunnel(ipv6({ length: 1400 }));
      expect(lab.toTunnel()).toHaveLength(1);
      expect(lab.drops()).toMatchObject({ outTooBig: 5 });
    });

    it('does not exist below what every link carries', () => {
      const lab = open();
      const session = lab.remote().install();
      lab.plane.setPathMtu(session.remote.slot, 100);
      const whole4 = ipv4({ length: 576 });
      whole4[6] = 0x40;
      lab.tunnel(whole4);
      lab.tunnel(ipv6({ length: 1280 }));
      expect(session.openSent()).toHaveLength(2);
      lab.tunnel(ipv6({ length: 1281 }));
      const over4 = ipv4({ length: 577 });
      over4[6] = 0x40;
      lab.advance(10);
      lab.tunnel(over4);
      const [error6, error4] = lab.toTunnel() as [Uint8Array, Uint8Array];
      expect([readU32be(error6, 44), readU32be(error4, 24)]).toEqual([1280, 576]);
    });

    it('is told of before a session is wanted or an endpoint is missed; 0 takes the limit away', () => {
      const lab = open();
      const remote = lab.remote({ endpoint: null });
      lab.plane.setPathMtu(remote.slot, 1300);
      lab.tunnel(ipv6({ length: 1301 }));
      expect(lab.drops()).toEqual({ outTooBig: 1 });
      lab.plane.setPathMtu(remote.slot, 0);
      lab.tunnel(ipv6({ length: 1301 }));
      expect(lab.drops()).toEqual({ outTooBig: 1, outNoEndpoint: 1 });
    });
  });

  describe('the MSS of a TCP connection', () => {
    const through = (lab: Lab, segment: Segment): Uint8Array => {
      const packet = tcp(segment);
      expect(tcpChecksum(packet)).toBe(0);
      if (segment.inward === true) {
        session.deliver(padded(packet, Math.ceil(packet.length / 16) * 16));
        return lab.toTunnel()[0] as Uint8Array;
      }
      lab.tunnel(packet);
      return session.openSent()[0]?.plaintext.subarray(0, packet.length) as Uint8Array;
    };
    let session: ReturnType<ReturnType<Lab['remote']>['install']>;
    const limited = (mtu: number): Lab => {
      const lab = open();
      session = lab.remote().install();
      lab.plane.setPathMtu(session.remote.slot, mtu);
      return lab;
    };
    const mssOf = (packet: Uint8Array, at: number): number => {
      expect(tcpChecksum(packet)).toBe(0);
      return readU16be(packet, at);
    };

    it('is lowered in SYN and SYN/ACK, both ways and in both families, with the checksum made good', () => {
      const lab = limited(1300);
      for (const inward of [false, true]) {
        for (const flags of [SYN, SYN | ACK]) {
          expect(mssOf(through(lab, { inward, flags, options: mssOption(1380) }), 42)).toBe(1260);
          expect(mssOf(through(lab, { inward, flags, ipv6: true, options: mssOption(1360) }), 62)).toBe(1240);
        }
      }
    });

    it('is lowered wherever the option stands', () => {
      const lab = limited(1300);
      const shapes: [options: number[], at: number][] = [
        [[1, ...mssOption(1380), 1, 1, 1], 43],
        [[1, 1, ...mssOption(1380), 1, 1], 44],
        [[4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, ...mssOption(1380)], 54],
        [[3, 3, 7, ...mssOption(0xffff), 0], 45],
      ];
      for (const [options, at] of shapes) expect(mssOf(through(lab, { options }), at)).toBe(1260);
    });

    it('is left as it is when it is small enough, in any other packet, and without a limit', () => {
      const lab = limited(1300);
      const untouched: Segment[] = [
        { options: mssOption(1260) },
        { options: mssOption(1), inward: true },
        { options: mssOption(1380), flags: ACK },
        { options: [0, ...mssOption(1380), 0, 0, 0] },
        { options: [2, 3, 5, 100] },
        { options: [8, 1, ...mssOption(1380), 0, 0] },
        { options: [8, 40, ...mssOption(1380), 0, 0] },
        { options: [] },
      ];
      for (const segment of untouched) expect(through(lab, segment)).toEqual(tcp(segment));
      lab.plane.setPathMtu(session.remote.slot, 0);
      expect(through(lab, { options: mssOption(1380) })).toEqual(tcp({ options: mssOption(1380) }));
    });

    it('of a fragment, a cut header or a packet that is not TCP is not looked for', () => {
      const lab = limited(1300);
      const fragment = tcp({ options: mssOption(1380) });
      fragment[6] = 0x20;
      const cut = tcp({ options: mssOption(1380) }).slice(0, 39);
      writeU16be(cut, 2, 39);
      const beyond = tcp({ options: mssOption(1380) });
      beyond[32] = 0xf0;
      const udp = tcp({ options: mssOption(1380) });
      udp[9] = 17;
      for (const packet of [fragment, cut, beyond, udp]) {
        lab.tunnel(packet.slice());
        expect(session.openSent()[0]?.plaintext.subarray(0, packet.length)).toEqual(packet);
      }
    });

    it('keeps a wrong checksum wrong', () => {
      const lab = limited(1300);
      const wrong = tcp({ options: mssOption(1380), inward: true });
      wrong[36] = (wrong[36] as number) ^ 0x10;
      session.deliver(padded(wrong, 64));
      const [delivered] = lab.toTunnel() as [Uint8Array];
      expect(readU16be(delivered, 42)).toBe(1260);
      expect(tcpChecksum(delivered)).not.toBe(0);
    });

    it('is lowered before the packet waits', () => {
      const lab = open();
      const remote = lab.remote();
      lab.plane.setPathMtu(remote.slot, 1300);
      lab.tunnel(tcp({ options: mssOption(1380) }));
      const staged = remote.install();
      lab.plane.flushStaged(remote.slot, lab.now);
      expect(mssOf(staged.openSent()[0]?.plaintext.subarray(0, 49) as Uint8Array, 42)).toBe(1260);
    });
  });
}
