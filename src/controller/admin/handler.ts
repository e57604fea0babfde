// One request of the REST API, from its head to its answer: find the row, see who asks, read what is sent, let the row's
// handler do it, answer with JSON. Refusals are ApiFailure; anything else that is thrown is a bug and told to the log alone. The
// log never has bodies or headers. Which door a request came through is the caller's to say.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { z } from 'zod';
import type { ApiError, Health } from '../../protocol/admin-api.ts';
import { ADMIN_PREFIX } from '../../protocol/paths.ts';
import { clientAddress } from '../../service/remote-address.ts';
import { ApiFailure, apiFailure } from './api-failure.ts';
import { Authenticator } from './authenticator.ts';
import type { AdminDeps } from './deps.ts';
import { hasBody, readJsonBody } from './request-body.ts';
import type { Door, LineWriter, Requester, Route } from './route.ts';
import { findRoute, type Match } from './router.ts';
import { ROUTES } from './routes.ts';
import { hasScope } from './scopes.ts';

/** A client that does not take its answer for so long is put out. */
export const ANSWER_TIMEOUT_MS = 60_000;
export const HEALTH_PATH = '/healthz';
const REQUEST_ID_BYTES = 6;

export type AdminHandler = (request: IncomingMessage, response: ServerResponse, door: Door) => void;

/** Answers every request it is given; paths that are not of the API with 404. Never throws. */
export function createAdminHandler(deps: AdminDeps, routes: readonly Route[] = ROUTES): AdminHandler {
  const authenticator = new Authenticator(deps);
  return (request, response, door) => {
    const exchange = new Exchange(deps, request, response, door);
    exchange.run(authenticator, routes).catch((error: unknown) => exchange.fail(error));
  };
}

class Exchange {
  readonly #deps: AdminDeps;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #door: Door;
  readonly #id: string;

