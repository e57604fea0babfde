// Every route of the REST API over a real socket, with the real core: what it does, what it answers (checked against its schema,
// no field more), and what it refuses.

import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import {
  apiErrorSchema,
  auditPageSchema,
  backupLineSchema,
  controllerViewSchema,
  type KeyCreated,
  keyCreatedSchema,
  keyViewSchema,
  nodeViewSchema,
  tokenCreatedSchema,
  tokenViewSchema,
} from '../../../src/protocol/admin-api.ts';
import { parseJoinLink } from '../../../src/protocol/join-link.ts';
import { AdminWorld, type Answer, ask, JOIN_KEY, newPublicKey, openDoors, URL_OF_NODES } from './admin-fixture.ts';

const API = '/api/v1';

/** The body, which must be exactly what the schema says. */
function expectBody<T extends z.ZodType>(answer: Answer, status: number, schema: T): z.output<T> {
  expect([answer.status, answer.status === status ? '' : answer.text]).toEqual([status, '']);
  const parsed = schema.parse(answer.json);
  expect(parsed).toEqual(answer.json);
  return parsed;
}

function expectRefusal(answer: Answer, status: number, code: string, ...parts: string[]): void {
  const { error } = expectBody(answer, status, apiErrorSchema);
  expect(error.code).toBe(code);
  for (const part of parts) expect(`${error.message} | ${error.why} | ${error.help}`).toContain(part);
}

async function world(settings: ConstructorParameters<typeof AdminWorld>[0] = {}) {
  const made = new AdminWorld(settings);
  const doors = await openDoors(made);
  const call = (method: string, path: string, body?: object | string): Promise<Answer> =>
    ask(doors.socket, { method, path: `${API}${path}`, ...(body === undefined ? {} : { body }) });
  return { world: made, doors, call };
}

describe('the controller', () => {
  it('says what it is', async () => {
    const { world: w, call } = await world();
    await w.join('kiwi');
    const view = expectBody(await call('GET', '/controller'), 200, controllerViewSchema);
    expect(view).toMatchObject({ version: '1.2.3', url: URL_OF_NODES, nodes: 1, online: 1, requireApproval: false });
    expect(view.publicKey).toBe(Buffer.from(JOIN_KEY, 'base64url').toString('base64'));
    expect(view.network).toEqual({ name: 'warren', prefix4: '100.80.0.0/12', prefix6: 'fd00:1234:5678::/48' });
  });

  it('asks for approval from now on, or not any more', async () => {
    const { world: w, call } = await world();
    const on = expectBody(await call('PATCH', '/controller', { requireApproval: true }), 200, controllerViewSchema);
    expect(on.requireApproval).toBe(true);
    await w.join('kiwi');
    expect(expectBody(await call('GET', '/nodes/kiwi'), 200, nodeViewSchema).state).toBe('pending');
    expect((await call('PATCH', '/controller', { requireApproval: false })).status).toBe(200);
    expectRefusal(await call('PATCH', '/controller', {}), 422, 'invalid', 'nothing to change');
    expectRefusal(await call('PATCH', '/controller', { url: 'http://x' }), 422, 'invalid', 'url');
    expect(w.auditRecords.filter(({ action }) => action === 'settings.change')).toHaveLength(2);
  });

  it('says whether it is well, outside the prefix', async () => {
    const { world: w, doors } = await world();
    expect(await ask(doors.port, { path: '/healthz' })).toMatchObject({ status: 200, json: { status: 'ok' } });
    w.healthy = false;
    expect(await ask(doors.port, { path: '/healthz' })).toMatchObject({ status: 503, json: { status: 'unavailable' } });
    expect((await ask(doors.port, { path: '/healthz', method: 'POST' })).status).toBe(405);
  });
});

