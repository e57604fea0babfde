// mac1, mac2 and cookies: paper §5.3, §5.4.4, §5.4.7 and §6.6, under virtual time.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex, writeU32le } from '../../../src/base/bytes.ts';
import type { Instant } from '../../../src/base/instant.ts';
import type { Endpoint } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import { nodeProvider as c } from '../../../src/crypto/node.ts';
import { CookieChecker, CookieGenerator, cookieSource, cookieSourceOf } from '../../../src/wireguard/cookie.ts';
import { INITIATION_BYTES, MessageType, RESPONSE_BYTES, receiverIndex } from '../../../src/wireguard/messages.ts';

const random = new Prng(2);
const entropy = (out: Uint8Array): void => random.fill(out);
const { publicKey } = c.importPrivateKey(new Uint8Array(32).fill(3));
const SOURCE = cookieSourceOf('192.0.2.1:51820' as Endpoint);
const SENDER = 0x89abcdef;
const START = 1_000_000;
const at = (seconds: number): Instant => (START + seconds * 1000) as Instant;

function message(type: 'initiation' | 'response' = 'initiation'): Uint8Array {
  const bytes = new Uint8Array(type === 'initiation' ? INITIATION_BYTES : RESPONSE_BYTES);
  random.fill(bytes);
  writeU32le(bytes, 0, MessageType[type]);
  writeU32le(bytes, 4, SENDER);
  return bytes;
}

const mac2Of = (bytes: Uint8Array): Uint8Array => bytes.subarray(bytes.length - 16);
const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

/** A sender that has sent one message under load, and the reply that it got. */
function underLoad(type: 'initiation' | 'response' = 'initiation') {
  const generator = new CookieGenerator(c, publicKey);
  const checker = new CookieChecker(c, entropy, publicKey);
  const sent = message(type);
  generator.addMacs(sent, at(0));
  return { generator, checker, sent, reply: checker.createReply(sent, SOURCE, at(0)) };
}

describe('mac1 and mac2 of a sender (§5.4.4)', () => {
  test.each(['initiation', 'response'] as const)('an %s without a cookie has a good mac1 and a zero mac2', (type) => {
    const { checker, sent } = underLoad(type);
    expect(checker.checkMac1(sent)).toBe(true);
    expect(isZero(mac2Of(sent))).toBe(true);
    expect(checker.checkMac2(sent, SOURCE, at(0))).toBe(false);
  });

  test('mac1 is for one receiver only', () => {
    const { sent } = underLoad();
    const other = c.importPrivateKey(new Uint8Array(32).fill(4)).publicKey;
    expect(new CookieChecker(c, entropy, other).checkMac1(sent)).toBe(false);
  });

  test.each(['initiation', 'response'] as const)(
    'a cookie that answers an %s puts a good mac2 on the next one',
    (type) => {
      const { generator, checker, reply } = underLoad(type);
      expect(generator.consumeReply(reply, at(0))).toBe(true);
      for (const next of [message('initiation'), message('response')]) {
        generator.addMacs(next, at(5));
        expect(checker.checkMac1(next)).toBe(true);
        expect(checker.checkMac2(next, SOURCE, at(5))).toBe(true);
      }
    },
  );

  test('a cookie is used for 115 s and not for a moment longer', () => {
    const { generator, checker, reply } = underLoad();
    generator.consumeReply(reply, at(0));
    const last = message();
    generator.addMacs(last, at(114.999));
    expect(checker.checkMac2(last, SOURCE, at(114.999))).toBe(true);
    const next = message();
    generator.addMacs(next, at(115));
    expect(isZero(mac2Of(next))).toBe(true);
  });

  test('wipe forgets the cookie and the message that it would answer', () => {
    const { generator, reply } = underLoad();
    generator.consumeReply(reply, at(0));
    generator.wipe();
    const next = message();
    generator.addMacs(next, at(1));
    expect(isZero(mac2Of(next))).toBe(true);
    const fresh = underLoad();
    fresh.generator.wipe();
    expect(fresh.generator.consumeReply(fresh.reply, at(0))).toBe(false);
  });
});

