// `warren peers flush PEER`: closes the session with a peer, so that the next packet makes a new one. Leaves out what peers there
// are, which `warren status` shows.

import { type CliIo, type Command, commandGroup, EXIT_DONE, parseArguments, UsageError } from '../command.ts';
import { ask, HELP_OPTION_HELP, LOCAL_OPTIONS, SOCKET_OPTION_HELP, socketPath, withDaemon } from '../local-client.ts';

const flushCommand: Command = {
  name: 'flush',
  summary: 'Close the session with a peer; the next packet makes a new one.',
  usage: 'peers flush PEER [OPTION …]',
  details: `PEER: a name, an address, a public key or an id. Exit code: 0 (also when there was no
session), 1 when it failed, 2 for wrong arguments.`,
  options: [{ form: '--json', text: 'print {"name", "closed"}' }, SOCKET_OPTION_HELP, HELP_OPTION_HELP],
  run: flush,
};

export const peersCommand: Command = commandGroup({
  name: 'peers',
  summary: 'Act on the sessions with peers.',
  details: 'What peers there are and how they are reached: warren status.',
  subcommands: [flushCommand],
});

function flush(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, LOCAL_OPTIONS);
  const [peer, excess] = positionals;
  if (peer === undefined) throw new UsageError('name the peer');
  if (excess !== undefined) throw new UsageError(`one peer at a time: ${JSON.stringify(excess)} is too much`);
  const json = values.json === true;
  const socket = socketPath(values.socket, io.env);
  return withDaemon(io, 'peers flush', json, async () => {
    const body = { peer };
    const answer = await ask<FlushAnswer>({ socket, method: 'POST', path: '/v1/peers/flush', body });
    if (json) io.out(`${JSON.stringify(answer)}\n`);
    else io.error(answer.closed ? `closed the session with ${answer.name}\n` : `${answer.name} has no session\n`);
    return EXIT_DONE;
  });
}

interface FlushAnswer {
  readonly name: string;
  readonly closed: boolean;
}
