// Staging and the ICMP errors that end it: "Tunnel to network" 2–4 and "ICMP errors" of docs/dataplane.md.

import { describe, expect, it } from 'vitest';
import { concat, readU16be } from '../../src/base/bytes.ts';
import type { Instant } from '../../src/base/instant.ts';
import { DescriptorKind, Notify } from '../../src/dataplane/dataplane.ts';
import { type Lab, type PlaneOptions, PORT } from './lab.ts';
import { internetChecksum, ipv4, ipv6, padded } from './packets.ts';

/** Type and code of an ICMP error, after checking everything else about it. */
function icmpError(error: Uint8Array, about: Uint8Array): [type: number, code: number] {
  const v4 = (error[0] as number) >> 4 === 4;
  const header = error.subarray(0, v4 ? 20 : 40);
  const body = error.subarray(header.length);
  if (v4) {
    expect([...header.subarray(0, 2), ...header.subarray(4, 10)]).toEqual([0x45, 0, 0, 0, 0, 0, 64, 1]);
    expect(readU16be(header, 2)).toBe(error.length);
    expect(internetChecksum(header)).toBe(0);
    expect(internetChecksum(body)).toBe(0);
    expect(header.subarray(12, 20)).toEqual(concat(about.subarray(16, 20), about.subarray(12, 16)));
    expect(body.length).toBe(8 + Math.min(about.length, 548));
  } else {
    expect([...header.subarray(0, 4), ...header.subarray(6, 8)]).toEqual([0x60, 0, 0, 0, 58, 64]);
    expect(readU16be(header, 4)).toBe(body.length);
    const pseudo = concat(
      header.subarray(8, 40),
      new Uint8Array([0, 0, body.length >> 8, body.length & 255, 0, 0, 0, 58]),
    );
    expect(internetChecksum(pseudo, body)).toBe(0);
    expect(header.subarray(8, 40)).toEqual(concat(about.subarray(24, 40), about.subarray(8, 24)));
    expect(body.length).toBe(8 + Math.min(about.length, 1232));
  }
  expect([...body.subarray(4, 8)]).toEqual([0, 0, 0, 0]);
  expect(body.subarray(8)).toEqual(about.subarray(0, body.length - 8));
  return [body[0] as number, body[1] as number];
}

