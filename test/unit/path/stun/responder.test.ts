// What a server answers to whom, byte by byte, and that nobody can make it send more than they do, or make it work for others.

import { describe, expect, test } from 'vitest';
import { toHex, writeU16be } from '../../../../src/base/bytes.ts';
import type { Instant } from '../../../../src/base/instant.ts';
import { type Endpoint, parseAddressBytes } from '../../../../src/base/ip.ts';
import { Prng } from '../../../../src/base/prng.ts';
import {
  AnswerBudget,
  NETWORK_ANSWERS_BURST,
  NETWORK_ANSWERS_PER_SECOND,
  NETWORKS_MAX,
  TOTAL_ANSWERS_BURST,
  TOTAL_ANSWERS_PER_SECOND,
} from '../../../../src/path/stun/answer-budget.ts';
import { REQUEST_BYTES } from '../../../../src/path/stun/client.ts';
import {
  type BindingSuccess,
  bindingIndication,
  decodeStun,
  encodeError,
  encodeRequest,
  encodeSuccess,
  type RequestFields,
} from '../../../../src/path/stun/message.ts';
import { type Door, newStunCounters, StunResponder } from '../../../../src/path/stun/responder.ts';
import { SAMPLE_REQUEST } from './rfc5769.ts';

const endpoint = (text: string): Endpoint => text as Endpoint;
const ID = new Uint8Array(12).map((_, i) => i + 1);
const FOUR = endpoint('198.51.100.7:40000');
const SIX = endpoint('[2001:db8::7]:40000');
const DOORS4 = ['192.0.2.1:3478', '192.0.2.1:3479', '192.0.2.2:3478', '192.0.2.2:3479'].map(endpoint);
const DOORS6 = ['[fd00::1]:3478', '[fd00::1]:3479', '[fd00::2]:3478', '[fd00::2]:3479'].map(endpoint);
const START = 5_000 as Instant;
type Doors = readonly [Endpoint, Endpoint, Endpoint, Endpoint];

function fixture(doors: readonly Endpoint[] | null = null) {
  const counters = newStunCounters();
  const budget = new AnswerBudget();
  const responder = new StunResponder({ doors: doors as Doors | null, budget, counters });
  const answer = (datagram: Uint8Array, source = FOUR, door: Door = 0, now = START) =>
    responder.answer(datagram, source, door, now);
  const read = (datagram: Uint8Array, source = FOUR, door: Door = 0) => {
    const given = answer(datagram, source, door);
    return given === null
      ? null
      : { message: decodeStun(given.datagram), door: given.door, bytes: given.datagram.length };
  };
  return { counters, answer, read };
}

const request = (fields: RequestFields = {}): Uint8Array => encodeRequest(ID, fields);

describe('a plain server', () => {
  test('answers a stock client with XOR-MAPPED-ADDRESS and nothing else: 32 bytes, 44 over IPv6', () => {
    const { read } = fixture();
    expect(read(request())).toEqual({
      bytes: 32,
      door: 0,
      message: {
        kind: 'success',
        transactionId: ID,
        unknownRequired: [],
        fingerprint: false,
        xorMapped: FOUR,
        mapped: null,
        origin: null,
        other: null,
      },
    });
    expect(read(request(), SIX)).toMatchObject({ bytes: 44, message: { xorMapped: SIX } });
  });

  test('answers with FINGERPRINT who asks with it', () => {
    const { read } = fixture();
    expect(read(request({ fingerprint: true }))).toMatchObject({ bytes: 40, message: { fingerprint: true } });
  });

  test('refuses what it has to understand and does not, by its name', () => {
    const { answer, read, counters } = fixture();
    expect(read(SAMPLE_REQUEST)?.message).toMatchObject({ kind: 'error', code: 420, unknownAttributes: [0x0024] });
    const change = request({ change: { address: false, port: true } });
    expect(read(change)?.message).toMatchObject({ kind: 'error', code: 420, unknownAttributes: [0x0003] });
    const both = request({ change: { address: false, port: true }, responsePort: 5 });
    expect(read(both)?.message).toMatchObject({ kind: 'error', code: 420, unknownAttributes: [0x0003, 0x0027] });
    expect(answer(both)).toMatchObject({ port: 40_000 });
    expect(counters.refused).toBe(4);
    expect(toHex(answer(change)?.datagram.subarray(0, 2) ?? new Uint8Array(0))).toBe('0111');
  });

  test('answers neither answers nor indications, so that two servers cannot be set upon each other', () => {
    const { answer, counters } = fixture();
    const prng = new Prng(1);
    expect(answer(encodeSuccess(ID, { xorMapped: FOUR }))).toBeNull();
    expect(answer(encodeError(ID, { code: 420 }))).toBeNull();
    expect(answer(bindingIndication((out) => prng.fill(out)))).toBeNull();
    expect(counters.notRequest).toBe(3);
  });

  test('counts what it cannot read by reason', () => {
    const { answer, counters } = fixture();
    expect(answer(new Uint8Array(20))).toBeNull();
    expect(answer(request().subarray(0, 19))).toBeNull();
    expect(answer(new Uint8Array([...request(), 0, 0, 0, 0]))).toBeNull();
    expect(counters).toMatchObject({ notStun: 2, badLength: 1, answered: 0 });
  });
});

