// The requests of the cross-platform configuration protocol (https://www.wireguard.com/xplatform/) as `wg` makes them, and
// as careless or hostile clients do. Checklist 40 to 43 and 45.

import { describe, expect, it } from 'vitest';
import { ascii } from '../../src/base/bytes.ts';
import type { Instant } from '../../src/base/instant.ts';
import { formatErrno } from '../../src/wireguard/uapi/errno.ts';
import { RequestParser, type UapiReply } from '../../src/wireguard/uapi/request-parser.ts';
import { FakeDevice, key } from './uapi-fake-device.ts';

const NOW = 1 as Instant;
const PRIVATE = `77${'5a'.repeat(31)}`;
const PEERS_MAX = 3;
const ZONES = new Map([['eth0', 2]]);

function parserFor(device: FakeDevice): RequestParser<unknown> {
  return new RequestParser(device, {
    resolveZone: (name) => ZONES.get(name) ?? null,
    hasRoom: () => device.peers.size < PEERS_MAX,
  });
}

/** Feeds `input` as one piece and gives back every reply. */
function exchange(device: FakeDevice, input: string, parser = parserFor(device)): UapiReply[] {
  const bytes = ascii(input);
  const replies: UapiReply[] = [];
  for (let at = 0; at < bytes.length; ) {
    at = parser.feed(bytes, at, NOW);
    const reply = parser.takeReply();
    if (reply !== null) replies.push(reply);
  }
  return replies;
}

function set(device: FakeDevice, ...lines: string[]): UapiReply {
  const replies = exchange(device, `set=1\n${lines.map((line) => `${line}\n`).join('')}\n`);
  expect(replies).toHaveLength(1);
  return replies[0] as UapiReply;
}

