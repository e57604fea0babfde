// Administration as a person and a script meet it: the commands over a running controller's doors, in process. What is on standard
// output, what on standard error, the exit code, and that what goes wrong says what, why and what to do.

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { IpPrefix } from '../../../src/base/ip.ts';
import { TOKEN_SCOPES } from '../../../src/cli/commands/tokens.ts';
import { createAdminHandler } from '../../../src/controller/admin/handler.ts';
import { firstSettings } from '../../../src/controller/network-range.ts';
import { openStore } from '../../../src/controller/store/open.ts';
import {
  auditViewSchema,
  controllerViewSchema,
  keyCreatedSchema,
  keyViewSchema,
  nodeViewSchema,
  SCOPES,
  tokenCreatedSchema,
  tokenViewSchema,
} from '../../../src/protocol/admin-api.ts';
import { parseJoinLink } from '../../../src/protocol/join-link.ts';
import { AdminWorld, type Doors, openDoors, temporaryDirectory, URL_OF_NODES } from './admin-fixture.ts';
import { type Result, run } from './cli-run.ts';

async function world(settings: ConstructorParameters<typeof AdminWorld>[0] = {}) {
  const made = new AdminWorld(settings);
  const doors: Doors = await openDoors(made);
  const warren = (...argv: string[]): Promise<Result> => run([...argv, '--data', doors.directory]);
  const remote = (secret: string, ...argv: string[]): Promise<Result> =>
    run([...argv, '--url', doors.url], { env: { WARREN_TOKEN: secret } });
  return { world: made, doors, warren, remote };
}

describe('warren keys', () => {
  it('create prints the join link and nothing else', async () => {
    const { warren } = await world();
    const { code, out, error } = await warren('keys', 'create');
    expect([code, error]).toEqual([0, '']);
    expect(out).toMatch(/^warren:\/\/\S+\n$/);
    expect(parseJoinLink(out)).toMatchObject({ ok: true });
  });

  it('create tells a person more, and still prints the link alone', async () => {
    const { doors } = await world();
    const argv = ['keys', 'create', '--expires', '2h', '--data', doors.directory];
    const { out, error } = await run(argv, { interactive: true });
    expect(out).toMatch(/^warren:\/\/\S+\n$/);
    expect(error).toContain('for one machine');
    expect(error).toContain('not shown again');
  });

  it('create passes on what it is told', async () => {
    const { warren } = await world();
    const options = ['--reusable', '--ephemeral', '--pre-approved', '--expires', 'never', '--tag', 'a', '--tag', 'b'];
    const { code, out } = await warren('keys', 'create', ...options, '--description', 'CI runners', '--json');
    expect(code).toBe(0);
    expect(keyCreatedSchema.parse(JSON.parse(out))).toMatchObject({
      reusable: true,
      ephemeral: true,
      preApproved: true,
      expiresAt: null,
      tags: ['a', 'b'],
      description: 'CI runners',
    });
  });

  it('list and revoke go by ids', async () => {
    const { warren } = await world();
    expect(await warren('keys', 'list')).toEqual({ code: 0, out: '', error: expect.stringContaining('keys create') });
    expect((await warren('keys', 'list', '--json')).out).toBe('[]\n');
    const { id } = JSON.parse((await warren('keys', 'create', '--json', '--description', 'two\nlines')).out) as {
      id: string;
    };
    const text = (await warren('keys', 'list')).out;
    expect(text.split('\n')).toHaveLength(3);
    expect(text).toMatch(new RegExp(`^ID +STATE .*\\n${id} +usable +once .*two lines\\n$`));
    expect(await warren('keys', 'revoke', id)).toEqual({ code: 0, out: '', error: `revoked ${id}\n` });
    const list = keyViewSchema.array().parse(JSON.parse((await warren('keys', 'list', '--json')).out));
    expect(list).toMatchObject([{ id, state: 'revoked' }]);
  });

  it('revoke says which key there is not', async () => {
    const { warren } = await world();
    const { code, out, error } = await warren('keys', 'revoke', 'k_0000000000');
    expect([code, out]).toEqual([1, '']);
    expect(error).toMatch(
      /^warren keys revoke: there is no auth key "k_0000000000"\n {2}why: .+\n {2}do: {2}.*warren keys list.*\n$/,
    );
  });
});