describe('keys', () => {
  it('are made with defaults: one machine, a day', async () => {
    const { call, world: w } = await world();
    const key = expectBody(await call('POST', '/keys', {}), 201, keyCreatedSchema);
    expect(key).toMatchObject({ reusable: false, ephemeral: false, preApproved: false, tags: [], state: 'usable' });
    expect(Date.parse(key.expiresAt ?? '') - Date.parse(key.createdAt)).toBe(86_400_000);
    const link = parseJoinLink(key.joinLink);
    expect(link).toMatchObject({ ok: true, link: { url: URL_OF_NODES, controllerKey: JOIN_KEY } });
    expect(w.core.state.authKeyCount).toBe(1);
  });

  it('are made as asked', async () => {
    const { call } = await world();
    const asked = { reusable: true, ephemeral: true, preApproved: true, tags: ['ci'], description: 'runners' };
    const key = expectBody(await call('POST', '/keys', { ...asked, expiresInSeconds: null }), 201, keyCreatedSchema);
    expect(key).toMatchObject({ ...asked, expiresAt: null });
  });

  it('are listed and shown without their secrets, in pages', async () => {
    const { call } = await world();
    const made: KeyCreated[] = [];
    for (let i = 0; i < 3; i++) made.push(expectBody(await call('POST', '/keys', {}), 201, keyCreatedSchema));
    const list = await call('GET', '/keys');
    expect(expectBody(list, 200, keyViewSchema.array()).map(({ id }) => id)).toEqual(made.map(({ id }) => id));
    const page = expectBody(await call('GET', `/keys?limit=1&after=${made[0]?.id}`), 200, keyViewSchema.array());
    expect(page.map(({ id }) => id)).toEqual([made[1]?.id]);
    const one = await call('GET', `/keys/${made[2]?.id}`);
    expect(expectBody(one, 200, keyViewSchema).id).toBe(made[2]?.id);
    for (const { joinLink } of made) {
      const secret = /auth=([^&]+)/.exec(joinLink)?.[1] ?? 'none';
      expect(secret.length).toBeGreaterThan(16);
      expect(list.text + one.text).not.toContain(secret);
    }
  });

  it('are revoked, and stay listed as revoked', async () => {
    const { call } = await world();
    const { id } = expectBody(await call('POST', '/keys', {}), 201, keyCreatedSchema);
    expect(expectBody(await call('DELETE', `/keys/${id}`), 200, keyViewSchema).state).toBe('revoked');
    expect(expectBody(await call('GET', `/keys/${id}`), 200, keyViewSchema).state).toBe('revoked');
  });

  it('expire', async () => {
    const { call, world: w } = await world();
    const { id } = expectBody(await call('POST', '/keys', { expiresInSeconds: 60 }), 201, keyCreatedSchema);
    w.advance(59_000);
    expect(expectBody(await call('GET', `/keys/${id}`), 200, keyViewSchema).state).toBe('usable');
    w.advance(1_000);
    expect(expectBody(await call('GET', `/keys/${id}`), 200, keyViewSchema).state).toBe('expired');
  });

  it('that are not there are told', async () => {
    const { call } = await world();
    expectRefusal(await call('GET', '/keys/k_0000000000'), 404, 'notFound', 'k_0000000000', 'warren keys list');
    expectRefusal(await call('DELETE', '/keys/k_0000000000'), 404, 'notFound');
    expectRefusal(await call('GET', '/keys?after=k_0000000000'), 404, 'notFound');
  });

  it.each([
    [{ expiresInSeconds: 0 }, 'expiresInSeconds'],
    [{ expiresInSeconds: 1e12 }, 'expiresInSeconds'],
    [{ tags: ['Not A Tag'] }, 'tags.0'],
    [{ reusable: 'yes' }, 'reusable'],
    [{ reuseable: true }, 'reuseable'],
    [{ description: 'x'.repeat(257) }, 'description'],
    [[], 'expected object'],
  ])('%j is refused', async (body, why) => {
    const { call, world: w } = await world();
    expectRefusal(await call('POST', '/keys', body), 422, 'invalid', why);
    expect(w.core.state.authKeyCount).toBe(0);
  });
});

