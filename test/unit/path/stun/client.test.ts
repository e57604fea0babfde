// The client of STUN in virtual time: what it sends and when, what it takes for an answer and what not, and how it ends.

import { describe, expect, test } from 'vitest';
import { toHex } from '../../../../src/base/bytes.ts';
import { type Instant, NEVER } from '../../../../src/base/instant.ts';
import type { Endpoint } from '../../../../src/base/ip.ts';
import { Prng } from '../../../../src/base/prng.ts';
import {
  type AskOptions,
  REQUEST_BYTES,
  SENDS_MAX,
  StunClient,
  type StunResult,
  TRANSACTIONS_MAX,
} from '../../../../src/path/stun/client.ts';
import { decodeStun, encodeError, encodeSuccess, type SuccessFields } from '../../../../src/path/stun/message.ts';

const endpoint = (text: string): Endpoint => text as Endpoint;
const SERVER = endpoint('192.0.2.1:3478');
const OTHER = endpoint('[2001:db8::1]:3479');
const US = endpoint('198.51.100.7:40000');

class Fixture {
  now = 1_000 as Instant;
  readonly sent: { readonly at: number; readonly to: Endpoint; readonly datagram: Uint8Array }[] = [];
  readonly results: StunResult[] = [];
  sendable = true;
  onResult: (result: StunResult) => void = () => undefined;
  readonly client: StunClient;

  constructor(seed = 1) {
    const prng = new Prng(seed);
    this.client = new StunClient({
      random: (out) => prng.fill(out),
      outputs: {
        send: (to, datagram) => {
          this.sent.push({ at: this.now - 1_000, to, datagram: datagram.slice() });
          return this.sendable;
        },
        result: (result) => {
          this.results.push(result);
          this.onResult(result);
        },
      },
    });
  }

  ask(server: Endpoint, options?: AskOptions): number {
    const number = this.client.ask(server, this.now, options);
    if (number === null) throw new Error('it has no room');
    return number;
  }

  /** To `ms` after the beginning, by every deadline on the way. */
  passTo(ms: number): void {
    const end = (1_000 + ms) as Instant;
    while (this.client.nextDeadline() <= end) {
      this.now = this.client.nextDeadline();
      this.client.handleDeadline(this.now);
    }
    this.now = end;
  }

  idOf(index: number): Uint8Array {
    return (this.sent[index]?.datagram ?? new Uint8Array(0)).slice(8, 20);
  }

  answer(index: number, from: Endpoint, fields: SuccessFields = { xorMapped: US }): string {
    return this.client.handleDatagram(encodeSuccess(this.idOf(index), fields), from, this.now);
  }
}

