// What stands after a command that is no option: none, exactly so many, or some. Each wrong number is told by what is
// missing or too much.

import { UsageError } from './command.ts';

export function noArguments(command: string, positionals: readonly string[]): void {
  const [excess] = positionals;
  if (excess !== undefined) throw new UsageError(`${command} takes no argument: ${JSON.stringify(excess)} is too much`);
}

/** `missing`: what to say when there is none. */
export function oneArgument(missing: string, positionals: readonly string[]): string {
  const [first, excess] = positionals;
  if (first === undefined || first === '') throw new UsageError(missing);
  if (excess !== undefined) throw new UsageError(`one at a time: ${JSON.stringify(excess)} is too much`);
  return first;
}

/** One or more. */
export function someArguments(missing: string, positionals: readonly string[]): readonly string[] {
  if (positionals.length === 0 || positionals.includes('')) throw new UsageError(missing);
  return positionals;
}