describe('warren nodes', () => {
  it('list is a table, or an array, of those that are asked for', async () => {
    const { world: w, warren } = await world();
    expect((await warren('nodes', 'list', '--json')).out).toBe('[]\n');
    for (const name of ['kiwi', 'fig']) await w.join(name);
    await warren('nodes', 'tag', 'fig', 'web', 'eu');
    await warren('nodes', 'disable', 'kiwi');
    const { out } = await warren('nodes', 'list');
    expect(out).toMatch(
      /^NAME +ADDRESS +STATE +LAST SEEN .*\nkiwi +100\.80\.\S+ +disabled .*\nfig +100\.80\.\S+ +active +online .* web eu .*\n$/,
    );
    const names = async (...options: string[]): Promise<string[]> => {
      const json = (await warren('nodes', 'list', '--json', ...options)).out;
      return nodeViewSchema
        .array()
        .parse(JSON.parse(json))
        .map(({ name }) => name);
    };
    expect(await names()).toEqual(['kiwi', 'fig']);
    expect(await names('--tag', 'eu')).toEqual(['fig']);
    expect(await names('--state', 'disabled')).toEqual(['kiwi']);
    expect(await names('--online')).toEqual(['fig']);
  });

  it('list leaves relays out unless they are asked for', async () => {
    const { world: w, warren } = await world();
    expect((await warren('nodes', 'list', '--relays')).error).toMatch(/there is no relay/);
    for (const name of ['kiwi', 'fig']) await w.join(name);
    await warren('nodes', 'tag', 'fig', 'relay');
    const listed = async (...options: string[]): Promise<string[]> =>
      nodeViewSchema
        .array()
        .parse(JSON.parse((await warren('nodes', 'list', '--json', ...options)).out))
        .map(({ name }) => name);
    expect(await listed()).toEqual(['kiwi']);
    expect(await listed('--relays')).toEqual(['fig']);
    expect(await listed('--tag', 'relay')).toEqual(['fig']);
    expect((await warren('nodes', 'list')).out).not.toContain('fig');
    expect((await warren('nodes', 'show', 'fig')).out).toContain('fig');
  });

  it('show has everything of one, by any of its names', async () => {
    const { world: w, warren } = await world();
    const { id, publicKey } = await w.join('kiwi');
    const { out } = await warren('nodes', 'show', 'kiwi');
    for (const part of ['kiwi', String(id), publicKey, 'active', 'fd00:1234:5678', 'linux, warren 0.0.1']) {
      expect(out).toContain(part);
    }
    for (const name of [String(id), publicKey]) {
      expect(JSON.parse((await warren('nodes', 'show', name, '--json')).out)).toMatchObject({ id });
    }
  });

  it('change one after another, and say so', async () => {
    const { world: w, warren } = await world();
    await w.join('kiwi');
    const told = async (...argv: string[]): Promise<string> => {
      const { code, out, error } = await warren('nodes', ...argv);
      expect([argv, code, out]).toEqual([argv, 0, '']);
      return error;
    };
    expect(await told('rename', 'kiwi', 'kea')).toBe('kiwi is now kea\n');
    expect(await told('tag', 'kea', 'web', 'eu')).toBe('kea: web eu\n');
    expect(await told('tag', 'kea', '--add', 'db', '--remove', 'web')).toBe('kea: eu db\n');
    expect(await told('tag', 'kea', '--clear')).toBe('kea: no tags\n');
    expect(await told('disable', 'kea')).toBe('disabled kea\n');
    expect(await told('enable', 'kea')).toBe('enabled kea\n');
    expect(await told('address', 'kea', 'FD00:1234:5678::0099')).toMatch(/^kea: 100\.80\.\S+, fd00:1234:5678::99\n$/);
    expect(await told('address', 'kea', '100.80.0.99', 'fd00:1234:5678::98')).toBe(
      'kea: 100.80.0.99, fd00:1234:5678::98\n',
    );
    expect(await told('expire', 'kea')).toBe('kea has expired\n');
    expect(await told('expire', 'kea', '--in', 'never')).toBe('kea expires never\n');
    expect(await told('remove', 'kea')).toBe('removed kea\n');
    expect(w.core.state.nodeCount).toBe(0);
  });

  it('print the node as it is then, for programs', async () => {
    const { world: w, warren } = await world({ requireApproval: true });
    await w.join('kiwi');
    await w.join('fig');
    const approved = nodeViewSchema
      .array()
      .parse(JSON.parse((await warren('nodes', 'approve', 'kiwi', 'fig', '--json')).out));
    expect(approved.map(({ name, state }) => `${name} ${state}`)).toEqual(['kiwi active', 'fig active']);
    const renamed = nodeViewSchema.parse(JSON.parse((await warren('nodes', 'rename', 'fig', 'plum', '--json')).out));
    expect(renamed.name).toBe('plum');
  });

  it('that are not there are told with names that are near, also to programs', async () => {
    const { world: w, warren } = await world();
    await w.join('kiwi');
    const { code, out, error } = await warren('nodes', 'remove', 'kwii');
    expect([code, out]).toEqual([1, '']);
    expect(error).toContain('there is no node "kwii"');
    expect(error).toContain('kiwi');
    const json = await warren('nodes', 'show', 'kwii', '--json');
    expect([json.code, json.out]).toEqual([1, '']);
    expect(JSON.parse(json.error)).toMatchObject({ error: { code: 'notFound' } });
    expect(w.core.state.nodeCount).toBe(1);
  });

  it('refuse a name that is taken and an address that cannot be', async () => {
    const { world: w, warren } = await world();
    for (const name of ['kiwi', 'fig']) await w.join(name);
    expect(await warren('nodes', 'rename', 'kiwi', 'fig')).toMatchObject({
      code: 1,
      error: expect.stringContaining('fig'),
    });
    expect(await warren('nodes', 'address', 'kiwi', '10.9.9.9')).toMatchObject({
      code: 1,
      error: expect.stringContaining('100.80.0.0/12'),
    });
  });

  it('list more than a page', async () => {
    const { world: w, warren } = await world();
    for (let i = 0; i < 1001; i++) await w.join(`n${i}`);
    expect(JSON.parse((await warren('nodes', 'list', '--json')).out)).toHaveLength(1001);
  });
});

