// `warren nodes approve|rename|expire|remove|tag|enable|disable|address`: what changes a node. Each says on standard error what it
// did, or with --json prints the node as it is then.

import { familyOf, type IpAddress, parseAddress } from '../../base/ip.ts';
import type { NodeChange, NodeView } from '../../protocol/admin-api.ts';
import {
  ADMIN_DETAILS,
  ADMIN_OPTION_HELP,
  ADMIN_OPTIONS,
  type AdminClient,
  type AdminMethod,
  type AdminValues,
  withController,
} from '../admin-client.ts';
import { type CliIo, type Command, EXIT_DONE, parseArguments, UsageError } from '../command.ts';
import { durationOption, relative } from '../duration.ts';
import { oneArgument, someArguments } from '../positionals.ts';

const NODE_HELP = 'NODE: a name, a number, an address or a public key.';
const MISSING = 'name the node: warren nodes list shows them';
const JSON_OPTION = { form: '--json', text: 'print the node as JSON' };
const JSON_ARRAY_OPTION = { form: '--json', text: 'print the nodes as a JSON array' };

/** A command that does one thing to each of the nodes that it is given. */
function forEachNode(spec: {
  readonly name: string;
  readonly summary: string;
  readonly details: string;
  readonly done: (node: NodeView) => string;
  readonly ask: (client: AdminClient, path: string) => Promise<NodeView>;
}): Command {
  const run = (args: readonly string[], io: CliIo): Promise<number> => {
    const { values, positionals } = parseArguments(args, ADMIN_OPTIONS);
    const names = someArguments(MISSING, positionals);
    return withController(io, `nodes ${spec.name}`, values, async (client) => {
      const nodes: NodeView[] = [];
      for (const name of names) {
        const node = await spec.ask(client, pathOf(name));
        nodes.push(node);
        if (values.json !== true) io.error(`${spec.done(node)}\n`);
      }
      if (values.json === true) io.out(`${JSON.stringify(nodes)}\n`);
      return EXIT_DONE;
    });
  };
  return {
    name: spec.name,
    summary: spec.summary,
    usage: `nodes ${spec.name} NODE … [OPTION …]`,
    details: `${spec.details}\n\n${NODE_HELP}\n\n${ADMIN_DETAILS}`,
    options: [JSON_ARRAY_OPTION, ...ADMIN_OPTION_HELP],
    run,
  };
}

const send =
  (method: AdminMethod, action = '', body?: NodeChange) =>
  (client: AdminClient, path: string): Promise<NodeView> =>
    client.send<NodeView>(method, `${path}${action}`, body);

const approveCommand = forEachNode({
  name: 'approve',
  summary: 'Let in nodes that wait for approval.',
  details: 'They connect by themselves at once.',
  done: ({ name, addresses }) => `approved ${name}: ${addresses.join(', ')}`,
  ask: send('POST', '/approve'),
});

const removeCommand = forEachNode({
  name: 'remove',
  summary: 'Remove nodes: their sessions end at once, and they are locked out.',
  details: 'To come back they join as new machines. For a while only: warren nodes disable.',
  done: ({ name }) => `removed ${name}`,
  ask: send('DELETE'),
});

const disableCommand = forEachNode({
  name: 'disable',
  summary: 'Lock nodes out until they are enabled again.',
  details: 'Their sessions end at once; they keep their names and addresses.',
  done: ({ name }) => `disabled ${name}`,
  ask: send('PATCH', '', { disabled: true }),
});

const enableCommand = forEachNode({
  name: 'enable',
  summary: 'Let in nodes that were disabled.',
  details: 'They connect by themselves, or with warren up.',
  done: ({ name }) => `enabled ${name}`,
  ask: send('PATCH', '', { disabled: false }),
});

const renameCommand: Command = {
  name: 'rename',
  summary: 'Give a node another name.',
  usage: 'nodes rename NODE NAME [OPTION …]',
  details: `NAME: lower case letters, digits and hyphens, at most 63. Sessions are left alone.

${NODE_HELP}

${ADMIN_DETAILS}`,
  options: [JSON_OPTION, ...ADMIN_OPTION_HELP],
  run: (args, io) => {
    const { values, positionals } = parseArguments(args, ADMIN_OPTIONS);
    const [node, name, excess] = positionals;
    if (node === undefined || name === undefined) throw new UsageError('say which node, and its new name');
    if (excess !== undefined) throw new UsageError(`one at a time: ${JSON.stringify(excess)} is too much`);
    if (!/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(name)) {
      throw new UsageError(`names are lower case letters, digits and hyphens, at most 63: ${JSON.stringify(name)}`);
    }
    return change(
      io,
      'rename',
      node,
      values,
      () => ({ name: name as NodeView['name'] }),
      (changed) => {
        return `${node} is now ${changed.name}`;
      },
    );
  },
};

const EXPIRE_OPTIONS = { ...ADMIN_OPTIONS, in: { type: 'string' } } as const;

