// The command line in process: what it prints on both outputs, and its exit code.

import { main } from '../../../src/cli/main.ts';

export interface Result {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

export interface Surroundings {
  readonly env?: NodeJS.ProcessEnv;
  readonly interactive?: boolean;
}

export async function run(argv: readonly string[], around: Surroundings = {}): Promise<Result> {
  let out = '';
  let error = '';
  const code = await main(argv, 'warren', {
    env: around.env ?? {},
    argv,
    out: (text) => {
      out += text;
    },
    error: (text) => {
      error += text;
    },
    interactive: around.interactive ?? false,
  });
  return { code, out, error };
}
