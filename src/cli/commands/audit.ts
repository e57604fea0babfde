// `warren audit`: who changed what, when, and from where. Newest last, as logs are read; the JSON is newest first, as the
// controller gives it.

import type { AuditPageView, AuditView } from '../../protocol/admin-api.ts';
import { ADMIN_DETAILS, ADMIN_OPTION_HELP, ADMIN_OPTIONS, withController } from '../admin-client.ts';
import { type CliIo, type Command, EXIT_DONE, parseArguments, wholeNumber } from '../command.ts';
import { noArguments } from '../positionals.ts';
import { table } from '../table.ts';

const LIMIT_DEFAULT = 50;
const LIMIT_MAX = 100_000;
const PAGE_RECORDS = 1000;

const OPTIONS = { ...ADMIN_OPTIONS, limit: { type: 'string' }, before: { type: 'string' } } as const;

export const auditCommand: Command = {
  name: 'audit',
  summary: 'Show who changed what in the network.',
  usage: 'audit [OPTION …]',
  details: ADMIN_DETAILS,
  options: [
    { form: '--limit N', text: `so many of the newest records (default ${LIMIT_DEFAULT})` },
    { form: '--before NUMBER', text: 'only records older than this one' },
    { form: '--json', text: 'as a JSON array, newest first' },
    ...ADMIN_OPTION_HELP,
  ],
  run,
};

function run(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, OPTIONS);
  noArguments('audit', positionals);
  const limit = wholeNumber('limit', values.limit, 1, LIMIT_MAX) ?? LIMIT_DEFAULT;
  let before = wholeNumber('before', values.before, 1, 9_999_999_999);
  return withController(io, 'audit', values, async (client) => {
    const records: AuditView[] = [];
    do {
      const wanted = Math.min(PAGE_RECORDS, limit - records.length);
      const query: string = before === null ? '' : `&before=${before}`;
      const page = await client.send<AuditPageView>('GET', `/audit?limit=${wanted}${query}`);
      records.push(...page.records);
      before = page.next;
    } while (before !== null && records.length < limit);
    if (values.json === true) io.out(`${JSON.stringify(records)}\n`);
    else if (records.length === 0) io.error('nothing was changed yet\n');
    else io.out(auditTable(records.toReversed()));
    return EXIT_DONE;
  });
}

function auditTable(records: readonly AuditView[]): string {
  const rows = records.map(({ id, at, actor, source, action, target, detail }) => [
    String(id),
    at.replace('T', ' ').replace(/\.\d+Z$/, 'Z'),
    actor,
    source,
    action,
    target,
    Object.keys(detail).length === 0 ? '' : JSON.stringify(detail),
  ]);
  return table(['NUMBER', 'WHEN', 'WHO', 'FROM', 'WHAT', 'OF', 'DETAIL'], rows);
}
