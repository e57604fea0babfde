// What a controller is told at its start, and what it makes of the machine that it is on: addresses to listen on, ranges for the
// network, collisions, certificates, the URL for join links, where a connection comes from.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { IpPrefix } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import { publicUrl } from '../../../src/controller/listener.ts';
import {
  firstSettings,
  PREFIX4_DEFAULT,
  parseNetwork,
  randomUla,
  refuseCollision,
} from '../../../src/controller/network-range.ts';
import { addressesOf, hostMax } from '../../../src/controller/state/addresses.ts';
import { overlaps } from '../../../src/protocol/mesh-range.ts';
import { prefixSchema } from '../../../src/protocol/values.ts';
import { listenError, parseListen, readCertificate, showListen } from '../../../src/service/listen.ts';
import { canonicalAddress, clientAddress, sourceOf } from '../../../src/service/remote-address.ts';
import { StartError } from '../../../src/service/start-error.ts';

const prefix = (text: string): IpPrefix => text as IpPrefix;

describe('--listen', () => {
  test.each([
    ['127.0.0.1:80', '127.0.0.1', 80],
    ['[::1]:7370', '::1', 7370],
    ['[2001:DB8::0:1]:1', '2001:db8::1', 1],
    [':7370', '::', 7370],
    ['0.0.0.0:0', '0.0.0.0', 0],
  ])('%s', (text, host, port) => {
    expect(parseListen(text)).toEqual({ host, port });
  });

  test.each(['', '7370', '127.0.0.1', '::1:7370', '[127.0.0.1]:1', '1.2.3:4', ':65536', 'localhost:1', '[::1]', ' :1'])(
    'not %j',
    (text) => {
      expect(parseListen(text)).toBeNull();
    },
  );

  test('is shown as it is given', () => {
    for (const text of ['127.0.0.1:80', '[::1]:7370']) {
      expect(showListen(parseListen(text) as NonNullable<ReturnType<typeof parseListen>>)).toBe(text);
    }
  });

  test.each([
    ['EADDRINUSE', 'port 7370 is in use'],
    ['EACCES', 'CAP_NET_BIND_SERVICE'],
    ['EADDRNOTAVAIL', 'no interface of this machine'],
    ['EWHATEVER', 'listen EWHATEVER'],
  ])('%s is explained', (code, why) => {
    const error = listenError(
      Object.assign(new Error(`listen ${code}`), { code }),
      { host: '::', port: 7370 },
      '--listen',
    );
    expect(error.what).toBe('cannot listen on [::]:7370');
    expect(error.why).toContain(why);
    expect(error.help).not.toBe('');
  });
});

describe('the network', () => {
  test('one range or both, in any order, host bits cleared', () => {
    expect(parseNetwork('10.90.1.2/16')).toEqual({ prefix4: '10.90.0.0/16' });
    expect(parseNetwork('fd00:1::/64, 10.0.0.0/8')).toEqual({ prefix4: '10.0.0.0/8', prefix6: 'fd00:1::/64' });
  });

  test('the smallest that is taken holds a machine', () => {
    const range = { prefix4: prefix('10.0.0.0/30'), prefix6: prefix('fd00::/126'), ...parseNetwork('10.0.0.0/30') };
    const settings = firstSettings(range, false, (out) => out.fill(7));
    expect(hostMax(settings)).toBe(2);
    expect(addressesOf(settings, 2)).toEqual({ address4: '10.0.0.2', address6: 'fd00::2' });
  });

  test('every range that a seeded generator makes of it is used or refused with a reason', () => {
    const prng = new Prng(4);
    let used = 0;
    for (let i = 0; i < 500; i++) {
      const bits = prng.nextInt(0, 32);
      const text = `${prng.nextInt(0, 255)}.${prng.nextInt(0, 255)}.0.0/${bits}`;
      try {
        expect(prefixSchema.safeParse(parseNetwork(text).prefix4).success).toBe(true);
        used++;
      } catch (error) {
        expect(error).toBeInstanceOf(StartError);
      }
    }
    expect(used).toBeGreaterThan(100);
    expect(used).toBeLessThan(450);
  });

  test('the default is fit, and its IPv6 range is a random ULA', () => {
    const prng = new Prng(1);
    const [one, two] = [0, 1].map(() => randomUla((out) => prng.fill(out)));
    expect(one).toMatch(/^fd[0-9a-f:]+\/48$/);
    expect(one).not.toBe(two);
    expect(parseNetwork(`${PREFIX4_DEFAULT},${one}`)).toEqual({ prefix4: PREFIX4_DEFAULT, prefix6: one });
  });

  test('overlap is seen in both directions and in neither family wrongly', () => {
    expect(overlaps(prefix('10.0.0.0/8'), prefix('10.1.0.0/16'))).toBe(true);
    expect(overlaps(prefix('10.1.0.0/16'), prefix('10.0.0.0/8'))).toBe(true);
    expect(overlaps(prefix('10.1.0.0/16'), prefix('10.2.0.0/16'))).toBe(false);
    expect(overlaps(prefix('0.0.0.0/0'), prefix('::/0'))).toBe(false);
  });

  test('a network that this machine is in already is refused, with its interface and what to do', () => {
    const range = { prefix4: prefix('192.168.0.0/16'), prefix6: prefix('fd00::/48') };
    const local = [
      { interface: 'lo0', prefix: prefix('10.0.0.0/8') },
      { interface: 'eth7', prefix: prefix('192.168.178.0/24') },
    ];
    expect(() => refuseCollision(range, local.slice(0, 1))).not.toThrow();
    try {
      refuseCollision(range, local);
      throw new Error('it was not refused');
    } catch (error) {
      expect(error).toMatchObject({ name: 'StartError' });
      expect((error as StartError).why).toContain('eth7');
      expect((error as StartError).why).toContain('192.168.178.0/24');
      expect((error as StartError).help).toContain('--network');
    }
  });
});

