// The person's side of the daemon's local API (src/protocol/local-api.ts): asks over its unix socket and puts what can go wrong
// on the way into words. Knows the API's types and nothing of the daemon; no validator is loaded, because both ends are of one
// machine and the answers are shown, not obeyed.

import { type IncomingMessage, request } from 'node:http';
import { printable } from '../base/printable.ts';
import type { Failure, Problem } from '../protocol/local-api.ts';
import { SOCKET_PATH_DEFAULT } from '../protocol/paths.ts';
import { type CliIo, EXIT_FAILED } from './command.ts';

/** A daemon of 10,000 peers says about 5 MB of status. */
const ANSWER_LENGTH_MAX = 256 * 1024 * 1024;
const LINE_LENGTH_MAX = ANSWER_LENGTH_MAX;
/** A daemon that says nothing for so long when it should answer at once is stuck. */
const SILENCE_LIMIT_MS = 15_000;

/** What the daemon says, or what keeps us from it: then `code` is one of ours. */
export type LocalProblem = Omit<Problem, 'code'> & { readonly code: string };

/** Thrown by all that asks the daemon. */
export class LocalError extends Error {
  override readonly name = 'LocalError';
  readonly problem: LocalProblem;

  constructor(problem: LocalProblem) {
    super(problem.message);
    this.problem = problem;
  }
}

/** Every command that speaks to the daemon takes these. */
export const LOCAL_OPTIONS = { socket: { type: 'string' }, json: { type: 'boolean' } } as const;

export const SOCKET_OPTION_HELP = { form: '--socket PATH', text: 'the daemon to ask; WARREN_SOCKET says it too' };
export const HELP_OPTION_HELP = { form: '-h, --help', text: 'this help' };

/** `option` before the environment before the default. */
export function socketPath(option: string | undefined, env: NodeJS.ProcessEnv): string {
  const named = option ?? env['WARREN_SOCKET'] ?? '';
  return named === '' ? SOCKET_PATH_DEFAULT : named;
}

export interface LocalRequest {
  readonly socket: string;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: object;
}

/** The answer to a question that is answered at once. Rejects with a LocalError. */
export async function ask<Answer>(what: LocalRequest): Promise<Answer> {
  const response = await send(what);
  response.socket.setTimeout(SILENCE_LIMIT_MS, () => response.destroy(new Error('no more of the answer came')));
  return parse<Answer>(await wholeText(response));
}

/**
 * The lines of an answer that takes its time, each as soon as it is there; resolves when the daemon is done. Rejects with a
 * LocalError. `abort` ends it early, and then it resolves.
 */
export async function follow<Line>(
  what: LocalRequest,
  onLine: (line: Line) => void,
  abort?: AbortSignal,
): Promise<void> {
  const response = await send(what);
  abort?.addEventListener('abort', () => response.destroy());
  let rest = '';
  try {
    response.setEncoding('utf8');
    for await (const piece of response as AsyncIterable<string>) {
      const lines = `${rest}${piece}`.split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > LINE_LENGTH_MAX) throw new Error('a line of the answer is too long');
      for (const line of lines) if (line !== '') onLine(parse<Line>(line));
    }
  } catch (error) {
    if (abort?.aborted === true) return;
    throw error instanceof LocalError ? error : cutOff(what.socket, error);
  }
}

function send({ socket, method, path, body }: LocalRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? '' : JSON.stringify(body);
    const headers = { host: 'warren', 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
    const asking = request({ socketPath: socket, method, path, headers, agent: false });
    asking.on('error', (error) => reject(unreachable(socket, error)));
    asking.setTimeout(SILENCE_LIMIT_MS, () => asking.destroy(new Error(`no answer in ${SILENCE_LIMIT_MS / 1000} s`)));
    asking.on('response', (response) => {
      asking.setTimeout(0);
      if (response.statusCode === 200) resolve(response);
      else refusal(response).then(reject, (error: unknown) => reject(cutOff(socket, error)));
    });
    asking.end(text);
  });
}

async function refusal(response: IncomingMessage): Promise<LocalError> {
  const { error } = parse<Partial<Failure>>(await wholeText(response));
  if (error !== undefined) return new LocalError(error);
  return notADaemon(`it answers ${response.statusCode}`);
}

async function wholeText(response: IncomingMessage): Promise<string> {
  response.setEncoding('utf8');
  const pieces: string[] = [];
  let length = 0;
  for await (const piece of response as AsyncIterable<string>) {
    length += piece.length;
    if (length > ANSWER_LENGTH_MAX) throw new Error('the answer is too long');
    pieces.push(piece);
  }
  return pieces.join('');
}

function parse<T>(text: string): T {
  try {
    return JSON.parse(text) as T;
  } catch {
    throw notADaemon('its answer is not JSON');
  }
}

// — what can go wrong on the way —

function unreachable(socket: string, error: Error): LocalError {
  const code = 'code' in error ? String(error.code) : '';
  switch (code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
    case 'ENOTDIR':
      return new LocalError({
        code: 'daemonNotRunning',
        message: 'the daemon is not running',
        why: code === 'ECONNREFUSED' ? `nobody answers on ${socket}` : `there is no socket ${socket}`,
        help: `start it: systemctl start warren-daemon, or as root: warren daemon${whichSocket(socket)}`,
      });
    case 'EACCES':
    case 'EPERM':
      return new LocalError({
        code: 'socketPermission',
        message: `no permission to speak to the daemon`,
        why: `${socket} is for root, and for the group warren where that group exists`,
        help: 'run it as root, or join the group and log in again: sudo usermod -aG warren "$USER"',
      });
    case 'ENOTSOCK':
      return notADaemon(`${socket} is a file, not a socket`);
    default:
      return new LocalError({
        code: 'daemonUnreachable',
        message: 'the daemon does not answer',
        why: `${socket}: ${error.message}`,
        help: 'look at its log: journalctl -u warren-daemon',
      });
  }
}

function whichSocket(socket: string): string {
  return socket === SOCKET_PATH_DEFAULT ? '' : ` --socket ${socket}`;
}

function cutOff(socket: string, error: unknown): LocalError {
  return new LocalError({
    code: 'daemonUnreachable',
    message: 'the daemon went away in the middle of its answer',
    why: `${socket}: ${error instanceof Error ? error.message : String(error)}`,
    help: 'look at its log: journalctl -u warren-daemon',
  });
}

function notADaemon(why: string): LocalError {
  return new LocalError({
    code: 'notADaemon',
    message: 'what answers is not a Warren daemon',
    why,
    help: 'name the socket of the daemon with --socket PATH',
  });
}

// — telling it —

/** Three lines for a person, one JSON object for a program; on standard error. */
export function tellProblem(io: CliIo, command: string, problem: LocalProblem, json: boolean): number {
  if (json) {
    io.error(`${JSON.stringify({ error: problem })}\n`);
    return EXIT_FAILED;
  }
  io.error(`warren ${command}: ${problemText(problem)}`);
  return EXIT_FAILED;
}

/** Some of the text is the controller's: it must not move the cursor or pass for another line. */
export function problemText(problem: LocalProblem): string {
  const why = problem.why === null ? '' : `  why: ${printable(problem.why)}\n`;
  const help = problem.help === null ? '' : `  do:  ${printable(problem.help)}\n`;
  return `${printable(problem.message)}\n${why}${help}`;
}

/** Runs `work`; a LocalError is told and gives exit code 1. */
export async function withDaemon(
  io: CliIo,
  command: string,
  json: boolean,
  work: () => Promise<number>,
): Promise<number> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof LocalError) return tellProblem(io, command, error.problem, json);
    throw error;
  }
}
