// `warren show` against real control sockets: what it prints, for people and as JSON, and that keys stay hidden.

import { rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Instant, WallTime } from '../../src/base/instant.ts';
import type { Endpoint, IpPrefix } from '../../src/base/ip.ts';
import { ago, bytes, show } from '../../src/cli/commands/show.ts';
import { parseStatus } from '../../src/cli/interface-status.ts';
import { UapiSocket } from '../../src/daemon/uapi-socket.ts';
import { now, rememberingLog, temporaryDirectory } from './daemon-fixtures.ts';
import { FakeDevice, type FakePeer, key } from './uapi-fake-device.ts';

const NOW = 1 as Instant;
/** RFC 7748 §6.1: Alice's private key, and the public key that belongs to it. */
const RFC_PRIVATE = '77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a';
const RFC_PUBLIC = '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a';

function configured(): FakeDevice {
  const device = new FakeDevice();
  device.setPrivateKey(Uint8Array.from(Buffer.from(RFC_PRIVATE, 'hex')), NOW);
  device.setListenPort(51820, NOW);
  device.setFwmark(0xca6c, NOW);
  const peer = device.addPeer(key(1), NOW) as FakePeer;
  peer.presharedKeyHex = 'fe'.repeat(32);
  peer.endpoint = '192.0.2.7:51820' as Endpoint;
  peer.lastHandshake = (Date.now() - 65_000) as WallTime;
  peer.rxBytes = 1536;
  peer.txBytes = 5 * 1024 * 1024;
  peer.persistentKeepaliveSeconds = 25;
  device.addAllowedIp(peer, '10.0.0.0/8' as IpPrefix);
  device.addPeer(key(2), NOW);
  return device;
}

async function serve(directory: string, ifname: string, device: FakeDevice): Promise<void> {
  const socket = await UapiSocket.open<FakePeer>({
    ifname,
    directory,
    device,
    now,
    environment: { resolveZone: () => null, hasRoom: () => true },
    log: rememberingLog().log,
    onDeleted: () => undefined,
  });
  onTestFinished(() => socket.closeNow());
}

async function run(directory: string, ...args: string[]): Promise<{ code: number; out: string; error: string }> {
  let out = '';
  let error = '';
  const io = {
    env: {},
    argv: args,
    out: (text: string) => {
      out += text;
    },
    error: (text: string) => {
      error += text;
    },
    interactive: false,
  };
  return { code: await show(args, io, directory), out, error };
}

const PRIVATE_BASE64 = Buffer.from(RFC_PRIVATE, 'hex').toString('base64');
const PRESHARED_BASE64 = Buffer.from('fe'.repeat(32), 'hex').toString('base64');

describe('one interface', () => {
  it('for a person', async () => {
    const directory = temporaryDirectory();
    await serve(directory, 'wg0', configured());
    const { code, out, error } = await run(directory, 'wg0');
    expect([code, error]).toEqual([0, '']);
    expect(out).toMatch(/^wg0\n {2}public key: [\w+/]{43}=\n {2}port: 51820\n {2}fwmark: 0xca6c\n/);
    expect(out).toContain('    endpoint: 192.0.2.7:51820\n    allowed IPs: 10.0.0.0/8\n');
    expect(out).toMatch(
      /latest handshake: 1 min [5-9] s ago\n {4}received 1\.50 KiB, sent 5\.00 MiB\n {4}keepalive: every 25 s/,
    );
    expect(out).toContain('    endpoint: unknown\n    allowed IPs: none\n    latest handshake: never\n');
    expect(out).toContain('preshared key: (hidden)');
  });

  it('as JSON', async () => {
    const directory = temporaryDirectory();
    await serve(directory, 'wg0', configured());
    const { out } = await run(directory, '--json', 'wg0');
    expect(JSON.parse(out)).toMatchObject({
      interface: 'wg0',
      listenPort: 51820,
      fwmark: 51820,
      peers: [
        {
          publicKey: Buffer.from(key(1), 'hex').toString('base64'),
          hasPresharedKey: true,
          endpoint: '192.0.2.7:51820',
          allowedIps: ['10.0.0.0/8'],
          rxBytes: 1536,
          txBytes: 5_242_880,
          persistentKeepaliveSeconds: 25,
        },
        { endpoint: null, allowedIps: [], latestHandshake: null, hasPresharedKey: false },
      ],
    });
  });

  it('shows secret keys only when it is asked to', async () => {
    const directory = temporaryDirectory();
    await serve(directory, 'wg0', configured());
    for (const args of [['wg0'], ['--json', 'wg0'], [], ['--json']]) {
      const { out } = await run(directory, ...args);
      expect(out).not.toContain(PRIVATE_BASE64);
      expect(out).not.toContain(PRESHARED_BASE64);
      const asked = await run(directory, '--show-keys', ...args);
      expect(asked.out).toContain(PRIVATE_BASE64);
      expect(asked.out).toContain(PRESHARED_BASE64);
    }
  });

  it('that is not there, whose owner died, or that answers nonsense, says what to do', async () => {
    const directory = temporaryDirectory();
    expect(await run(directory, 'wg9')).toMatchObject({
      code: 1,
      out: '',
      error: expect.stringContaining('warren wg wg9'),
    });
    const server = createServer((client) => client.end('public_key=zz\nerrno=0\n\n'));
    await new Promise<void>((resolve) => server.listen({ path: join(directory, 'odd.sock') }, resolve));
    onTestFinished(() => {
      server.close();
    });
    expect(await run(directory, 'odd')).toMatchObject({ code: 1, error: expect.stringContaining('malformed key') });
  });
});

describe('all interfaces', () => {
  it('are shown, without those that are left over', async () => {
    const directory = temporaryDirectory();
    await serve(directory, 'wgb', new FakeDevice());
    await serve(directory, 'wga', configured());
    writeFileSync(join(directory, 'dead.sock'), '');
    const { code, out } = await run(directory, '--json');
    expect(code).toBe(0);
    expect((JSON.parse(out) as { interface: string }[]).map((status) => status.interface)).toEqual(['wga', 'wgb']);
    const text = (await run(directory)).out;
    expect(text.indexOf('wga\n')).toBe(0);
    expect(text).toContain('\nwgb\n  public key: none yet\n');
  });

  it('may be none', async () => {
    const directory = temporaryDirectory();
    expect(await run(directory, '--json')).toEqual({ code: 0, out: '[]\n', error: '' });
    rmSync(directory, { recursive: true });
    expect(await run(directory)).toEqual({ code: 0, out: '', error: 'no userspace WireGuard interface is up\n' });
  });
});

describe('details', () => {
  it('derives the public key (RFC 7748 §6.1)', () => {
    const status = parseStatus('wg0', `private_key=${RFC_PRIVATE}\nerrno=0\n\n`);
    expect(Buffer.from(status.publicKey ?? '', 'base64').toString('hex')).toBe(RFC_PUBLIC);
  });

  it('refuses an answer with an error', () => {
    expect(() => parseStatus('wg0', 'errno=5\n\n')).toThrow('errno 5');
  });

  it('spells times and amounts', () => {
    expect([0, 999, 1000, 61_000, 3_600_000, 90_061_000, -1].map(ago)).toEqual([
      'now',
      'now',
      '1 s ago',
      '1 min 1 s ago',
      '1 h ago',
      '1 d 1 h ago',
      'in the future: the clock was set back',
    ]);
    expect([0, 1023, 1024, 10_240, 2 ** 40].map(bytes)).toEqual(['0 B', '1023 B', '1.00 KiB', '10.0 KiB', '1.00 TiB']);
  });
});
