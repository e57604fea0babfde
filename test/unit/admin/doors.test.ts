// The two doors: who gets in, what a token may do, how mistakes and floods are limited, and what happens to requests that are
// not what they should be. No secret is told twice.

import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { PassThrough } from 'node:stream';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Instant } from '../../../src/base/instant.ts';
import { FAILED_ATTEMPTS, sourceOf, TOKEN_REQUESTS } from '../../../src/controller/admin/authenticator.ts';
import { RateTable } from '../../../src/controller/admin/rate-table.ts';
import { readJsonBody } from '../../../src/controller/admin/request-body.ts';
import { ROUTES } from '../../../src/controller/admin/routes.ts';
import { ADMIN_BODY_BYTES_MAX, type ApiError, apiErrorSchema, SCOPES } from '../../../src/protocol/admin-api.ts';
import { AdminWorld, type Answer, ask, openDoors } from './admin-fixture.ts';

const API = '/api/v1';

function problemOf(answer: Answer): ApiError['error'] {
  return apiErrorSchema.parse(answer.json).error;
}

async function world() {
  const made = new AdminWorld();
  const doors = await openDoors(made);
  return { world: made, doors };
}

describe('a token', () => {
  it('opens the listener, and its use is noted at most once a minute', async () => {
    const { world: w, doors } = await world();
    const { id, secret } = await w.token('nodes:read');
    expect((await ask(doors.port, { path: `${API}/nodes`, token: secret })).status).toBe(200);
    w.pump();
    const first = w.core.state.token(id)?.lastUsedAt;
    expect(first).toBe(w.clock().wall);
    w.advance(59_000);
    await ask(doors.port, { path: `${API}/nodes`, token: secret });
    w.pump();
    expect(w.core.state.token(id)?.lastUsedAt).toBe(first);
    w.advance(1_000);
    await ask(doors.port, { path: `${API}/nodes`, token: secret });
    w.pump();
    expect(w.core.state.token(id)?.lastUsedAt).toBe(w.clock().wall);
    expect(w.auditRecords.map(({ action }) => action)).toEqual(['tokens.create']);
  });

  it.each([
    ['none', undefined, 'Authorization is missing'],
    ['a wrong one', `Bearer ${'x'.repeat(43)}`, 'knows no such token'],
    ['none in the header', 'Bearer', 'does not read: Bearer SECRET'],
    ['another scheme', 'Basic dXNlcjpwYXNz', 'does not read: Bearer SECRET'],
    ['one that is too long', `Bearer ${'x'.repeat(300)}`, 'does not read: Bearer SECRET'],
  ])('that is %s is refused with 401', async (_name, authorization, why) => {
    const { doors } = await world();
    const headers = authorization === undefined ? {} : { authorization };
    const answer = await ask(doors.port, { path: `${API}/nodes`, headers });
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toBe('Bearer');
    expect(problemOf(answer)).toMatchObject({ code: 'unauthenticated' });
    expect(problemOf(answer).why).toContain(why);
    expect(problemOf(answer).help).toContain('warren tokens create');
  });

  it('that was revoked or has expired is refused, and says which', async () => {
    const { world: w, doors } = await world();
    const revoked = await w.token('admin');
    await w.administer({ action: 'tokens.revoke', id: revoked.id });
    const one = await ask(doors.port, { path: `${API}/nodes`, token: revoked.secret });
    expect([one.status, problemOf(one).why]).toEqual([401, 'the token was revoked']);
    const expired = await w.token('admin');
    w.advance(3_600_000);
    const other = await ask(doors.port, { path: `${API}/nodes`, token: expired.secret });
    expect([other.status, problemOf(other).why]).toEqual([401, 'the token has expired']);
  });

  it('that is an auth key is no token', async () => {
    const { world: w, doors } = await world();
    const made = await ask(doors.socket, { method: 'POST', path: `${API}/keys`, body: {} });
    const secret = /auth=([\w-]+)/.exec(made.text)?.[1];
    expect(secret).toMatch(/^[\w-]{43}$/);
    expect((await ask(doors.port, { path: `${API}/keys`, token: secret ?? '' })).status).toBe(401);
    expect(w.core.state.authKeyCount).toBe(1);
  });

  it('is not needed on the admin socket, and not asked for there', async () => {
    const { doors } = await world();
    expect((await ask(doors.socket, { path: `${API}/nodes`, token: 'wrong' })).status).toBe(200);
  });
});