describe('a request', () => {
  test('has the size of the largest answer, so that no server sends more than it got', () => {
    const fixture = new Fixture();
    fixture.ask(SERVER);
    fixture.ask(SERVER, { change: { address: true, port: true } });
    const six = endpoint('[2001:db8:1:2:3:4:5:6]:65535');
    const largest = { xorMapped: six, mapped: six, origin: six, other: six, fingerprint: true };
    expect(encodeSuccess(fixture.idOf(0), largest).length).toBeLessThanOrEqual(REQUEST_BYTES);
    for (const { datagram } of fixture.sent) expect(datagram.length).toBe(REQUEST_BYTES);
  });

  test('is repeated after 250 ms and each time after twice as long, and given up at 3,750 ms', () => {
    const fixture = new Fixture();
    const transaction = fixture.ask(SERVER);
    fixture.passTo(3_749);
    expect(fixture.sent.map(({ at, to }) => [at, to])).toEqual([0, 250, 750, 1_750].map((at) => [at, SERVER]));
    expect(fixture.results).toEqual([]);
    fixture.passTo(3_750);
    expect(fixture.results).toEqual([{ kind: 'failed', transaction, server: SERVER, reason: 'timeout', code: null }]);
    expect(fixture.client.nextDeadline()).toBe(NEVER);
    expect(fixture.client.size).toBe(0);
  });

  test('has another id each time, and differs in nothing else', () => {
    const fixture = new Fixture();
    fixture.ask(SERVER);
    fixture.passTo(2_000);
    expect(new Set(fixture.sent.map(({ datagram }) => toHex(datagram.subarray(8, 20)))).size).toBe(SENDS_MAX);
    const rests = fixture.sent.map(
      ({ datagram }) => `${toHex(datagram.subarray(0, 8))}${toHex(datagram.subarray(20))}`,
    );
    expect(new Set(rests).size).toBe(1);
    for (const { datagram } of fixture.sent)
      expect(decodeStun(datagram)).toMatchObject({ kind: 'request', change: null });
  });

  test('that can never be sent says so', () => {
    const fixture = new Fixture();
    fixture.sendable = false;
    fixture.ask(OTHER);
    fixture.passTo(3_750);
    expect(fixture.results).toMatchObject([{ kind: 'failed', server: OTHER, reason: 'unsendable' }]);
    // Once it could be: then it was the answer that did not come.
    fixture.ask(OTHER);
    fixture.sendable = true;
    fixture.passTo(10_000);
    expect(fixture.results[1]).toMatchObject({ reason: 'timeout' });
  });

  test('finds no room when there are too many, and room again when one has ended', () => {
    const fixture = new Fixture();
    for (let i = 0; i < TRANSACTIONS_MAX; i++) fixture.ask(SERVER);
    expect(fixture.client.ask(SERVER, fixture.now)).toBeNull();
    fixture.answer(3, SERVER);
    expect(fixture.client.ask(SERVER, fixture.now)).toBe(TRANSACTIONS_MAX + 1);
  });
});

