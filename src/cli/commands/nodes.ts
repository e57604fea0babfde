// `warren nodes …`: the machines of the network, as the controller sees them. This file has what reads; what changes a node is in
// nodes-change.ts. A node is named by its name, its number, an address or its public key.

import type { NodeView } from '../../protocol/admin-api.ts';
import { ADMIN_DETAILS, ADMIN_OPTION_HELP, ADMIN_OPTIONS, withController } from '../admin-client.ts';
import { type CliIo, type Command, commandGroup, EXIT_DONE, parseArguments, UsageError } from '../command.ts';
import { relative } from '../duration.ts';
import { noArguments, oneArgument } from '../positionals.ts';
import { fields, table } from '../table.ts';
import { NODE_CHANGE_COMMANDS } from './nodes-change.ts';

const STATES: readonly NodeView['state'][] = ['active', 'pending', 'expired', 'disabled'];

/** RELAY_TAG of protocol/reach.ts, without the validator that comes with it. */
const RELAY_TAG: typeof import('../../protocol/reach.ts').RELAY_TAG = 'relay';

const LIST_OPTIONS = {
  ...ADMIN_OPTIONS,
  state: { type: 'string' },
  tag: { type: 'string' },
  online: { type: 'boolean' },
  relays: { type: 'boolean' },
} as const;

const listCommand: Command = {
  name: 'list',
  summary: 'List nodes.',
  usage: 'nodes list [OPTION …]',
  details: ADMIN_DETAILS,
  options: [
    { form: '--state STATE', text: `only ${STATES.join(', ')}` },
    { form: '--tag TAG', text: 'only nodes with this tag' },
    { form: '--online', text: 'only nodes that are online' },
    { form: '--relays', text: 'the relays, which are left out otherwise' },
    { form: '--json', text: 'as a JSON array' },
    ...ADMIN_OPTION_HELP,
  ],
  run: list,
};

const showCommand: Command = {
  name: 'show',
  summary: 'Show all of one node.',
  usage: 'nodes show NODE [OPTION …]',
  details: `NODE: a name, a number, an address or a public key.\n\n${ADMIN_DETAILS}`,
  options: [{ form: '--json', text: 'as a JSON object' }, ...ADMIN_OPTION_HELP],
  run: show,
};

export const nodesCommand: Command = commandGroup({
  name: 'nodes',
  summary: 'List the machines of the network, and change them.',
  details: ADMIN_DETAILS,
  subcommands: [listCommand, showCommand, ...NODE_CHANGE_COMMANDS],
});

function list(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, LIST_OPTIONS);
  noArguments('nodes list', positionals);
  const { state, tag, online, relays = false } = values;
  if (state !== undefined && !STATES.some((known) => known === state)) {
    throw new UsageError(`--state wants one of ${STATES.join(', ')}, not ${JSON.stringify(state)}`);
  }
  return withController(io, 'nodes list', values, async (client) => {
    const members = await client.list<NodeView>('/nodes');
    const all = members.filter(({ tags }) => tags.includes(RELAY_TAG) === (relays || tag === RELAY_TAG));
    const nodes = all.filter(
      (node) =>
        (state === undefined || node.state === state) &&
        (tag === undefined || node.tags.includes(tag)) &&
        (online !== true || node.online),
    );
    if (values.json === true) io.out(`${JSON.stringify(nodes)}\n`);
    else if (all.length === 0 && relays) io.error('there is no relay: a controller runs one unless --no-relay\n');
    else if (all.length === 0) io.error('there are no nodes yet: warren keys create makes a join link\n');
    else if (nodes.length === 0) io.error('no node is like that\n');
    else io.out(nodeTable(nodes, Date.now()));
    return EXIT_DONE;
  });
}

function show(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, ADMIN_OPTIONS);
  const name = oneArgument('name the node: warren nodes list shows them', positionals);
  return withController(io, 'nodes show', values, async (client) => {
    const node = await client.send<NodeView>('GET', `/nodes/${encodeURIComponent(name)}`);
    io.out(values.json === true ? `${JSON.stringify(node)}\n` : nodeText(node, Date.now()));
    return EXIT_DONE;
  });
}

function nodeTable(nodes: readonly NodeView[], nowMs: number): string {
  const rows = nodes.map((node) => [
    node.name,
    node.addresses[0] ?? '-',
    node.state,
    node.online ? 'online' : relative(node.lastSeenAt, nowMs, 'never'),
    relative(node.expiresAt, nowMs, 'never'),
    node.tags.join(' ') || '-',
    node.software,
    String(node.id),
  ]);
  return table(['NAME', 'ADDRESS', 'STATE', 'LAST SEEN', 'EXPIRES', 'TAGS', 'SOFTWARE', 'NUMBER'], rows);
}

function nodeText(node: NodeView, nowMs: number): string {
  const pairs: [string, string][] = [
    ['name', node.name],
    ['number', String(node.id)],
    ['state', `${node.state}${node.ephemeral ? ', ephemeral' : ''}`],
    ['online', node.online ? 'yes' : `no, last seen ${relative(node.lastSeenAt, nowMs, 'never')}`],
    ['addresses', node.addresses.join(', ')],
    ['tags', node.tags.join(' ') || '-'],
    ['public key', node.publicKey],
    ['hostname', node.hostname],
    ['system', `${node.os}, ${node.software}`],
    ['joined', `${relative(node.createdAt, nowMs, '')}${node.joinedWith === null ? '' : ` with ${node.joinedWith}`}`],
    ['expires', relative(node.expiresAt, nowMs, 'never')],
    ['candidates', node.candidates.map(({ kind, endpoint }) => `${endpoint} (${kind})`).join(', ') || '-'],
  ];
  return fields(pairs);
}
