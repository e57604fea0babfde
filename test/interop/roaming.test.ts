// Either end moves to another address or port, or loses the address it answered from, and the tunnel follows without
// help; either end dies and comes back. (Paper §6.5; checklist 2, 28, 29.)

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lab } from './lib/lab.ts';
import { PacketCounter, ping, untilAnswers } from './lib/measure.ts';
import { Pair, type Side } from './lib/pair.ts';
import { CAN_RUN, PEERS, SUBJECT } from './lib/subject.ts';
import { until } from './lib/wait.ts';
import { onlyPeer, wgSet } from './lib/wg.ts';

const FIRST_ANSWER_MS = 3_000;
/** A new handshake after silence: KEEPALIVE_TIMEOUT + REKEY_TIMEOUT and its jitter, and one retry. */
const NEW_HANDSHAKE_MS = 10_000 + 5_000 + 333 + 5_333;
/** Recovery that needs no timer of the protocol. */
const AT_ONCE_MS = 3_000;
/** wireguard-go clings to a source address that has vanished until its next handshake; Warren must not. */
const ADDRESS_LOST_MS = SUBJECT === 'warren' ? AT_ONCE_MS : NEW_HANDSHAKE_MS;

const CASES = PEERS.map((peer, index) => ({ peer, lab: `roam${index}` }));

async function replaceAddress(side: Side, next: string): Promise<void> {
  // In this order: the kernel removes the secondary addresses of a subnet with its primary one.
  await side.host.deleteAddress(side.device, `${side.outer4}/24`);
  await side.host.addAddress(side.device, `${next}/24`);
  side.outer4 = next;
}

describe.skipIf(!CAN_RUN).concurrent.each(CASES)(`${SUBJECT} with $peer`, ({ peer, lab: name }) => {
  let lab: Lab;
  let pair: Pair;

  beforeAll(async () => {
    lab = Lab.open(name);
    pair = await Pair.open(lab, { left: SUBJECT, right: peer });
  }, 300_000);
  afterAll(() => lab?.close());

  // One after the other, for they share the pair; the peers run side by side.
  it('follows every move and survives every crash', async () => {
    const { left, right } = pair;

    const meetAndTalk = async (): Promise<void> => {
      await pair.meetFrom(left);
      await untilAnswers(left.host, right.inner4, FIRST_ANSWER_MS);
    };

    // The subject moves to another address: its next packet tells the peer.
    await meetAndTalk();
    await replaceAddress(left, '10.9.0.31');
    await untilAnswers(left.host, right.inner4, ADDRESS_LOST_MS);
    expect((await onlyPeer(right.engine)).endpoint).toBe(`10.9.0.31:${left.port}`);
    expect((await ping(right.host, left.inner4, { count: 3 })).received).toBe(3);

    // The subject moves to another port.
    await wgSet(left.engine, 'listen-port', '40001');
    left.port = 40_001;
    await untilAnswers(left.host, right.inner4, AT_ONCE_MS);
    expect((await onlyPeer(right.engine)).endpoint).toBe('10.9.0.31:40001');

    // The peer moves to another port, then to another address: its next packet tells the subject.
    await wgSet(right.engine, 'listen-port', '40002');
    right.port = 40_002;
    await untilAnswers(right.host, left.inner4, AT_ONCE_MS);
    expect((await onlyPeer(left.engine)).endpoint).toBe('10.9.0.2:40002');
    await replaceAddress(right, '10.9.0.32');
    await untilAnswers(right.host, left.inner4, NEW_HANDSHAKE_MS);
    expect((await onlyPeer(left.engine)).endpoint).toBe('10.9.0.32:40002');
    expect((await ping(left.host, right.inner4, { count: 3 })).received).toBe(3);

    // The subject as responder loses the very address that it answers from: it sends from another at once.
    await pair.meetFrom(right);
    await untilAnswers(right.host, left.inner4, FIRST_ANSWER_MS);
    await replaceAddress(left, '10.9.0.41');
    await untilAnswers(left.host, right.inner4, ADDRESS_LOST_MS);
    expect((await onlyPeer(right.engine)).endpoint).toBe(`10.9.0.41:${left.port}`);

    // The subject dies and comes back; its own traffic finds the peer again at once.
    await pair.meetBoth();
    await untilAnswers(left.host, right.inner4, FIRST_ANSWER_MS);
    await pair.restart(left);
    await pair.meet(left);
    await untilAnswers(left.host, right.inner4, AT_ONCE_MS);

    // The peer dies and comes back, and only the subject talks: it asks for a new session when nobody answers.
    await pair.restart(right);
    await pair.meet(right, { endpoint: false });
    await untilAnswers(left.host, right.inner4, NEW_HANDSHAKE_MS);

    // The subject dies and only the peer talks.
    await pair.restart(left);
    await pair.meet(left, { endpoint: false });
    await untilAnswers(right.host, left.inner4, NEW_HANDSHAKE_MS);
  }, 120_000);
});

describe.skipIf(!CAN_RUN)(`${SUBJECT} with several addresses`, () => {
  let lab: Lab;
  let pair: Pair;

  beforeAll(async () => {
    lab = Lab.open('sticky');
    pair = await Pair.open(lab, { left: SUBJECT, right: 'wireguard-go' });
  });
  afterAll(() => lab?.close());

  it('answers from the address that was addressed, though routing prefers another', async () => {
    const { left, right } = pair;
    await left.host.addAddress(left.device, '10.9.0.77/24');
    await left.host.addAddress(left.device, 'fd09::77/64');
    for (const [addressed, endpoint] of [
      ['10.9.0.77', '10.9.0.77:51821'],
      ['fd09::77', '[fd09::77]:51821'],
    ] as const) {
      await pair.meet(left, { endpoint: false });
      await pair.meet(right);
      await wgSet(right.engine, 'peer', left.keys.publicKey, 'endpoint', endpoint);
      const family = addressed.includes(':') ? 'ip6' : 'ip';
      const fromThere = await PacketCounter.open(left.host, 'output', `${family} saddr ${addressed} udp sport 51821`);
      const fromElsewhere = await PacketCounter.open(
        left.host,
        'output',
        `${family} saddr != ${addressed} udp sport 51821`,
      );
      await untilAnswers(right.host, left.inner4, FIRST_ANSWER_MS);
      expect((await ping(right.host, left.inner4, { count: 5 })).received).toBe(5);
      expect((await ping(left.host, right.inner4, { count: 5 })).received).toBe(5);
      expect(await fromThere.packets()).toBeGreaterThanOrEqual(12);
      expect(await fromElsewhere.packets()).toBe(0);
      await fromThere.close();
      await fromElsewhere.close();
      await until(
        'the peer shows the address it uses',
        1_000,
        async () => (await onlyPeer(right.engine)).endpoint === endpoint,
      );
    }
  });
});