  constructor(deps: AdminDeps, request: IncomingMessage, response: ServerResponse, door: Door) {
    this.#deps = deps;
    this.#request = request;
    this.#response = response;
    this.#door = door;
    this.#id = Buffer.from(deps.random(REQUEST_ID_BYTES)).toString('hex');
    response.setHeader('x-request-id', this.#id);
    response.setHeader('cache-control', 'no-store');
    response.setHeader('x-content-type-options', 'nosniff');
    response.setTimeout(ANSWER_TIMEOUT_MS, () => response.destroy());
  }

  async run(authenticator: Authenticator, routes: readonly Route[]): Promise<void> {
    const { path, query } = splitUrl(this.#request.url ?? '');
    if (path === HEALTH_PATH) return this.#answerHealth();
    const { route, params } = this.#find(routes, path);
    const requester = this.#identify(authenticator, route);
    this.#permit(route, requester);
    const parsedQuery = route.query === null ? refuseQuery(query) : parseQuery(route.query, query);
    const body = await this.#readBody(route);
    const writeLine: LineWriter = (line) => this.#writeLine(line);
    const call = { params, query: parsedQuery, body, requester, deps: this.#deps, writeLine };
    const answer = await route.handle(call);
    if (route.lines) this.#response.end();
    else this.#send(route.status, answer);
    this.#note(route.status, { method: route.method, path: route.path, actor: requester.actor.name });
  }

  #note(status: number, fields: Readonly<Record<string, string>>): void {
    this.#deps.onAnswer?.(this.#door, status);
    this.#deps.log.debug('administration', { request: this.#id, ...fields, status });
  }

  fail(error: unknown): void {
    if (this.#request.destroyed && !this.#request.complete) return;
    const failure = error instanceof ApiFailure ? error : this.#bug(error);
    const answer: ApiError = { error: failure.problem };
    this.#note(failure.status, { method: this.#request.method ?? '', refused: failure.problem.code });
    if (this.#response.headersSent) {
      this.#response.end(`${JSON.stringify({ type: 'error', ...answer })}\n`);
      return;
    }
    for (const [name, value] of Object.entries(failure.headers)) this.#response.setHeader(name, value);
    this.#send(failure.status, answer);
  }

  #bug(error: unknown): ApiFailure {
    const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#deps.log.error('an administrative request failed', { request: this.#id, why });
    return apiFailure('internal', 'the controller failed to do it', {
      why: `an error of its own; its log has it under request=${this.#id}`,
      help: 'see the log, and try again',
    });
  }

  #find(routes: readonly Route[], path: string): Match {
    if (!path.startsWith(`${ADMIN_PREFIX}/`)) throw noSuchPath();
    const found = findRoute(routes, this.#request.method ?? '', path.slice(ADMIN_PREFIX.length));
    switch (found.kind) {
      case 'match':
        return found.match;
      case 'noPath':
        throw noSuchPath();
      case 'malformed':
        throw apiFailure('badRequest', 'the path cannot be read', { why: 'a % in it is not followed by two digits' });
      case 'noMethod':
        throw apiFailure('methodNotAllowed', `${this.#request.method} is not for this path`, {
          why: `it takes ${found.allowed.join(', ')}`,
          headers: { allow: found.allowed.join(', ') },
        });
    }
  }

  #identify(authenticator: Authenticator, route: Route): Requester {
    if (this.#door === 'socket') return { actor: { name: 'socket', source: 'local' }, scopes: null };
    // Behind a proxy on this machine all come from the loopback, and one that guesses tokens would lock out the others.
    const { headers, socket } = this.#request;
    const forwarded = headers['x-forwarded-for'];
    const source =
      clientAddress(socket.remoteAddress, Array.isArray(forwarded) ? forwarded.at(-1) : forwarded) ?? 'unknown';
    if (route.access === 'public') return { actor: { name: 'public', source }, scopes: [] };
    const token = authenticator.authenticate(headers.authorization, source);
    return { actor: { name: `token ${token.id}`, source }, scopes: token.scopes };
  }

  #permit(route: Route, requester: Requester): void {
    if (!route.doors.includes(this.#door)) {
      throw apiFailure('socketOnly', 'this is done on the admin socket alone', {
        why: "it works on the controller's own files",
        help: "run it on the controller's machine, with --data DIR",
      });
    }
    if (route.access === 'public' || route.access === 'any' || hasScope(requester.scopes, route.access)) return;
    throw apiFailure('forbidden', 'the token may not do this', {
      why: `it needs the scope ${route.access} and has ${requester.scopes?.join(', ') ?? ''}`,
      help: `make a token for it: warren tokens create NAME --scope ${route.access}`,
    });
  }

  async #readBody(route: Route): Promise<unknown> {
    if (route.method === 'GET') {
      if (hasBody(this.#request)) throw apiFailure('badRequest', 'a GET has no body');
      return undefined;
    }
    const body = await readJsonBody(this.#request);
    if (route.request !== null) return parse(route.request, body === undefined ? {} : body, 'the body');
    if (body === undefined || (isObject(body) && Object.keys(body).length === 0)) return undefined;
    throw apiFailure('invalid', 'this takes no body');
  }

  #answerHealth(): void {
    const method = this.#request.method ?? '';
    if (method !== 'GET' && method !== 'HEAD') {
      throw apiFailure('methodNotAllowed', `${method} is not for this path`, { headers: { allow: 'GET' } });
    }
    const healthy = this.#deps.healthy();
    const health: Health = { status: healthy ? 'ok' : 'unavailable' };
    this.#send(healthy ? 200 : 503, health);
  }

  #send(status: number, body: unknown): void {
    const bytes = Buffer.from(`${JSON.stringify(body)}\n`);
    this.#response.statusCode = status;
    this.#response.setHeader('content-type', 'application/json');
    this.#response.setHeader('content-length', bytes.length);
    // What is left of a request that was refused is not waited for.
    if (!this.#request.complete) this.#response.setHeader('connection', 'close');
    this.#response.end(this.#request.method === 'HEAD' ? undefined : bytes);
  }

  #writeLine(line: unknown): void {
    if (!this.#response.headersSent) this.#response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    this.#response.write(`${JSON.stringify(line)}\n`);
  }
}

function splitUrl(url: string): { path: string; query: URLSearchParams } {
  const at = url.indexOf('?');
  if (at < 0) return { path: url, query: new URLSearchParams() };
  return { path: url.slice(0, at), query: new URLSearchParams(url.slice(at + 1)) };
}

function parseQuery(schema: z.ZodType, query: URLSearchParams): unknown {
  const values = new Map<string, string>();
  for (const [name, value] of query) {
    if (values.has(name)) throw apiFailure('invalid', `${JSON.stringify(name)} is there twice in the query`);
    values.set(name, value);
  }
  return parse(schema, Object.fromEntries(values), 'the query');
}

function refuseQuery(query: URLSearchParams): undefined {
  if (query.size > 0) throw apiFailure('invalid', 'this takes no query');
}

function parse(schema: z.ZodType, value: unknown, what: string): unknown {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = issue === undefined ? '' : issue.path.map(String).join('.');
  throw apiFailure('invalid', `${what} is not what this takes`, {
    why: `${path === '' ? '' : `${path}: `}${issue?.message ?? 'it does not fit the schema'}`,
    help: `the schema is at ${ADMIN_PREFIX}/openapi.json`,
  });
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function noSuchPath(): ApiFailure {
  return apiFailure('notFound', 'there is nothing at this path', {
    help: `what there is: ${ADMIN_PREFIX}/openapi.json`,
  });
}
