#!/usr/bin/env node
// `npm run nat-lab`: brings what the NAT lab needs, compiles it, and runs it with the right to make network namespaces.
// `--help` tells the options.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './lib/files.mjs';
import { privileged } from './lib/privilege.mjs';
import { endChildrenOnSignals, run } from './lib/process.mjs';

const output = join(root, 'node_modules/.cache/warren-nat-lab/js');
const node = process.execPath;
const must = async (command, ...args) => {
  const { code } = await run(command, args, { cwd: root });
  if (code !== 0) process.exit(code);
};

endChildrenOnSignals();
const args = process.argv.slice(2);
// Plain UDP needs nothing of ours that is built.
const steps = args.includes('--warren') ? [] : ['--steps', 'packages,privilege,dependencies'];
await must(node, join(root, 'scripts/setup.mjs'), '--for', 'nat-lab', '--quiet', ...steps);
mkdirSync(output, { recursive: true });
writeFileSync(join(output, 'package.json'), '{ "type": "module" }\n');
await must(
  node,
  join(root, 'node_modules/typescript/bin/tsc'),
  '-p',
  join(root, 'test/integration/nat-lab/tsconfig.json'),
);
const program = `const { main } = await import(${JSON.stringify(join(output, 'test/integration/nat-lab/main.js'))});
process.exitCode = await main(process.argv.slice(1));`;
const [command, ...rest] = privileged([node, '--input-type=module', '-e', program, '--', ...args]);
const { code } = await run(command, rest, { cwd: root });
process.exitCode = code;
