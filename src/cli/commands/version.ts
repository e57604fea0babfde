// `warren version`: which Warren this is, and on what it runs. Leaves out what a running daemon is: an older one may
// still run after an upgrade.

import { type Command, EXIT_DONE, parseArguments, UsageError } from '../command.ts';
import { packageVersion } from '../package-version.ts';

export const versionCommand: Command = {
  name: 'version',
  summary: 'Print the version.',
  usage: 'version [--json]',
  details: 'Exit code 0.',
  options: [
    { form: '--json', text: 'as JSON: version, node, platform, arch' },
    { form: '-h, --help', text: 'this help' },
  ],
  run: (args, io) => {
    const { values, positionals } = parseArguments(args, { json: { type: 'boolean' } });
    if (positionals.length > 0) throw new UsageError(`version takes no argument: ${positionals[0]}`);
    const version = packageVersion();
    const { platform, arch } = process;
    io.out(
      values.json === true
        ? `${JSON.stringify({ version, node: process.versions.node, platform, arch })}\n`
        : `warren ${version}\n`,
    );
    return EXIT_DONE;
  },
};
