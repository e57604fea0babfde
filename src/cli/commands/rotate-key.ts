// `warren rotate-key`: replaces this machine's key. Addresses, name and membership stay; sessions are made anew under the new
// key. The daemon and the controller do it, this asks.

import { type CliIo, type Command, EXIT_DONE, parseArguments } from '../command.ts';
import { ask, HELP_OPTION_HELP, LOCAL_OPTIONS, SOCKET_OPTION_HELP, socketPath, withDaemon } from '../local-client.ts';
import { noArguments } from '../positionals.ts';

export const rotateKeyCommand: Command = {
  name: 'rotate-key',
  summary: 'Replace the key of this machine; everything else stays.',
  usage: 'rotate-key [OPTION …]',
  details: `Prints the new public key. Needs the controller. Exit code: 0, 1 when it failed (the old key
stays in use then), 2 for wrong arguments.`,
  options: [{ form: '--json', text: 'print {"publicKey"}' }, SOCKET_OPTION_HELP, HELP_OPTION_HELP],
  run,
};

function run(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, LOCAL_OPTIONS);
  noArguments('rotate-key', positionals);
  const json = values.json === true;
  const socket = socketPath(values.socket, io.env);
  return withDaemon(io, 'rotate-key', json, async () => {
    const answer = await ask<{ readonly publicKey: string }>({
      socket,
      method: 'POST',
      path: '/v1/rotate-key',
      body: {},
    });
    io.out(json ? `${JSON.stringify(answer)}\n` : `${answer.publicKey}\n`);
    return EXIT_DONE;
  });
}
