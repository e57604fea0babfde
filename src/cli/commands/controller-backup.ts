// `warren controller backup FILE`: a consistent copy of the controller's database while it runs. The controller writes the file,
// with its own rights, and a name that it can find from where it is.

import { resolve } from 'node:path';
import type { BackupLine } from '../../protocol/admin-api.ts';
import { withController } from '../admin-client.ts';
import { AdminError, cutOff } from '../admin-problems.ts';
import { type CliIo, type Command, EXIT_DONE, parseArguments } from '../command.ts';
import { DATA_OPTION_HELP } from '../data-directory.ts';
import { oneArgument } from '../positionals.ts';
import { bytes } from './show.ts';

const OPTIONS = { data: { type: 'string' }, json: { type: 'boolean' } } as const;

export const controllerBackupCommand: Command = {
  name: 'backup',
  summary: "Copy the controller's database to a file while it runs.",
  usage: 'controller backup FILE [OPTION …]',
  details: `FILE must not exist. It is for its owner alone (0600): the controller's private key is
in it. What brings it back: warren controller restore FILE. With PostgreSQL: pg_dump.

The controller writes it, with its own rights. Environment: WARREN_DATA (as --data).

Exit code: 0 done, 1 failed, 2 wrong arguments.`,
  options: [
    DATA_OPTION_HELP,
    { form: '--json', text: 'print {"path", "bytes"}' },
    { form: '-h, --help', text: 'this help' },
  ],
  run: backUp,
};

function backUp(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, OPTIONS);
  const path = resolve(oneArgument('name the file to write', positionals));
  return withController(io, 'controller backup', values, async (client) => {
    let done: Extract<BackupLine, { type: 'done' }> | null = null;
    await client.follow<BackupLine>('POST', '/backup', { path }, (line) => {
      if (line.type === 'done') done = line;
      else if (line.type === 'error') throw new AdminError(line.error);
      else if (io.interactive) io.error(`\r${Math.floor((100 * line.done) / Math.max(1, line.total))} %`);
    });
    if (io.interactive) io.error('\r');
    const result = done as Extract<BackupLine, { type: 'done' }> | null;
    if (result === null) throw cutOff(path, 'its answer ends without a result');
    if (values.json === true) io.out(`${JSON.stringify({ path: result.path, bytes: result.bytes })}\n`);
    else io.error(`wrote ${result.path}, ${bytes(result.bytes)}\n`);
    return EXIT_DONE;
  });
}