describe('nodes', () => {
  it('are listed in the order of their numbers, in pages', async () => {
    const { world: w, call } = await world();
    for (const name of ['kiwi', 'fig', 'plum']) await w.join(name);
    const all = expectBody(await call('GET', '/nodes'), 200, nodeViewSchema.array());
    expect(all.map(({ name }) => name)).toEqual(['kiwi', 'fig', 'plum']);
    const page = expectBody(await call('GET', `/nodes?after=${all[0]?.id}&limit=1`), 200, nodeViewSchema.array());
    expect(page.map(({ name }) => name)).toEqual(['fig']);
    expectRefusal(await call('GET', '/nodes?limit=1001'), 422, 'invalid', 'limit');
    expectRefusal(await call('GET', '/nodes?limit=1&limit=2'), 422, 'invalid', 'twice');
    expectRefusal(await call('GET', '/nodes?colour=red'), 422, 'invalid', 'colour');
  });

  it('are found by number, name in any case, addresses and public key', async () => {
    const { world: w, call } = await world();
    await w.join('fig');
    const { id, publicKey } = await w.join('kiwi');
    const byName = expectBody(await call('GET', '/nodes/KiWi'), 200, nodeViewSchema);
    expect(byName).toMatchObject({ id, name: 'kiwi', publicKey, state: 'active', online: true });
    for (const wanted of [String(id), ...byName.addresses, publicKey]) {
      expect((await call('GET', `/nodes/${encodeURIComponent(wanted)}`)).json).toEqual(byName);
    }
  });

  it('that are not there are answered with names that are near', async () => {
    const { world: w, call } = await world();
    await w.join('build-runner-1');
    await w.join('fig');
    expectRefusal(await call('GET', '/nodes/build-runer-1'), 404, 'notFound', '"build-runer-1"', 'build-runner-1');
    expectRefusal(await call('GET', '/nodes/build'), 404, 'notFound', 'build-runner-1');
    expectRefusal(await call('GET', '/nodes/99'), 404, 'notFound', 'warren nodes list');
    expectRefusal(await call('DELETE', '/nodes/zzz'), 404, 'notFound');
  });

  it('whose name is the number of another are not guessed', async () => {
    const { world: w, call } = await world();
    const { id } = await w.join('kiwi');
    await w.join(String(id));
    expectRefusal(await call('DELETE', `/nodes/${id}`), 409, 'ambiguous', 'kiwi', 'addresses');
    expect(w.core.state.nodeCount).toBe(2);
  });

  it('are renamed, to a name that is free', async () => {
    const { world: w, call } = await world();
    await w.join('kiwi');
    await w.join('fig');
    expect(expectBody(await call('PATCH', '/nodes/kiwi', { name: 'kea' }), 200, nodeViewSchema).name).toBe('kea');
    expectRefusal(await call('PATCH', '/nodes/kea', { name: 'fig' }), 409, 'nameTaken', 'fig');
    expectRefusal(await call('PATCH', '/nodes/kea', { name: 'Not A Name' }), 422, 'invalid', 'name');
    expect(w.auditRecords.filter(({ action }) => action === 'nodes.rename')).toHaveLength(1);
  });

  it('are changed in what the body has, and in nothing else', async () => {
    const { world: w, call } = await world();
    await w.join('kiwi');
    const before = expectBody(await call('GET', '/nodes/kiwi'), 200, nodeViewSchema);
    const tagged = expectBody(await call('PATCH', '/nodes/kiwi', { tags: ['web', 'web'] }), 200, nodeViewSchema);
    expect(tagged).toEqual({ ...before, tags: ['web'] });
    const moved = await call('PATCH', '/nodes/kiwi', { addresses: { address4: '100.80.9.9' } });
    expect(expectBody(moved, 200, nodeViewSchema).addresses).toEqual(['100.80.9.9', before.addresses[1]]);
    expectRefusal(await call('PATCH', '/nodes/kiwi', { addresses: { address4: '10.0.0.1' } }), 422, 'addressInvalid');
    const expiresAt = new Date(Date.parse(before.createdAt) + 60_000).toISOString();
    expect(expectBody(await call('PATCH', '/nodes/kiwi', { expiresAt }), 200, nodeViewSchema).expiresAt).toBe(
      expiresAt,
    );
    expect(expectBody(await call('PATCH', '/nodes/kiwi', { expiresAt: null }), 200, nodeViewSchema).expiresAt).toBe(
      null,
    );
    expectRefusal(await call('PATCH', '/nodes/kiwi', {}), 422, 'invalid', 'nothing to change');
    expectRefusal(await call('PATCH', '/nodes/kiwi', { nmae: 'x' }), 422, 'invalid', 'nmae');
  });

  it('are disabled and enabled', async () => {
    const { world: w, call } = await world();
    await w.join('kiwi');
    const off = expectBody(await call('PATCH', '/nodes/kiwi', { disabled: true }), 200, nodeViewSchema);
    expect(off).toMatchObject({ state: 'disabled', online: false });
    const on = expectBody(await call('PATCH', '/nodes/kiwi', { disabled: false }), 200, nodeViewSchema);
    expect(on.state).toBe('active');
  });

  it('wait for approval where the network asks for it, and are let in', async () => {
    const { world: w, call } = await world({ requireApproval: true });
    await w.join('kiwi');
    expect(expectBody(await call('GET', '/nodes/kiwi'), 200, nodeViewSchema).state).toBe('pending');
    const approved = expectBody(await call('POST', '/nodes/kiwi/approve'), 200, nodeViewSchema);
    expect(approved).toMatchObject({ state: 'active', online: true });
  });

  it('expire at once, and are removed', async () => {
    const { world: w, call } = await world();
    await w.join('kiwi');
    expect(expectBody(await call('POST', '/nodes/kiwi/expire', {}), 200, nodeViewSchema).state).toBe('expired');
    expect(expectBody(await call('DELETE', '/nodes/kiwi'), 200, nodeViewSchema).name).toBe('kiwi');
    expectRefusal(await call('GET', '/nodes/kiwi'), 404, 'notFound');
  });
});

