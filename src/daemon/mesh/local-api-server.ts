// The daemon's local API (src/protocol/local-api.ts): HTTP over a unix socket, requests validated and bounded, long work answered
// line by line. Knows nothing of the mesh: what is asked goes to a LocalBackend. A reader that does not read costs a bounded
// buffer and then its connection; one that watches and is slow gets the latest status, not each.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { z } from 'zod';
import {
  type Failure,
  flushRequestSchema,
  type PingLine,
  type PingRequest,
  type Problem,
  pingRequestSchema,
  REQUEST_BYTES_MAX,
  type Status,
  type UpLine,
  type UpRequest,
  upRequestSchema,
} from '../../protocol/local-api.ts';
import type { NetcheckReport, WhyReport } from '../../protocol/path-report.ts';
import { RequestLimit, WITHOUT_CHECKS } from '../../service/request-limit.ts';
import type { Log } from '../log.ts';
import { ProblemError, toProblem } from './problem-error.ts';
import { listenOnPath, type UnixListener } from './unix-listener.ts';

export const CLIENTS_MAX = 256;
/** The group whose members may use the local API. */
export const API_GROUP = 'warren';
/** For a request to be all there. */
const REQUEST_LIMIT_MS = 10_000;
const UNREAD_BYTES_MAX = 64 * 1024 * 1024;
/** Changes are shown this often at most, and traffic this often while someone watches. */
export const WATCH_SPACING_MS = 100;
export const WATCH_TICK_MS = 1000;

/** Which peers a status is wanted of: all, none, or the one that is named. */
export type PeerFilter = { readonly kind: 'all' | 'none' } | { readonly kind: 'one'; readonly name: string };

/** What the API is about. Everything throws or rejects with a ProblemError. `signal`: the client is gone. */
export interface LocalBackend {
  status(filter: PeerFilter): Status;
  /** Gives the end of it. */
  onChange(listener: () => void): () => void;
  up(request: UpRequest, tell: (line: UpLine) => void, signal: AbortSignal): Promise<void>;
  down(): Promise<void>;
  /** `told`: the controller has heard of it. */
  logout(): Promise<{ readonly told: boolean }>;
  /** Resolves when the controller has taken the new key. */
  rotateKey(): Promise<{ readonly publicKey: string }>;
  ping(request: PingRequest, tell: (line: PingLine) => void, signal: AbortSignal): Promise<void>;
  why(peer: string): WhyReport;
  netcheck(): Promise<NetcheckReport>;
  flush(peer: string): { readonly name: string; readonly closed: boolean };
}

export class LocalApiServer {
  readonly #backend: LocalBackend;
  readonly #log: Log;
  readonly #server: Server;
  readonly #limit: RequestLimit;
  #listener: UnixListener | null = null;
  #closed = false;

  /** Listens when it resolves. Rejects with a StartError. */
  static async open(
    path: string,
    backend: LocalBackend,
    log: Log,
    group = API_GROUP,
    requestLimitMs = REQUEST_LIMIT_MS,
  ): Promise<LocalApiServer> {
    const server = new LocalApiServer(backend, log, requestLimitMs);
    try {
      server.#listener = await listenOnPath(server.#server, { path, group });
    } catch (error) {
      server.closeNow();
      throw error;
    }
    return server;
  }

