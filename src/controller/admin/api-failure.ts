// A request that is refused, as the REST API tells it: a status, a code for programs, and for people what happened, why and
// what to do next. Handlers throw it; handler.ts answers with it. Any other error is a bug: 500, told to the log alone.

import type { ApiErrorCode, ApiProblem } from '../../protocol/admin-api.ts';

export interface FailureDetail {
  readonly why?: string | null;
  readonly help?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Of each code, where the caller does not say another. */
const STATUS: Readonly<Record<ApiErrorCode, number>> = {
  badRequest: 400,
  unauthenticated: 401,
  forbidden: 403,
  socketOnly: 403,
  notFound: 404,
  methodNotAllowed: 405,
  timeout: 408,
  conflict: 409,
  ambiguous: 409,
  bodyTooLarge: 413,
  unsupportedMediaType: 415,
  invalid: 422,
  rateLimited: 429,
  internal: 500,
  unavailable: 503,
};

export class ApiFailure extends Error {
  override readonly name = 'ApiFailure';
  readonly status: number;
  readonly problem: ApiProblem;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, problem: ApiProblem, headers: Readonly<Record<string, string>> = {}) {
    super(problem.message);
    this.status = status;
    this.problem = problem;
    this.headers = headers;
  }
}

export function apiFailure(code: ApiErrorCode, message: string, detail: FailureDetail = {}): ApiFailure {
  const { why = null, help = null, headers = {} } = detail;
  return new ApiFailure(STATUS[code], { code, message, why, help }, headers);
}