describe('a server with two addresses', () => {
  test.each([
    [0, false, false, 0],
    [0, false, true, 1],
    [0, true, false, 2],
    [0, true, true, 3],
    [1, false, true, 0],
    [1, true, true, 2],
    [2, true, false, 0],
    [3, true, true, 0],
    [3, false, false, 3],
  ] as const)(
    'asked at door %i to change address %s and port %s answers from door %i',
    (door, address, port, leaves) => {
      for (const [doors, source] of [[DOORS4, FOUR] as const, [DOORS6, SIX] as const]) {
        const given = fixture(doors).read(request({ change: { address, port }, bytes: REQUEST_BYTES }), source, door);
        expect(given).toMatchObject({
          door: leaves,
          message: { xorMapped: source, mapped: source, origin: doors[leaves], other: doors[3 - door] },
        });
      }
    },
  );

  test('tells a stock client about its other address too, though not twice where it is', () => {
    const { read } = fixture(DOORS4);
    expect(read(request())).toMatchObject({
      bytes: 56,
      message: { origin: DOORS4[0], other: DOORS4[3], mapped: null },
    });
  });

  test('answers at the port that is wanted, of the address that asks and of no other', () => {
    const { answer } = fixture(DOORS4);
    const change = { address: true, port: true };
    expect(answer(request({ responsePort: 5, change, bytes: REQUEST_BYTES }))).toMatchObject({ port: 5, door: 3 });
    expect(answer(request({ bytes: REQUEST_BYTES }))).toMatchObject({ port: 40_000 });
  });

  test('refuses from where it was asked', () => {
    const strange = request({ change: { address: true, port: true }, bytes: 40 });
    writeU16be(strange, 28, 0x0024);
    expect(fixture(DOORS4).read(strange)).toMatchObject({
      door: 0,
      message: { kind: 'error', unknownAttributes: [0x24] },
    });
  });
});

