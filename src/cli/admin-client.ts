// The person's side of the controller's REST API (src/protocol/admin-api.ts): over its admin socket on its own machine, or over
// HTTP(S) with a token from a file or the environment, never from the command line. What keeps it from the controller is
// put into words in admin-problems.ts. Loads no validator: the answers are shown, not obeyed.

import { readFileSync } from 'node:fs';
import { type ClientRequest, type IncomingMessage, type RequestOptions, request } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { ApiError } from '../protocol/admin-api.ts';
import { canonicalUrl } from '../protocol/join-link.ts';
import { ADMIN_PREFIX, ADMIN_SOCKET_NAME } from '../protocol/paths.ts';
import { AdminError, cutOff, notAController, unreachable, unreadable } from './admin-problems.ts';
import { type CliIo, UsageError } from './command.ts';
import { DATA_OPTION_HELP, dataDirectory } from './data-directory.ts';
import { tellProblem } from './local-client.ts';

/** Every command that speaks to the controller takes these. */
export const ADMIN_OPTIONS = {
  data: { type: 'string' },
  url: { type: 'string' },
  'token-file': { type: 'string' },
  ca: { type: 'string' },
  json: { type: 'boolean' },
} as const;

export const ADMIN_OPTION_HELP = [
  DATA_OPTION_HELP,
  { form: '--url URL', text: 'the controller on another machine; needs a token' },
  { form: '--token-file FILE', text: 'where the token is; else in WARREN_TOKEN' },
  { form: '--ca FILE', text: "PEM certificate to trust for URL, besides the system's" },
  { form: '-h, --help', text: 'this help' },
] as const;

export const ADMIN_DETAILS = `On the controller's machine it speaks to DIR/admin.sock, as the user who runs the
controller or root; elsewhere to --url with a token (warren tokens create).

Environment: WARREN_DATA (as --data), WARREN_TOKEN (the token for --url).

Exit code: 0 done, 1 failed, 2 wrong arguments.`;

export interface AdminValues {
  readonly data?: string | undefined;
  readonly url?: string | undefined;
  readonly 'token-file'?: string | undefined;
  readonly ca?: string | undefined;
  readonly json?: boolean | undefined;
}

export type AdminMethod = 'GET' | 'POST' | 'PATCH' | 'DELETE';

/** `ADMIN_PAGE_MAX` of the API: a page that is full has another behind it. */
const PAGE_RECORDS = 1000;
const ANSWER_BYTES_MAX = 256 * 1024 * 1024;
const SILENCE_LIMIT_MS = 30_000;
const LINE_LENGTH_MAX = 65_536;
const TOKEN_BYTES_MAX = 4096;

/** Where the controller is, and what opens the door. */
interface Target {
  /** As a person would name it. */
  readonly name: string;
  readonly socketPath: string | null;
  readonly url: URL | null;
  readonly token: string | null;
  readonly ca: Buffer | null;
}

export class AdminClient {
  readonly #target: Target;

  /** Throws UsageError, or AdminError when a file cannot be read. `warn`: for what works but should be known. */
  constructor(values: AdminValues, env: NodeJS.ProcessEnv, warn: (text: string) => void) {
    this.#target = values.url === undefined ? socketTarget(values, env) : urlTarget(values, values.url, env, warn);
  }

