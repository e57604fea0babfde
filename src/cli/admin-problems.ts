// What can keep a command from the controller, in words: not running, no permission, another name, another certificate, no
// controller at all. What the controller itself refuses comes with its own words.

import { lstatSync, readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname } from 'node:path';
import type { ApiProblem } from '../protocol/admin-api.ts';
import { DATA_DIR_DEFAULT } from '../protocol/paths.ts';

/** Thrown by all that asks the controller. */
export class AdminError extends Error {
  override readonly name = 'AdminError';
  readonly problem: ApiProblem;

  constructor(problem: ApiProblem) {
    super(problem.message);
    this.problem = problem;
  }
}

interface Whereabouts {
  readonly name: string;
  readonly socketPath: string | null;
}

export function unreachable(target: Whereabouts, error: Error): AdminError {
  const code = 'code' in error ? String(error.code) : '';
  return target.socketPath === null
    ? unreachableUrl(target.name, code, error)
    : unreachableSocket(target.socketPath, code, error);
}

function unreachableSocket(path: string, code: string, error: Error): AdminError {
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
    case 'ECONNREFUSED':
      return problem({
        code: 'controllerNotRunning',
        message: 'the controller is not running on this machine',
        why: code === 'ECONNREFUSED' ? `nobody answers on ${path}` : `there is no ${path}`,
        help: `start it: ${startCommand(path)}; or name its directory with --data DIR, or its address with --url URL`,
      });
    case 'EACCES':
    case 'EPERM':
      return problem({
        code: 'socketPermission',
        message: 'no permission to administer the controller',
        why: `${path} is for ${ownerOf(path)} alone, and this is ${currentUser()}`,
        help: 'run the command as that user, or use --url and a token',
      });
    case 'ENOTSOCK':
      return notAController(`${path} is a file, not a socket`);
    default:
      return problem({
        code: 'controllerUnreachable',
        message: 'the controller does not answer',
        why: `${path}: ${error.message}`,
        help: 'look at its log: journalctl -u warren-controller',
      });
  }
}

function unreachableUrl(url: string, code: string, error: Error): AdminError {
  const message = `cannot reach the controller at ${url}`;
  switch (code) {
    case 'ECONNREFUSED':
      return problem({
        code: 'controllerUnreachable',
        message,
        why: 'nobody listens there',
        help: 'check the address and the port, and that the controller runs',
      });
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return problem({
        code: 'controllerUnreachable',
        message,
        why: 'its name has no address',
        help: 'check the name, and that this machine can look names up',
      });
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
    case 'CERT_HAS_EXPIRED':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
      return problem({
        code: 'certificate',
        message,
        why: `its certificate is not trusted: ${error.message}`,
        help: 'if it is the right one, name it (or who signed it) with --ca FILE',
      });
    case 'EPROTO':
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
      return problem({
        code: 'protocol',
        message,
        why: 'what answers does not speak TLS',
        help: 'try it with http://',
      });
    case 'ECONNRESET':
      return problem({
        code: 'protocol',
        message,
        why: 'it closed the connection without an answer',
        help: 'if it speaks TLS, name it with https://',
      });
    default:
      return problem({
        code: 'controllerUnreachable',
        message,
        why: error.message,
        help: 'check the address, and what is between here and there',
      });
  }
}

export function cutOff(name: string, error: unknown): AdminError {
  return problem({
    code: 'controllerUnreachable',
    message: 'the controller went away in the middle of its answer',
    why: `${name}: ${error instanceof Error ? error.message : String(error)}`,
    help: 'see whether it was done, and look at the log of the controller',
  });
}

export function notAController(why: string): AdminError {
  return problem({
    code: 'notAController',
    message: 'what answers is not a Warren controller',
    why,
    help: 'check --url (with the path of the reverse proxy, if there is one) or --data',
  });
}

export function unreadable(path: string, what: string, error: unknown): AdminError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const why = code === 'ENOENT' ? `there is no ${path}` : error instanceof Error ? error.message : String(error);
  return problem({ code: 'unreadable', message: `cannot read ${what}`, why, help: null });
}

function problem(what: ApiProblem): AdminError {
  return new AdminError(what);
}

function startCommand(path: string): string {
  const directory = dirname(path);
  return `warren controller${directory === DATA_DIR_DEFAULT ? '' : ` --data ${directory}`}`;
}

/** Of the socket, or where that cannot be seen, of the directory that hides it. */
function ownerOf(path: string): string {
  for (const place of [path, dirname(path), dirname(dirname(path))]) {
    try {
      const { uid } = lstatSync(place);
      return `the user ${userName(uid) ?? uid}`;
    } catch {
      // One further up may be seen.
    }
  }
  return 'another user';
}

function userName(uid: number): string | null {
  try {
    for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
      const [name, , id] = line.split(':');
      if (name !== undefined && id === String(uid)) return name;
    }
  } catch {
    // Then the number says it.
  }
  return null;
}

function currentUser(): string {
  try {
    return userInfo().username;
  } catch {
    return `user ${process.getuid?.() ?? 'unknown'}`;
  }
}
