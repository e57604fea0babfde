// A start that failed, as a person wants to read it: what happened, why, and what to do about it. The command line prints
// it; a background process passes it to its parent. Any other error is a bug and keeps its stack.

export interface StartFailure {
  readonly what: string;
  readonly why: string;
  /** Null when `why` says it. */
  readonly help: string | null;
}

export class StartError extends Error implements StartFailure {
  override readonly name = 'StartError';
  readonly what: string;
  readonly why: string;
  readonly help: string | null;

  constructor(failure: StartFailure) {
    super(`${failure.what}: ${failure.why}`);
    this.what = failure.what;
    this.why = failure.why;
    this.help = failure.help;
  }
}

/** A failure of the process around us, in whatever class it came; null for a bug. */
export function startFailureOf(error: unknown): StartFailure | null {
  if (!(error instanceof Error) || !('what' in error) || !('why' in error)) return null;
  const { what, why } = error;
  const help = 'help' in error && typeof error.help === 'string' ? error.help : null;
  return typeof what === 'string' && typeof why === 'string' ? { what, why, help } : null;
}

/** The errno name of a system error, or an OpenSSL code; null when there is none. */
export function errorCode(error: unknown): string | null {
  if (!(error instanceof Error) || !('code' in error)) return null;
  return typeof error.code === 'string' ? error.code : null;
}

export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
