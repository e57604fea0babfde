// Random bytes and damaged requests against the control socket's parser: it never throws, never hangs, answers each request
// once, and how the stream was cut into pieces makes no difference. Seeded: a failure names its seed.

import { describe, expect, it } from 'vitest';
import { ascii, concat } from '../../src/base/bytes.ts';
import type { Instant } from '../../src/base/instant.ts';
import { Prng } from '../../src/base/prng.ts';
import { RequestParser, type UapiReply } from '../../src/wireguard/uapi/request-parser.ts';
import { formatStatus } from '../../src/wireguard/uapi/status-format.ts';
import { FakeDevice, key } from '../unit/uapi-fake-device.ts';

const NOW = 1 as Instant;
const SEEDS = 400;

const LINES = [
  'private_key=%k',
  'listen_port=%n',
  'fwmark=%n',
  'replace_peers=true',
  'public_key=%p',
  'public_key=%p',
  'public_key=%p',
  'remove=true',
  'update_only=true',
  'preshared_key=%k',
  'endpoint=192.0.2.%b:%n',
  'endpoint=[fe80::%b%eth0]:%n',
  'persistent_keepalive_interval=%n',
  'replace_allowed_ips=true',
  'allowed_ip=10.%b.0.0/16',
  'allowed_ip=-10.%b.0.0/16',
  'allowed_ip=fd00::%b/128',
  'protocol_version=1',
] as const;

function line(random: Prng): string {
  return random
    .pick(LINES)
    .replace('%k', () => '0123456789abcdef'.charAt(random.nextInt(0, 15)).repeat(64))
    .replace('%p', () => key(random.nextInt(1, 6)))
    .replace('%b', () => String(random.nextInt(0, 9)))
    .replace('%n', () => String(random.nextInt(0, 70_000)));
}

function request(random: Prng): Uint8Array {
  if (random.chance(0.15)) return ascii('get=1\n\n');
  const lines = Array.from({ length: random.nextInt(0, 30) }, () => line(random));
  return ascii(`set=1\n${lines.map((text) => `${text}\n`).join('')}\n`);
}

/** Changes, drops, doubles or inserts bytes; sometimes puts in a flood of one byte. */
function damage(bytes: Uint8Array, random: Prng): Uint8Array {
  const at = random.nextInt(0, bytes.length);
  const to = Math.min(bytes.length, at + random.nextInt(0, 40));
  const noise = new Uint8Array(random.nextInt(0, 12));
  random.fill(noise);
  switch (random.nextInt(0, 3)) {
    case 0:
      return concat(bytes.subarray(0, at), bytes.subarray(to));
    case 1:
      return concat(bytes.subarray(0, to), bytes.subarray(at));
    case 2:
      return concat(bytes.subarray(0, at), new Uint8Array(random.nextInt(0, 3000)).fill(0x61), bytes.subarray(at));
    default:
      return concat(bytes.subarray(0, at), noise, bytes.subarray(to));
  }
}

function stream(random: Prng): Uint8Array {
  const parts = Array.from({ length: random.nextInt(1, 5) }, () => {
    if (random.chance(0.15)) {
      const noise = new Uint8Array(random.nextInt(0, 3000));
      random.fill(noise);
      return noise;
    }
    const whole = request(random);
    return random.chance(0.5) ? damage(whole, random) : whole;
  });
  return concat(...parts);
}

interface Outcome {
  readonly replies: UapiReply[];
  readonly log: readonly string[];
  readonly status: string;
}

function run(bytes: Uint8Array, cut: () => number): Outcome {
  const device = new FakeDevice();
  device.ownKeyHex = key(5);
  const parser = new RequestParser(device, {
    resolveZone: (name) => (name === 'eth0' ? 2 : null),
    hasRoom: () => device.peers.size < 4,
  });
  const replies: UapiReply[] = [];
  const collect = () => {
    const reply = parser.takeReply();
    if (reply !== null) replies.push(reply);
    return reply !== null;
  };
  for (let at = 0; at < bytes.length; ) {
    const piece = bytes.slice(at, at + cut());
    at += piece.length;
    for (let taken = 0; taken < piece.length; ) {
      const next = parser.feed(piece, taken, NOW);
      if (next <= taken) throw new Error(`no progress at byte ${at - piece.length + taken}`);
      taken = next;
      collect();
    }
    piece.fill(0);
  }
  parser.end(NOW);
  collect();
  return { replies, log: device.log, status: [...formatStatus(device)].join('') };
}

describe('any stream of bytes', () => {
  it(`gives the same result however it is cut (${SEEDS} seeds)`, () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const random = new Prng(seed);
      const bytes = stream(random);
      const whole = run(bytes, () => bytes.length);
      const pieces = run(bytes, () => random.nextInt(1, 50));
      const single = run(bytes, () => 1);
      expect(pieces, `seed ${seed}`).toEqual(whole);
      expect(single, `seed ${seed}`).toEqual(whole);
      expect(
        whole.log.filter((entry) => entry.startsWith('stale')),
        `seed ${seed}`,
      ).toEqual([]);
    }
  });

  it('is refused only for a reason that is named', () => {
    let refused = 0;
    let served = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const bytes = stream(new Prng(seed));
      for (const { refusal } of run(bytes, () => bytes.length).replies) {
        if (refusal === null) served++;
        else {
          refused++;
          expect(refusal.errno).toMatch(/^(EINVAL|EPROTO|ENODEV|ENOSPC)$/);
          expect(refusal.reason.length).toBeGreaterThan(10);
          expect(JSON.stringify(refusal).length).toBeLessThan(400);
        }
      }
    }
    // The generator must reach both sides, else this test says nothing.
    expect(served).toBeGreaterThan(100);
    expect(refused).toBeGreaterThan(100);
  });
});
