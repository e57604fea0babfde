// A relayed endpoint names a slot at a relay of one data plane. As a candidate it would lead whoever believes it to send to somebody
// else's slot: no message may carry one.

import { expect, test } from 'vitest';
import type { Endpoint } from '../../../src/base/ip.ts';
import { isRelayed, relayedEndpoint, relayedParts } from '../../../src/base/relayed.ts';
import { candidateSchema } from '../../../src/protocol/values.ts';

const slot = (...bytes: number[]): Uint8Array => Uint8Array.from([...Array(8 - bytes.length).fill(0), ...bytes]);

test.each([
  slot(1),
  slot(1, 0, 0, 0, 0, 0, 0, 0),
  slot(0xff, 0, 0, 0, 0, 0, 0, 0xff),
  slot(0x12, 0, 0),
  slot(255, 255),
])('a slot is told and understood, and is no candidate: %s', (bytes) => {
  const endpoint = relayedEndpoint(64, bytes);
  expect(isRelayed(endpoint)).toBe(true);
  expect(relayedParts(endpoint)).toEqual({ relay: 64, slot: bytes });
  expect(candidateSchema.safeParse({ kind: 'host', endpoint }).success).toBe(false);
});

test.each(['[100::]:9', '[100::1]:65', '[100:1::1]:1', '[101::1]:1', '[100::1%2]:1', '1.0.0.1:1'])(
  'another endpoint is not one: %s',
  (text) => {
    expect(isRelayed(text as Endpoint)).toBe(false);
    expect(candidateSchema.safeParse({ kind: 'host', endpoint: text }).success).toBe(true);
  },
);