describe('an answer', () => {
  test('says where we are seen from, and how long it took', () => {
    const fixture = new Fixture();
    const first = fixture.ask(SERVER);
    const second = fixture.ask(OTHER);
    fixture.passTo(20);
    expect(fixture.answer(1, OTHER, { xorMapped: endpoint('[2001:db8::7]:5'), other: endpoint('[::9]:1') })).toBe(
      'result',
    );
    fixture.passTo(35);
    expect(fixture.answer(0, SERVER)).toBe('result');
    expect(fixture.results).toEqual([
      {
        kind: 'reflexive',
        transaction: second,
        server: OTHER,
        reflexive: '[2001:db8::7]:5',
        rttMs: 20,
        other: '[::9]:1',
      },
      { kind: 'reflexive', transaction: first, server: SERVER, reflexive: US, rttMs: 35, other: null },
    ]);
    fixture.passTo(60_000);
    expect(fixture.sent).toHaveLength(2);
  });

  test('to a repetition counts the time from that repetition', () => {
    const fixture = new Fixture();
    fixture.ask(SERVER);
    fixture.passTo(790);
    fixture.answer(2, SERVER);
    expect(fixture.results).toMatchObject([{ rttMs: 40 }]);
  });

  test('to an earlier request, that comes after a repetition, counts from the earlier', () => {
    const fixture = new Fixture();
    fixture.ask(SERVER);
    fixture.passTo(300);
    fixture.answer(0, SERVER);
    expect(fixture.results).toMatchObject([{ rttMs: 300 }]);
  });

  test('in MAPPED-ADDRESS alone is taken, but XOR-MAPPED-ADDRESS is preferred', () => {
    const fixture = new Fixture();
    fixture.ask(SERVER);
    const rewritten = encodeSuccess(fixture.idOf(0), { xorMapped: US, mapped: endpoint('10.0.0.1:1') });
    expect(fixture.client.handleDatagram(rewritten, SERVER, fixture.now)).toBe('result');
    expect(fixture.results).toMatchObject([{ reflexive: US }]);
    fixture.ask(SERVER);
    const old = encodeSuccess(fixture.idOf(1), { xorMapped: US, mapped: endpoint('203.0.113.1:9') });
    // XOR-MAPPED-ADDRESS made into something optional that nobody knows.
    old[20] = 0xff;
    expect(fixture.client.handleDatagram(old, SERVER, fixture.now)).toBe('result');
    expect(fixture.results[1]).toMatchObject({ reflexive: '203.0.113.1:9' });
  });

  test.each([
    ['from another port', endpoint('192.0.2.1:3479')],
    ['from another address', endpoint('192.0.2.2:3478')],
  ])('%s is nobody’s', (_, from) => {
    const fixture = new Fixture();
    fixture.ask(SERVER);
    expect(fixture.answer(0, from)).toBe('unmatched');
    expect(fixture.results).toEqual([]);
    expect(fixture.answer(0, SERVER)).toBe('result');
  });

  test('with any other transaction id is nobody’s', () => {
    const fixture = new Fixture();
    fixture.ask(SERVER);
    fixture.passTo(300);
    const ours = new Set([0, 1].map((index) => toHex(fixture.idOf(index))));
    for (let bit = 0; bit < 96; bit++) {
      const id = fixture.idOf(0);
      id[bit >> 3] = (id[bit >> 3] as number) ^ (1 << (bit & 7));
      if (ours.has(toHex(id))) continue;
      const forged = encodeSuccess(id, { xorMapped: US });
      expect(fixture.client.handleDatagram(forged, SERVER, fixture.now)).toBe('unmatched');
    }
    expect(fixture.results).toEqual([]);
  });

  test('that comes twice, or after the end, is nobody’s', () => {
    const fixture = new Fixture();
    fixture.ask(SERVER);
    fixture.answer(0, SERVER);
    expect(fixture.answer(0, SERVER)).toBe('unmatched');
    fixture.ask(SERVER);
    fixture.passTo(3_750);
    expect(fixture.answer(1, SERVER)).toBe('unmatched');
    expect(fixture.results).toHaveLength(2);
  });

  test('that is asked for from elsewhere counts only from there', () => {
    const fixture = new Fixture();
    const answerFrom = endpoint('192.0.2.9:3479');
    fixture.ask(SERVER, { change: { address: true, port: true }, answerFrom });
    expect(fixture.sent[0]?.to).toBe(SERVER);
    expect(decodeStun(fixture.sent[0]?.datagram ?? new Uint8Array(0))).toMatchObject({
      change: { address: true, port: true },
    });
    expect(fixture.answer(0, SERVER)).toBe('unmatched');
    expect(fixture.answer(0, answerFrom)).toBe('result');
    expect(fixture.results).toMatchObject([{ kind: 'reflexive', server: SERVER }]);
  });

  test('that refuses says why', () => {
    const fixture = new Fixture();
    fixture.ask(SERVER);
    const refusal = encodeError(fixture.idOf(0), { code: 420, unknownAttributes: [3] });
    expect(fixture.client.handleDatagram(refusal, SERVER, fixture.now)).toBe('result');
    expect(fixture.results).toMatchObject([{ kind: 'failed', reason: 'refused', code: 420 }]);
  });

  test.each(['0.0.0.0:1', '224.0.0.1:1', '255.255.255.255:1', '[::]:1', '[ff02::1]:1', '[100::1]:1'])(
    'of an address that we cannot have, %s, is unusable',
    (text) => {
      const fixture = new Fixture();
      fixture.ask(SERVER);
      expect(fixture.answer(0, SERVER, { xorMapped: endpoint(text) })).toBe('result');
      expect(fixture.results).toMatchObject([{ kind: 'failed', reason: 'unusable' }]);
    },
  );

  test('without an address, or with something that we would have to understand, is unusable', () => {
    const fixture = new Fixture();
    fixture.ask(SERVER);
    fixture.ask(SERVER);
    const empty = encodeSuccess(fixture.idOf(0), { xorMapped: US });
    empty[20] = 0xff;
    fixture.client.handleDatagram(empty, SERVER, fixture.now);
    const strange = encodeSuccess(fixture.idOf(1), { xorMapped: US, mapped: US });
    strange[33] = 0x7f;
    fixture.client.handleDatagram(strange, SERVER, fixture.now);
    expect(fixture.results).toMatchObject([{ reason: 'unusable' }, { reason: 'unusable' }]);
  });

  test('is not a request, an indication or what is no STUN', () => {
    const fixture = new Fixture();
    fixture.ask(SERVER);
    const datagram = fixture.sent[0]?.datagram ?? new Uint8Array(0);
    expect(fixture.client.handleDatagram(datagram, SERVER, fixture.now)).toBe('unmatched');
    expect(fixture.client.handleDatagram(new Uint8Array(20), SERVER, fixture.now)).toBe('notStun');
    expect(fixture.client.handleDatagram(datagram.subarray(0, 40), SERVER, fixture.now)).toBe('badLength');
    expect(fixture.results).toEqual([]);
  });
});

