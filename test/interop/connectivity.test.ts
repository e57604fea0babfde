// Two implementations talk: every mix of inner and outer address family, either end initiating, ICMP and TCP, preshared
// keys, and counters that mean the same on both ends. (Paper §5.4; checklist 1, 25, 31.)

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lab } from './lib/lab.ts';
import { iperf3, ping, untilAnswers } from './lib/measure.ts';
import { type OuterFamily, Pair } from './lib/pair.ts';
import { CAN_RUN, PEERS, SUBJECT } from './lib/subject.ts';
import { until } from './lib/wait.ts';
import { makePresharedKey, onlyPeer } from './lib/wg.ts';

const OUTER_FAMILIES: readonly OuterFamily[] = [4, 6];
const FIRST_ANSWER_MS = 3_000;

// Engines of their own for each outer family: the newest wireguard-go addresses its first IPv6 datagram wrongly when
// it has sent IPv4 before, and would be silent for five seconds.
const CASES = PEERS.flatMap((peer, index) =>
  OUTER_FAMILIES.map((outer) => ({ peer, outer, lab: `conn${index}v${outer}` })),
);

describe.skipIf(!CAN_RUN).each(CASES)(`${SUBJECT} and $peer over IPv$outer`, ({ peer, outer, lab: name }) => {
  let lab: Lab;
  let pair: Pair;

  beforeAll(async () => {
    lab = Lab.open(name);
    pair = await Pair.open(lab, { left: SUBJECT, right: peer });
  }, 300_000);
  afterAll(() => lab?.close());

  it.each(['left', 'right'] as const)(
    'talk IPv4 and IPv6, TCP included, when the %s end initiates',
    async (initiator) => {
      const from = pair[initiator];
      const to = pair.other(from);
      await pair.meetFrom(from, { outer });
      // All echoes before the first TCP stream, whose last burst may overflow the small socket buffer of wireguard-go.
      await untilAnswers(from.host, to.inner4, FIRST_ANSWER_MS);
      const ways = [
        [from.host, to.inner4],
        [from.host, to.inner6],
        [to.host, from.inner4],
        [to.host, from.inner6],
      ] as const;
      for (const [host, target] of ways) {
        const echoes = await ping(host, target, { count: 5, intervalSeconds: 0.1 });
        expect(echoes).toMatchObject({ sent: 5, received: 5 });
      }
      for (const target of [to.inner4, to.inner6]) {
        const upload = await iperf3(from.host, to.host, target, { bytes: 4_000_000 });
        expect(upload.bytesSent).toBeGreaterThanOrEqual(4_000_000);
        expect(upload.bytes).toBeGreaterThan(1_000_000);
        const download = await iperf3(from.host, to.host, target, { bytes: 4_000_000, reverse: true });
        expect(download.bytesSent).toBeGreaterThanOrEqual(4_000_000);
        expect(download.bytes).toBeGreaterThan(1_000_000);
      }
    },
    30_000,
  );

  it.each(['left', 'right'] as const)(
    'with the same preshared key talk when the %s end initiates',
    async (initiator) => {
      await pair.meetFrom(pair[initiator], { outer, presharedKey: makePresharedKey() });
      await untilAnswers(pair[initiator].host, pair.other(pair[initiator]).inner4, FIRST_ANSWER_MS);
    },
  );

  it.each(['left', 'right'] as const)(
    'with different preshared keys do not, when the %s end initiates',
    async (initiator) => {
      const from = pair[initiator];
      const to = pair.other(from);
      await pair.meet(to, { outer, endpoint: false, presharedKey: makePresharedKey() });
      await pair.meet(from, { outer, presharedKey: makePresharedKey() });
      expect((await ping(from.host, to.inner4, { count: 1, waitSeconds: 1 })).received).toBe(0);
      expect((await onlyPeer(from.engine)).latestHandshake).toBe(0);
      expect((await onlyPeer(to.engine)).latestHandshake).toBe(0);
      // Proof that a handshake was tried and refused, rather than nothing having been sent.
      expect((await onlyPeer(from.engine)).txBytes).toBeGreaterThanOrEqual(148);
      expect((await onlyPeer(to.engine)).rxBytes).toBe((await onlyPeer(from.engine)).txBytes);
    },
  );

  it.each(['left', 'right'] as const)(
    'count ten echoes as the kernel does, seen from the %s end',
    async (initiator) => {
      const from = pair[initiator];
      const to = pair.other(from);
      await pair.meetFrom(from, { outer });
      // The first echo waits for the handshake, so all ten are counted together with it.
      expect(await ping(from.host, to.inner4, { count: 10, intervalSeconds: 0.1, waitSeconds: 3 })).toMatchObject({
        received: 10,
      });
      // 148 + 10 × 128 sent and 92 + 10 × 128 received by the initiator, and the mirror of it at the responder.
      await until('the responder has counted', 2_000, async () => (await onlyPeer(to.engine)).txBytes >= 1_372);
      expect(await onlyPeer(from.engine)).toMatchObject({ txBytes: 1_428, rxBytes: 1_372 });
      expect(await onlyPeer(to.engine)).toMatchObject({ txBytes: 1_372, rxBytes: 1_428 });
    },
  );

  it('agree on when the handshake was', async () => {
    await pair.meetFrom(pair.left, { outer });
    await untilAnswers(pair.left.host, pair.right.inner4, FIRST_ANSWER_MS);
    const left = (await onlyPeer(pair.left.engine)).latestHandshake;
    const right = (await onlyPeer(pair.right.engine)).latestHandshake;
    const now = Date.now() / 1_000;
    expect(Math.abs(left - now)).toBeLessThan(4);
    expect(Math.abs(left - right)).toBeLessThanOrEqual(1);
  });
});