  private constructor(backend: LocalBackend, log: Log, requestLimitMs: number) {
    this.#backend = backend;
    this.#log = log;
    this.#server = createServer(WITHOUT_CHECKS, (req, res) => {
      this.#handle(req, res).catch((error: unknown) => this.#refuse(res, error));
    });
    this.#limit = new RequestLimit(this.#server, requestLimitMs);
    this.#server.maxConnections = CLIENTS_MAX;
    this.#server.on('clientError', (_error, socket) => socket.destroy());
  }

  get path(): string {
    return this.#listener?.path ?? '';
  }

  /** Removes the socket's file and puts every client out. Idempotent. */
  closeNow(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#listener?.remove();
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const url = new URL(req.url ?? '/', 'http://warren');
    const route = `${req.method} ${url.pathname}`;
    // Nothing more is read of it than its head.
    if (req.method === 'GET') this.#limit.met(req.socket);
    switch (route) {
      case 'GET /v1/status':
        if (url.searchParams.get('watch') === '1') this.#watch(peerFilter(url), res);
        else answer(res, this.#backend.status(peerFilter(url)));
        break;
      case 'POST /v1/up':
        await this.#up(req, res);
        break;
      case 'POST /v1/down':
        await this.#body(req);
        await this.#backend.down();
        answer(res, this.#backend.status({ kind: 'none' }));
        break;
      case 'POST /v1/logout':
        await this.#body(req);
        answer(res, await this.#backend.logout());
        break;
      case 'POST /v1/rotate-key':
        await this.#body(req);
        answer(res, await this.#backend.rotateKey());
        break;
      case 'POST /v1/ping':
        await this.#ping(req, res);
        break;
      case 'GET /v1/why':
        answer(res, this.#backend.why(url.searchParams.get('peer') ?? ''));
        break;
      case 'POST /v1/netcheck':
        await this.#body(req);
        answer(res, await this.#backend.netcheck());
        break;
      case 'POST /v1/peers/flush':
        answer(res, this.#backend.flush(validated(flushRequestSchema, await this.#body(req)).peer));
        break;
      default:
        throw badRequest(`there is no ${route}`, 'the command and the daemon are of different versions: restart it');
    }
  }

  async #up(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const request = validated(upRequestSchema, await this.#body(req));
    const lines = new LineWriter<UpLine>(res);
    try {
      await this.#backend.up(request, (line) => lines.write(line), lines.signal);
    } catch (error) {
      this.#logInternal(error);
      lines.write({ type: 'error', problem: toProblem(error) });
    }
    lines.end();
  }

  async #ping(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const request = validated(pingRequestSchema, await this.#body(req));
    const lines = new LineWriter<PingLine>(res);
    try {
      await this.#backend.ping(request, (line) => lines.write(line), lines.signal);
    } catch (error) {
      this.#logInternal(error);
      lines.write({ type: 'error', problem: toProblem(error) });
    }
    lines.end();
  }

  async #body(req: IncomingMessage): Promise<unknown> {
    const body = await readBody(req);
    this.#limit.met(req.socket);
    return body;
  }

  #watch(filter: PeerFilter, res: ServerResponse): void {
    // The first one here, so that an unknown peer is an answer and not the end of a stream.
    const first = this.#backend.status(filter);
    const lines = new LineWriter<Status>(res);
    let shown = '';
    let timer: NodeJS.Timeout | null = null;
    const show = (status: Status): void => {
      const text = JSON.stringify(status);
      if (text !== shown) lines.writeText(text);
      shown = text;
    };
    const tick = (): void => {
      timer = null;
      if (lines.signal.aborted) return;
      try {
        // What has not been read yet is old enough already: the latest comes when there is room.
        if (!res.writableNeedDrain) show(this.#backend.status(filter));
        schedule(WATCH_TICK_MS);
      } catch {
        // The peer was removed: there is nothing left to watch.
        lines.end();
      }
    };
    let due = Number.POSITIVE_INFINITY;
    const schedule = (ms: number): void => {
      const at = performance.now() + ms;
      if (timer !== null && due <= at) return;
      if (timer !== null) clearTimeout(timer);
      due = at;
      timer = setTimeout(tick, ms);
    };
    const stop = this.#backend.onChange(() => schedule(WATCH_SPACING_MS));
    lines.signal.addEventListener('abort', () => {
      stop();
      if (timer !== null) clearTimeout(timer);
    });
    show(first);
    schedule(WATCH_TICK_MS);
  }

  #refuse(res: ServerResponse, error: unknown): void {
    this.#logInternal(error);
    if (res.headersSent) {
      res.destroy();
      return;
    }
    const problem = toProblem(error);
    const body: Failure = { error: problem };
    answer(res, body, statusCodeOf(problem));
  }

  #logInternal(error: unknown): void {
    if (error instanceof ProblemError) return;
    this.#log.error('a request to the local API failed', { why: error instanceof Error ? (error.stack ?? '') : '' });
  }
}

/** One JSON object a line; `signal` fires when the client is gone or the answer is complete. */
class LineWriter<Line> {
  readonly #res: ServerResponse;
  readonly #gone = new AbortController();

  constructor(res: ServerResponse) {
    this.#res = res;
    res.on('close', () => this.#gone.abort());
    res.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
    res.flushHeaders();
  }

  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  write(line: Line): void {
    this.writeText(JSON.stringify(line));
  }

  writeText(text: string): void {
    if (this.signal.aborted || this.#res.writableEnded) return;
    if (this.#res.writableLength > UNREAD_BYTES_MAX) this.#res.destroy();
    else this.#res.write(`${text}\n`);
  }

  end(): void {
    this.#res.end();
  }
}

function answer(res: ServerResponse, body: object, code = 200): void {
  const text = JSON.stringify(body);
  res.writeHead(code, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
  });
  res.end(text);
}

function statusCodeOf(problem: Problem): number {
  switch (problem.code) {
    case 'badRequest':
      return 400;
    case 'unknownPeer':
      return 404;
    case 'internal':
      return 500;
    default:
      return 409;
  }
}

function peerFilter(url: URL): PeerFilter {
  const name = url.searchParams.get('peer');
  if (name !== null) return { kind: 'one', name };
  return { kind: url.searchParams.get('peers') === 'none' ? 'none' : 'all' };
}

async function readBody(req: IncomingMessage): Promise<unknown> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of req as AsyncIterable<Buffer>) {
    length += piece.length;
    if (length > REQUEST_BYTES_MAX) throw badRequest(`a request has at most ${REQUEST_BYTES_MAX} bytes`, null);
    pieces.push(piece);
  }
  if (length === 0) return {};
  try {
    return JSON.parse(Buffer.concat(pieces).toString('utf8'));
  } catch {
    throw badRequest('the request is not JSON', null);
  }
}

function validated<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw badRequest(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not valid'}`, null);
}

function badRequest(why: string, help: string | null): ProblemError {
  return new ProblemError({ code: 'badRequest', message: 'the daemon does not understand the request', why, help });
}
