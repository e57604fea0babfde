// `warren keys create|list|revoke`: the auth keys that let machines in, as join links. For scripts: `create` prints the join link
// and nothing else on standard output.

import type { KeyCreate, KeyCreated, KeyView } from '../../protocol/admin-api.ts';
import { ADMIN_DETAILS, ADMIN_OPTION_HELP, ADMIN_OPTIONS, withController } from '../admin-client.ts';
import { type CliIo, type Command, commandGroup, EXIT_DONE, parseArguments, UsageError } from '../command.ts';
import { durationOption, relative } from '../duration.ts';
import { noArguments, someArguments } from '../positionals.ts';
import { table } from '../table.ts';

const CREATE_OPTIONS = {
  ...ADMIN_OPTIONS,
  reusable: { type: 'boolean' },
  ephemeral: { type: 'boolean' },
  'pre-approved': { type: 'boolean' },
  expires: { type: 'string' },
  tag: { type: 'string', multiple: true },
  description: { type: 'string' },
} as const;

const createCommand: Command = {
  name: 'create',
  summary: 'Make a join link, which lets a machine into the network.',
  usage: 'keys create [OPTION …]',
  details: `Prints the join link and nothing else. It is shown this once: whoever has it can join
until it is used, expires or is revoked.

${ADMIN_DETAILS}`,
  options: [
    { form: '--reusable', text: 'it lets in any number of machines, not one' },
    { form: '--ephemeral', text: 'machines that join with it are removed when they go away' },
    { form: '--pre-approved', text: 'they need no approval, where the network asks for it' },
    { form: '--expires TIME', text: '30min, 24h (default), 7d, …, or never' },
    { form: '--tag TAG', text: 'the machines get it; may be given several times' },
    { form: '--description TEXT', text: 'for the list' },
    { form: '--json', text: 'the whole key as JSON, with the link as joinLink' },
    ...ADMIN_OPTION_HELP,
  ],
  run: create,
};

const listCommand: Command = {
  name: 'list',
  summary: 'List auth keys; their secrets are not kept and cannot be shown.',
  usage: 'keys list [OPTION …]',
  details: ADMIN_DETAILS,
  options: [{ form: '--json', text: 'as a JSON array' }, ...ADMIN_OPTION_HELP],
  run: list,
};

const revokeCommand: Command = {
  name: 'revoke',
  summary: 'Revoke auth keys: nobody joins with them any more.',
  usage: 'keys revoke ID … [OPTION …]',
  details: `Machines that have joined with them stay: warren nodes remove.\n\n${ADMIN_DETAILS}`,
  options: [{ form: '--json', text: 'the keys as a JSON array' }, ...ADMIN_OPTION_HELP],
  run: revoke,
};

export const keysCommand: Command = commandGroup({
  name: 'keys',
  summary: 'Make, list and revoke join links.',
  details: ADMIN_DETAILS,
  subcommands: [createCommand, listCommand, revokeCommand],
});

function create(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, CREATE_OPTIONS);
  noArguments('keys create', positionals);
  const expires = durationOption('expires', values.expires);
  const body: Partial<KeyCreate> = {
    reusable: values.reusable === true,
    ephemeral: values.ephemeral === true,
    preApproved: values['pre-approved'] === true,
    tags: values.tag ?? [],
    ...(values.description === undefined ? {} : { description: values.description }),
    ...(expires === undefined ? {} : { expiresInSeconds: expires }),
  };
  return withController(io, 'keys create', values, async (client) => {
    const key = await client.send<KeyCreated>('POST', '/keys', body);
    io.out(values.json === true ? `${JSON.stringify(key)}\n` : `${key.joinLink}\n`);
    if (io.interactive && values.json !== true) {
      const machines = key.reusable ? 'any number of machines' : 'one machine';
      const until = key.expiresAt === null ? 'does not expire' : `expires ${relative(key.expiresAt, Date.now(), '')}`;
      io.error(`for ${machines}, ${until}; it is not shown again. On the machine: warren up --join LINK\n`);
    }
    return EXIT_DONE;
  });
}

function list(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, ADMIN_OPTIONS);
  noArguments('keys list', positionals);
  return withController(io, 'keys list', values, async (client) => {
    const keys = await client.list<KeyView>('/keys');
    if (values.json === true) io.out(`${JSON.stringify(keys)}\n`);
    else if (keys.length === 0) io.error('there are no auth keys: warren keys create makes one\n');
    else io.out(keyTable(keys, Date.now()));
    return EXIT_DONE;
  });
}

function revoke(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, ADMIN_OPTIONS);
  const ids = someArguments('say which keys: their ids are in warren keys list', positionals);
  const wrong = ids.findIndex((id) => !/^k_[A-Za-z0-9]{10}$/.test(id));
  // Not what was given: it may be a secret.
  if (wrong >= 0) throw new UsageError(`argument ${wrong + 1} is not the id of a key (k_ and 10 letters)`);
  return withController(io, 'keys revoke', values, async (client) => {
    const keys: KeyView[] = [];
    for (const id of ids) {
      keys.push(await client.send<KeyView>('DELETE', `/keys/${id}`));
      if (values.json !== true) io.error(`revoked ${id}\n`);
    }
    if (values.json === true) io.out(`${JSON.stringify(keys)}\n`);
    return EXIT_DONE;
  });
}

function keyTable(keys: readonly KeyView[], nowMs: number): string {
  const rows = keys.map((key) => [
    key.id,
    key.state,
    kindOf(key),
    String(key.uses),
    relative(key.expiresAt, nowMs, 'never'),
    relative(key.lastUsedAt, nowMs, 'never'),
    key.tags.join(' ') || '-',
    key.description,
  ]);
  return table(['ID', 'STATE', 'KIND', 'USES', 'EXPIRES', 'LAST USED', 'TAGS', 'DESCRIPTION'], rows);
}

function kindOf({ reusable, ephemeral, preApproved }: KeyView): string {
  const words = [reusable ? 'reusable' : 'once'];
  if (ephemeral) words.push('ephemeral');
  if (preApproved) words.push('pre-approved');
  return words.join(', ');
}