  /** `path`: below the prefix. Rejects with AdminError. */
  async send<T>(method: AdminMethod, path: string, body?: object): Promise<T> {
    return parse<T>(await wholeText(await this.#exchange(method, path, body), this.#target.name));
  }

  /** All pages of a list. */
  async list<T extends { readonly id: string | number }>(path: string): Promise<T[]> {
    const all: T[] = [];
    for (;;) {
      const last = all.at(-1);
      const query = last === undefined ? '' : `&after=${encodeURIComponent(last.id)}`;
      const page = await this.send<T[]>('GET', `${path}?limit=${PAGE_RECORDS}${query}`);
      all.push(...page);
      if (page.length < PAGE_RECORDS) return all;
    }
  }

  /** An answer of one JSON value a line, each as soon as it is there. */
  async follow<T>(method: AdminMethod, path: string, body: object, onLine: (line: T) => void): Promise<void> {
    const response = await this.#exchange(method, path, body);
    let rest = '';
    try {
      response.setEncoding('utf8');
      for await (const piece of response as AsyncIterable<string>) {
        const lines = `${rest}${piece}`.split('\n');
        rest = lines.pop() ?? '';
        if (rest.length > LINE_LENGTH_MAX) throw new Error('a line of the answer is too long');
        for (const line of lines) if (line !== '') onLine(parse<T>(line));
      }
    } catch (error) {
      throw error instanceof AdminError ? error : cutOff(this.#target.name, error);
    }
  }

  async #exchange(method: AdminMethod, path: string, body: object | undefined): Promise<IncomingMessage> {
    const response = await ask(this.#target, method, path, body);
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return response;
    const text = await wholeText(response, this.#target.name);
    throw refusal(status, text);
  }
}

/** Runs `work`; an AdminError is told (with --json as JSON) and gives exit code 1. */
export async function withController(
  io: CliIo,
  command: string,
  values: AdminValues,
  work: (client: AdminClient) => Promise<number>,
): Promise<number> {
  try {
    const warn = (text: string): void => io.error(`warren ${command}: ${text}\n`);
    return await work(new AdminClient(values, io.env, warn));
  } catch (error) {
    if (error instanceof AdminError) return tellProblem(io, command, error.problem, values.json === true);
    throw error;
  }
}

// — where —

function socketTarget(values: AdminValues, env: NodeJS.ProcessEnv): Target {
  for (const name of ['token-file', 'ca'] as const) {
    if (values[name] !== undefined) throw new UsageError(`--${name} goes with --url`);
  }
  const socketPath = join(dataDirectory(values.data, env), ADMIN_SOCKET_NAME);
  return { name: socketPath, socketPath, url: null, token: null, ca: null };
}

function urlTarget(values: AdminValues, text: string, env: NodeJS.ProcessEnv, warn: (text: string) => void): Target {
  if (values.data !== undefined) throw new UsageError('either --data or --url');
  const canonical = canonicalUrl(text);
  if (canonical === null) throw new UsageError(`--url wants http(s)://HOST[:PORT], not ${JSON.stringify(text)}`);
  const url = new URL(canonical);
  const token = tokenOf(values['token-file'], env);
  const ca = values.ca === undefined ? null : readOrFail(values.ca, 'the certificate');
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    warn('the token goes to the controller unencrypted; where others may listen, use https');
  }
  return { name: canonical, socketPath: null, url, token, ca };
}

function tokenOf(file: string | undefined, env: NodeJS.ProcessEnv): string {
  const fromEnvironment = env['WARREN_TOKEN'] ?? '';
  if (file === undefined && fromEnvironment === '') {
    throw new UsageError('--url needs a token: --token-file FILE, or WARREN_TOKEN in the environment');
  }
  const token = (file === undefined ? fromEnvironment : readOrFail(file, 'the token').toString('utf8')).trim();
  if (/^[!-~]+$/.test(token) && token.length <= TOKEN_BYTES_MAX) return token;
  throw new AdminError({
    code: 'badToken',
    message: 'the token cannot be used',
    why: `${file ?? 'WARREN_TOKEN'} holds ${token === '' ? 'nothing' : 'more than one word'}`,
    help: 'it must hold what warren tokens create printed, and nothing else',
  });
}

function readOrFail(path: string, what: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw unreadable(path, what, error);
  }
}

function isLoopback(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '');
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

// — asking —

function ask(target: Target, method: AdminMethod, path: string, body: object | undefined): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asking = open(target, method, path, body);
    asking.on('error', (error) => reject(unreachable(target, error)));
    asking.setTimeout(SILENCE_LIMIT_MS, () => asking.destroy(new Error(`no answer in ${SILENCE_LIMIT_MS / 1000} s`)));
    asking.on('response', resolve);
    asking.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

function open(target: Target, method: AdminMethod, path: string, body: object | undefined): ClientRequest {
  const text = body === undefined ? null : JSON.stringify(body);
  const headers = {
    accept: 'application/json',
    ...(text === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
    ...(target.token === null ? {} : { authorization: `Bearer ${target.token}` }),
  };
  if (target.url === null) {
    const options: RequestOptions = { method, agent: false, headers: { ...headers, host: 'warren' } };
    return request({ ...options, socketPath: target.socketPath ?? '', path: `${ADMIN_PREFIX}${path}` });
  }
  const { protocol, hostname, port, pathname } = target.url;
  const base = pathname === '/' ? '' : pathname;
  const host = hostname.replace(/^\[|\]$/g, '');
  const where = { host, ...(port === '' ? {} : { port: Number(port) }), path: `${base}${ADMIN_PREFIX}${path}` };
  const options: RequestOptions = { method, agent: false, headers, ...where };
  if (protocol === 'http:') return request(options);
  return tlsRequest({ ...options, ...(target.ca === null ? {} : { ca: target.ca }) });
}

async function wholeText(response: IncomingMessage, name: string): Promise<string> {
  const pieces: Buffer[] = [];
  let length = 0;
  try {
    for await (const piece of response as AsyncIterable<Buffer>) {
      length += piece.length;
      if (length > ANSWER_BYTES_MAX) throw new Error('the answer is too long');
      pieces.push(piece);
    }
  } catch (error) {
    throw cutOff(name, error);
  }
  return Buffer.concat(pieces).toString('utf8');
}

function parse<T>(text: string): T {
  try {
    return JSON.parse(text) as T;
  } catch {
    throw notAController('its answer is not JSON');
  }
}

function refusal(status: number, text: string): AdminError {
  let answer: Partial<ApiError> = {};
  try {
    answer = JSON.parse(text) as Partial<ApiError>;
  } catch {
    // Told below: a reverse proxy answers with pages.
  }
  return answer?.error === undefined ? notAController(`it answers ${status}`) : new AdminError(answer.error);
}
