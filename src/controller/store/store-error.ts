// What can go wrong with a store, as a person wants to read it: what happened, why, and what to do next. `code` is for
// programs. Never holds a password or a key. Any other error that a store throws is a bug of ours and keeps its stack.

export type StoreErrorCode =
  | 'location' // it cannot be read as a directory or a URL
  | 'notWritable'
  | 'corrupt'
  | 'foreign' // a database, but not Warren's
  | 'newer' // written by a newer Warren
  | 'locked' // another process has it
  | 'full'
  | 'io'
  | 'nativeMissing'
  | 'unreachable'
  | 'denied'
  | 'superseded' // another controller has written
  | 'unknownOutcome' // the connection broke while committing
  | 'afterFailure' // queued behind a commit that failed
  | 'broken' // an earlier failure left it in doubt
  | 'alreadyInitialized'
  | 'notInitialized'
  | 'overloaded'
  | 'exists'
  | 'unsupported'
  | 'closed';

export interface StoreProblem {
  readonly code: StoreErrorCode;
  readonly what: string;
  readonly why: string;
  /** What to do next. */
  readonly help: string;
}

export class StoreError extends Error implements StoreProblem {
  override readonly name = 'StoreError';
  readonly code: StoreErrorCode;
  readonly what: string;
  readonly why: string;
  readonly help: string;

  constructor(problem: StoreProblem, cause?: unknown) {
    super(`${problem.what}: ${problem.why}`, cause === undefined ? undefined : { cause });
    this.code = problem.code;
    this.what = problem.what;
    this.why = problem.why;
    this.help = problem.help;
  }
}

/** `code` of a system's or a database's error, or the empty string. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error) || !('code' in error)) return '';
  return typeof error.code === 'string' ? error.code : '';
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