const expireCommand: Command = {
  name: 'expire',
  summary: 'Lock a node out until it joins again, now or at a time.',
  usage: 'nodes expire NODE [--in TIME] [OPTION …]',
  details: `When it joins again it gets back its name and addresses.

${NODE_HELP}

${ADMIN_DETAILS}`,
  options: [
    { form: '--in TIME', text: 'not now but in 30min, 24h, 7d, …; or never' },
    JSON_OPTION,
    ...ADMIN_OPTION_HELP,
  ],
  run: (args, io) => {
    const { values, positionals } = parseArguments(args, EXPIRE_OPTIONS);
    const node = oneArgument(MISSING, positionals);
    const seconds = durationOption('in', values.in);
    const told = (changed: NodeView): string =>
      `${changed.name} ${changed.state === 'expired' ? 'has expired' : `expires ${relative(changed.expiresAt, Date.now(), 'never')}`}`;
    if (seconds === undefined)
      return act(io, 'expire', values, (client) => send('POST', '/expire')(client, pathOf(node)), told);
    const expiresAt = seconds === null ? null : new Date(Date.now() + seconds * 1000).toISOString();
    return change(io, 'expire', node, values, () => ({ expiresAt }), told);
  },
};

const TAG_OPTIONS = {
  ...ADMIN_OPTIONS,
  add: { type: 'string', multiple: true },
  remove: { type: 'string', multiple: true },
  clear: { type: 'boolean' },
} as const;

const tagCommand: Command = {
  name: 'tag',
  summary: 'Set the tags of a node, or add and remove some.',
  usage: 'nodes tag NODE (TAG … | --add TAG | --remove TAG | --clear) [OPTION …]',
  details: `With TAGs after NODE these are its tags from now on.

${NODE_HELP}

${ADMIN_DETAILS}`,
  options: [
    { form: '--add TAG', text: 'besides those that it has; may be given several times' },
    { form: '--remove TAG', text: 'may be given several times' },
    { form: '--clear', text: 'no tags' },
    JSON_OPTION,
    ...ADMIN_OPTION_HELP,
  ],
  run: (args, io) => {
    const { values, positionals } = parseArguments(args, TAG_OPTIONS);
    const [node, ...tags] = positionals;
    const { add = [], remove = [], clear } = values;
    if (node === undefined) throw new UsageError(MISSING);
    const ways = [tags.length > 0, add.length + remove.length > 0, clear === true].filter(Boolean).length;
    if (ways !== 1) throw new UsageError('give the tags, or --add and --remove, or --clear');
    const tagsOf = (before: readonly string[]): string[] => {
      if (clear === true) return [];
      const wanted = tags.length > 0 ? tags : [...before, ...add];
      return [...new Set(wanted)].filter((tag) => !remove.includes(tag));
    };
    const told = (changed: NodeView): string => `${changed.name}: ${changed.tags.join(' ') || 'no tags'}`;
    return change(io, 'tag', node, values, (before) => ({ tags: tagsOf(before.tags) }), told);
  },
};

const addressCommand: Command = {
  name: 'address',
  summary: 'Give a node another address.',
  usage: 'nodes address NODE ADDRESS [ADDRESS] [OPTION …]',
  details: `One address, or one of each family, out of the ranges of the network (warren controller
show); the other family stays as it is. Sessions go on.

${NODE_HELP}

${ADMIN_DETAILS}`,
  options: [JSON_OPTION, ...ADMIN_OPTION_HELP],
  run: (args, io) => {
    const { values, positionals } = parseArguments(args, ADMIN_OPTIONS);
    const [node, ...addresses] = positionals;
    if (node === undefined || addresses.length === 0) throw new UsageError('say which node, and its new address');
    const parsed = addresses.map(addressArgument);
    const address4 = parsed.filter((address) => familyOf(address) === 4);
    const address6 = parsed.filter((address) => familyOf(address) === 6);
    if (address4.length > 1 || address6.length > 1) throw new UsageError('one address of each family');
    const told = (changed: NodeView): string => `${changed.name}: ${changed.addresses.join(', ')}`;
    return change(io, 'address', node, values, () => ({ addresses: addressChange(address4[0], address6[0]) }), told);
  },
};

export const NODE_CHANGE_COMMANDS: readonly Command[] = [
  approveCommand,
  renameCommand,
  expireCommand,
  removeCommand,
  tagCommand,
  disableCommand,
  enableCommand,
  addressCommand,
];

function addressArgument(text: string): IpAddress {
  const address = parseAddress(text);
  if (address === null) throw new UsageError(`${JSON.stringify(text)} is not an IP address`);
  return address;
}

function addressChange(
  address4: IpAddress | undefined,
  address6: IpAddress | undefined,
): NonNullable<NodeChange['addresses']> {
  return { ...(address4 === undefined ? {} : { address4 }), ...(address6 === undefined ? {} : { address6 }) };
}

/** PATCH with what `edit` makes of the node as it is. */
function change(
  io: CliIo,
  command: string,
  name: string,
  values: AdminValues,
  edit: (before: NodeView) => NodeChange,
  told: (changed: NodeView) => string,
): Promise<number> {
  const path = pathOf(name);
  return act(
    io,
    command,
    values,
    async (client) => client.send<NodeView>('PATCH', path, edit(await client.send<NodeView>('GET', path))),
    told,
  );
}

function act(
  io: CliIo,
  command: string,
  values: AdminValues,
  ask: (client: AdminClient) => Promise<NodeView>,
  told: (changed: NodeView) => string,
): Promise<number> {
  return withController(io, `nodes ${command}`, values, async (client) => {
    const node = await ask(client);
    if (values.json === true) io.out(`${JSON.stringify(node)}\n`);
    else io.error(`${told(node)}\n`);
    return EXIT_DONE;
  });
}

function pathOf(name: string): string {
  return `/nodes/${encodeURIComponent(name)}`;
}
