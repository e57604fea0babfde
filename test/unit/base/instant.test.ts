// Instants and assertions: the small things that every room stands on. What they are for is tested
// where they are used.

import { describe, expect, it } from 'vitest';
import { assert, InvariantError, unreachable } from '../../../src/base/assert.ts';
import {
  earliest,
  elapsedMs,
  type Instant,
  after as instantAfter,
  latest,
  NEVER,
  UNSET,
} from '../../../src/base/instant.ts';

const at = (ms: number): Instant => ms as Instant;

describe('instants', () => {
  it('move by milliseconds, fractions included', () => {
    expect(instantAfter(at(10.5), 1.25)).toBe(11.75);
    expect(elapsedMs(at(10), at(12.5))).toBe(2.5);
  });

  it('are ordered, with NEVER last and UNSET first', () => {
    expect(earliest(at(5), NEVER)).toBe(5);
    expect(latest(at(5), UNSET)).toBe(5);
    expect(earliest(at(3), at(5))).toBe(3);
    expect(latest(at(3), at(5))).toBe(5);
    expect(instantAfter(NEVER, 1)).toBe(NEVER);
  });
});

describe('a broken invariant', () => {
  it('throws and says what should have been', () => {
    expect(() => assert(false, 'the queue is empty')).toThrow(
      new InvariantError('broken invariant: the queue is empty'),
    );
    expect(() => assert(true, 'fine')).not.toThrow();
    expect(() => unreachable('x' as never)).toThrow(InvariantError);
  });
});