describe('tokens', () => {
  it('are made, listed without secrets, and revoked', async () => {
    const { call } = await world();
    const asked = { name: 'ci', scopes: ['nodes:read', 'nodes:read', 'keys:write'] };
    const made = expectBody(await call('POST', '/tokens', asked), 201, tokenCreatedSchema);
    expect(made).toMatchObject({ name: 'ci', scopes: ['nodes:read', 'keys:write'], revokedAt: null, lastUsedAt: null });
    const list = await call('GET', '/tokens');
    expect(expectBody(list, 200, tokenViewSchema.array()).map(({ id }) => id)).toEqual([made.id]);
    expect(list.text).not.toContain(made.secret);
    const revoked = expectBody(await call('DELETE', `/tokens/${made.id}`), 200, tokenViewSchema);
    expect(revoked.revokedAt).not.toBe(null);
    expectRefusal(await call('DELETE', '/tokens/t_0000000000'), 404, 'notFound');
    expectRefusal(await call('POST', '/tokens', { name: 'x', scopes: [] }), 422, 'invalid', 'scopes');
    expectRefusal(await call('POST', '/tokens', { name: 'x', scopes: ['all'] }), 422, 'invalid', 'scopes.0');
  });
});

describe('the audit log', () => {
  it('has every change: who, what, when, from where; newest first, in pages', async () => {
    const { world: w, call, doors } = await world();
    const { id, secret } = await w.token('admin');
    await call('POST', '/keys', { description: 'one' });
    await ask(doors.port, { method: 'POST', path: `${API}/keys`, body: { description: 'two' }, token: secret });
    const page = expectBody(await call('GET', '/audit?limit=2'), 200, auditPageSchema);
    expect(page.records).toMatchObject([
      { actor: `token ${id}`, source: '127.0.0.1', action: 'keys.create', at: '2026-11-26T12:00:00.000Z' },
      { actor: 'socket', source: 'local', action: 'keys.create' },
    ]);
    const rest = expectBody(await call('GET', `/audit?before=${page.next}`), 200, auditPageSchema);
    expect(rest.records).toMatchObject([{ action: 'tokens.create' }]);
    expect(rest.next).toBe(null);
  });

  it('has instants as the rest of the API has them', async () => {
    const { world: w, call } = await world();
    await w.join('kiwi');
    const expiresAt = '2027-01-01T00:00:00.000Z';
    await call('PATCH', '/nodes/kiwi', { expiresAt });
    await call('POST', '/keys', { expiresInSeconds: 60 });
    const { records } = expectBody(await call('GET', '/audit?limit=2'), 200, auditPageSchema);
    expect(records.map(({ detail }) => detail['expiresAt'])).toEqual(['2026-11-26T12:01:00.000Z', [null, expiresAt]]);
  });

  it('has no entry for what was refused', async () => {
    const { world: w, call } = await world();
    await call('POST', '/keys', { reusable: 1 });
    await call('DELETE', '/nodes/kiwi');
    expect(w.auditRecords).toEqual([]);
  });
});

