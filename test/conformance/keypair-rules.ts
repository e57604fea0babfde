// "Keypairs" and "Removal" of docs/dataplane.md as behaviours (paper §6; checklist 13–16).

import { describe, expect, it } from 'vitest';
import { type Instant, NEVER } from '../../src/base/instant.ts';
import { DescriptorKind, Notify } from '../../src/dataplane/dataplane.ts';
import { endpoint, type Lab, type PlaneOptions, prefix } from './lab.ts';
import { ipv4, reversed4 } from './packets.ts';

export function keypairRules(open: (options?: PlaneOptions) => Lab): void {
  describe('the initiator', () => {
    it('sends with the new keypair at once and still hears the one before, but not the one before that', () => {
      const lab = open();
      const remote = lab.remote();
      const first = remote.install();
      const second = remote.install();
      const third = remote.install();
      lab.tunnel(ipv4());
      expect(third.openSent()).toHaveLength(1);
      third.keepalive();
      second.keepalive();
      first.keepalive();
      expect(lab.drops()).toEqual({ inUnknownIndex: 1 });
      expect(remote.record('rxPackets')).toBe(2);
    });

    it('keeps a next keypair as the previous one', () => {
      const lab = open();
      const remote = lab.remote();
      const before = remote.install();
      const current = remote.install();
      const next = remote.install('responder');
      const winner = remote.install();
      next.keepalive();
      expect(lab.kinds()).toEqual([]);
      lab.tunnel(ipv4());
      expect(winner.openSent()).toHaveLength(1);
      current.keepalive();
      before.keepalive();
      expect(lab.drops()).toEqual({ inUnknownIndex: 2 });
      remote.install();
      next.keepalive();
      expect(lab.drops()).toEqual({ inUnknownIndex: 3 });
      winner.keepalive();
      expect(lab.drops()).toEqual({ inUnknownIndex: 3 });
    });

    it('flushes nothing by itself', () => {
      const lab = open();
      const remote = lab.remote();
      lab.tunnel(ipv4());
      remote.install();
      expect(lab.sent()).toEqual([]);
      expect(remote.record('staged')).toBe(1);
    });
  });

  describe('the responder', () => {
    it('keeps sending with the current keypair until the first packet on the next', () => {
      const lab = open();
      const remote = lab.remote();
      const current = remote.install();
      const next = remote.install('responder');
      lab.tunnel(ipv4());
      expect(current.openSent()).toHaveLength(1);
      expect(lab.kinds()).toEqual([DescriptorKind.answerAwaited]);
      next.keepalive();
      expect(lab.poll()).toMatchObject([
        { kind: DescriptorKind.keypairConfirmed, peer: remote.slot, value: next.config.localIndex },
      ]);
      lab.tunnel(ipv4());
      expect(next.openSent().map(({ counter }) => counter)).toEqual([0n]);
      expect(remote.record('sendCounter')).toBe(1);
      current.keepalive();
      expect(lab.drops()).toEqual({});
      next.keepalive();
      expect(lab.kinds()).toEqual([]);
    });

    it('cannot send before, when it has nothing else', () => {
      const lab = open();
      const remote = lab.remote();
      const next = remote.install('responder');
      expect(lab.plane.canSend(remote.slot, lab.now)).toBe(false);
      expect(lab.plane.sendKeepalive(remote.slot, lab.now)).toBe(false);
      lab.tunnel(ipv4({ mark: 1 }));
      lab.tunnel(ipv4({ mark: 2 }));
      lab.poll();
      const from = endpoint('192.0.2.50:50');
      next.deliver(reversed4(), { source: from });
      const sent = lab.sent();
      expect(sent.map(({ destination }) => destination)).toEqual([from, from]);
      expect(sent.map(({ datagram }) => next.open(datagram).plaintext[20])).toEqual([1, 2]);
      expect(remote.record('staged')).toBe(0);
      expect(remote.record('answerAwaitedSince')).toBe(lab.now);
      expect(remote.record('answerOwedSince')).toBe(lab.now);
      expect(lab.kinds()).toEqual([
        DescriptorKind.keypairConfirmed,
        DescriptorKind.roamed,
        DescriptorKind.answerOwed,
        DescriptorKind.answerAwaited,
      ]);
    });

    it('drops the previous keypair and an unconfirmed next one when another comes', () => {
      const lab = open();
      const remote = lab.remote();
      const previous = remote.install();
      const current = remote.install();
      const stale = remote.install('responder');
      const fresh = remote.install('responder');
      previous.keepalive();
      stale.keepalive();
      expect(lab.drops()).toEqual({ inUnknownIndex: 2 });
      current.keepalive();
      fresh.keepalive();
      expect(lab.kinds()).toEqual([DescriptorKind.keypairConfirmed]);
      current.keepalive();
      expect(lab.drops()).toEqual({ inUnknownIndex: 2 });
    });

    it('is not confirmed by a message that does not open, is too late or came before', () => {
      const lab = open();
      const remote = lab.remote();
      const next = remote.install('responder', { rejectAt: (lab.now + 100) as Instant });
      const bad = next.seal(reversed4());
      bad[20] = (bad[20] as number) ^ 1;
      lab.receive(bad, remote.endpoint);
      lab.advance(100);
      next.keepalive();
      expect(lab.drops()).toEqual({ inBadTag: 1, inExpired: 1 });
      expect(lab.kinds()).toEqual([]);
      expect(lab.plane.canSend(remote.slot, lab.now)).toBe(false);
    });

    it('does not renew a session, whatever its age', () => {
      const lab = open();
      const remote = lab.remote();
      const session = remote.install('responder');
      session.keepalive();
      lab.poll();
      lab.advance(179_999);
      session.keepalive();
      lab.tunnel(ipv4());
      expect(lab.kinds()).toEqual([DescriptorKind.answerAwaited]);
    });
  });

  describe('installing a keypair', () => {
    it('lets renewal be spoken of again', () => {
      const lab = open();
      const remote = lab.remote();
      const aged = { rekeyOnSendAt: lab.now, rekeyOnReceiveAt: lab.now };
      const first = remote.install('initiator', aged);
      lab.plane.sendKeepalive(remote.slot, lab.now);
      first.keepalive();
      expect(lab.kinds()).toEqual([DescriptorKind.rekeyWanted]);
      lab.plane.sendKeepalive(remote.slot, lab.now);
      expect(lab.kinds()).toEqual([]);
      const second = remote.install('initiator', { ...aged, rekeyOnSendAt: NEVER });
      lab.plane.sendKeepalive(remote.slot, lab.now);
      expect(lab.kinds()).toEqual([]);
      second.keepalive();
      expect(lab.kinds()).toEqual([DescriptorKind.rekeyWanted]);
    });

    it('takes back a wish for a session that nobody has heard yet, and can utter it again', () => {
      const lab = open();
      const remote = lab.remote();
      lab.tunnel(ipv4());
      remote.install('responder');
      expect(lab.kinds()).toEqual([]);
      lab.tunnel(ipv4());
      expect(lab.kinds()).toEqual([DescriptorKind.sessionWanted]);
    });

    it('does not re-arm a wish for a session that was heard', () => {
      const lab = open();
      const remote = lab.remote();
      lab.tunnel(ipv4());
      lab.poll();
      remote.install('responder');
      lab.tunnel(ipv4());
      expect(lab.kinds()).toEqual([]);
    });

    it('copies the keys', () => {
      const lab = open();
      const remote = lab.remote();
      const sendKey = lab.bytes(32);
      const session = remote.install('initiator', { sendKey });
      sendKey.fill(0);
      lab.tunnel(ipv4());
      expect(session.openSent()).toHaveLength(1);
    });

    it('shows the next counter of the keypair that sends', () => {
      const lab = open();
      const remote = lab.remote();
      remote.install('initiator', { firstSendCounter: 40n });
      expect(remote.record('sendCounter')).toBe(40);
      lab.tunnel(ipv4());
      expect(remote.record('sendCounter')).toBe(41);
      remote.install();
      expect(remote.record('sendCounter')).toBe(0);
    });
  });

  describe('ending sessions', () => {
    it('expireSending leaves current and next able to receive only', () => {
      const lab = open();
      const remote = lab.remote();
      const current = remote.install();
      const next = remote.install('responder');
      lab.plane.expireSending(remote.slot);
      expect(lab.plane.canSend(remote.slot, lab.now)).toBe(false);
      lab.tunnel(ipv4());
      current.deliver(reversed4());
      expect(lab.toTunnel()).toHaveLength(1);
      next.keepalive();
      expect(lab.plane.canSend(remote.slot, lab.now)).toBe(false);
      expect(lab.sent()).toEqual([]);
      expect(remote.record('staged')).toBe(1);
      expect(lab.kinds()).toContain(DescriptorKind.sessionWanted);
      remote.install();
      expect(lab.plane.canSend(remote.slot, lab.now)).toBe(true);
    });

    it('clearKeypairs frees every index and keeps what is staged', () => {
      const lab = open();
      const remote = lab.remote();
      const sessions = [remote.install(), remote.install(), remote.install('responder')];
      lab.plane.expireSending(remote.slot);
      lab.tunnel(ipv4());
      lab.plane.clearKeypairs(remote.slot);
      for (const session of sessions) session.keepalive();
      expect(lab.drops()).toEqual({ inUnknownIndex: 3 });
      expect(remote.record('staged')).toBe(1);
      expect(remote.record('sendCounter')).toBe(0);
      expect(lab.plane.canSend(remote.slot, lab.now)).toBe(false);
      for (const { config } of sessions) expect(lab.plane.expectIndex(config.localIndex, remote.slot)).toBe(true);
    });
  });

  describe('indexes', () => {
    it('that are in use, expected or a keypair’s, are refused', () => {
      const lab = open();
      const remote = lab.remote();
      const other = lab.remote({ endpoint: '192.0.2.3:1', allowedIps: [] });
      const session = remote.install();
      const index = lab.nextIndex();
      expect(lab.plane.expectIndex(index, remote.slot)).toBe(true);
      expect(lab.plane.expectIndex(index, remote.slot)).toBe(false);
      expect(lab.plane.expectIndex(index, other.slot)).toBe(false);
      expect(lab.plane.expectIndex(session.config.localIndex, other.slot)).toBe(false);
      lab.plane.forgetIndex(index);
      expect(lab.plane.expectIndex(index, other.slot)).toBe(true);
    });

    it('of keypairs are not forgotten by forgetIndex', () => {
      const lab = open();
      const remote = lab.remote();
      const localIndex = lab.nextIndex();
      lab.plane.expectIndex(localIndex, remote.slot);
      const session = remote.install('initiator', { localIndex });
      lab.plane.forgetIndex(localIndex);
      session.deliver(reversed4());
      expect(lab.toTunnel()).toHaveLength(1);
    });
  });

  describe('removing a peer', () => {
    it('is immediate and complete', () => {
      const lab = open();
      const remote = lab.remote();
      const sessions = [remote.install(), remote.install()];
      const expected = lab.nextIndex();
      lab.plane.expectIndex(expected, remote.slot);
      sessions[1]?.deliver(new Uint8Array(16));
      sessions[1]?.deliver(reversed4());
      lab.receive(lab.response(expected), remote.endpoint);
      lab.plane.expireSending(remote.slot);
      lab.tunnel(ipv4());
      lab.tunnel(ipv4());
      lab.toTunnel();
      lab.plane.removePeer(remote.slot);
      expect(lab.poll()).toEqual([]);
      expect(lab.drops()).toEqual({ outStagedFlushed: 2 });
      for (const session of sessions) session.keepalive();
      lab.receive(lab.response(expected), remote.endpoint);
      expect(lab.drops()).toEqual({ outStagedFlushed: 2, inUnknownIndex: 3 });
      lab.tunnel(ipv4());
      expect(lab.drops()).toMatchObject({ outNoPeer: 1 });
      expect(lab.sent()).toEqual([]);
    });

    it('gives back the slots of the slab that its frames held', () => {
      const lab = open({ slabSlots: 8 });
      const leaving = lab.remote();
      const staying = lab.remote({ endpoint: '192.0.2.3:1', allowedIps: ['10.0.0.3/32'] });
      const one = leaving.install();
      const other = staying.install();
      const slots = lab.plane.slabSlots;
      for (let i = 0; i < slots - 1; i++) one.deliver(new Uint8Array(16));
      other.deliver(new Uint8Array(32));
      lab.plane.removePeer(leaving.slot);
      for (let i = 0; i < slots - 1; i++) other.deliver(new Uint8Array(16));
      expect(lab.drops()).toEqual({});
      const seen = lab.poll();
      expect(seen).toHaveLength(slots);
      expect(new Set(seen.map(({ peer }) => peer))).toEqual(new Set([staying.slot]));
      expect(seen[0]?.content.length).toBe(32);
    });

    it('leaves nothing to a later peer in its place', () => {
      const lab = open();
      const remote = lab.remote();
      const { view, offset } = lab.plane.record(remote.slot);
      const session = remote.install();
      session.deliver(reversed4());
      lab.tunnel(ipv4());
      lab.poll();
      lab.plane.removePeer(remote.slot);
      const later = lab.remote({ endpoint: null });
      const record = lab.plane.record(later.slot);
      expect([...record.view.subarray(record.offset, record.offset + 16)]).toEqual(new Array(16).fill(0));
      if (later.slot === remote.slot) expect(record.view === view && record.offset === offset).toBe(true);
      expect(lab.plane.endpoint(later.slot)).toBe(null);
      expect(lab.plane.canSend(later.slot, lab.now)).toBe(false);
      lab.plane.setEndpoint(later.slot, remote.endpoint);
      lab.tunnel(ipv4());
      expect(lab.kinds()).toEqual([DescriptorKind.sessionWanted]);
    });

    it('leaves the others alone', () => {
      const lab = open();
      const leaving = lab.remote();
      const staying = lab.remote({ endpoint: '192.0.2.3:1', allowedIps: ['10.0.0.3/32'] });
      leaving.install();
      const session = staying.install();
      lab.plane.insertAllowedIp(leaving.slot, prefix('10.0.0.0/24'));
      lab.plane.removePeer(leaving.slot);
      lab.tunnel(ipv4({ destination: '10.0.0.3' }));
      expect(session.openSent()).toHaveLength(1);
      lab.tunnel(ipv4({ destination: '10.0.0.9' }));
      expect(lab.drops()).toEqual({ outNoPeer: 1 });
    });
  });

  describe('closing', () => {
    it('may be done twice, and nothing moves afterwards', () => {
      const lab = open();
      const session = lab.remote().install();
      const message = session.seal(reversed4());
      lab.plane.close();
      lab.plane.close();
      lab.tunnel(ipv4());
      lab.receive(message, session.remote.endpoint);
      expect(lab.sent()).toEqual([]);
      expect(lab.toTunnel()).toEqual([]);
    });
  });

  it('re-arming is per peer', () => {
    const lab = open();
    const one = lab.remote();
    const other = lab.remote({ endpoint: '192.0.2.3:1', allowedIps: ['10.0.0.3/32'] });
    lab.tunnel(ipv4());
    lab.tunnel(ipv4({ destination: '10.0.0.3' }));
    expect(lab.poll().map(({ peer }) => peer)).toEqual([one.slot, other.slot]);
    lab.plane.rearm(other.slot, Notify.sessionWanted, lab.now);
    expect(lab.poll().map(({ peer }) => peer)).toEqual([other.slot]);
  });
}