describe('set', () => {
  it('applies a device and two peers in the order of the lines', () => {
    const device = new FakeDevice();
    const reply = set(
      device,
      `private_key=${PRIVATE}`,
      'listen_port=51820',
      'fwmark=51820',
      'replace_peers=true',
      `public_key=${key(1)}`,
      `preshared_key=${'0c'.repeat(32)}`,
      'endpoint=192.0.2.1:51821',
      'persistent_keepalive_interval=25',
      'replace_allowed_ips=true',
      'allowed_ip=10.0.0.1/32',
      'allowed_ip=fd00::1/128',
      `public_key=${key(2)}`,
      'endpoint=[2001:db8::2]:1',
      'allowed_ip=0.0.0.0/0',
    );
    expect(reply).toEqual({ operation: 'set', refusal: null });
    expect(device.log).toEqual([
      `private_key ${PRIVATE}`,
      'listen_port 51820',
      'fwmark 51820',
      'all peers removed',
      '0001 added',
      `0001 preshared_key ${'0c'.repeat(32)}`,
      '0001 endpoint 192.0.2.1:51821',
      '0001 keepalive 25',
      '0001 no allowed_ips',
      '0001 allowed_ip +10.0.0.1/32',
      '0001 allowed_ip +fd00::1/128',
      '0001 configured',
      '0002 added',
      '0002 endpoint [2001:db8::2]:1',
      '0002 allowed_ip +0.0.0.0/0',
      '0002 configured',
    ]);
  });

  it('adds a peer of which nothing but the key is said', () => {
    const device = new FakeDevice();
    expect(set(device, `public_key=${key(1)}`).refusal).toBeNull();
    expect(device.log).toEqual(['0001 added', '0001 configured']);
  });

  it('takes keys in upper case for the same peer', () => {
    const device = new FakeDevice();
    set(device, `public_key=${key(0xab)}`);
    set(device, `public_key=${key(0xab).toUpperCase()}`, 'persistent_keepalive_interval=5');
    expect(device.peers.size).toBe(1);
    expect(device.peers.get(key(0xab))?.persistentKeepaliveSeconds).toBe(5);
  });

  it('removes the private key that is all zeros', () => {
    const device = new FakeDevice();
    set(device, `private_key=${PRIVATE}`);
    set(device, `private_key=${'0'.repeat(64)}`);
    expect(device.privateKeyHex()).toBeNull();
  });

  it('selects the same peer again when a long list is sent in parts', () => {
    const device = new FakeDevice();
    set(
      device,
      `public_key=${key(1)}`,
      'replace_allowed_ips=true',
      'allowed_ip=10.0.0.0/24',
      `public_key=${key(1)}`,
      'allowed_ip=10.0.1.0/24',
    );
    expect([...(device.peers.get(key(1))?.allowedIps ?? [])]).toEqual(['10.0.0.0/24', '10.0.1.0/24']);
  });

  it('clears the prefixes where replace_allowed_ips stands, not before', () => {
    const device = new FakeDevice();
    set(device, `public_key=${key(1)}`, 'allowed_ip=10.0.0.0/8', 'replace_allowed_ips=true', 'allowed_ip=10.1.0.0/16');
    expect([...(device.peers.get(key(1))?.allowedIps ?? [])]).toEqual(['10.1.0.0/16']);
  });

  it('takes a prefix away with a minus sign and clears host bits', () => {
    const device = new FakeDevice();
    set(device, `public_key=${key(1)}`, 'allowed_ip=10.0.0.0/8', 'allowed_ip=10.1.2.3/16', 'allowed_ip=-10.0.0.0/8');
    expect([...(device.peers.get(key(1))?.allowedIps ?? [])]).toEqual(['10.1.0.0/16']);
  });

  it('does not add an unknown peer for update_only, and ignores its lines', () => {
    const device = new FakeDevice();
    set(device, `public_key=${key(1)}`, 'allowed_ip=10.0.0.0/8');
    device.log.length = 0;
    const reply = set(
      device,
      `public_key=${key(2)}`,
      'update_only=true',
      'allowed_ip=10.0.0.0/8',
      'endpoint=192.0.2.1:1',
    );
    expect(reply.refusal).toBeNull();
    expect(device.log).toEqual([]);
    expect(device.peers.get(key(1))?.allowedIps.has('10.0.0.0/8' as never)).toBe(true);
  });

  it('updates a known peer for update_only', () => {
    const device = new FakeDevice();
    set(device, `public_key=${key(1)}`);
    set(device, `public_key=${key(1)}`, 'update_only=true', 'persistent_keepalive_interval=7');
    expect(device.peers.get(key(1))?.persistentKeepaliveSeconds).toBe(7);
  });

  it('takes back a peer that was added before update_only came', () => {
    const device = new FakeDevice();
    set(device, `public_key=${key(1)}`, 'persistent_keepalive_interval=7', 'update_only=true', 'endpoint=192.0.2.1:1');
    expect(device.peers.size).toBe(0);
    expect(device.log).not.toContainEqual(expect.stringContaining('stale'));
  });

  it('removes a peer, and finds no fault with removing an unknown one', () => {
    const device = new FakeDevice();
    set(device, `public_key=${key(1)}`);
    expect(set(device, `public_key=${key(1)}`, 'remove=true', 'endpoint=192.0.2.1:1').refusal).toBeNull();
    expect(device.peers.size).toBe(0);
    expect(set(device, `public_key=${key(2)}`, 'remove=true').refusal).toBeNull();
    expect(device.log.filter((entry) => entry.startsWith('0002'))).toEqual([]);
    expect(device.log).not.toContainEqual(expect.stringContaining('stale'));
  });

  it('goes on as if it were there when the key is our own', () => {
    const device = new FakeDevice();
    device.ownKeyHex = key(9);
    expect(set(device, `public_key=${key(9)}`, 'allowed_ip=10.0.0.0/8', `public_key=${key(1)}`).refusal).toBeNull();
    expect(device.log).toEqual(['0001 added', '0001 configured']);
  });

  it('resolves the zone of a link-local endpoint', () => {
    const device = new FakeDevice();
    set(device, `public_key=${key(1)}`, 'endpoint=[fe80::1%eth0]:51820');
    expect(device.peers.get(key(1))?.endpoint).toBe('[fe80::1%2]:51820');
    set(device, `public_key=${key(1)}`, 'endpoint=[fe80::1%7]:51820');
    expect(device.peers.get(key(1))?.endpoint).toBe('[fe80::1%7]:51820');
  });

  it('refuses one peer more than the device can have, and goes on with those it has', () => {
    const device = new FakeDevice();
    const all = [1, 2, 3].map((number) => `public_key=${key(number)}`);
    expect(set(device, ...all).refusal).toBeNull();
    expect(set(device, ...all, `public_key=${key(4)}`).refusal).toMatchObject({ errno: 'ENOSPC', key: 'public_key' });
    expect(set(device, ...all, `public_key=${key(2)}`, 'remove=true', `public_key=${key(4)}`).refusal).toBeNull();
  });

  it('leaves a peer alone that another request removed in between', () => {
    const device = new FakeDevice();
    const slow = parserFor(device);
    expect(exchange(device, `set=1\npublic_key=${key(1)}\nallowed_ip=10.0.0.0/8\n`, slow)).toEqual([]);
    set(device, `public_key=${key(1)}`, 'remove=true');
    expect(exchange(device, 'allowed_ip=10.1.0.0/16\n\n', slow)).toHaveLength(1);
    expect(device.log).not.toContainEqual(expect.stringContaining('stale'));
    expect(device.peers.size).toBe(0);
  });
});

