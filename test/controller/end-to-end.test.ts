// The whole of it over loopback: `warren controller` as a process, members with the daemon's own link, the admin socket, and what a
// person reads when something is wrong.

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { PublicKey } from '../../src/crypto/provider.ts';
import { decodeStun, encodeRequest } from '../../src/path/stun/message.ts';
import type { NodeView } from '../../src/protocol/admin-api.ts';
import { administer, ControllerProcess, temporaryDirectory } from './lib/controller-process.ts';
import { joining, Member } from './lib/member.ts';

const ANY_PORT = ['--listen', '127.0.0.1:0'];

async function begin(...args: string[]) {
  const directory = join(temporaryDirectory(), 'data');
  const started = await ControllerProcess.ready(['--data', directory, ...ANY_PORT, ...args]);
  return { directory, ...started, joining: joining(started.ready.joinLink) };
}

/** One request; the port that it came from with the answer. */
async function askStun(port: number): Promise<{ asked: number; answer: Uint8Array }> {
  const socket = createSocket('udp4');
  onTestFinished(() => {
    socket.close();
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return await new Promise((resolve) => {
    socket.once('message', (answer) => resolve({ asked: socket.address().port, answer }));
    socket.send(encodeRequest(new Uint8Array(randomBytes(12))), port, '127.0.0.1');
  });
}

/** The same data on the same port. */
async function again(directory: string, listening: string) {
  return await ControllerProcess.ready(['--data', directory, '--listen', listening]);
}

describe('a network', () => {
  test('two machines join with the first link, see each other, and resume after a restart without a snapshot', async () => {
    const { directory, process, ready, joining: link } = await begin();
    const alice = await new Member('alice').join(link);
    const bob = await new Member('bob').join(link);
    await alice.until(() => alice.nodes.size === 2);
    expect([...alice.nodes.values()].map(({ name }) => name).sort()).toEqual(['alice', 'bob']);
    expect(alice.welcome?.self.publicKey).toBe(alice.publicKey);
    expect(alice.welcome?.network).toMatchObject(ready.network);
    expect([alice.snapshots, bob.snapshots]).toEqual([1, 1]);

    const exit = await process.stop();
    expect(exit).toMatchObject({ code: 0, error: '' });
    await alice.until(() => alice.messages.some((m) => m.type === 'error' && m.code === 'goingAway'));

    const second = await again(directory, ready.listening);
    expect(second.ready).toMatchObject({ publicKey: ready.publicKey, joinLink: null, network: ready.network });
    // Without an auth key: the machine's key is known.
    await alice.join({ ...link, authKey: null });
    await bob.join({ ...link, authKey: null });
    expect([alice.snapshots, bob.snapshots]).toEqual([1, 1]);
    const carol = await new Member('carol').join(link);
    await alice.until(() => alice.nodes.size === 3);
    expect(carol.nodes.size).toBe(3);
    expect(alice.snapshots).toBe(1);
  });

  test('administration through the socket reaches the members', async () => {
    const { directory, joining: link } = await begin();
    const alice = await new Member('alice').join(link);
    const bob = await new Member('bob').join(link);
    await alice.until(() => alice.nodes.size === 2);
    const bobId = bob.welcome?.self.id as number;
    const renamed = await administer(directory, 'PATCH', `/nodes/${bobId}`, { name: 'robert' });
    expect(renamed.status).toBe(200);
    await alice.until(() => [...alice.nodes.values()].some(({ name }) => name === 'robert'));
    expect((await administer(directory, 'DELETE', `/nodes/${bobId}`)).status).toBeLessThan(300);
    await alice.until(() => alice.nodes.size === 1);
    await expect(bob.until(() => false)).rejects.toThrow('was closed');
    expect(bob.messages.at(-1)).toMatchObject({ type: 'error', code: 'nodeRemoved' });
    const listed = (await administer(directory, 'GET', '/nodes')).body as NodeView[];
    expect(JSON.stringify(listed)).not.toContain('robert');
  });

  test('files are for their owner alone, and nothing printed or logged holds a key but the one join link', async () => {
    const directory = join(temporaryDirectory(), 'data');
    const controller = new ControllerProcess(['--data', directory, ...ANY_PORT], { LOG_LEVEL: 'debug' });
    onTestFinished(() => controller.kill());
    await expect.poll(() => controller.out, { timeout: 20_000 }).toContain('\n');
    expect(controller.out).toMatch(/^warren:\/\/127\.0\.0\.1:\d+\?key=[\w-]{43}&auth=[\w-]+\n$/);
    await new Member('alice').join(joining(controller.out.trim()));
    await expect.poll(() => existsSync(join(directory, 'admin.sock'))).toBe(true);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    for (const name of ['warren.db', 'admin.sock']) expect(statSync(join(directory, name)).mode & 0o077).toBe(0);
    const exit = await controller.stop('SIGINT');
    expect(exit.code).toBe(0);
    expect(existsSync(join(directory, 'admin.sock'))).toBe(false);
    const secret = joining(controller.out.trim()).authKey as string;
    expect(exit.error).not.toContain(secret);
    expect(exit.error).toContain('warren up --join LINK');
    expect(exit.out.split('\n').filter((line) => line !== '')).toHaveLength(1);
  });

  test('later starts print no link, and say where the controller is and how a link is made', async () => {
    const { directory, process } = await begin();
    await process.stop();
    const second = new ControllerProcess(['--data', directory, ...ANY_PORT]);
    onTestFinished(() => second.kill());
    await expect.poll(() => second.error, { timeout: 20_000 }).toContain('warren keys create --data');
    expect(second.error).toMatch(/http:\/\/127\.0\.0\.1:\d+/);
    expect((await second.stop()).out).toBe('');
  });

  test('with --require-approval machines wait for an administrator, and come in on the same connection', async () => {
    const { directory, joining: link } = await begin('--require-approval');
    const alice = new Member('alice');
    alice.connect(link);
    await alice.until(() => alice.messages.some(({ type }) => type === 'pending'));
    const [pending] = (await administer(directory, 'GET', '/nodes')).body as NodeView[];
    expect(pending).toMatchObject({ name: 'alice', state: 'pending' });
    await administer(directory, 'POST', `/nodes/${pending?.id}/approve`);
    await alice.until(() => alice.welcome !== null && alice.position !== null);
  });

  test('by itself it listens on both families, and is called by an address that others may reach', async () => {
    const directory = join(temporaryDirectory(), 'data');
    const { ready } = await ControllerProcess.ready(['--data', directory, '--listen', ':0']);
    const link = joining(ready.joinLink);
    const port = ready.listening.split(':').at(-1);
    expect(ready.listening).toBe(`[::]:${port}`);
    expect(ready.url.endsWith(`:${port}`)).toBe(true);
    const six = await new Member('six').join({ ...link, url: `http://[::1]:${port}` });
    const four = await new Member('four').join({ ...link, url: `http://127.0.0.1:${port}` });
    expect([six.welcome?.observedAddress, four.welcome?.observedAddress]).toEqual(['::1', '127.0.0.1']);
  });

  test('metrics are on a listener of their own', async () => {
    const { ready, joining: link } = await begin('--metrics-listen', '127.0.0.1:0');
    await new Member('alice').join(link);
    const text = await (await fetch(`http://${ready.metrics}/metrics`)).text();
    expect(text).toMatch(/^warren_connections 1$/m);
    expect(text).toMatch(/^warren_server_events_total\{event="handshakesDone"\} 1$/m);
    expect((await fetch(`${ready.url}/metrics`)).status).toBe(404);
  });
});

describe('STUN', () => {
  test('is answered at the ports that machines are told, and counted', async () => {
    const { ready, joining: link } = await begin('--metrics-listen', '127.0.0.1:0');
    const alice = await new Member('alice').join(link);
    expect(alice.welcome?.stunPorts).toEqual(ready.stunPorts);
    expect(ready.stunPorts).toHaveLength(2);
    for (const port of ready.stunPorts) {
      const { answer, asked } = await askStun(port);
      expect(decodeStun(answer)).toMatchObject({ kind: 'success', xorMapped: `127.0.0.1:${asked}` });
    }
    const text = await (await fetch(`http://${ready.metrics}/metrics`)).text();
    expect(text).toMatch(/^warren_stun_events_total\{event="answered"\} 2$/m);
  });

  test('with --stun off is not, and machines are told so', async () => {
    const { directory, process, joining: link } = await begin();
    await process.stop();
    const { ready } = await ControllerProcess.ready(['--data', directory, '--listen', '127.0.0.1:0', '--stun', 'off']);
    expect(ready.stunPorts).toEqual([]);
    expect((await new Member('alice').join({ ...link, url: ready.url })).welcome?.stunPorts).toEqual([]);
  });

  test('whose port is taken keeps no controller from starting, and says what to do', async () => {
    const { ready } = await begin();
    const at = `127.0.0.1:${ready.stunPorts[0]}`;
    const second = await begin('--stun', at);
    await new Member('alice').join(second.joining);
    expect(second.ready.stunPorts).not.toContain(ready.stunPorts[0]);
    await expect
      .poll(() => second.process.error)
      .toMatch(/^error STUN is not answered on .+ why=.+in use.+ do=.+--stun off/);
    expect(second.process.error).toContain(at);
  });
});

describe('a machine that cannot connect is told why', () => {
  const stranger = { controllerKey: randomBytes(32) as unknown as PublicKey, authKey: null };
  const failure = async (url: string, controllerKey = stranger.controllerKey) => {
    const member = new Member('alice');
    member.connect({ url, controllerKey: new Uint8Array(controllerKey) as PublicKey, authKey: null });
    await member.until(() => member.closed !== null, 15_000);
    return member.closed;
  };

  test('nobody listens', async () => {
    expect(await failure('http://127.0.0.1:1')).toMatchObject({ code: 'unreachable', cause: 'refused' });
    expect(await failure('http://[::1]:1')).toMatchObject({ code: 'unreachable', cause: 'refused' });
  });

  test('the name does not exist', async () => {
    const closed = await failure('http://nobody.invalid:7370');
    expect(closed?.code).toBe('unreachable');
    expect(['nameNotFound', 'nameServer']).toContain(closed?.cause);
  });

  test('something else answers', async () => {
    const { ready } = await begin();
    // Any prefix that a reverse proxy left on is taken; it is the key that is wrong here.
    expect(await failure(`${ready.url}/prefix`)).toMatchObject({ code: 'keyMismatch', cause: 'keyRefused' });
    const server = createServer((socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n'));
      socket.on('error', () => undefined);
    });
    onTestFinished(() => {
      server.close();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    expect(await failure(`http://127.0.0.1:${port}`)).toMatchObject({ code: 'rejected', cause: 'httpStatus' });
    expect(await failure(`https://127.0.0.1:${port}`)).toMatchObject({ code: 'rejected', cause: 'tls' });
  });

  test('it is another controller', async () => {
    const { ready } = await begin();
    const closed = await failure(ready.url);
    expect(closed).toMatchObject({ code: 'keyMismatch', cause: 'keyRefused' });
    expect(closed?.message).toContain('another key');
  });

  test('the link was used up, or is none', async () => {
    const { directory, joining: link } = await begin();
    const created = await administer(directory, 'POST', '/keys', { reusable: false });
    const once = joining((created.body as { joinLink: string }).joinLink);
    await new Member('alice').join(once);
    const bob = new Member('bob');
    bob.connect(once);
    await bob.until(() => bob.messages.some((m) => m.type === 'error' && m.code === 'authKeyUsed'));
    const carol = new Member('carol');
    carol.connect({ ...link, authKey: null });
    await carol.until(() => carol.messages.some((m) => m.type === 'error' && m.code === 'unregistered'));
  });
});

describe('a controller that cannot start says what, why and what to do', () => {
  const failing = async (...args: string[]): Promise<string> => {
    const exit = await new ControllerProcess(args).exited;
    expect(exit.out).toBe('');
    expect(exit.error).toMatch(/^warren controller: .+\n {2}why: .+\n {2}do: {2}.+\n$/);
    expect(exit.code).toBe(1);
    return exit.error;
  };
  const data = (): string[] => ['--data', join(temporaryDirectory(), 'data')];

  test('the port is in use', async () => {
    const { ready } = await begin();
    const port = ready.listening.split(':')[1] as string;
    expect(await failing(...data(), '--listen', ready.listening)).toContain(`port ${port} is in use`);
  });

  test('the address is of another machine', async () => {
    expect(await failing(...data(), '--listen', '203.0.113.1:7370')).toContain('no interface of this machine');
  });

  test('the data is used by another controller', async () => {
    const { directory } = await begin();
    expect(await failing('--data', directory, ...ANY_PORT)).toContain('is in use');
  });

  test('the data directory cannot be made', async () => {
    const file = join(temporaryDirectory(), 'file');
    writeFileSync(file, '');
    expect(await failing('--data', join(file, 'data'), ...ANY_PORT)).toContain('cannot make the data directory');
  });

  test.each([
    ['10.0.0.0/31', 'too small'],
    ['10.0.0.0/32,fd00::/48', 'too small'],
    ['8.0.0.0/4', 'too large'],
    ['fd00::/127', 'too small'],
    ['10.0.0.0/8,10.1.0.0/16', 'two IPv4 ranges'],
    ['ten', 'not a range'],
    ['10.0.0.0', 'not a range'],
    ['127.0.0.0/8', 'loopback'],
    ['239.0.0.0/8', 'multicast'],
    ['fe80::/64', 'link-local'],
  ])('%s is no network: %s', async (network, why) => {
    expect(await failing(...data(), ...ANY_PORT, '--network', network)).toContain(why);
  });

  test('the network is another than at the first start', async () => {
    const { directory, process } = await begin('--network', '10.91.0.0/16,fd12:3456:789a::/48');
    await process.stop();
    const same = await ControllerProcess.ready(['--data', directory, ...ANY_PORT, '--network', '10.91.0.0/16']);
    expect(same.ready.network).toEqual({ prefix4: '10.91.0.0/16', prefix6: 'fd12:3456:789a::/48' });
    await same.process.stop();
    expect(await failing('--data', directory, ...ANY_PORT, '--network', '10.92.0.0/16')).toContain('10.91.0.0/16');
  });

  test('the certificate is not there, none, or of another key', async () => {
    const directory = temporaryDirectory();
    const [cert, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')];
    const tls = ['--tls-cert', cert, '--tls-key', key];
    expect(await failing(...data(), ...ANY_PORT, ...tls)).toContain('there is no such file');
    writeFileSync(cert, 'no certificate');
    writeFileSync(key, 'no key');
    expect(await failing(...data(), ...ANY_PORT, ...tls)).toContain('cannot use the certificate');
  });

  test('the database is damaged, or of a newer version', async () => {
    const { directory, process } = await begin();
    await process.stop();
    const file = join(directory, 'warren.db');
    const { default: Database } = await import('better-sqlite3');
    const database = new Database(file);
    database.prepare("insert into migration (name, timestamp) values ('9999-from-the-future', 'x')").run();
    database.close();
    expect(await failing('--data', directory, ...ANY_PORT)).toMatch(/newer/);
    writeFileSync(file, `this is no database${' '.repeat(5000)}`);
    expect(await failing('--data', directory, ...ANY_PORT)).toMatch(/no database/);
  });

  test('wrong usage is told as such', async () => {
    const wrong = [
      ['--listen', 'x'],
      ['--url', 'ftp://x'],
      ['--tls-cert', 'x'],
      ['--stun', 'x'],
      ['extra'],
      ['--nothing'],
    ];
    for (const args of wrong) {
      const exit = await new ControllerProcess(args).exited;
      expect(exit.code).toBe(2);
      expect(exit.error).toContain('see warren controller --help');
    }
  });
});

describe('HTTPS', () => {
  test('with a certificate of its own that nobody vouches for, the key that the link pins is what counts', async () => {
    const directory = temporaryDirectory();
    const [cert, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')];
    makeCertificate(cert, key);
    const { process, ready, joining: link } = await begin('--tls-cert', cert, '--tls-key', key);
    expect(ready.url).toMatch(/^https:/);
    expect(ready.joinLink).toContain('&tls=1');
    const alice = await new Member('alice').join(link);
    expect(alice.nodes.size).toBe(1);
    const plain = new Member('bob');
    plain.connect({ ...link, url: link.url.replace('https', 'http') });
    await plain.until(() => plain.closed !== null);
    expect(plain.closed?.code).not.toBe('keyMismatch');

    // Another certificate while it runs: new connections have it, the old ones stay.
    const before = await servedBy(ready.listening);
    makeCertificate(cert, key);
    process.child.kill('SIGHUP');
    await expect.poll(() => servedBy(ready.listening)).not.toBe(before);
    expect(alice.closed).toBeNull();
    // One that cannot be used changes nothing.
    writeFileSync(cert, 'no certificate');
    process.child.kill('SIGHUP');
    await expect.poll(() => process.error).toContain('the certificate was not read again');
    await new Member('carol').join(link);
  });
});

function makeCertificate(cert: string, key: string): void {
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=controller'];
  const args = ['req', '-x509', ...kind, '-days', '2', '-keyout', key, '-out', cert];
  execFileSync('openssl', args, { stdio: 'ignore' });
}

/** The fingerprint of the certificate at an address. */
function servedBy(listening: string): Promise<string> {
  const [host, port] = listening.split(':');
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().fingerprint256);
      socket.destroy();
    });
    socket.on('error', reject);
  });
}