describe('scopes', () => {
  const bodies: Record<string, object> = { POST: {}, PATCH: { tags: [] } };
  const asks = ROUTES.filter(({ access, doors }) => access !== 'public' && doors.includes('tcp'));

  it.each(asks.map((route) => [`${route.method} ${route.path}`, route] as const))(
    '%s needs its own, or admin, and no other will do',
    async (_name, route) => {
      const { world: w, doors } = await world();
      const path = `${API}${route.path.replace(':id', 'k_0000000000').replace(':idOrName', 'nobody')}`;
      const body = bodies[route.method];
      const sent = { method: route.method, path, ...(body === undefined ? {} : { body }) };
      for (const scope of SCOPES) {
        const { secret } = await w.token(scope);
        const { status } = await ask(doors.port, { ...sent, token: secret });
        const may = route.access === 'any' || scope === route.access || scope === 'admin';
        expect([scope, status === 403]).toEqual([scope, !may]);
      }
    },
  );

  it('that are missing are named', async () => {
    const { world: w, doors } = await world();
    const { secret } = await w.token('nodes:read', 'audit:read');
    const answer = await ask(doors.port, { method: 'DELETE', path: `${API}/nodes/kiwi`, token: secret });
    expect(problemOf(answer)).toMatchObject({ code: 'forbidden', why: expect.stringContaining('nodes:write') });
    expect(problemOf(answer).why).toContain('nodes:read, audit:read');
  });

  it('cannot be given on by who does not have them', async () => {
    const { world: w, doors } = await world();
    const { secret } = await w.token('tokens:write', 'nodes:read');
    const post = (scopes: string[]) =>
      ask(doors.port, { method: 'POST', path: `${API}/tokens`, body: { name: 'x', scopes }, token: secret });
    expect((await post(['nodes:read'])).status).toBe(201);
    for (const scopes of [['admin'], ['nodes:read', 'nodes:write']]) {
      const answer = await post(scopes);
      expect([answer.status, problemOf(answer).why]).toEqual([403, expect.stringContaining(scopes.at(-1) ?? '')]);
    }
    expect(w.core.state.tokenCount).toBe(2);
  });
});

