// The answer to `get=1` (https://www.wireguard.com/xplatform/): what `wg show` and `wg showconf` read. Checklist 40 and 45.

import { expect, it } from 'vitest';
import type { Instant, WallTime } from '../../src/base/instant.ts';
import type { Endpoint, IpPrefix } from '../../src/base/ip.ts';
import { formatStatus } from '../../src/wireguard/uapi/status-format.ts';
import { FakeDevice, type FakePeer, key } from './uapi-fake-device.ts';

const NOW = 1 as Instant;

it('is one line of errno for a device that knows nothing', () => {
  expect([...formatStatus(new FakeDevice())]).toEqual(['errno=0\n\n']);
});

it('tells everything, with rx, tx and times each in their place', () => {
  const device = new FakeDevice();
  device.setPrivateKey(new Uint8Array(32).fill(0x58), NOW);
  device.setListenPort(51820, NOW);
  device.setFwmark(0xca6c, NOW);
  const peer = device.addPeer(key(1), NOW) as FakePeer;
  peer.presharedKeyHex = '0d'.repeat(32);
  peer.endpoint = '[2001:db8::1]:51821' as Endpoint;
  peer.rxBytes = 2 ** 40 + 1;
  peer.txBytes = 22;
  peer.persistentKeepaliveSeconds = 25;
  peer.lastHandshake = 1_700_000_000_250 as WallTime;
  device.addAllowedIp(peer, '10.0.0.0/8' as IpPrefix);
  device.addAllowedIp(peer, 'fd00::/64' as IpPrefix);
  device.addPeer(key(2), NOW);
  expect([...formatStatus(device)].join('')).toBe(
    [
      `private_key=${'58'.repeat(32)}`,
      'listen_port=51820',
      'fwmark=51820',
      `public_key=${key(1)}`,
      `preshared_key=${'0d'.repeat(32)}`,
      'protocol_version=1',
      'endpoint=[2001:db8::1]:51821',
      'last_handshake_time_sec=1700000000',
      'last_handshake_time_nsec=250000000',
      'tx_bytes=22',
      'rx_bytes=1099511627777',
      'persistent_keepalive_interval=25',
      'allowed_ip=10.0.0.0/8',
      'allowed_ip=fd00::/64',
      `public_key=${key(2)}`,
      `preshared_key=${'0'.repeat(64)}`,
      'protocol_version=1',
      'last_handshake_time_sec=0',
      'last_handshake_time_nsec=0',
      'tx_bytes=0',
      'rx_bytes=0',
      'persistent_keepalive_interval=0',
      'errno=0',
      '',
      '',
    ].join('\n'),
  );
});

it('comes in chunks that end between peers, and survives peers that go meanwhile', () => {
  const device = new FakeDevice();
  device.logging = false;
  for (let i = 0; i < 2000; i++) device.addPeer(key(i), NOW);
  const chunks: string[] = [];
  for (const chunk of formatStatus(device, 10_000)) {
    chunks.push(chunk);
    if (chunks.length === 2) for (let i = 1000; i < 1500; i++) device.removePeer(device.peer(key(i)) as FakePeer, NOW);
  }
  expect(chunks.length).toBeGreaterThan(10);
  for (const chunk of chunks) {
    expect(chunk.length).toBeLessThan(11_000);
    expect(chunk).toMatch(/^(public_key|errno)=/);
    expect(chunk.endsWith('\n')).toBe(true);
  }
  expect(chunks.join('').match(/^public_key=/gm)).toHaveLength(1500);
});