describe('warren tokens', () => {
  it('create prints the secret and nothing else, and it opens the listener', async () => {
    const { warren, remote, doors } = await world();
    const { code, out, error } = await warren('tokens', 'create', 'ci', '--scope', 'keys:write,keys:read');
    expect([code, error]).toEqual([0, '']);
    expect(out).toMatch(/^\S{16,}\n$/);
    const secret = out.trim();
    expect((await remote(secret, 'keys', 'create')).out).toMatch(/^warren:\/\/\S+\n$/);
    const file = join(doors.directory, 'token');
    writeFileSync(file, `${secret}\n`);
    const listed = await run(['keys', 'list', '--json', '--url', doors.url, '--token-file', file]);
    expect(JSON.parse(listed.out)).toHaveLength(1);
    const refused = await remote(secret, 'nodes', 'list');
    expect([refused.code, refused.out]).toEqual([1, '']);
    expect(refused.error).toContain('nodes:read');
  });

  it('list and revoke', async () => {
    const { warren, remote } = await world();
    const made = tokenCreatedSchema.parse(
      JSON.parse((await warren('tokens', 'create', 'ci', '--scope', 'admin', '--expires', '90d', '--json')).out),
    );
    expect((await remote(made.secret, 'tokens', 'list')).out).toMatch(new RegExp(`${made.id} +ci +usable +admin +in `));
    await warren('tokens', 'revoke', made.id);
    expect(tokenViewSchema.array().parse(JSON.parse((await warren('tokens', 'list', '--json')).out))).toHaveLength(1);
    const refused = await remote(made.secret, 'tokens', 'list');
    expect(refused).toMatchObject({ code: 1, error: expect.stringContaining('the token was revoked') });
  });

  it('knows the scopes of the API', () => {
    expect(TOKEN_SCOPES).toEqual(SCOPES);
  });
});