describe('limits', () => {
  it('lock an address out after wrong tokens, for a while, right ones too', async () => {
    const { world: w, doors } = await world();
    const { secret } = await w.token('admin');
    const attempt = (token: string) => ask(doors.port, { path: `${API}/nodes`, token });
    for (let i = 0; i < FAILED_ATTEMPTS.burst; i++) expect((await attempt(`wrong-${i}`)).status).toBe(401);
    const locked = await attempt(secret);
    expect(locked.status).toBe(429);
    expect(Number(locked.headers['retry-after'])).toBe(6);
    expect(problemOf(locked)).toMatchObject({ code: 'rateLimited', help: 'try again in 6 s' });
    expect((await ask(doors.socket, { path: `${API}/nodes` })).status).toBe(200);
    w.advance(6_000);
    expect((await attempt(secret)).status).toBe(200);
  });

  it('do not count right tokens as wrong ones', async () => {
    const { world: w, doors } = await world();
    const { secret } = await w.token('admin');
    for (let i = 0; i < 3 * FAILED_ATTEMPTS.burst; i++) {
      expect((await ask(doors.port, { path: `${API}/nodes`, token: secret })).status).toBe(200);
    }
  });

  it('hold a token to its rate, and leave other tokens alone', async () => {
    const { world: w, doors } = await world();
    const one = await w.token('admin');
    const other = await w.token('admin');
    const statuses: number[] = [];
    for (let i = 0; i <= TOKEN_REQUESTS.burst; i++) {
      statuses.push((await ask(doors.port, { path: `${API}/controller`, token: one.secret })).status);
    }
    expect(statuses.filter((status) => status === 200)).toHaveLength(TOKEN_REQUESTS.burst);
    expect(statuses.at(-1)).toBe(429);
    expect((await ask(doors.port, { path: `${API}/controller`, token: other.secret })).status).toBe(200);
    w.advance(1_000);
    expect((await ask(doors.port, { path: `${API}/controller`, token: one.secret })).status).toBe(200);
  });

  it('count the client that a proxy on this machine speaks for, and the audit names it', async () => {
    const { world: w, doors } = await world();
    const { secret } = await w.token('keys:write');
    const from = (address: string, token: string, method: 'GET' | 'POST' = 'GET') =>
      ask(doors.port, {
        method,
        path: `${API}/keys`,
        token,
        headers: { 'x-forwarded-for': `192.0.2.99, ${address}` },
        ...(method === 'POST' ? { body: {} } : {}),
      });
    for (let i = 0; i < FAILED_ATTEMPTS.burst; i++) await from('203.0.113.9', `wrong${i}`);
    expect((await from('203.0.113.9', secret)).status).toBe(429);
    expect((await from('203.0.113.10', secret, 'POST')).status).toBe(201);
    expect(w.auditRecords.at(-1)).toMatchObject({ action: 'keys.create', source: '203.0.113.10' });
  });

  it('keep a table of limited size, and forget who was quiet longest', () => {
    const at = (ms: number) => ms as Instant;
    const table = new RateTable({ burst: 1, perSecond: 1, keysMax: 3 });
    for (const [i, key] of ['a', 'b', 'c'].entries()) expect(table.take(key, at(i))).toBe(null);
    expect(table.take('a', at(3))).toBe(997);
    expect(table.take('d', at(4))).toBe(null);
    expect(table.size).toBe(3);
    expect(table.waitMs('a', at(4))).toBe(996);
    expect(table.waitMs('b', at(4))).toBe(null);
    expect(table.waitMs('a', at(1000))).toBe(null);
  });

  it('take a /64 of IPv6 as one source, and an IPv4 address by itself in either spelling', () => {
    expect(sourceOf('2001:db8:1:2:aaaa::1')).toBe(sourceOf('2001:db8:1:2:bbbb::2'));
    expect(sourceOf('2001:db8:1:2::1')).not.toBe(sourceOf('2001:db8:1:3::1'));
    expect(sourceOf('::ffff:192.0.2.1')).toBe('192.0.2.1');
    expect(sourceOf('192.0.2.1')).toBe('192.0.2.1');
    expect(sourceOf('unknown')).toBe('unknown');
  });
});

