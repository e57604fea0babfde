// Who asks over the listener: `Authorization: Bearer SECRET` of a token that is there, not revoked and not expired (the core
// checks that, in constant time, and notes the use). Failed attempts are limited by address (IPv6 by /64), requests by
// token. Why a token is refused is told only to who holds a secret that was right once.

import { isIPv6 } from 'node:net';
import { toHex } from '../../base/bytes.ts';
import { maskBits, parseAddressBytes } from '../../base/ip.ts';
import type { TokenRecord } from '../state/model.ts';
import { type ApiFailure, apiFailure } from './api-failure.ts';
import type { AdminDeps } from './deps.ts';
import { RateTable } from './rate-table.ts';

/** Ten mistakes at once, then one in six seconds. */
export const FAILED_ATTEMPTS = { burst: 10, perSecond: 1 / 6, keysMax: 4096 } as const;
export const TOKEN_REQUESTS = { burst: 100, perSecond: 20, keysMax: 4096 } as const;
const BEARER = /^Bearer +([!-~]{1,256})$/i;
const ADVICE = "make a token on the controller's machine: warren tokens create NAME --scope SCOPE";
const WHY = {
  unknown: 'the controller knows no such token',
  expired: 'the token has expired',
  revoked: 'the token was revoked',
} as const;

export class Authenticator {
  readonly #deps: AdminDeps;
  readonly #failed = new RateTable(FAILED_ATTEMPTS);
  readonly #requests = new RateTable(TOKEN_REQUESTS);

  constructor(deps: AdminDeps) {
    this.#deps = deps;
  }

  /** `authorization`: the header; `address`: where the request comes from. Throws ApiFailure. */
  authenticate(authorization: string | undefined, address: string): TokenRecord {
    const now = this.#deps.now();
    const source = sourceOf(address);
    const locked = this.#failed.waitMs(source, now);
    if (locked !== null) throw tooMany(locked, 'there were too many wrong tokens from this address');
    if (authorization === undefined) throw unauthenticated('the request has no token', 'Authorization is missing');
    const secret = BEARER.exec(authorization.trim())?.[1];
    const check = this.#deps.checkToken(secret ?? '');
    if (!check.ok) {
      this.#failed.take(source, now);
      const why = secret === undefined ? 'Authorization does not read: Bearer SECRET' : WHY[check.reason];
      throw unauthenticated('the token is not valid', why);
    }
    const wait = this.#requests.take(check.token.id, now);
    if (wait !== null) throw tooMany(wait, 'this token makes too many requests');
    return check.token;
  }
}

function unauthenticated(message: string, why: string): ApiFailure {
  return apiFailure('unauthenticated', message, { why, help: ADVICE, headers: { 'www-authenticate': 'Bearer' } });
}

function tooMany(waitMs: number, why: string): ApiFailure {
  const seconds = Math.max(1, Math.ceil(waitMs / 1000));
  return apiFailure('rateLimited', 'too many requests', {
    why,
    help: `try again in ${seconds} s`,
    headers: { 'retry-after': String(seconds) },
  });
}

/** Whoever has one address of a /64 has all of them. An IPv4 client of an IPv6 socket (`::ffff:…`) counts by itself. */
export function sourceOf(address: string): string {
  const bytes = isIPv6(address) ? parseAddressBytes(address) : null;
  if (bytes === null || bytes.length !== 16) return address;
  if (toHex(bytes.subarray(0, 12)) === '00000000000000000000ffff') return bytes.subarray(12).join('.');
  maskBits(bytes, 64);
  return toHex(bytes.subarray(0, 8));
}
