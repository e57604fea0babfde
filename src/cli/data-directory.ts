// Which controller of this machine is meant: its data directory, as `--data` says it, else the environment, else the usual place.
// Every command that knows `--data` asks here, so that all of them mean the same one.

import { DATA_DIR_DEFAULT } from '../protocol/paths.ts';

export const DATA_OPTION_HELP = {
  form: '--data DIR',
  text: `the controller's data (default ${DATA_DIR_DEFAULT})`,
} as const;

/** `option` before the environment before the default. */
export function dataDirectory(option: string | undefined, env: NodeJS.ProcessEnv): string {
  const named = option ?? env['WARREN_DATA'] ?? '';
  return named === '' ? DATA_DIR_DEFAULT : named;
}