describe('receiving a cookie reply (§5.4.7, §6.6)', () => {
  test('it is for the last message sent, and no earlier one', () => {
    const { generator, reply, checker } = underLoad();
    const second = message();
    generator.addMacs(second, at(5));
    expect(generator.consumeReply(reply, at(5))).toBe(false);
    expect(generator.consumeReply(checker.createReply(second, SOURCE, at(5)), at(5))).toBe(true);
  });

  test('it is taken once', () => {
    const { generator, reply, checker, sent } = underLoad();
    expect(generator.consumeReply(reply, at(0))).toBe(true);
    expect(generator.consumeReply(reply, at(1))).toBe(false);
    expect(generator.consumeReply(checker.createReply(sent, SOURCE, at(1)), at(1))).toBe(false);
  });

  test('one that comes unasked is refused', () => {
    expect(new CookieGenerator(c, publicKey).consumeReply(underLoad().reply, at(0))).toBe(false);
  });

  test('a newer cookie replaces the older one', () => {
    const { generator, checker, reply } = underLoad();
    generator.consumeReply(reply, at(0));
    const retry = message();
    generator.addMacs(retry, at(114));
    expect(generator.consumeReply(checker.createReply(retry, SOURCE, at(121)), at(121))).toBe(true);
    const last = message();
    generator.addMacs(last, at(200));
    expect(checker.checkMac2(last, SOURCE, at(200))).toBe(true);
  });

  test('any changed bit that it authenticates makes it worthless, and the true one still counts', () => {
    const { generator, reply } = underLoad();
    for (let bit = 8 * 8; bit < reply.length * 8; bit++) {
      const forged = reply.slice();
      forged[bit >> 3] = (forged[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(generator.consumeReply(forged, at(0))).toBe(false);
    }
    expect(generator.consumeReply(reply, at(0))).toBe(true);
  });

  test('random bytes never throw', () => {
    const { generator } = underLoad();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const typed = bytes.slice();
        if (typed.length >= 4) writeU32le(typed, 0, MessageType.cookieReply);
        expect(generator.consumeReply(bytes, at(0))).toBe(false);
        expect(generator.consumeReply(typed, at(0))).toBe(false);
      }),
    );
  });
});

describe('making and checking cookies (§5.4.7)', () => {
  function cookied(source: Uint8Array) {
    const { generator, checker, reply, sent } = underLoad();
    generator.consumeReply(checker.createReply(sent, source, at(0)), at(0));
    expect(reply).toHaveLength(64);
    const next = message();
    generator.addMacs(next, at(5));
    return { checker, next };
  }

  test('the reply goes to the sender of the message', () => {
    expect(receiverIndex(underLoad().reply)).toBe(SENDER);
  });

  test.each([
    ['another port', '192.0.2.1:51821'],
    ['another address', '192.0.2.2:51820'],
    ['an IPv6 address', '[2001:db8::1]:51820'],
  ])('a cookie is bound to its address and port: not good from %s', (_what, endpoint) => {
    const { checker, next } = cookied(SOURCE);
    expect(checker.checkMac2(next, SOURCE, at(5))).toBe(true);
    expect(checker.checkMac2(next, cookieSourceOf(endpoint as Endpoint), at(5))).toBe(false);
  });

  test('all 16 bytes of an IPv6 address count', () => {
    const { checker, next } = cookied(cookieSourceOf('[2001:db8::1]:7' as Endpoint));
    expect(checker.checkMac2(next, cookieSourceOf('[2001:db8::1]:7' as Endpoint), at(5))).toBe(true);
    expect(checker.checkMac2(next, cookieSourceOf('[2001:db8::2]:7' as Endpoint), at(5))).toBe(false);
  });

  test('the secret changes every 120 s', () => {
    const { checker, next } = cookied(SOURCE);
    expect(checker.checkMac2(next, SOURCE, at(119.999))).toBe(true);
    expect(checker.checkMac2(next, SOURCE, at(120))).toBe(false);
    checker.createReply(next, SOURCE, at(120));
    expect(checker.checkMac2(next, SOURCE, at(120))).toBe(false);
  });

  test('without any reply made, no mac2 is good, not even one over an all-zero secret', () => {
    const checker = new CookieChecker(c, entropy, publicKey);
    const forged = message();
    const at2 = forged.length - 16;
    forged.set(c.mac(c.mac(new Uint8Array(32), SOURCE), forged.subarray(0, at2)), at2);
    expect(checker.checkMac2(forged, SOURCE, at(0))).toBe(false);
  });

  test('a wiped checker vouches for nobody', () => {
    const { checker, next } = cookied(SOURCE);
    checker.wipe();
    expect(checker.checkMac2(next, SOURCE, at(5))).toBe(false);
  });

  test('each reply has a nonce of its own', () => {
    const { checker, sent } = underLoad();
    const nonces = Array.from({ length: 50 }, () => toHex(checker.createReply(sent, SOURCE, at(0)).subarray(8, 32)));
    expect(new Set(nonces).size).toBe(50);
  });

  test('the source is address and port in network order', () => {
    expect(toHex(SOURCE)).toBe('c0000201ca6c');
    expect(toHex(cookieSourceOf('[2001:db8::1]:258' as Endpoint))).toBe('20010db80000000000000000000000010102');
    expect(cookieSource(Uint8Array.of(192, 0, 2, 1), 51820)).toEqual(SOURCE);
  });
});
