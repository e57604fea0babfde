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
    { form: '--json', text: 'as JSON: version, node, platform, arch, and of the addon aead and fault' },
    { form: '-h, --help', text: 'this help' },
  ],
  run: async (args, io) => {
    const { values, positionals } = parseArguments(args, { json: { type: 'boolean' } });
    if (positionals.length > 0) throw new UsageError(`version takes no argument: ${positionals[0]}`);
    const version = packageVersion();
    if (values.json !== true) {
      io.out(`warren ${version}\n`);
      return EXIT_DONE;
    }
    const { platform, arch } = process;
    const { describeAddon } = await import('../../daemon/about-main.ts');
    io.out(`${JSON.stringify({ version, node: process.versions.node, platform, arch, ...describeAddon() })}\n`);
    return EXIT_DONE;
  },
};