export function stagingRules(open: (options?: PlaneOptions) => Lab): void {
  describe('a packet without a session', () => {
    it('waits, and a session is wanted, once until re-armed', () => {
      const lab = open();
      const remote = lab.remote();
      lab.tunnel(ipv4());
      const { now } = lab;
      expect(remote.record('staged')).toBe(1);
      expect(remote.record('lastStaged')).toBe(now);
      expect(lab.poll()).toMatchObject([{ kind: DescriptorKind.sessionWanted, peer: remote.slot, time: now }]);
      lab.advance(5);
      lab.tunnel(ipv4());
      expect(remote.record('staged')).toBe(2);
      expect(remote.record('lastStaged')).toBe(now + 5);
      expect(lab.kinds()).toEqual([]);
      lab.plane.rearm(remote.slot, Notify.sessionWanted, lab.now);
      expect(lab.kinds()).toEqual([DescriptorKind.sessionWanted]);
    });

    it('is not spoken of when re-armed with nothing staged or with a keypair that may send', () => {
      const lab = open();
      const remote = lab.remote();
      lab.tunnel(ipv4());
      lab.poll();
      remote.install();
      lab.plane.rearm(remote.slot, Notify.sessionWanted, lab.now);
      expect(lab.kinds()).toEqual([]);
      expect(lab.plane.flushStaged(remote.slot, lab.now)).toBe(1);
      lab.plane.clearKeypairs(remote.slot);
      lab.plane.rearm(remote.slot, Notify.sessionWanted, lab.now);
      lab.poll();
      lab.tunnel(ipv4());
      expect(lab.kinds()).toEqual([DescriptorKind.sessionWanted]);
    });

    it('waits in a queue of 128, from which the oldest falls', () => {
      const lab = open();
      const remote = lab.remote();
      for (let i = 0; i < 131; i++) lab.tunnel(ipv4({ mark: i }));
      expect(remote.record('staged')).toBe(128);
      expect(lab.drops()).toEqual({ outStagedOverflow: 3 });
      const session = remote.install();
      expect(lab.plane.flushStaged(remote.slot, lab.now)).toBe(128);
      const marks = session.openSent().map(({ plaintext }) => plaintext[20]);
      expect(marks).toEqual(Array.from({ length: 128 }, (_, i) => i + 3));
    });

    it('is staged again when the keypair has expired', () => {
      const lab = open();
      const remote = lab.remote();
      remote.install();
      lab.advance(180_000);
      lab.tunnel(ipv4());
      expect(remote.record('staged')).toBe(1);
      expect(lab.kinds()).toEqual([DescriptorKind.sessionWanted]);
    });
  });

  describe('staged packets', () => {
    it('leave in order when flushed, as data', () => {
      const lab = open();
      const remote = lab.remote();
      for (let i = 0; i < 3; i++) lab.tunnel(ipv4({ mark: i, length: 41 + i }));
      lab.poll();
      const session = remote.install();
      expect(lab.sent()).toEqual([]);
      lab.advance(7);
      expect(lab.plane.flushStaged(remote.slot, lab.now)).toBe(3);
      expect(session.openSent().map(({ plaintext }) => plaintext)).toEqual(
        [0, 1, 2].map((i) => padded(ipv4({ mark: i, length: 41 + i }), 48)),
      );
      expect(remote.record('staged')).toBe(0);
      expect(remote.record('lastDataSend')).toBe(lab.now);
      expect(remote.record('txPackets')).toBe(3);
      expect(lab.kinds()).toEqual([DescriptorKind.answerAwaited]);
    });

    it('leave before a newer packet', () => {
      const lab = open();
      const remote = lab.remote();
      lab.tunnel(ipv4({ mark: 1 }));
      lab.tunnel(ipv4({ mark: 2 }));
      const session = remote.install();
      lab.tunnel(ipv4({ mark: 3 }));
      expect(session.openSent().map(({ plaintext }) => plaintext[20])).toEqual([1, 2, 3]);
    });

    it('stay behind a keepalive', () => {
      const lab = open();
      const remote = lab.remote();
      lab.tunnel(ipv4({ mark: 1 }));
      const session = remote.install();
      lab.plane.sendKeepalive(remote.slot, lab.now);
      expect(session.openSent().map(({ plaintext }) => plaintext.length)).toEqual([0]);
      expect(remote.record('staged')).toBe(1);
    });

    it('stay when there is no keypair, no endpoint or no socket', () => {
      const lab = open();
      const remote = lab.remote();
      lab.tunnel(ipv4());
      expect(lab.plane.flushStaged(remote.slot, lab.now)).toBe(0);
      const session = remote.install();
      lab.plane.setEndpoint(remote.slot, null);
      expect(lab.plane.flushStaged(remote.slot, lab.now)).toBe(0);
      lab.plane.setEndpoint(remote.slot, remote.endpoint);
      lab.plane.unbind();
      expect(lab.plane.flushStaged(remote.slot, lab.now)).toBe(0);
      lab.plane.bind({ port: PORT, fwmark: 0 });
      expect(lab.plane.flushStaged(remote.slot, lab.now)).toBe(1);
      expect(session.openSent()).toHaveLength(1);
    });

    it('stay when the counters run out on the way', () => {
      const lab = open();
      const remote = lab.remote();
      for (let i = 0; i < 5; i++) lab.tunnel(ipv4({ mark: i }));
      const session = remote.install('initiator', { firstSendCounter: 8n, rejectAfterMessages: 10n });
      expect(lab.plane.flushStaged(remote.slot, lab.now)).toBe(2);
      expect(session.openSent().map(({ counter }) => counter)).toEqual([8n, 9n]);
      expect(remote.record('staged')).toBe(3);
      lab.tunnel(ipv4({ mark: 9 }));
      const next = remote.install();
      expect(lab.plane.flushStaged(remote.slot, lab.now)).toBe(4);
      expect(next.openSent().map(({ plaintext }) => plaintext[20])).toEqual([2, 3, 4, 9]);
    });

    it('are dropped in silence when the peer is merely stopped', () => {
      const lab = open();
      const remote = lab.remote();
      for (let i = 0; i < 3; i++) lab.tunnel(ipv4());
      expect(lab.plane.dropStaged(remote.slot, { unreachable: false }, lab.now)).toBe(3);
      expect(lab.drops()).toEqual({ outStagedFlushed: 3 });
      expect(remote.record('staged')).toBe(0);
      expect(lab.toTunnel()).toEqual([]);
    });

    it('are answered with one ICMP error when the handshake is given up', () => {
      const lab = open();
      const remote = lab.remote();
      for (let i = 0; i < 3; i++) lab.tunnel(i === 0 ? ipv6({ mark: i }) : ipv4({ mark: i }));
      expect(lab.plane.dropStaged(remote.slot, { unreachable: true }, lab.now)).toBe(3);
      const errors = lab.toTunnel();
      expect(errors).toHaveLength(1);
      expect(icmpError(errors[0] as Uint8Array, ipv6({ mark: 0 }))).toEqual([1, 3]);
    });
  });

  describe('an ICMP error', () => {
    it('tells the sender that nobody owns the destination', () => {
      const lab = open();
      const packets = [
        ipv4({ destination: '10.9.9.9' }),
        ipv6({ destination: 'fd99::9' }),
        ipv4({ destination: '10.9.9.9', length: 1400 }),
        ipv6({ destination: 'fd99::9', length: 1399 }),
        ipv4({ destination: '10.9.9.9', length: 29 }),
      ];
      const codes = packets.map((packet) => {
        lab.tunnel(packet);
        lab.advance(10);
        const errors = lab.toTunnel();
        expect(errors).toHaveLength(1);
        return icmpError(errors[0] as Uint8Array, packet);
      });
      expect(codes).toEqual([
        [3, 1],
        [1, 0],
        [3, 1],
        [1, 0],
        [3, 1],
      ]);
      expect(lab.drops()).toEqual({ outNoPeer: packets.length });
    });

    it('tells the sender that the owner has no endpoint', () => {
      const lab = open();
      lab.remote({ endpoint: null });
      lab.tunnel(ipv4());
      lab.advance(10);
      lab.tunnel(ipv6());
      const errors = lab.toTunnel();
      expect(icmpError(errors[0] as Uint8Array, ipv4())).toEqual([3, 1]);
      expect(icmpError(errors[1] as Uint8Array, ipv6())).toEqual([1, 3]);
    });

    it('is sent once in 10 ms for the whole device', () => {
      const lab = open();
      const remote = lab.remote({ endpoint: null });
      lab.tunnel(ipv4({ destination: '10.9.9.9' }));
      lab.tunnel(ipv4());
      lab.advance(9);
      lab.tunnel(ipv6({ destination: 'fd99::9' }));
      expect(lab.toTunnel()).toHaveLength(1);
      lab.advance(1);
      lab.tunnel(ipv4());
      expect(lab.toTunnel()).toHaveLength(1);
      lab.plane.setEndpoint(remote.slot, remote.endpoint);
      lab.tunnel(ipv4());
      lab.plane.dropStaged(remote.slot, { unreachable: true }, (lab.now + 9) as Instant);
      expect(lab.toTunnel()).toHaveLength(0);
      lab.tunnel(ipv4());
      lab.plane.dropStaged(remote.slot, { unreachable: true }, (lab.now + 10) as Instant);
      expect(lab.toTunnel()).toHaveLength(1);
    });

    it('is never about what may not have one, and such a packet does not delay another', () => {
      const lab = open();
      const icmp4 = (type: number, length = 40): Uint8Array =>
        ipv4({ destination: '10.9.9.9', protocol: 1, mark: type, length });
      const icmp6 = (type: number, length = 60): Uint8Array =>
        ipv6({ destination: 'fd99::9', protocol: 58, mark: type, length });
      const fragment = ipv4({ destination: '10.9.9.9' });
      fragment[7] = 1;
      const silent = [
        fragment,
        ...[3, 4, 5, 11, 12].map((type) => icmp4(type)),
        icmp4(0, 20),
        ...[1, 2, 3, 4, 127].map((type) => icmp6(type)),
        icmp6(0, 40),
        ipv4({ destination: '224.0.0.1' }),
        ipv4({ destination: '255.255.255.255' }),
        ipv4({ destination: '10.9.9.9', source: '0.0.0.0' }),
        ipv4({ destination: '10.9.9.9', source: '224.0.0.1' }),
        ipv6({ destination: 'ff02::1' }),
        ipv6({ destination: 'fd99::9', source: '::' }),
        ipv6({ destination: 'fd99::9', source: 'ff02::1' }),
      ];
      for (const packet of silent) lab.tunnel(packet);
      expect(lab.toTunnel()).toEqual([]);
      expect(lab.drops()).toEqual({ outNoPeer: silent.length });
      const spoken = [icmp4(8), icmp4(0), icmp4(13), icmp6(128), icmp6(135)];
      const firstFragment = ipv4({ destination: '10.9.9.9' });
      firstFragment[6] = 0x20;
      for (const packet of [...spoken, firstFragment]) {
        lab.tunnel(packet);
        expect(lab.toTunnel()).toHaveLength(1);
        lab.advance(10);
      }
    });
  });
}
