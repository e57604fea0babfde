// Where a peer is and which address of ours it sees: "Network to tunnel" 4 of docs/dataplane.md (paper §2.1; checklist 28, 29).

import { describe, expect, it } from 'vitest';
import { DescriptorKind, ROAMED_INTERVAL_MS } from '../../src/dataplane/dataplane.ts';
import { endpoint, type Lab, LOCAL_V4, type PlaneOptions } from './lab.ts';
import { ipv4 } from './packets.ts';

const ELSEWHERE = endpoint('203.0.113.9:9');

export function roamingRules(open: (options?: PlaneOptions) => Lab): void {
  describe('roaming', () => {
    it('moves the endpoint at once, and tells the newest address', () => {
      const lab = open();
      const session = lab.remote().install();
      const { slot } = session.remote;
      const other = endpoint('[2001:db8::7]:7');
      session.keepalive({ source: ELSEWHERE });
      session.keepalive({ source: other });
      expect(lab.plane.endpoint(slot)).toBe(other);
      lab.tunnel(ipv4());
      expect(lab.sent().map(({ destination }) => destination)).toEqual([other]);
      const seen = lab.poll();
      expect(seen[0]).toMatchObject({ kind: DescriptorKind.roamed, peer: slot, source: other });
      expect(seen.map(({ kind }) => kind)).toEqual([DescriptorKind.roamed, DescriptorKind.answerAwaited]);
      session.keepalive({ source: other });
      expect(lab.kinds()).toEqual([]);
    });

    it('only tells, for a peer whose endpoint is decided elsewhere', () => {
      const lab = open();
      const session = lab.remote({ roaming: false }).install();
      const { slot, endpoint: home } = session.remote;
      session.keepalive({ source: ELSEWHERE });
      expect(lab.plane.endpoint(slot)).toBe(home);
      expect(lab.poll()).toMatchObject([{ kind: DescriptorKind.roamed, source: ELSEWHERE }]);
      lab.tunnel(ipv4());
      expect(lab.sent()).toMatchObject([{ destination: home, source: null }]);
    });

    it('tells each place of such a peer once, until the peer was at its endpoint again', () => {
      const lab = open();
      const session = lab.remote({ roaming: false }).install();
      session.keepalive({ source: ELSEWHERE });
      lab.poll();
      lab.advance(10_000);
      session.keepalive({ source: ELSEWHERE });
      expect(lab.kinds()).toEqual([]);
      session.keepalive();
      expect(lab.kinds()).toEqual([]);
      session.keepalive({ source: ELSEWHERE });
      expect(lab.poll()).toMatchObject([{ kind: DescriptorKind.roamed, source: ELSEWHERE }]);
    });

    it('tells it again after a new endpoint was set', () => {
      const lab = open();
      const session = lab.remote({ roaming: false }).install();
      const { slot, endpoint: home } = session.remote;
      session.keepalive({ source: ELSEWHERE });
      lab.poll();
      lab.plane.setEndpoint(slot, ELSEWHERE);
      lab.advance(ROAMED_INTERVAL_MS);
      session.keepalive({ source: ELSEWHERE });
      expect(lab.kinds()).toEqual([]);
      lab.plane.setEndpoint(slot, home);
      session.keepalive({ source: ELSEWHERE });
      expect(lab.poll()).toMatchObject([{ kind: DescriptorKind.roamed, source: ELSEWHERE }]);
    });

    it('tells two paths of such a peer that alternate at most ten times a second', () => {
      const lab = open();
      const session = lab.remote({ roaming: false }).install();
      const other = endpoint('[2001:db8::7]:7');
      let told = 0;
      for (let packet = 0; packet < 400; packet++) {
        session.keepalive({ source: packet % 2 === 0 ? ELSEWHERE : other });
        told += lab.poll().length;
        lab.advance(5);
      }
      expect(told).toBe((400 * 5) / ROAMED_INTERVAL_MS);
    });

    it('puts a newer place into a report that nobody has fetched', () => {
      const lab = open();
      const session = lab.remote({ roaming: false }).install();
      const other = endpoint('[2001:db8::7]:7');
      session.keepalive({ source: ELSEWHERE });
      session.keepalive({ source: other });
      expect(lab.poll()).toMatchObject([{ kind: DescriptorKind.roamed, source: other }]);
      lab.advance(ROAMED_INTERVAL_MS);
      session.keepalive({ source: other });
      expect(lab.kinds()).toEqual([]);
    });

    it('leaves the control frames of such a peer to speak for themselves', () => {
      const lab = open();
      const session = lab.remote({ roaming: false }).install();
      session.deliver(new Uint8Array(16), { source: ELSEWHERE });
      expect(lab.poll()).toMatchObject([{ kind: DescriptorKind.frame, source: ELSEWHERE }]);
      // A frame from the endpoint does not bring the peer back there either.
      session.keepalive({ source: ELSEWHERE });
      lab.poll();
      lab.advance(10_000);
      session.deliver(new Uint8Array(16));
      session.keepalive({ source: ELSEWHERE });
      expect(lab.kinds()).toEqual([DescriptorKind.frame]);
    });

    it('finds the endpoint of a peer that had none', () => {
      const lab = open();
      const session = lab.remote({ endpoint: null }).install();
      const from = endpoint('[fe80::9%4]:99');
      session.keepalive({ source: from });
      expect(lab.plane.endpoint(session.remote.slot)).toBe(from);
      expect(lab.poll()).toMatchObject([{ kind: DescriptorKind.roamed, source: from }]);
    });

    it('tells apart the same address on two links', () => {
      const lab = open();
      const session = lab.remote({ endpoint: '[fe80::9%4]:99' }).install();
      session.keepalive({ source: endpoint('[fe80::9%5]:99') });
      expect(lab.kinds()).toEqual([DescriptorKind.roamed]);
    });
  });

  describe('the sticky source', () => {
    const second = endpoint('198.51.100.2:51820');

    it('is the address that the peer sent to', () => {
      const lab = open();
      const session = lab.remote().install();
      session.keepalive({ local: LOCAL_V4 });
      lab.tunnel(ipv4());
      session.keepalive({ local: second });
      lab.plane.sendKeepalive(session.remote.slot, lab.now);
      expect(lab.sent().map(({ source }) => source)).toEqual([LOCAL_V4, second]);
      expect(lab.kinds()).toEqual([DescriptorKind.answerAwaited]);
    });

    it('is forgotten on demand and with a new endpoint', () => {
      const lab = open();
      const session = lab.remote().install();
      const { slot, endpoint: home } = session.remote;
      session.keepalive();
      lab.plane.clearSource(slot);
      lab.tunnel(ipv4());
      session.keepalive();
      lab.plane.setEndpoint(slot, home);
      lab.tunnel(ipv4());
      expect(lab.sent().map(({ source }) => source)).toEqual([null, null]);
    });

    it('holds for a peer that does not roam too, while it is where we think', () => {
      const lab = open();
      const session = lab.remote({ roaming: false }).install();
      session.keepalive({ local: second });
      session.keepalive({ source: ELSEWHERE, local: LOCAL_V4 });
      lab.tunnel(ipv4());
      expect(lab.sent().map(({ source }) => source)).toEqual([second]);
    });
  });
}
