// Auth keys and tokens: made, listed, revoked. The answer that makes one is the only one that ever holds its secret. A token
// cannot give another one more than it may do itself.

import { z } from 'zod';
import {
  keyCreatedSchema,
  keyCreateSchema,
  keyPageSchema,
  keyViewSchema,
  type Scope,
  tokenCreatedSchema,
  tokenCreateSchema,
  tokenViewSchema,
} from '../../protocol/admin-api.ts';
import { formatJoinLink } from '../../protocol/join-link.ts';
import type { AuthKeyRecord, TokenRecord } from '../state/model.ts';
import type { StateLists } from '../state/state-view.ts';
import { type ApiFailure, apiFailure } from './api-failure.ts';
import { carryOut } from './carry-out.ts';
import { pageAfter } from './page.ts';
import { type Requester, route } from './route.ts';
import { hasScope } from './scopes.ts';
import { keyView, tokenView } from './views.ts';

export const KEY_ROUTES = [
  route({
    method: 'GET',
    path: '/keys',
    operation: 'listKeys',
    summary: 'Auth keys, without their secrets, in the order in which they were made',
    access: 'keys:read',
    query: keyPageSchema,
    response: z.array(keyViewSchema),
    handle: ({ deps, query }) => {
      const page = pageAfter(deps.state().authKeys(), query.after ?? null, query.limit);
      return page.map((key) => keyView(key, deps.wallNow()));
    },
  }),
  route({
    method: 'POST',
    path: '/keys',
    operation: 'createKey',
    summary: 'Make an auth key; the answer has its join link, which is never shown again',
    access: 'keys:write',
    request: keyCreateSchema,
    response: keyCreatedSchema,
    status: 201,
    handle: async (call) => {
      const { deps, body } = call;
      const made = await carryOut(call, { action: 'keys.create', input: body }, 'authKeyCreated');
      const joinLink = formatJoinLink({ url: deps.url(), controllerKey: deps.joinKey, authKey: made.secret });
      return { ...keyView(made.key, deps.wallNow()), joinLink };
    },
  }),
  route({
    method: 'GET',
    path: '/keys/:id',
    operation: 'getKey',
    summary: 'One auth key',
    access: 'keys:read',
    response: keyViewSchema,
    handle: ({ deps, params }) => keyView(findKey(deps.state(), params['id'] ?? ''), deps.wallNow()),
  }),
  route({
    method: 'DELETE',
    path: '/keys/:id',
    operation: 'revokeKey',
    summary: 'Revoke an auth key: nobody joins with it any more; who has joined stays',
    access: 'keys:write',
    response: keyViewSchema,
    handle: async (call) => {
      const { id } = findKey(call.deps.state(), call.params['id'] ?? '');
      const { key } = await carryOut(call, { action: 'keys.revoke', id }, 'authKey');
      return keyView(key, call.deps.wallNow());
    },
  }),
];

export const TOKEN_ROUTES = [
  route({
    method: 'GET',
    path: '/tokens',
    operation: 'listTokens',
    summary: 'Tokens of this API, without their secrets, in the order in which they were made',
    access: 'tokens:write',
    query: keyPageSchema,
    response: z.array(tokenViewSchema),
    handle: ({ deps, query }) =>
      pageAfter(deps.state().tokens(), query.after ?? null, query.limit).map((token) => tokenView(token)),
  }),
  route({
    method: 'POST',
    path: '/tokens',
    operation: 'createToken',
    summary: 'Make a token; the answer has its secret, which is never shown again',
    access: 'tokens:write',
    request: tokenCreateSchema,
    response: tokenCreatedSchema,
    status: 201,
    handle: async (call) => {
      const input = { ...call.body, scopes: [...new Set(call.body.scopes)] };
      refuseMoreThanOwn(call.requester, input.scopes);
      const { token, secret } = await carryOut(call, { action: 'tokens.create', input }, 'tokenCreated');
      return { ...tokenView(token), secret };
    },
  }),
  route({
    method: 'DELETE',
    path: '/tokens/:id',
    operation: 'revokeToken',
    summary: 'Revoke a token: requests with it are refused from now on',
    access: 'tokens:write',
    response: tokenViewSchema,
    handle: async (call) => {
      const { id } = findToken(call.deps.state(), call.params['id'] ?? '');
      const { token } = await carryOut(call, { action: 'tokens.revoke', id }, 'token');
      return tokenView(token);
    },
  }),
];

function refuseMoreThanOwn({ scopes }: Requester, wanted: readonly Scope[]): void {
  const excess = wanted.filter((scope) => !hasScope(scopes, scope));
  if (excess.length === 0) return;
  throw apiFailure('forbidden', 'a token cannot make one that may do more than itself', {
    why: `it does not have ${excess.join(', ')}`,
    help: "use a token with the scope admin, or the controller's machine",
  });
}

function findKey(state: StateLists, id: string): AuthKeyRecord {
  const key = state.authKey(id);
  if (key === undefined) throw noSuch('auth key', id, 'warren keys list');
  return key;
}

function findToken(state: StateLists, id: string): TokenRecord {
  const token = state.token(id);
  if (token === undefined) throw noSuch('token', id, 'warren tokens list');
  return token;
}

function noSuch(what: string, id: string, command: string): ApiFailure {
  return apiFailure('notFound', `there is no ${what} ${JSON.stringify(id.slice(0, 32))}`, {
    why: 'none has that id',
    help: `${command} shows all of them`,
  });
}