describe('a refused line', () => {
  const refused = (lines: string[], device = new FakeDevice()) => {
    const reply = set(device, ...lines);
    return { device, refusal: reply.refusal };
  };

  it.each([
    ['private_key', `private_key=${'5'.repeat(63)}`, 'EINVAL'],
    ['private_key', `private_key=${'g'.repeat(64)}`, 'EINVAL'],
    ['listen_port', 'listen_port=65536', 'EINVAL'],
    ['listen_port', 'listen_port=-1', 'EINVAL'],
    ['listen_port', 'listen_port=', 'EINVAL'],
    ['fwmark', 'fwmark=0x10', 'EINVAL'],
    ['fwmark', 'fwmark=4294967296', 'EINVAL'],
    ['replace_peers', 'replace_peers=false', 'EINVAL'],
    ['public_key', 'public_key=abcd', 'EINVAL'],
    ['endpoint', 'endpoint=192.0.2.1:1', 'EINVAL'],
    ['colour', 'colour=blue', 'EINVAL'],
    ['', 'no equals sign', 'EPROTO'],
  ])('of the device: %s', (name, line, errno) => {
    const { device, refusal } = refused([line, 'fwmark=7']);
    expect(refusal).toMatchObject({ key: name, errno, line: 2, peer: null });
    expect(device.log).toEqual([]);
  });

  it.each([
    ['preshared_key', `preshared_key=${'0'.repeat(65)}`, 'EINVAL'],
    ['endpoint', 'endpoint=192.0.2.1', 'EINVAL'],
    ['endpoint', 'endpoint=192.0.2.1:0', 'EINVAL'],
    ['endpoint', 'endpoint=example.org:1', 'EINVAL'],
    ['endpoint', 'endpoint=2001:db8::1:1', 'EINVAL'],
    ['endpoint', 'endpoint=[fe80::1%nosuch]:1', 'ENODEV'],
    ['persistent_keepalive_interval', 'persistent_keepalive_interval=off', 'EINVAL'],
    ['persistent_keepalive_interval', 'persistent_keepalive_interval=65536', 'EINVAL'],
    ['allowed_ip', 'allowed_ip=10.0.0.0/33', 'EINVAL'],
    ['allowed_ip', 'allowed_ip=10.0.0/8', 'EINVAL'],
    ['allowed_ip', 'allowed_ip=', 'EINVAL'],
    ['replace_allowed_ips', 'replace_allowed_ips=1', 'EINVAL'],
    ['update_only', 'update_only=yes', 'EINVAL'],
    ['remove', 'remove=', 'EINVAL'],
    ['protocol_version', 'protocol_version=2', 'EINVAL'],
    ['listen_port', 'listen_port=1', 'EINVAL'],
  ])('of a peer: %s', (name, line, errno) => {
    const { device, refusal } = refused([
      `public_key=${key(1)}`,
      line,
      'allowed_ip=10.0.0.0/8',
      `public_key=${key(2)}`,
    ]);
    expect(refusal).toMatchObject({ key: name, errno, line: 3 });
    expect(refusal?.peer).toBe(Buffer.from(key(1), 'hex').toString('base64'));
    expect(device.log).toEqual([]);
  });

  it('keeps what was applied before it, and lets that take effect', () => {
    const { device, refusal } = refused([
      'fwmark=3',
      `public_key=${key(1)}`,
      'persistent_keepalive_interval=9',
      'endpoint=?',
    ]);
    expect(refusal?.key).toBe('endpoint');
    expect(device.log).toEqual(['fwmark 3', '0001 added', '0001 keepalive 9', '0001 configured']);
  });

  it('answers once, and the next request on the connection is a new one', () => {
    const device = new FakeDevice();
    const replies = exchange(device, 'set=1\nfwmark=x\nfwmark=y\nfwmark=1\n\nset=1\nfwmark=2\n\nget=1\n\n');
    expect(replies.map((reply) => [reply.operation, reply.refusal?.line ?? null])).toEqual([
      ['set', 2],
      ['set', null],
      ['get', null],
    ]);
    expect(device.log).toEqual(['fwmark 2']);
  });

  it('names the errno of binding', () => {
    const device = new FakeDevice();
    device.bindErrno = 'EADDRINUSE';
    const reply = set(device, 'listen_port=53');
    expect(reply.refusal).toMatchObject({ errno: 'EADDRINUSE', key: 'listen_port' });
  });

  it('never shows a secret, wherever it stands', () => {
    const secret = 'c0ffee'.repeat(11);
    for (const lines of [
      [`private_key=${secret}`],
      [`public_key=${key(1)}`, `preshared_key=${secret}`],
      [`public_key=${key(1)}`, `private_key=${secret}`],
      [`PrivateKey=${secret}`],
      [secret],
    ]) {
      const { refusal } = refused(lines);
      expect(refusal).not.toBeNull();
      expect(JSON.stringify(refusal)).not.toContain('c0ffee');
    }
    const device = new FakeDevice();
    const [reply] = exchange(device, `${secret}\n\n`);
    expect(JSON.stringify(reply)).not.toContain('c0ffee');
  });
});