describe('warren audit', () => {
  it('shows who did what, newest last; JSON is an array, newest first', async () => {
    const { warren } = await world();
    for (let i = 0; i < 3; i++) await warren('keys', 'create', '--description', `key ${i}`);
    const { out } = await warren('audit', '--limit', '2');
    expect(out.split('\n')).toHaveLength(4);
    expect(out).toMatch(
      /NUMBER +WHEN +WHO.*\n2 +2026-11-26 12:00:00Z +socket +local +keys\.create .*key 1.*\n3 .*key 2.*\n$/,
    );
    const records = auditViewSchema.array().parse(JSON.parse((await warren('audit', '--json')).out));
    expect(records.map(({ id }) => id)).toEqual([3, 2, 1]);
    expect(JSON.parse((await warren('audit', '--json', '--before', '2')).out)).toHaveLength(1);
  });
});

describe('warren controller backup and restore', () => {
  async function storeWorld() {
    const made = await world();
    const directory = temporaryDirectory();
    const store = await openStore(directory);
    onTestFinished(() => store.close());
    const range = { prefix4: '100.80.0.0/12' as IpPrefix, prefix6: 'fd00::/48' as IpPrefix };
    const random = (bytes: Uint8Array): void => bytes.set(randomBytes(bytes.length));
    await store.initialize(firstSettings(range, false, random), randomBytes(32));
    made.world.backup = (path, progress) => store.backup(path, progress);
    return { ...made, store, directory };
  }

  it('make a copy while it runs, and a database of the copy', async () => {
    const { warren, directory, store } = await storeWorld();
    const file = join(directory, 'copy.db');
    const made = await warren('controller', 'backup', file);
    expect([made.code, made.out]).toEqual([0, '']);
    expect(made.error).toMatch(new RegExp(`^wrote ${file}, [\\d.]+ KiB\n$`));
    const target = join(temporaryDirectory(), 'new');
    const back = await run(['controller', 'restore', file, '--data', target, '--json']);
    expect(JSON.parse(back.out)).toEqual({ data: target, network: 'warren', nodes: 0, replaced: null });
    expect(readdirSync(target)).toEqual(['warren.db']);
    const restored = await openStore(target);
    onTestFinished(() => restored.close());
    const [before, after] = [await store.load(), await restored.load()];
    expect(after?.settings.prefix6).toBe(before?.settings.prefix6);
    expect(after?.settings.epoch).not.toBe(before?.settings.epoch);
    expect(await restored.privateKey()).toEqual(await store.privateKey());
  });

  it('replace nothing without being told to', async () => {
    const { warren, directory } = await storeWorld();
    const file = join(directory, 'copy.db');
    expect((await warren('controller', 'backup', file)).code).toBe(0);
    const again = await warren('controller', 'backup', file);
    expect(again).toMatchObject({ code: 1, error: expect.stringContaining('never overwrites') });
    const target = temporaryDirectory();
    expect((await run(['controller', 'restore', file, '--data', target])).code).toBe(0);
    const refused = await run(['controller', 'restore', file, '--data', target]);
    expect(refused).toMatchObject({ code: 1, out: '', error: expect.stringContaining('--force') });
    const forced = await run(['controller', '--data', target, 'restore', file, '--force']);
    expect([forced.code, forced.error]).toEqual([0, expect.stringContaining('the one before is')]);
  });

  it('say what is wrong with a file', async () => {
    const target = temporaryDirectory();
    const missing = await run(['controller', 'restore', join(target, 'none'), '--data', target]);
    expect(missing).toMatchObject({ code: 1, error: expect.stringContaining('there is no such file') });
    const rubbish = join(target, 'rubbish');
    writeFileSync(rubbish, 'x'.repeat(10_000));
    const wrong = await run(['controller', 'restore', rubbish, '--data', join(target, 'new')]);
    expect(wrong.code).toBe(1);
    expect(wrong.error).toContain(rubbish);
  });
});