describe('a request', () => {
  it.each([
    ['GET', `${API}/nothing`, 404, 'notFound'],
    ['GET', `${API}`, 404, 'notFound'],
    ['GET', '/', 404, 'notFound'],
    ['GET', `${API}/nodes/`, 404, 'notFound'],
    ['GET', `${API}/nodes/a/b/c`, 404, 'notFound'],
    ['GET', `${API}/../../etc/passwd`, 404, 'notFound'],
    ['GET', `${API}/nodes/%zz`, 400, 'badRequest'],
    ['PUT', `${API}/nodes`, 405, 'methodNotAllowed'],
    ['DELETE', `${API}/keys`, 405, 'methodNotAllowed'],
    ['OPTIONS', `${API}/keys`, 405, 'methodNotAllowed'],
  ])('%s %s is answered with %i', async (method, path, status, code) => {
    const { doors } = await world();
    const answer = await ask(doors.socket, { method, path });
    expect([answer.status, problemOf(answer).code]).toEqual([status, code]);
    if (status === 405) expect(answer.headers.allow).toMatch(/GET|POST/);
  });

  it('has an id that the log has too, and answers are not kept by anyone', async () => {
    const { world: w, doors } = await world();
    const { headers } = await ask(doors.socket, { path: `${API}/nodes` });
    expect(headers['x-request-id']).toMatch(/^[0-9a-f]{12}$/);
    expect(headers['cache-control']).toBe('no-store');
    expect(w.logLines.join('\n')).toContain(String(headers['x-request-id']));
  });

  it('with HEAD is answered like GET, without the body', async () => {
    const { doors } = await world();
    const get = await ask(doors.socket, { path: `${API}/nodes` });
    const head = await ask(doors.socket, { method: 'HEAD', path: `${API}/nodes` });
    expect([head.status, head.text]).toEqual([200, '']);
    expect(head.headers['content-length']).toBe(get.headers['content-length']);
  });

  it.each([
    ['text/plain', '{}', 415, 'unsupportedMediaType'],
    ['application/jsonp', '{}', 415, 'unsupportedMediaType'],
    ['application/json', '{"a":', 400, 'badRequest'],
    ['application/json', 'null', 422, 'invalid'],
    ['application/json; charset=utf-8', '{}', 201, null],
  ])('with a body of type %s, %s, is answered with %i', async (type, body, status, code) => {
    const { doors } = await world();
    const answer = await ask(doors.socket, { method: 'POST', path: `${API}/keys`, type, body });
    expect([answer.status, status < 400 ? null : problemOf(answer).code]).toEqual([status, code]);
  });

  it('with a body that is too long is refused, declared or not', async () => {
    const { world: w, doors } = await world();
    const body = JSON.stringify({ description: 'x'.repeat(ADMIN_BODY_BYTES_MAX) });
    const declared = await ask(doors.socket, { method: 'POST', path: `${API}/keys`, body });
    expect([declared.status, problemOf(declared).code]).toEqual([413, 'bodyTooLarge']);
    const headers = { 'transfer-encoding': 'chunked' };
    const chunked = await ask(doors.socket, { method: 'POST', path: `${API}/keys`, body, headers });
    expect([chunked.status, problemOf(chunked).code]).toEqual([413, 'bodyTooLarge']);
    expect(w.core.state.authKeyCount).toBe(0);
  });

  it('with a body without end is ended', async () => {
    const { doors } = await world();
    const socket = connect({ path: doors.socket });
    let received = '';
    socket.on('data', (bytes) => {
      received += String(bytes);
    });
    socket.on('error', () => undefined);
    socket.write(
      `POST ${API}/keys HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`,
    );
    const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`;
    const more = (): void => {
      while (!socket.destroyed && socket.write(chunk));
    };
    socket.on('drain', more);
    more();
    await new Promise<void>((resolve) => socket.once('close', () => resolve()));
    expect(socket.bytesWritten).toBeLessThan(64 * ADMIN_BODY_BYTES_MAX);
    // The answer may be lost on the way: who writes on does not read.
    if (received !== '') expect(received).toMatch(/^HTTP\/1\.1 413 /);
  });

  it('whose body does not come is answered, in time', async () => {
    const slow = new PassThrough() as unknown as IncomingMessage;
    Object.assign(slow, { headers: { 'content-type': 'application/json' } });
    slow.push('{"a"');
    await expect(readJsonBody(slow, 20)).rejects.toMatchObject({ status: 408, problem: { code: 'timeout' } });
    const gone = new PassThrough() as unknown as IncomingMessage;
    Object.assign(gone, { headers: {} });
    const reading = readJsonBody(gone, 10_000);
    gone.destroy();
    await expect(reading).rejects.toThrow('the client went away');
  });

  it('with a body where none belongs is refused', async () => {
    const { world: w, doors } = await world();
    await w.join('kiwi');
    expect((await ask(doors.socket, { path: `${API}/nodes`, body: {} })).status).toBe(400);
    const removed = await ask(doors.socket, { method: 'DELETE', path: `${API}/nodes/kiwi`, body: { really: false } });
    expect([removed.status, w.core.state.nodeCount]).toEqual([422, 1]);
  });

  it('that is cut off in its body changes nothing and leaves nothing behind', async () => {
    const { world: w, doors } = await world();
    const socket = connect({ path: doors.socket });
    onTestFinished(() => {
      socket.destroy();
    });
    await new Promise<void>((resolve) => socket.once('connect', resolve));
    const head = `POST ${API}/keys HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{`;
    await new Promise<void>((resolve) => socket.write(head, () => resolve()));
    await new Promise<void>((resolve) => {
      socket.once('close', () => resolve());
      socket.destroy();
    });
    expect((await ask(doors.socket, { path: `${API}/keys` })).json).toEqual([]);
    expect(w.logLines.filter((line) => line.startsWith('error'))).toEqual([]);
  });

  it('that fails for a reason of our own tells the log why, and the client nothing', async () => {
    const { world: w, doors } = await world();
    const original = w.deps.audit;
    Object.assign(w.deps, { audit: () => Promise.reject(new Error('inner detail')) });
    const answer = await ask(doors.socket, { path: `${API}/audit` });
    Object.assign(w.deps, { audit: original });
    expect([answer.status, problemOf(answer).code]).toEqual([500, 'internal']);
    expect(answer.text).not.toContain('inner detail');
    expect(w.logLines.join('\n')).toContain('inner detail');
    expect(problemOf(answer).why).toContain(String(answer.headers['x-request-id']));
  });
});

describe('a secret', () => {
  it('is in the answer that makes it, and nowhere else: no list, no error, no log, no audit record', async () => {
    const { world: w, doors } = await world();
    const post = (path: string, body: object) => ask(doors.socket, { method: 'POST', path: `${API}${path}`, body });
    const link = (await post('/keys', { reusable: true })).json as { joinLink: string; id: string };
    const token = (await post('/tokens', { name: 'ci', scopes: ['admin'] })).json as { secret: string; id: string };
    const planted = 'planted-secret-0123456789-planted-secret-01';
    const secrets = [/auth=([\w-]+)/.exec(link.joinLink)?.[1] ?? '', token.secret, planted];
    for (const secret of secrets) expect(secret.length).toBeGreaterThanOrEqual(16);

    await w.join('kiwi');
    const answers: Answer[] = [];
    for (const route of ROUTES) {
      if (route.path === '/openapi.json') continue;
      const path = `${API}${route.path.replace(':idOrName', 'kiwi').replace(':id', route.path.startsWith('/keys') ? link.id : token.id)}`;
      for (const sent of [planted, token.secret]) {
        if (route.method === 'DELETE') continue;
        const body = route.method === 'GET' ? {} : { body: { wrong: sent } };
        answers.push(await ask(doors.port, { method: route.method, path, token: sent, ...body }));
        answers.push(await ask(doors.socket, { method: route.method, path, token: sent, ...body }));
      }
    }
    answers.push(await ask(doors.port, { method: 'DELETE', path: `${API}/tokens/${token.id}`, token: token.secret }));
    answers.push(await ask(doors.port, { path: `${API}/nodes`, token: token.secret }));
    expect(answers.length).toBeGreaterThan(30);
    const said = answers.map(({ text, headers }) => text + JSON.stringify(headers)).join('\n');
    const kept = w.logLines.join('\n') + JSON.stringify(w.auditRecords);
    for (const secret of secrets) {
      expect(said).not.toContain(secret);
      expect(kept).not.toContain(secret);
    }
  });
});
