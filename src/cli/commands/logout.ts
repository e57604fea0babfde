// `warren logout`: leaves the network for good. The controller is told when it can be reached; keys and netmap of this machine
// are destroyed in any case.

import { type CliIo, type Command, EXIT_DONE, parseArguments, UsageError } from '../command.ts';
import { ask, HELP_OPTION_HELP, LOCAL_OPTIONS, SOCKET_OPTION_HELP, socketPath, withDaemon } from '../local-client.ts';

const NOT_TOLD = `
  the controller could not be told and still lists this machine; there: warren nodes remove NAME`;

export const logoutCommand: Command = {
  name: 'logout',
  summary: 'Leave the network: forget its keys; joining again needs a join link.',
  usage: 'logout [OPTION …]',
  details: `Disconnects, tells the controller to forget this machine, and destroys the machine's key and
what it knows of the network. Exit code: 0, 1 when it failed, 2 for wrong arguments.`,
  options: [
    { form: '--json', text: 'print {"told"} when done, errors as JSON too' },
    SOCKET_OPTION_HELP,
    HELP_OPTION_HELP,
  ],
  run,
};

function run(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, LOCAL_OPTIONS);
  if (positionals.length > 0) throw new UsageError(`logout takes no argument: ${JSON.stringify(positionals[0])}`);
  const json = values.json === true;
  const socket = socketPath(values.socket, io.env);
  return withDaemon(io, 'logout', json, async () => {
    const answer = await ask<{ readonly told: boolean }>({ socket, method: 'POST', path: '/v1/logout', body: {} });
    if (json) io.out(`${JSON.stringify(answer)}\n`);
    else io.error(`left the network; its keys are destroyed${answer.told ? '' : NOT_TOLD}\n`);
    return EXIT_DONE;
  });
}
