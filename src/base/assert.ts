// Invariants. A broken one is our bug, so it throws; input from the network is never checked with these.
// `unreachable` closes a switch over a union: a case that is forgotten does not compile.

export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** Throws InvariantError unless `condition` holds. `what` says what should have been true. */
export function assert(condition: boolean, what: string): asserts condition {
  if (!condition) throw new InvariantError(`broken invariant: ${what}`);
}

/** The default branch of a switch over a closed union: reaching it is a compile error first, a crash second. */
export function unreachable(value: never): never {
  throw new InvariantError(`broken invariant: unexpected case ${String(value)}`);
}