describe('the URL for join links', () => {
  test('is what the person says, or the address that it listens on', () => {
    const at = { host: '192.0.2.1', port: 7370 };
    expect(publicUrl('https://mesh.example:443', at, false, [])).toBe('https://mesh.example:443');
    expect(publicUrl(null, at, false, [])).toBe('http://192.0.2.1:7370');
    expect(publicUrl(null, { host: '2001:db8::1', port: 443 }, true, [])).toBe('https://[2001:db8::1]:443');
  });

  test('is never an address of the mesh itself, nor of this machine alone when there is another', () => {
    const guess = publicUrl(null, { host: '::', port: 7370 }, false, []);
    expect(guess).toMatch(/^http:\/\/.+:7370$/);
    expect(publicUrl(null, { host: '::', port: 7370 }, false, [prefix('0.0.0.0/0'), prefix('::/0')])).toBe(
      'http://127.0.0.1:7370',
    );
  });
});

describe('a certificate', () => {
  test('that has expired, is none or is not there is refused before anything is opened', () => {
    const directory = mkdtempSync(join(tmpdir(), 'warren-certificate-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const files = { cert: join(directory, 'cert.pem'), key: join(directory, 'key.pem') };
    expect(() => readCertificate(files, 0)).toThrow('there is no such file');
    writeFileSync(files.cert, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
    writeFileSync(files.key, 'x');
    expect(() => readCertificate(files, 0)).toThrow('cannot use the certificate');
  });
});

describe('where a connection comes from', () => {
  test('IPv4 in IPv6 is IPv4, and zones are dropped', () => {
    expect(canonicalAddress('::ffff:192.0.2.1')).toBe('192.0.2.1');
    expect(canonicalAddress('fe80::1%eth0')).toBe('fe80::1');
    expect(canonicalAddress(undefined)).toBeNull();
  });

  test('one machine of IPv6 may have a whole /64', () => {
    expect(sourceOf(canonicalAddress('2001:db8:1:2:3::4') as NonNullable<ReturnType<typeof canonicalAddress>>)).toBe(
      '2001:db8:1:2::/64',
    );
  });

  test('only a proxy on this machine is believed, and only its own last word', () => {
    expect(clientAddress('::ffff:127.0.0.1', '10.0.0.1, 203.0.113.9')).toBe('203.0.113.9');
    expect(clientAddress('::1', '2001:db8::9')).toBe('2001:db8::9');
    expect(clientAddress('127.0.0.1', 'nonsense')).toBe('127.0.0.1');
    expect(clientAddress('127.0.0.1', undefined)).toBe('127.0.0.1');
    expect(clientAddress('198.51.100.1', '203.0.113.9')).toBe('198.51.100.1');
  });
});
