// `warren controller approval on|off`: whether machines that join from now on wait for `warren nodes approve`. The option
// --require-approval of the controller says it at a start; this says it while it runs.

import type { ControllerChange, ControllerView } from '../../protocol/admin-api.ts';
import { ADMIN_DETAILS, ADMIN_OPTION_HELP, ADMIN_OPTIONS, withController } from '../admin-client.ts';
import { type CliIo, type Command, EXIT_DONE, parseArguments, UsageError } from '../command.ts';
import { oneArgument } from '../positionals.ts';

const MISSING = 'say on or off';

export const controllerApprovalCommand: Command = {
  name: 'approval',
  summary: 'Let new machines wait for approval, or not.',
  usage: 'controller approval on|off [OPTION …]',
  details: `Machines that are in stay in; keys made with --pre-approved need none.\n\n${ADMIN_DETAILS}`,
  options: [{ form: '--json', text: 'print the controller as JSON' }, ...ADMIN_OPTION_HELP],
  run,
};

function run(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, ADMIN_OPTIONS);
  const word = oneArgument(MISSING, positionals);
  if (word !== 'on' && word !== 'off') throw new UsageError(`${MISSING}, not ${JSON.stringify(word)}`);
  const change: ControllerChange = { requireApproval: word === 'on' };
  return withController(io, 'controller approval', values, async (client) => {
    const view = await client.send<ControllerView>('PATCH', '/controller', change);
    if (values.json === true) io.out(`${JSON.stringify(view)}\n`);
    else io.error(view.requireApproval ? 'new machines wait for approval\n' : 'new machines need no approval\n');
    return EXIT_DONE;
  });
}
