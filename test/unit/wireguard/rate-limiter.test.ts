// The token bucket per source (paper §5.3): 20 a second, bursts of 5, IPv4 by address and IPv6 by /64; bounded.

import { describe, expect, test } from 'vitest';
import type { Instant } from '../../../src/base/instant.ts';
import { parseAddressBytes } from '../../../src/base/ip.ts';
import { RateLimiter } from '../../../src/wireguard/rate-limiter.ts';

const at = (ms: number): Instant => (10_000 + ms) as Instant;

function source(address: string): Uint8Array {
  const bytes = parseAddressBytes(address);
  if (bytes === null) throw new Error(address);
  return bytes;
}

function allowed(limiter: RateLimiter, address: string, tries: number, now: Instant): number {
  let count = 0;
  for (let i = 0; i < tries; i++) if (limiter.allow(source(address), now)) count++;
  return count;
}

describe('one source', () => {
  test('gets a burst of five, then one every 50 ms', () => {
    const limiter = new RateLimiter();
    expect(allowed(limiter, '192.0.2.1', 20, at(0))).toBe(5);
    expect(allowed(limiter, '192.0.2.1', 20, at(49))).toBe(0);
    expect(allowed(limiter, '192.0.2.1', 20, at(50))).toBe(1);
    expect(allowed(limiter, '192.0.2.1', 20, at(200))).toBe(3);
  });

  test('gets twenty a second over time, however it spreads them', () => {
    const limiter = new RateLimiter();
    let count = 0;
    for (let ms = 0; ms < 10_000; ms++) if (limiter.allow(source('192.0.2.1'), at(ms))) count++;
    expect(count).toBe(5 + 199);
  });

  test('has its burst back after 250 quiet ms, and never more than that', () => {
    const limiter = new RateLimiter();
    allowed(limiter, '192.0.2.1', 20, at(0));
    expect(allowed(limiter, '192.0.2.1', 20, at(250))).toBe(5);
    expect(allowed(limiter, '192.0.2.1', 20, at(900))).toBe(5);
    expect(allowed(limiter, '192.0.2.1', 20, at(60_000))).toBe(5);
  });

  test('asking while empty does not push service back', () => {
    const limiter = new RateLimiter();
    allowed(limiter, '192.0.2.1', 5, at(0));
    for (let ms = 1; ms < 50; ms++) expect(limiter.allow(source('192.0.2.1'), at(ms))).toBe(false);
    expect(limiter.allow(source('192.0.2.1'), at(50))).toBe(true);
  });
});

describe('many sources', () => {
  test('IPv4 addresses are apart', () => {
    const limiter = new RateLimiter();
    expect(allowed(limiter, '192.0.2.1', 9, at(0))).toBe(5);
    expect(allowed(limiter, '192.0.2.2', 9, at(0))).toBe(5);
    expect(allowed(limiter, '255.255.255.255', 9, at(0))).toBe(5);
  });

  test('IPv6 addresses of one /64 share, those of another do not', () => {
    const limiter = new RateLimiter();
    expect(allowed(limiter, '2001:db8:0:1::1', 4, at(0))).toBe(4);
    expect(allowed(limiter, '2001:db8:0:1:ffff::2', 4, at(0))).toBe(1);
    expect(allowed(limiter, '2001:db8:0:2::1', 9, at(0))).toBe(5);
  });

  test('IPv4 and IPv6 are never mistaken for each other', () => {
    const limiter = new RateLimiter();
    expect(allowed(limiter, '0.0.0.1', 9, at(0))).toBe(5);
    expect(allowed(limiter, '::1', 9, at(0))).toBe(5);
    expect(limiter.size).toBe(2);
  });

  test('a full table turns newcomers away and goes on serving those it knows', () => {
    const limiter = new RateLimiter(2);
    expect(limiter.allow(source('192.0.2.1'), at(0))).toBe(true);
    expect(limiter.allow(source('192.0.2.2'), at(0))).toBe(true);
    expect(limiter.allow(source('192.0.2.3'), at(0))).toBe(false);
    expect(limiter.allow(source('192.0.2.1'), at(0))).toBe(true);
    expect(limiter.size).toBe(2);
  });

  test('quiet sources are forgotten within seconds, so that the table serves newcomers again', () => {
    const limiter = new RateLimiter(100);
    for (let i = 0; i < 100; i++) limiter.allow(source(`192.0.2.${i}`), at(0));
    expect(limiter.allow(source('198.51.100.1'), at(10))).toBe(false);
    expect(limiter.allow(source('198.51.100.1'), at(1_000))).toBe(true);
    expect(limiter.size).toBe(1);
  });

  test('forgetting is not forgiving: a source with an empty bucket is remembered', () => {
    const limiter = new RateLimiter();
    limiter.allow(source('203.0.113.9'), at(0));
    allowed(limiter, '192.0.2.1', 5, at(990));
    limiter.allow(source('198.51.100.1'), at(1_000));
    expect(limiter.size).toBe(2);
    expect(allowed(limiter, '192.0.2.1', 5, at(1_000))).toBe(0);
  });
});
