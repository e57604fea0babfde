// The reference plane's token bucket per source: its rate over time, and that it remembers a bounded number of sources.
// Which datagrams pass through it is the conformance suite's.

import { describe, expect, it } from 'vitest';
import type { Instant } from '../../../src/base/instant.ts';
import { formatAddress, formatEndpoint } from '../../../src/base/ip.ts';
import { CALM, LOADED, SourceLimiter } from '../../../src/dataplane/reference/source-limiter.ts';

const at = (ms: number): Instant => ms as Instant;
const source = (i: number) => formatEndpoint(formatAddress(new Uint8Array([10, i >> 16, i >> 8, i])), 1 + (i % 9));

describe('the limit per source', () => {
  it('never gives more than its rate and one burst, whatever the pace', () => {
    const limiter = new SourceLimiter();
    let passed = 0;
    for (let ms = 0; ms <= 10_000; ms++) for (let i = 0; i < 3; i++) if (limiter.allow(source(1), at(ms))) passed++;
    expect(passed).toBe(CALM.burst + CALM.perSecond * 10);
  });

  it('is 20 a second and 5 at once while the slab fills, whatever was saved before', () => {
    const limiter = new SourceLimiter();
    let passed = 0;
    limiter.allow(source(1), at(0));
    for (let ms = 0; ms <= 10_000; ms++) if (limiter.allow(source(1), at(ms), LOADED)) passed++;
    expect(passed).toBe(LOADED.burst + LOADED.perSecond * 10);
  });

  it('forgets the first of many sources, and the last ones not', () => {
    const limiter = new SourceLimiter();
    const exhaust = (i: number): void => {
      for (let n = 0; n < CALM.burst; n++) limiter.allow(source(i), at(0));
      expect(limiter.allow(source(i), at(0))).toBe(false);
    };
    exhaust(0);
    for (let i = 1; i < 4096; i++) limiter.allow(source(i), at(0));
    expect(limiter.allow(source(0), at(0))).toBe(false);
    exhaust(4096);
    expect(limiter.allow(source(0), at(0))).toBe(true);
    expect(limiter.allow(source(4096), at(0))).toBe(false);
  });
});
