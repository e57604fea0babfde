// `warren controller restore FILE`: brings a backup back into the data directory of a controller that is stopped. It works
// on files, so it loads the controller's store, and only here.

import { type CliIo, type Command, EXIT_DONE, parseArguments, tellFailure } from '../command.ts';
import { DATA_OPTION_HELP, dataDirectory } from '../data-directory.ts';
import { oneArgument } from '../positionals.ts';

const OPTIONS = { data: { type: 'string' }, force: { type: 'boolean' }, json: { type: 'boolean' } } as const;

export const controllerRestoreCommand: Command = {
  name: 'restore',
  summary: 'Bring a backup back; the controller must be stopped.',
  usage: 'controller restore FILE [OPTION …]',
  details: `FILE: made by warren controller backup. It is checked first; until it is whole nothing
changes, and a database that is replaced is kept beside it. Machines connect again by
themselves when the controller runs; those that joined after the backup join anew.

Environment: WARREN_DATA (as --data).

Exit code: 0 done, 1 failed, 2 wrong arguments.`,
  options: [
    DATA_OPTION_HELP,
    { form: '--force', text: 'replace a database that is there' },
    { form: '--json', text: 'print {"data", "network", "nodes", "replaced"}' },
    { form: '-h, --help', text: 'this help' },
  ],
  run,
};

async function run(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, OPTIONS);
  const file = oneArgument('name the backup: a file made by warren controller backup', positionals);
  const data = dataDirectory(values.data, io.env);
  const { restore } = await import('../../controller/restore-main.ts');
  const outcome = await restore(file, data, values.force === true);
  if (outcome.kind === 'failed') return tellFailure(io, 'warren controller restore', outcome.failure);
  const { network, nodes, replaced } = outcome.report;
  if (values.json === true) io.out(`${JSON.stringify({ data, network, nodes, replaced })}\n`);
  else {
    const kept = replaced === null ? '' : `; the one before is ${replaced}`;
    io.error(`restored the network ${network} with ${nodes} node${nodes === 1 ? '' : 's'} to ${data}${kept}\n`);
  }
  return EXIT_DONE;
}
