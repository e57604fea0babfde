// One row of the route table: what is asked for, who may, and what comes back. `route()` ties the schemas to the types that
// the handler sees; router.ts finds the row of a request, openapi.ts describes all of them.

import type { z } from 'zod';
import type { Scope } from '../../protocol/admin-api.ts';
import type { Actor } from '../state/commands.ts';
import type { AdminDeps } from './deps.ts';

export type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

/** The admin socket, or the controller's listener. */
export type Door = 'socket' | 'tcp';

/** `public`: without a token. `any`: with any token. Else the token needs this scope, or `admin`. */
export type Access = Scope | 'any' | 'public';

/** Who asks. */
export interface Requester {
  readonly actor: Actor;
  /** Null on the admin socket: all of them. */
  readonly scopes: readonly Scope[] | null;
}

/** Writes the answer in pieces: one JSON value a line. */
export type LineWriter = (line: unknown) => void;

export interface Call<Q, B> {
  /** Parts of the path, decoded. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: Q;
  readonly body: B;
  readonly requester: Requester;
  readonly deps: AdminDeps;
  /** Only where the row says `lines`: the first line sends status 200, so refuse before it. */
  readonly writeLine: LineWriter;
}

export interface RouteSpec<Q extends z.ZodType, B extends z.ZodType, R extends z.ZodType> {
  readonly method: Method;
  /** Below ADMIN_PREFIX; `:name` is one segment. */
  readonly path: string;
  /** Unique; what generated clients call it. */
  readonly operation: string;
  readonly summary: string;
  readonly access: Access;
  readonly doors?: readonly Door[];
  readonly query?: Q;
  readonly request?: B;
  /** Schema of the answer, or with `lines` of each of its lines. */
  readonly response: R;
  readonly status?: 200 | 201;
  readonly lines?: boolean;
  /** Without effect on the value; absent with `lines`. */
  readonly handle: (call: Call<z.output<Q>, z.output<B>>) => Promise<z.input<R>> | z.input<R>;
}

export interface Route {
  readonly method: Method;
  readonly path: string;
  readonly operation: string;
  readonly summary: string;
  readonly access: Access;
  readonly doors: readonly Door[];
  readonly query: z.ZodType | null;
  readonly request: z.ZodType | null;
  readonly response: z.ZodType;
  readonly status: 200 | 201;
  readonly lines: boolean;
  readonly handle: (call: Call<unknown, unknown>) => unknown;
}

export function route<Q extends z.ZodType, B extends z.ZodType, R extends z.ZodType>(spec: RouteSpec<Q, B, R>): Route {
  const { method, path, operation, summary, access, response } = spec;
  return {
    method,
    path,
    operation,
    summary,
    access,
    response,
    doors: spec.doors ?? ['socket', 'tcp'],
    query: spec.query ?? null,
    request: spec.request ?? null,
    status: spec.status ?? 200,
    lines: spec.lines ?? false,
    // The handler is called with what these very schemas gave.
    handle: (call) => spec.handle(call as Call<z.output<Q>, z.output<B>>),
  };
}
