// A problem as it is thrown inside the daemon: what the local API answers with, and what status shows. The sentences that
// do not need anything but their own facts are in problems.ts.

import type { Problem } from '../../protocol/local-api.ts';

export class ProblemError extends Error {
  override readonly name = 'ProblemError';
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.message);
    this.problem = problem;
  }
}

/** Any other error is ours: told without its stack, which goes to the log. */
export function toProblem(error: unknown): Problem {
  if (error instanceof ProblemError) return error.problem;
  return {
    code: 'internal',
    message: 'something went wrong inside the daemon',
    why: error instanceof Error ? error.message : String(error),
    help: 'see its log (LOG_LEVEL=debug says more), and report it',
  };
}