describe('from a result', () => {
  test('another transaction may begin and others end', () => {
    const fixture = new Fixture();
    const first = fixture.ask(SERVER);
    const second = fixture.ask(OTHER);
    let third: number | null = null;
    fixture.onResult = () => {
      fixture.client.cancel(second);
      third ??= fixture.client.ask(SERVER, fixture.now);
    };
    fixture.passTo(3_750);
    expect(fixture.results.map(({ transaction }) => transaction)).toEqual([first]);
    fixture.passTo(7_500);
    expect(fixture.results.map(({ transaction }) => transaction)).toEqual([first, third]);
  });

  test('a client that is stopped is silent', () => {
    const fixture = new Fixture();
    fixture.ask(SERVER);
    fixture.client.cancelAll();
    expect(fixture.client.nextDeadline()).toBe(NEVER);
    expect(fixture.answer(0, SERVER)).toBe('unmatched');
    fixture.passTo(10_000);
    expect(fixture.results).toEqual([]);
    expect(fixture.sent).toHaveLength(1);
  });
});

test('over a network that loses, delays, repeats and lies, every transaction ends once and rightly', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const prng = new Prng(seed);
    const fixture = new Fixture(seed);
    const servers = Array.from({ length: prng.nextInt(1, 8) }, (_, i) => endpoint(`192.0.2.${i + 1}:3478`));
    const asked = servers.map((server) => fixture.ask(server));
    /** Answers on their way: when they come, from where, what they say. */
    const flying: { at: number; from: Endpoint; datagram: Uint8Array }[] = [];
    let answered = 0;
    while (fixture.client.size > 0) {
      for (; answered < fixture.sent.length; answered++) {
        const { to, at } = fixture.sent[answered] as { to: Endpoint; at: number };
        if (prng.chance(0.4)) continue;
        const honest = prng.chance(0.8);
        const from = honest ? to : endpoint('203.0.113.1:3478');
        const port = honest ? Number(to.split(/[.:]/)[3]) : 666;
        const datagram = encodeSuccess(fixture.idOf(answered), { xorMapped: endpoint(`198.51.100.7:${port}`) });
        if (prng.chance(0.1)) datagram[prng.nextInt(0, datagram.length - 1)] = prng.nextU32() & 255;
        flying.push({ at: at + prng.nextInt(1, 6_000), from, datagram });
        if (prng.chance(0.2)) flying.push({ at: at + prng.nextInt(1, 6_000), from, datagram });
      }
      flying.sort((a, b) => a.at - b.at);
      const deadline = fixture.client.nextDeadline() - 1_000;
      const [next] = flying;
      if (next !== undefined && next.at <= deadline) {
        flying.shift();
        fixture.passTo(next.at);
        fixture.client.handleDatagram(next.datagram, next.from, fixture.now);
      } else {
        fixture.passTo(deadline);
      }
      expect(fixture.now).toBeLessThan(10_000);
    }
    expect(fixture.results.map(({ transaction }) => transaction).sort((a, b) => a - b)).toEqual(asked);
    for (const result of fixture.results) {
      if (result.kind !== 'reflexive') continue;
      expect(result.reflexive).not.toContain(':666');
      expect(result.rttMs).toBeGreaterThan(0);
      expect(result.rttMs).toBeLessThanOrEqual(3_750);
    }
  }
});