describe('no answer is larger than its question', () => {
  test('of our own clients, with everything that a server may say', () => {
    for (const doors of [null, DOORS6]) {
      for (const fingerprint of [false, true]) {
        for (const change of [null, { address: true, port: true }]) {
          const { answer } = fixture(doors);
          // Without a limit, because it needs none.
          for (let i = 0; i < 3 * TOTAL_ANSWERS_BURST; i++) {
            const given = answer(request({ bytes: REQUEST_BYTES, fingerprint, change }), SIX);
            if (given === null || given.datagram.length > REQUEST_BYTES)
              throw new Error(`at ${i}: ${given?.datagram.length}`);
          }
        }
      }
    }
  });

  test('but for stock clients, of which one network gets a burst and then a trickle', () => {
    const { answer, counters } = fixture();
    const ask = (source: string, at = START): boolean => answer(request(), endpoint(source), 0, at) !== null;
    const count = (ms: number, from: (i: number) => string): number => {
      let given = 0;
      for (let i = 0; i < 500; i++) if (ask(from(i), (START + ms) as Instant)) given++;
      return given;
    };
    expect(count(0, (i) => `198.51.100.${i % 256}:4000`)).toBe(NETWORK_ANSWERS_BURST);
    expect(counters.networkLimited).toBe(500 - NETWORK_ANSWERS_BURST);
    // A neighbour has its own.
    expect(ask('198.51.101.1:4000')).toBe(true);
    expect(count(1_000, () => '198.51.100.9:4000')).toBe(NETWORK_ANSWERS_PER_SECOND);
    expect(count(0, (i) => `[2001:db8:0:${(i % 256).toString(16)}::${i}]:1`)).toBe(NETWORK_ANSWERS_BURST);
    expect(ask('[2001:db8:0:100::1]:1')).toBe(true);
    // What is large enough is answered all the same.
    expect(answer(request({ bytes: REQUEST_BYTES }))).not.toBeNull();
  });

  test('and all networks together have a limit too', () => {
    const { answer, counters } = fixture();
    let given = 0;
    for (let i = 0; i < 3 * TOTAL_ANSWERS_BURST; i++) {
      if (answer(request(), endpoint(`10.${i >> 8}.${i & 255}.1:1`)) !== null) given++;
    }
    expect(given).toBe(TOTAL_ANSWERS_BURST);
    expect(counters.totalLimited).toBe(2 * TOTAL_ANSWERS_BURST);
    expect(answer(request({ bytes: 32 }))).not.toBeNull();
  });

  test('whatever comes, for an hour: what goes out beyond what came in stays within the budget', () => {
    const prng = new Prng(7);
    const { answer } = fixture(DOORS6);
    let gain = 0;
    const hour = 3_600;
    for (let second = 0; second < hour; second += 60) {
      for (let i = 0; i < 500; i++) {
        const change = prng.chance(0.3) ? { address: prng.chance(0.5), port: prng.chance(0.5) } : null;
        const datagram = request({ change, bytes: 4 * prng.nextInt(0, 40), fingerprint: prng.chance(0.3) });
        if (prng.chance(0.3)) datagram[prng.nextInt(0, datagram.length - 1)] = prng.nextU32() & 255;
        const given = answer(datagram, SIX, 0, (START + 1_000 * second) as Instant);
        if (given !== null) gain += Math.max(0, given.datagram.length - datagram.length);
      }
    }
    // 60 at once after a minute of rest, each at most four addresses larger.
    expect(gain).toBeLessThanOrEqual((hour / 60) * NETWORK_ANSWERS_BURST * 80);
    expect(gain).toBeGreaterThan(0);
  });
});

describe('the budget', () => {
  const bytesOf = (text: string): Uint8Array => parseAddressBytes(text) ?? new Uint8Array(0);

  test('remembers a network no longer than it has to', () => {
    const budget = new AnswerBudget();
    for (let i = 0; i < 100; i++) budget.take(bytesOf(`10.0.${i}.1`), START);
    expect(budget.size).toBe(100);
    budget.take(bytesOf('10.9.9.9'), (START + 5_000) as Instant);
    expect(budget.size).toBe(1);
  });

  test('has room for as many networks as it can be asked by', () => {
    const budget = new AnswerBudget();
    let asked = 0;
    let most = 0;
    for (let ms = 0; ms < 20_000; ms += 10) {
      for (let i = 0; i < 100; i++) {
        budget.take(new Uint8Array([asked >> 16, (asked >> 8) & 255, asked & 255, 1]), (START + ms) as Instant);
        asked++;
      }
      most = Math.max(most, budget.size);
    }
    expect(most).toBeLessThan(NETWORKS_MAX);
    expect(most).toBeGreaterThan(TOTAL_ANSWERS_BURST);
  });

  test('gives no network what another has not used, nor more than the burst after a rest', () => {
    const budget = new AnswerBudget();
    const take = (text: string, ms: number): string => budget.take(bytesOf(text), (START + ms) as Instant);
    for (let i = 0; i < NETWORK_ANSWERS_BURST; i++) expect(take('10.0.0.1', 0)).toBe('paid');
    expect(take('10.0.0.200', 0)).toBe('networkSpent');
    expect(take('10.0.0.1', 1_000 / NETWORK_ANSWERS_PER_SECOND)).toBe('paid');
    expect(take('10.0.0.1', 1_000 / NETWORK_ANSWERS_PER_SECOND)).toBe('networkSpent');
    let paid = 0;
    for (let i = 0; i < 1_000; i++) if (take('10.0.0.1', 3_600_000) === 'paid') paid++;
    expect(paid).toBe(NETWORK_ANSWERS_BURST);
    expect(TOTAL_ANSWERS_PER_SECOND).toBeGreaterThan(NETWORK_ANSWERS_PER_SECOND);
  });
});

test('the answer is one that the client asked for', () => {
  const given = fixture().answer(request({ bytes: REQUEST_BYTES }));
  expect((decodeStun(given?.datagram ?? new Uint8Array(0)) as BindingSuccess).transactionId).toEqual(ID);
});
