// Control datagrams and events of docs/dataplane.md ("Network to tunnel" 1–2, "Events") as behaviours.

import { describe, expect, it, vi } from 'vitest';
import { ascii } from '../../src/base/bytes.ts';
import { type Instant, NEVER } from '../../src/base/instant.ts';
import { DescriptorKind, NO_PEER } from '../../src/dataplane/dataplane.ts';
import { decodeDescriptor, endpoint, type Lab, LOCAL_V4, type PlaneOptions, PORT } from './lab.ts';
import { ipv4, reversed4 } from './packets.ts';

const SOMEONE = endpoint('192.0.2.200:1000');

export function controlRules(open: (options?: PlaneOptions) => Lab): void {
  describe('an initiation', () => {
    it('with a good mac1 goes up as it came', () => {
      const lab = open();
      const message = lab.initiation();
      lab.receive(message, endpoint('[fe80::5%7]:555'));
      expect(lab.poll()).toMatchObject([
        {
          kind: DescriptorKind.handshake,
          peer: NO_PEER,
          source: '[fe80::5%7]:555',
          content: message,
          time: lab.now,
          value: 0,
          value2: 0,
        },
      ]);
      expect(lab.plane.totals()).toMatchObject({ controlDelivered: 1, eventsDelivered: 0 });
    });

    it('with a bad mac1, for another key or while we have none, is dropped', () => {
      const lab = open();
      const message = lab.initiation();
      for (const at of [4, 115, 116, 131]) {
        const altered = message.slice();
        altered[at] = (altered[at] as number) ^ 1;
        lab.receive(altered, SOMEONE);
      }
      lab.plane.setPublicKey(new Uint8Array(32).fill(8));
      lab.receive(message, SOMEONE);
      lab.plane.setPublicKey(null);
      lab.receive(message, SOMEONE);
      expect(lab.drops()).toEqual({ inBadMac1: 6 });
      expect(lab.poll()).toEqual([]);
      lab.plane.setPublicKey(lab.publicKey);
      message[140] = (message[140] as number) ^ 1;
      lab.receive(message, SOMEONE);
      expect(lab.poll()).toHaveLength(1);
    });
  });

  describe('a response', () => {
    it('goes up when its index is expected, naming the peer', () => {
      const lab = open();
      const remote = lab.remote();
      const index = lab.nextIndex();
      lab.receive(lab.response(index), SOMEONE);
      lab.plane.expectIndex(index, remote.slot);
      lab.receive(lab.response(index), SOMEONE);
      lab.plane.forgetIndex(index);
      lab.receive(lab.response(index), SOMEONE);
      expect(lab.poll()).toMatchObject([{ kind: DescriptorKind.handshake, peer: remote.slot, source: SOMEONE }]);
      expect(lab.drops()).toEqual({ inUnknownIndex: 2 });
    });

    it('is checked for mac1 before its index', () => {
      const lab = open();
      const message = lab.response(1);
      message[70] = (message[70] as number) ^ 1;
      lab.receive(message, SOMEONE);
      expect(lab.drops()).toEqual({ inBadMac1: 1 });
    });

    it('is refused when its index has become a keypair’s', () => {
      const lab = open();
      const session = lab.remote().install();
      lab.receive(lab.response(session.config.localIndex), SOMEONE);
      expect(lab.drops()).toEqual({ inUnknownIndex: 1 });
    });
  });

  describe('a cookie reply', () => {
    it('goes up when it answers an initiation or a response of ours', () => {
      const lab = open();
      const remote = lab.remote();
      const index = lab.nextIndex();
      lab.plane.expectIndex(index, remote.slot);
      const session = remote.install('responder');
      const messages = [lab.cookieReply(index), lab.cookieReply(session.config.localIndex)];
      for (const message of messages) lab.receive(message, SOMEONE);
      lab.receive(lab.cookieReply(9999), SOMEONE);
      const seen = lab.poll();
      expect(seen.map(({ kind, peer, content }) => ({ kind, peer, content }))).toEqual(
        messages.map((content) => ({ kind: DescriptorKind.handshake, peer: remote.slot, content })),
      );
      expect(lab.drops()).toEqual({ inUnknownIndex: 1 });
    });

    it('needs no mac1 and no key of ours', () => {
      const lab = open();
      const remote = lab.remote();
      const index = lab.nextIndex();
      lab.plane.expectIndex(index, remote.slot);
      lab.plane.setPublicKey(null);
      lab.receive(lab.cookieReply(index), SOMEONE);
      expect(lab.poll()).toHaveLength(1);
    });
  });

  describe('a STUN message', () => {
    it('goes up when it has the magic cookie, both leading zero bits and a whole header', () => {
      const lab = open();
      const message = lab.stun(44);
      lab.receive(message, SOMEONE);
      const short = lab.stun(20).subarray(0, 19);
      const leadingBit = lab.stun();
      leadingBit[0] = 0x41;
      const noCookie = lab.stun();
      noCookie[7] = 0x43;
      for (const datagram of [short, leadingBit, noCookie]) lab.receive(datagram, SOMEONE);
      expect(lab.poll()).toMatchObject([
        { kind: DescriptorKind.stun, peer: NO_PEER, content: message, source: SOMEONE },
      ]);
      expect(lab.drops()).toEqual({ inUnknownType: 3 });
    });

    it('is not what begins as a WireGuard message', () => {
      const lab = open();
      const looksLike = lab.stun(148);
      looksLike.set([4, 0, 0, 0]);
      lab.receive(looksLike, SOMEONE);
      expect(lab.drops()).toEqual({ inUnknownIndex: 1 });
    });

    it('of more than 1,504 bytes is dropped', () => {
      const lab = open();
      lab.receive(lab.stun(1504), SOMEONE);
      lab.receive(lab.stun(1505), SOMEONE);
      expect(lab.poll().map(({ content }) => content.length)).toEqual([1504]);
      expect(lab.drops()).toEqual({ inBadLength: 1 });
    });
  });

  describe('a flood of control datagrams', () => {
    it('from one source ends at 512, and comes back at 512 a second', () => {
      const lab = open({ slabSlots: 8192 });
      const flood = (count: number, source = SOMEONE): number => {
        const before = lab.plane.drops().inRateLimited;
        for (let i = 0; i < count; i++) lab.receive(lab.stun(), source);
        lab.poll();
        return count - (lab.plane.drops().inRateLimited - before);
      };
      expect(flood(600)).toBe(512);
      expect(flood(1)).toBe(0);
      expect(flood(1, endpoint('192.0.2.200:2222'))).toBe(0);
      expect(flood(1, endpoint('192.0.2.201:1000'))).toBe(1);
      lab.advance(125);
      expect(flood(100)).toBe(64);
      lab.advance(60_000);
      expect(flood(600)).toBe(512);
    });

    it('from one source ends at 5, and comes back at 20 a second, while an eighth of the slab is in use', () => {
      const lab = open({ slabSlots: 1024 });
      const flood = (count: number, source = SOMEONE): number => {
        const before = lab.plane.drops().inRateLimited;
        for (let i = 0; i < count; i++) lab.receive(lab.stun(), source);
        return count - (lab.plane.drops().inRateLimited - before);
      };
      expect(flood(1, endpoint('192.0.2.201:1000'))).toBe(1);
      // 127 more of calm times, then what its bucket is cut to: 5.
      expect(flood(600)).toBe(127 + 5);
      // Neither what another source had saved nor what is taken but not released changes that.
      expect(lab.plane.poll(lab.now)).toBe(133);
      expect(flood(600, endpoint('192.0.2.201:1000'))).toBe(5);
      lab.advance(1_000);
      expect(flood(100)).toBe(5);
      lab.advance(50);
      expect(flood(100)).toBe(1);
      lab.plane.release(133);
      lab.advance(1_000);
      expect(flood(200)).toBe(128 - 11 + 5);
    });

    it('over IPv6 is reckoned by /64', () => {
      const lab = open({ slabSlots: 8192 });
      for (let i = 1; i <= 600; i++) lab.receive(lab.initiation(), endpoint(`[2001:db8:0:1::${i.toString(16)}]:${i}`));
      expect(lab.drops()).toEqual({ inRateLimited: 88 });
      lab.receive(lab.initiation(), endpoint('[2001:db8:0:2::1]:1'));
      expect(lab.drops()).toEqual({ inRateLimited: 88 });
    });

    it('does not touch transport messages, and garbage takes no tokens', () => {
      const lab = open({ slabSlots: 8192 });
      const session = lab.remote().install();
      for (let i = 0; i < 600; i++) lab.receive(new Uint8Array(148).fill(1, 0, 1), session.remote.endpoint);
      for (let i = 0; i < 512; i++) lab.receive(lab.stun(), session.remote.endpoint);
      expect(lab.drops()).toEqual({ inBadMac1: 600 });
      for (let i = 0; i < 10; i++) session.deliver(reversed4());
      expect(lab.toTunnel()).toHaveLength(10);
    });

    it('fills the slab and no more; slots come back with release', () => {
      const lab = open({ slabSlots: 8 });
      const slots = lab.plane.slabSlots;
      // Each from another source, so that no limit of a source is met.
      let sources = 0;
      const receive = (): void => lab.receive(lab.stun(), endpoint(`192.0.2.${++sources}:1000`));
      for (let i = 0; i < slots + 3; i++) receive();
      expect(lab.drops()).toEqual({ inControlFull: 3 });
      const count = lab.plane.poll(lab.now);
      expect(count).toBe(slots);
      receive();
      expect(lab.drops()).toEqual({ inControlFull: 4 });
      lab.plane.release(2);
      for (let i = 0; i < 3; i++) receive();
      expect(lab.drops()).toEqual({ inControlFull: 5 });
      lab.plane.release(count - 2);
      expect(lab.poll()).toHaveLength(2);
    });
  });

  describe('polling', () => {
    it('takes 256 at most, the rest next time, in order', () => {
      const lab = open({ slabSlots: 8192 });
      const messages = Array.from({ length: 300 }, () => lab.stun(28));
      for (const message of messages) lab.receive(message, SOMEONE);
      expect(lab.plane.poll(lab.now)).toBe(256);
      expect(lab.plane.backlog).toBe(300);
      const first = Array.from({ length: 256 }, (_, i) => decodeDescriptor(lab.plane, i).content);
      lab.plane.release(256);
      expect(lab.plane.poll(lab.now)).toBe(44);
      expect(lab.plane.backlog).toBe(44);
      const rest = Array.from({ length: 44 }, (_, i) => decodeDescriptor(lab.plane, i).content);
      lab.plane.release(44);
      expect([...first, ...rest]).toEqual(messages);
      expect(lab.plane.poll(lab.now)).toBe(0);
      expect(lab.plane.backlog).toBe(0);
    });

    it('gives datagrams first, then the device’s events, then the peers’ in the order in which they came up', () => {
      const lab = open();
      const one = lab.remote();
      const other = lab.remote({ endpoint: '192.0.2.3:1', allowedIps: ['10.0.0.3/32'] });
      lab.tunnel(ipv4({ destination: '10.0.0.3' }));
      const session = one.install('responder');
      session.deliver(reversed4(), { source: endpoint('192.0.2.99:9') });
      lab.plane.setDeadline(lab.now);
      lab.plane.io.setMtu(1300);
      lab.receive(lab.initiation(), SOMEONE);
      const seen = lab.poll();
      expect(seen.map(({ kind, peer }) => [kind, peer])).toEqual([
        [DescriptorKind.handshake, NO_PEER],
        [DescriptorKind.link, NO_PEER],
        [DescriptorKind.deadline, NO_PEER],
        [DescriptorKind.sessionWanted, other.slot],
        [DescriptorKind.keypairConfirmed, one.slot],
        [DescriptorKind.roamed, one.slot],
        [DescriptorKind.answerOwed, one.slot],
      ]);
      expect(lab.plane.totals()).toMatchObject({ controlDelivered: 1, eventsDelivered: 6 });
    });

    it('wakes JavaScript once until it polls', async () => {
      const onWake = vi.fn();
      const lab = open({ onWake });
      lab.receive(lab.stun(), SOMEONE);
      lab.receive(lab.stun(), SOMEONE);
      lab.remote();
      lab.tunnel(ipv4());
      await vi.waitFor(() => expect(onWake).toHaveBeenCalled());
      expect(onWake).toHaveBeenCalledTimes(1);
      expect(lab.poll()).toHaveLength(3);
      lab.receive(lab.stun(), SOMEONE);
      await vi.waitFor(() => expect(onWake).toHaveBeenCalledTimes(2));
      expect(lab.plane.totals().wakeUps).toBe(2);
    });

    it('does not wake JavaScript for packets of a session that is well', () => {
      const onWake = vi.fn();
      const lab = open({ onWake });
      const session = lab.remote().install();
      session.deliver(reversed4());
      lab.tunnel(ipv4());
      lab.poll();
      const { wakeUps } = lab.plane.totals();
      for (let i = 0; i < 100; i++) {
        session.deliver(reversed4());
        lab.tunnel(ipv4());
      }
      expect(lab.plane.totals().wakeUps).toBe(wakeUps);
      expect(lab.poll()).toEqual([]);
    });
  });

  describe('the deadline', () => {
    it('comes once, at its instant', () => {
      const lab = open();
      lab.plane.setDeadline((lab.now + 50) as Instant);
      lab.advance(49);
      expect(lab.kinds()).toEqual([]);
      lab.advance(1);
      expect(lab.poll()).toMatchObject([{ kind: DescriptorKind.deadline, peer: NO_PEER, source: null, time: lab.now }]);
      lab.advance(1000);
      expect(lab.kinds()).toEqual([]);
    });

    it('replaces the one before and can be cancelled, also when it has come but was not polled', () => {
      const lab = open();
      lab.plane.setDeadline((lab.now + 10) as Instant);
      lab.plane.setDeadline((lab.now + 20) as Instant);
      lab.advance(10);
      expect(lab.kinds()).toEqual([]);
      lab.advance(10);
      lab.plane.setDeadline(NEVER);
      expect(lab.kinds()).toEqual([]);
      lab.plane.setDeadline((lab.now - 5) as Instant);
      expect(lab.kinds()).toEqual([DescriptorKind.deadline]);
    });
  });

  describe('answering', () => {
    it('reply goes back to the source, from the address that was addressed', () => {
      const lab = open();
      const local = endpoint(`198.51.100.77:${PORT}`);
      lab.receive(lab.initiation(), SOMEONE, local);
      const count = lab.plane.poll(lab.now);
      const { handle } = decodeDescriptor(lab.plane, 0);
      expect(lab.plane.reply(handle, ascii('cookie'))).toBe(true);
      lab.plane.release(count);
      expect(lab.sent()).toEqual([{ datagram: ascii('cookie'), destination: SOMEONE, source: local }]);
    });

    it('authenticated stamps the peer and moves its endpoint and source', () => {
      const lab = open();
      const remote = lab.remote();
      remote.install();
      lab.tunnel(ipv4());
      lab.poll();
      lab.sent();
      lab.receive(lab.initiation(), SOMEONE, LOCAL_V4);
      const count = lab.plane.poll(lab.now);
      const { handle } = decodeDescriptor(lab.plane, 0);
      lab.advance(3);
      lab.plane.authenticated(remote.slot, handle, lab.now);
      lab.plane.release(count);
      expect(remote.record('rxBytes')).toBe(148);
      expect(remote.record('rxPackets')).toBe(1);
      expect(remote.record('lastAuthenticatedReceive')).toBe(lab.now);
      expect(remote.record('lastDataReceive')).toBe(0);
      expect(remote.record('answerAwaitedSince')).toBe(0);
      expect(lab.plane.endpoint(remote.slot)).toBe(SOMEONE);
      expect(lab.plane.sendHandshake(remote.slot, lab.response(1), lab.now)).toBe(true);
      expect(lab.sent()).toMatchObject([{ destination: SOMEONE, source: LOCAL_V4 }]);
      expect(lab.kinds()).toEqual([]);
    });

    it('authenticated leaves the endpoint of a peer that does not roam', () => {
      const lab = open();
      const remote = lab.remote({ roaming: false });
      lab.receive(lab.initiation(), SOMEONE);
      const count = lab.plane.poll(lab.now);
      lab.plane.authenticated(remote.slot, decodeDescriptor(lab.plane, 0).handle, lab.now);
      lab.plane.release(count);
      expect(lab.plane.endpoint(remote.slot)).toBe(remote.endpoint);
      expect(remote.record('rxBytes')).toBe(148);
    });

    it('sendHandshake counts as an authenticated send, and needs an endpoint', () => {
      const lab = open();
      const remote = lab.remote();
      const session = remote.install();
      session.deliver(reversed4());
      const message = lab.bytes(148);
      expect(lab.plane.sendHandshake(remote.slot, message, lab.now)).toBe(true);
      expect(lab.sent()).toEqual([{ datagram: message, destination: remote.endpoint, source: LOCAL_V4 }]);
      expect(remote.record('txBytes')).toBe(148);
      expect(remote.record('txPackets')).toBe(1);
      expect(remote.record('lastAuthenticatedSend')).toBe(lab.now);
      expect(remote.record('lastDataSend')).toBe(0);
      expect(remote.record('answerOwedSince')).toBe(0);
      lab.plane.setEndpoint(remote.slot, null);
      expect(lab.plane.sendHandshake(remote.slot, message, lab.now)).toBe(false);
      expect(remote.record('txBytes')).toBe(148);
    });

    it('sendTo reaches any endpoint and touches no peer', () => {
      const lab = open();
      const remote = lab.remote();
      expect(lab.plane.sendTo(remote.endpoint, lab.stun())).toBe(true);
      expect(lab.plane.sendTo(endpoint('[2001:db8::3]:3478'), lab.stun())).toBe(true);
      expect(lab.sent()).toMatchObject([
        { destination: remote.endpoint, source: null },
        { destination: '[2001:db8::3]:3478', source: null },
      ]);
      expect(remote.record('txBytes')).toBe(0);
    });

    it('is impossible while not bound', () => {
      const lab = open();
      const remote = lab.remote();
      lab.receive(lab.initiation(), SOMEONE);
      const count = lab.plane.poll(lab.now);
      const { handle } = decodeDescriptor(lab.plane, 0);
      lab.plane.unbind();
      expect(lab.plane.reply(handle, lab.bytes(64))).toBe(false);
      expect(lab.plane.sendTo(SOMEONE, lab.stun())).toBe(false);
      expect(lab.plane.sendHandshake(remote.slot, lab.bytes(148), lab.now)).toBe(false);
      lab.plane.release(count);
      expect(remote.record('txPackets')).toBe(0);
      expect(lab.sent()).toEqual([]);
    });
  });

  it('binding gives the port that was asked for, or some port', () => {
    const lab = open();
    expect(lab.plane.bind({ port: 4000, fwmark: 5 })).toEqual({ ok: true, port: 4000 });
    lab.plane.setFwmark(6);
    const result = lab.plane.bind({ port: 0, fwmark: 0 });
    expect(result.ok && result.port > 0 && result.port < 65_536).toBe(true);
  });

  it('time is what was set last', () => {
    const lab = open();
    lab.advance(1234.5);
    expect(lab.plane.now()).toBe(lab.now);
  });
}
