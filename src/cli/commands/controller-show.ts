// `warren controller show`: which controller runs, where machines reach it, and over which addresses. Works from other
// machines with a token, like all of administration.

import type { ControllerView } from '../../protocol/admin-api.ts';
import { ADMIN_DETAILS, ADMIN_OPTION_HELP, ADMIN_OPTIONS, withController } from '../admin-client.ts';
import { type CliIo, type Command, EXIT_DONE, parseArguments } from '../command.ts';
import { noArguments } from '../positionals.ts';
import { fields } from '../table.ts';

export const controllerShowCommand: Command = {
  name: 'show',
  summary: 'Show a running controller and its network.',
  usage: 'controller show [OPTION …]',
  details: ADMIN_DETAILS,
  options: [{ form: '--json', text: 'as a JSON object' }, ...ADMIN_OPTION_HELP],
  run,
};

function run(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, ADMIN_OPTIONS);
  noArguments('controller show', positionals);
  return withController(io, 'controller show', values, async (client) => {
    const view = await client.send<ControllerView>('GET', '/controller');
    io.out(values.json === true ? `${JSON.stringify(view)}\n` : text(view));
    return EXIT_DONE;
  });
}

function text(view: ControllerView): string {
  const { name, prefix4, prefix6 } = view.network;
  return fields([
    ['version', view.version],
    ['url', view.url],
    ['public key', view.publicKey],
    ['network', `${name}, ${prefix4}, ${prefix6}`],
    ['new machines', view.requireApproval ? 'wait for approval' : 'need no approval'],
    ['machines', `${view.nodes}, of which ${view.online} online`],
  ]);
}
