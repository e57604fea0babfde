// `warren ip [PEER]`: addresses of this machine or of a peer, one a line, IPv4 first; for scripts. Leaves out the addresses of other
// interfaces, which are candidates in `warren status --json`.

import type { Status } from '../../protocol/local-api.ts';
import { type CliIo, type Command, EXIT_DONE, parseArguments, UsageError } from '../command.ts';
import {
  ask,
  HELP_OPTION_HELP,
  LOCAL_OPTIONS,
  LocalError,
  SOCKET_OPTION_HELP,
  socketPath,
  withDaemon,
} from '../local-client.ts';

export const ipCommand: Command = {
  name: 'ip',
  summary: 'Print the addresses of this machine, or of a peer.',
  usage: 'ip [PEER] [OPTION …]',
  details: `One address a line, IPv4 first. PEER: a name, an address, a public key or an id. Exit code: 0,
1 when there are none, 2 for wrong arguments.`,
  options: [{ form: '--json', text: 'as a JSON array' }, SOCKET_OPTION_HELP, HELP_OPTION_HELP],
  run,
};

function run(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, LOCAL_OPTIONS);
  const [peer, excess] = positionals;
  if (excess !== undefined) throw new UsageError(`one peer at a time: ${JSON.stringify(excess)} is too much`);
  const json = values.json === true;
  const socket = socketPath(values.socket, io.env);
  return withDaemon(io, 'ip', json, async () => {
    const query = peer === undefined ? 'peers=none' : `peer=${encodeURIComponent(peer)}`;
    const status = await ask<Status>({ socket, method: 'GET', path: `/v1/status?${query}` });
    const addresses =
      peer === undefined ? status.self.addresses : (status.peers[0]?.addresses ?? status.self.addresses);
    if (addresses.length === 0) throw new LocalError(noAddresses(status));
    io.out(json ? `${JSON.stringify(addresses)}\n` : addresses.map((address) => `${address}\n`).join(''));
    return EXIT_DONE;
  });
}

function noAddresses(status: Status): LocalError['problem'] {
  if (status.problem !== null) return status.problem;
  return {
    code: 'notConfigured',
    message: 'this machine has no addresses yet',
    why: status.state === 'unconfigured' ? 'it belongs to no network' : `it is ${status.state}`,
    help: status.state === 'unconfigured' ? 'join one: warren up --join LINK' : 'connect: warren up',
  };
}
