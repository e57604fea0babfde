// `warren down` and what undoes `warren up`: sessions are closed, the interface goes, and the daemon stays out until the next
// `up`, also when it is started again.

import type { Status } from '../../protocol/local-api.ts';
import { type CliIo, type Command, EXIT_DONE, parseArguments, UsageError } from '../command.ts';
import { ask, HELP_OPTION_HELP, LOCAL_OPTIONS, SOCKET_OPTION_HELP, socketPath, withDaemon } from '../local-client.ts';

export const downCommand: Command = {
  name: 'down',
  summary: 'Disconnect this machine; it stays a member of its network.',
  usage: 'down [OPTION …]',
  details: `Closes all sessions and removes the interface. It is remembered: the daemon stays out when
it is started again, until: warren up. Exit code: 0, 1 when it failed, 2 for wrong
arguments.`,
  options: [{ form: '--json', text: 'print the status as JSON' }, SOCKET_OPTION_HELP, HELP_OPTION_HELP],
  run,
};

function run(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, LOCAL_OPTIONS);
  if (positionals.length > 0) throw new UsageError(`down takes no argument: ${JSON.stringify(positionals[0])}`);
  const json = values.json === true;
  const socket = socketPath(values.socket, io.env);
  return withDaemon(io, 'down', json, async () => {
    const status = await ask<Status>({ socket, method: 'POST', path: '/v1/down', body: {} });
    if (json) io.out(`${JSON.stringify(status)}\n`);
    else io.error(status.state === 'unconfigured' ? 'this machine belongs to no network\n' : 'disconnected\n');
    return EXIT_DONE;
  });
}
