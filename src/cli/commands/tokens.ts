// `warren tokens create|list|revoke`: tokens with which the controller is administered over its REST API from other machines. For
// scripts: `create` prints the secret and nothing else on standard output.

import type { Scope, TokenCreate, TokenCreated, TokenView } from '../../protocol/admin-api.ts';
import { ADMIN_DETAILS, ADMIN_OPTION_HELP, ADMIN_OPTIONS, withController } from '../admin-client.ts';
import {
  type CliIo,
  type Command,
  commandGroup,
  didYouMean,
  EXIT_DONE,
  parseArguments,
  UsageError,
} from '../command.ts';
import { durationOption, relative } from '../duration.ts';
import { noArguments, oneArgument, someArguments } from '../positionals.ts';
import { table } from '../table.ts';

/** SCOPES of the API, written again so that no validator is loaded; a test compares them. */
export const TOKEN_SCOPES: readonly Scope[] = [
  'nodes:read',
  'nodes:write',
  'keys:read',
  'keys:write',
  'tokens:write',
  'audit:read',
  'admin',
];

const CREATE_OPTIONS = {
  ...ADMIN_OPTIONS,
  scope: { type: 'string', multiple: true },
  expires: { type: 'string' },
} as const;

const createCommand: Command = {
  name: 'create',
  summary: 'Make a token for the REST API.',
  usage: 'tokens create NAME --scope SCOPE … [OPTION …]',
  details: `Prints the token's secret and nothing else. It is shown this once; the controller keeps
only its hash. Scopes: ${TOKEN_SCOPES.slice(0, 5).join(', ')},
${TOKEN_SCOPES.slice(5).join(', ')} (everything).

${ADMIN_DETAILS}`,
  options: [
    { form: '--scope SCOPE', text: 'what it may do; several times, or with commas' },
    { form: '--expires TIME', text: '24h, 90d (default), …, or never' },
    { form: '--json', text: 'the whole token as JSON, with its secret' },
    ...ADMIN_OPTION_HELP,
  ],
  run: create,
};

const listCommand: Command = {
  name: 'list',
  summary: 'List tokens; their secrets are not kept and cannot be shown.',
  usage: 'tokens list [OPTION …]',
  details: ADMIN_DETAILS,
  options: [{ form: '--json', text: 'as a JSON array' }, ...ADMIN_OPTION_HELP],
  run: list,
};

const revokeCommand: Command = {
  name: 'revoke',
  summary: 'Revoke tokens: requests with them are refused from now on.',
  usage: 'tokens revoke ID … [OPTION …]',
  details: ADMIN_DETAILS,
  options: [{ form: '--json', text: 'the tokens as a JSON array' }, ...ADMIN_OPTION_HELP],
  run: revoke,
};

export const tokensCommand: Command = commandGroup({
  name: 'tokens',
  summary: 'Make, list and revoke tokens of the REST API.',
  details: ADMIN_DETAILS,
  subcommands: [createCommand, listCommand, revokeCommand],
});

function create(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, CREATE_OPTIONS);
  const name = oneArgument('name the token: who or what will use it', positionals);
  const expires = durationOption('expires', values.expires);
  const body: Partial<TokenCreate> = {
    name,
    scopes: scopesOf(values.scope ?? []),
    ...(expires === undefined ? {} : { expiresInSeconds: expires }),
  };
  return withController(io, 'tokens create', values, async (client) => {
    const token = await client.send<TokenCreated>('POST', '/tokens', body);
    io.out(values.json === true ? `${JSON.stringify(token)}\n` : `${token.secret}\n`);
    if (io.interactive && values.json !== true) {
      io.error(`${token.id}, expires ${relative(token.expiresAt, Date.now(), 'never')}; it is not shown again\n`);
    }
    return EXIT_DONE;
  });
}

function scopesOf(given: readonly string[]): Scope[] {
  const words = given.flatMap((word) => word.split(','));
  if (words.length === 0) throw new UsageError(`say what it may do: --scope ${TOKEN_SCOPES.join(', ')}`);
  return words.map((word) => {
    const scope = TOKEN_SCOPES.find((known) => known === word);
    if (scope !== undefined) return scope;
    throw new UsageError(`there is no scope ${JSON.stringify(word)}${didYouMean(word, TOKEN_SCOPES)}`);
  });
}

function list(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, ADMIN_OPTIONS);
  noArguments('tokens list', positionals);
  return withController(io, 'tokens list', values, async (client) => {
    const tokens = await client.list<TokenView>('/tokens');
    if (values.json === true) io.out(`${JSON.stringify(tokens)}\n`);
    else if (tokens.length === 0) io.error('there are no tokens: warren tokens create makes one\n');
    else io.out(tokenTable(tokens, Date.now()));
    return EXIT_DONE;
  });
}

function revoke(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, ADMIN_OPTIONS);
  const ids = someArguments('say which tokens: their ids are in warren tokens list', positionals);
  const wrong = ids.findIndex((id) => !/^t_[A-Za-z0-9]{10}$/.test(id));
  // Not what was given: it may be a secret.
  if (wrong >= 0) throw new UsageError(`argument ${wrong + 1} is not the id of a token (t_ and 10 letters)`);
  return withController(io, 'tokens revoke', values, async (client) => {
    const tokens: TokenView[] = [];
    for (const id of ids) {
      tokens.push(await client.send<TokenView>('DELETE', `/tokens/${id}`));
      if (values.json !== true) io.error(`revoked ${id}\n`);
    }
    if (values.json === true) io.out(`${JSON.stringify(tokens)}\n`);
    return EXIT_DONE;
  });
}

function tokenTable(tokens: readonly TokenView[], nowMs: number): string {
  const rows = tokens.map((token) => [
    token.id,
    token.name,
    stateOf(token, nowMs),
    token.scopes.join(' '),
    relative(token.expiresAt, nowMs, 'never'),
    relative(token.lastUsedAt, nowMs, 'never'),
  ]);
  return table(['ID', 'NAME', 'STATE', 'SCOPES', 'EXPIRES', 'LAST USED'], rows);
}

function stateOf({ revokedAt, expiresAt }: TokenView, nowMs: number): string {
  if (revokedAt !== null) return 'revoked';
  return expiresAt !== null && Date.parse(expiresAt) <= nowMs ? 'expired' : 'usable';
}