describe('a backup', () => {
  const lines = (answer: Answer) =>
    answer.text
      .trim()
      .split('\n')
      .map((line) => backupLineSchema.parse(JSON.parse(line)));

  it('is written by the controller, with progress', async () => {
    const { call, doors } = await world();
    const path = join(doors.directory, 'copy.db');
    const answer = await call('POST', '/backup', { path });
    expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/x-ndjson']);
    expect(lines(answer)).toEqual([
      { type: 'progress', done: 1, total: 2 },
      { type: 'progress', done: 2, total: 2 },
      { type: 'done', path, bytes: 4 },
    ]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('overwrites nothing', async () => {
    const { call, doors } = await world();
    const path = join(doors.directory, 'here');
    writeFileSync(path, 'mine');
    expectRefusal(await call('POST', '/backup', { path }), 409, 'conflict', path, 'never overwrites');
    expect(readFileSync(path, 'utf8')).toBe('mine');
    expectRefusal(await call('POST', '/backup', { path: 'relative' }), 422, 'invalid', 'path');
  });

  it('that fails says so, before the first line and after', async () => {
    const { world: w, call, doors } = await world();
    w.backup = () => Promise.reject(new Error('no room on the disk'));
    const path = join(doors.directory, 'copy.db');
    expectRefusal(await call('POST', '/backup', { path }), 409, 'conflict', 'no room on the disk');
    w.backup = (_path, progress) => {
      progress(1, 2);
      return Promise.reject(new Error('no room on the disk'));
    };
    const [first, last] = lines(await call('POST', '/backup', { path }));
    expect(first).toEqual({ type: 'progress', done: 1, total: 2 });
    expect(last).toMatchObject({ type: 'error', error: { code: 'conflict', why: 'no room on the disk' } });
    expect(existsSync(path)).toBe(false);
  });

  it('goes on when the client goes away, and harms nobody', async () => {
    const { world: w, call, doors } = await world();
    const path = join(doors.directory, 'copy.db');
    let goOn: () => void = () => undefined;
    let isDone = false;
    w.backup = async (target, progress) => {
      progress(1, 4);
      await new Promise<void>((resolve) => {
        goOn = resolve;
      });
      for (let done = 2; done <= 4; done++) progress(done, 4);
      writeFileSync(target, 'copy');
      isDone = true;
    };
    const socket = connect({ path: doors.socket });
    const body = JSON.stringify({ path });
    const head = 'host: x\r\ncontent-type: application/json';
    socket.write(`POST ${API}/backup HTTP/1.1\r\n${head}\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    await new Promise<void>((resolve) => socket.once('data', () => resolve()));
    await new Promise<void>((resolve) => {
      socket.once('close', () => resolve());
      socket.destroy();
    });
    await call('GET', '/controller');
    goOn();
    await call('GET', '/controller');
    expect([isDone, readFileSync(path, 'utf8')]).toEqual([true, 'copy']);
    expect(w.logLines.filter((line) => line.startsWith('error'))).toEqual([]);
  });

  it('is not for the listener, whatever the token may do', async () => {
    const { world: w, doors } = await world();
    const { secret } = await w.token('admin');
    const body = { path: join(doors.directory, 'copy.db') };
    const answer = await ask(doors.port, { method: 'POST', path: `${API}/backup`, body, token: secret });
    expectRefusal(answer, 403, 'socketOnly', '--data DIR');
    expect(existsSync(body.path)).toBe(false);
  });
});

describe('a store that takes nothing', () => {
  it('changes nothing, and the answer says so', async () => {
    const { world: w, call } = await world();
    w.storeFails = true;
    expectRefusal(await call('POST', '/keys', {}), 503, 'internal', 'nothing was changed');
    w.storeFails = false;
    expect((await call('GET', '/keys')).json).toEqual([]);
  });
});

describe('a public key', () => {
  it('with a slash in it is one part of the path', async () => {
    const { world: w, call } = await world();
    let publicKey = newPublicKey();
    while (!publicKey.includes('/')) publicKey = newPublicKey();
    await w.join('kiwi', publicKey);
    const answer = await call('GET', `/nodes/${encodeURIComponent(publicKey)}`);
    expect(expectBody(answer, 200, nodeViewSchema).name).toBe('kiwi');
  });
});