describe('warren controller approval', () => {
  it('is asked for from now on, or not any more', async () => {
    const { world: w, warren } = await world();
    expect(await warren('controller', 'approval', 'on')).toEqual({
      code: 0,
      out: '',
      error: 'new machines wait for approval\n',
    });
    expect(w.core.state.settings.requireApproval).toBe(true);
    const off = await warren('controller', 'approval', 'off', '--json');
    expect(controllerViewSchema.parse(JSON.parse(off.out)).requireApproval).toBe(false);
  });
});

describe('warren controller show', () => {
  it('says what runs, where, and over which addresses', async () => {
    const { world: w, warren } = await world();
    await w.join('kiwi');
    const { code, out } = await warren('controller', 'show');
    expect(code).toBe(0);
    for (const part of ['1.2.3', URL_OF_NODES, '100.80.0.0/12', '1, of which 1 online']) expect(out).toContain(part);
    const json: unknown = JSON.parse((await warren('controller', 'show', '--json')).out);
    expect(controllerViewSchema.parse(json)).toEqual(json);
  });
});

describe('what is in the way', () => {
  it('no controller: how to start it', async () => {
    const directory = temporaryDirectory();
    const { code, out, error } = await run(['keys', 'create', '--data', directory]);
    expect([code, out]).toEqual([1, '']);
    expect(error).toContain('the controller is not running on this machine');
    expect(error).toContain(`there is no ${directory}/admin.sock`);
    expect(error).toContain(`warren controller --data ${directory}`);
    expect(error).toContain('--url');
  });

  it('a socket that is left over', async () => {
    const { doors } = await world();
    const path = join(temporaryDirectory(), 'admin.sock');
    const { linkSync } = await import('node:fs');
    const server = createServer();
    await new Promise<void>((resolve) => server.listen({ path: `${path}.live` }, resolve));
    linkSync(`${path}.live`, path);
    await new Promise((resolve) => server.close(resolve));
    const { code, error } = await run(['nodes', 'list'], { env: { WARREN_DATA: join(path, '..') } });
    expect([code, error]).toEqual([1, expect.stringContaining('nobody answers on')]);
    expect((await run(['nodes', 'list', '--json'], { env: { WARREN_DATA: doors.directory } })).out).toBe('[]\n');
  });

  it('no permission: whose socket it is, and who we are', async () => {
    const { doors } = await world();
    const isRoot = process.getuid?.() === 0;
    if (isRoot) process.seteuid?.(65_534);
    else chmodSync(doors.socket, 0);
    let result: Result;
    try {
      result = await run(['nodes', 'list', '--data', doors.directory]);
    } finally {
      if (isRoot) process.seteuid?.(0);
      else chmodSync(doors.socket, 0o600);
    }
    expect([result.code, result.out]).toEqual([1, '']);
    expect(result.error).toContain('no permission to administer the controller');
    expect(result.error).toMatch(/why: \S+ is for the user \S+ alone, and this is /);
    expect(result.error).toContain('--url and a token');
  });

  it('a wrong token, without telling it', async () => {
    const { remote } = await world();
    const secret = 'wrong-token-wrong-token-wrong';
    const { code, out, error } = await remote(secret, 'nodes', 'list');
    expect([code, out]).toEqual([1, '']);
    expect(error).toContain('the token is not valid');
    expect(error).not.toContain(secret);
  });

  it('a token file that is not there, empty, or something else', async () => {
    const directory = temporaryDirectory();
    const url = 'http://127.0.0.1:1';
    const missing = await run(['nodes', 'list', '--url', url, '--token-file', join(directory, 'none')]);
    expect(missing).toMatchObject({ code: 1, error: expect.stringContaining(`there is no ${directory}/none`) });
    for (const [content, why] of [
      ['\n', 'holds nothing'],
      ['two secret words', 'holds more than one word'],
    ] as const) {
      writeFileSync(join(directory, 'file'), content);
      const { code, error } = await run(['nodes', 'list', '--url', url, '--token-file', join(directory, 'file')]);
      expect([code, error]).toEqual([1, expect.stringContaining(why)]);
      expect(error).not.toContain('secret words');
    }
  });

  it('nobody at the address, or somebody else', async () => {
    const env = { WARREN_TOKEN: 'x'.repeat(43) };
    const server = createServer((_request, response) => response.end('<html>'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const other = await run(['nodes', 'list', '--url', url], { env });
    expect(other).toMatchObject({ code: 1, error: expect.stringContaining('not a Warren controller') });
    await new Promise((resolve) => server.close(resolve));
    const nobody = await run(['nodes', 'list', '--url', url], { env });
    expect(nobody).toMatchObject({ code: 1, error: expect.stringContaining('nobody listens there') });
    const noName = await run(['nodes', 'list', '--url', 'http://no-such-host.invalid'], { env });
    expect(noName).toMatchObject({ code: 1, error: expect.stringContaining('cannot reach the controller') });
  });

  it('a certificate that nobody vouches for, until it is named', async () => {
    const { world: w } = await world();
    const { secret } = await w.token('admin');
    const directory = temporaryDirectory();
    const [cert, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')];
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=controller'];
    const names = ['-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2'];
    execFileSync('openssl', ['req', '-x509', ...kind, ...names, '-keyout', key, '-out', cert], { stdio: 'ignore' });
    const handler = createAdminHandler(w.deps);
    const server = createTlsServer({ cert: readFileSync(cert), key: readFileSync(key) }, (request, response) =>
      handler(request, response, 'tcp'),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    const { port } = server.address() as AddressInfo;
    const env = { WARREN_TOKEN: secret };
    const list = ['nodes', 'list', '--json', '--url', `https://127.0.0.1:${port}`];
    const refused = await run(list, { env });
    expect([refused.code, refused.out]).toEqual([1, '']);
    expect(JSON.parse(refused.error)).toMatchObject({
      error: { code: 'certificate', help: expect.stringContaining('--ca FILE') },
    });
    expect(await run([...list, '--ca', cert], { env })).toEqual({ code: 0, out: '[]\n', error: '' });
    const plain = await run(['nodes', 'list', '--url', `http://127.0.0.1:${port}`], { env });
    expect(plain).toMatchObject({ code: 1, error: expect.stringContaining('https://') });
  });

  it('plain HTTP to another machine: said, and done', async () => {
    const { world: w, doors } = await world();
    const { secret } = await w.token('admin');
    const argv = ['nodes', 'list', '--json', '--url', `http://0.0.0.0:${doors.port}`];
    const { code, out, error } = await run(argv, { env: { WARREN_TOKEN: secret } });
    expect([code, out]).toEqual([0, '[]\n']);
    expect(error).toContain('unencrypted');
    expect((await run(['nodes', 'list', '--json', '--url', doors.url], { env: { WARREN_TOKEN: secret } })).error).toBe(
      '',
    );
  });
});
