// "Tunnel to network" of docs/dataplane.md as behaviours.

import { describe, expect, it } from 'vitest';
import { writeU16be } from '../../src/base/bytes.ts';
import { DescriptorKind, Notify, RekeyReason } from '../../src/dataplane/dataplane.ts';
import { endpoint, type Lab, type PlaneOptions, PORT, prefix } from './lab.ts';
import { ipv4, ipv6, padded } from './packets.ts';

export function outboundRules(open: (options?: PlaneOptions) => Lab): void {
  describe('a packet from the tunnel', () => {
    it('that is no IP packet is dropped as malformed', () => {
      const lab = open();
      lab.remote().install();
      const total = (packet: Uint8Array, length: number): Uint8Array => {
        writeU16be(packet, 2, length);
        return packet;
      };
      const shortHeader = ipv4();
      shortHeader[0] = 0x44;
      const version5 = ipv4();
      version5[0] = 0x55;
      const optionsBeyond = ipv4({ length: 28 });
      optionsBeyond[0] = 0x48;
      const beyond6 = ipv6();
      writeU16be(beyond6, 4, 41);
      const bad = [
        new Uint8Array(0),
        ipv4().subarray(0, 19),
        ipv6().subarray(0, 39),
        shortHeader,
        version5,
        total(ipv4({ length: 60 }), 61),
        total(ipv4({ length: 60 }), 19),
        optionsBeyond,
        beyond6,
      ];
      for (const packet of bad) lab.tunnel(packet);
      expect(lab.drops()).toEqual({ outMalformed: bad.length });
      expect(lab.sent()).toEqual([]);
      expect(lab.toTunnel()).toEqual([]);
    });

    it('is cut to the length that its header tells', () => {
      const lab = open();
      const session = lab.remote().install();
      lab.tunnel(padded(ipv4({ length: 33 }), 90));
      lab.tunnel(padded(ipv6({ length: 49 }), 90));
      expect(session.openSent().map(({ plaintext }) => plaintext)).toEqual([
        padded(ipv4({ length: 33 }), 48),
        padded(ipv6({ length: 49 }), 64),
      ]);
    });

    it('goes to the peer with the longest prefix', () => {
      const lab = open();
      const net = lab.remote({ endpoint: '192.0.2.2:1', allowedIps: ['10.0.0.0/8', '::/0'] });
      const host = lab.remote({ endpoint: '192.0.2.3:1', allowedIps: ['10.1.2.3/32', 'fd00::/16'] });
      net.install();
      host.install();
      const destinations = ['10.1.2.3', '10.1.2.4', 'fd00::1', '2001:db8::1'];
      for (const destination of destinations) {
        lab.tunnel(destination.includes(':') ? ipv6({ destination }) : ipv4({ destination }));
      }
      expect(lab.sent().map((sent) => sent.destination)).toEqual([
        host.endpoint,
        net.endpoint,
        host.endpoint,
        net.endpoint,
      ]);
      lab.plane.removeAllowedIp(host.slot, prefix('10.1.2.3/32'));
      lab.tunnel(ipv4({ destination: '10.1.2.3' }));
      expect(lab.sent().map((sent) => sent.destination)).toEqual([net.endpoint]);
    });

    it('follows a prefix that was taken by another peer, and finds nobody when that one gives it up', () => {
      const lab = open();
      const first = lab.remote({ endpoint: '192.0.2.2:1', allowedIps: ['10.0.0.2/32'] });
      const second = lab.remote({ endpoint: '192.0.2.3:1', allowedIps: ['10.0.0.2/32'] });
      first.install();
      second.install();
      lab.plane.removeAllowedIp(first.slot, prefix('10.0.0.2/32'));
      lab.tunnel(ipv4());
      expect(lab.sent().map((sent) => sent.destination)).toEqual([second.endpoint]);
      lab.plane.removeAllowedIp(second.slot, prefix('10.0.0.2/32'));
      lab.tunnel(ipv4());
      expect(lab.sent()).toEqual([]);
      expect(lab.drops()).toEqual({ outNoPeer: 1 });
    });

    it('for a peer without an endpoint is dropped, not staged', () => {
      const lab = open();
      const remote = lab.remote({ endpoint: null });
      remote.install();
      lab.tunnel(ipv4());
      expect(lab.drops()).toEqual({ outNoEndpoint: 1 });
      expect(remote.record('staged')).toBe(0);
      expect(lab.kinds()).toEqual([]);
    });

    it('is lost while the plane is not bound, and uses up no counter', () => {
      const lab = open();
      const session = lab.remote().install();
      lab.plane.unbind();
      lab.tunnel(ipv4());
      expect(lab.drops()).toEqual({ outSocketError: 1 });
      expect(lab.plane.sendKeepalive(session.remote.slot, lab.now)).toBe(false);
      expect(session.remote.record('txPackets')).toBe(0);
      lab.plane.bind({ port: PORT, fwmark: 0 });
      lab.tunnel(ipv4());
      expect(session.openSent().map(({ counter }) => counter)).toEqual([0n]);
    });
  });

  describe('sending', () => {
    it('numbers messages from 0 without gaps and keeps the order of packets', () => {
      const lab = open();
      const session = lab.remote().install();
      for (let i = 0; i < 50; i++) lab.tunnel(ipv4({ mark: i }));
      const opened = session.openSent();
      expect(opened.map(({ counter }) => counter)).toEqual(Array.from({ length: 50 }, (_, i) => BigInt(i)));
      expect(opened.map(({ plaintext }) => plaintext[20])).toEqual(Array.from({ length: 50 }, (_, i) => i));
      expect(session.remote.record('sendCounter')).toBe(50);
    });

    it('pads with zeros to 16 bytes, but not beyond the MTU', () => {
      const lab = open({ mtu: 1420 });
      const session = lab.remote().install();
      const lengths = [20, 32, 33, 1407, 1408, 1409, 1420, 1421, 1424, 1425, 9000];
      for (const length of lengths) lab.tunnel(ipv4({ length }));
      const expected = [32, 32, 48, 1408, 1408, 1420, 1420, 1424, 1424, 1440, 9008];
      expect(session.openSent().map(({ plaintext }) => plaintext)).toEqual(
        lengths.map((length, i) => padded(ipv4({ length }), expected[i] as number)),
      );
    });

    it('follows a change of the MTU and tells of it', () => {
      const lab = open({ mtu: 1420 });
      const session = lab.remote().install();
      lab.plane.io.setMtu(1280);
      lab.tunnel(ipv4({ length: 1275 }));
      lab.tunnel(ipv4({ length: 1409 }));
      expect(session.openSent().map(({ plaintext }) => plaintext.length)).toEqual([1280, 1424]);
      const [link] = lab.poll();
      expect(link).toMatchObject({ kind: DescriptorKind.link, peer: 0xffff_ffff, value: 4, value2: 1280 });
    });

    it('stamps the record and awaits an answer from the first packet on', () => {
      const lab = open();
      const session = lab.remote().install();
      const { remote } = session;
      lab.tunnel(ipv4({ length: 64 }));
      const first = lab.now;
      lab.advance(1000);
      lab.tunnel(ipv4({ length: 64 }));
      expect(remote.record('txBytes')).toBe(2 * (64 + 32));
      expect(remote.record('txPackets')).toBe(2);
      expect(remote.record('lastAuthenticatedSend')).toBe(lab.now);
      expect(remote.record('lastDataSend')).toBe(lab.now);
      expect(remote.record('answerAwaitedSince')).toBe(first);
      expect(lab.kinds()).toEqual([DescriptorKind.answerAwaited]);
    });

    it('does not speak of an awaited answer twice until re-armed', () => {
      const lab = open();
      const session = lab.remote().install();
      const { slot } = session.remote;
      lab.tunnel(ipv4());
      expect(lab.kinds()).toEqual([DescriptorKind.answerAwaited]);
      session.keepalive();
      lab.tunnel(ipv4());
      expect(lab.kinds()).toEqual([]);
      lab.plane.rearm(slot, Notify.answerAwaited, lab.now);
      expect(lab.kinds()).toEqual([DescriptorKind.answerAwaited]);
      session.keepalive();
      lab.plane.rearm(slot, Notify.answerAwaited, lab.now);
      expect(lab.kinds()).toEqual([]);
      lab.tunnel(ipv4());
      expect(lab.kinds()).toEqual([DescriptorKind.answerAwaited]);
    });

    it('wants a new session once the keypair is old, once until re-armed', () => {
      const lab = open();
      const session = lab.remote().install();
      const { slot } = session.remote;
      lab.advance(119_999);
      lab.tunnel(ipv4());
      expect(lab.kinds()).toEqual([DescriptorKind.answerAwaited]);
      lab.advance(1);
      lab.tunnel(ipv4());
      lab.tunnel(ipv4());
      expect(lab.poll()).toMatchObject([
        { kind: DescriptorKind.rekeyWanted, peer: slot, value: RekeyReason.sendAge, source: null },
      ]);
      lab.tunnel(ipv4());
      expect(lab.kinds()).toEqual([]);
      lab.plane.rearm(slot, Notify.rekeyOnSend, lab.now);
      expect(lab.kinds()).toEqual([]);
      lab.tunnel(ipv4());
      expect(lab.kinds()).toEqual([DescriptorKind.rekeyWanted]);
    });

    it('wants a new session once enough messages were sent', () => {
      const lab = open();
      const session = lab.remote().install('initiator', { rekeyAfterMessages: 3n });
      for (let i = 0; i < 3; i++) lab.tunnel(ipv4());
      expect(lab.kinds()).toEqual([DescriptorKind.answerAwaited]);
      lab.tunnel(ipv4());
      expect(lab.poll()).toMatchObject([{ kind: DescriptorKind.rekeyWanted, value: RekeyReason.messages }]);
      expect(session.openSent()).toHaveLength(4);
    });

    it('wants a new session for a keepalive too, and gives age as the reason when both hold', () => {
      const lab = open();
      const { slot } = lab.remote().install('initiator', { rekeyAfterMessages: 0n }).remote;
      lab.advance(120_000);
      expect(lab.plane.sendKeepalive(slot, lab.now)).toBe(true);
      expect(lab.poll()).toMatchObject([{ kind: DescriptorKind.rekeyWanted, value: RekeyReason.sendAge }]);
    });

    it('uses 64-bit counters', () => {
      const lab = open();
      const session = lab.remote().install('initiator', { firstSendCounter: 2n ** 53n - 1n });
      for (let i = 0; i < 3; i++) lab.tunnel(ipv4());
      expect(session.openSent().map(({ counter }) => counter)).toEqual([2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n]);
    });

    it('ends with the last counter that may be used; what follows waits', () => {
      const lab = open();
      const last = 2n ** 64n - 2n ** 13n - 2n;
      const session = lab.remote().install('initiator', { firstSendCounter: last });
      lab.tunnel(ipv4({ mark: 1 }));
      expect(session.openSent().map(({ counter }) => counter)).toEqual([last]);
      expect(lab.plane.canSend(session.remote.slot, lab.now)).toBe(false);
      lab.tunnel(ipv4({ mark: 2 }));
      expect(lab.sent()).toEqual([]);
      expect(session.remote.record('staged')).toBe(1);
      expect(lab.plane.sendKeepalive(session.remote.slot, lab.now)).toBe(false);
    });

    it('ends with the keypair, at the instant given', () => {
      const lab = open();
      const session = lab.remote().install();
      const { slot } = session.remote;
      lab.advance(179_999);
      expect(lab.plane.canSend(slot, lab.now)).toBe(true);
      lab.tunnel(ipv4());
      expect(session.openSent()).toHaveLength(1);
      lab.advance(1);
      expect(lab.plane.canSend(slot, lab.now)).toBe(false);
      lab.tunnel(ipv4());
      expect(lab.sent()).toEqual([]);
      expect(lab.plane.sendKeepalive(slot, lab.now)).toBe(false);
      expect(lab.plane.sendFrame(slot, new Uint8Array(8), lab.now)).toBe(false);
    });
  });

  describe('a keepalive', () => {
    it('is an empty message that settles what is owed and awaits nothing', () => {
      const lab = open();
      const session = lab.remote().install();
      const { remote } = session;
      session.deliver(ipv4({ source: '10.0.0.2', destination: '10.0.0.1' }));
      expect(remote.record('answerOwedSince')).toBe(lab.now);
      lab.poll();
      lab.advance(10_000);
      expect(lab.plane.sendKeepalive(remote.slot, lab.now)).toBe(true);
      const sent = lab.sent();
      expect(sent.map(({ datagram }) => datagram.length)).toEqual([32]);
      expect(session.open(sent[0]?.datagram as Uint8Array)).toEqual({ counter: 0n, plaintext: new Uint8Array(0) });
      expect(remote.record('answerOwedSince')).toBe(0);
      expect(remote.record('lastAuthenticatedSend')).toBe(lab.now);
      expect(remote.record('txBytes')).toBe(32);
      expect(remote.record('txPackets')).toBe(1);
      expect(remote.record('lastDataSend')).toBe(0);
      expect(remote.record('answerAwaitedSince')).toBe(0);
      expect(lab.kinds()).toEqual([]);
    });

    it('is not sent without a keypair or an endpoint', () => {
      const lab = open();
      const remote = lab.remote();
      expect(lab.plane.sendKeepalive(remote.slot, lab.now)).toBe(false);
      remote.install();
      lab.plane.setEndpoint(remote.slot, null);
      expect(lab.plane.canSend(remote.slot, lab.now)).toBe(false);
      expect(lab.plane.sendKeepalive(remote.slot, lab.now)).toBe(false);
      expect(lab.sent()).toEqual([]);
      expect(remote.record('sendCounter')).toBe(0);
    });
  });

  describe('a control frame', () => {
    it('travels as a keepalive does, with its content padded', () => {
      const lab = open();
      const session = lab.remote().install();
      const frame = lab.bytes(21);
      frame[0] = 0x01;
      expect(lab.plane.sendFrame(session.remote.slot, frame, lab.now)).toBe(true);
      expect(session.openSent()).toEqual([{ counter: 0n, plaintext: padded(frame, 32) }]);
      expect(session.remote.record('lastDataSend')).toBe(0);
      expect(session.remote.record('answerAwaitedSince')).toBe(0);
      expect(session.remote.record('txBytes')).toBe(64);
    });

    it('may have 1,500 bytes', () => {
      const lab = open({ mtu: 9000 });
      const session = lab.remote().install();
      expect(lab.plane.sendFrame(session.remote.slot, new Uint8Array(1500), lab.now)).toBe(true);
      expect(session.openSent().map(({ plaintext }) => plaintext.length)).toEqual([1504]);
    });
  });

  describe('the way out', () => {
    it('is the endpoint of either family, with its scope', () => {
      const lab = open();
      const remote = lab.remote({ endpoint: '[fe80::2%3]:4000' });
      remote.install();
      lab.tunnel(ipv6());
      lab.plane.setEndpoint(remote.slot, endpoint('192.0.2.77:4000'));
      lab.tunnel(ipv6());
      expect(lab.sent().map(({ destination, source }) => [destination, source])).toEqual([
        ['[fe80::2%3]:4000', null],
        ['192.0.2.77:4000', null],
      ]);
      expect(lab.plane.endpoint(remote.slot)).toBe('192.0.2.77:4000');
    });

    it('counts datagrams and packets', () => {
      const lab = open();
      lab.remote().install();
      lab.tunnel(ipv4());
      lab.tunnel(ipv4({ destination: '10.9.9.9' }));
      lab.tunnel(new Uint8Array(3));
      expect(lab.plane.totals()).toMatchObject({ tunPacketsIn: 3, udpDatagramsOut: 1, tunPacketsOut: 1 });
    });
  });
}