describe('the shape of requests', () => {
  it('asks for an empty line after get', () => {
    const device = new FakeDevice();
    expect(exchange(device, 'get=1\n')).toEqual([]);
    const [reply] = exchange(device, 'get=1\nfwmark=1\n\n');
    expect(reply).toMatchObject({ operation: 'get', refusal: { errno: 'EINVAL' } });
  });

  it.each(['get=2\n\n', 'GET=1\n\n', '\n', 'set\n\n'])('refuses the operation %j', (input) => {
    const replies = exchange(new FakeDevice(), input);
    expect(replies).toHaveLength(1);
    expect(replies[0]).toMatchObject({ operation: 'unknown', refusal: { errno: 'EPROTO', line: 1 } });
  });

  it('refuses a line of more than 1,024 bytes and takes one of 1,024', () => {
    const device = new FakeDevice();
    expect(set(device, `x=${'1'.repeat(1022)}`).refusal).toMatchObject({ errno: 'EINVAL', line: 2 });
    expect(set(device, `fwmark=${'1'.repeat(1018)}`).refusal).toMatchObject({ errno: 'EPROTO', line: 2 });
    expect(set(device, 'fwmark=4').refusal).toBeNull();
  });

  it('throws an endless line away as it comes', () => {
    const device = new FakeDevice();
    const parser = parserFor(device);
    const piece = new Uint8Array(65_536).fill(0x61);
    for (let i = 0; i < 100; i++) expect(parser.feed(piece, 0, NOW)).toBe(piece.length);
    expect(parser.takeReply()).toBeNull();
    expect(exchange(device, '\n\nset=1\nfwmark=5\n\n', parser)).toMatchObject([
      { operation: 'unknown', refusal: { errno: 'EPROTO' } },
      { operation: 'set', refusal: null },
    ]);
  });

  it('takes the end of the stream between two lines for the end of a set', () => {
    const device = new FakeDevice();
    const parser = parserFor(device);
    exchange(device, `set=1\npublic_key=${key(1)}\n`, parser);
    parser.end(NOW);
    expect(parser.takeReply()).toEqual({ operation: 'set', refusal: null });
    expect(device.log).toEqual(['0001 added', '0001 configured']);
  });

  it('does not apply a line that the end of the stream cuts short', () => {
    const device = new FakeDevice();
    const parser = parserFor(device);
    exchange(device, `set=1\npublic_key=${key(1)}\nallowed_ip=10.0.0.0/1`, parser);
    parser.end(NOW);
    expect(parser.takeReply()).toMatchObject({ operation: 'set', refusal: { errno: 'EPROTO' } });
    expect(device.log).toEqual([]);
  });

  it('has nothing to answer when the stream ends between requests', () => {
    const parser = parserFor(new FakeDevice());
    parser.end(NOW);
    expect(parser.takeReply()).toBeNull();
  });
});

describe('errno', () => {
  it('has the sign from which wg makes the name of the error', () => {
    expect(formatErrno('set', null)).toBe('errno=0\n\n');
    expect(formatErrno('set', 'EINVAL')).toBe('errno=-22\n\n');
    expect(formatErrno('set', 'EADDRINUSE')).toBe('errno=-98\n\n');
    expect(formatErrno('get', 'EINVAL')).toBe('errno=22\n\n');
    expect(formatErrno('unknown', 'EPROTO')).toBe('errno=-71\n\n');
    expect(formatErrno('set', 'toString')).toBe('errno=-5\n\n');
  });
});
